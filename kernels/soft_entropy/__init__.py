"""Entropy of soft labels as a loss, quantisation that weighs bits against errors, and noisy layers.

`labels` (soft labels of a few centroids), `bits` (their entropy, in contexts), `table` (both at a cost that does not
grow with the number of centroids), `hard_labels` (quantisation and code lengths on the host), `reparametrization`
(noise on a layer's outputs instead of its weights).
"""

from . import bits, hard_labels, labels, reparametrization, table
from .bits import (
    CONTEXTS,
    bits_of_counts,
    code_lengths,
    conditional_bits,
    context_bits,
    context_counts,
    context_members,
    relaxed_bits,
    relaxed_bits_chunked,
    static_bits,
    with_prior,
)
from .hard_labels import LN2, assign, ecsq, empirical_bits, huffman_lengths, labels_to_levels
from .labels import beta_of, moments, soft_assign, symmetric_grid

__all__ = [
    "CONTEXTS",
    "LN2",
    "assign",
    "beta_of",
    "bits",
    "bits_of_counts",
    "code_lengths",
    "conditional_bits",
    "context_bits",
    "context_counts",
    "context_members",
    "ecsq",
    "empirical_bits",
    "hard_labels",
    "huffman_lengths",
    "labels",
    "labels_to_levels",
    "moments",
    "relaxed_bits",
    "relaxed_bits_chunked",
    "reparametrization",
    "soft_assign",
    "static_bits",
    "symmetric_grid",
    "table",
    "with_prior",
]
