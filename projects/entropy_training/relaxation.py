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
from kernels import local_reparametrization, soft_entropy, soft_table
from projects.entropy_training import rates
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
        if self.drawn is None:
            return super().__call__(x)
        mean, variance, key = self.drawn
        bias = None if self.bias is None else self.bias[...]
        return local_reparametrization.dense(x, mean, variance, bias, key)


class CodedConv(layers.Conv):
    """A convolution with the same."""

    def __init__(self, *sizes, levels: int, has_logits: bool, rngs: nnx.Rngs, **options):
        super().__init__(*sizes, rngs=rngs, **options)
        _add_labels(self, levels, has_logits)

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        if self.drawn is None:
            return super().__call__(x, layout=layout)
        mean, variance, key = self.drawn
        bias = None if self.bias is None else layers.per_channel(self.bias[...], layout)
        convolve = functools.partial(layers.conv2d, stride=self.stride, padding=self.padding, layout=layout)
        return local_reparametrization.convolution(x, mean, variance, bias, key, convolve=convolve)


def _add_labels(layer: nnx.Module, levels: int, has_logits: bool) -> None:
    layer.centroids = Centroids(jnp.zeros(levels))
    if has_logits:
        layer.logits = Logits(jnp.zeros((*layer.kernel.shape, levels)))
    layer.drawn = nnx.data(None)


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


def beta_of(centroids: jax.Array, sharpness: jax.Array | float) -> jax.Array:
    """Returns beta for a sharpness beta d^2 / 2, d the mean gap between neighbouring centroids."""
    gap = (jnp.max(centroids) - jnp.min(centroids)) / (centroids.shape[0] - 1)
    return jax.lax.stop_gradient(2 * sharpness / jnp.square(jnp.maximum(gap, 1e-12)))


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
        layer.drawn = (mean, None, None)
        if noise != "none" and settings.parametrisation != "ste":
            noise_key = jax.random.fold_in(key, index)
            layer.drawn = (mean, variance, noise_key)
            if noise == "weights":
                deviation = jnp.sqrt(variance + local_reparametrization.TINY)
                layer.drawn = (mean + deviation * jax.random.normal(noise_key, mean.shape), None, None)
        bits[name] = rates.bits(settings.rate, rates.with_prior(counts, settings.sparsity_prior))
    return bits


def make_plain(network: nnx.Module) -> None:
    """Takes what `soften` gave away again: the layers are plain, their weights the latent ones."""
    for layer in coded_layers(network).values():
        layer.drawn = None


def _labels(layer, settings: TrainConfig, sharpness):
    """Returns mean, variance (None for ste) of the weights, and expected counts [contexts, K] of the labels."""
    kernel, centroids = layer.kernel[...], layer.centroids[...]
    levels = centroids.shape[0]
    members = jnp.asarray(rates.context_members(settings.rate, levels))
    if settings.parametrisation == "theta":
        soft = jax.nn.softmax(layer.logits[...], axis=-1)
        flat = soft.reshape(-1, levels)
        before = _shifted(flat @ members.T)
        return *soft_entropy.moments(soft, centroids), before.T @ flat
    table = soft_table.tabulate(centroids, beta_of(centroids, sharpness), settings.table_points)
    place = soft_table.locate(table, kernel)
    if len(members) == 1:
        counts = soft_table.expected_counts(table, place)[None]
    else:
        context = [soft_table.lookup(table.probabilities @ row, place).reshape(-1) for row in members]
        before = _shifted(jnp.stack(context, axis=1))
        counts = jnp.stack([soft_table.expected_counts(table, place, before[:, s]) for s in range(len(members))])
    if settings.parametrisation == "ste":
        nearest = jnp.argmax(table.probabilities, axis=1)
        index = place.index + (jax.lax.stop_gradient(place.fraction) > 0.5)
        hard = centroids[nearest.at[index].get(mode="promise_in_bounds")]
        return hard + kernel - jax.lax.stop_gradient(kernel), None, counts
    mean, variance = soft_table.lookup_moments(table, place)
    return mean, variance, counts


def _shifted(context: jax.Array) -> jax.Array:
    """Contexts [n, S] of the weights from those that they give to the next; the first weight comes after a zero."""
    return jnp.concatenate([jnp.zeros((1, context.shape[1]), context.dtype).at[0, 0].set(1), context[:-1]])


def stored_trees(network: nnx.Module) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns (tree of the plain network with latent kernels, layer name -> centroids), NumPy arrays."""
    flat = weight_files.flatten(models.to_tree(network))
    centroids = {path.removesuffix("/centroids"): value for path, value in flat.items() if path.endswith("/centroids")}
    plain = {path: value for path, value in flat.items() if not path.endswith(("/centroids", "/logits"))}
    return weight_files.nest(plain), centroids
