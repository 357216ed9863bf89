"""Classes beside one another: the rate of false alarms, power, and what is said of few classes."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from projects.spray import planted, ranking


def taus(generator, runs, classes=10):
    """Separabilities of classes without an artifact: ln J is normal."""
    return 1 / (1 + np.exp(-generator.normal(1.6, 0.3, (runs, classes))))


@pytest.mark.parametrize("classes", [5, 8, 10, 20])
def test_a_class_is_accused_in_at_most_one_of_twenty_runs_without_an_artifact(classes):
    runs = 1500
    rows = taus(np.random.default_rng(0), runs, classes)
    alarms = sum(min(one.p for one in ranking.beside_others(row)) <= ranking.LEVEL for row in rows)
    # False alarm of this test below 1e-6, at each end.
    assert stats.binom.sf(alarms - 1, runs, 0.05) > 1e-6
    assert stats.binom.cdf(alarms, runs, 0.03) > 1e-6


def test_two_artifacts_do_not_hide_each_other():
    row = taus(np.random.default_rng(3), 1)[0]
    row[[3, 6]] = 0.99, 0.985
    answers = ranking.beside_others(row)
    assert answers[3].p <= answers[6].p < 0.03 and sum(one.p <= 0.05 for one in answers) == 2
    # The lower one is judged by those below it, as if the other were not there.
    alone = ranking.beside_others(np.delete(row, 3))
    assert answers[6].t == pytest.approx(alone[5].t, rel=1e-9)


def test_a_class_far_above_the_others_is_accused():
    row = taus(np.random.default_rng(1), 1)[0]
    row[3] = 0.99
    answers = ranking.beside_others(row)
    assert answers[3].p < 0.02 and answers[3].t > 5 and min(one.p for one in answers[:3] + answers[4:]) > 0.05
    assert max(np.delete(row, 3)) < answers[3].limit < 0.99
    # p is 5 % just at the limit.
    row[3] = answers[3].limit
    assert ranking.beside_others(row)[3].p == pytest.approx(0.05, rel=1e-9)


def test_few_classes_and_equal_ones_get_no_p_value():
    for row in ([0.8, 0.9, 0.7, 0.99], [0.8] * 6, [math.nan] * 10):
        assert all(math.isnan(one.p) and math.isnan(one.limit) for one in ranking.beside_others(row))
    answers = ranking.beside_others([0.8, 0.85, math.nan, 0.75, 0.9, 0.7])
    assert math.isnan(answers[2].p) and not math.isnan(answers[0].p)


def test_suspicious_clusters_of_all_numbers_are_joined_on_their_smaller_side():
    labels = {2: np.array([0, 0, 0, 0, 1, 1, 0, 0]), 3: np.array([0, 0, 0, 0, 1, 1, 2, 2])}
    separability = {2: np.array([0.99, 0.99]), 3: np.array([0.5, 0.6, np.nan])}
    np.testing.assert_array_equal(ranking.suspicious(labels, separability, 0.9), labels[2] == 1)
    assert not ranking.suspicious(labels, separability, 0.995).any()


def test_agreement_with_the_planted_truth():
    generator = np.random.default_rng(2)
    flagged, carrying = generator.random(50) < 0.3, generator.random(50) < 0.4
    assert planted.f1(flagged, carrying) == pytest.approx(metrics.f1_score(carrying, flagged))
    assert planted.auroc(flagged, carrying) == pytest.approx(metrics.roc_auc_score(carrying, flagged))
    best = planted.best_cluster(
        {2: np.zeros(50, int), 3: np.where(carrying, 2, generator.integers(0, 2, 50))}, carrying
    )
    assert best == (1.0, 1.0, 3, 2)
    assert math.isnan(planted.f1(flagged, np.zeros(50, bool)))
    with pytest.raises(ValueError, match="no clusters"):
        planted.best_cluster({}, carrying)
