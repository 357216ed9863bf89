"""Layers with a Gaussian posterior over their weights, put into the networks of common.models.

A weight is mu + sigma * noise, with mu the parameter `kernel` and log sigma^2 the parameter `log_variance`. A dense
layer draws the noise of its outputs (the local reparametrisation of arXiv:1506.02557); a convolution draws one set of
weights a batch, which costs a CPU a fraction of noise on every pixel. Without a key both are the plain layers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import models, weight_files
from common.models import layers
from projects.deepcabac import sparsify


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
        deviation = self.noise_scale * jnp.sqrt(variance + sparsify.TINY)
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


def create(
    name: str,
    *,
    rngs: nnx.Rngs,
    initial_log_variance: float | None = None,
    **options,
) -> nnx.Module:
    """A network of common.models.

    Args:
      name: as in `common.models.create`, which also takes the `options` (width, num_classes, input_shape).
      rngs: of the initial weights.
      initial_log_variance: when given, every weight kernel has a posterior that starts with this log sigma^2.
    """
    if initial_log_variance is not None:
        options["linear"] = functools.partial(VariationalLinear, initial_log_variance=initial_log_variance)
        if name != "lenet_300_100":
            options["conv"] = functools.partial(VariationalConv, initial_log_variance=initial_log_variance)
    return models.create(name, rngs=rngs, **options)


def weight_layers(network: nnx.Module) -> dict[str, nnx.Module]:
    """Returns name -> layer for every dense layer and convolution, the name as in a tree of weights: "fc1"."""
    found = {
        "/".join(map(str, path)): layer
        for path, layer in nnx.iter_modules(network)
        if isinstance(layer, (layers.Linear, layers.Conv))
    }
    return dict(sorted(found.items()))


def set_noise(network: nnx.Module, key: jax.Array | None, scale: jax.Array | float = 1.0) -> None:
    """Makes the weights of every variational layer noisy, each layer with a key of its own; without a key, plain again.

    Args:
      network: with any layers.
      key: of the random numbers.
      scale: factor on the noise; 0 draws it in vain.
    """
    for index, layer in enumerate(weight_layers(network).values()):
        if hasattr(layer, "log_variance"):
            layer.noise_key = None if key is None else jax.random.fold_in(key, index)
            layer.noise_scale = None if key is None else jnp.float32(scale)


def apply_masks(network: nnx.Module, masks: dict[str, jax.Array]) -> None:
    """Multiplies the kernel of each layer that is named in `masks`."""
    for name, layer in weight_layers(network).items():
        if name in masks:
            layer.kernel[...] = layer.kernel[...] * masks[name]


def kernels(network: nnx.Module) -> dict[str, jax.Array]:
    """Returns layer name -> kernel (the posterior mean, where there is one)."""
    return {name: layer.kernel[...] for name, layer in weight_layers(network).items()}


def log_variances(network: nnx.Module) -> dict[str, jax.Array]:
    """Returns layer name -> log sigma^2 of its kernel; empty for a network without posteriors."""
    found = weight_layers(network).items()
    return {name: layer.log_variance[...] for name, layer in found if hasattr(layer, "log_variance")}


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
