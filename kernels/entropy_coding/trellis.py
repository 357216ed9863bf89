"""The compiled trellis of dependent quantisation: Viterbi over its eight states with the coder's own contexts.

Source: dependent (trellis-coded) quantisation of ISO/IEC 15938-17 as DeepCABAC's successor uses it. A stored integer x
stands for step * x; even states take even x, odd states odd x and 0. Every survivor carries its own context states and
its own previous level, so that the rate along each path is the one the coder will produce.
"""

import numpy as np

from .constants import COST_UNIT, SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT
from .estimators import compiled, inlined
from .places import EXPECTED_COST, START, bin_index, moved

_COST = EXPECTED_COST.astype(np.float64) * COST_UNIT

# The two edges into each state: (state left, parity of the level).
_EDGES = np.array(
    [[(s, p) for s in range(8) for p in (0, 1) if STATE_TRANSITIONS[s, p] == t] for t in range(8)], np.int64
)
_INFINITE = 1e300


@inlined
def _bits(states, context, value):
    return _COST[value, bin_index(states[context])]


@inlined
def _move(states, context, value):
    states[context] = moved(states[context], value)


@compiled
def _magnitude_bits(states, magnitude, negative, n_unary):
    """Bits of the unary flags and the remainder of a magnitude >= 1."""
    bits = 0.0
    for n in range(min(magnitude, n_unary)):
        bits += _bits(states, UNARY_CONTEXT + 2 * n + negative, 1 if magnitude > n + 1 else 0)
    if magnitude > n_unary:
        length = 0
        while (magnitude - n_unary) >> (length + 1):
            length += 1
        prefix = UNARY_CONTEXT + 2 * n_unary
        for j in range(length + 1):
            bits += _bits(states, prefix + j, 1 if j < length else 0)
        bits += length
    return bits


@compiled
def _move_level(states, state, neighbour, magnitude, negative, n_unary):
    """Updates a survivor's contexts by the level that it codes in the state it leaves."""
    _move(states, 3 * state + neighbour, 1 if magnitude else 0)
    if magnitude == 0:
        return
    _move(states, SIGN_CONTEXT + neighbour, negative)
    for n in range(min(magnitude, n_unary)):
        _move(states, UNARY_CONTEXT + 2 * n + negative, 1 if magnitude > n + 1 else 0)
    if magnitude > n_unary:
        length = 0
        while (magnitude - n_unary) >> (length + 1):
            length += 1
        prefix = UNARY_CONTEXT + 2 * n_unary
        for j in range(length + 1):
            _move(states, prefix + j, 1 if j < length else 0)


@inlined
def _candidate(magnitude, residue):
    """The grid integer of this residue mod 4 among the four consecutive ones around a scaled magnitude."""
    first = max(np.int64(magnitude) - 1, 1)
    return first + ((residue - first) & 3)


@compiled
def decide(scaled, importance, rate_weight, n_unary, restarts, presets):
    """int32 [n] grid integers for scaled weights w / step (float64 [n], in coding order) that lower
    sum F (w / step - x)^2 + rate_weight * bits.

    importance: F, float64 [n], or of size 1 for all. restarts: increasing positions at which contexts and neighbour
    start anew (rows of blocks), ending with n. presets: uint8 [contexts].
    """
    count = scaled.size
    num_contexts = presets.size
    # decisions[i, t]: state left (bits 3 to 5) and the choice (0: zero; 1: the nonzero candidate).
    decisions = np.empty((count, 8), np.uint8)
    slots = np.empty((8, num_contexts), np.uint32)
    slot = np.arange(8)
    new_slot = np.empty(8, np.int64)
    cost = np.full(8, _INFINITE)
    cost[0] = 0.0
    new_cost = np.empty(8)
    neighbour = np.zeros(8, np.int64)
    new_neighbour = np.empty(8, np.int64)
    edge_cost = np.empty((8, 2))
    choice = np.empty((8, 2), np.uint8)
    chosen_edge = np.empty(8, np.int64)
    users = np.empty(8, np.int64)
    free = np.empty(8, np.int64)
    distortion = np.empty(4)
    candidates = np.empty(4, np.int64)
    next_restart = 0
    position = 0
    for i in range(count):
        if i == position:
            for s in range(8):
                for c in range(num_contexts):
                    slots[s, c] = START[presets[c]]
                neighbour[s] = 0
            position = restarts[next_restart]
            next_restart += 1
        value = scaled[i]
        negative = 1 if value < 0 else 0
        magnitude = abs(value)
        weight = importance[i] if importance.size > 1 else importance[0]
        for r in range(4):
            candidates[r] = _candidate(magnitude, r)
            error = magnitude - candidates[r]
            distortion[r] = weight * error * error
        zero_distortion = weight * magnitude * magnitude
        for s in range(8):
            if cost[s] >= _INFINITE:
                edge_cost[s, 0] = edge_cost[s, 1] = _INFINITE
                continue
            states = slots[slot[s]]
            odd = s & 1
            near = neighbour[s]
            zero = cost[s] + zero_distortion
            even_residue = 3 if odd else 0
            odd_residue = 1 if odd else 2
            even = cost[s] + distortion[even_residue]
            other = cost[s] + distortion[odd_residue]
            if rate_weight > 0.0:
                zero += rate_weight * _bits(states, 3 * s + near, 0)
                start = _bits(states, 3 * s + near, 1) + _bits(states, SIGN_CONTEXT + near, negative)
                other += rate_weight * (
                    start + _magnitude_bits(states, (candidates[odd_residue] + odd) >> 1, negative, n_unary)
                )
                if even < zero:
                    even += rate_weight * (
                        start + _magnitude_bits(states, (candidates[even_residue] + odd) >> 1, negative, n_unary)
                    )
            if even < zero:
                edge_cost[s, 0] = even
                choice[s, 0] = 1
            else:
                edge_cost[s, 0] = zero
                choice[s, 0] = 0
            edge_cost[s, 1] = other
            choice[s, 1] = 1
        users[:] = 0
        for t in range(8):
            first = edge_cost[_EDGES[t, 0, 0], _EDGES[t, 0, 1]]
            second = edge_cost[_EDGES[t, 1, 0], _EDGES[t, 1, 1]]
            edge = 0 if first <= second else 1
            chosen_edge[t] = edge
            new_cost[t] = min(first, second)
            left = _EDGES[t, edge, 0]
            decisions[i, t] = left << 3 | choice[left, _EDGES[t, edge, 1]]
            if new_cost[t] < _INFINITE:
                users[left] += 1
        # A survivor with one successor hands its contexts on; with two, the second gets a copy in a slot that is free.
        spare = 0
        for s in range(8):
            if users[s] == 0:
                free[spare] = slot[s]
                spare += 1
        for t in range(8):
            if new_cost[t] >= _INFINITE:
                continue
            left = _EDGES[t, chosen_edge[t], 0]
            if users[left] == 2:
                spare -= 1
                new_slot[t] = free[spare]
                target = slots[new_slot[t]]
                source = slots[slot[left]]
                for c in range(num_contexts):
                    target[c] = source[c]
                users[left] = 1
            else:
                new_slot[t] = slot[left]
        for t in range(8):
            if new_cost[t] >= _INFINITE:
                spare -= 1
                new_slot[t] = free[spare]
                continue
            left = _EDGES[t, chosen_edge[t], 0]
            parity = _EDGES[t, chosen_edge[t], 1]
            level = np.int64(0)
            if choice[left, parity]:
                odd = left & 1
                residue = (1 if parity else 3) if odd else (2 if parity else 0)
                level = (candidates[residue] + odd) >> 1
            if rate_weight > 0.0:
                _move_level(slots[new_slot[t]], left, neighbour[left], level, negative, n_unary)
            new_neighbour[t] = 0 if level == 0 else (1 if negative else 2)
        for t in range(8):
            slot[t] = new_slot[t]
            neighbour[t] = new_neighbour[t]
            cost[t] = new_cost[t]
    levels = np.empty(count, np.int32)
    state = np.int64(np.argmin(cost))
    for i in range(count - 1, -1, -1):
        decision = np.int64(decisions[i, state])
        left = decision >> 3
        if decision & 1:
            parity = 1 if STATE_TRANSITIONS[left, 1] == state else 0
            residue = (1 if parity else 3) if left & 1 else (2 if parity else 0)
            grid = _candidate(abs(scaled[i]), residue)
            levels[i] = -grid if scaled[i] < 0 else grid
        else:
            levels[i] = 0
        state = left
    return levels
