"""The compiled greedy rate-distortion decision: every weight in coding order, the contexts updated after each.

Source: DeepCABAC (arXiv:1907.11900); the price of a bin is what the coder spends on it on average at the context's
present state.
"""

import numpy as np

from .constants import COST_UNIT, SIGN_CONTEXT, UNARY_CONTEXT
from .estimators import compiled, inlined
from .places import EXPECTED_COST, bin_index, moved, reset_contexts


@inlined
def _price(contexts, context, value):
    """Cost of a bin, in units of 2^-15 bit."""
    return EXPECTED_COST[value, bin_index(contexts[context])]


@inlined
def _move(contexts, context, value):
    contexts[context] = moved(contexts[context], value)


@compiled
def _magnitude_price(states, magnitude, negative, n_unary):
    """Cost of the unary flags and the remainder of a magnitude >= 1, in units of 2^-15 bit."""
    price = 0
    for n in range(min(magnitude, n_unary)):
        price += _price(states, UNARY_CONTEXT + 2 * n + negative, 1 if magnitude > n + 1 else 0)
    if magnitude > n_unary:
        bits = 0
        while (magnitude - n_unary) >> (bits + 1):
            bits += 1
        prefix = UNARY_CONTEXT + 2 * n_unary
        for j in range(bits + 1):
            price += _price(states, prefix + j, 1 if j < bits else 0)
        price += bits << 15
    return price


@compiled
def _move_magnitude(states, magnitude, negative, n_unary):
    for n in range(min(magnitude, n_unary)):
        _move(states, UNARY_CONTEXT + 2 * n + negative, 1 if magnitude > n + 1 else 0)
    if magnitude > n_unary:
        bits = 0
        while (magnitude - n_unary) >> (bits + 1):
            bits += 1
        prefix = UNARY_CONTEXT + 2 * n_unary
        for j in range(bits + 1):
            _move(states, prefix + j, 1 if j < bits else 0)


@compiled
def decide(scaled, importance, rate_weight, n_unary, block, presets):
    """int32 [rows, columns] levels for scaled weights w / step and their importance, both float64 [rows, columns]
    (importance of size 1: the same for all)."""
    height, width = scaled.shape
    levels = np.zeros((height, width), np.int32)
    states = np.empty(presets.size, np.uint32)
    reset_contexts(states, presets)
    unit = rate_weight * COST_UNIT
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    previous = 0
    for top in range(0, height, block_height):
        if top:
            reset_contexts(states, presets)
            previous = 0
        for left in range(0, width, block_width):
            for y in range(top, min(top + block_height, height)):
                for x in range(left, min(left + block_width, width)):
                    value = scaled[y, x]
                    negative = 1 if value < 0 else 0
                    magnitude = abs(value)
                    nearest = np.int64(magnitude)
                    if magnitude - nearest >= 0.5:
                        nearest += 1
                    neighbour = 0 if previous == 0 else (1 if previous < 0 else 2)
                    best = np.int64(0)
                    if nearest:
                        weight = importance[y, x] if importance.size > 1 else importance[0, 0]
                        lowest = weight * magnitude * magnitude + unit * _price(states, neighbour, 0)
                        start = _price(states, neighbour, 1) + _price(states, SIGN_CONTEXT + neighbour, negative)
                        for candidate in range(max(nearest - 1, 1), nearest + 1):
                            error = magnitude - candidate
                            total = weight * error * error
                            if total < lowest:
                                total += unit * (start + _magnitude_price(states, candidate, negative, n_unary))
                                if total < lowest:
                                    lowest = total
                                    best = candidate
                    _move(states, neighbour, 1 if best else 0)
                    if best:
                        _move(states, SIGN_CONTEXT + neighbour, negative)
                        _move_magnitude(states, best, negative, n_unary)
                    level = -best if negative else best
                    levels[y, x] = level
                    previous = level
    return levels
