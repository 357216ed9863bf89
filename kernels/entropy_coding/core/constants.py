"""Integers that define the DeepCABAC / NNC profile-0 coder.

Source: DeepCABAC (arXiv:1907.11900) and ISO/IEC 15938-17. Everything here is plain NumPy and computed from short
formulas, so that the reader can check each table; the compiled core takes these arrays as global constants.
"""

import numpy as np

MAX_ABS_LEVEL = 2**31 - 14  # the largest |q| the binarisation can carry; one more is refused
MAX_UNARY = 15
NUM_PRESETS = 9
PREFIX_CONTEXTS = 32
HEADER_PREFIX_CONTEXTS = 31  # prefix position 31 has no preset flag in the stream header

# Context layout: 24 significance (3 per trellis state), 3 sign, 2 per unary flag, 32 prefix positions, then two of the
# syntax.
SIGN_CONTEXT = 24
UNARY_CONTEXT = 27

# Step of a probability estimator at a given distance from certainty (indexed by 16 + the scaled state).
STEP_TABLE = np.array(
    [2512 - 224 * i for i in range(9)] + [560, 464, 368, 272, 208, 144, 80] + [64] * 15 + [0], np.int64
)

# Width of the less probable subinterval for |state >> 7|, before scaling by the range.
LPS_TABLE = np.array([
    114, 100, 87, 75, 66, 58, 51, 45, 40, 35, 31, 27, 24, 21, 18, 16,
    14, 13, 11, 10, 9, 8, 7, 7, 5, 5, 4, 4, 3, 3, 2, 2,
], np.int64)  # fmt: skip

# From the largest span, 510, so many more probable bins at the narrowest LPS width shift the coder by one bit: no
# codeword holds more bins a bit.
MAX_BINS_PER_BIT = 98

# The nine estimator presets: adaptation shifts of the fast and slow estimator, and where both start.
_PRESETS = [
    (1, 4, 0, 0),
    (1, 4, -1310, -41),
    (1, 4, 3039, 95),
    (0, 5, 0, 0),
    (2, 6, 962, 30),
    (2, 6, 3039, 95),
    (2, 6, -673, -21),
    (3, 5, 0, 0),
    (3, 5, 962, 30),
]
PRESET_FAST_SHIFT = np.array([a + 4 for a, _, _, _ in _PRESETS], np.int64)
PRESET_SLOW_SHIFT = np.array([b for _, b, _, _ in _PRESETS], np.int64)
PRESET_FAST_START = np.array([fast for _, _, _, fast in _PRESETS], np.int64)
PRESET_SLOW_START = np.array([state - 16 * fast for _, _, state, fast in _PRESETS], np.int64)

# Trellis of dependent quantisation: next state by current state and parity of the level.
STATE_TRANSITIONS = np.array([[0, 2], [7, 5], [1, 3], [6, 4], [2, 0], [5, 7], [3, 1], [4, 6]], np.int64)
ZERO_CYCLE = 4  # so many even levels lead every state back to itself


def _cost_tables() -> tuple[np.ndarray, np.ndarray]:
    """Bits in units of 2^-15 of coding the less and the more probable value at min(|state >> 3|, 511)."""
    unrounded = 32968.4055 + 400.79893 * np.arange(512)
    more_probable = -32768 * np.log2(1 - 2.0 ** (-unrounded / 32768))
    return np.rint(unrounded).astype(np.int64), np.rint(more_probable).astype(np.int64)


COST_UNIT = 1.0 / 32768  # bits per cost unit
LPS_COST, MPS_COST = _cost_tables()


def num_contexts(n_unary: int) -> int:
    """Number of contexts, the two syntax contexts (header flag, row-skip flag) included as the last two."""
    return UNARY_CONTEXT + 2 * n_unary + PREFIX_CONTEXTS + 2


def signalled_contexts(n_unary: int, dq: bool) -> np.ndarray:
    """Context indices in the order in which the stream header signals their presets."""
    significance = np.arange(24 if dq else 3)
    rest = np.arange(SIGN_CONTEXT, UNARY_CONTEXT + 2 * n_unary + HEADER_PREFIX_CONTEXTS)
    return np.concatenate([significance, rest]).astype(np.int64)
