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


@pytest.fixture(params=["float32", pytest.param("float64", marks=pytest.mark.slow)])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def test_against_an_integral_of_the_characteristic_function(dtype):
    tolerance = {"float32": 4e-6, "float64": 1e-11}[dtype]
    x = jnp.asarray(PLACES, dtype)
    for given in ALPHAS:
        alpha = jnp.asarray(given, dtype)
        density = oracle.density(np.asarray(x, np.float64), float(alpha))
        actual = np.exp(np.asarray(log_pdf(x, alpha), np.float64))
        # The oracle is good to 1e-14 of its largest value, no matter how small the density is.
        noise = 1e-14 * max(1, density[0])
        np.testing.assert_allclose(actual, density, rtol=tolerance, atol=noise, err_msg=f"{given}")
        assert (np.abs(actual - density) < 1e-6 * np.maximum(1, density)).all()
        upper = oracle.survival(np.asarray(x, np.float64), float(alpha))
        actual = np.exp(np.asarray(log_survival(x, alpha), np.float64))
        np.testing.assert_allclose(actual, upper, rtol=tolerance, atol=2e-14, err_msg=f"{given}")
        assert (np.abs(actual - upper) < 1e-6).all()


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.3, 1.7, 1.999])
def test_tails_are_the_series(alpha):
    with jax.enable_x64(True):
        x = np.geomspace(300, 1e12, 10) ** (1 / alpha)
        actual = log_pdf(jnp.asarray(x), alpha)
        np.testing.assert_allclose(actual, np.log(oracle.tail_density(x, alpha, 12)), rtol=1e-9)
        constant = float(alpha_stable.tail_constant(alpha))
        np.testing.assert_allclose(log_survival(x[-1], alpha), np.log(constant / 2) - alpha * np.log(x[-1]), rtol=1e-9)


@pytest.mark.slow
def test_single_precision_reaches_far():
    # Densities that float32 cannot hold have logarithms that it can.
    actual = log_pdf(jnp.float32(1e30), 1.5)
    np.testing.assert_allclose(actual, np.log(0.75 * alpha_stable.tail_constant(1.5)) - 2.5 * np.log(1e30), rtol=1e-6)
    x = jnp.asarray([0, 1e-30, 1e37, jnp.inf, -jnp.inf, jnp.nan], "float32")
    for alpha in (0.1, 1.0, 1.7, 2.0):
        density, below = alpha_stable.sas_pdf(x, alpha), alpha_stable.sas_cdf(x, alpha)
        assert np.isfinite(density[:3]).all() and np.isnan(density[5])
        np.testing.assert_array_equal(density[3:5], 0)
        np.testing.assert_array_equal(below[jnp.array([0, 3, 4])], [0.5, 1, 0])


def test_far_out_in_single_precision():
    for alpha in (0.05, 0.1, 1.0, 1.5):  # so heavy that the largest numbers, and larger quotients, are not at infinity
        constant = float(alpha_stable.tail_constant(alpha))
        for x, scale in ((3.4e38, 1.0), (1e38, 1e-9)):
            expected = np.log(constant / 2) - alpha * (np.log(x) - np.log(scale))
            actual = float(alpha_stable.sas_log_survival(jnp.float32(x), alpha, scale))
            if expected < -8:  # beyond the second term of the series
                np.testing.assert_allclose(actual, expected, rtol=1e-4)
            below = float(alpha_stable.sas_cdf(jnp.float32(-x), alpha, scale))
            np.testing.assert_allclose(below, np.exp(actual), rtol=1e-5, atol=1e-37)
            assert np.isfinite(alpha_stable.sas_log_pdf(jnp.float32(x), alpha, scale))


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.04])
def test_small_alphas_are_the_series(alpha, dtype):
    k = np.arange(1, 120)
    signs = -((-1.0) ** k) * np.sin(k * np.pi * alpha / 2) / np.pi
    for x in (1e-30, 1e-3, 1.0, 1e30):
        # At y = x^-alpha below 8 the series converges, and loses digits as exp(y).
        y = np.float64(jnp.asarray(x, dtype)) ** -float(jnp.asarray(alpha, dtype))
        if y > 8:
            continue
        terms = np.exp(special.gammaln(alpha * k) - special.gammaln(k + 1) + k * np.log(y))
        expected = np.sum(signs * terms)
        actual = alpha_stable.sas_cdf(jnp.asarray(-x, dtype), jnp.asarray(alpha, dtype))
        np.testing.assert_allclose(actual, expected, atol=2e-7 if dtype == "float32" else 1e-11)
        density = np.sum(signs * terms * alpha * k) / x
        actual = alpha_stable.sas_pdf(jnp.asarray(x, dtype), jnp.asarray(alpha, dtype))
        np.testing.assert_allclose(actual, density, rtol=1e-5 if dtype == "float32" else 1e-10)
    at_zero = special.gammaln(1 + 1 / alpha) - np.log(np.pi)
    actual = alpha_stable.sas_log_pdf(jnp.asarray(0.0, dtype), jnp.asarray(alpha, dtype))
    np.testing.assert_allclose(actual, at_zero, rtol=1e-6 if dtype == "float32" else 1e-13)


@pytest.mark.slow
def test_single_precision_where_double_is_enabled():
    x, alpha = jnp.linspace(-3, 3, 5), 1.3
    calls = (alpha_stable.sas_log_pdf, alpha_stable.sas_cdf, alpha_stable.sas_log_survival)
    alone = [call(x, alpha) for call in calls]
    with jax.enable_x64(True):
        for call, expected in zip(calls, alone, strict=True):
            actual = call(x.astype("float32"), alpha)
            assert actual.dtype == np.float32
            np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.slow
def test_single_precision_is_that_of_double_near_one():
    alpha, x = np.float32([1.04, 1.05, 1.06, 1.07, 0.955])[:, None], np.geomspace(1e-4, 10, 21).astype("float32")
    single = [np.asarray(call(x, alpha), np.float64) for call in (alpha_stable.sas_pdf, alpha_stable.sas_cdf)]
    with jax.enable_x64(True):
        x, alpha = x.astype("float64"), alpha.astype("float64")
        for actual, call in zip(single, (alpha_stable.sas_pdf, alpha_stable.sas_cdf), strict=True):
            np.testing.assert_allclose(actual, call(x, alpha), rtol=0, atol=1e-6)


def test_a_second_call_compiles_nothing(caplog):
    x = jnp.float32(0.5)
    for call in (alpha_stable.sas_pdf, alpha_stable.sas_cdf):
        call(x, 1.5)
        with jax.log_compiles():
            caplog.clear()
            call(x, 1.7)
        assert not [record for record in caplog.records if "Compiling" in record.getMessage()]


def test_half_types_are_computed_in_single():
    x, alpha = jnp.bfloat16(0.3), 1.3  # which bfloat16 does not have
    np.testing.assert_array_equal(
        alpha_stable.sas_pdf(x, alpha), alpha_stable.sas_pdf(0.30078125, alpha).astype(x.dtype)
    )
    half = jnp.bfloat16(1.3)
    single = half.astype("float32")
    for call in (
        alpha_stable.log_moments,
        alpha_stable.tail_constant,
        lambda alpha: alpha_stable.abs_moment(alpha, 0.3),
    ):
        for actual, expected in zip(jax.tree.leaves(call(half)), jax.tree.leaves(call(single)), strict=True):
            np.testing.assert_array_equal(actual, expected.astype(half.dtype))
    actual = alpha_stable.characteristic_function(x, half, 0.5)
    np.testing.assert_array_equal(actual, alpha_stable.characteristic_function(x.astype("float32"), single, 0.5))


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


@pytest.mark.slow
def test_is_a_law():
    with jax.enable_x64(True):
        density = jax.jit(alpha_stable.sas_pdf)
        for alpha in (0.6, 1.0, 1.7):
            mass, _ = integrate.quad(lambda x, alpha=alpha: float(density(x, alpha)), 0, 20, limit=200)
            np.testing.assert_allclose(mass, 0.5 - float(jnp.exp(log_survival(20.0, alpha))), rtol=1e-8)
        x = jnp.linspace(-20, 20, 401)
        assert (jnp.diff(alpha_stable.sas_cdf(x, 0.8)) > 0).all()
        np.testing.assert_allclose(alpha_stable.sas_cdf(-x, 0.8), 1 - alpha_stable.sas_cdf(x, 0.8), rtol=1e-10)


@pytest.mark.slow
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


@pytest.mark.slow
def test_derivatives_at_the_centre_and_far_out(dtype):
    zero = jnp.zeros((), dtype)
    for alpha in (0.3, 1.0, 1.5, 2.0):
        slope = jax.grad(alpha_stable.sas_cdf)(zero, alpha)
        np.testing.assert_allclose(slope, alpha_stable.sas_pdf(zero, alpha), rtol=1e-5)
        bend = jax.grad(jax.grad(alpha_stable.sas_log_pdf))(zero, alpha)
        np.testing.assert_allclose(bend, -special.gamma(3 / alpha) / special.gamma(1 / alpha), rtol=1e-4)
        if alpha < 2:  # an infinite square is none of theirs
            x = jnp.asarray(1e25 if dtype == "float32" else 1e200, dtype)
            by_x, by_alpha = jax.grad(alpha_stable.sas_log_pdf, (0, 1))(x, jnp.asarray(alpha, dtype))
            np.testing.assert_allclose(by_x * x, -alpha - 1, rtol=1e-5)
            assert np.isfinite(by_alpha)


@pytest.mark.slow
def test_batched_like_single():
    alphas = jnp.array([0.5, 1.0, 1.7])
    batched = jax.vmap(lambda alpha: alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alpha))(alphas)
    broadcast = alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alphas[:, None])
    single = jnp.stack([alpha_stable.sas_log_pdf(jnp.linspace(-2.0, 9, 5), alpha) for alpha in alphas])
    np.testing.assert_allclose(batched, single, rtol=2e-6)
    np.testing.assert_allclose(broadcast, single, rtol=2e-6)
    assert alpha_stable.sas_pdf(jnp.zeros(3, jnp.bfloat16), jnp.bfloat16(1.5)).dtype == jnp.bfloat16


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpha_stable.sas_pdf(0.0, 2.5), "alpha=2.5"),
        (lambda: alpha_stable.sas_cdf(0.0, 1.5, 0), "scale=0"),
        (lambda: alpha_stable.sas_log_survival(0.0, 1.5, 1, np.nan), "loc=nan"),
        (lambda: alpha_stable.sas_pdf("a", 1.5), "x='a' is no real number"),
        (lambda: alpha_stable.sas_pdf(1j, 1.5), "x=1j is no real number"),
        (lambda: alpha_stable.sas_pdf(np.zeros(3), np.ones(2)), r"x of shape \(3,\), alpha of shape \(2,\): does not"),
    ],
)
def test_bad_arguments_stop_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
