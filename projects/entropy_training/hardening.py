"""From soft labels to hard ones, and the tuning of what stays free: centroids, biases and norms."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common import app, models, weight_files
from common.models import layers
from common.runs import metrics
from common.training import augmentation, supervised
from kernels import entropy
from projects.entropy_training import model, pretrain
from projects.entropy_training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A network of hard labels.

    Attributes:
      labels: layer name -> int32 of the kernel's shape.
      centroids: layer name -> float32 [K], the middle one 0.
      rest: path -> array of everything that is no kernel: biases, norms, running statistics.
    """

    labels: Mapping[str, np.ndarray]
    centroids: Mapping[str, np.ndarray]
    rest: Mapping[str, np.ndarray]

    def tree(self) -> dict:
        """The weights as nested dicts, for the plain network."""
        kernels = {f"{name}/kernel": self.centroids[name][labels] for name, labels in self.labels.items()}
        return weight_files.nest({**self.rest, **kernels})


def harden(network: nnx.Module, settings: TrainConfig, sharpness: float, run: app.Run, iterations: int = 0) -> Labelled:
    """Returns the network with a label for every weight: its most probable one, or what `entropy.ecsq` makes of it.

    Args:
      network: with latent weights.
      settings: `harden_weight` scales the price of a bit, 2 ln 2 / beta for the most probable label; without soft
        labels (ste) the nearest centroid is what the network was trained with.
      sharpness: beta d^2 / 2 of the labels so far.
      run: for a warning where all labels of a layer are equal.
      iterations: of `ecsq` on the means of the soft labels, which also moves the centroids; 0 keeps them.
    """
    tree, grids = model.stored_trees(network)
    flat, labels, centroids = weight_files.flatten(tree), {}, {}
    for name, layer in model.coded_layers(network).items():
        kernel, grid = flat.pop(f"{name}/kernel"), grids[name].astype(np.float32)
        levels = len(grid)
        if hasattr(layer, "logits"):
            found = np.asarray(jnp.argmax(layer.logits[...], axis=-1), np.int32)
        else:
            weight = 0.0 if settings.parametrisation == "ste" else settings.harden_weight
            price = weight * 2 * entropy.LN2 / float(model.beta_of(jnp.asarray(grid), sharpness))
            shares = np.bincount(entropy.assign(kernel, grid, np.ones(levels), 0.0).reshape(-1), minlength=levels)
            found = entropy.assign(kernel, grid, shares / kernel.size, price)
            if iterations and price > 0:
                kept = np.union1d(np.unique(found), levels // 2)
                found, grid[kept], _ = entropy.ecsq(
                    grid[found], rate_weight=price, iterations=iterations, centroids=grid[kept], name=name
                )
                found = kept[found].astype(np.int32)
        if iterations and not np.ptp(found):
            run.log(f"warning: all weights of {name} have the same label; it is stored in 0 bits")
        labels[name], centroids[name] = found, grid
    return Labelled(labels, centroids, flat)


class TuneState(NamedTuple):
    """What a tuning step changes.

    Attributes:
      free: biases and norms; centroids by layer; latent weights [nonzero] by layer in gaps, none with frozen labels.
      statistics: running means and variances.
      optimizer: Adam's moments.
      key: of shifts; never changes, a step folds its number in.
      done: finished steps.
    """

    free: tuple[Any, dict[str, jax.Array], dict[str, jax.Array]]
    statistics: Any
    optimizer: Any
    key: jax.Array
    done: jax.Array


def tune(labelled: Labelled, settings: TrainConfig, data, train, run: app.Run) -> Labelled:
    """Returns the network with tuned centroids, biases and norms; kept in `run.path`/tune.

    Labels stay, or with `tune_labels` those of nonzero weights follow latent weights to the nearest used centroid.
    """
    if settings.tune_epochs == 0:
        return labelled
    network = models.from_tree(pretrain.create_network(settings, data), labelled.tree())
    is_kernel = functools.partial(_is_kernel_of, labelled.labels)
    graph, kernels, parameters, statistics = nnx.split(network, is_kernel, nnx.Param, ...)
    epoch = len(train.images) // settings.batch_size
    optimizer = _tuning_optimizer(settings, settings.tune_epochs * epoch)
    preprocess = models.standardise(data.mean, data.std)
    grids = {name: jnp.asarray(value) for name, value in labelled.centroids.items()}
    movable = {name: Movable(labels, labelled.centroids[name]) for name, labels in labelled.labels.items()}
    latents = {name: found.start for name, found in movable.items()} if settings.tune_labels else {}

    def assemble(free, statistics):
        network = nnx.merge(graph, kernels, free[0], statistics, copy=True)
        for name, layer in _weight_layers(network).items():
            grid = free[1][name].at[free[1][name].shape[0] // 2].set(0.0)
            layer.kernel[...] = movable[name].kernel(grid, free[2].get(name))
        return network

    def step(state: TuneState, batch):
        def loss_function(free):
            network = assemble(free, state.statistics)
            network.train()
            logits = network(images)
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()
            hits = jnp.mean(jnp.argmax(logits, axis=-1) == batch["labels"])
            statistics = nnx.split(network, is_kernel, nnx.Param, ...)[3]
            return cross_entropy, (statistics, {"cross_entropy": cross_entropy, "train_accuracy": hits})

        key = jax.random.fold_in(state.key, state.done)
        images = preprocess(augmentation.augment(key, batch["images"], settings.shift, settings.flip))
        (_, (statistics, found)), gradient = jax.value_and_grad(loss_function, has_aux=True)(state.free)
        updates, moments = optimizer.update(gradient, state.optimizer, state.free)
        free = optax.apply_updates(state.free, updates)
        return TuneState(free, statistics, moments, state.key, state.done + 1), found

    free = (parameters, grids, latents)
    key = jax.random.key(settings.seed + 1, impl="rbg")
    state = TuneState(free, statistics, optimizer.init(free), key, jnp.int32(0))
    folder = run.path / "tune"
    folder.mkdir(exist_ok=True)
    state = supervised.train(
        dataclasses.replace(run, path=folder, metrics=metrics.Metrics(folder / "metrics.csv")),
        step,
        state,
        {"images": train.images, "labels": train.labels},
        epochs=settings.tune_epochs,
        batch_size=settings.batch_size,
        seed=settings.seed + 1,
        log_every=epoch,
        checkpoint_steps=settings.checkpoint_steps,
        description="tune",
    )
    network = assemble(state.free, state.statistics)
    flat = weight_files.flatten(models.to_tree(network))
    rest = {path: value for path, value in flat.items() if path not in _kernel_paths(labelled.labels)}
    tuned = {name: np.array(value, np.float32) for name, value in state.free[1].items()}
    for grid in tuned.values():
        grid[len(grid) // 2] = 0.0
    labels = {name: found.labels(tuned[name], state.free[2].get(name)) for name, found in movable.items()}
    return Labelled(labels, tuned, rest)


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

    def labels(self, grid: np.ndarray, latent: jax.Array | None) -> np.ndarray:
        """Returns the labels that `kernel` uses."""
        found = self._labels.copy()
        if latent is not None:
            found.reshape(-1)[self._places] = np.asarray(self._nearest(jnp.asarray(grid), latent))
        return found

    def _nearest(self, grid, latent):
        distance = jnp.abs(self._gap * latent[:, None] - grid)
        return jnp.argmin(jnp.where(self._used, distance, jnp.inf), axis=1)


def _tuning_optimizer(settings: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Returns Adam whose rate falls linearly to 0, with a rate of its own for latent weights."""
    rates = (settings.tune_rate, settings.tune_rate, settings.label_rate)

    def scaled(updates, _):
        return tuple(
            jax.tree.map(lambda update, rate=rate: rate * update, part)
            for part, rate in zip(updates, rates, strict=True)
        )

    return optax.chain(optax.adam(optax.linear_schedule(1.0, 0.0, steps)), optax.stateless(scaled))


def fresh_statistics(labelled: Labelled, settings: TrainConfig, data, images: np.ndarray, batch_size: int = 250):
    """Returns the network with running statistics measured anew, with hard weights, over images as in training."""
    network = models.from_tree(pretrain.create_network(settings, data), labelled.tree())
    norms = [norm for _, norm in nnx.iter_modules(network) if isinstance(norm, layers.BatchNorm)]
    if not norms:
        return labelled
    for norm in norms:
        norm.momentum = 0.0
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    preprocess = models.standardise(data.mean, data.std)

    @jax.jit
    def measure(parameters, statistics, batch, start):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        key = jax.random.fold_in(jax.random.key(settings.seed + 2), start)
        network(preprocess(augmentation.augment(key, batch, settings.shift, settings.flip)))
        return nnx.split(network, nnx.Param, ...)[2]

    starts = range(0, len(images) // batch_size * batch_size, batch_size)
    found = [
        jax.device_get(measure(parameters, statistics, images[start : start + batch_size], start)) for start in starts
    ]
    mean = jax.tree.map(lambda *values: np.mean(values, axis=0, dtype=np.float64).astype(np.float32), *found)
    flat = weight_files.flatten(models.to_tree(nnx.merge(graph, parameters, mean)))
    rest = {path: value for path, value in flat.items() if path not in _kernel_paths(labelled.labels)}
    return dataclasses.replace(labelled, rest=rest)


def make_judge(settings: TrainConfig, data) -> Callable:
    """Returns `(weights, split) -> bool [images]`, which images the plain network with these weights gets right."""
    apply = models.apply_function(pretrain.create_network(settings, data))
    preprocess = models.standardise(data.mean, data.std)
    return lambda weights, split: models.evaluate(apply, weights, *split, preprocess=preprocess).correct


def _kernel_paths(labels: Mapping[str, Any]) -> set[str]:
    return {f"{name}/kernel" for name in labels}


def _is_kernel_of(labels: Mapping[str, Any], path, variable) -> bool:
    return "/".join(map(str, path)) in _kernel_paths(labels)


def _weight_layers(network: nnx.Module) -> dict[str, nnx.Module]:
    return {
        "/".join(map(str, path)): layer
        for path, layer in nnx.iter_modules(network)
        if isinstance(layer, (layers.Linear, layers.Conv))
    }
