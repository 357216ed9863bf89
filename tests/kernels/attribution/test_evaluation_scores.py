"""Measures that explain or score again: sensitivity, Lipschitz, infidelity, faithfulness correlation, monotonicity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import evaluation
from tests.kernels.oracles import evaluation as oracle

BATCH, ENTRIES, DRAWS = 3, 10, 6
TARGET = np.array([1, 0, 1])


def network(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params)


def explain(params, x):
    """The gradient of the first output, times the input, by hand."""
    slope = params[:, 0] * (1 - jnp.tanh(x.reshape(len(x), -1) @ params)[:, :1] ** 2)
    return slope.reshape(x.shape) * x


@pytest.fixture(scope="module")
def problem():
    draw = np.random.default_rng(6)
    params, x = draw.normal(size=(ENTRIES, 2)) / 2, draw.normal(size=(BATCH, 5, 2))
    return params, x, draw.normal(size=x.shape), draw.uniform(-0.2, 0.2, size=(DRAWS, *x.shape))


def alone(params):
    def explanation(x):
        slope = params[:, 0] * (1 - np.tanh(x.reshape(-1) @ params)[0] ** 2)
        return slope.reshape(x.shape) * x

    return explanation


def score_of(params, index):
    return lambda x: float(np.tanh(x.reshape(-1) @ params)[TARGET[index]])


@pytest.mark.parametrize("at_once", [1, 4])
def test_sensitivity_to_noise_that_is_given(problem, at_once):
    params, x, _, noise = problem
    options = {"noise": noise, "at_once": at_once}
    with jax.enable_x64(True):
        for relative in (True, False):
            draws = np.array([oracle.sensitivities(alone(params), x[i], noise[:, i], relative) for i in range(BATCH)])
            largest = evaluation.max_sensitivity(explain, params, x, relative=relative, **options)
            np.testing.assert_allclose(largest, draws.max(1), rtol=1e-12)
            mean = evaluation.avg_sensitivity(explain, params, x, relative=relative, **options)
            np.testing.assert_allclose(mean, draws.mean(1), rtol=1e-12)
        ratios = [oracle.lipschitz(alone(params), x[i], noise[:, i]) for i in range(BATCH)]
        np.testing.assert_allclose(evaluation.local_lipschitz(explain, params, x, **options), ratios, rtol=1e-9)


def test_noise_is_drawn_within_the_radius(problem):
    params, x, _, _ = problem
    x = x.astype("f")

    def largest(key, x=x, **options):
        return np.asarray(evaluation.max_sensitivity(lambda p, x: x, params, x, key, relative=False, **options))

    drawn = largest(jax.random.key(0), radius=0.5, n=40)
    assert (drawn <= 0.5 * np.sqrt(ENTRIES) + 1e-6).all() and (drawn > 0.5).all()
    np.testing.assert_allclose(largest(jax.random.key(0), radius=0.5, n=40, at_once=7), drawn, rtol=1e-5)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(3))
    np.testing.assert_allclose(largest(keys[1:2], x[1:2], radius=0.5, n=40), drawn[1:2], rtol=1e-5)
    traced = jax.jit(lambda x: evaluation.max_sensitivity(
        lambda p, x: x, params, x, jax.random.key(0), relative=False, n=40, radius=0.5
    ))(x)  # fmt: skip
    np.testing.assert_allclose(traced, drawn, rtol=1e-5)
    identity = evaluation.local_lipschitz(lambda p, x: 3 * x, params, x, jax.random.key(1), n=3)
    np.testing.assert_allclose(identity, 3, rtol=1e-4)


def test_what_sensitivity_refuses(problem, unchecked):
    params, x, _, noise = problem
    for options, message in (
        ({}, "key=None: the noise is drawn"),
        ({"noise": noise[:, :2]}, "noise of shape"),
        ({"noise": noise[:0]}, "noise of shape"),
        ({"explain": lambda p, x: (1, x), "noise": noise}, r"attribute returns \(outputs, relevance\)"),
        ({"explain": lambda p, x: x[:1], "noise": noise}, "for 3 samples: expected one for each"),
        ({"explain": "lrp", "noise": noise}, "explain='lrp'"),
        ({"explain": lambda p, x: jnp.sqrt(x - jnp.min(x) * (x.ndim == 0)), "noise": noise}, "NaN or infinite"),
        ({"x": np.full(x.shape, np.nan), "noise": noise}, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.max_sensitivity(**{"explain": explain, "params": params, "x": x} | options)
    with pytest.raises(ValueError, match="draw 0 for sample 0 gave a distance that is not finite"):
        evaluation.local_lipschitz(explain, params, x, noise=0 * noise)
    zero = evaluation.max_sensitivity(lambda p, x: x * (x[:, :1, :1] > x[0, 0, 0]), params, x, noise=0 * noise)
    assert np.isnan(zero[0])  # a map of zeros has no length to measure by


def test_infidelity(problem):
    params, x, relevance, noise = problem
    with jax.enable_x64(True):
        for is_scaled in (False, True):
            own = evaluation.infidelity(
                network, params, x, relevance, target=TARGET, perturbations=noise, is_scaled=is_scaled, at_once=4
            )
            expected = [
                oracle.infidelity(score_of(params, i), x[i], relevance[i], noise[:, i], is_scaled) for i in range(BATCH)
            ]
            np.testing.assert_allclose(own, expected, rtol=1e-10)
        slope = jnp.broadcast_to(params[:, 1].reshape(x.shape[1:]), x.shape)
        linear = evaluation.infidelity(
            lambda w, x: x.reshape(len(x), -1) @ w, params, x, slope, jax.random.key(0), target=1
        )
    np.testing.assert_allclose(linear, 0, atol=1e-20)
    by_key = [
        evaluation.infidelity(network, params, x, relevance, jax.random.key(3), target=0, n=9, at_once=count)
        for count in (1, 5)
    ]
    np.testing.assert_allclose(*by_key, rtol=1e-4)


def test_what_infidelity_refuses(problem, unchecked):
    params, x, relevance, noise = problem
    with pytest.raises(ValueError, match="key=None: perturbations are drawn"):
        evaluation.infidelity(network, params, x, relevance, target=0)
    with pytest.raises(ValueError, match="perturbations of shape"):
        evaluation.infidelity(network, params, x, relevance, target=0, perturbations=noise[0])


def test_faithfulness_correlation(problem):
    params, x, relevance, _ = problem
    subsets = np.stack([
        [np.random.default_rng([draw, i]).permutation(ENTRIES)[:4] for i in range(BATCH)] for draw in range(DRAWS)
    ])  # fmt: skip
    with jax.enable_x64(True):
        own = evaluation.faithfulness_correlation(
            network, params, x, relevance, target=TARGET, subsets=subsets, value=0.3, at_once=4
        )
    expected = [
        oracle.faithfulness_correlation(score_of(params, i), x[i], relevance[i], subsets[:, i], 0.3)
        for i in range(BATCH)
    ]
    np.testing.assert_allclose(own, expected, rtol=1e-10)
    linear = [
        evaluation.faithfulness_correlation(
            lambda w, x: x.reshape(len(x), -1) @ w, params, x, sign * x * params[:, 1].reshape(5, 2), jax.random.key(0),
            target=1, n=12, size=3,
        )
        for sign in (1, -1)
    ]  # fmt: skip
    np.testing.assert_allclose(linear[0], 1, atol=1e-5)
    np.testing.assert_allclose(linear[1], -1, atol=1e-5)


def test_what_faithfulness_correlation_refuses(problem, unchecked):
    params, x, relevance, _ = problem
    subsets = np.broadcast_to(np.arange(4), (DRAWS, BATCH, 4))
    for options, message in (
        ({"size": 11, "key": jax.random.key(0)}, "size=11: expected an integer from 1 to 10"),
        ({}, "key=None: subsets are drawn"),
        ({"subsets": subsets[:, :2]}, "subsets of shape"),
        ({"subsets": subsets + 8}, "expected indices of 10 entries"),
        ({"subsets": 0 * subsets}, "name an entry twice"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.faithfulness_correlation(network, params, x, relevance, target=0, **options)


@pytest.mark.parametrize(("absolute", "per_step"), [(True, 1), (False, 1), (True, 3)])
def test_monotonicity(problem, absolute, per_step):
    params, x, relevance, _ = problem
    with jax.enable_x64(True):
        own = evaluation.monotonicity(
            network, params, x, relevance, target=TARGET, value=0.1, absolute=absolute, entries_per_step=per_step
        )
    expected = [
        oracle.monotonicity(score_of(params, i), x[i], relevance[i], 0.1, absolute, per_step) for i in range(BATCH)
    ]
    np.testing.assert_allclose(own, expected, rtol=1e-12)


def test_a_growing_score_is_monotone():
    w = np.arange(1.0, 7.0, dtype="f")[:, None]
    x = np.ones((2, 6), "f")
    assert evaluation.monotonicity(lambda w, x: x @ w, w, x, x * w[:, 0], target=0).tolist() == [1, 1]
    assert evaluation.monotonicity(lambda w, x: -x @ w, w, x, x * w[:, 0], target=0).tolist() == [0, 0]
