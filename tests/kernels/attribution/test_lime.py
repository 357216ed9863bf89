"""LIME against its closed form and, for the lasso, the conditions of its optimum, over coalitions that are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import lime

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3, 4))
SEGMENTS = np.array([[0, 0, 1, 1], [2, 2, 1, 3], [4, 4, 4, 3]])
BASE = RANDOM.normal(size=(3, 4))
WEIGHTS = RANDOM.normal(size=(12, 2))
N = 40


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def fn(w, x):
    z = x.reshape(len(x), -1)
    return jnp.tanh(z @ w) + z[:, :2] * z[:, 3:5]


def problem(distance, width):
    """Coalitions, explained outputs and weights of both samples, by brute force."""
    keys = [jax.random.fold_in(jax.random.key(3), number) for number in range(2)]
    for sample, key in enumerate(keys):
        z = np.asarray(jax.random.bernoulli(key, 0.5, (N, 5))).astype(float)
        z[0] = 1
        mixed = np.where(z[:, SEGMENTS] > 0, X[sample], BASE)
        f = np.asarray(fn(WEIGHTS, mixed))[:, 1]
        cosine = [1 - row.sum() / max(np.sqrt(row.sum() * 5), 1e-300) for row in z]
        d = np.array(cosine) if distance == "cosine" else np.linalg.norm(1 - z, axis=1)
        yield z, f, np.exp(-(d**2) / (2 * width**2))


def explained(**options):
    return lime(
        fn,
        WEIGHTS,
        X,
        jax.random.key(3),
        target=1,
        segments=SEGMENTS,
        baseline=BASE,
        n=N,
        return_report=True,
        **options,
    )


@pytest.mark.parametrize(("distance", "width", "alpha"), [("cosine", 0.25, 1.0), ("euclidean", 1.5, 0.0)])
def test_ridge_in_closed_form(distance, width, alpha):
    y, relevance, report = explained(distance=distance, kernel_width=width, alpha=alpha, at_once=7)
    np.testing.assert_allclose(y, fn(WEIGHTS, X), rtol=1e-12)
    for sample, (z, f, weights) in enumerate(problem(distance, width)):
        design = np.concatenate([z, np.ones((N, 1))], 1)  # the intercept has no penalty
        penalty = alpha * np.diag([1.0] * 5 + [0])
        expected = np.linalg.solve((design.T * weights) @ design + penalty, (design.T * weights) @ f)
        np.testing.assert_allclose(report["segments"][sample], expected[:5], atol=1e-10)
        np.testing.assert_allclose(report["intercept"][sample], expected[5], atol=1e-10)
        level = np.average(f, weights=weights)
        score = 1 - weights @ (f - design @ expected) ** 2 / (weights @ (f - level) ** 2)
        np.testing.assert_allclose(report["score"][sample], score, atol=1e-10)
        np.testing.assert_allclose(relevance[sample], expected[SEGMENTS], atol=1e-10)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 100.0])
def test_lasso_is_at_its_optimum(alpha):
    *_, report = explained(penalty="lasso", alpha=alpha)
    for sample, (z, f, weights) in enumerate(problem("cosine", 0.25)):
        values, share = np.asarray(report["segments"][sample]), weights / weights.sum()
        rest = f - z @ values - report["intercept"][sample]
        slope = (z.T * share) @ rest
        np.testing.assert_allclose(share @ rest, 0, atol=1e-10)
        np.testing.assert_allclose(slope[values != 0], alpha * np.sign(values[values != 0]), rtol=1e-5)
        assert (np.abs(slope[values == 0]) <= alpha * (1 + 1e-5)).all()
    assert (report["segments"] == 0).all() == (alpha == 100.0)


def test_compiled_and_a_linear_function():
    """Of a linear function without a penalty the coefficients are exact and the score is 1."""
    linear = lambda w, x: x.reshape(len(x), -1) @ w  # noqa: E731
    call = lambda x: lime(linear, WEIGHTS, x, jax.random.key(0), target=0, n=60, alpha=0.0, return_report=True)[1:]  # noqa: E731
    for relevance, report in (call(X), jax.jit(call)(X)):
        np.testing.assert_allclose(relevance, X * WEIGHTS[:, 0].reshape(3, 4), atol=1e-9)
        np.testing.assert_allclose(report["score"], 1, atol=1e-9)
        np.testing.assert_allclose(report["completeness"], 0, atol=1e-9)


def test_what_is_refused_and_said(unchecked):
    for options, message in (
        ({"distance": "l1"}, "distance='l1': expected one of cosine, euclidean"), ({"penalty": "none"}, "penalty="),
        ({"n": 1}, "n=1: expected two"), ({"kernel_width": 0}, "kernel_width"), ({"alpha": -1.0}, "alpha"),
        ({"penalty": "lasso", "alpha": 0.0}, "alpha"), ({"key": None}, "key is None"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            lime(fn, WEIGHTS, X, **{"key": jax.random.key(0), "target": 0} | options)


def test_windows_as_large_as_the_input_are_refused():
    images = RANDOM.normal(size=(2, 6, 5, 1))
    call = lambda w, x: x.reshape(len(x), -1)[:, :2]  # noqa: E731
    for options in ({}, {"window": (6, 5), "stride": (1, 1)}, {"window": 7, "stride": 2}):
        with pytest.raises(ValueError, match=r"covers all of an input of shape \(6, 5, 1\)"):
            attribution.occlusion(call, None, images, target=0, **options)
        with pytest.raises(ValueError, match="covers all of an input"):
            attribution.analyzer("occlusion", **options)(call, None, images, target=0)
    attribution.occlusion(call, None, images, target=0, window=(6, 4), stride=(6, 1))
    attribution.occlusion(call, None, images[:, :1, :1], target=None)  # one entry: there is nothing to tell apart
