"""Sums over the rows of a sparse matrix without scattering: gathers and additions in one order, on every device.

Entries are sorted by row. Level by level, up to `WIDTH` of them (8 at first, then 4) are added to one partial sum,
until each row has one. A scatter-add takes ten times as long on CPUs and adds in any order on GPUs.
"""

from typing import NamedTuple

import jax.numpy as jnp

from ..array_types import Array, Bool, Float, Int32

FIRST, NEXT = 8, 4  # entries that a partial sum has


class Level(NamedTuple):
    """Partial sums as places among the entries before; of what is beyond the row, is_there is False."""

    place: Int32[Array, "m width"]
    is_there: Bool[Array, "m width"]


def levels_for(largest: int) -> int:
    """How many levels rows with so many entries at most need."""
    levels, reach = 1, FIRST
    while reach < largest:
        levels, reach = levels + 1, reach * NEXT
    return levels


def plan(row: Int32[Array, " e"], n: int, levels: int) -> list[Level]:
    """The levels for entries that are sorted by row; the last one has a partial sum for each of the n rows."""
    start = jnp.searchsorted(row, jnp.arange(n + 1, dtype=row.dtype)).astype(jnp.int32)
    size, total = start[1:] - start[:-1], row.shape[0]
    result = []
    for number in range(levels):
        width = FIRST if number == 0 else NEXT
        if number == levels - 1:
            begin, end = start[:-1], start[1:]
        else:
            parts = -(-size // width)
            offset = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(parts, dtype=jnp.int32)])
            total = total // width + n
            part = jnp.arange(total, dtype=jnp.int32)
            owner = jnp.minimum(jnp.searchsorted(offset, part, side="right") - 1, n - 1)
            begin = start[owner] + (part - offset[owner]) * width
            end = jnp.where(part < offset[-1], start[owner + 1], begin)
            start, size = offset, parts
        place = begin[:, None] + jnp.arange(width, dtype=jnp.int32)
        is_there = place < end[:, None]
        result.append(Level(jnp.where(is_there, place, 0), is_there))
    return result


def summed(levels: list[Level], values: Float[Array, " e *columns"]) -> Float[Array, " n *columns"]:
    """The sum of the values of each row."""
    for level in levels:
        values = _added(level, lambda place, values=values: values[place], values.dtype, values.ndim)
    return values


def multiplied(
    levels: list[Level], column: Int32[Array, " e"], weight: Float[Array, " e"], v: Float[Array, " n *columns"]
) -> Float[Array, " n *columns"]:
    """The matrix times v; what is multiplied is never stored but for its partial sums."""
    first, *others = levels

    def entries(place):
        return weight[place].reshape(-1, *(1,) * (v.ndim - 1)) * v[column[place]]

    return summed(others, _added(first, entries, v.dtype, v.ndim))


def _added(level: Level, entries, dtype, ndim: int):
    """One partial sum after the other: a term a place of the width."""
    total = None
    for i in range(level.place.shape[1]):
        is_there = level.is_there[:, i].reshape(-1, *(1,) * (ndim - 1))
        term = jnp.where(is_there, entries(level.place[:, i]), jnp.zeros((), dtype))
        total = term if total is None else total + term
    return total
