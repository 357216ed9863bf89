"""What encoder and decoder share: the two-rate probability estimators, the division of the span, and how both compile.

Source: DeepCABAC (arXiv:1907.11900) as fixed by ISO/IEC 15938-17. Everything compiled here releases the GIL.
"""

import numba
import numba.core.cgutils
import numba.extending
import numpy as np

from .constants import (
    LPS_TABLE,
    PRESET_FAST_SHIFT,
    PRESET_FAST_START,
    PRESET_SLOW_SHIFT,
    PRESET_SLOW_START,
    STEP_TABLE,
)

compiled = numba.njit(cache=True, nogil=True, boundscheck=False)
inlined = numba.njit(cache=True, nogil=True, boundscheck=False, inline="always")

STEPS = STEP_TABLE.astype(np.int64)
LPS = LPS_TABLE.astype(np.int64)


@numba.extending.intrinsic
def _leading_zeros(typing_context, value):
    """The processor's instruction for it: a table would lengthen the chain from one span to the next."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], numba.core.cgutils.false_bit)

    return numba.types.int64(numba.types.int64), generate


@inlined
def renorm(span):
    """Shift that brings a span of 1 to 511 back to 256 to 511."""
    return _leading_zeros(span) - 55


@inlined
def lps_width(state, span):
    """Width of the less probable subinterval of `span` at `state`."""
    return (LPS[np.uint64(abs(state >> 7))] * ((span >> 5) + 1)) >> 3


@inlined
def step_estimators(fast, slow, fast_shift, slow_shift, value):
    """Both estimators after coding `value` (0 or 1), without a branch: values are hard to predict."""
    flip = value - 1  # 0 or -1: (x ^ flip) - flip is x or -x
    fast_step = STEPS[np.uint64(16 + (((fast ^ flip) - flip) >> 3))] >> fast_shift
    slow_step = STEPS[np.uint64(16 + (((slow ^ flip) - flip) >> 7))] >> slow_shift
    return fast + ((fast_step ^ flip) - flip), slow + ((slow_step ^ flip) - flip)


@compiled
def reset_contexts(contexts, presets):
    """Puts every context at the start of its preset. contexts: int64 [n, 4] = fast, slow, fast shift, slow shift."""
    for i in range(contexts.shape[0]):
        preset = presets[i]
        contexts[i, 0] = PRESET_FAST_START[preset]
        contexts[i, 1] = PRESET_SLOW_START[preset]
        contexts[i, 2] = PRESET_FAST_SHIFT[preset]
        contexts[i, 3] = PRESET_SLOW_SHIFT[preset]


@inlined
def neighbour_class(level):
    """0, 1, 2 for a previous level that is zero, negative, positive."""
    return 0 if level == 0 else (1 if level < 0 else 2)
