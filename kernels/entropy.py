"""The older name of what lives in `soft_entropy`: entropy of soft labels, and quantisation that weighs bits."""

from .soft_entropy.bits import bits_of_counts, code_lengths, conditional_bits, relaxed_bits, relaxed_bits_chunked
from .soft_entropy.hard_labels import LN2, assign, ecsq, empirical_bits, huffman_lengths, labels_to_levels
from .soft_entropy.labels import moments, soft_assign, symmetric_grid

__all__ = [
    "LN2",
    "assign",
    "bits_of_counts",
    "code_lengths",
    "conditional_bits",
    "ecsq",
    "empirical_bits",
    "huffman_lengths",
    "labels_to_levels",
    "moments",
    "relaxed_bits",
    "relaxed_bits_chunked",
    "soft_assign",
    "symmetric_grid",
]
