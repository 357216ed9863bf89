"""Contexts as lanes of an array: what a level touches, what it costs, and the estimators after it.

A state is a pair (fast, slow) of int32 [..., contexts, batch], the batch being the minor axis of everything. Prices are
the integers of the compiled core, in units of 2^-15 bit: what the coder spends on average. Source: ISO/IEC 15938-17.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..core.constants import (
    MAX_ABS_LEVEL,
    PRESET_FAST_SHIFT,
    PRESET_FAST_START,
    PRESET_SLOW_SHIFT,
    PRESET_SLOW_START,
    SIGN_CONTEXT,
    STEP_TABLE,
    UNARY_CONTEXT,
)
from ..core.contexts import EXPECTED_COST

_BYPASS = 1 << 15  # price of a bypass bin
_ANY = -1  # a lane that does not ask for the sign
_BUCKETS = 64


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The contexts that levels up to a bound can touch, as lanes.

    Attributes: n_unary; dq, whether each state of the trellis has its own contexts of significance; flags, number of
    unary flags, and prefixes, number of prefix positions, that the bound allows.
    """

    n_unary: int
    dq: bool
    flags: int
    prefixes: int

    @property
    def significance(self) -> int:
        """Number of contexts of significance, which come first; the three of the sign follow."""
        return 24 if self.dq else 3

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """The core's number of the context in each lane."""
        flags, prefixes = np.arange(2 * self.flags), np.arange(self.prefixes)
        first = np.arange(self.significance), np.arange(SIGN_CONTEXT, UNARY_CONTEXT)
        return np.concatenate([*first, UNARY_CONTEXT + flags, UNARY_CONTEXT + 2 * self.n_unary + prefixes])

    @functools.cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Constants of each lane, [lanes, 1]: which context of significance or of the sign it is (-1: none); of flags
        and prefixes, the magnitudes beyond which they are touched and are 1, the sign they belong to, and the price
        of the bypass bin that comes with a 1."""
        number, count = self.numbers, np.full(self.numbers.size, -1)
        end = self.significance + 3
        significance, sign, own_sign, bypass = count.copy(), count.copy(), np.full(count.size, _ANY), 0 * count
        significance[: self.significance], sign[self.significance : end] = number[: end - 3], np.arange(3)
        touched, one = np.full(count.size, MAX_ABS_LEVEL + 1), np.full(count.size, MAX_ABS_LEVEL + 1)
        flag, position = np.arange(2 * self.flags), np.arange(self.prefixes)
        places, rest = slice(end, end + flag.size), slice(end + flag.size, None)
        touched[places], one[places], own_sign[places] = flag // 2, flag // 2 + 1, flag % 2
        touched[rest] = self.n_unary + 2**position - 1
        one[rest] = np.minimum(self.n_unary + 2 ** (position + 1) - 1, MAX_ABS_LEVEL + 1)
        bypass[rest] = _BYPASS
        columns = {
            "significance": significance, "sign": sign, "touched": touched, "one": one, "own_sign": own_sign,
            "bypass": bypass,
        }  # fmt: skip
        return {name: column.astype(np.int32)[:, None] for name, column in columns.items()}


def lanes_up_to(largest: int, n_unary: int, dq: bool) -> Lanes:
    """The lanes for levels of a magnitude, rounded up, so that there are few compilations."""
    bound = 1 << max(largest - 1, 0).bit_length()
    if bound <= n_unary:
        return Lanes(n_unary, dq, bound, 0)
    return Lanes(n_unary, dq, n_unary, min((bound - n_unary).bit_length(), 31))


def starts(lanes: Lanes, presets):
    """States and shifts, each a pair of int32 [lanes, batch], of presets of the same shape."""
    tables = PRESET_FAST_START, PRESET_SLOW_START, PRESET_FAST_SHIFT, PRESET_SLOW_SHIFT
    fast, slow, fast_shift, slow_shift = (looked_up(table, presets) for table in tables)
    return (fast, slow), (fast_shift, slow_shift)


def looked_up(table: np.ndarray, index):
    """int32 entries of a small table; the index is in it."""
    entries = jnp.asarray(np.asarray(table).reshape(-1), jnp.int32)
    return entries.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def bins_of(lanes: Lanes, key, neighbour, magnitude, negative):
    """Which lanes a level touches and the bins that are 1 there, bool [..., lanes, batch] each.

    key: its context of significance. All are int32 or bool [..., batch].
    """
    column = lanes.columns
    key, neighbour, magnitude, negative = (x[..., None, :] for x in (key, neighbour, magnitude, negative))
    is_sign = (column["sign"] == neighbour) & (magnitude > 0)
    of_magnitude, one = _of_magnitude(lanes, magnitude, negative)
    touched = (column["significance"] == key) | is_sign | of_magnitude
    significant = (column["significance"] >= 0) & (magnitude > 0)
    return touched, significant | ((column["sign"] >= 0) & negative) | one


def _of_magnitude(lanes, magnitude, negative):
    column = lanes.columns
    own = (column["own_sign"] == _ANY) | (column["own_sign"] == negative.astype(jnp.int32))
    return (magnitude > column["touched"]) & own, magnitude > column["one"]


def prices(lanes: Lanes, state, key, neighbour, low, negative):
    """int32 [..., batch] prices: of 0; of not 0 and a sign; what magnitudes low >= 1 and low + 1 add to that."""
    fast, slow = state
    bucket = ((16 * fast + slow) >> 7) + _BUCKETS // 2
    zero, one = (looked_up(table, bucket) for table in EXPECTED_COST[:, ::16])
    column = lanes.columns
    key, neighbour, low, negative = (x[..., None, :] for x in (key, neighbour, low, negative))
    significance, sign = column["significance"] == key, column["sign"] == neighbour

    def total(of_lane):
        return jnp.sum(of_lane, axis=-2, dtype=jnp.int32)

    def of_magnitude(magnitude):
        touched, is_one = _of_magnitude(lanes, magnitude, negative)
        return total(jnp.where(touched, jnp.where(is_one, one + column["bypass"], zero), 0))

    nonzero = jnp.where(significance, one, jnp.where(sign, jnp.where(negative, one, zero), 0))
    return total(jnp.where(significance, zero, 0)), total(nonzero), of_magnitude(low), of_magnitude(low + 1)


def moved(state, shifts, touched, one):
    """States after a bin in each touched lane. shifts: of the presets of the lanes."""
    (fast, slow), (fast_shift, slow_shift) = state, shifts
    sign = 2 * one.astype(jnp.int32) - 1
    move = jnp.where(touched, sign, 0)
    after_fast = fast + move * (_step(16 + ((sign * fast) >> 3)) >> fast_shift)
    return after_fast, slow + move * (_step(16 + ((sign * slow) >> 7)) >> slow_shift)


def _step(index):
    """STEP_TABLE[index] as the largest of the lines it is made of: arithmetic is faster than a look-up a lane."""
    lines = ((2512, 224), (1424, 96), (1040, 64), (64, 0))
    step = functools.reduce(jnp.maximum, [height - slope * index for height, slope in lines])
    return jnp.where(index >= STEP_TABLE.size - 1, 0, step)


def class_of(magnitude, negative):
    """int32: 0, 1, 2 for a level that is zero, negative, positive."""
    return jnp.where(magnitude == 0, 0, 2 - negative.astype(jnp.int32))


def rows_of(w, importance):
    """What a loop over weights [n, batch] sees of one of them: its value, and its importance where it has its own."""
    return {"value": w} | ({"weight": importance} if importance.shape[0] > 1 else {})


def rounded(product):
    """A product >= 0, rounded before anything is added to it: without the maximum, a compiler may round once for both,
    and the decision would not be the compiled core's."""
    return jnp.maximum(product, 0)


def like(row, shape, value=0):
    """int32 of a shape that ends with the batch; varies over the axes of a mesh as the row [batch] does."""
    return jnp.full(shape, value, jnp.int32) + 0 * (row > 0).astype(jnp.int32)


def wide():
    """The dtype of scaled weights and costs: float64, or in a trace without 64-bit mode float32."""
    return jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
