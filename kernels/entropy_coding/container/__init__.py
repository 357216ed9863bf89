"""Whole networks as bytes: a pytree of arrays to one file image and back.

A tree's way into a file: `tree` (leaves), `items` (what each is stored as), `large` and `small` (levels and codewords,
by way of `choices` and `streams`), `header`, `file`, of several files beside each other `candidates`; and back: `file`,
`header`, `reading`, `tree`. Each file leans on those before it and on the floors below (quantisers, codewords), none on
what comes after.
"""

from .candidates import compress_many
from .compression import compress
from .items import SHARED_SIZE
from .reading import DEFAULT_MAX_OUTPUT_BYTES, decompress, read_tensor
from .summary import Summary, TensorSummary, inspect
from .tree import Codebook, Quantized

__all__ = [
    "DEFAULT_MAX_OUTPUT_BYTES",
    "SHARED_SIZE",
    "Codebook",
    "Quantized",
    "Summary",
    "TensorSummary",
    "compress",
    "compress_many",
    "decompress",
    "inspect",
    "read_tensor",
]
