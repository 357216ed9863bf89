"""Layers whose weights are soft labels of a few centroids while they train, put into the networks of common.models.

A layer's `kernel` is the latent weight v, `centroids` its grid. `soften` gives every layer the mean and the variance of
its soft labels for one step, and returns the bits of these labels; without them a layer is the plain one.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import datasets, models, weight_files
from common.models import layers, zoo
from kernels import soft_entropy
from kernels.soft_entropy import reparametrization, table
from projects.entropy_training.config import TrainConfig


class Centroids(nnx.Param):
    """The values [K] that a layer's weights may take; the middle one is and stays 0."""


class Logits(nnx.Param):
    """Free soft labels [*kernel, K] of the theta parametrisation, before the softmax."""


class CodedLinear(layers.Linear):
    """A dense layer; where something is `drawn` (mean, variance, key of noise on the outputs), it takes that."""

    def __init__(self, *sizes: int, levels: int, has_logits: bool, rngs: nnx.Rngs, **options):
        super().__init__(*sizes, rngs=rngs, **options)
        _add_labels(self, levels, has_logits)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.draw is None:
            return super().__call__(x)
        mean, variance, key = self.draw
        bias = None if self.bias is None else self.bias[...]
        return reparametrization.dense(x, mean, variance, bias, key)


class CodedConv(layers.Conv):
    """A convolution with the same."""

    def __init__(self, *sizes, levels: int, has_logits: bool, rngs: nnx.Rngs, **options):
        super().__init__(*sizes, rngs=rngs, **options)
        _add_labels(self, levels, has_logits)

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        if self.draw is None:
            return super().__call__(x, layout=layout)
        mean, variance, key = self.draw
        bias = None if self.bias is None else layers.per_channel(self.bias[...], layout)
        convolve = functools.partial(layers.conv2d, stride=self.stride, padding=self.padding, layout=layout)
        return reparametrization.convolution(x, mean, variance, bias, key, convolve=convolve)


def _add_labels(layer: nnx.Module, levels: int, has_logits: bool) -> None:
    layer.centroids = Centroids(jnp.zeros(levels))
    if has_logits:
        layer.logits = Logits(jnp.zeros((*layer.kernel.shape, levels)))
    layer.draw = nnx.data(None)


def create_network(settings: TrainConfig, data: datasets.Dataset, weights: Mapping) -> nnx.Module:
    """Returns the network of a config in coded layers, with trained weights and symmetric grids over their range.

    Raises:
      ValueError: the weights do not fit the network, or a kernel cannot have a grid (the message names it).
    """
    kinds = {"linear": CodedLinear} if settings.model == "lenet_300_100" else {"linear": CodedLinear, "conv": CodedConv}
    labels = {"levels": settings.levels, "has_logits": settings.parametrisation == "theta"}
    options = {name: functools.partial(kind, **labels) for name, kind in kinds.items()}
    network = zoo.create_network(settings.model, data, width=settings.width, seed=settings.seed, **options)
    flat = weight_files.flatten(weights)
    for name, layer in coded_layers(network).items():
        kernel = flat.get(f"{name}/kernel")
        if kernel is None or not np.isfinite(kernel).all() or not np.any(kernel):
            raise ValueError(f"{name}/kernel must be there, finite and not all zero, to lay a grid over its values")
        grid = soft_entropy.symmetric_grid(float(np.abs(kernel).max()), settings.levels).astype(np.float32)
        flat[f"{name}/centroids"] = grid
        if hasattr(layer, "logits"):
            distance = (kernel[..., None] - grid) / (grid[1] - grid[0])
            flat[f"{name}/logits"] = -settings.sharpness[0] * np.square(distance)
    return models.from_tree(network, weight_files.nest(flat))


def coded_layers(network: nnx.Module) -> dict[str, nnx.Module]:
    """Returns name -> layer of every coded layer, the name as in a tree of weights: "fc1"."""
    every = models.weight_layers(network)
    return {name: layer for name, layer in every.items() if isinstance(layer, (CodedLinear, CodedConv))}


def soften(network: nnx.Module, settings: TrainConfig, sharpness: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Gives every coded layer the weights of one step; returns name -> bits of its labels.

    Args:
      network: with coded layers.
      settings: parametrisation, rate and noise.
      sharpness: beta d^2 / 2 of the labels.
      key: of the noise.
    """
    bits = {}
    for index, (name, layer) in enumerate(coded_layers(network).items()):
        mean, variance, counts = _labels(layer, settings, sharpness)
        noise = settings.convolution_noise
        if isinstance(layer, CodedLinear):
            noise = "outputs" if settings.linear_noise else "none"
        layer.draw = (mean, None, None)
        if noise != "none" and settings.parametrisation != "ste":
            noise_key = jax.random.fold_in(key, index)
            layer.draw = (mean, variance, noise_key)
            if noise == "weights":
                layer.draw = (reparametrization.draw_weights(mean, variance, noise_key), None, None)
        counts = soft_entropy.with_prior(counts, settings.sparsity_prior)
        bits[name] = soft_entropy.context_bits(settings.rate, counts)
    return bits


def make_plain(network: nnx.Module) -> None:
    """Takes what `soften` gave away again: the layers are plain, their weights the latent ones."""
    for layer in coded_layers(network).values():
        layer.draw = None


def _labels(layer, settings: TrainConfig, sharpness):
    """Returns mean, variance (None for ste) of the weights, and expected counts [contexts, K] of the labels."""
    kernel, centroids = layer.kernel[...], layer.centroids[...]
    members = jnp.asarray(soft_entropy.context_members(settings.rate, settings.levels))
    if settings.parametrisation == "theta":
        soft = jax.nn.softmax(layer.logits[...], axis=-1)
        counts = soft_entropy.context_counts(soft.reshape(-1, settings.levels), members)
        return *soft_entropy.moments(soft, centroids), counts
    soft = table.tabulate(centroids, soft_entropy.beta_of(centroids, sharpness), settings.table_points)
    place = table.locate(soft, kernel)
    counts = table.context_counts(soft, place, members)
    if settings.parametrisation == "ste":
        return table.straight_through(soft, place, kernel, centroids), None, counts
    return *table.lookup_moments(soft, place), counts


def stored_trees(network: nnx.Module) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns (tree of the plain network with latent kernels, layer name -> centroids), NumPy arrays."""
    flat = weight_files.flatten(models.to_tree(network))
    centroids = {path.removesuffix("/centroids"): value for path, value in flat.items() if path.endswith("/centroids")}
    plain = {path: value for path, value in flat.items() if not path.endswith(("/centroids", "/logits"))}
    return weight_files.nest(plain), centroids
