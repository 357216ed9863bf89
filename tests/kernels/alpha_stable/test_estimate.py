"""Estimates lie within their standard errors, which are right. Five sigmas: 6e-7 for a false alarm."""

import jax
import numpy as np
import pytest

from kernels import alpha_stable

SIGMAS = 5


@pytest.mark.parametrize("alpha", [0.4, 1.0, 1.6])
def test_log_moments(alpha):
    x = 3 * alpha_stable.sas(jax.random.key(1), alpha, (50_000,)) + 2
    fit = alpha_stable.fit_log_moments(x, 2)
    assert abs(float(fit.alpha) - alpha) < SIGMAS * float(fit.errors[0]) < 0.2
    assert abs(float(fit.scale) - 3) < SIGMAS * float(fit.errors[1]) < 0.5


def test_standard_errors_of_log_moments():
    keys = jax.random.split(jax.random.key(3), 400)
    fits = jax.vmap(lambda key: alpha_stable.fit_log_moments(alpha_stable.sas(key, 1.2, (2000,))))(keys)
    for estimates, column in ((fits.alpha, 0), (fits.scale, 1)):
        # 400 repetitions know a standard deviation to 3.5 % of one sigma.
        assert 0.8 < float(estimates.std() / fits.errors[:, column].mean()) < 1.2


@pytest.mark.parametrize("alpha", [1.5, *(pytest.param(alpha, marks=pytest.mark.slow) for alpha in (0.5, 1.0, 1.9))])
def test_likelihood(alpha):
    x = 3 * np.asarray(alpha_stable.sas(jax.random.key(2), alpha, (4000,))) + 1
    fit = alpha_stable.fit_sas(x)
    assert fit.converged
    for actual, true, error in zip(fit[:3], (alpha, 3, 1), fit.errors, strict=True):
        assert abs(float(actual) - true) < SIGMAS * float(error) < 0.6
    true = float(alpha_stable.sas_log_pdf(x, alpha, 3, 1).sum())
    # Twice the difference is chi-squared of 3 degrees of freedom: above 35 with probability 1e-7.
    assert -0.1 < 2 * (float(fit.log_likelihood) - true) < 35
    known = alpha_stable.fit_sas(x, loc=1)
    assert known.converged and float(known.loc) == 1 and float(known.errors[2]) == 0
    assert float(known.errors[0]) <= float(alpha_stable.fit_log_moments(x, 1).errors[0])


def test_normal_data():
    fit = alpha_stable.fit_sas(np.random.default_rng(0).normal(5, 2, 4000))
    assert float(fit.alpha) > 1.97
    assert abs(float(fit.scale) * np.sqrt(2) - 2) < 0.15 and abs(float(fit.loc) - 5) < 0.2


@pytest.mark.usefixtures("unchecked")
def test_bad_observations_stop_at_the_door():
    with pytest.raises(ValueError, match="at least 3"):
        alpha_stable.fit_sas(np.ones(2))
    with pytest.raises(ValueError, match="x=nan"):
        alpha_stable.fit_log_moments(np.array([1.0, np.nan, 2, 3]))
    for fit in (alpha_stable.fit_sas, alpha_stable.fit_log_moments):
        with pytest.raises(ValueError, match="x has the value 1 everywhere"):
            fit(np.ones(9), 1)
        with pytest.raises(ValueError, match="loc=nan"):
            fit(np.arange(9.0), np.nan)
        with pytest.raises(ValueError, match="loc has shape"):
            fit(np.arange(9.0), np.zeros(9))
    with pytest.raises(ValueError, match="x has the value 1 everywhere"):
        alpha_stable.fit_sas(np.ones(9))


def test_half_types_are_summed_in_single():
    x = alpha_stable.sas(jax.random.key(4), 1.5, (3000,), "bfloat16")
    half, single = alpha_stable.fit_log_moments(x), alpha_stable.fit_log_moments(x.astype("float32"))
    np.testing.assert_array_equal(half[:3], single[:3])
