"""Shapes of tails: laws whose shape is known, the fit by an oracle of its own, bounds, refusals."""

import math

import numpy as np
import pytest

from kernels.autoregressive import pareto
from tests.kernels.oracles import pareto as oracle


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.3, 0.7, 1.2, 3.0])
def test_shapes_of_generalised_pareto_laws(shape):
    """Weights x = (u^-k - 1)/k: any tail has shape k. The mean of 20 fits of 300 exceedances, less the pull towards
    1/2, within 6 standard errors and a bias of 0.02; one error is (1 + k)/sqrt(300)."""
    rng = np.random.default_rng(0)
    u = rng.random((20, 10_000))
    x = -np.log(u) if shape == 0 else (u**-shape - 1) / shape
    shapes = np.array([pareto.k_hat(np.log(row)) for row in x])
    pulled = (300 * shape + 10 * 0.5) / 310
    assert np.mean(shapes) == pytest.approx(pulled, abs=6 * (1 + max(shape, 0)) / math.sqrt(300 * 20) + 0.02)


@pytest.mark.parametrize("n", [25, 100, 1000])
@pytest.mark.parametrize("deviation", [0.1, 1.0, 3.0, 30.0])
def test_the_fit_is_the_oracles(n, deviation):
    log_w = np.random.default_rng(n).normal(0, deviation, n)
    assert pareto.k_hat(log_w) == pytest.approx(oracle.k_hat(log_w), rel=1e-9, abs=1e-9)


def test_the_largest_weights_are_enough():
    log_w = np.random.default_rng(1).normal(0, 2, 5000)
    largest = np.sort(log_w)[-pareto.tail_length(5000) - 1 :]
    assert pareto.k_hat(np.random.default_rng(2).permutation(largest), 5000) == pareto.k_hat(log_w)
    assert pareto.k_hat(log_w + 1e4) == pytest.approx(pareto.k_hat(log_w), rel=1e-6), "a factor changes nothing"


def test_thresholds():
    assert pareto.tail_length(100) == 20 and pareto.tail_length(10_000) == 300
    assert pareto.largest_shape(10_000) == 0.7 and pareto.largest_shape(1000) == pytest.approx(2 / 3)
    assert pareto.largest_shape(100) == 0.5 and pareto.largest_shape(1) == -math.inf


def test_where_there_is_no_shape():
    """Too few weights, equal ones, a bound that many reach; and a tail that vanishes beside the largest weight."""
    rng = np.random.default_rng(3)
    assert math.isnan(pareto.k_hat(rng.normal(size=20)))
    assert math.isnan(pareto.k_hat(np.zeros(1000))) and math.isnan(pareto.k_hat(np.full(1000, -np.inf)))
    assert math.isnan(pareto.k_hat(rng.choice([0.0, 1.0, 2.0], 1000)))
    heavy = np.zeros(1000)
    heavy[:9] = np.arange(9) * 200.0
    assert pareto.k_hat(heavy) == math.inf
    assert pareto.k_hat(rng.normal(0, 300, 1000)) > 50, "no overflow"
    zeros = np.where(rng.random(1000) < 0.5, -np.inf, rng.normal(size=1000))
    assert 0 < pareto.k_hat(zeros) < 0.7, "weights of zero are weights"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("log_w", "n", "named"),
    [
        (np.array([0, np.nan]), None, "nan or inf"),
        (np.array([0, np.inf]), None, "nan or inf"),
        (np.zeros((2, 2)), None, r"shape \[2, 2\]"),
        (np.zeros(9), 8, "at most n=8"),
    ],
)
def test_bad_input_is_refused(log_w, n, named):
    with pytest.raises(ValueError, match=named):
        pareto.k_hat(log_w, n)
