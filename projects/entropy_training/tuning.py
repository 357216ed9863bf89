"""Tuning of what stays free once labels are hard: centroids, biases, norms, and where nonzero weights go."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common import app, models
from common.models import layers, zoo
from common.study import parts
from common.training import augmentation, classifier, step
from projects.entropy_training.config import TrainConfig
from projects.entropy_training.hardening import Labelled


def tune(labelled: Labelled, settings: TrainConfig, network: zoo.Network, run: app.Run) -> Labelled:
    """Returns the network with tuned centroids, biases and norms; kept in `run.path`/tune.

    Labels stay, or with `tune_labels` those of nonzero weights follow latent weights to the nearest used centroid.
    """
    if settings.tune_epochs == 0:
        return labelled
    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)
    epoch = len(network.train.images) // settings.batch_size
    optimizer = _make_optimizer(settings, settings.tune_epochs * epoch)
    movable = {name: Movable(labels, labelled.centroids[name]) for name, labels in labelled.labels.items()}
    merge, state = _begin(labelled, settings, network, optimizer, movable)
    state = classifier.fit(
        settings,
        parts.stage(run, "tune"),
        network,
        step.make_step(merge, optimizer, inputs),
        state,
        epochs=settings.tune_epochs,
        seed=settings.seed + 1,
        log_every=epoch,
        description="tune",
    )
    _, grids, latents = state.parameters
    tuned = {name: np.array(grid, np.float32) for name, grid in grids.items()}
    for grid in tuned.values():
        grid[len(grid) // 2] = 0.0
    labels = {name: layer.labels_at(tuned[name], latents.get(name)) for name, layer in movable.items()}
    return Labelled(labels, tuned, {}).with_rest_of(models.to_tree(merge(state.parameters, state.statistics)))


def _begin(labelled, settings, network, optimizer, movable) -> tuple[step.Merge, step.State]:
    """Returns `merge(free, statistics)` and the state before the first step.

    What is free: biases and norms; centroids by layer; latent weights [nonzero] by layer in gaps of the grid, none with
    frozen labels.
    """
    module = models.from_tree(nnx.clone(network.module), labelled.tree())
    whole, start = step.initial_state(module, optimizer, settings.seed + 1)
    grids = {name: jnp.asarray(grid) for name, grid in labelled.centroids.items()}
    latents = {name: layer.start for name, layer in movable.items()} if settings.tune_labels else {}

    def merge(free: Any, statistics: Any) -> nnx.Module:
        parameters, grids, latents = free
        module = whole(parameters, statistics)
        for name, layer in models.weight_layers(module).items():
            grid = grids[name].at[grids[name].shape[0] // 2].set(0.0)
            layer.kernel[...] = movable[name].kernel(grid, latents.get(name))
        return module

    free = (start.parameters, grids, latents)  # kernels among them have no gradient and stay
    return merge, start._replace(parameters=free, optimizer=optimizer.init(free))


class Movable:
    """The labels of one layer, of which those of nonzero weights may move.

    Attributes: start, latent weights [nonzero] in gaps of the grid: where each weight is.
    """

    def __init__(self, labels: np.ndarray, grid: np.ndarray):
        levels = len(grid)
        self._labels, self._places = labels, np.flatnonzero(labels != levels // 2)
        self._used = np.isin(np.arange(levels), labels) | (np.arange(levels) == levels // 2)
        self._gap = float(np.ptp(grid)) / (levels - 1)
        self.start = jnp.asarray(grid[labels.reshape(-1)[self._places]] / self._gap)

    def kernel(self, grid: jax.Array, latent: jax.Array | None) -> jax.Array:
        """Returns the weights: of the labels, or the nearest to latent weights, with straight-through gradients."""
        if latent is None:
            return grid[self._labels]
        weights = grid[self._nearest(grid, latent)] + self._gap * (latent - jax.lax.stop_gradient(latent))
        flat = jnp.zeros(self._labels.size, grid.dtype).at[self._places].set(weights)
        return flat.reshape(self._labels.shape)

    def labels_at(self, grid: np.ndarray, latent: jax.Array | None) -> np.ndarray:
        """Returns the labels that `kernel` uses."""
        labels = self._labels.copy()
        if latent is not None:
            labels.reshape(-1)[self._places] = np.asarray(self._nearest(jnp.asarray(grid), latent))
        return labels

    def _nearest(self, grid, latent):
        distance = jnp.abs(self._gap * latent[:, None] - grid)
        return jnp.argmin(jnp.where(self._used, distance, jnp.inf), axis=1)


def _make_optimizer(settings: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Returns Adam whose rate falls linearly to 0, with a rate of its own for latent weights."""
    rates = (settings.tune_rate, settings.tune_rate, settings.label_rate)

    def scaled(updates, _):
        return tuple(
            jax.tree.map(lambda update, rate=rate: rate * update, part)
            for part, rate in zip(updates, rates, strict=True)
        )

    return optax.chain(optax.adam(optax.linear_schedule(1.0, 0.0, steps)), optax.stateless(scaled))


def fresh_statistics(
    labelled: Labelled, settings: TrainConfig, network: zoo.Network, images: np.ndarray, batch_size: int = 250
) -> Labelled:
    """Returns the network with running statistics measured anew, with hard weights, over images as in training."""
    module = models.from_tree(nnx.clone(network.module), labelled.tree())
    norms = [norm for _, norm in nnx.iter_modules(module) if isinstance(norm, layers.BatchNorm)]
    if not norms:
        return labelled
    for norm in norms:
        norm.momentum = 0.0  # the statistics are then the batch's own
    graph, parameters, statistics = nnx.split(module, nnx.Param, ...)
    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)

    @jax.jit
    def measure(parameters, statistics, batch, start):
        module = nnx.merge(graph, parameters, statistics, copy=True)
        module.train()
        key = jax.random.fold_in(jax.random.key(settings.seed + 2), start)
        module(inputs(key, batch))
        return nnx.split(module, nnx.Param, ...)[2]

    batches = [
        jax.device_get(measure(parameters, statistics, images[start : start + batch_size], start))
        for start in range(0, len(images) // batch_size * batch_size, batch_size)
    ]
    mean = jax.tree.map(lambda *values: np.mean(values, axis=0, dtype=np.float64).astype(np.float32), *batches)
    return labelled.with_rest_of(models.to_tree(nnx.merge(graph, parameters, mean)))
