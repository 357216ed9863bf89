"""Accuracy of many weight sets on the same images, with one compilation.

The weights are an argument of the compiled function, so that a search can decode and evaluate one file after another.
What comes back holds the verdict on every image, which paired comparisons of two weight sets need.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from common import mesh


class Evaluation(NamedTuple):
    """Attributes: accuracy, the share of correct images in [0, 1]; correct, bool `[images]`."""

    accuracy: float
    correct: np.ndarray


def evaluate(
    apply: Callable[[Mapping, jax.Array], jax.Array],
    tree: Mapping,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    preprocess: Callable[[jax.Array], jax.Array] | None = None,
    batch_size: int = 500,
    top: int = 1,
) -> Evaluation:
    """Classifies `images` with the weights `tree` and compares with `labels`.

    Args:
      apply: `(tree, inputs) -> logits [batch, classes]`, as `trees.apply_function` returns it. Pass the same object
        again to reuse its compilation.
      tree: nested dict of arrays.
      images: `[images, height, width, channels]`, for example uint8; sent to the device a batch at a time.
      labels: integers `[images]`.
      preprocess: images to inputs, traced into the same compiled function (see `standardise`); None for a plain cast
        to float32. Pass the same object again, too.
      batch_size: images at a time; the last batch is filled up with zeros that are not counted. Small batches suit
        large networks on CPU (efficientnet.CPU_BATCH).
      top: an image is correct when its label is among the `top` largest logits (ties: the lower class first).
        Logits that are not finite are wrong.

    Raises:
      ValueError: when there are no images, or not one label an image.
    """
    labels = np.asarray(labels)
    if len(images) == 0 or labels.shape != (len(images),):
        raise ValueError(f"evaluate needs images and one label each; found {len(images)} and shape {labels.shape}.")
    sharding = mesh.data_sharding(local=True)
    tree = mesh.on_every_device(dict(tree), sharding)
    batches = _batches(images, labels, batch_size)
    verdicts = [
        _correct(apply, preprocess, top, tree, *mesh.split_rows(batch, sharding))[: len(batch[0])] for batch in batches
    ]
    correct = np.concatenate([np.asarray(verdict) for verdict in verdicts])[: len(images)]
    return Evaluation(float(correct.mean()), correct)


def evaluate_many(
    apply: Callable[[Mapping, jax.Array], jax.Array],
    trees: Sequence[Mapping],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    preprocess: Callable[[jax.Array], jax.Array] | None = None,
    batch_size: int = 500,
    top: int = 1,
) -> np.ndarray:
    """Classifies `images` with several trees of weights at once: bool `[trees, images]`, which are correct.

    The trees become one more axis of all arrays (`jax.vmap`), split over the devices; where there are fewer trees than
    devices, the images are. Args and errors as in `evaluate`, for trees of equal shapes.
    """
    labels = np.asarray(labels)
    if not trees or len(images) == 0 or labels.shape != (len(images),):
        raise ValueError(
            f"evaluate_many needs trees, images and one label each; found {len(trees)} trees, {len(images)} images and "
            f"labels of shape {labels.shape}."
        )
    stack = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *map(dict, trees))
    sharding = mesh.data_sharding(local=True)
    splits_trees = len(trees) >= mesh.split_count(sharding)
    over_trees, over_images = (mesh.split_rows, mesh.on_every_device)[:: 1 if splits_trees else -1]
    stack = over_trees(stack, sharding)
    batches = _batches(images, labels, batch_size)
    verdicts = [
        _correct_many(apply, preprocess, top, stack, *over_images(batch, sharding))[: len(trees), : len(batch[0])]
        for batch in batches
    ]
    return np.concatenate([np.asarray(verdict) for verdict in verdicts], axis=1)[:, : len(images)]


def _batches(images, labels, batch_size):
    """Yields images and labels a batch at a time, the last one filled up with zeros."""
    batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        batch, truth = images[start : start + batch_size], labels[start : start + batch_size].astype(np.int32)
        fill = batch_size - len(batch)
        if fill:
            batch = np.concatenate([batch, np.zeros((fill, *batch.shape[1:]), batch.dtype)])
            truth = np.concatenate([truth, np.zeros(fill, truth.dtype)])
        yield batch, truth


def standardise(mean: npt.ArrayLike, std: npt.ArrayLike) -> Callable[[jax.Array], jax.Array]:
    """Returns `preprocess(images)`: uint8 to float32 in [0, 1], minus `mean`, over `std` (per channel, of a Dataset).

    The same numbers give the same function object, so that `evaluate` finds its compilation again.
    """
    return _standardise(tuple(map(float, np.atleast_1d(mean))), tuple(map(float, np.atleast_1d(std))))


@functools.cache
def _standardise(mean: tuple[float, ...], std: tuple[float, ...]):
    def preprocess(images: jax.Array) -> jax.Array:
        scale = np.maximum(np.asarray(std, np.float32), 1e-6) * 255
        return (images.astype(jnp.float32) - np.asarray(mean, np.float32) * 255) / scale

    return preprocess


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _correct(apply, preprocess, top, tree, images, labels):
    inputs = images.astype(jnp.float32) if preprocess is None else preprocess(images)
    logits = apply(tree, inputs)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    earlier = jnp.arange(logits.shape[1]) < labels[:, None]
    before = jnp.sum((logits > own) | ((logits == own) & earlier), axis=1)
    return (before < top) & jnp.all(jnp.isfinite(logits), axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _correct_many(apply, preprocess, top, trees, images, labels):
    one = functools.partial(_correct, apply, preprocess, top)
    return jax.vmap(one, in_axes=(0, None, None))(trees, images, labels)
