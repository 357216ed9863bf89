"""The greedy rate-distortion decision in plain Python, with estimator objects instead of tables; slow.

Source: DeepCABAC (arXiv:1907.11900), weighted rate-distortion quantisation.
"""

import functools
import math

from tests.kernels.oracles import cabac, presets


@functools.cache
def expected_cost(bucket, probable):
    """Mean bits of the less or the more probable value, in 2^-15 bit, over spans 256 to 510 of density 1 / span."""
    total = weight = 0.0
    for span in range(256, 511):
        width = (cabac.M[bucket] * ((span >> 5) + 1)) >> 3
        total += math.log2(span / (span - width if probable else width)) / span
        weight += 1 / span
    return round(32768 * total / weight)


def bin_cost(context, value):
    state = context.state()
    return expected_cost(abs(state >> 7), (state >= 0) == bool(value))


def bits_of(contexts, level, previous, n_unary):
    """Cost of a level in 2^-15 bit at the contexts' present states."""
    cost = 0
    for kind, index, value in cabac.binarize(level, n_unary):
        if kind == "bypass":
            cost += presets.UNIT
        else:
            index = cabac.neighbour_class(previous) if kind in ("sig", "sign") else index
            cost += bin_cost(contexts[kind, index], value)
    return cost


def update(contexts, level, previous, n_unary):
    for kind, index, value in cabac.binarize(level, n_unary):
        if kind != "bypass":
            index = cabac.neighbour_class(previous) if kind in ("sig", "sign") else index
            contexts[kind, index].update(value)


def decide(scaled, importance, rate_weight, *, n_unary=11, scan=0, chosen=None):
    """Rows of levels for scaled weights: each the cheapest of 0, nearest - 1, nearest; ties to the smaller."""
    height, width = len(scaled), len(scaled[0]) if scaled else 0
    levels = [[0] * width for _ in range(height)]
    blocks = cabac.positions(height, width, scan)
    contexts, previous = cabac.fresh_contexts(chosen or {}, n_unary), 0
    for number, block_row in enumerate(blocks):
        if number:
            contexts, previous = cabac.fresh_contexts(chosen or {}, n_unary), 0
        for row, left, right in block_row:
            for column in range(left, right):
                x = scaled[row][column]
                sign, magnitude = (-1 if x < 0 else 1), abs(x)
                nearest = math.floor(magnitude) + (magnitude - math.floor(magnitude) >= 0.5)
                best, lowest = 0, math.inf
                for candidate in sorted({0, max(nearest - 1, 0), nearest}):
                    error = magnitude - candidate
                    total = importance[row][column] * error * error
                    total += rate_weight / presets.UNIT * bits_of(contexts, sign * candidate, previous, n_unary)
                    if total < lowest:
                        best, lowest = sign * candidate, total
                update(contexts, best, previous, n_unary)
                levels[row][column] = previous = best
    return levels


def quantize(scaled, importance, rate_weight, *, n_unary=11, scan=0):
    """Two passes: the second starts from the presets that suit the first one's levels."""
    first = decide(scaled, importance, rate_weight, n_unary=n_unary, scan=scan)
    chosen = presets.choose(first, n_unary=n_unary, scan=scan)
    return decide(scaled, importance, rate_weight, n_unary=n_unary, scan=scan, chosen=chosen)
