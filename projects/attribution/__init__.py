"""Explanations of trained networks by relevance propagation, after Zennit.

Anders et al., arXiv:2106.13200; see README.md.
"""
