"""Seeds, shares, paired comparisons: by hand, failures, intervals that cover."""

import numpy as np
import pytest

from common.study import statistics

INFINITE = np.inf


def test_log_ratios_average_over_seeds_and_count_two_failures_as_equal():
    ours = np.array([[1.0, INFINITE, 4.0, INFINITE, 0.0], [4.0, INFINITE, 4.0, 1.0, 0.0]])
    theirs = np.array([[2.0, INFINITE, 1.0, 1.0, 0.0], [2.0, INFINITE, 1.0, 1.0, 0.0]])
    np.testing.assert_allclose(statistics.log_ratios(ours, theirs), [0, 0, np.log(4), INFINITE, 0])


def test_a_difference_is_found_and_none_where_there_is_none():
    generator = np.random.default_rng(0)
    theirs = generator.lognormal(0, 1, (3, 200))
    worse = statistics.compare(theirs * np.exp(generator.normal(0.1, 0.1, theirs.shape)), theirs)
    assert worse.low < worse.ratio < worse.high and 1.05 < worse.low and worse.p_value < 1e-6
    assert worse.images == 200 and worse.nearer < 50
    same = statistics.compare(theirs, theirs)
    assert (same.ratio, same.low, same.high, same.p_value, same.nearer) == (1, 1, 1, 1, 0)


@pytest.mark.slow
def test_intervals_of_the_median_cover():
    """Of 60 samples an interval of 95 % misses the median in more than 12 with probability below 1e-5 (and seeds are
    fixed)."""
    generator = np.random.default_rng(1)
    bands = [statistics.bootstrap_median(generator.normal(size=(50, 1)), seed=index) for index in range(60)]
    missed = sum(not low[0] <= 0 <= high[0] for low, high in bands)
    assert missed <= 12
    assert all(high[0] - low[0] < 1.2 for low, high in bands)


def test_holm():
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]) == []


def test_over_seeds_by_hand():
    """1, 2, 6: mean 3, deviation sqrt(7), Student's factor of two degrees of freedom 4.30265."""
    result = statistics.over_seeds([1, 2, 6])
    half = 4.302652729911275 * np.sqrt(7 / 3)
    np.testing.assert_allclose(result, [3, np.sqrt(7), 3 - half, 3 + half, 3], rtol=1e-9)
    assert statistics.over_seeds([0.5]) == (0.5, None, None, None, 1)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], [[1.0]]])
def test_what_is_no_number_a_seed_is_refused(values):
    with pytest.raises(ValueError, match="expected a finite number for each"):
        statistics.over_seeds(values)


def test_share_interval_by_hand():
    """0 of n reaches to 1 - 0.025^(1/n), n of n is its mirror image; 1 of 2 solves (1 - p)^2 = 0.975 below."""
    assert statistics.share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert statistics.share_interval(10, 10) == pytest.approx((0.025**0.1, 1))
    assert statistics.share_interval(1, 2) == pytest.approx((1 - 0.975**0.5, 0.975**0.5))
    assert statistics.share_interval(1, 2, 0.5) == pytest.approx((1 - 0.75**0.5, 0.75**0.5))
    for count, total in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="expected a count from 0"):
            statistics.share_interval(count, total)


def test_accuracy_difference_never_has_width_zero():
    before = np.arange(100) < 90
    unseen = 1 - 0.025**0.01
    assert statistics.accuracy_difference(before, before) == pytest.approx((-unseen, unseen))
    after = before.copy()
    after[:5] = False
    low, high = statistics.accuracy_difference(before, after)
    assert low < -0.05 < high and high >= unseen - 0.02
    assert statistics.accuracy_difference(after, before) == pytest.approx((-high, -low), abs=0.011)
