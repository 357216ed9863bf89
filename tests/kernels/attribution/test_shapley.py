"""Games of segments against enumeration; the expected gradients of what is known in closed form."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import feature_ablation, gradient_shap, integrated_gradients, kernel_shap, shapley_sampling
from tests.kernels.oracles.shapley import shapley


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(0)
W, V = DRAW.normal(size=(6, 8)), DRAW.normal(size=(8, 3))
X, ORIGIN = DRAW.normal(size=(2, 3, 6))
SEGMENTS = np.array([0, 1, 1, 2, 3, 0])
KEY = jax.random.key(3)


def network(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


PARAMS = {"w": W, "v": V}


def linear(params, x):
    return x @ params["w"]


def enumerated(target, segments=SEGMENTS):
    """Shapley values [samples, segments], the scores of all coalitions, and the largest gain of a segment."""
    values, gains = [], []
    count = segments.max() + 1
    for x, x0 in zip(X, ORIGIN, strict=True):
        game = lambda s, x=x, x0=x0: (np.tanh(np.where(s[segments], x, x0) @ W) @ V)[target]  # noqa: E731
        values.append(shapley(game, count))
        scores = {s: game(np.array(s)) for s in itertools.product([False, True], repeat=count)}
        gains.append([
            max(scores[s] - scores[s[:k] + (False,) + s[k + 1 :]] for s in scores if s[k])
            - min(scores[s] - scores[s[:k] + (False,) + s[k + 1 :]] for s in scores if s[k])
            for k in range(count)
        ])  # fmt: skip
    return np.array(values), np.array(gains)


@pytest.mark.parametrize("antithetic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sampling_against_enumeration(antithetic):
    """A gain lies in a range of length r, so the mean of n orders is off by more than r sqrt(ln(2 / p) / 2 n) with
    probability below p (Hoeffding; pairs of orders are n / 2 means of two): 1e-9 for each of twelve values.

    The error is also within seven standard errors, of 150 values at least: 1e-9 for each by Student's law.
    """
    values, ranges = enumerated(1)
    n = 300
    y, share, report = shapley_sampling(
        network, PARAMS, X, KEY, target=1, segments=SEGMENTS, permutations=n, antithetic=antithetic, baseline=ORIGIN,
        at_once=128, return_report=True,
    )  # fmt: skip
    independent = n // 2 if antithetic else n
    error = np.abs(report["segments"] - values)
    assert (error <= ranges * np.sqrt(np.log(2e9) / (2 * independent))).all()
    assert (error <= 7 * np.asarray(report["standard_error"])).all()
    assert (np.asarray(report["standard_error"]) < 0.6 * ranges / np.sqrt(independent)).all()
    np.testing.assert_allclose(report["completeness"], 0, atol=1e-12)
    np.testing.assert_array_equal(share, np.asarray(report["segments"])[:, SEGMENTS])
    np.testing.assert_allclose(y, network(PARAMS, X), rtol=1e-12)


def test_additive_games_are_exact():
    expected = ((X - ORIGIN) * W[:, 2]) @ (SEGMENTS[:, None] == np.arange(4))
    calls = (
        lambda **o: shapley_sampling(linear, PARAMS, X, KEY, permutations=4, **o),
        lambda **o: kernel_shap(linear, PARAMS, X, KEY, n=40, **o),
        lambda **o: feature_ablation(linear, PARAMS, X, **o),
    )
    for call in calls:
        _, _, report = call(target=2, segments=SEGMENTS, baseline=ORIGIN, return_report=True, at_once=3)
        np.testing.assert_allclose(report["segments"], expected, atol=1e-10)
        np.testing.assert_allclose(report["completeness"], 0, atol=1e-10)
        np.testing.assert_allclose(report.get("standard_error", 0.0), 0, atol=1e-12)


def test_regression_with_many_coalitions_is_near_enumeration():
    """Four segments have fourteen coalitions: 4,000 draws have each some hundred times; seen errors are below 0.01."""
    values, ranges = enumerated(0)
    _, _, report = kernel_shap(
        network, PARAMS, X, KEY, target=0, segments=SEGMENTS, n=4000, baseline=ORIGIN, at_once=1000, return_report=True
    )
    assert np.abs(report["segments"] - values).max() < 0.05 * ranges.max()
    np.testing.assert_allclose(report["completeness"], 0, atol=1e-10)


def test_ablation_by_hand():
    for segments in (SEGMENTS, np.stack([SEGMENTS, SEGMENTS[::-1], (SEGMENTS + 1) % 4])):
        found = feature_ablation(network, PARAMS, X, target="argmax", segments=segments, at_once=4)[1]
        y = network(PARAMS, X)
        for row, (x, best) in enumerate(zip(X, np.argmax(y, -1), strict=True)):
            own = np.broadcast_to(segments, X.shape)[row]
            for label in range(4):
                fall = y[row, best] - network(PARAMS, np.where(own == label, 0, x))[best]
                np.testing.assert_allclose(found[row][own == label], fall, atol=1e-12)


def test_draws_of_a_sample_do_not_hang_on_its_batch():
    options = {"target": 1, "permutations": 6}
    keys = jax.random.split(KEY, 3)
    together = shapley_sampling(network, PARAMS, X, keys, **options)[1]
    alone = shapley_sampling(network, PARAMS, X[1:2], keys[1:2], **options)[1]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-12)
    inside = jax.jit(lambda x: shapley_sampling(network, PARAMS, x, KEY, at_once=7, **options)[1])
    np.testing.assert_allclose(inside(X), shapley_sampling(network, PARAMS, X, KEY, **options)[1], atol=1e-12)


def test_arrays_of_a_pytree_share_segments():
    fn = lambda params, x: (x["a"] * x["b"]) @ params  # noqa: E731
    x = {"a": X, "b": X[::-1] + 1}
    labels = {"a": np.arange(6), "b": np.arange(6)}
    _, share = shapley_sampling(fn, W, x, KEY, target=0, segments=labels, permutations=2)
    expected = x["a"] * x["b"] * W[:, 0]
    np.testing.assert_allclose(share["a"], expected, atol=1e-12)
    np.testing.assert_allclose(share["b"], expected, atol=1e-12)
    _, share = shapley_sampling(fn, W, x, KEY, target=0, permutations=2)
    np.testing.assert_allclose(share["a"], expected / 2, atol=1e-12)


def test_one_segment_and_one_order():
    y, share, report = shapley_sampling(
        network, PARAMS, X, KEY, target=1, segments=np.zeros(6, int), permutations=1, antithetic=False,
        return_report=True,
    )  # fmt: skip
    np.testing.assert_allclose(share[:, 0], y[:, 1] - network(PARAMS, 0 * X)[:, 1], atol=1e-12)
    assert np.isnan(report["standard_error"]).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"segments": SEGMENTS + 1}, "labels from 1"),
        ({"segments": np.array([0, 2, 2, 0, 0, 0])}, "without 1"),
        ({"segments": SEGMENTS[:5]}, "does not broadcast"),
        ({"segments": SEGMENTS / 2}, "expected integers"),
        ({"permutations": 3}, "even number"),
        ({"target": np.ones((3, 3))}, "scores all inputs alike"),
        ({"key": None}, "key is None"),
    ],
)
def test_what_is_no_game(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        shapley_sampling(**{"fn": network, "params": PARAMS, "x": X, "key": KEY, "target": 0, **options})
    if "permutations" not in options:
        with pytest.raises(ValueError, match=message):
            kernel_shap(**{"fn": network, "params": PARAMS, "x": X, "key": KEY, "target": 0, "n": 50, **options})


def test_too_few_coalitions():
    with pytest.raises(ValueError, match="n=8: expected an even number of at least 12"):
        kernel_shap(network, PARAMS, X, KEY, target=0, n=8)


def test_expected_gradients_of_a_quadratic_form():
    """For y = sum v x**2 the gradient at x0 + a (x - x0) is 2 v (x0 + a (x - x0)), and its mean over a v (x + x0).

    For one baseline and n draws of a uniform number, whose mean is off by 7 / sqrt(12 n) in 3e-12 of all cases, twelve
    values of them.
    """
    fn = lambda v, x: (x * x) @ v  # noqa: E731
    v, n = W[:, :2], 2000
    y, share, report = gradient_shap(
        fn, v, X, KEY, baselines=ORIGIN[:1], target=1, n=n, at_once=500, return_report=True
    )
    difference = X - ORIGIN[0]
    expected = v[:, 1] * (X**2 - ORIGIN[0] ** 2)
    error = np.abs(share - expected) / np.abs(2 * v[:, 1] * difference**2)
    assert (error < 7 / np.sqrt(12 * n)).all()
    np.testing.assert_allclose(report["completeness"], share.sum(-1) - expected.sum(-1), atol=1e-9)
    lines = integrated_gradients(fn, v, X, target=1, n=50, points="midpoint", baseline=ORIGIN[0])[1]
    np.testing.assert_allclose(lines, expected, atol=1e-10)


def test_gradient_shap_of_a_linear_function():
    """Exact but for which baselines are drawn and for the noise: with equal baselines and none, it is exact."""
    same = np.repeat(ORIGIN[:1], 4, 0)
    found = gradient_shap(linear, PARAMS, X, KEY, baselines=same, target=0, n=3)[1]
    np.testing.assert_allclose(found, (X - ORIGIN[0]) * W[:, 0], atol=1e-12)
    noisy = gradient_shap(linear, PARAMS, X, KEY, baselines=same, target=0, n=3, sigma=0.1)[1]
    spread = np.abs(noisy - found) / np.abs(W[:, 0]) / (0.1 / np.sqrt(3))
    assert 0.01 < spread.max() < 7  # standard normal numbers, eighteen of them: above 7 in 5e-11 of all cases
    with pytest.raises(ValueError, match=r"baselines of shape \(6,\)"):
        gradient_shap(linear, PARAMS, X, KEY, baselines=ORIGIN[0], target=0)


def test_too_few_coalitions_are_refused_never_answered():
    """Of a linear game the answer is its terms, for any draw that tells the segments apart."""
    weights, x = np.linspace(-1, 2, 12).astype(np.float32), np.ones((1, 12), np.float32)
    refused = 0
    for seed in range(12):
        try:
            _, values = kernel_shap(lambda w, x: x @ w[:, None], weights, x, jax.random.key(seed), target=0, n=26)
        except ValueError as error:
            assert "draw more, such as n=96" in str(error)
            refused += 1
        else:
            np.testing.assert_allclose(values[0], weights, atol=1e-2)
    assert refused  # else this says nothing
    _, values = kernel_shap(lambda w, x: x @ w[:, None], weights, x, jax.random.key(0), target=0, n=96)
    np.testing.assert_allclose(values[0], weights, atol=1e-4)
