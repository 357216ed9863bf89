"""Neural MCMC against the exact transition matrix of a small chain; correlation times of series that are known."""

import importlib
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

chains = importlib.import_module("kernels.autoregressive.markov_chain")

STATES = 6
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(STATES))
Q = RNG.dirichlet(3 * np.ones(STATES))
LOG_R = np.log(P / Q)


def transition():
    """T[a, b] of independence Metropolis, by its definition."""
    matrix = Q[None] * np.minimum(1, np.exp(LOG_R[None] - LOG_R[:, None]))
    np.fill_diagonal(matrix, 0)
    return matrix + np.diag(1 - matrix.sum(axis=1))


def plain_chain(uniform, log_w, start):
    """The rule, step by step."""
    index, accepted, state = [], [], start
    for t, u in enumerate(uniform):
        accepted.append(np.log(u) < log_w[t] - log_w[state])
        state = t if accepted[-1] else state
        index.append(state)
    return index, accepted


@pytest.mark.filterwarnings("ignore:max r / n")
@pytest.mark.parametrize("start", [0, 5])
def test_steps_follow_the_rule(start):
    log_w = np.random.default_rng(1).normal(0, 1.5, 400)
    key = jax.random.key(3)
    index, accepted = chains.nmcmc(key, log_w, start)
    uniform = np.exp(-np.asarray(jax.random.exponential(key, (400,), jnp.float32), np.float64))
    wanted = plain_chain(uniform, log_w, start)
    np.testing.assert_array_equal(index, wanted[0])
    np.testing.assert_array_equal(accepted, wanted[1])
    assert index.dtype == jnp.int32 and accepted.dtype == bool
    assert accepted[start], "offering the state to itself is accepted"


def test_moves_are_those_of_the_exact_chain():
    """400,000 steps of 20 chains: every entry of the transition matrix, and the occupation, within 6 sigma."""
    draws = np.random.default_rng(2).choice(STATES, (20, 20_000), p=Q)
    keys = jax.random.split(jax.random.key(4), 20)
    index, accepted = jax.vmap(chains.nmcmc)(keys, jnp.asarray(LOG_R[draws]))
    states = np.take_along_axis(draws, np.asarray(index), axis=1)
    before, after = states[:, :-1].ravel(), states[:, 1:].ravel()
    exact = transition()
    for a in range(STATES):
        visits = np.sum(before == a)
        found = np.bincount(after[before == a], minlength=STATES) / visits
        assert np.all(np.abs(found - exact[a]) < 6 * np.sqrt(exact[a] * (1 - exact[a]) / visits) + 1e-3 / visits)
    np.testing.assert_allclose(P @ exact, P, atol=1e-15)  # the oracle is stationary at p
    gap = 1 - np.sort(np.linalg.eigvals(exact).real)[-2]
    assert gap == pytest.approx(1 / np.exp(LOG_R).max(), rel=1e-10), "the gap is 1 / max r"
    occupation = np.bincount(states.ravel(), minlength=STATES) / states.size
    assert np.abs(occupation - P).max() < 6 * np.sqrt(0.25 / states.size * (2 / gap))
    acceptance = Q @ np.minimum(1, np.exp(LOG_R[None] - LOG_R[:, None])).T @ P
    assert np.mean(accepted) == pytest.approx(acceptance, abs=6 * np.sqrt(0.25 / states.size * (2 / gap)))


def test_the_time_of_the_exact_chain():
    """Of f on the finite chain: tau = 1/2 + sum_t rho(t) from powers of the matrix, 5 % from 400,000 steps."""
    f = RNG.normal(size=STATES)
    exact, centred = transition(), f - P @ f
    covariance = [P @ (centred * (np.linalg.matrix_power(exact, t) @ centred)) for t in range(300)]
    wanted = np.sum(covariance) / covariance[0] - 0.5
    draws = np.random.default_rng(3).choice(STATES, 400_000, p=Q)
    index, _ = chains.nmcmc(jax.random.key(5), LOG_R[draws])
    series = f[draws[np.asarray(index)]]
    assert chains.integrated_time(series) == pytest.approx(wanted, rel=0.08)
    mean, error, _ = chains.chain_estimate(series)
    assert abs(mean - P @ f) < 6 * error
    assert error == pytest.approx(np.sqrt(2 * wanted * covariance[0] / 400_000), rel=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95, -0.5])
def test_times_of_autoregressive_series(rho):
    """rho(t) = rho^t: tau = (1 + rho) / (2 (1 - rho)); deviations of 6 sigma by Wolff's formula stay below 20 %."""
    noise = np.random.default_rng(4).normal(size=300_000)
    series = np.empty_like(noise)
    state = 0.0
    for t, value in enumerate(noise):
        series[t] = state = rho * state + value
    wanted = (1 + rho) / (2 * (1 - rho))
    tolerance = 0.2 if rho >= 0 else 0.35  # the window is short where signs alternate
    assert chains.integrated_time(series) == pytest.approx(wanted, rel=tolerance)
    assert chains.integrated_time(series.reshape(10, -1)) == pytest.approx(wanted, rel=tolerance)


def test_constant_and_short_series():
    assert chains.integrated_time(np.full(100, 3.0)) == 0.5
    with pytest.warns(UserWarning, match="too few"):
        chains.integrated_time(np.arange(50.0), window=100)


def test_large_log_weights_keep_their_differences():
    """An offset of a million, which float32 alone would not survive, changes nothing."""
    log_w = np.random.default_rng(5).normal(0, 1, 200)
    plain, shifted = (chains.nmcmc(jax.random.key(6), log_w + offset)[0] for offset in (0.0, 1e6))
    np.testing.assert_array_equal(plain, shifted)


def test_a_heavy_sample_is_told():
    log_w = np.zeros(50)
    log_w[9] = 5
    with pytest.warns(UserWarning, match="max r / n = 0.75"):
        chains.nmcmc(jax.random.key(7), log_w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chains.nmcmc(jax.random.key(7), np.zeros(50))


def test_burn_in():
    assert chains.burn_in(np.array([True] + [False] * 30 + [True] + [False] * 968)) == 31
    assert chains.burn_in(np.ones(1000, bool)) == 10
    assert chains.burn_in(np.array([True, False, False])) == 1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: chains.nmcmc(jax.random.key(0), np.zeros((2, 3))), "vmap"),
        (lambda: chains.nmcmc(jax.random.key(0), np.zeros(0)), "at least 1"),
        (lambda: chains.nmcmc(jax.random.key(0), np.array([0, math.inf])), r"log_w\[1\]=inf"),
        (lambda: chains.nmcmc(jax.random.key(0), np.zeros(3), 3), "start=3"),
        (lambda: chains.nmcmc(jax.random.key(0), np.zeros(3), 1.5), "start=1.5"),
        (lambda: chains.integrated_time(np.zeros(1)), "at least 2"),
        (lambda: chains.integrated_time(np.zeros(9), -1), "window=-1"),
        (lambda: chains.integrated_time(np.array([0, math.nan])), "finite"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
