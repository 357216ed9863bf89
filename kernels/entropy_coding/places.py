"""Estimator states as places in tables of successors, and the tables of what a bin costs at a place.

The search for presets, the rate estimates and the quantisers only ask what bins cost; two look-ups then move a state
on, without the arithmetic that the coder itself does. Source: the estimators of ISO/IEC 15938-17 (DeepCABAC).
"""

import numpy as np

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
from .estimators import inlined

# An estimator is held here as its place in a table of successors: twice the state counted from the lowest one, plus
# 1024 (fast) or 16384 (slow) times the row of its rate. (fast + (slow >> 4)) mod 1024 is then the index of a bin's
# cost. Unsigned, because indexing is then free of the test for negative indices.
_FAST_STRIDE, _SLOW_STRIDE = 1024, 16384


def _successors(size: int, stride: int, bucket_shift: int, rate_shifts: np.ndarray) -> np.ndarray:
    """uint32 [2, rates * stride]: place after coding 0 and 1, by place."""
    state = np.arange(size) - size // 2
    table = np.zeros((2, len(rate_shifts) * stride), np.uint32)
    for row, rate_shift in enumerate(rate_shifts):
        down = state - (STEP_TABLE[np.minimum(16 + (-state >> bucket_shift), 31)] >> rate_shift)
        up = state + (STEP_TABLE[16 + (state >> bucket_shift)] >> rate_shift)
        places = row * stride + 2 * np.arange(size)
        table[0, places] = row * stride + 2 * (down + size // 2)
        table[1, places] = row * stride + 2 * (up + size // 2)
    return table


def _by_value(less: np.ndarray, more: np.ndarray) -> np.ndarray:
    """int64 [2, 1024]: costs of 0 and 1 at (state >> 3) + 512, from those of the less and the more probable value."""
    probable = np.arange(-512, 512) >= 0
    return np.stack([np.where(probable, less, more), np.where(probable, more, less)]).astype(np.int64)


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
    bucket = np.minimum(np.abs((np.arange(-512, 512) * 8) >> 7), 31)
    return _by_value(np.rint(32768 * less)[bucket], np.rint(32768 * more)[bucket])


BIN_COST = _normative_costs()
EXPECTED_COST = _expected_costs()
_FAST_RATES, _FAST_ROW = np.unique(PRESET_FAST_SHIFT, return_inverse=True)
_SLOW_RATES, _SLOW_ROW = np.unique(PRESET_SLOW_SHIFT, return_inverse=True)
NEXT_FAST = _successors(256, _FAST_STRIDE, 3, _FAST_RATES)
NEXT_SLOW = _successors(4096, _SLOW_STRIDE, 7, _SLOW_RATES)
FAST_START = 2 * (PRESET_FAST_START + 128) + _FAST_STRIDE * _FAST_ROW
SLOW_START = 2 * (PRESET_SLOW_START + 2048) + _SLOW_STRIDE * _SLOW_ROW


@inlined
def cost_index(fast, slow):
    """((16 * fast + slow) of the specification >> 3) + 512."""
    return (fast + (slow >> np.uint64(4))) & np.uint64(1023)
