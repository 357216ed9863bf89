"""The slotted link: sums of delays on an empty one, a closed form without retransmissions, every block leaves once."""

import numpy as np
import pytest
from scipy import stats

from projects.eharq import latency
from projects.eharq.latency import Outcomes
from projects.eharq.predict_config import QueueConfig

SETTINGS = QueueConfig()


def outcomes(count, seed, nack=0.2, lost=0.1, both=0.05):
    draw = np.random.default_rng(seed)
    failed = draw.random(count) < lost
    return Outcomes(draw.random(count) < nack, failed, failed & (draw.random(count) < both))


def test_on_an_empty_link_latencies_are_sums_of_delays():
    settings = QueueConfig(processing=1.5, early_processing=0.5, feedback=1.5)
    rows = Outcomes(*np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], bool).T)
    for share, nack, delay in ((0.5, rows.nack, 3), (None, rows.failed, 4)):
        one = latency.simulate(settings, 1e-6, rows._replace(nack=nack), share, seed=0)
        start = np.ceil(one.arrival)
        np.testing.assert_array_equal(one.first, start)
        np.testing.assert_array_equal(one.second, np.where(nack, start + delay, -1))
        first, second = start + 2.5, start + delay + 2.5
        lost = rows.failed & (~nack | rows.combined_failed)
        expected = np.where(lost, np.inf, np.where(rows.failed, second, first))
        np.testing.assert_array_equal(one.delivery, expected)
    late = latency.simulate(QueueConfig(late_feedback=True), 1e-6, rows, 0.5, seed=0)
    assert late.second[3] == late.first[3] + 4 and np.isfinite(late.delivery[3])


def test_the_mean_wait_without_retransmissions():
    """Blocks join at the beginning of the slot after their arrival; Q, the number there, goes as Q' = max(Q - 1, 0) +
    Poisson(rho), of which E[Q] = rho + rho^2 / (2 (1 - rho)). By Little E[Q] / rho = 1 + rho / (2 (1 - rho)) slots
    pass to the end of the transmission, and half a slot to the boundary before: the wait from the arrival to the start
    is 1/2 + rho / (2 (1 - rho)) = 1 / (2 (1 - rho)).

    Twelve runs are independent; their mean is compared by Student's t at a false alarm of 1e-7.
    """
    for load in (0.3, 0.7):
        nothing = Outcomes(*np.zeros((3, 20_000), bool))
        waits = []
        for seed in range(12):
            one = latency.simulate(SETTINGS, load, nothing, None, seed)
            waits.append(np.mean((one.first - one.arrival)[500:]))  # the link was empty at first
        assert stats.ttest_1samp(waits, 1 / (2 * (1 - load))).pvalue > 1e-7


@pytest.mark.parametrize("capacity", [1, 3])
@pytest.mark.parametrize("priority", [True, False])
def test_every_block_leaves_once_and_no_slot_carries_too_many(capacity, priority):
    rows = outcomes(5000, 1)
    settings = QueueConfig(capacity=capacity, priority=priority)
    one = latency.simulate(settings, 0.75, rows, 0.5, seed=2)
    assert (one.first >= one.arrival).all() and ((one.second >= 0) == rows.nack).all()
    assert (one.second[rows.nack] >= one.first[rows.nack] + 3).all()
    sent = np.concatenate([one.first, one.second[rows.nack]])
    assert np.bincount(sent).max() == capacity
    assert (np.diff(one.first) >= 0).all()  # new blocks stay in order
    assert (np.isinf(one.delivery) == (rows.failed & (~rows.nack | rows.combined_failed))).all()
    # The link does not rest while somebody waits: in a slot that is not full, all who had joined are served.
    counts = np.bincount(sent, minlength=sent.max() + 1)
    assert (counts[np.unique(one.first[one.first > np.ceil(one.arrival)]) - 1] == capacity).all()
    if priority and capacity == 1:
        assert (one.second[rows.nack] == one.first[rows.nack] + 3).all()


def test_delays():
    assert latency.feedback_delay(SETTINGS, None) == 4 and latency.feedback_delay(SETTINGS, 0.5) == 3
    assert latency.feedback_delay(QueueConfig(early_processing=0.1, feedback=0.2), 0.7) == 1  # 1.0000000000000002
    assert latency.feedback_delay(QueueConfig(early_processing=0.0, feedback=0.0), 0.0) == 1


def test_what_is_measured():
    rows = outcomes(4000, 3)
    one = latency.measure(SETTINGS, 0.5, latency.simulate(SETTINGS, 0.5, rows, 0.5, seed=0))
    assert one["mean_transmissions"] == 1 + rows.nack.mean() and one["is_stable"]
    assert one["utilisation"] == pytest.approx(0.5 * one["mean_transmissions"], rel=0.1)
    assert one["lost"] == np.mean(rows.failed & (~rows.nack | rows.combined_failed)) <= one["late"]["value"]
    assert not latency.measure(SETTINGS, 0.9, latency.simulate(SETTINGS, 0.9, rows, 0.5, seed=0))["is_stable"]


def test_late_together_is_less_certain():
    scattered, together = np.arange(10_000) % 100 == 0, np.arange(10_000) < 100
    one, other = latency.late_share(scattered), latency.late_share(together)
    assert one["value"] == other["value"] == 0.01 and one["spread"] == 1 < other["spread"]
    assert other["high"] - other["low"] > 3 * (one["high"] - one["low"])
    assert latency.late_share(np.zeros(100, bool))["low"] == 0


def test_outcomes_are_drawn_as_they_are_probable():
    rows = Outcomes(*np.array([[1, 0, 0], [0, 1, 0]], bool).T)
    count = latency.draw(rows, np.array([1.5, 0.5]), 4000, np.random.default_rng(0)).nack.sum()
    assert 1e-7 < stats.binom.cdf(count, 4000, 0.75) < 1 - 1e-7
