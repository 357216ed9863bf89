"""DeepCABAC: train a network sparse, quantise it with the rate in view, write it as a file of arithmetic codewords.

Wiedemann et al., arXiv:1905.08318 and 1907.11900. Verbs: `train`, `compress`, `decompress`, `inspect`, `tables`.
"""
