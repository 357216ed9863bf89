"""What entropy-constrained training is compared with, each as a file of the same container on the same network.

uniform: one step for all layers, by bisection at each of a few rate weights, no retraining (DC-v2 of arXiv:1907.11900;
the project `deepcabac` refines a grid of both further; what the two share is `common.step_search`). lloyd:
entropy-constrained scalar quantisation of every layer (ECSQ), no retraining. magnitude: gradual pruning of the smallest
weights (Zhu, Gupta, arXiv:1710.01878) while the network trains on, then the search of uniform. The smallest file that
loses at most --tolerance on images kept apart becomes `model.dcb`; test images are looked at for it alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax

from common import app, files, models, step_search, weight_files
from common.models import zoo
from common.step_search import is_enough
from common.training import classifier, optimizers, pruning
from kernels import entropy_coding, soft_entropy
from kernels.entropy_coding import Codebook, Quantized
from projects.entropy_training import coding
from projects.entropy_training.config import BaselineConfig

STEP_OCTAVES = np.arange(-4.0, 1.51, 0.125)  # of the search, around a quarter of the largest weight
RATE_WEIGHTS = (0.0, 0.03, 0.1, 0.2, 0.4)  # squared steps a bit
LLOYD_PRICES = 10.0 ** np.arange(-5, 1.01, 0.125)  # squared weights a bit, over the variance of the layer's weights
LLOYD_LEVELS = 33
REST_STEP = 0.125  # of biases and norms, in root mean squares
PRUNING = {"start": 0.1, "end": 0.6, "interval": 50}  # see `pruning.Schedule`


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
    start = weights
    if settings.method == "magnitude":
        schedule = pruning.Schedule(settings.density, **PRUNING)
        steps = settings.epochs * (len(network.train.images) // settings.batch_size)
        rate = optimizers.schedule(steps, settings.learning_rate, decay_start=settings.decay_start)
        start = pruning.prune(settings, run, network, weights, schedule, optax.adam(rate))
    if settings.method == "lloyd":
        candidates = lloyd(start, accuracy, least)
    else:
        candidates = uniform(start, accuracy, least, settings.implementation)
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


def uniform(
    weights: Mapping, accuracy: Callable[[dict], float], least: float, implementation: str | None = None
) -> list[Candidate]:
    """Returns the files tried on the way to the coarsest step that is accurate enough, for each rate weight.

    The rate weights go the same way beside each other, a step each at a time.

    Args:
      weights: tree of a trained network.
      accuracy: of decoded weights, on images kept apart.
      least: the accuracy that is enough.
      implementation: of the decisions, see `entropy_coding.quantize_rdo`.
    """
    kernels, rest = _split(weights)
    largest = max(float(np.abs(kernel).max()) for kernel in kernels.values())

    def make(octaves: dict[float, float]) -> list[Candidate]:
        """One file for each rate weight at its octave."""
        rates, steps = list(octaves), [largest / 4 * 2.0**octave for octave in octaves.values()]
        leaves = [dict(rest) for _ in rates]
        for path, kernel in kernels.items():
            levels = entropy_coding.quantize_rdo([kernel] * len(rates), steps, rates, implementation=implementation)
            for file, of_file, step in zip(leaves, levels, steps, strict=True):
                file[path] = Quantized(of_file, step)
        return [
            _candidate(file, accuracy, {"step": float(step), "rate_weight": rate})
            for file, step, rate in zip(leaves, steps, rates, strict=True)
        ]

    by_rate = _coarsest_of_each(RATE_WEIGHTS, STEP_OCTAVES, make, least)
    return [candidate for candidates in by_rate.values() for candidate in candidates]


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

    return _coarsest(LLOYD_PRICES, make, least)


def _split(weights: Mapping) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Returns path -> kernel, and path -> leaf of everything else."""
    flat = weight_files.flatten(weights)
    kernels = {path: value for path, value in flat.items() if path.endswith("/kernel")}
    rest = {path: value for path, value in flat.items() if path not in kernels}
    return kernels, coding.rest_leaves(rest, REST_STEP)


def _candidate(leaves: Mapping[str, object], accuracy, rule: dict[str, float]) -> Candidate:
    data, decoded = coding.round_trip(leaves)
    return Candidate(len(data), accuracy(decoded), rule, data, decoded)


def _coarsest(values: np.ndarray, make: Callable[[float], Candidate], least: float) -> list[Candidate]:
    return step_search.coarsest(values, make, lambda candidate: is_enough(candidate.accuracy, least))


def _coarsest_of_each(
    keys: Sequence, values: np.ndarray, make: Callable[[dict], list[Candidate]], least: float
) -> dict[Any, list[Candidate]]:
    """Returns what `_coarsest` does for each key, a candidate of each at a time; make: of keys and their values."""
    candidates: dict[Any, list[Candidate]] = {key: [] for key in keys}
    ends = {key: (0, len(values) - 1) for key in keys}
    while going := {key: (low + high) // 2 for key, (low, high) in ends.items() if low <= high}:
        made = make({key: float(values[middle]) for key, middle in going.items()})
        for (key, middle), candidate in zip(going.items(), made, strict=True):
            candidates[key].append(candidate)
            low, high = ends[key]
            ends[key] = (middle + 1, high) if is_enough(candidate.accuracy, least) else (low, middle - 1)
    return candidates


def smallest(candidates: list[Candidate], least: float) -> Candidate:
    """Returns the smallest file of at least that accuracy, or the most accurate where none has it."""
    return step_search.smallest(
        candidates, lambda c: is_enough(c.accuracy, least), lambda c: c.bytes, lambda c: c.accuracy
    )


if __name__ == "__main__":
    app.run(main, BaselineConfig)
