"""The compiled trellis of dependent quantisation: Viterbi over its eight states with the coder's own contexts.

Source: dependent (trellis-coded) quantisation of ISO/IEC 15938-17 as DeepCABAC's successor uses it. A stored integer x
stands for step * x; even states take even x, odd states odd x and 0. Every survivor carries its own context states and
its own previous level, so that the rate along each path is the one the coder will produce.
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import COST_UNIT, SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT
from .contexts import START
from .prices import magnitude_price, move, move_magnitude, price, two_prices

# The two edges into each state, by the state of origin and the parity of the level.
_ORIGIN = np.array([[s for s in range(8) for p in (0, 1) if STATE_TRANSITIONS[s, p] == t] for t in range(8)], np.uint64)
_PARITY = np.array([[p for s in range(8) for p in (0, 1) if STATE_TRANSITIONS[s, p] == t] for t in range(8)], np.uint64)
_IMPOSSIBLE = np.inf
_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)


@inlined
def _first(magnitude):
    """The lowest of the four grid integers around a scaled magnitude that are candidates beside 0."""
    return max(np.int64(magnitude) - 1, 1)


@inlined
def _candidate(magnitude, odd, parity):
    """The candidate that a state (odd or even) may take for a level of this parity."""
    residue = (1 if parity else 3) if odd else (2 if parity else 0)
    first = _first(magnitude)
    return first + ((residue - first) & 3)


def nearest(w, step, importance) -> np.ndarray:
    """int32 [n] grid integers for weights (float32 or float64 [n], in coding order) of the least squared error.

    importance: weights of the squared errors, float64 [n] or of size 1 for all.
    """
    levels, decisions = np.empty(w.size, np.int32), np.empty(w.size, np.uint16)
    _nearest(w, step, importance, np.empty(8), np.empty(8), np.empty(4), decisions, levels)
    return levels


@compiled
def _nearest(w, step, importance, cost, new_cost, error, decisions, levels):
    """Fills levels; the arrays before are room. Bit t of a decision: the edge that the survivor in state t came by;
    bits 8 and 9: even states left by an even level (odd states) rather took 0."""
    count = w.size
    for s in range(8):
        cost[s] = 0.0 if s == 0 else _IMPOSSIBLE
    for i in range(count):
        magnitude = abs(np.float64(w[i]) / step)
        weight = importance[i] if importance.size > 1 else importance[0]
        first = _first(magnitude)
        for k in range(4):
            distance = magnitude - (first + k)
            error[np.uint64((first + k) & 3)] = weight * distance * distance
        zero = weight * magnitude * magnitude
        even, odd = error[0], error[3]
        bits = np.uint64(0)
        if zero <= even:
            bits |= np.uint64(256)
            even = zero
        if zero <= odd:
            bits |= np.uint64(512)
            odd = zero
        for t in range(8):
            costs_a = cost[_ORIGIN[t, 0]] + _edge_error(_ORIGIN[t, 0], _PARITY[t, 0], even, error[2], odd, error[1])
            costs_b = cost[_ORIGIN[t, 1]] + _edge_error(_ORIGIN[t, 1], _PARITY[t, 1], even, error[2], odd, error[1])
            if costs_b < costs_a:
                bits |= np.uint64(1 << t)
            new_cost[t] = min(costs_a, costs_b)
        cost, new_cost = new_cost, cost
        decisions[i] = bits
    state = _cheapest(cost)
    for i in range(count - 1, -1, -1):
        bits = np.uint64(decisions[i])
        edge = (bits >> state) & _ONE
        origin, parity = _ORIGIN[state, edge], _PARITY[state, edge]
        if parity == 0 and (bits >> np.uint64(8 + (origin & _ONE))) & _ONE:
            levels[i] = 0
        else:
            grid = _candidate(abs(np.float64(w[i]) / step), origin & _ONE, parity)
            levels[i] = -grid if w[i] < 0 else grid
        state = origin


@inlined
def _cheapest(cost):
    """The state in which the path of least cost ends."""
    best = 0
    for s in range(1, 8):
        if cost[s] < cost[best]:
            best = s
    return np.uint64(best)


@inlined
def _edge_error(origin, parity, even_even, even_odd, odd_even, odd_odd):
    """Squared error of the best candidate on an edge: from an even or odd state, by an even or odd level."""
    if origin & _ONE:
        return odd_odd if parity else odd_even
    return even_odd if parity else even_even


def decide(w, step, importance, rate_weight, n_unary, restarts, presets, num_contexts) -> np.ndarray:
    """int32 [n] grid integers for weights (float32 or float64 [n], in coding order) that lower
    sum F (w / step - x)^2 + rate_weight * bits.

    importance: F, float64 [n], or of size 1 for all. restarts: increasing positions at which contexts and neighbour
    start anew (rows of blocks), ending with n. presets: uint8 [contexts]. num_contexts: no level needs more.
    """
    levels, decisions = np.empty(w.size, np.int32), np.empty(w.size, np.uint16)
    contexts, edge_level = np.empty(8 * num_contexts, np.uint32), np.empty((8, 2), np.int64)
    reals, signed, unsigned = np.empty((4, 8)), np.zeros((4, 8), np.int64), np.empty((4, 8), np.uint64)
    edge_cost = reals[2:].reshape(8, 2)
    _decide(
        w, step, importance, rate_weight, n_unary, restarts, presets, num_contexts, reals[0], reals[1], edge_cost,
        edge_level, *signed, *unsigned, contexts, decisions, levels,
    )  # fmt: skip
    return levels


@compiled
def _decide(
    w, step, importance, rate_weight, n_unary, restarts, presets, num_contexts, cost, new_cost, edge_cost, edge_level,
    neighbour, new_neighbour, level, successors, offset, new_offset, origins, free, contexts, decisions, levels,
):  # fmt: skip
    """Fills levels; the arrays before are room for the eight survivors. edge_level: magnitude of the level on an edge.
    offset: of each survivor's contexts. Decisions have two bits a state: the edge that the survivor came by, and
    whether its level is not 0."""
    count = w.size
    unit = rate_weight * COST_UNIT
    for s in range(8):
        cost[s] = 0.0 if s == 0 else _IMPOSSIBLE
        neighbour[s] = 0
        offset[s] = np.uint64(s * num_contexts)
    next_restart = 0
    position = 0
    for i in range(count):
        if i == position:
            for s in range(8):
                for c in range(num_contexts):
                    contexts[s * num_contexts + c] = START[presets[c]]
                neighbour[s] = 0
            position = restarts[next_restart]
            next_restart += 1
        negative = 1 if w[i] < 0 else 0
        magnitude = abs(np.float64(w[i]) / step)
        weight = importance[i] if importance.size > 1 else importance[0]
        zero_error = weight * magnitude * magnitude
        first = _first(magnitude)
        # The two candidates of even states, then of odd states: the lower one's level, and both errors.
        even_grid, odd_grid = first + (first & 1), first | 1
        even_level, odd_level = even_grid >> 1, (odd_grid + 1) >> 1
        even_error, next_even_error = magnitude - even_grid, magnitude - even_grid - 2
        odd_error, next_odd_error = magnitude - odd_grid, magnitude - odd_grid - 2
        even_error, next_even_error = weight * even_error * even_error, weight * next_even_error * next_even_error
        odd_error, next_odd_error = weight * odd_error * odd_error, weight * next_odd_error * next_odd_error
        for s in range(8):
            start = offset[s]
            near = neighbour[s]
            significance = start + np.uint64(3 * s + near)
            if s & 1:
                low, low_error, high_error = odd_level, odd_error, next_odd_error
            else:
                low, low_error, high_error = even_level, even_error, next_even_error
            zero = zero_error + unit * price(contexts, significance, _ZERO)
            sign = price(contexts, significance, _ONE)
            sign += price(contexts, start + np.uint64(SIGN_CONTEXT + near), np.uint64(negative))
            if low & 1:  # the higher level is even and competes with 0
                if high_error < zero:
                    low_price, high_price = two_prices(contexts, start, low, negative, n_unary)
                    even = high_error + unit * (sign + high_price)
                else:
                    low_price = magnitude_price(contexts, start, low, negative, n_unary)
                    even = zero
                odd = low_error + unit * (sign + low_price)
                odd_choice, even_choice = low, low + 1
            else:
                low_price, high_price = two_prices(contexts, start, low, negative, n_unary)
                even = low_error + unit * (sign + low_price)
                odd = high_error + unit * (sign + high_price)
                odd_choice, even_choice = low + 1, low
            if zero <= even:
                even, even_choice = zero, 0
            edge_cost[s, 0] = cost[s] + even
            edge_cost[s, 1] = cost[s] + odd
            edge_level[s, 0] = even_choice
            edge_level[s, 1] = odd_choice
            successors[s] = 0
        bits = np.uint64(0)
        for t in range(8):
            a, b = edge_cost[_ORIGIN[t, 0], _PARITY[t, 0]], edge_cost[_ORIGIN[t, 1], _PARITY[t, 1]]
            edge = _ONE if b < a else _ZERO
            new_cost[t] = min(a, b)
            origin = _ORIGIN[t, edge]
            origins[t] = origin
            level[t] = edge_level[origin, _PARITY[t, edge]]
            successors[origin] += 1
            bits |= (edge | (_TWO if level[t] else _ZERO)) << np.uint64(2 * t)
        decisions[i] = bits
        # A survivor with one successor hands its contexts on; with two, the second gets a copy in a place that is free.
        spare = 0
        for s in range(8):
            if successors[s] == 0:
                free[spare] = offset[s]
                spare += 1
        for t in range(8):
            origin = origins[t]
            source = offset[origin]
            if successors[origin] == 2:
                successors[origin] = 1
                spare -= 1
                target = free[spare]
                for c in range(np.uint64(num_contexts)):
                    contexts[target + c] = contexts[source + c]
                source = target
            new_offset[t] = source
        for t in range(8):
            origin = origins[t]
            near = neighbour[origin]
            start = new_offset[t]
            significance = start + np.uint64(3) * origin + np.uint64(near)
            if level[t]:
                move(contexts, significance, _ONE)
                move_magnitude(contexts, start, near, level[t], negative, n_unary)
                new_neighbour[t] = 2 - negative
            else:
                move(contexts, significance, _ZERO)
                new_neighbour[t] = 0
        offset, new_offset = new_offset, offset
        neighbour, new_neighbour = new_neighbour, neighbour
        cost, new_cost = new_cost, cost
    state = _cheapest(cost)
    for i in range(count - 1, -1, -1):
        bits = np.uint64(decisions[i]) >> (_TWO * state)
        edge = bits & _ONE
        origin = _ORIGIN[state, edge]
        levels[i] = 0
        if bits & _TWO:
            grid = _candidate(abs(np.float64(w[i]) / step), origin & _ONE, _PARITY[state, edge])
            levels[i] = -grid if w[i] < 0 else grid
        state = origin


def used_contexts(largest: float, n_unary: int, num_contexts: int) -> int:
    """Number of contexts, from the first, that levels for scaled magnitudes up to `largest` can need."""
    level = int(largest) // 2 + 3
    if level <= n_unary:
        return UNARY_CONTEXT + 2 * level
    return min(UNARY_CONTEXT + 2 * n_unary + (level - n_unary).bit_length() + 1, num_contexts)
