"""Paired comparisons: failures, intervals that cover, Holm by hand."""

import numpy as np
import pytest

from projects.levy_attack import statistics

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
