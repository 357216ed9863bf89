"""Maps of spins that leave an energy: all signs turned over; shifts, reflections, the transposition of a torus.

A torus in folded order visits its rows and columns as 0, L-1, 1, L-2, ...: neighbours are at most two places apart,
also across the seam, so that a network without wrapping around sees them.
"""

from typing import NamedTuple

import numpy as np

from ..array_types import Int, Int8, Int32
from ..scalars import whole

__all__ = [
    "Images",
    "folded",
    "folded_sites",
    "images",
]

ATTEMPTS = 200  # random maps for each image


class Images(NamedTuple):
    """Image k of s is sign[k] s[source[k]]. Attributes: source: permutations int32 [K, n], the identity first; inverse:
    of them [K, n]; sign: int8 [K]."""

    source: Int32[np.ndarray, "k n"]
    inverse: Int32[np.ndarray, "k n"]
    sign: Int8[np.ndarray, " k"]


def images(
    rows: int, columns: int, count: int, *, sign: bool, torus: str | None = None, folded: bool = False
) -> Images | None:
    """Returns the identity and `count` - 1 other symmetries, always the same ones; None for a count of 1.

    Args:
      rows, columns: of the lattice.
      count: of the images, at least 1.
      sign: whether turning all spins over is one.
      torus: "square" or "triangular"; None where no permutation of the sites is a symmetry.
      folded: whether the sites are numbered in folded order.

    Raises:
      ValueError: more images than these maps give.
    """
    rows, columns, count = whole("rows", rows, 1), whole("columns", columns, 1), whole("count", count, 1)
    if count == 1:
        return None
    maps = _maps(rows, columns, count, sign, torus)
    if len(maps) < count:
        raise ValueError(f"images={count}: this system has no more than {len(maps)} that are looked for")
    source = np.array([permutation for permutation, _ in maps])
    if folded:  # the same maps, in the network's own numbers of the sites
        inner = folded_sites(rows, columns)
        source = inner[source[:, np.argsort(inner)]]
    signs = np.array([value for _, value in maps], np.int8)
    return Images(source.astype(np.int32), np.argsort(source, axis=1).astype(np.int32), signs)


def _maps(rows: int, columns: int, count: int, sign: bool, torus: str | None) -> list[tuple[np.ndarray, int]]:
    """Returns up to `count` different (permutation [n], sign), the identity and the sign alone before random ones."""
    sites = np.arange(rows * columns).reshape(rows, columns)
    maps: dict[tuple[bytes, int], tuple[np.ndarray, int]] = {}
    rng = np.random.default_rng(0)
    for k in range(ATTEMPTS * count):
        source, value = sites, -1 if sign and k % 2 else 1
        if torus is not None and k > 1:
            source = np.roll(source, (rng.integers(rows), rng.integers(columns)), (0, 1))
            source = source.T if rows == columns and rng.integers(2) else source
            turn = rng.integers(4)
            second = 2 if torus == "square" else 1  # a triangular lattice needs both reflections or none
            source = source[::-1] if turn & 1 else source
            source = source[:, ::-1] if turn & second else source
        maps.setdefault((source.tobytes(), value), (source.reshape(-1), value))
        if len(maps) == count:
            break
    return list(maps.values())


def folded(length: int) -> Int[np.ndarray, " length"]:
    """Returns the place of each row of a torus in the order 0, L-1, 1, L-2, ...: int [length]."""
    length = whole("length", length, 1)
    rows = np.arange(length)
    return np.where(rows < (length + 1) // 2, 2 * rows, 2 * (length - 1 - rows) + 1)


def folded_sites(rows: int, columns: int) -> Int[np.ndarray, " sites"]:
    """Returns the number in folded order of each site of a torus, numbered row by row: int [rows * columns]."""
    rows, columns = whole("rows", rows, 1), whole("columns", columns, 1)
    return (folded(rows)[:, None] * columns + folded(columns)[None, :]).reshape(-1)
