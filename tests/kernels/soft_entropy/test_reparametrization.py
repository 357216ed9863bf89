"""Noise on outputs against 20,000 draws of the weights themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import soft_entropy as entropy
from kernels.soft_entropy import reparametrization

DRAWS = 20_000
GRID = entropy.symmetric_grid(1.0, 5)
# |z| <= 5 for every mean and variance of at most 60 outputs: a false alarm once in 14,000, were the seeds not fixed.
ERRORS = 5


def drawn_weights(shape, generator):
    """Soft labels of random latents: (mean, variance, 20,000 samples of the weights)."""
    soft = np.asarray(entropy.soft_assign(generator.normal(0, 0.5, shape), GRID, 20.0), np.float64)
    mean, variance = soft @ GRID, soft @ GRID**2 - (soft @ GRID) ** 2
    labels = (generator.random((DRAWS, *shape, 1)) < soft.cumsum(axis=-1)).argmax(axis=-1)
    return mean, variance, GRID[labels]


def check(samples, mean, variance):
    """Sample mean and variance of every output are within ERRORS standard errors of the exact ones."""
    centred = samples - samples.mean(axis=0)
    error = np.sqrt(variance / DRAWS)
    assert (np.abs(samples.mean(axis=0) - mean) <= ERRORS * error + 1e-5).all()
    spread = np.sqrt(((centred**2).var(axis=0)) / DRAWS)
    assert (np.abs(centred.var(axis=0) - variance) <= ERRORS * spread + 1e-5).all()


def test_dense_moments():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 6))
    mean, variance, weights = drawn_weights((6, 5), generator)
    bias = generator.normal(size=5)
    as_drawn = np.einsum("bi,nio->nbo", x, weights) + bias
    check(as_drawn, x @ mean + bias, x**2 @ variance)
    # And the kernel's own outputs have these moments.
    single = [jnp.asarray(value, jnp.float32) for value in (x, mean, variance, bias)]
    keys = jax.random.split(jax.random.key(1), DRAWS)
    outputs = jax.jit(jax.vmap(lambda key: reparametrization.dense(*single, key)))(keys)
    check(np.asarray(outputs, np.float64), x @ mean + bias, x**2 @ variance)


@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "VALID"), ((2, 1), "SAME")])
def test_convolution_moments(strides, padding):
    generator = np.random.default_rng(2)
    x = generator.normal(size=(1, 4, 4, 2))
    mean, variance, weights = drawn_weights((3, 3, 2, 2), generator)
    single = [jnp.asarray(value, jnp.float32) for value in (x, mean, variance)]
    numbers = ("NHWC", "HWIO", "NHWC")

    def convolve(inputs, kernel):
        return jax.lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=numbers)

    exact_mean = np.asarray(convolve(single[0], single[1]), np.float64)
    exact_variance = np.asarray(convolve(single[0] ** 2, single[2]), np.float64)
    as_drawn = jax.jit(jax.vmap(lambda kernel: convolve(single[0], kernel)))(jnp.asarray(weights, jnp.float32))
    check(np.asarray(as_drawn, np.float64), exact_mean, exact_variance)
    keys = jax.random.split(jax.random.key(3), DRAWS)
    options = {"strides": strides, "padding": padding}
    outputs = jax.jit(jax.vmap(lambda key: reparametrization.convolution(*single, None, key, **options)))(keys)
    check(np.asarray(outputs, np.float64), exact_mean, exact_variance)
    own = reparametrization.convolution(*single, None, keys[0], convolve=convolve)
    np.testing.assert_allclose(own, outputs[0], rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_where_there_is_no_variance():
    x, mean = jnp.ones((2, 3)), jnp.ones((3, 2))

    def loss(variance):
        return reparametrization.dense(x, mean, variance, None, jax.random.key(0)).sum()

    assert np.isfinite(jax.grad(loss)(jnp.zeros((3, 2)))).all()


def test_without_a_key_it_is_the_mean():
    x, mean, variance = jnp.ones((2, 3)), jnp.full((3, 2), 0.5), jnp.ones((3, 2))
    np.testing.assert_array_equal(reparametrization.dense(x, mean, variance, jnp.ones(2), None), 2.5)
