"""The length of a canonical Huffman code: payload and table, as a scalar-Huffman coder of integers would write them."""

import heapq
import zlib

import numpy as np

LARGEST_DENSE = 1 << 20  # alphabets up to this wide list a length for every value between the least and the greatest


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Returns the length in bits of each symbol's code word.

    Args:
      counts: how often each symbol occurs, int [symbols], all > 0. A single symbol needs no bits.

    Source: D. A. Huffman, 1952.
    """
    lengths = np.zeros(len(counts), np.int64)
    if len(counts) < 2:
        return lengths
    parents = np.full(2 * len(counts) - 1, -1)
    heap = [(int(count), index) for index, count in enumerate(counts)]
    heapq.heapify(heap)
    for node in range(len(counts), len(parents)):
        (one, first), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = node
        heapq.heappush(heap, (one + other, node))
    depths = np.zeros(len(parents), np.int64)
    for node in range(len(parents) - 2, -1, -1):  # parents come after their children
        depths[node] = depths[parents[node]] + 1
    return depths[: len(counts)]


def encoded_bytes(q: np.ndarray) -> int:
    """Returns the bytes of a tensor of integers: code words, and a table from which a decoder can rebuild them.

    The table is the least value (4 bytes), the width of the alphabet (4) and a byte of code length for each value
    between, or the values and lengths that occur (5 bytes each); deflated where that is shorter.
    """
    if q.size == 0:
        return 0
    symbols, counts = np.unique(q, return_counts=True)
    lengths = code_lengths(counts)
    listed = np.concatenate([symbols.astype("<i4").view(np.uint8), lengths.astype(np.uint8)]).tobytes()
    tables = [listed, zlib.compress(listed, 9)]
    wide = int(symbols[-1]) - int(symbols[0]) + 1
    if wide <= LARGEST_DENSE:
        dense = np.zeros(wide, np.uint8)
        dense[symbols - symbols[0]] = np.maximum(lengths, 1)
        tables += [dense.tobytes(), zlib.compress(dense.tobytes(), 9)]
    return -(-int(counts @ lengths) // 8) + 8 + min(map(len, tables))
