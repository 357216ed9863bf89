"""Choice of the starting state of every context: all nine estimator presets tried at once over the actual bins.

Source: the normative cost estimator of ISO/IEC 15938-17 (DeepCABAC's presets): a preset other than 0 pays three more
header bits, ties keep the lower index, and at each row of blocks the trial states return to their starts.
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import NUM_PRESETS, SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT, ZERO_CYCLE
from .contexts import BIN_COST, NEXT_FAST, NEXT_SLOW, START

# So many weights are turned into bins before any is charged. A weight has no two bins in one context: so many bins fit.
_CHUNK = 2048

# Columns of the trial table [contexts, 9, 5]. Presets of equal rates soon reach equal states and differ by a constant
# from then on: the later one is dropped from the active list and remembers its leader and the difference.
_FAST, _SLOW, _COST, _LEADER, _ACTIVE = 0, 1, 2, 3, 4
_FAST_START = (START >> np.uint32(16)).astype(np.int64)
_SLOW_START = (START & np.uint32(0xFFFF)).astype(np.int64)


@compiled
def _restart(trials, active):
    """Puts all nine trial states of every context at their starts; costs stay."""
    for context in range(trials.shape[0]):
        active[context] = NUM_PRESETS
        for preset in range(NUM_PRESETS):
            trials[context, preset, _FAST] = _FAST_START[preset]
            trials[context, preset, _SLOW] = _SLOW_START[preset]
            trials[context, preset, _LEADER] = preset
            trials[context, preset, _ACTIVE] = preset


@compiled
def _merge(trial, active):
    """Drops active presets that have reached the state of an earlier one; returns how many remain."""
    distinct = 0
    for i in range(active):
        preset = trial[i, _ACTIVE]
        leader = preset
        for j in range(distinct):
            other = trial[j, _ACTIVE]
            if trial[other, _FAST] == trial[preset, _FAST] and trial[other, _SLOW] == trial[preset, _SLOW]:
                leader = other
                break
        if leader == preset:
            trial[distinct, _ACTIVE] = preset
            distinct += 1
        else:
            trial[preset, _LEADER] = leader
            trial[preset, _COST] -= trial[leader, _COST]
    return distinct


@inlined
def _charge(fast, slow, value):
    """Places of both estimators after a bin, and its cost."""
    index = (fast + fast + (slow >> np.uint64(3))) & np.uint64(1023)
    return np.uint64(NEXT_FAST[value, fast]), np.uint64(NEXT_SLOW[value, slow]), BIN_COST[value, index]


@compiled
def _drain(trial, active, bins):
    """Charges bins to every active trial state of one context; three states at a time hide the latency of the
    look-ups, more no longer fit the registers (a short last group repeats a state and forgets the copies)."""
    for first in range(0, active, 3):
        a = trial[first, _ACTIVE]
        b = trial[min(first + 1, active - 1), _ACTIVE]
        c = trial[min(first + 2, active - 1), _ACTIVE]
        fast_a, slow_a = np.uint64(trial[a, _FAST]), np.uint64(trial[a, _SLOW])
        fast_b, slow_b = np.uint64(trial[b, _FAST]), np.uint64(trial[b, _SLOW])
        fast_c, slow_c = np.uint64(trial[c, _FAST]), np.uint64(trial[c, _SLOW])
        cost_a = cost_b = cost_c = np.int64(0)
        for i in range(bins.size):
            value = np.uint64(bins[i])
            fast_a, slow_a, cost = _charge(fast_a, slow_a, value)
            cost_a += cost
            fast_b, slow_b, cost = _charge(fast_b, slow_b, value)
            cost_b += cost
            fast_c, slow_c, cost = _charge(fast_c, slow_c, value)
            cost_c += cost
        trial[a, _FAST], trial[a, _SLOW] = fast_a, slow_a
        trial[a, _COST] += cost_a
        if first + 1 < active:
            trial[b, _FAST], trial[b, _SLOW] = fast_b, slow_b
            trial[b, _COST] += cost_b
        if first + 2 < active:
            trial[c, _FAST], trial[c, _SLOW] = fast_c, slow_c
            trial[c, _COST] += cost_c


@compiled
def _drain_all(trials, active, buffer, waiting):
    """Charges all bins that wait and empties the buffers."""
    for context in range(waiting.size):
        count = np.int64(waiting[context])
        if count:
            _drain(trials[context], active[context], buffer[context, :count])
            if active[context] > 1:
                active[context] = _merge(trials[context], active[context])
            waiting[context] = 0


@compiled
def _settle(trials):
    """Turns the differences of merged presets back into costs (leaders come first)."""
    for context in range(trials.shape[0]):
        for preset in range(NUM_PRESETS):
            leader = trials[context, preset, _LEADER]
            if leader != preset:
                trials[context, preset, _COST] += trials[context, leader, _COST]


@inlined
def _add(buffer, waiting, context, value):
    """Appends one bin to its context's buffer."""
    count = waiting[context]
    buffer[context, count] = value
    waiting[context] = count + np.uint64(1)


@compiled
def _collect(row, x, stop, previous, state, dq, n_unary, buffer, waiting):
    """Puts the bins of row[x:stop] into the buffers; returns the last level and the trellis state."""
    while x < stop:
        level = np.int64(row[x])
        if dq:
            odd = state & 1
            level = (level + odd) >> 1 if level > 0 else -((odd - level) >> 1) if level < 0 else level
        neighbour = np.uint64(0 if previous == 0 else (1 if previous < 0 else 2))
        _add(buffer, waiting, np.uint64(3 * state) + neighbour, 1 if level else 0)
        if level:
            negative = np.uint64(1 if level < 0 else 0)
            magnitude = abs(level)
            _add(buffer, waiting, np.uint64(SIGN_CONTEXT) + neighbour, negative)
            context = np.uint64(UNARY_CONTEXT) + negative
            for _ in range(min(magnitude - 1, n_unary)):
                _add(buffer, waiting, context, 1)
                context += np.uint64(2)
            if magnitude <= n_unary:
                _add(buffer, waiting, context, 0)
            else:
                context = np.uint64(UNARY_CONTEXT + 2 * n_unary)
                rest = (magnitude - n_unary) >> 1
                while rest:
                    _add(buffer, waiting, context, 1)
                    context += np.uint64(1)
                    rest >>= 1
                _add(buffer, waiting, context, 0)
        previous = level
        if dq:
            state = STATE_TRANSITIONS[state, level & 1]
        x += 1
    return previous, state


@compiled
def _charge_all(levels, n_unary, dq, block, skipped, trials, active, buffer, waiting):
    """Fills the trial table (zero before), which then holds all costs. active: int64 [contexts], presets still told
    apart."""
    height, width = levels.shape
    _restart(trials, active)
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    state = 0
    previous = np.int64(0)
    room = _CHUNK
    for top in range(0, height, block_height):
        if top:
            _drain_all(trials, active, buffer, waiting)
            _settle(trials)
            _restart(trials, active)
            room = _CHUNK
            # The neighbour stays here, unlike in the coder: nncodec's search does so, and its bytes are the measure.
        for left in range(0, width, block_width):
            right = min(left + block_width, width)
            for y in range(top, min(top + block_height, height)):
                if skipped[y]:
                    if dq:
                        for _ in range(width % ZERO_CYCLE):
                            state = STATE_TRANSITIONS[state, 0]
                    continue
                x = left
                while x < right:
                    stop = min(right, x + room)
                    previous, state = _collect(levels[y], x, stop, previous, state, dq, n_unary, buffer, waiting)
                    room -= stop - x
                    x = stop
                    if room == 0:
                        _drain_all(trials, active, buffer, waiting)
                        room = _CHUNK
    _drain_all(trials, active, buffer, waiting)
    _settle(trials)


def costs(levels, n_unary, dq, block, skipped, num_contexts) -> np.ndarray:
    """int64 [contexts, 9]: cost of each context's bins under each preset, in 2^-15 bit, without bypass bins."""
    trials = np.zeros((num_contexts, NUM_PRESETS, 5), np.int64)
    active, waiting = np.empty(num_contexts, np.int64), np.zeros(num_contexts, np.uint64)
    buffer = np.empty((num_contexts, _CHUNK), np.uint8)
    _charge_all(levels, n_unary, dq, block, skipped, trials, active, buffer, waiting)
    return trials[:, :, _COST].copy()


def choose(total, order) -> np.ndarray:
    """uint8 [contexts]: the cheapest preset of every context that the header can signal, 0 for the others.

    Args: total: of `costs`; order: the contexts that the header signals.
    """
    presets = np.zeros(len(total), np.uint8)
    headers = np.array([0] + [3 << 15] * (NUM_PRESETS - 1))
    presets[order] = np.argmin(total[order] + headers, axis=1)
    return presets
