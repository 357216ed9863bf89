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
    expected = plain_chain(uniform, log_w, start)
    np.testing.assert_array_equal(index, expected[0])
    np.testing.assert_array_equal(accepted, expected[1])
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
        actual = np.bincount(after[before == a], minlength=STATES) / visits
        assert np.all(np.abs(actual - exact[a]) < 6 * np.sqrt(exact[a] * (1 - exact[a]) / visits) + 1e-3 / visits)
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
    expected = np.sum(covariance) / covariance[0] - 0.5
    draws = np.random.default_rng(3).choice(STATES, 400_000, p=Q)
    index, _ = chains.nmcmc(jax.random.key(5), LOG_R[draws])
    series = f[draws[np.asarray(index)]]
    assert chains.integrated_time(series).time == pytest.approx(expected, rel=0.08)
    mean, error, _, status = chains.chain_estimate(series)
    assert abs(mean - P @ f) < 6 * error and status.level == "trusted"
    assert error == pytest.approx(np.sqrt(2 * expected * covariance[0] / 400_000), rel=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95, -0.5])
def test_times_of_autoregressive_series(rho):
    """rho(t) = rho^t: tau = (1 + rho) / (2 (1 - rho)); deviations of 6 sigma by Wolff's formula stay below 20 %."""
    noise = np.random.default_rng(4).normal(size=300_000)
    series = np.empty_like(noise)
    state = 0.0
    for t, value in enumerate(noise):
        series[t] = state = rho * state + value
    expected = (1 + rho) / (2 * (1 - rho))
    tolerance = 0.2 if rho >= 0 else 0.35  # the window is short where signs alternate
    assert chains.integrated_time(series).time == pytest.approx(expected, rel=tolerance)
    assert chains.integrated_time(series.reshape(10, -1)).time == pytest.approx(expected, rel=tolerance)


def autoregressive(rho, n, rng):
    """A stationary series with rho(t) = rho^t."""
    noise = rng.normal(size=n) * math.sqrt(1 - rho**2)
    series = np.empty(n)
    state = rng.normal()
    for t in range(n):
        series[t] = state = rho * state + noise[t]
    return series


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("rho", "n"), [(0.9, 100), (0.99, 1000)])
def test_a_series_too_short_for_its_own_time_says_so(rho, n):
    """The time comes out at 4 instead of 9.5, 40 instead of 99.5. By emcee's rule 99.8 % are told; of 100 seeds at
    least 90: with 99.8 % fewer would be a chance of 1e-13."""
    rng = np.random.default_rng(12)
    result = [chains.chain_estimate(autoregressive(rho, n, rng)) for _ in range(100)]
    assert sum(each.status.level != "trusted" for each in result) >= 90
    assert np.median([each.time for each in result]) < 0.6 * (1 + rho) / (2 * (1 - rho))


def test_a_series_that_is_long_enough_is_trusted_and_covers():
    """1,000 times long: of 100 seeds at most 5 are told (below 1 % each: 1e-3 for more than 5 were it 1.5 %), and 43 to
    89 one-sigma intervals hold the truth (binomial with 0.683: 2e-7 below and above)."""
    rng = np.random.default_rng(13)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = [chains.chain_estimate(autoregressive(0.6, 2000, rng)) for _ in range(100)]
    assert sum(each.status.level != "trusted" for each in result) <= 5
    assert 43 <= sum(abs(each.mean) < each.error for each in result) <= 89


def test_short_series_of_independent_steps_do_not_look_anticorrelated():
    """About their own mean the times of 10 to 50 steps come out near 0, with errors of a fifth of the right one, and
    were trusted: of 10 steps 63 % of those lay 3 errors off. Errors are now those of independent steps (at most 0.7 %
    beyond 3 at 50 steps, by Student's law with a margin: of 600 more than 20 by less than 1e-7), and fewer than 50
    steps are always told. A long series that alternates still has its own small error."""
    rng = np.random.default_rng(21)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        short = [chains.chain_estimate(rng.normal(size=n)) for n in (10, 20, 49) for _ in range(50)]
        longer = [chains.chain_estimate(rng.normal(size=50)) for _ in range(600)]
    assert all(each.status.level != "trusted" for each in short)
    assert sum(abs(each.mean) > 3 * each.error for each in longer) <= 20
    assert min(each.error for each in longer) > 0.4 / math.sqrt(50)
    assert chains.chain_estimate(np.tile([0.0, 1.0], 500)).error < 0.002
    x = np.tile([0.0, 1.0], 500) + 1e-3 * rng.normal(size=1000)
    assert chains.chain_estimate(x).time < 0.1 and chains.chain_estimate(x[:60]).error > 0.4 / math.sqrt(60)


def test_a_stuck_chain_has_no_error():
    """It had a time of 1/2 and an error of 0."""
    with pytest.warns(UserWarning, match="not usable: all steps have the same value"):
        result = chains.chain_estimate(np.full(100, 3.0))
    assert result.mean == 3 and result.error == result.time == math.inf and result.status.level == "not usable"
    with pytest.warns(UserWarning, match="same value"):
        assert chains.integrated_time(np.full((4, 100), 3.0)).time == math.inf
    # Rounding about a value is no movement, however small numbers about 0 are one.
    rounding = 1e6 * (1 + 1e-16 * np.random.default_rng(0).choice([-1, 1], 1000))
    with pytest.warns(UserWarning, match="same value"):
        assert chains.chain_estimate(rounding).error == math.inf
    assert chains.chain_estimate(1e-30 * np.random.default_rng(0).normal(size=1000)).status.level == "trusted"


def test_the_window_of_a_short_series():
    with pytest.warns(UserWarning, match="not usable: 50 steps are too few for their correlation"):
        assert chains.integrated_time(np.arange(50.0), window=100).status.level == "not usable"
    with pytest.warns(UserWarning, match="doubtful: 50 steps are 12 of their integrated time"):
        chains.chain_estimate(np.arange(50.0))
    with pytest.warns(UserWarning, match="not usable: 3 steps"):
        assert chains.chain_estimate([0.0, 1.0, 0.5]).error == math.inf


def test_no_accepted_move():
    """The observable changes by chance of rounding or another cause: the flags tell."""
    x = np.random.default_rng(3).normal(size=1000)
    accepted = np.zeros(1000, bool)
    accepted[0] = True
    with pytest.warns(UserWarning, match="no move was accepted in 1000 steps"):
        result = chains.chain_estimate(x, accepted)
    assert result.error == math.inf and result.status.level == "not usable"
    with pytest.warns(UserWarning, match="1 of 2 chains accepted no move"):
        several = chains.chain_estimate(np.stack([x, x[::-1]]), np.stack([accepted, np.ones(1000, bool)]))
    assert several.status.level == "doubtful" and several.error < math.inf
    accepted[500:] = True
    with pytest.warns(UserWarning, match="one state held the chain for 499 of 1000 steps"):
        chains.chain_estimate(x, accepted)
    assert chains.chain_estimate(x, np.ones(1000, bool)).status.level == "trusted"


def test_chains_that_disagree_are_told():
    """Means a fifth of a deviation apart, a single drift, one chain that never moves."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4, 5000))
    apart = x + 0.1 * np.array([[1.0], [-1], [1], [-1]])
    with pytest.warns(UserWarning, match="chains or their halves disagree"):
        result = chains.chain_estimate(apart)
    assert result.status.level == "doubtful" and result.error > 3 * chains.chain_estimate(x).error
    drift = x[0] + np.linspace(-0.3, 0.3, 5000)
    with pytest.warns(UserWarning, match="its halves differ by more than chance"):
        assert chains.chain_estimate(drift).status.level == "doubtful"
    # Opposite drifts, which leave all means of whole chains alike.
    opposite = x + np.linspace(-0.3, 0.3, 5000) * np.array([[1.0], [-1], [1], [-1]])
    with pytest.warns(UserWarning, match="disagree"):
        chains.chain_estimate(opposite)
    x[2] = 0.5
    with pytest.warns(UserWarning, match="1 of 4 chains do not move"):
        chains.chain_estimate(x)


def test_many_short_chains_are_long_enough_together():
    """100 independent chains of 10 steps: their means tell the error."""
    result = chains.chain_estimate(np.random.default_rng(6).normal(size=(100, 10)))
    assert result.status.level == "trusted" and result.error == pytest.approx(1 / math.sqrt(1000), rel=0.3)


def test_weights_of_zero_are_left_at_once_and_never_entered():
    log_w = np.array([-np.inf, -np.inf, 0.3, -np.inf, 0.1, -np.inf])
    for start in (0, 1):
        index, accepted = chains.nmcmc(jax.random.key(0), log_w, start)
        assert list(index[:3]) == [start, start, 2] and list(accepted[:4]) == [False, False, True, False]
        assert set(np.asarray(index[2:])) <= {2, 4} and chains.burn_in(accepted) == 2
    index, accepted = chains.nmcmc(jax.random.key(0), np.full(5, -np.inf))
    assert not np.any(accepted) and not np.any(index)
    many, _ = jax.vmap(chains.nmcmc)(jax.random.split(jax.random.key(1), 3), jnp.stack([log_w] * 3))
    assert np.all(np.isin(many[:, 2:], [2, 4]))


def test_steps_and_jumps_are_the_same_chain():
    """To the bit, with weights of zero and ties among them; the second form is that of accelerators."""
    by_steps, by_jumps = (jax.jit(form) for form in (chains._chain_by_steps, chains._chain_by_jumps))
    for n in (1, 2, 3, 8, 200):
        for seed in range(20):
            random = np.random.default_rng(seed)
            log_w = random.normal(size=n).astype(np.float32) * random.choice([0.1, 1, 5])
            if seed % 3 == 0:
                log_w[random.random(n) < 0.3] = -np.inf
            offers = log_w + random.exponential(size=n).astype(np.float32)
            start = np.int32(random.integers(n))
            for one, other in zip(by_steps(log_w, offers, start), by_jumps(log_w, offers, start), strict=True):
                np.testing.assert_array_equal(one, other)


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


@pytest.mark.usefixtures("unchecked")
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
        (lambda: chains.nmcmc(jax.random.key(0), np.array([0, math.nan])), r"log_w\[1\]=nan"),
        (lambda: chains.chain_estimate(np.arange(9.0), np.ones(8, bool)), r"accepted of shape \[1, 8\]"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_autocorrelation_by_hand():
    """Of 1, 2, 4 about their mean: products over as many pairs as there are; a constant has none."""
    d = np.array([1.0, 2.0, 4.0]) - 7 / 3
    covariance = [d @ d / 3, (d[0] * d[1] + d[1] * d[2]) / 2, d[0] * d[2]]
    np.testing.assert_allclose(chains.autocorrelation([1, 2, 4]), np.array(covariance) / covariance[0])
    np.testing.assert_allclose(chains.autocorrelation([1, 2, 4], 1), np.array(covariance[:2]) / covariance[0])
    np.testing.assert_array_equal(chains.autocorrelation(np.full(4, 0.1)), [1, 0, 0, 0])
