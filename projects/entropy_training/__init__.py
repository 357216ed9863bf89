"""Entropy-constrained training of networks (Wiedemann et al., arXiv:1812.07520): the size of the file is in the loss.

Verbs: pretrain, train, tables.
"""
