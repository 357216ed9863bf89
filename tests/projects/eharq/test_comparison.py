"""Two predictors on the same blocks: the interval of what one saves covers the truth, and few blocks are told."""

import numpy as np
import pytest
from scipy import stats

from projects.eharq import comparison, rates

FNR = 0.02


def pair(draw, count, weighted=False):
    """Scores of two predictors that share most of their noise, and which blocks are lost."""
    failed = draw.random(count) < 0.3
    shared, own = 0.8 * draw.normal(size=count), 0.6 * draw.normal(size=(2, count))
    return shared + own[0] + 3.4 * failed, shared + own[1] + 3.0 * failed, failed


def truth():
    fpr = [stats.norm.sf(middle + stats.norm.ppf(FNR)) for middle in (3.4, 3.0)]
    return 1 - fpr[0] / fpr[1]


@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_interval_covers_the_truth(is_weighted):
    draw, hits, draws = np.random.default_rng(0), 0, 120
    for seed in range(draws):
        scores, baseline, failed = pair(draw, 8000)
        weight = draw.choice([0.5, 1.5], len(failed)) if is_weighted else np.ones(len(failed))
        one = comparison.cut(scores, baseline, failed, weight, FNR, resamples=200, seed=seed)
        hits += one.low <= truth() <= one.high
    # A percentile bootstrap of few hundred resamples is near its level; false alarm below 1e-7 at 91 %.
    assert stats.binom.cdf(hits, draws, 0.91) > 1e-7
    assert one.low < one.value < one.high


def test_the_estimate_is_of_the_two_thresholds():
    scores, baseline, failed = pair(np.random.default_rng(1), 5000)
    weight = np.random.default_rng(2).choice([0.5, 1.5], 5000)
    one = comparison.cut(scores, baseline, failed, weight, FNR, resamples=100)
    fpr, other = (rates.fpr_at(each, failed, weight, FNR).value for each in (scores, baseline))
    assert (one.fpr, one.baseline_fpr) == pytest.approx((fpr, other)) and one.value == pytest.approx(1 - fpr / other)
    again = comparison.cut(scores, baseline, failed, weight, FNR, resamples=100)
    assert one == again


def test_a_predictor_beside_itself_saves_nothing():
    scores, _, failed = pair(np.random.default_rng(3), 3000)
    one = comparison.cut(scores, scores, failed, np.ones(3000), FNR, resamples=100)
    assert (one.value, one.low, one.high) == (0, 0, 0)
    assert comparison.verdict(one, 0.0) == comparison.HOLDS
    assert comparison.verdict(one, 0.0, strict=True) == comparison.MISSED


def test_verdicts():
    def verdict(low, high, below=50):
        return comparison.verdict(comparison.Cut(0.3, low, high, FNR, 0.1, 0.2, below), 0.2)

    assert [verdict(0.25, 0.4), verdict(0.1, 0.4), verdict(0.1, 0.15)] == ["holds", "open", "missed"]
    assert verdict(0.25, 0.4, below=9) == comparison.FEW
