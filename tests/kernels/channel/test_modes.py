"""Modes are the eigenvectors of the covariance; strata add up to the plain law.

Seeds are fixed; bounds are 7 standard errors (see test_fading.py), a p-value below 1e-8 fails.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kernels import channel
from tests.kernels.oracles import channel as oracle

N = 20_000
KEY = jax.random.key(3)
FREQUENCIES = 240e3 * np.arange(12)
SPREAD = 100e-9
MODES = channel.channel_modes("C", SPREAD, FREQUENCIES)


@pytest.mark.parametrize(("name", "frequencies"), [("C", FREQUENCIES), ("A", 15e3 * np.arange(72)), ("B", [1e6])])
def test_modes_are_those_of_the_covariance(name, frequencies):
    values, vectors = channel.channel_modes(name, SPREAD, frequencies)
    covariance = oracle.covariance(channel.tdl_profile(name), SPREAD, frequencies)
    assert values.dtype == np.float64 and vectors.shape == (len(frequencies), len(values))
    np.testing.assert_allclose((vectors * values) @ vectors.conj().T, covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(len(values)), atol=1e-12)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(covariance)[::-1][: len(values)], atol=1e-11)
    assert abs(values.sum() - len(frequencies)) < 1e-10 and np.all(np.diff(values) <= 0)
    assert np.all(vectors[0].real > 0) and np.abs(vectors[0].imag).max() < 1e-12


def test_without_strata_it_is_the_plain_law():
    c = channel.stratified_modes(KEY, MODES, shape=(N,))
    assert c.shape == (N, 12) and c.dtype == np.complex64
    c = np.asarray(c, complex)
    assert scipy.stats.kstest(np.abs(c[:, 0]) ** 2, "expon").pvalue > 1e-8
    assert np.abs(c.T @ c.conj() / N - np.eye(12)).max() < 1.5 * 7 / np.sqrt(N)
    response = np.asarray(channel.modes_response(MODES, c.astype(np.complex64)), complex)
    covariance = oracle.covariance(channel.tdl_profile("C"), SPREAD, FREQUENCIES)
    assert np.abs(response.T @ response.conj() / N - covariance).max() < 7 / np.sqrt(N)


@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1e-6), (1e-4, 1e-3), (0.3, 0.7), (1 - 1e-6, 1.0)])
def test_gains_have_the_law_within_their_stratum(lower, upper):
    """Uniform by their quantile, to the edges within rounding; the phase and the other modes as ever."""
    c = np.asarray(channel.stratified_modes(KEY, MODES, lower, upper, (N,)), complex)
    gain = np.abs(c[:, 0]) ** 2
    share = (-np.expm1(-gain) - lower) / (upper - lower) if upper < 1 else 1 - np.exp(-gain) / (1 - lower)
    assert -1e-2 < share.min() < 1e-3 and 0.999 < share.max() < 1.01
    assert scipy.stats.kstest(np.clip(share, 0, 1), "uniform").pvalue > 1e-8
    assert scipy.stats.kstest(np.angle(c[:, 0]) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-8
    assert scipy.stats.kstest(np.abs(c[:, 1]) ** 2, "expon").pvalue > 1e-8
    assert abs(np.corrcoef(np.abs(c[:, 0]), np.abs(c[:, 1]))[0, 1]) < 7 / np.sqrt(N)


def test_strata_by_their_probability_give_the_means_of_the_plain_law():
    """E exp(-s |H|^2 / F) = prod 1 / (1 + s lambda / F), which at s = 300 hangs on fades alone.

    Within 7 of its own standard errors, and with less of an error than plain draws of the same number have.
    """
    edges = np.array([0.0, 1e-3, 1e-2, 0.1, 0.4, 1.0])
    lower, upper, size = edges[:-1, None], edges[1:, None], N // 5
    c = channel.stratified_modes(KEY, MODES, lower, upper, (5, size))
    strength = np.sum(np.abs(np.asarray(channel.modes_response(MODES, c), complex)) ** 2, axis=-1) / 12
    weights = np.diff(edges)
    assert abs(weights @ strength.mean(1) - 1) < 7 * np.sqrt(weights**2 @ strength.var(1) / size)
    for s in (1.0, 30.0, 300.0):
        values = np.exp(-s * strength)
        expected = np.prod(1 / (1 + s * MODES.eigenvalues / 12))
        square = np.prod(1 / (1 + 2 * s * MODES.eigenvalues / 12))
        error = np.sqrt(weights**2 @ values.var(1) / size)
        assert abs(weights @ values.mean(1) - expected) < 7 * error
        plain = np.sqrt((square - expected**2) / N)
        assert error < plain
        assert s < 300 or error < plain / 3


def test_precisions_and_traced_arguments():
    draw = jax.jit(lambda key, modes, lower, upper: channel.stratified_modes(key, modes, lower, upper, (4,)))
    concrete = channel.stratified_modes(KEY, MODES, 0.1, 0.2, (4,))
    np.testing.assert_allclose(draw(KEY, MODES, 0.1, 0.2), concrete, rtol=1e-4)
    bounds = jnp.array([0.2, 0.1, -0.1, 0.9, np.nan]), jnp.array([0.2, 0.2, 0.3, 1.1, 1.0])
    marked = jax.vmap(lambda lower, upper: channel.stratified_modes(KEY, MODES, lower, upper))(*bounds)
    assert np.isnan(marked[:, 0]).tolist() == [True, False, True, True, True]
    with jax.enable_x64(True):
        double = channel.stratified_modes(KEY, MODES, 0.0, 1e-12, (4,))
        assert double.dtype == channel.modes_response(MODES, double).dtype == np.complex128
        assert np.all(np.abs(double[:, 0]) ** 2 < 1.01e-12)
        assert channel.stratified_modes(KEY, MODES, dtype=np.complex64).dtype == np.complex64
    keys = jax.random.split(KEY, 3)
    mapped = jax.vmap(lambda key: channel.stratified_modes(key, MODES, 0.0, 0.5))(keys)
    np.testing.assert_allclose(mapped[1], channel.stratified_modes(keys[1], MODES, 0.0, 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lower": 0.5, "upper": 0.5}, "lower=0.5 and upper=0.5: expected lower < upper"),
        ({"lower": np.array([0.0, 0.6]), "upper": 0.5}, "lower=0.6 and upper=0.5"),
        ({"upper": 1.5}, r"upper=1.5: expected a quantile in \[0, 1\]"),
        ({"lower": np.nan}, "lower=nan"),
        ({"lower": np.zeros(3), "shape": (2,)}, r"lower of shape \(3,\): does not broadcast to shape=\(2,\)"),
        ({"modes": (1, 2)}, r"modes=\(1, 2\): expected Modes"),
        ({"key": 0}, "key=0 is no key"),
    ],
)
def test_bad_strata(changes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        channel.stratified_modes(**{"key": KEY, "modes": MODES, **changes})


def test_bad_modes(unchecked):
    with pytest.raises(ValueError, match="profile='E' has a line of sight"):
        channel.channel_modes("E", SPREAD, FREQUENCIES)
    with pytest.raises(ValueError, match="delay_spread=a traced value: .* on the host"):
        jax.jit(lambda spread: channel.channel_modes("A", spread, FREQUENCIES))(SPREAD)
    with pytest.raises(ValueError, match=r"coefficients have shape \(3,\): expected a last axis of the 12 modes"):
        channel.modes_response(MODES, np.ones(3))
    with pytest.raises(ValueError, match="coefficients holds"):
        channel.modes_response(MODES, np.full(12, np.nan))
