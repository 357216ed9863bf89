"""Systematic generators of any parity-check matrix: elimination over GF(2) with 64 columns in a word.

Eight pivots go at a time, by a table of their 256 sums (the "method of the four Russians"; Albrecht, Bard and Hart,
arXiv:0811.1714). Pivots are taken from the last column on, so that information bits lead where a code has them lead.
"""

import functools
from typing import NamedTuple

import numpy as np

from ..array_types import Int64, UInt32
from .codes import Code, checked_code, edges, nr_base_graph

STRIP = 8  # columns that are eliminated at once
WORD = 64  # columns in a word


class Generator(NamedTuple):
    """x[parity] = the sums over x[information] that the bits of `sums` name, the lowest bit of a word first."""

    information: Int64[np.ndarray, " k"]
    parity: Int64[np.ndarray, " rank"]
    sums: UInt32[np.ndarray, "rank words"]


def dimension(code: Code) -> int:
    """The number k of information bits: n less the rank of the parity-check matrix.

    Host: on first use for a code without the structure of 5G NR, it is eliminated: seconds for 10,000 bits.

    Raises:
      ValueError: code is no `Code`.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.dimension(ldpc.sparse_code([[1, 1, 0], [0, 1, 1], [1, 0, 1]]))  # one check follows from two others
      1
    """
    if nr_base_graph(checked_code(code)):
        return code.information * code.lifting
    return len(generator(code).information)


def information_positions(code: Code) -> Int64[np.ndarray, " k"]:
    """The places in a word that `encode` leaves its bits at, rising: the first ones where the others follow from them.

    Raises:
      ValueError: code is no `Code`.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.information_positions(ldpc.sparse_code([[1, 1, 0, 0], [0, 0, 1, 1]])).tolist()
      [0, 2]
    """
    if nr_base_graph(checked_code(code)):
        return np.arange(code.information * code.lifting)
    return generator(code).information.copy()


@functools.lru_cache(maxsize=16)
def generator(code: Code) -> Generator:
    """Of any code; memory of checks x n / 8 bytes on the way."""
    matrix = _packed(code)
    pivots = _eliminate(matrix, code.n)
    parity = code.n - 1 - np.array([column for _, column in pivots], np.int64)
    free = np.ones(code.n, bool)
    free[parity] = False
    information = np.flatnonzero(free)
    rows = np.array([row for row, _ in pivots], np.int64)
    sums = np.zeros((len(rows), -(-len(information) // 32)), np.uint32)
    for first in range(0, len(rows), 256):  # bytes instead of bits, for some rows at a time
        words = matrix[rows[first : first + 256]].astype("<u8")
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, code.n - 1 - information]
        bits = np.pad(bits, ((0, 0), (0, -len(information) % 32)))
        sums[first : first + 256] = np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little")).view("<u4")
    for array in (information, parity, sums):
        array.flags.writeable = False
    return Generator(information, parity, sums)


def _packed(code: Code) -> np.ndarray:
    """uint64 [checks, words], the last column in the lowest bit of the first word."""
    check, bit = edges(code)
    place = code.n - 1 - bit
    matrix = np.zeros((code.checks, -(-code.n // WORD)), np.uint64)
    np.bitwise_or.at(matrix, (check, place // WORD), np.uint64(1) << (place % WORD).astype(np.uint64))
    return matrix


def _eliminate(matrix: np.ndarray, n: int) -> list[tuple[int, int]]:
    """Reduces a packed matrix in place; (row, column) of its pivots, whose columns are then zero in other rows."""
    pivots: list[tuple[int, int]] = []
    is_free = np.ones(len(matrix), bool)
    for first in range(0, n, STRIP):
        if len(pivots) == len(matrix):
            break
        word, shift = first // WORD, np.uint64(first % WORD)
        strip = (matrix[:, word] >> shift).astype(np.uint8)
        chosen, columns = _pivots_of_strip(strip, is_free)
        if not chosen:
            continue
        # To the left of a strip, rows that are free have zeros only.
        own = _reduced_pivots(matrix[chosen, word:], columns + int(shift))
        sums = np.zeros((1, own.shape[1]), np.uint64)
        which = np.zeros(len(matrix), np.uint8)
        for number, row in enumerate(own):
            sums = np.concatenate([sums, sums ^ row])
            which |= (strip >> columns[number] & 1) << number
        others = np.flatnonzero(which)
        matrix[others, word:] ^= sums[which[others]]
        matrix[chosen, word:] = own
        is_free[chosen] = False
        pivots += [(row, first + int(column)) for row, column in zip(chosen, columns, strict=True)]
    return pivots


def _pivots_of_strip(strip: np.ndarray, is_free: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Up to eight free rows that are independent within a strip [rows] of eight columns, and a column for each."""
    places = np.flatnonzero(is_free & (strip != 0))
    left = strip[places]
    chosen: list[int] = []
    columns: list[int] = []
    for column in range(STRIP):
        ones = np.flatnonzero(left >> column & 1)
        if ones.size:
            row = left[ones[0]]
            chosen.append(int(places[ones[0]]))
            columns.append(column)
            left[ones] ^= row  # that of the pivot, too, which is none of those left
    return chosen, np.array(columns, np.uint8)


def _reduced_pivots(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Packed rows, each with the only one in its column."""
    for number, column in enumerate(columns):
        has_one = (rows[:, 0] >> np.uint64(column) & np.uint64(1)).astype(bool)
        has_one[number] = False
        rows[has_one] ^= rows[number]
    return rows
