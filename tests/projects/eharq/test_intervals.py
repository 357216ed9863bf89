"""Intervals of error rates: tails by the binomial law, coverage by enumeration of all that can be counted."""

import itertools

import numpy as np
import pytest
from scipy import stats

from common.study import statistics
from projects.eharq import intervals, rates


@pytest.mark.parametrize(("stop", "blocks"), [(2, 2), (2, 900), (100, 101), (100, 4321)])
def test_tails_of_a_count_to_the_last_error(stop, blocks):
    rate = intervals.counted_rate(stop, blocks, stop)
    assert stats.binom.sf(stop - 1, blocks, rate.low) == pytest.approx(0.025, rel=1e-6)
    if blocks > stop:  # the last block failed: stop - 1 errors or fewer before it
        assert stats.binom.cdf(stop - 1, blocks - 1, rate.high) == pytest.approx(0.025, rel=1e-6)
    else:
        assert rate.high == 1
    assert rate.low < rate.value <= rate.high and rate.value == (stop - 1) / (blocks - 1)


def test_coverage_of_a_count_that_may_run_out_of_blocks():
    stop, most = 3, 40
    outcomes = [(stop, blocks) for blocks in range(stop, most + 1)] + [(errors, most) for errors in range(stop)]
    shares = [intervals.counted_rate(*outcome, stop) for outcome in outcomes]
    for p in (0.001, 0.01, 0.05, 0.1, 0.3, 0.6, 0.95):
        law = [
            stats.nbinom.pmf(blocks - stop, stop, p) if errors == stop else stats.binom.pmf(errors, most, p)
            for errors, blocks in outcomes
        ]
        assert sum(law) == pytest.approx(1, abs=1e-12)
        covered = sum(share for share, rate in zip(law, shares, strict=True) if rate.low <= p <= rate.high)
        assert covered >= 0.95, p


def test_few_errors_have_the_interval_of_clopper_and_pearson():
    rate = intervals.counted_rate(0, 1000, 100)
    assert (rate.low, rate.value) == (0, 0) and rate.high == pytest.approx(1 - 0.025 ** (1 / 1000))
    assert intervals.counted_rate(7, 50, 100)[1:3] == statistics.share_interval(7, 50)


@pytest.mark.parametrize("count", [(101, 1000, 100), (5, 4, 100), (0, 0, 100), (1, 5, 1)])
def test_counts_that_cannot_be(count):
    with pytest.raises(ValueError, match="expected 0 to"):
        intervals.counted_rate(*count)


def test_weights_that_are_nearly_equal_give_the_interval_of_poisson():
    events, weight = np.zeros(1000, bool), np.ones(1000)
    events[:12] = True
    assert rates.share(events, weight)[1:3] == statistics.share_interval(12, 1000)
    rate = rates.share(events, np.linspace(1 - 1e-9, 1 + 1e-9, 1000))
    assert rate.value == pytest.approx(0.012)
    assert rate.low == pytest.approx(stats.chi2.ppf(0.025, 24) / 2000, rel=1e-6)
    assert rate.high == pytest.approx(stats.chi2.ppf(0.975, 26) / 2000, rel=1e-6)


def test_coverage_of_weighted_blocks():
    """Two strata of 30 blocks, probabilities 0.1 and 0.9, all counts enumerated."""
    size, weight = 30, np.repeat([0.2, 1.8], 30)
    shares = {}
    for first, second in itertools.product(range(size + 1), range(13)):
        events = np.concatenate([np.arange(size) < first, np.arange(size) < second])
        shares[first, second] = rates.share(events, weight)
    assert shares[3, 1].value == pytest.approx((3 * 0.2 + 1.8) / 60)
    for losses in ((0.5, 0.01), (0.05, 0.001), (0.9, 0.05)):
        true = 0.1 * losses[0] + 0.9 * losses[1]
        law = [stats.binom.pmf(np.arange(size + 1), size, loss) for loss in losses]
        covered = sum(law[0][a] * law[1][b] for (a, b), rate in shares.items() if rate.low <= true <= rate.high)
        assert covered >= 0.95, losses


def test_no_event_in_weighted_blocks():
    rate = rates.share(np.zeros(100, bool), np.repeat([0.5, 1.5], 50))
    assert rate[:2] == (0, 0) and rate.high == pytest.approx(-np.log(0.025) * 1.5 / 100)
