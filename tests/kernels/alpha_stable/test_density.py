"""Density and distribution function against an independent integral, the tail series, closed forms and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from kernels import alpha_stable
from tests.kernels.oracles import alpha_stable as oracle

ALPHAS = (0.1, 0.3, 0.5, 0.9, 0.97, 0.999, 1.0, 1.0 + 1e-7, 1.02, 1.2, 1.5, 1.9, 1.99, 1.9999, 2.0)
PLACES = np.concatenate([[0], np.geomspace(1e-3, 30, 15)])
log_pdf, log_survival = jax.jit(alpha_stable.sas_log_pdf), jax.jit(alpha_stable.sas_log_survival)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def test_against_an_integral_of_the_characteristic_function(dtype):
    tolerance = {"float32": 4e-6, "float64": 1e-11}[dtype]
    x = jnp.asarray(PLACES, dtype)
    for given in ALPHAS:
        alpha = jnp.asarray(given, dtype)
        density = oracle.density(np.asarray(x, np.float64), float(alpha))
        found = np.exp(np.asarray(log_pdf(x, alpha), np.float64))
        # The oracle is good to 1e-14 of its largest value, no matter how small the density is.
        noise = 1e-14 * max(1, density[0])
        np.testing.assert_allclose(found, density, rtol=tolerance, atol=noise, err_msg=f"{given}")
        assert (np.abs(found - density) < 1e-6 * np.maximum(1, density)).all()
        upper = oracle.survival(np.asarray(x, np.float64), float(alpha))
        found = np.exp(np.asarray(log_survival(x, alpha), np.float64))
        np.testing.assert_allclose(found, upper, rtol=tolerance, atol=2e-14, err_msg=f"{given}")
        assert (np.abs(found - upper) < 1e-6).all()


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.3, 1.7, 1.999])
def test_tails_are_the_series(alpha):
    with jax.enable_x64(True):
        x = np.geomspace(300, 1e12, 10) ** (1 / alpha)
        found = log_pdf(jnp.asarray(x), alpha)
        np.testing.assert_allclose(found, np.log(oracle.tail_density(x, alpha, 12)), rtol=1e-9)
        constant = float(alpha_stable.tail_constant(alpha))
        np.testing.assert_allclose(log_survival(x[-1], alpha), np.log(constant / 2) - alpha * np.log(x[-1]), rtol=1e-9)


def test_single_precision_reaches_far():
    # Densities that float32 cannot hold have logarithms that it can.
    found = log_pdf(jnp.float32(1e30), 1.5)
    np.testing.assert_allclose(found, np.log(0.75 * alpha_stable.tail_constant(1.5)) - 2.5 * np.log(1e30), rtol=1e-6)
    x = jnp.asarray([0, 1e-30, 1e37, jnp.inf, -jnp.inf, jnp.nan], "float32")
    for alpha in (0.1, 1.0, 1.7, 2.0):
        density, below = alpha_stable.sas_pdf(x, alpha), alpha_stable.sas_cdf(x, alpha)
        assert np.isfinite(density[:3]).all() and np.isnan(density[5])
        np.testing.assert_array_equal(density[3:5], 0)
        np.testing.assert_array_equal(below[jnp.array([0, 3, 4])], [0.5, 1, 0])


def test_closed_forms():
    with jax.enable_x64(True):
        x = np.linspace(-8, 8, 33)
        np.testing.assert_allclose(alpha_stable.sas_pdf(x, 1, 2, 0.5), stats.cauchy(0.5, 2).pdf(x), rtol=1e-12)
        np.testing.assert_allclose(alpha_stable.sas_cdf(x, 1, 2, 0.5), stats.cauchy(0.5, 2).cdf(x), rtol=1e-12)
        normal = stats.norm(0.5, 2 * np.sqrt(2))
        np.testing.assert_allclose(alpha_stable.sas_pdf(x, 2, 2, 0.5), normal.pdf(x), rtol=1e-12)
        np.testing.assert_allclose(alpha_stable.sas_cdf(x, 2, 2, 0.5), normal.cdf(x), rtol=1e-12)
        for alpha in (0.2, 0.7, 1.6):
            at_zero = special.gamma(1 + 1 / alpha) / np.pi
            np.testing.assert_allclose(alpha_stable.sas_pdf(0.0, alpha), at_zero, rtol=1e-12)


def test_against_scipy():
    with jax.enable_x64(True):
        x = np.array([-3.0, -0.5, 0.1, 1.0, 7.0])
        for alpha in (0.7, 1.5, 1.9):
            law = stats.levy_stable(alpha, 0, loc=0.3, scale=1.4)
            np.testing.assert_allclose(alpha_stable.sas_pdf(x, alpha, 1.4, 0.3), law.pdf(x), rtol=1e-6)
            np.testing.assert_allclose(alpha_stable.sas_cdf(x, alpha, 1.4, 0.3), law.cdf(x), rtol=1e-6)


def test_is_a_law():
    with jax.enable_x64(True):
        density = jax.jit(alpha_stable.sas_pdf)
        for alpha in (0.6, 1.0, 1.7):
            mass, _ = integrate.quad(lambda x, alpha=alpha: float(density(x, alpha)), 0, 20, limit=200)
            np.testing.assert_allclose(mass, 0.5 - float(jnp.exp(log_survival(20.0, alpha))), rtol=1e-8)
        x = jnp.linspace(-20, 20, 401)
        assert (jnp.diff(alpha_stable.sas_cdf(x, 0.8)) > 0).all()
        np.testing.assert_allclose(alpha_stable.sas_cdf(-x, 0.8), 1 - alpha_stable.sas_cdf(x, 0.8), rtol=1e-10)


def test_derivatives():
    with jax.enable_x64(True):
        x = jnp.array([0.05, 0.8, 3.0, 40.0])
        at = jax.jit(lambda x, alpha: alpha_stable.sas_log_pdf(x, alpha, 1.3, 0.02))
        slopes = jax.jit(jax.jacrev(at, argnums=(0, 1)))
        slope_of_cdf = jax.jit(jax.vmap(jax.grad(alpha_stable.sas_cdf), (0, None)))
        for alpha in (0.4, 0.98, 0.995, 1.0, 1.004, 1.5, 1.95):
            by_x, by_alpha = slopes(x, alpha)
            h = 1e-4
            expected = (8 * (at(x, alpha + h) - at(x, alpha - h)) - at(x, alpha + 2 * h) + at(x, alpha - 2 * h)) / (
                12 * h
            )
            np.testing.assert_allclose(by_alpha, expected, rtol=1e-6, atol=1e-7, err_msg=f"{alpha}")
            k = h * x
            expected = (
                (8 * (at(x + k, alpha) - at(x - k, alpha)) - at(x + 2 * k, alpha) + at(x - 2 * k, alpha)) / 12 / k
            )
            np.testing.assert_allclose(np.diag(by_x), expected, rtol=1e-6, atol=1e-7, err_msg=f"{alpha}")
            np.testing.assert_allclose(slope_of_cdf(x, alpha), alpha_stable.sas_pdf(x, alpha), rtol=1e-9)


def test_batched_like_single():
    alphas = jnp.array([0.5, 1.0, 1.7])
    batched = jax.vmap(lambda alpha: alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alpha))(alphas)
    broadcast = alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alphas[:, None])
    single = jnp.stack([alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alpha) for alpha in alphas])
    np.testing.assert_allclose(batched, single, rtol=2e-6)
    np.testing.assert_allclose(broadcast, single, rtol=2e-6)
    assert alpha_stable.sas_pdf(jnp.zeros(3, jnp.bfloat16), jnp.bfloat16(1.5)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpha_stable.sas_pdf(0.0, 2.5), "alpha=2.5"),
        (lambda: alpha_stable.sas_cdf(0.0, 1.5, 0), "scale=0"),
        (lambda: alpha_stable.sas_log_survival(0.0, 1.5, 1, np.nan), "loc=nan"),
    ],
)
def test_bad_arguments_stop_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
