"""Running statistics of batch normalisation: folded into scale and bias, or measured anew for changed weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np
from flax import nnx

from common.models import layers, trees


def fold_statistics(tree: Mapping, epsilon: float, variance: float = 0.0, constant_below: float = 0.0) -> dict:
    """Returns a tree of the same function in evaluation mode, with the same running statistics in every channel.

    Means become 0 and variances `variance`, so that only two vectors a layer need bits:
    scale' = scale sqrt((variance + epsilon) / (var + epsilon)), bias' = bias - mean scale / sqrt(var + epsilon).

    Args:
      tree: with `scale`, `bias`, `mean` and `var` side by side for each batch normalisation.
      epsilon: the one that the network adds to its variances.
      variance: 0, or 1 - epsilon where scale' should be the whole factor.
      constant_below: a channel of less variance is constant and gives its bias alone: the large factor that it does not
        need would set the grid of all others.
    """
    folded = {}
    for name, node in tree.items():
        if isinstance(node, Mapping) and set(node) == {"scale", "bias", "mean", "var"}:
            wide = {key: np.asarray(value, np.float64) for key, value in node.items()}
            gain = np.where(wide["var"] < constant_below, 0.0, wide["scale"] / np.sqrt(wide["var"] + epsilon))
            folded[name] = {
                "scale": (gain * math.sqrt(variance + epsilon)).astype(node["scale"].dtype),
                "bias": (wide["bias"] - wide["mean"] * gain).astype(node["bias"].dtype),
                "mean": np.zeros_like(node["mean"]),
                "var": np.full_like(node["var"], variance),
            }
        elif isinstance(node, Mapping):
            folded[name] = fold_statistics(node, epsilon, variance, constant_below)
        else:
            folded[name] = node
    return folded


def measured_statistics(
    network: nnx.Module,
    inputs: Callable[[jax.Array, jax.Array], jax.Array],
    images: np.ndarray,
    seed: int = 0,
    batch_size: int = 250,
) -> dict:
    """Returns the tree of a network with running statistics that are means over batches of images as in training.

    Args:
      network: with the weights; it is not changed.
      inputs: `(key, uint8 images) -> inputs`, as a training has them.
      images: uint8 `[images, height, width, channels]`; those beyond whole batches are not used.
      seed: of the augmentation.
      batch_size: images at a time.
    """
    network = nnx.clone(network)
    norms = [norm for _, norm in nnx.iter_modules(network) if isinstance(norm, layers.BatchNorm)]
    for norm in norms:
        norm.momentum = 0.0  # the statistics are then the batch's own
    graph, *states = nnx.split(network, nnx.Param, ...)
    parameters, statistics = states
    if not norms:
        return trees.to_tree(network)

    @jax.jit
    def measure(parameters, statistics, batch, start):
        module = nnx.merge(graph, parameters, statistics, copy=True)
        module.train()
        module(inputs(jax.random.fold_in(jax.random.key(seed), start), batch))
        return nnx.split(module, nnx.Param, ...)[2]

    batches = [
        jax.device_get(measure(parameters, statistics, images[start : start + batch_size], start))
        for start in range(0, len(images) // batch_size * batch_size, batch_size)
    ]
    mean = jax.tree.map(lambda *values: np.mean(values, axis=0, dtype=np.float64).astype(np.float32), *batches)
    return trees.to_tree(nnx.merge(graph, parameters, mean))
