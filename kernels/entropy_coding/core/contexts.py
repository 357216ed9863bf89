"""The two estimators of a context as places in tables of successors, and what a bin costs or divides at a place.

Everything compiled works on places: two look-ups then move a context on, without the arithmetic of the estimators.
Source: the estimators of ISO/IEC 15938-17 (DeepCABAC).
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import (
    LPS_COST,
    LPS_TABLE,
    MPS_COST,
    PRESET_FAST_SHIFT,
    PRESET_FAST_START,
    PRESET_SLOW_SHIFT,
    PRESET_SLOW_START,
    STEP_TABLE,
)

# A place is the state of an estimator counted from the lowest one, plus 512 (fast) or 8192 (slow) times the row of its
# rate. (2 * fast + (slow >> 3)) mod 1024 is then (state of the context >> 3) + 512, the index of all tables of bins. A
# context is one uint32, fast above 16 bits of slow: unsigned, because indexing is then free of the test for negative
# indices. The tables are small (and the part that a tensor visits smaller), for they must stay in the first cache.
_FAST_STRIDE, _SLOW_STRIDE = 512, 8192
_FAST_SIZE, _SLOW_SIZE = 256, 4096


def _successors(size: int, stride: int, bucket_shift: int, rate_shifts: np.ndarray) -> np.ndarray:
    """uint16 [2, rates * stride]: place after coding 0 and 1, by place."""
    state = np.arange(size) - size // 2
    table = np.zeros((2, len(rate_shifts) * stride), np.uint16)
    for row, rate_shift in enumerate(rate_shifts):
        down = state - (STEP_TABLE[np.minimum(16 + (-state >> bucket_shift), 31)] >> rate_shift)
        up = state + (STEP_TABLE[16 + (state >> bucket_shift)] >> rate_shift)
        places = row * stride + np.arange(size)
        table[0, places] = row * stride + down + size // 2
        table[1, places] = row * stride + up + size // 2
    return table


def _by_value(less: np.ndarray, more: np.ndarray) -> np.ndarray:
    """int32 [2, 1024]: costs of 0 and 1 at (state >> 3) + 512, from those of the less and the more probable value."""
    probable = np.arange(-512, 512) >= 0
    return np.stack([np.where(probable, less, more), np.where(probable, more, less)]).astype(np.int32)


def _normative_costs() -> np.ndarray:
    """The costs that the standard's preset search uses, in 2^-15 bit."""
    level = np.minimum(np.abs(np.arange(-512, 512)), 511)
    return _by_value(LPS_COST[level], MPS_COST[level])


def _expected_costs() -> np.ndarray:
    """What the coder spends on average, in 2^-15 bit: its division of the span over spans of density 1 / span.

    The standard's costs are up to 1 % below the codeword, because the division is coarse; these are within 0.1 %.
    """
    span = np.arange(256, 511)
    density = (1 / span) / np.sum(1 / span)
    width = (LPS_TABLE[:, None] * ((span >> 5) + 1)) >> 3
    less, more = np.log2(span / width) @ density, np.log2(span / (span - width)) @ density
    return _by_value(np.rint(32768 * less)[_BUCKET], np.rint(32768 * more)[_BUCKET])


_BUCKET = np.minimum(np.abs((np.arange(-512, 512) * 8) >> 7), 31)
BIN_COST = _normative_costs()
EXPECTED_COST = _expected_costs()
LPS_FACTOR = LPS_TABLE[_BUCKET].astype(np.uint8)  # by the same index: width of the less probable part, times 8 / span
_FAST_RATES, _FAST_ROW = np.unique(PRESET_FAST_SHIFT, return_inverse=True)
_SLOW_RATES, _SLOW_ROW = np.unique(PRESET_SLOW_SHIFT, return_inverse=True)
NEXT_FAST = _successors(_FAST_SIZE, _FAST_STRIDE, 3, _FAST_RATES)
NEXT_SLOW = _successors(_SLOW_SIZE, _SLOW_STRIDE, 7, _SLOW_RATES)
START = (
    (PRESET_FAST_START + _FAST_SIZE // 2 + _FAST_STRIDE * _FAST_ROW) << 16
    | (PRESET_SLOW_START + _SLOW_SIZE // 2 + _SLOW_STRIDE * _SLOW_ROW)
).astype(np.uint32)


@inlined
def bin_index(places):
    """Index of a context in the tables of bins."""
    return np.uint32((places >> np.uint32(15)) + ((places & np.uint32(0xFFFF)) >> np.uint32(3))) & np.uint32(1023)


@inlined
def next_context(places, value):
    """A context after coding `value`."""
    fast, slow = NEXT_FAST[value, places >> np.uint32(16)], NEXT_SLOW[value, places & np.uint32(0xFFFF)]
    return np.uint32(fast) << np.uint32(16) | slow


@compiled
def reset_contexts(contexts, presets):
    """Puts every context at the start of its preset. contexts: uint32 [n]; presets: uint8 [n]."""
    for i in range(contexts.size):
        contexts[i] = START[presets[i]]


@inlined
def lps_width(index, span):
    """Width of the less probable part of `span` at an index of `bin_index`."""
    return (np.int64(LPS_FACTOR[index]) * ((span >> 5) + 1)) >> 3
