"""Variational autoregressive networks: spin systems solved by networks with exact probabilities, then corrected.

Wu, Wang, Zhang, arXiv:1809.10606; Nicoli et al., arXiv:1903.11048 and arXiv:1910.13496.
"""
