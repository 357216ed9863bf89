"""Choice of the starting state of every context: all nine estimator presets tried at once over the actual bins.

Source: the normative cost estimator of ISO/IEC 15938-17 (DeepCABAC's presets): a preset other than 0 pays three more
header bits, ties keep the lower index, and at each row of blocks the trial states return to their starts.
"""

import numpy as np

from .constants import COST_UNIT, NUM_PRESETS, SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT, ZERO_CYCLE
from .estimators import compiled, inlined
from .places import BIN_COST, FAST_START, NEXT_FAST, NEXT_SLOW, SLOW_START, cost_index

# Bins of a context wait in a buffer of this length, so that a trial state stays in registers while it reads them.
_BUFFER = 1024


# Columns of the trial table [contexts, 9, 5]. Presets of equal rates soon reach equal states and differ by a constant
# from then on: the later one is dropped from the active list and remembers its leader and the difference.
_FAST, _SLOW, _COST, _LEADER, _ACTIVE = 0, 1, 2, 3, 4


@compiled
def _restart(trials, active):
    """Puts all nine trial states of every context at their starts; costs stay."""
    for context in range(trials.shape[0]):
        active[context] = NUM_PRESETS
        for preset in range(NUM_PRESETS):
            trials[context, preset, _FAST] = FAST_START[preset]
            trials[context, preset, _SLOW] = SLOW_START[preset]
            trials[context, preset, _LEADER] = preset
            trials[context, preset, _ACTIVE] = preset


@compiled
def _merge(trial, active):
    """Drops active presets that have reached the state of an earlier one; returns how many are left."""
    kept = 0
    for i in range(active):
        preset = trial[i, _ACTIVE]
        leader = preset
        for j in range(kept):
            other = trial[j, _ACTIVE]
            if trial[other, _FAST] == trial[preset, _FAST] and trial[other, _SLOW] == trial[preset, _SLOW]:
                leader = other
                break
        if leader == preset:
            trial[kept, _ACTIVE] = preset
            kept += 1
        else:
            trial[preset, _LEADER] = leader
            trial[preset, _COST] -= trial[leader, _COST]
    return kept


@compiled
def _drain(trial, active, bins):
    """Charges the waiting bins to every active trial state of one context; three states at a time hide the latency of
    the table look-ups (a short last group repeats its first state and forgets the copies). Returns the active count."""
    for first in range(0, active, 3):
        a = trial[first, _ACTIVE]
        b = trial[first + 1, _ACTIVE] if first + 1 < active else a
        c = trial[first + 2, _ACTIVE] if first + 2 < active else a
        fast_a, slow_a = np.uint64(trial[a, _FAST]), np.uint64(trial[a, _SLOW])
        fast_b, slow_b = np.uint64(trial[b, _FAST]), np.uint64(trial[b, _SLOW])
        fast_c, slow_c = np.uint64(trial[c, _FAST]), np.uint64(trial[c, _SLOW])
        cost_a = cost_b = cost_c = 0
        for i in range(bins.size):
            value = np.uint64(bins[i])
            cost_a += BIN_COST[value, cost_index(fast_a, slow_a)]
            cost_b += BIN_COST[value, cost_index(fast_b, slow_b)]
            cost_c += BIN_COST[value, cost_index(fast_c, slow_c)]
            fast_a = np.uint64(NEXT_FAST[value, fast_a])
            fast_b = np.uint64(NEXT_FAST[value, fast_b])
            fast_c = np.uint64(NEXT_FAST[value, fast_c])
            slow_a = np.uint64(NEXT_SLOW[value, slow_a])
            slow_b = np.uint64(NEXT_SLOW[value, slow_b])
            slow_c = np.uint64(NEXT_SLOW[value, slow_c])
        trial[a, _FAST], trial[a, _SLOW] = fast_a, slow_a
        trial[a, _COST] += cost_a
        if b != a:
            trial[b, _FAST], trial[b, _SLOW] = fast_b, slow_b
            trial[b, _COST] += cost_b
        if c != a:
            trial[c, _FAST], trial[c, _SLOW] = fast_c, slow_c
            trial[c, _COST] += cost_c
    return _merge(trial, active)


@compiled
def _settle(trials, active, buffer, waiting):
    """Empties all buffers and turns the differences of merged presets back into costs (leaders come first)."""
    for context in range(trials.shape[0]):
        if waiting[context]:
            _drain(trials[context], active[context], buffer[context, : waiting[context]])
            waiting[context] = 0
        for preset in range(NUM_PRESETS):
            leader = trials[context, preset, _LEADER]
            if leader != preset:
                trials[context, preset, _COST] += trials[context, leader, _COST]


@inlined
def _add(trials, active, buffer, waiting, context, value):
    """Appends one bin to its context's buffer."""
    count = waiting[context]
    buffer[context, count] = value
    count += 1
    if count == _BUFFER:
        active[context] = _drain(trials[context], active[context], buffer[context])
        count = 0
    waiting[context] = count


@compiled
def costs(levels, n_unary, dq, block, skipped, num_contexts):
    """int64 [contexts, 9]: cost of each context's bins under each preset, in 2^-15 bit, without bypass bins."""
    height, width = levels.shape
    trials = np.zeros((num_contexts, NUM_PRESETS, 5), np.int64)
    active = np.empty(num_contexts, np.int64)  # presets still told apart
    buffer = np.empty((num_contexts, _BUFFER), np.uint8)
    waiting = np.zeros(num_contexts, np.int64)
    _restart(trials, active)
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    prefix = UNARY_CONTEXT + 2 * n_unary
    state = 0
    previous = 0
    for top in range(0, height, block_height):
        if top:
            _settle(trials, active, buffer, waiting)
            _restart(trials, active)
            # The neighbour is kept here, unlike in the coder: nncodec's search does so, and its bytes are the measure.
        for left in range(0, width, block_width):
            for y in range(top, min(top + block_height, height)):
                if skipped[y]:
                    if dq:
                        for _ in range(width % ZERO_CYCLE):
                            state = STATE_TRANSITIONS[state, 0]
                    continue
                row = levels[y]
                right = min(left + block_width, width)
                x = left
                while x < right:
                    level = np.int64(row[x])
                    if dq:
                        odd = state & 1
                        level = (level + odd) >> 1 if level > 0 else -((odd - level) >> 1) if level < 0 else level
                    elif level == 0 and previous == 0:
                        count = waiting[0]
                        while x < right and row[x] == 0:
                            buffer[0, count] = 0
                            count += 1
                            x += 1
                            if count == _BUFFER:
                                active[0] = _drain(trials[0], active[0], buffer[0])
                                count = 0
                        waiting[0] = count
                        continue
                    neighbour = 0 if previous == 0 else (1 if previous < 0 else 2)
                    _add(trials, active, buffer, waiting, 3 * state + neighbour, 1 if level else 0)
                    if level:
                        negative = 1 if level < 0 else 0
                        magnitude = abs(level)
                        _add(trials, active, buffer, waiting, SIGN_CONTEXT + neighbour, negative)
                        for n in range(min(magnitude, n_unary)):
                            _add(
                                trials,
                                active,
                                buffer,
                                waiting,
                                UNARY_CONTEXT + 2 * n + negative,
                                1 if magnitude > n + 1 else 0,
                            )
                        if magnitude > n_unary:
                            bits = 0
                            while (magnitude - n_unary) >> (bits + 1):
                                bits += 1
                            for j in range(bits + 1):
                                _add(trials, active, buffer, waiting, prefix + j, 1 if j < bits else 0)
                    previous = level
                    if dq:
                        state = STATE_TRANSITIONS[state, level & 1]
                    x += 1
    _settle(trials, active, buffer, waiting)
    return trials[:, :, _COST].copy()


def choose(levels, n_unary, dq, block, skipped, order) -> np.ndarray:
    """uint8 [contexts]: the cheapest preset of every context that the header can signal, 0 for the others.

    Args: as `encoder.encode`; order are the contexts that the header signals.
    """
    return choose_with_cost(levels, n_unary, dq, block, skipped, order)[0]


def choose_with_cost(levels, n_unary, dq, block, skipped, order) -> tuple[np.ndarray, float]:
    """The presets of `choose`, and the bits of all context-coded bins of the levels under them (no bypass bins)."""
    levels = levels.view()
    levels.flags.writeable = False  # always, so that there is one specialisation
    num_contexts = int(order[-1]) + 4
    total = costs(levels, n_unary, dq, block, skipped, num_contexts)
    total[:, 1:] += 3 << 15
    chosen = np.zeros(num_contexts, np.uint8)
    chosen[order] = np.argmin(total[order], axis=1)
    return chosen, float(total[order].min(axis=1).sum()) * COST_UNIT
