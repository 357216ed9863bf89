"""The KL term against a numerical integral, masks by hand, noise against the moments of the posterior."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.models import zoo
from projects.deepcabac import variational_dropout
from projects.deepcabac.config import TrainConfig


def integrated_kl(log_alpha: float) -> float:
    """KL in nats from N(1, alpha) to the log-uniform prior without its constant, by quadrature.

    -KL = 0.5 log alpha - E log|1 + sqrt(alpha) noise| + constant (arXiv:1705.07283 has the same by a Dawson integral).
    """
    deviation = np.exp(0.5 * log_alpha)
    noise = (np.arange(-400_000, 400_000) + 0.5) / 40_000  # -10 to 10, and the midpoints miss the logarithm's pole
    density = np.exp(-0.5 * noise**2)
    return float(-(0.5 * log_alpha - np.sum(density * np.log(np.abs(1 + deviation * noise))) / np.sum(density)))


def test_kl_follows_the_integral():
    grid = [-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0]
    exact = np.array([integrated_kl(value) for value in grid])
    ours = np.array([variational_dropout.kl_divergence(jnp.array([value])) for value in grid])
    offsets = ours - exact
    assert np.ptp(offsets) < 0.02  # the error of the fit; the constant is free


def test_kl_vanishes_for_noise_and_falls_with_log_alpha():
    values = np.array([variational_dropout.kl_divergence(jnp.array([a])) for a in np.linspace(-10, 10, 41)])
    assert np.all(np.diff(values) < 0)
    assert 0 <= values[-1] < 1e-4


def test_log_alpha_of_known_weights_and_of_zero():
    values = variational_dropout.log_alpha(jnp.array([1.0, -0.1, 0.0]), jnp.array([-4.0, np.log(0.04), -8.0]))
    np.testing.assert_allclose(values, [-4.0, np.log(4.0), 10.0], rtol=1e-5)


def test_masks_cut_at_the_threshold():
    network = variational_dropout.create_network(TrainConfig(dataset="digits", width=0.02), zoo.load_dataset("digits"))
    layer, threshold = network.fc1, 3.0
    layer.kernel[...] = jnp.ones_like(layer.kernel[...]).at[0, 0].set(0.0)
    layer.log_variance[...] = jnp.full_like(layer.log_variance[...], 2.9).at[0, 1].set(3.1)
    mask = np.asarray(variational_dropout.posterior_masks(network, threshold)["fc1"])
    assert mask[0, 0] == mask[0, 1] == 0 and mask.sum() == mask.size - 2


def test_noise_has_the_posterior_moments():
    """Over many keys the noisy outputs have the mean and the variance that the weights' posterior implies."""
    settings = TrainConfig(dataset="digits", width=0.02, initial_log_variance=-4.0)
    network = variational_dropout.create_network(settings, zoo.load_dataset("digits"))
    layer, x = network.fc1, jax.random.uniform(jax.random.key(1), (1, 784))
    plain = layer(x)

    def noisy(key):
        variational_dropout.set_noise(network, key)
        return layer(x)

    draws = np.array([noisy(key) for key in jax.random.split(jax.random.key(2), 600)])
    variational_dropout.set_noise(network, None)
    deviation = np.sqrt(np.exp(-4.0) * np.sum(np.square(x)))
    np.testing.assert_allclose(draws.mean(axis=0), plain, atol=5 * deviation / 600**0.5)
    np.testing.assert_allclose(draws.std(axis=0), deviation, rtol=0.15)
    np.testing.assert_array_equal(layer(x), plain)


def test_convolution_noise_is_one_draw_a_batch():
    layer = variational_dropout.VariationalConv(2, 3, 3, initial_log_variance=-2.0, rngs=nnx.Rngs(0))
    x = jnp.ones((2, 5, 5, 2))
    layer.noise_key, layer.noise_scale = jax.random.key(0), 1.0
    noisy = layer(x)
    np.testing.assert_allclose(noisy, jnp.broadcast_to(noisy[:1, :1, :1], noisy.shape), rtol=1e-4)
    layer.noise_key = jax.random.key(1)
    assert np.abs(np.asarray(layer(x) - noisy)).max() > 1e-2
