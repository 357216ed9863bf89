"""Sparse ternary compression (arXiv:1903.02891): an update keeps its k largest entries, as signs times one magnitude.

mask, mu, signs = ternarize(x, k)                                     # x is close to mu * signs
sent, residual = compress_with_feedback(update, residual, k)          # what was not sent waits in the residual
`golomb` writes the result as bytes.
"""

from .compressor import compress_with_feedback, majority_vote, ternarize
from .threshold import selection_size, topk_mask, topk_threshold

__all__ = [
    "compress_with_feedback",
    "majority_vote",
    "selection_size",
    "ternarize",
    "topk_mask",
    "topk_threshold",
]
