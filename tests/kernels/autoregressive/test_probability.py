"""Log-probabilities and conditionals against the float64 oracle, their normalisation, and who sees whom."""

import jax
import numpy as np
import pytest

from kernels.autoregressive import MADE, PixelCNN, chunks, conditionals, log_prob, logits
from tests.kernels.autoregressive.networks import (
    NETWORKS,
    PLAIN,
    every_network,
    oracle_logits,
    parameters,
    random_spins,
    resized,
)
from tests.kernels.oracles import autoregressive as oracle


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield np.float64


STATES = oracle.all_states(3, 3)


@every_network
def test_a_law_over_all_states(cfg):
    """Probabilities sum to 1 in float32; with z2 they are even."""
    log_q = np.asarray(log_prob(parameters(cfg), cfg, STATES), np.float64)
    assert abs(np.exp(log_q).sum() - 1) < 1e-6
    difference = np.abs(log_q - log_q[::-1])  # state k and its mirror image
    assert (difference < 1e-5).all() if cfg.z2 else (difference > 1e-3).any()


@every_network
def test_a_law_over_all_states_in_double(cfg, double):
    """Probabilities sum to 1, are the oracle's, and the products of their conditionals."""
    params = parameters(cfg, seed=1, dtype=double)
    log_q = log_prob(params, cfg, STATES)
    assert log_q.dtype == double and abs(np.exp(np.asarray(log_q)).sum() - 1) < 1e-12
    for k in (0, 77, 300, 511):
        expected = oracle.log_prob(oracle_logits(cfg, params), STATES[k], cfg.epsilon, cfg.z2)
        np.testing.assert_allclose(log_q[k], expected, rtol=0, atol=1e-12)
    x = np.asarray(conditionals(params, cfg, STATES))
    assert (x >= cfg.epsilon).all() and (x <= 1 - cfg.epsilon).all()
    product = np.log(np.where(STATES > 0, x, 1 - x)).sum(axis=(1, 2))
    np.testing.assert_allclose(log_q, product, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("residual_final_z2", (2, 5)),
        ("final", (5, 2)),
        ("pixel_cnn", (7, 1)),
        ("z2", (1, 7)),
        ("made_residual", (2, 3)),
    ],
)
def test_lattices_that_are_not_square(name, shape, double):
    cfg = resized(NETWORKS[name], *shape)
    params, spins = parameters(cfg, seed=1, dtype=double), random_spins(3, *shape)
    expected = np.stack([oracle_logits(cfg, params)(s) for s in spins])
    np.testing.assert_allclose(logits(params, cfg, spins), expected, rtol=0, atol=1e-12)


def check_jacobian(of, cfg):
    """The Jacobian is strictly lower triangular in raster order, exactly, whatever masked parameters hold."""
    params, spins = parameters(cfg, seed=3), random_spins(1, 3, 3).astype(np.float32)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda s: of(params, cfg, s)))(spins)).reshape(9, 9)
    assert (jacobian[np.triu_indices(9)] == 0).all()
    assert (jacobian[np.tril_indices(9, -1)] != 0).mean() > (0.9 if isinstance(cfg, MADE) else 0.4)


@every_network
def test_a_site_sees_only_earlier_ones(cfg):
    check_jacobian(logits, cfg)


@pytest.mark.parametrize("name", ["residual_final_z2", "made_residual_z2", "made"])
def test_a_conditional_sees_only_earlier_sites(name):
    check_jacobian(conditionals, NETWORKS[name])


def test_the_blind_spot_is_where_it_should_be():
    """In one layer row i - r is seen from j - h to j + h; each further layer widens that, upwards by h more."""
    cfg = PixelCNN(7, depth=1, half_width=2)
    params = parameters(cfg)
    jacobian = np.asarray(jax.jacobian(lambda s: logits(params, cfg, s))(random_spins(1, 7, 7).astype(np.float32)))
    seen = jacobian[0, 4, 3, 0] != 0
    expected = np.zeros((7, 7), bool)
    expected[2:4, 1:6] = True
    expected[4, 1:3] = True
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("name", ["residual_final_z2", "made_residual_z2"])
def test_gradients_are_those_of_finite_differences(name, double):
    cfg = resized(NETWORKS[name], 4, 5)
    params, spins = parameters(cfg, seed=4, scale=1.0, dtype=double), random_spins(6, 4, 5)
    weights = np.random.default_rng(0).normal(size=6)

    @jax.jit
    def value(p):
        return (log_prob(p, cfg, spins) * weights).sum()

    gradient = jax.jit(jax.grad(value))(params)
    random = np.random.default_rng(1)
    for _ in range(3):
        step = jax.tree.map(lambda x: random.normal(size=x.shape), params)
        ahead, behind = (value(jax.tree.map(lambda p, d, h=h: p + h * d, params, step)) for h in (1e-6, -1e-6))
        along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (np.asarray(g) * d).sum(), gradient, step)))
        np.testing.assert_allclose((ahead - behind) / 2e-6, along, rtol=1e-6, atol=1e-7)


def test_extreme_logits_stay_finite_and_bounded():
    params = parameters(PLAIN, scale=1e4)
    log_q = np.asarray(log_prob(params, PLAIN, STATES), np.float64)
    assert np.isfinite(log_q).all() and abs(np.exp(log_q).sum() - 1) < 1e-6
    assert log_q.min() >= 9 * np.log(1e-7) - 1e-3
    gradient = jax.grad(lambda p: log_prob(p, PLAIN, STATES).sum())(params)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(gradient))


def test_long_sums_do_not_drift():
    """Float32 sums of 576 terms to one unit in the last place of the sum of the same float32 terms in float64."""
    cfg = MADE(24, depth=1, channels=1)
    params, spins = parameters(cfg, scale=1.0), random_spins(50, 24, 24)
    a = np.asarray(logits(params, cfg, spins))
    with jax.enable_x64(True):
        exact = np.asarray(log_prob(params, cfg, spins))
    actual = np.asarray(log_prob(params, cfg, spins))
    assert actual.dtype == np.float32 and exact.dtype == np.float64 and a.dtype == np.float32
    assert (np.abs(actual - exact) <= 1.01 * np.spacing(np.abs(actual))).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32, np.float64])
def test_spins_of_any_dtype(dtype):
    spins = random_spins(5, 3, 3)
    expected = log_prob(parameters(PLAIN), PLAIN, spins)
    np.testing.assert_array_equal(log_prob(parameters(PLAIN), PLAIN, spins.astype(dtype)), expected)


def test_many_spins_go_through_in_chunks(monkeypatch):
    """Eleven chunks of one size, the last one filled up, beside one pass; no spins at all."""
    spins = random_spins(213, 3, 3)
    expected = [np.asarray(f(parameters(PLAIN), PLAIN, spins)) for f in (log_prob, conditionals, logits)]
    monkeypatch.setattr(chunks, "usual_size", lambda *_: 20)
    for function, values in zip((log_prob, conditionals, logits), expected, strict=True):
        np.testing.assert_allclose(function(parameters(PLAIN), PLAIN, spins), values, rtol=0, atol=1e-5)
        assert function(parameters(PLAIN), PLAIN, spins[:0]).shape == (0, *values.shape[1:])


def test_half_precision_parameters_still_give_a_law():
    """Products in bfloat16, probabilities and their sums in float32."""
    params = jax.tree.map(lambda x: x.astype(jax.numpy.bfloat16), parameters(PLAIN))
    log_q = log_prob(params, PLAIN, STATES)
    assert log_q.dtype == np.float32 and abs(np.exp(np.asarray(log_q, np.float64)).sum() - 1) < 1e-6


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [log_prob, conditionals, logits])
@pytest.mark.parametrize(
    ("spins", "message"),
    [
        (np.zeros((2, 3, 3)), "spins hold 0"),
        (np.full((2, 3, 3), 0.5), "spins hold 0.5"),
        (np.full((2, 3, 3), np.nan), "spins hold nan"),
        (np.ones((2, 3, 3), bool), "spins of dtype bool"),
        (np.ones((2, 3, 4)), r"spins of shape \(2, 3, 4\)"),
        (np.ones((3, 3)), r"spins of shape \(3, 3\)"),
    ],
)
def test_bad_spins_are_refused(function, spins, message):
    with pytest.raises(ValueError, match=message):
        function(parameters(PLAIN), PLAIN, spins)
