"""Entropy-constrained training of networks (Wiedemann et al., arXiv:1812.07520): the size of the file is in the loss.

Verbs: pretrain, train, baseline, study, step_cost. A network goes through relaxation (soft labels), description_length
(their bits in the loss), hardening, tuning and coding (the file).
"""
