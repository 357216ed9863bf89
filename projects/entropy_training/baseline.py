"""What entropy-constrained training is compared with, each as a file of the same container on the same network.

uniform: one step for all layers and a rate weight, found by search (DC-v2 of arXiv:1907.11900), no retraining. lloyd:
entropy-constrained scalar quantisation of every layer (ECSQ), no retraining. magnitude: gradual pruning of the smallest
weights (Zhu, Gupta, arXiv:1710.01878) while the network trains on, then the search of uniform. The smallest file that
loses at most --tolerance on images kept apart becomes `model.dcb`; test images are looked at for it alone.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common import app, files, models, weight_files
from common.models import zoo
from common.training import augmentation, classifier, optimizers, pruning, step
from kernels import entropy_coding, soft_entropy
from kernels.entropy_coding import Codebook, Quantized
from projects.entropy_training import coding
from projects.entropy_training.config import BaselineConfig

STEP_OCTAVES = np.arange(-4.0, 1.51, 0.125)  # of the search, around a quarter of the largest weight
RATE_WEIGHTS = (0.0, 0.03, 0.1, 0.2, 0.4)  # squared steps a bit
LLOYD_PRICES = 10.0 ** np.arange(-5, 1.01, 0.125)  # squared weights a bit, over the variance of the layer's weights
LLOYD_LEVELS = 33
REST_STEP = 0.125  # of biases and norms, in root mean squares
PRUNING = {"start": 0.1, "end": 0.6, "interval": 50}  # shares of its epochs, and steps between two choices of weights


class Candidate(NamedTuple):
    """One file. Attributes: bytes, accuracy on images kept apart, what made it, the file, its decoded weights."""

    bytes: int
    accuracy: float
    rule: dict[str, float]
    data: bytes
    decoded: dict


def main(settings: BaselineConfig, run: app.Run) -> dict:
    """Makes the files of one baseline; returns a row for each, and accuracies before and of the best one."""
    network = zoo.untrained(settings)
    run.inputs(settings.checkpoint)
    weights = weight_files.load_tree(settings.checkpoint)

    def accuracy(weights: Mapping) -> float:
        return network.accuracy(weights, network.validation)

    before = accuracy(weights)
    least = before - settings.tolerance
    start = prune(weights, settings, network, run) if settings.method == "magnitude" else weights
    candidates = (lloyd if settings.method == "lloyd" else uniform)(start, accuracy, least)
    best = smallest(candidates, least)
    if run.is_main:
        files.write_atomically(run.path / "model.dcb", best.data)
    whole = 4 * models.count(weights)
    rows = [
        {"bytes": file.bytes, "ratio": whole / file.bytes, "validation_accuracy": file.accuracy, **file.rule}
        for file in candidates
    ]
    unmet = f"--tolerance={settings.tolerance:g}: the most accurate file has {best.accuracy:g}, {before:g} before"
    return ({} if is_enough(best.accuracy, least) else {"unmet": [unmet]}) | {
        **classifier.describe(network, best.decoded),
        "method": settings.method,
        "bytes": best.bytes,
        "ratio": whole / best.bytes,
        "float_validation_accuracy": before,
        "float_test_accuracy": network.accuracy(weights, network.test),
        "candidates": rows,
    }


def uniform(weights: Mapping, accuracy: Callable[[dict], float], least: float) -> list[Candidate]:
    """Returns the files tried on the way to the coarsest step that is accurate enough, for each rate weight.

    Args:
      weights: tree of a trained network.
      accuracy: of decoded weights, on images kept apart.
      least: the accuracy that is enough.
    """
    kernels, rest = _split(weights)
    largest = max(float(np.abs(kernel).max()) for kernel in kernels.values())

    def make(octave: float, rate_weight: float) -> Candidate:
        step = largest / 4 * 2.0**octave
        leaves = dict(rest)
        for path, kernel in kernels.items():
            quantize = entropy_coding.quantize_rdo if rate_weight else entropy_coding.quantize_uniform
            leaves[path] = Quantized(quantize(kernel, step, *((rate_weight,) if rate_weight else ())), step)
        return _candidate(leaves, accuracy, {"step": float(step), "rate_weight": rate_weight})

    return [
        candidate
        for rate_weight in RATE_WEIGHTS
        for candidate in _bisect(STEP_OCTAVES, lambda octave, weight=rate_weight: make(octave, weight), least)
    ]


def lloyd(weights: Mapping, accuracy: Callable[[dict], float], least: float) -> list[Candidate]:
    """Returns the files tried on the way to the highest price of a bit that is accurate enough; as `uniform`."""
    kernels, rest = _split(weights)

    def make(price: float) -> Candidate:
        leaves = dict(rest)
        for path, kernel in kernels.items():
            labels, centroids, _ = soft_entropy.ecsq(
                kernel, LLOYD_LEVELS, float(price * kernel.var()), iterations=15, name=path
            )
            leaves[path] = Codebook(*soft_entropy.labels_to_levels(labels, centroids))
        return _candidate(leaves, accuracy, {"price": float(price)})

    return _bisect(LLOYD_PRICES, make, least)


def _split(weights: Mapping) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Returns path -> kernel, and path -> leaf of everything else."""
    flat = weight_files.flatten(weights)
    kernels = {path: value for path, value in flat.items() if path.endswith("/kernel")}
    rest = {path: value for path, value in flat.items() if path not in kernels}
    return kernels, coding.rest_leaves(rest, REST_STEP)


def _candidate(leaves: Mapping[str, object], accuracy, rule: dict[str, float]) -> Candidate:
    data, decoded = coding.round_trip(leaves)
    return Candidate(len(data), accuracy(decoded), rule, data, decoded)


def _bisect(values: np.ndarray, make: Callable[[float], Candidate], least: float) -> list[Candidate]:
    """Returns every candidate of a bisection for the last of `values` that is accurate enough."""
    candidates, low, high = [], 0, len(values) - 1
    while low <= high:
        middle = (low + high) // 2
        candidates.append(make(float(values[middle])))
        low, high = (middle + 1, high) if is_enough(candidates[-1].accuracy, least) else (low, middle - 1)
    return candidates


def is_enough(accuracy: float, least: float) -> bool:
    """Returns whether an accuracy is at least another, up to rounding."""
    return accuracy >= least - 1e-9


def smallest(candidates: list[Candidate], least: float) -> Candidate:
    """Returns the smallest file of at least that accuracy, or the most accurate where none has it."""
    fitting = [candidate for candidate in candidates if is_enough(candidate.accuracy, least)]
    return min(fitting, key=lambda c: c.bytes) if fitting else max(candidates, key=lambda c: c.accuracy)


def prune(weights: Mapping, settings: BaselineConfig, network: zoo.Network, run: app.Run) -> dict:
    """Returns the weights after gradual magnitude pruning to `density` over the epochs of a config."""
    steps = settings.epochs * (len(network.train.images) // settings.batch_size)
    rate = optimizers.schedule(steps, settings.learning_rate, decay_start=settings.decay_start)
    optimizer = optax.adam(rate)
    schedule = pruning.Schedule(settings.density, **PRUNING)
    merge, state = step.initial_state(models.from_tree(network.module, weights), optimizer, settings.seed)

    def masked(state: step.State) -> nnx.Module:
        module = merge(state.parameters, state.statistics)
        pruning.apply_masks(module, state.extra)
        return module

    def kernels(state: step.State) -> dict[str, jax.Array]:
        return {name: layer.kernel[...] for name, layer in models.weight_layers(masked(state)).items()}

    def choose(state: step.State) -> step.State:
        return state._replace(extra=pruning.update_masks(state.extra, kernels(state), schedule, state.done, steps))

    def forward(module: nnx.Module, x: jax.Array, key: None, state: step.State):
        pruning.apply_masks(module, state.extra)
        share = sum(m.sum() for m in state.extra.values()) / sum(m.size for m in state.extra.values())
        return module(x), 0.0, {"nonzero": share}

    state = state._replace(extra=jax.tree.map(jnp.ones_like, kernels(state._replace(extra={}))))
    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)
    advance = step.make_step(merge, optimizer, inputs, forward=forward, before=choose)
    state = classifier.fit(settings, run, network, advance, state, description=f"prune to {settings.density:.3g}")
    return models.to_tree(masked(state))


if __name__ == "__main__":
    app.run(main, BaselineConfig)
