"""What entropy-constrained training is compared with, each as a file of the same container on the same network.

uniform: one step for all layers and a rate weight, found by search (DC-v2 of arXiv:1907.11900), no retraining. lloyd:
entropy-constrained scalar quantisation of every layer (ECSQ), no retraining. magnitude: gradual pruning of the smallest
weights (Zhu, Gupta, arXiv:1710.01878) while the network trains on, then the search of uniform.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common import app, models, weight_files
from common.runs import metrics
from common.training import augmentation, supervised
from kernels import entropy, entropy_coding
from kernels.entropy_coding import Codebook, Quantized
from projects.entropy_training import pretrain, sizes
from projects.entropy_training.config import TrainConfig

STEP_OCTAVES = np.arange(-4.0, 1.51, 0.125)  # of the search, around a quarter of the largest weight
RATE_WEIGHTS = (0.0, 0.03, 0.1, 0.2, 0.4)  # squared steps a bit
LLOYD_PRICES = 10.0 ** np.arange(-5, 1.01, 0.125)  # squared weights a bit, over the variance of the layer's weights
LLOYD_LEVELS = 33
START, END, EVERY = 0.1, 0.6, 50  # of pruning: shares of its epochs, and steps between two choices of weights


class Candidate(NamedTuple):
    """One file. Attributes: bytes, accuracy on images kept apart, what made it, the file, its decoded weights."""

    bytes: int
    accuracy: float
    rule: dict[str, float]
    data: bytes
    decoded: dict


def uniform(weights: Mapping, accuracy: Callable[[dict], float], wanted: float) -> list[Candidate]:
    """Returns the files tried on the way to the coarsest step that is accurate enough, for each rate weight.

    Args:
      weights: tree of a trained network.
      accuracy: of decoded weights, on images kept apart.
      wanted: the accuracy that is enough.
    """
    flat = weight_files.flatten(weights)
    kernels = {path: value for path, value in flat.items() if path.endswith("/kernel")}
    largest = max(float(np.abs(value).max()) for value in kernels.values())
    rest = sizes.fold_statistics({path: value for path, value in flat.items() if path not in kernels})

    def make(octave: float, rate_weight: float) -> Candidate:
        step = largest / 4 * 2.0**octave
        leaves = dict(_rest_leaves(rest))
        for path, kernel in kernels.items():
            quantize = entropy_coding.quantize_rdo if rate_weight else entropy_coding.quantize_uniform
            leaves[path] = Quantized(quantize(kernel, step, *((rate_weight,) if rate_weight else ())), step)
        return _candidate(leaves, accuracy, {"step": float(step), "rate_weight": rate_weight})

    found = []
    for rate_weight in RATE_WEIGHTS:
        found += _bisect(STEP_OCTAVES, lambda octave, weight=rate_weight: make(octave, weight), wanted)
    return found


def lloyd(weights: Mapping, accuracy: Callable[[dict], float], wanted: float) -> list[Candidate]:
    """Returns the files tried on the way to the highest price of a bit that is accurate enough; as `uniform`."""
    flat = weight_files.flatten(weights)
    kernels = {path: value for path, value in flat.items() if path.endswith("/kernel")}
    rest = sizes.fold_statistics({path: value for path, value in flat.items() if path not in kernels})

    def make(price: float) -> Candidate:
        leaves = dict(_rest_leaves(rest))
        for path, kernel in kernels.items():
            labels, centroids, _ = entropy.ecsq(
                kernel, LLOYD_LEVELS, float(price * kernel.var()), iterations=15, name=path
            )
            leaves[path] = Codebook(*entropy.labels_to_levels(labels, centroids))
        return _candidate(leaves, accuracy, {"price": float(price)})

    return _bisect(LLOYD_PRICES, make, wanted)


def _bisect(settings: np.ndarray, make: Callable[[float], Candidate], wanted: float) -> list[Candidate]:
    """Returns every candidate of a bisection for the last of `settings` that is accurate enough."""
    found, low, high = [], 0, len(settings) - 1
    while low <= high:
        middle = (low + high) // 2
        found.append(make(float(settings[middle])))
        low, high = (middle + 1, high) if found[-1].accuracy >= wanted - 1e-9 else (low, middle - 1)
    return found


def smallest(candidates: list[Candidate], least: float) -> Candidate:
    """Returns the smallest file of at least that accuracy, or the most accurate where none has it."""
    fitting = [tried for tried in candidates if tried.accuracy >= least - 1e-9]
    return min(fitting, key=lambda c: c.bytes) if fitting else max(candidates, key=lambda c: c.accuracy)


def _rest_leaves(rest: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Any]]:
    """Biases and norms on a grid of an eighth of their root mean square; constants as one value."""
    for path, values in rest.items():
        if np.ptp(values) == 0:
            yield path, Codebook(np.zeros(values.shape, np.int32), values.reshape(-1)[:1].astype(np.float32), 0)
        else:
            step = 0.125 * float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
            yield path, Quantized(entropy_coding.quantize_uniform(values, step), step)


def _candidate(leaves: Mapping[str, Any], accuracy, rule: dict[str, float]) -> Candidate:
    data = entropy_coding.compress(weight_files.nest(leaves))
    decoded = entropy_coding.decompress(data)
    return Candidate(len(data), accuracy(decoded), rule, data, decoded)


class PruneState(NamedTuple):
    """Parameters, running statistics, masks by path, Adam's moments, the key of shifts, finished steps."""

    parameters: Any
    statistics: Any
    masks: dict[str, jax.Array]
    optimizer: Any
    key: jax.Array
    done: jax.Array


def prune(weights: Mapping, settings: TrainConfig, density: float, data, train, run: app.Run, name: str) -> dict:
    """Returns the weights after gradual magnitude pruning to `density` over `settings.epochs`; kept in `run.path`/name.

    Magnitudes count relative to the root mean square of their layer.
    """
    network = models.from_tree(pretrain.create_network(settings, data), weights)
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    epoch = len(train.images) // settings.batch_size
    total = settings.epochs * epoch
    hold = int(settings.decay_start * total)
    optimizer = optax.adam(optax.linear_schedule(settings.learning_rate, 0.0, max(total - hold, 1), hold))
    preprocess = models.standardise(data.mean, data.std)
    is_kernel = {path for path in weight_files.flatten(weights) if path.endswith("/kernel")}
    masks = {path: jnp.ones_like(value) for path, value in weight_files.flatten(weights).items() if path in is_kernel}

    def masked(parameters, masks):
        def apply(path, leaf):
            return leaf * masks[found] if (found := _path(path)) in masks else leaf

        return jax.tree_util.tree_map_with_path(apply, parameters)

    def chosen(state: PruneState):
        progress = jnp.clip((state.done / total - START) / (END - START), 0.0, 1.0)
        share = density + (1 - density) * (1 - progress) ** 3
        leaves = {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state.parameters)}
        relative = {path: jnp.abs(leaves[path]) / jnp.sqrt(jnp.mean(leaves[path] ** 2)) for path in sorted(masks)}
        every = jnp.sort(jnp.concatenate([value.ravel() for value in relative.values()]))
        threshold = every[jnp.clip(jnp.round((1 - share) * every.size).astype(jnp.int32), 0, every.size - 1)]
        return {path: (value >= threshold).astype(value.dtype) for path, value in relative.items()}

    def step(state: PruneState, batch):
        is_time = (state.done % EVERY == 0) & (state.done <= END * total + EVERY)
        masks = jax.lax.cond(is_time, chosen, lambda state: state.masks, state)
        images = preprocess(
            augmentation.augment(
                jax.random.fold_in(state.key, state.done), batch["images"], settings.shift, settings.flip
            )
        )

        def loss_function(parameters):
            network = nnx.merge(graph, masked(parameters, masks), state.statistics, copy=True)
            network.train()
            loss = optax.softmax_cross_entropy_with_integer_labels(network(images), batch["labels"]).mean()
            return loss, nnx.split(network, nnx.Param, ...)[2]

        (loss, statistics), gradient = jax.value_and_grad(loss_function, has_aux=True)(state.parameters)
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = masked(optax.apply_updates(state.parameters, updates), masks)
        density_now = sum(m.sum() for m in masks.values()) / sum(m.size for m in masks.values())
        return PruneState(parameters, statistics, masks, moments, state.key, state.done + 1), {
            "cross_entropy": loss,
            "nonzero": density_now,
        }

    state = PruneState(
        parameters,
        statistics,
        masks,
        optimizer.init(parameters),
        jax.random.key(settings.seed, impl="rbg"),
        jnp.int32(0),
    )
    folder = run.path / name
    folder.mkdir(parents=True, exist_ok=True)
    state = supervised.train(
        dataclasses.replace(run, path=folder, metrics=metrics.Metrics(folder / "metrics.csv")),
        step,
        state,
        {"images": train.images, "labels": train.labels},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        log_every=epoch,
        checkpoint_steps=settings.checkpoint_steps,
        description=f"prune to {100 * density:g} %",
    )
    return models.to_tree(nnx.merge(graph, masked(state.parameters, state.masks), state.statistics))


def _path(path) -> str:
    """ "fc1/kernel" of a path in a state of parameters."""
    return "/".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path).removesuffix("/value")
