"""Clients that were away: to the server's weights bit for bit, at the cost of the cheapest way."""

import numpy as np
import pytest

from common.federated import catch_up, methods, rounds, simulate
from common.federated.compressor import Bits
from tests.common.federated import digits

SETTINGS, KEY = digits.SETTINGS, digits.KEY
VOTES = methods.on_grid(methods.sign_sgd(0.01, "random"), 2.0**-20)


def run(method, count=9):
    result = simulate.simulate(digits.MODEL, digits.population(), method, count, KEY, SETTINGS)
    start = rounds.initial_state(digits.MODEL, digits.population(), method, SETTINGS, KEY)
    return result, np.asarray(start.weights), np.asarray(result.state.weights)


@pytest.fixture(scope="module")
def voted():
    return run(VOTES)


@pytest.mark.parametrize("gap", [1, 4, 9])
def test_a_sum_on_a_grid_gives_the_servers_weights(voted, gap):
    result, start, end = voted
    before = catch_up.replay(start, result.updates[: 9 - gap])
    assert np.array_equal(catch_up.replay(before, result.updates[9 - gap :]), end)
    assert np.array_equal(before + catch_up.merge(result.updates[9 - gap :], VOTES.grid), end)


def test_replaying_gives_the_servers_weights_and_a_sum_does_not(optimised):
    """As users compile it: a multiplication that melts into an addition shows there."""
    result, start, end = run(methods.fed_sgd(), 20)
    assert np.array_equal(catch_up.replay(start, result.updates), end)
    assert not np.array_equal(start + result.updates.sum(axis=0, dtype=np.float64).astype(np.float32), end)
    with pytest.raises(ValueError, match=r"update 0 has \d+ values that are no multiples of grid="):
        catch_up.merge(result.updates, 2.0**-20)


def test_a_sum_of_votes_takes_few_bits(voted):
    """By hand: a sum of s votes has s + 1 values, and s messages take s bits a weight."""
    result, *_ = voted
    seen, down = dict.fromkeys(range(digits.CLIENTS), 0), 0
    for number in range(9):
        for client in digits.participants(number):
            gap = number - seen[client]
            levels = digits.SIZE * int(np.ceil(np.log2(gap + 1)))
            down += min(gap * (digits.SIZE + 6 + 64), levels + -levels % 8 + 64) if gap else 0
            seen[client] = number
    assert result.curve[-1].bits_down == down


def cheapest(gap, replay, full, *, merged=None, **more):
    merged = None if merged is None else Bits(merged)
    way, bits = catch_up.cheapest(gap, Bits(replay), Bits(0, full), merged_bits=merged, **more)
    return way, bits.total


def test_the_cheapest_way():
    assert cheapest(0, 0, 100) == ("nothing", 0)
    assert cheapest(3, 90, 100) == ("replay", 90)
    assert cheapest(3, 90, 100, merged=80) == ("merged", 80)
    assert cheapest(3, 90, 100, merged=80, cache=2) == ("full", 100)
    assert cheapest(4, 120, 100, merged=110) == ("full", 100)
    assert cheapest(1, 100, 100, merged=100) == ("replay", 100)


def test_a_ledger_counts_beyond_64_bits():
    ledger = catch_up.new_ledger(2, Bits(2**80))
    for _ in range(3):
        ledger.broadcast(Bits(2**62))
    assert ledger.synchronise(1) == ("replay", Bits(3 * 2**62).whole()) and ledger.synchronise(1) == (
        "nothing",
        (0, 0, 0, 0),
    )
    ledger.broadcast(Bits(2, 3, 4))
    assert ledger.quote(0) == ("replay", Bits(3 * 2**62 + 2, 3, 4).whole()) and ledger.quote(1) == (
        "replay",
        Bits(2, 3, 4).whole(),
    )
    assert ledger.ways == {"nothing": 1, "replay": 1, "merged": 0, "full": 0}


def test_a_server_keeps_so_many_messages():
    ledger = catch_up.new_ledger(2, Bits(1000), cache=2)
    for _ in range(3):
        ledger.broadcast(Bits(1))
        ledger.synchronise(1) if ledger.round == 1 else None
    assert ledger.quote(0) == ("full", Bits(1000)) and ledger.quote(1) == ("replay", Bits(2).whole())


ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: catch_up.replay(ONE, [ONE, np.ones(3)]), r"update 1 is float64 \(3,\): expected float32 \(3,\)"),
        (lambda: catch_up.replay(ONE, [ONE[:2]]), r"update 0 is float32 \(2,\)"),
        (lambda: catch_up.merge([], 0.5), r"updates=\[\]"),
        (lambda: catch_up.merge([ONE * 2**22] * 2, 0.5), r"reaches 2\^24 steps of grid=0.5"),
        (lambda: catch_up.merge([ONE * np.nan], 0.5), r"update 0 has 3 values"),
        (lambda: catch_up.new_ledger(0, Bits(1)), r"clients=0"),
        (lambda: catch_up.new_ledger(1, Bits()), r"full_bits=0"),
        (lambda: catch_up.new_ledger(1, Bits(1), cache=-1), r"cache=-1"),
        (lambda: cheapest(-1, 0, 1), r"gap=-1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_beyond_their_grid_stop_a_simulation(voted):
    """Weights of 0.01 and more on a grid whose 2^24 steps end at 0.004."""
    finer = methods.on_grid(methods.sign_sgd(0.01), 2.0**-32)
    with pytest.raises(ValueError, match=r"a weight has reached .* in round 9: .*grid="):
        simulate.check_grid(finer, voted[0].state, 9)


def test_votes_have_no_ties_where_these_fall_at_random(voted):
    step = np.float32(round(0.01 * 2**20) * 2.0**-20)
    assert set(np.unique(voted[0].updates)) == {-step, step}
    # A bit each.
    assert voted[0].curve[-1].up.payload == 9 * 5 * digits.SIZE
    assert voted[0].ledger.totals[-1] == Bits(9 * digits.SIZE, 0, 9 * (64 + 6), 9 * digits.SIZE)
