"""Sparse variational dropout (Molchanov, Ashukha, Vetrov, arXiv:1701.05369): weights that are mostly noise may go.

A weight is mu + sigma * noise, with mu the parameter `kernel` and log sigma^2 the parameter `log_variance` of layers
that are put into the networks of common.models. A dense layer draws the noise of its outputs (the local
reparametrisation of arXiv:1506.02557); a convolution draws one set of weights a batch, which costs a CPU a fraction of
noise on every pixel. Without a key both are the plain layers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import datasets, models, weight_files
from common.models import layers, zoo
from projects.deepcabac.config import TrainConfig

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # the fit of the KL term, arXiv:1701.05369 eq. 14
LOG_ALPHA_LIMIT = 10.0  # beyond it nothing changes any more, and the gradient of a weight at 0 stays finite
TINY = 1e-8  # keeps the logarithm of a weight of exactly 0 finite


def log_alpha(kernel: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Logarithm of the noise-to-signal ratio sigma^2 / mu^2 of each weight, clipped to +-10.

    Args:
      kernel: posterior means mu.
      log_variance: log sigma^2, of the same shape.
    """
    ratio = log_variance - 2 * jnp.log(jnp.abs(kernel) + TINY)
    return jnp.clip(ratio, -LOG_ALPHA_LIMIT, LOG_ALPHA_LIMIT)


def kl_divergence(log_alpha: jax.Array) -> jax.Array:
    """KL divergence in nats, summed over the weights, from the posterior to the log-uniform prior, up to a constant.

    It is 0 for a weight that is all noise (log alpha large) and grows by half the fall of log alpha.
    """
    bounded = K1 - K1 * jax.nn.sigmoid(K2 + K3 * log_alpha)
    return jnp.sum(bounded + 0.5 * jax.nn.softplus(-log_alpha))  # log(1 + 1/alpha), without overflow


class LogVariance(nnx.Param):
    """log sigma^2 of each weight of a kernel: trained, but no part of the network that is stored."""


class VariationalLinear(layers.Linear):
    """A dense layer whose weights are noisy while it has a `noise_key`."""

    def __init__(self, in_features: int, out_features: int, *, initial_log_variance: float, rngs: nnx.Rngs, **options):
        super().__init__(in_features, out_features, rngs=rngs, **options)
        self.log_variance = LogVariance(jnp.full(self.kernel.shape, initial_log_variance))
        self.noise_key, self.noise_scale = nnx.data(None), nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        mean = super().__call__(x)
        if self.noise_key is None:
            return mean
        variance = (x * x) @ jnp.exp(self.log_variance[...])
        deviation = self.noise_scale * jnp.sqrt(variance + TINY)
        return mean + deviation * jax.random.normal(self.noise_key, mean.shape)


class VariationalConv(layers.Conv):
    """A convolution whose weights are noisy, one draw a call, while it has a `noise_key`."""

    def __init__(self, in_features: int, out_features: int, kernel_size, *, initial_log_variance, rngs, **options):
        super().__init__(in_features, out_features, kernel_size, rngs=rngs, **options)
        self.log_variance = LogVariance(jnp.full(self.kernel.shape, initial_log_variance))
        self.noise_key, self.noise_scale = nnx.data(None), nnx.data(None)

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        if self.noise_key is None:
            return super().__call__(x, layout=layout)
        deviation = self.noise_scale * jnp.exp(0.5 * self.log_variance[...])
        noise = deviation * jax.random.normal(self.noise_key, self.kernel.shape)
        y = layers.conv2d(x, self.kernel[...] + noise, stride=self.stride, padding=self.padding, layout=layout)
        return y if self.bias is None else y + layers.per_channel(self.bias[...], layout)


def create_network(settings: TrainConfig, data: datasets.Dataset) -> nnx.Module:
    """Returns the untrained network of a training; of `sparse_vd` with a posterior over every weight kernel."""
    options = {}
    if settings.method == "sparse_vd":
        variance = {"initial_log_variance": settings.initial_log_variance}
        options["linear"] = functools.partial(VariationalLinear, **variance)
        if settings.model != "lenet_300_100":
            options["conv"] = functools.partial(VariationalConv, **variance)
    return zoo.create_network(settings.model, data, width=settings.width, seed=settings.seed, **options)


def set_noise(network: nnx.Module, key: jax.Array | None, scale: jax.Array | float = 1.0) -> None:
    """Makes the weights of every variational layer noisy, each layer with a key of its own; without a key, plain again.

    Args:
      network: with any layers.
      key: of the random numbers.
      scale: factor on the noise; 0 draws it in vain.
    """
    for index, layer in enumerate(models.weight_layers(network).values()):
        if hasattr(layer, "log_variance"):
            layer.noise_key = None if key is None else jax.random.fold_in(key, index)
            layer.noise_scale = None if key is None else jnp.float32(scale)


def network_kl(network: nnx.Module) -> jax.Array:
    """Returns the KL divergence in nats over all weights with a posterior."""
    terms = [
        kl_divergence(log_alpha(layer.kernel[...], layer.log_variance[...]))
        for layer in models.weight_layers(network).values()
        if hasattr(layer, "log_variance")
    ]
    return sum(terms, jnp.float32(0.0))


def posterior_masks(network: nnx.Module, threshold: float) -> dict[str, jax.Array]:
    """Returns layer name -> mask: 1 where log alpha is below `threshold` (3: noise of 4.5 times the weight), else 0."""
    return {
        name: (log_alpha(layer.kernel[...], layer.log_variance[...]) < threshold).astype(layer.kernel.dtype)
        for name, layer in models.weight_layers(network).items()
        if hasattr(layer, "log_variance")
    }


def kernels(network: nnx.Module) -> dict[str, jax.Array]:
    """Returns layer name -> kernel (the posterior mean, where there is one)."""
    return {name: layer.kernel[...] for name, layer in models.weight_layers(network).items()}


def stored_trees(network: nnx.Module) -> tuple[dict, dict]:
    """Returns (weights, sigma) as nested dicts of NumPy arrays.

    The weights load into the network of the same name in common.models; sigma has the posterior standard deviations
    under the paths of their kernels, and is empty for a network without posteriors.
    """
    weights, sigma = {}, {}
    for path, value in weight_files.flatten(models.to_tree(network)).items():
        layer, _, leaf = path.rpartition("/")
        if leaf == "log_variance":
            sigma[f"{layer}/kernel"] = np.exp(0.5 * value)
        else:
            weights[path] = value
    return weight_files.nest(weights), weight_files.nest(sigma)
