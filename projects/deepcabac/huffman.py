"""The length of a canonical Huffman code: payload and table, as a scalar-Huffman coder of integers would write them."""

import zlib

import numpy as np

from kernels import entropy

LARGEST_DENSE = 1 << 20  # alphabets up to this wide list a length for every value between the least and the greatest


def encoded_bytes(q: np.ndarray) -> int:
    """Returns the bytes of a tensor of integers: code words, and a table from which a decoder can rebuild them.

    The table is the least value (4 bytes), the width of the alphabet (4) and a byte of code length for each value
    between, or the values and lengths that occur (5 bytes each); deflated where that is shorter.
    """
    if q.size == 0:
        return 0
    symbols, counts = np.unique(q, return_counts=True)
    lengths = entropy.huffman_lengths(counts)
    listed = np.concatenate([symbols.astype("<i4").view(np.uint8), lengths.astype(np.uint8)]).tobytes()
    tables = [listed, zlib.compress(listed, 9)]
    wide = int(symbols[-1]) - int(symbols[0]) + 1
    if wide <= LARGEST_DENSE:
        dense = np.zeros(wide, np.uint8)
        dense[symbols - symbols[0]] = np.maximum(lengths, 1)
        tables += [dense.tobytes(), zlib.compress(dense.tobytes(), 9)]
    return -(-int(counts @ lengths) // 8) + 8 + min(map(len, tables))
