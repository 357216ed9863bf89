"""The k-th largest magnitude of each row without sorting, exactly, and the k entries of the highest rank.

Floating-point numbers that are not negative are ordered as their bit patterns are as integers. So the threshold is
bisected on these: a pass of comparisons a step, as many steps as a number has bits, however heavy the tails (bisecting
values instead needs more steps than a float has bits). Nothing is compared as a float: that may flush subnormals.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..array_types import Array, Bool, Int, Int32, Shaped

NARROWEST = 7  # blocks of fewer entries spare no time
FOLDS = 32  # as many summands are added without a loop

# Every array below is int [..., n], of bit patterns without their sign; results that stand for a row are [..., 1].
Patterns = Int[Array, "*batch n"]
OfRow = Int[Array, "*batch 1"]


def patterns(x: Array) -> Patterns:
    """Magnitudes as integers of their width, in their order; +-0 is 0, and infinity and NaN are above all others."""
    bits = jnp.finfo(x.dtype).bits
    return jax.lax.bitcast_convert_type(x, jnp.dtype(f"int{bits}")) & ((1 << (bits - 1)) - 1)


def magnitudes(u: Int[Array, "*shape"], dtype) -> Array:
    """The inverse of `patterns`."""
    return jax.lax.bitcast_convert_type(u, dtype)


def folded(reduction: Callable, values: Shaped[Array, "*batch n"], **options) -> Shaped[Array, "*batch 1"]:
    """jnp.sum, jnp.max or jnp.min of each row, [..., 1], taken of 32 parts of it beside each other first.

    On a CPU this is ten times as fast as in one go, which XLA does not compute on vectors; the barrier keeps it from
    making one reduction of the two.
    """
    length = values.shape[-1] // FOLDS
    if length == 0:
        return reduction(values, axis=-1, keepdims=True, **options)
    parts = values[..., : FOLDS * length].reshape(*values.shape[:-1], FOLDS, length)
    row = jax.lax.optimization_barrier(reduction(parts, axis=-2, **options))
    rest = values[..., FOLDS * length :].astype(row.dtype)
    return reduction(jnp.concatenate([row, rest], axis=-1), axis=-1, keepdims=True, **options)


def count(condition: Bool[Array, "*batch n"]) -> OfRow:
    """How many of each row."""
    return folded(jnp.sum, condition, dtype=jnp.int32)


def kth_largest(u: Patterns, k: int) -> tuple[OfRow, OfRow]:
    """(the k-th largest of each row, the largest).

    The largest of each of n / w blocks of w = sqrt(n / k) entries come first: the k-th largest of them is no larger
    than what is sought, so all entries above it lie in k blocks, and these alone are bisected: 2 sqrt(n k) entries
    instead of n in each pass.
    """
    n = u.shape[-1]
    width = math.isqrt(n // k)
    if width < NARROWEST:
        return _by_halves(u, k) if u.dtype == jnp.int32 else _bisected(u, k, jnp.zeros_like(u[..., :1]))
    number = n // width
    blocks = u[..., : number * width].reshape(*u.shape[:-1], width, number)  # block j: entries j, j + number, ...
    largest = jnp.max(blocks, axis=-2)
    least, _ = _bisected(largest, k, jnp.zeros_like(u[..., :1]))
    columns = _positions(highest(largest, least, k), k)
    inside = jnp.take_along_axis(blocks, columns[..., None, :], axis=-1).reshape(*u.shape[:-1], width * k)
    return _bisected(jnp.concatenate([inside, u[..., number * width :]], axis=-1), k, least)


def highest(u: Patterns, threshold: OfRow, k: int, *, zeros: bool = True) -> Bool[Array, "*batch n"]:
    """The k entries of the highest rank: those above the k-th largest, then the first of those equal to it.

    zeros: whether 0 has a rank; otherwise a row with fewer than k other entries gives only these.
    """
    above, ties = u > threshold, u == threshold
    if not zeros:
        ties &= u > 0
    needed = k - count(above)
    place = jax.lax.broadcasted_iota(jnp.int32, u.shape, u.ndim - 1)
    end = u.shape[-1] - 1
    # The place of the last tie that is needed is bisected, too. Where all are needed, as nearly always, it is the end,
    # and a loop makes no step (a branch would, under vmap).
    first = jnp.where(count(ties) <= needed, end, 0)

    def step(bounds):
        low, high = bounds
        middle = low + ((high - low) >> 1)
        is_enough = count(ties & (place <= middle)) >= needed
        return jnp.where(is_enough, low, jnp.minimum(middle + 1, high)), jnp.where(is_enough, middle, high)

    last, _ = jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), step, (first, first * 0 + end))
    return above | (ties & (place <= last))


def _bisected(u: Patterns, k: int, least: OfRow) -> tuple[OfRow, OfRow]:
    """(the k-th largest of each row, of which k or more are at least `least`; the largest)."""

    def step(bounds):
        low, high = bounds
        middle = low + ((high - low + 1) >> 1)
        number = count(u >= middle)
        low = jnp.where(number >= k, middle, low)
        # Exactly k at or above it: the smallest of them is the threshold.
        return low, jnp.where(number == k, low, jnp.where(number > k, high, middle - 1))

    largest = folded(jnp.max, u)
    low, _ = jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), step, (least, largest))
    return folded(jnp.min, jnp.where(u >= low, u, jnp.iinfo(u.dtype).max)), largest


def _by_halves(u: Int32[Array, "*batch n"], k: int) -> tuple[OfRow, OfRow]:
    """As `_bisected` with a `least` of 0: the upper 16 bits first, then the lower ones of entries that share these.

    Half as many bytes pass in each step, and bytes are what takes the time of long rows.
    """

    def search(digits, rank, low, high):
        def step(bounds):
            low, high = bounds
            middle = low + ((high - low + 1) >> 1)
            is_enough = count(digits >= middle.astype(jnp.int16)) >= rank
            return jnp.where(is_enough, middle, low), jnp.where(is_enough, high, middle - 1)

        return jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), step, (low, high))[0]

    largest = folded(jnp.max, u)
    upper = (u >> 16).astype(jnp.int16)
    prefix = search(upper, k, largest * 0, largest >> 16)
    shares = upper == prefix.astype(jnp.int16)
    rank = k - count(upper > prefix.astype(jnp.int16))
    # What does not share it has the smallest digits; these are in question only where all that share it are enough.
    least = -(1 << 15)
    lower = jnp.where(shares, (u & 0xFFFF) + least, least).astype(jnp.int16)
    digits = search(lower, rank, largest * 0 + least, largest * 0 - 1 - least)
    return (prefix << 16) + digits - least, largest


def _positions(mask: Bool[Array, "*batch n"], k: int) -> Int[Array, "*batch k"]:
    """Where the k entries of each row are that are True."""
    rows = mask.reshape(-1, mask.shape[-1])

    def of_row(row):
        target = jnp.where(row, jnp.cumsum(row, dtype=jnp.int32) - 1, k)
        return jnp.zeros(k, jnp.int32).at[target].set(jnp.arange(row.size, dtype=jnp.int32), mode="drop")

    return jax.vmap(of_row)(rows).reshape(*mask.shape[:-1], k)
