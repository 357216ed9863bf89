"""The compiled rate estimate: the true recursion of the estimators with the cost of every bin in closed form.

What `presets.costs` does for all nine presets at once, for given presets only and several times faster.
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT
from .contexts import EXPECTED_COST, bin_index, next_context, reset_contexts


@inlined
def _charge(contexts, context, value):
    """Cost of a bin in 2^-15 bit; moves the context on."""
    context, value = np.uint64(context), np.uint64(value)
    places = contexts[context]
    contexts[context] = next_context(places, value)
    return EXPECTED_COST[value, bin_index(places)]


def cost(levels, n_unary, dq, block, skipped, presets) -> int:
    """Cost of all bins of the levels [rows, columns] under the presets, in 2^-15 bit, bypass bins included."""
    height, width = levels.shape
    contexts = np.empty(presets.size, np.uint32)
    return _cost(levels.reshape(-1), 0, height, width, n_unary, dq, block, skipped, presets, contexts)


@compiled
def _cost(levels, first, height, width, n_unary, dq, block, skipped, presets, contexts):
    """Of the matrix of levels that begins at `first`. contexts: uint32 [contexts], room."""
    reset_contexts(contexts, presets)
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    prefix = UNARY_CONTEXT + 2 * n_unary
    total = np.int64(0)
    state = 0
    previous = np.int64(0)
    zero = np.uint64(0)
    for top in range(0, height, block_height):
        if top:
            reset_contexts(contexts, presets)
            previous = np.int64(0)
        for left in range(0, width, block_width):
            for y in range(top, min(top + block_height, height)):
                if skipped[y]:
                    for _ in range(width if dq else 0):
                        state = STATE_TRANSITIONS[state, 0]
                    continue
                row = levels[first + y * width : first + (y + 1) * width]
                right = min(left + block_width, width)
                x = left
                while x < right:
                    level = np.int64(row[x])
                    if dq:
                        odd = state & 1
                        level = (level + odd) >> 1 if level > 0 else -((odd - level) >> 1) if level < 0 else level
                    elif level == 0 and previous == 0:
                        places = contexts[0]
                        while x < right and row[x] == 0:
                            total += EXPECTED_COST[zero, bin_index(places)]
                            places = next_context(places, zero)
                            x += 1
                        contexts[0] = places
                        continue
                    neighbour = 0 if previous == 0 else (1 if previous < 0 else 2)
                    total += _charge(contexts, 3 * state + neighbour, 1 if level else 0)
                    if level:
                        negative = 1 if level < 0 else 0
                        magnitude = abs(level)
                        total += _charge(contexts, SIGN_CONTEXT + neighbour, negative)
                        for n in range(min(magnitude, n_unary)):
                            total += _charge(contexts, UNARY_CONTEXT + 2 * n + negative, 1 if magnitude > n + 1 else 0)
                        if magnitude > n_unary:
                            bits = 0
                            while (magnitude - n_unary) >> (bits + 1):
                                bits += 1
                            for j in range(bits + 1):
                                total += _charge(contexts, prefix + j, 1 if j < bits else 0)
                            total += bits << 15
                    previous = level
                    if dq:
                        state = STATE_TRANSITIONS[state, level & 1]
                    x += 1
    return total


@compiled
def costs(levels, ends, first, last, n_unary, skipped, presets, contexts, out):
    """Writes the costs of tensors first to last - 1 of many that lie end to end into `out`: row by row, no options.

    levels: int32 [all values]. ends: where each tensor ends. skipped: uint8 [1], 0. contexts: room of this thread. out:
    int64 [tensors].
    """
    for i in range(first, last):
        start = ends[i - 1] if i else 0
        out[i] = _cost(levels, start, 1, ends[i] - start, n_unary, 0, 0, skipped, presets, contexts)
