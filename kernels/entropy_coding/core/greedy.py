"""The compiled greedy rate-distortion decision: every weight in coding order, the contexts updated after each.

Source: DeepCABAC (arXiv:1907.11900); the price of a bin is what the coder spends on it on average at the context's
present state.
"""

import numpy as np

from ...compiling import compiled
from .constants import COST_UNIT, SIGN_CONTEXT
from .contexts import reset_contexts
from .prices import magnitude_price, move, move_magnitude, price, two_prices

_ZERO, _ONE = np.uint64(0), np.uint64(1)


def decide(w, step, importance, rate_weight, n_unary, block, presets) -> np.ndarray:
    """int32 [rows, columns] levels of weights, float32 or float64 [rows, columns].

    importance: F, float64 of the same shape, or of size 1 for all. presets: uint8 [contexts].
    """
    levels, contexts = np.zeros(w.shape, np.int32), np.empty(presets.size, np.uint32)
    _decide(w, step, importance, rate_weight, n_unary, block, presets, contexts, levels)
    return levels


@compiled
def _decide(w, step, importance, rate_weight, n_unary, block, presets, contexts, levels):
    """Fills levels, which are zero before. contexts: uint32 [contexts], room."""
    height, width = w.shape
    reset_contexts(contexts, presets)
    unit = rate_weight * COST_UNIT
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    neighbour = 0
    for top in range(0, height, block_height):
        if top:
            reset_contexts(contexts, presets)
            neighbour = 0
        for left in range(0, width, block_width):
            for y in range(top, min(top + block_height, height)):
                for x in range(left, min(left + block_width, width)):
                    value = np.float64(w[y, x]) / step
                    magnitude = abs(value)
                    nearest = np.int64(magnitude)
                    if magnitude - nearest >= 0.5:
                        nearest += 1
                    significance = np.uint64(neighbour)
                    if nearest == 0:
                        move(contexts, significance, _ZERO)
                        neighbour = 0
                        continue
                    negative = 1 if value < 0 else 0
                    weight = importance[y, x] if importance.size > 1 else importance[0, 0]
                    error = magnitude - nearest
                    lowest = weight * magnitude * magnitude + unit * price(contexts, significance, _ZERO)
                    best = np.int64(0)
                    start = price(contexts, significance, _ONE)
                    start += price(contexts, np.uint64(SIGN_CONTEXT + neighbour), np.uint64(negative))
                    if nearest == 1:
                        upper = magnitude_price(contexts, _ZERO, 1, negative, n_unary)
                    else:
                        lower, upper = two_prices(contexts, _ZERO, nearest - 1, negative, n_unary)
                        total = weight * (error + 1) * (error + 1) + unit * (start + lower)
                        if total < lowest:
                            lowest = total
                            best = nearest - 1
                    if weight * error * error + unit * (start + upper) < lowest:
                        best = nearest
                    move(contexts, significance, _ONE if best else _ZERO)
                    if best:
                        move_magnitude(contexts, _ZERO, neighbour, best, negative, n_unary)
                        levels[y, x] = -best if negative else best
                        neighbour = 1 if negative else 2
                    else:
                        neighbour = 0
