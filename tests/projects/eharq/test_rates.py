"""Rates, areas, thresholds and their intervals: by hand, by brute force, and by how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from common.study import statistics
from projects.eharq import rates

FALSE_ALARM = 1e-7  # of each test of a coverage


def covers(hits, draws, level):
    """Whether so many hits may come from a coverage of at least `level`."""
    return stats.binom.cdf(hits, draws, level) > FALSE_ALARM


def ties(seed=0, count=300):
    draw = np.random.default_rng(seed)
    failed = draw.random(count) < 0.4
    return draw.integers(0, 12, count) + 2.0 * failed, failed, draw.choice([0.5, 1.0, 2.5], count)


def test_clopper_and_pearson_are_scipys():
    for count, total in ((0, 10), (10, 10), (3, 10), (5, 10**6), (135_000, 10**6), (0, 10**7), (1, 10**7)):
        low, high = statistics.share_interval(count, total)
        interval = stats.binomtest(count, total).proportion_ci(0.95, "exact")
        assert low == pytest.approx(interval.low, abs=1e-10) and high == pytest.approx(interval.high, abs=1e-10)
    assert statistics.share_interval(0, 10**7)[1] == pytest.approx(-np.expm1(np.log(0.025) / 10**7), rel=1e-9)


def test_equal_weights_give_the_exact_poisson_interval():
    for count in (0, 1, 7):
        low, high = rates.gamma_interval(np.full(count, 0.3), 0.3)
        assert low == pytest.approx(0.15 * stats.chi2.ppf(0.025, 2 * count) if count else 0.0)
        assert high == pytest.approx(0.15 * stats.chi2.ppf(0.975, 2 * count + 2))


def test_a_share_says_what_was_counted():
    event, weight = np.array([True, False, False, True]), np.ones(4)
    rate = rates.share(event, weight)
    assert rate[:1] + rate[3:] == (0.5, 2, 4, None)
    assert rate[1:3] == statistics.share_interval(2, 4)
    none = rates.share(np.zeros(300_000, bool), np.ones(300_000))
    assert none.bound == pytest.approx(1e-5, rel=2e-3) and none.high > none.bound
    weighted = rates.share(event, np.array([3.0, 1, 1, 3]), np.array([True, True, False, False]))
    assert (
        weighted.value == 0.75 and weighted.events == 1 and weighted.blocks == 2 and weighted.low < 0.75 < weighted.high
    )
    nothing = rates.share(event, weight, np.zeros(4, bool))
    assert np.isnan(nothing.value) and (nothing.low, nothing.high) == (0, 1)


@pytest.mark.parametrize("is_ratio", [False, True])
def test_weighted_intervals_cover_the_truth(is_ratio):
    draw = np.random.default_rng(1)
    probability, sizes, lost = np.array([0.02, 0.18, 0.8]), np.array([300, 300, 300]), np.array([0.5, 0.05, 0.004])
    missed = np.array([0.1, 0.2, 0.3])  # of the lost ones
    truth = probability @ (lost * missed) / (probability @ lost if is_ratio else 1)
    stratum = np.repeat(np.arange(3), sizes)
    weight = (probability / (sizes / sizes.sum()))[stratum]
    hits, draws = 0, 600
    for _ in range(draws):
        failed = draw.random(len(stratum)) < lost[stratum]
        event = failed & (draw.random(len(stratum)) < missed[stratum])
        rate = rates.share(event, weight, failed if is_ratio else None)
        hits += rate.low <= truth <= rate.high
    assert covers(hits, draws, 0.95)


def test_the_curve_and_its_area_are_those_of_all_pairs():
    scores, failed, weight = ties()
    curve = rates.roc(scores, failed, weight)
    for threshold, fnr, fpr, count in zip(*curve, strict=True):
        assert count == np.sum(scores[failed] < threshold)
        missed, alarms = weight[failed & (scores < threshold)].sum(), weight[~failed & (scores >= threshold)].sum()
        assert fnr == pytest.approx(missed / weight[failed].sum(), abs=1e-12)
        assert fpr == pytest.approx(alarms / weight[~failed].sum(), abs=1e-12)
    difference = scores[failed][:, None] - scores[~failed]
    pairs = weight[failed][:, None] * weight[~failed]
    area = rates.auc(scores, failed, weight)
    assert area.value == pytest.approx(((np.sign(difference) + 1) / 2 * pairs).sum() / pairs.sum(), abs=1e-12)
    assert area.low < area.value < area.high


def test_areas_cover_the_truth():
    draw, truth, hits, draws = np.random.default_rng(2), stats.norm.cdf(2 / np.sqrt(2)), 0, 400
    for _ in range(draws):
        failed = np.arange(400) < 100
        area = rates.auc(draw.normal(size=400) + 2 * failed, failed, np.ones(400))
        hits += area.low <= truth <= area.high
    assert covers(hits, draws, 0.93)  # asymptotic: two points below its level


@pytest.mark.parametrize("fnr", [0.3, 0.1, 0.01, 1e-4])
def test_no_higher_threshold_has_the_fnr(fnr):
    scores, failed, weight = ties(3)
    threshold = rates.threshold_at(scores, failed, weight, fnr)
    total = weight[failed].sum()
    assert weight[failed & (scores < threshold)].sum() <= fnr * total
    assert weight[failed & (scores <= threshold)].sum() > fnr * total
    assert rates.threshold_at(scores, np.zeros(300, bool), weight, fnr) == -np.inf


def test_effective_error_rate_by_hand():
    scores, failed = np.array([0.0, 1, 2, 3]), np.array([True, False, True, True])
    point = rates.at_threshold(1.0, scores, failed, np.array([False, False, False, True]), np.ones(4))
    assert point.fnr.value == pytest.approx(1 / 3) and point.fpr.value == 1
    assert point.effective.value == 0.5 and point.repeated.value == 0.75


@pytest.mark.parametrize("has_strata", [False, True])
def test_a_guaranteed_threshold_keeps_its_fnr(has_strata):
    draw, fnr, delta = np.random.default_rng(4), 0.05, 0.1
    sizes, probability = (np.array([2000, 2000]), np.array([0.1, 0.9])) if has_strata else (np.array([500]), np.ones(1))
    lost, best = np.array([0.9, 0.4]), np.array([0.3, 0.0])  # no lost block of the first stratum is as good as 0.3
    lost, best = (lost, best) if has_strata else (lost, best[1:])
    broken, stratum = [], np.repeat(np.arange(len(sizes)), sizes)
    weight = (probability / (sizes / sizes.sum()))[stratum]
    for _ in range(400):
        failed = draw.random(len(stratum)) < lost[stratum]
        low = best[stratum]
        scores = np.where(failed, low + (1 - low) * draw.random(len(stratum)), 0.0)
        one = rates.guaranteed_threshold(scores, failed, weight, stratum, fnr, delta)
        below = np.clip((one.threshold - best) / (1 - best), 0, 1)
        broken.append(np.sum(probability * lost[: len(best)] * below) > fnr * np.sum(probability * lost[: len(best)]))
        assert one.nacks == failed.sum() and one.least_nacks == 45
    assert np.isfinite(one.threshold) and one.threshold > 0.2 * fnr  # it promises something
    assert stats.binom.sf(sum(broken) - 1, 400, delta) > FALSE_ALARM
    few = rates.guaranteed_threshold(scores[:40], np.ones(40, bool), weight[:40], stratum[:40], fnr, delta)
    assert few.threshold == -np.inf


def test_the_rank_is_the_largest_that_can_be_promised():
    scores, failed = np.arange(1000.0), np.ones(1000, bool)
    one = rates.guaranteed_threshold(scores, failed, np.ones(1000), np.zeros(1000, int), 0.02, 0.05)
    rank = int(one.threshold) + 1
    assert stats.beta.cdf(0.02, rank, 1001 - rank) >= 0.95 > stats.beta.cdf(0.02, rank + 1, 1000 - rank)


def test_intervals_of_fpr_at_fnr_cover_the_truth():
    draw, hits, draws = np.random.default_rng(5), 0, 250
    truth = stats.norm.sf(3 + stats.norm.ppf(0.02))
    for _ in range(draws):
        failed = np.arange(3000) < 1000
        rate = rates.fpr_at(draw.normal(size=3000) + 3 * failed, failed, np.ones(3000), 0.02)
        hits += rate.low <= truth <= rate.high
    assert covers(hits, draws, 0.95)
    few = rates.fpr_at(np.arange(100.0), np.arange(100) >= 50, np.ones(100), 1e-3)
    assert few.value == 0 and few.high == 1  # fifty lost blocks say nothing of one in a thousand
