"""The coder's tables against formulas, over every state that an estimator can reach."""

import numpy as np
import pytest

from kernels.entropy_coding.core import constants, contexts
from tests.kernels.oracles import cabac
from tests.kernels.oracles import presets as preset_oracle
from tests.kernels.oracles import rdo as rdo_oracle

# A preset's two estimators do not touch each other: the states that each can reach, whatever the bins.
STATES = []
for a, b, total, first in cabac.PRESETS:
    sets = []
    for start, bucket, shift in ((first, 3, a + 4), (total - 16 * first, 7, b)):
        seen, new = set(), {start}
        while new:
            seen |= new
            steps = {x + g * (cabac.T[16 + ((g * x) >> bucket)] >> shift) for x in new for g in (-1, 1)}
            new = steps - seen
        sets.append(sorted(seen))
    STATES.append(sets)


def test_no_state_leaves_the_tables():
    highest = 0
    for fast, slow in STATES:
        assert -128 < min(fast) and max(fast) < 128
        assert -2048 < min(slow) and max(slow) < 2048
        highest = max(highest, 16 * fast[-1] + slow[-1], -16 * fast[0] - slow[0])
    assert highest <= 3891  # |state >> 7| <= 31: the last row of the range table


def test_lps_width_of_every_state_and_span():
    spans = np.arange(256, 511)
    for state in sorted(
        {16 * fast + slow for fast, slow in [(f[i], s[i]) for f, s in STATES for i in (0, -1)]} | {-1, 0}
    ):
        expected = [cabac.lps_range(state, int(span)) for span in spans]
        assert [int(contexts.lps_width.py_func((state >> 3) + 512, span)) for span in spans] == expected
    assert constants.LPS_TABLE.tolist() == cabac.M
    assert constants.STEP_TABLE.tolist() == cabac.T
    narrowest = [(cabac.M[i] * ((r >> 5) + 1)) >> 3 for i in range(32) for r in range(256, 511)]
    assert min(narrowest) == 2  # shifts of up to seven bits


def test_bins_per_bit():
    """The longest chain of more probable bins between two shifts bounds what a short codeword can hold."""
    span, bins = 510, 0
    while span >= 256:
        span -= (cabac.M[31] * ((span >> 5) + 1)) >> 3
        bins += 1
    assert constants.MAX_BINS_PER_BIT == bins


def test_costs_are_those_of_complementary_probabilities():
    less, more = constants.LPS_COST, constants.MPS_COST
    assert less.shape == more.shape == (512,)
    assert (less[0], less[511]) == (32968, 237777)  # 1.006 and 7.256 bits
    assert list(zip(less.tolist(), more.tolist(), strict=True)) == preset_oracle.COST
    # One unit of L, and half a unit of rounding on both sides, in probability.
    total = 2.0 ** (-less / 32768) + 2.0 ** (-more / 32768)
    assert np.abs(total - 1).max() < np.log(2) / 32768
    assert (np.diff(less) > 0).all() and (np.diff(more) <= 0).all()


@pytest.mark.parametrize("preset", range(9))
def test_successors_and_costs_of_every_reachable_state(preset):
    fast_states, slow_states = STATES[preset]
    start = int(contexts.START[preset])
    fast_base = (start >> 16) - cabac.PRESETS[preset][3]
    slow_base = (start & 0xFFFF) - (cabac.PRESETS[preset][2] - 16 * cabac.PRESETS[preset][3])
    context = cabac.Context(preset)
    for value in (0, 1):
        for fast, slow in [(f, slow_states[0]) for f in fast_states] + [(fast_states[-1], s) for s in slow_states]:
            context.s0, context.s1 = fast, slow
            place = np.uint32((fast_base + fast) << 16 | (slow_base + slow))
            index = contexts.bin_index.py_func(place)
            assert (index >= 512) == (16 * fast + slow >= 0)
            assert contexts.BIN_COST[value, index] == preset_oracle.bin_cost(context, value)
            assert contexts.EXPECTED_COST[value, index] == rdo_oracle.bin_cost(context, value)
            assert contexts.lps_width.py_func(index, 333) == cabac.lps_range(context.state(), 333)
            context.update(value)
            after = (fast_base + context.s0) << 16 | (slow_base + context.s1)
            assert contexts.next_context.py_func(place, value) == after


def test_even_levels_return_every_trellis_state():
    for start in range(8):
        state = start
        for _ in range(constants.ZERO_CYCLE):
            state = cabac.NEXT[state][0]
        assert state == start
    assert constants.STATE_TRANSITIONS.tolist() == cabac.NEXT
