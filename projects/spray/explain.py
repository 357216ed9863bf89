"""Relevance maps of a trained network's training images, class by class, as the file that `analyze` reads.

Only images that the network gets right are explained, for their own class: maps of wrong predictions speak of another
class. How many were left out stands in the result, by class. `planted.npy` says which of the samples carry the artifact
that the network was trained with.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, explorer_files, files
from common.models import zoo
from kernels import attribution
from projects.spray import artifacts

RULES = ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "input_times_gradient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """One network, one method."""

    checkpoint: str = config.field(help="network: a run directory of spray.train or of another training, or weights")
    model: str | None = config.field(None, "network, where the checkpoint does not say", choices=zoo.TRAINED)
    width: float | None = config.field(None, "factor on its channels (none: as trained)", exclusive_minimum=0.0)
    dataset: str | None = config.field(None, "its images (none: those of its training)", choices=zoo.TRAINING_SETS)
    method: str = config.field("epsilon_plus", "of explanation", choices=RULES)
    per_class: int = config.field(1000, "images of each class, the first ones that the network gets right", minimum=3)
    batch_size: int = config.field(100, "images at a time; decides the memory", minimum=1)


def main(settings: ExplainConfig, run: app.Run) -> dict:
    """Explains the images of every class and returns what goes to `result.json`."""
    network, carrying = open_planted(settings, run)
    labels = np.asarray(network.train.labels)
    numbers, wrong = right_ones(settings, network)
    outputs, relevance = explain(settings, run, network, numbers)
    check(relevance, numbers)
    about = {"network": network.name, "method": settings.method, "target": "label"}
    explorer_files.write_dataset(
        run.path / "dataset.h5", network.train.images[numbers], labels[numbers], name=network.data.name
    )
    explorer_files.write_attribution(run.path / "attribution.h5", relevance, labels[numbers], outputs, **about)
    with files.beside(run.path / "planted.npy") as temporary, temporary.open("wb") as file:
        np.save(file, carrying[numbers])
    return {
        "network": network.name, "dataset": network.data.name, "method": settings.method,
        "classes": {
            str(c): {
                "name": name,
                "images": int((labels[numbers] == c).sum()),
                "left_out_wrong": int(wrong[c]),
                "planted": int(carrying[numbers][labels[numbers] == c].sum()),
            }
            for c, name in enumerate(network.classes)
        },
    }  # fmt: skip


def right_ones(settings: ExplainConfig, network: zoo.Network) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first training images of each class that the network gets right, and how many wrong ones lie between.

    As many of each class as there can be: maps of equal numbers are compared, and compiled once.
    """
    labels = np.asarray(network.train.labels)
    is_right = network.correct(network.params, network.train)
    rows, wrong = [], []
    for c in range(len(network.classes)):
        members = np.flatnonzero((labels == c) & is_right)[: settings.per_class]
        rows.append(members)
        last = members[-1] if len(members) else len(labels)
        wrong.append(int(((labels == c) & ~is_right)[:last].sum()))
    return np.concatenate(rows), np.array(wrong)


def open_planted(settings: ExplainConfig, run: app.Run) -> tuple[zoo.Network, np.ndarray]:
    """Returns a network with the training images that it saw, and which of them carry its artifact, bool `[n]`."""
    run.inputs(settings.checkpoint)
    options = {"model": settings.model, "width": settings.width}
    network = zoo.open_network(settings.checkpoint, dataset=settings.dataset, **options)
    artifact = artifact_of(settings.checkpoint)
    if artifact.artifact == "none":
        return network, np.zeros(len(network.train.images), bool)
    data, carrying = artifacts.plant(network.data, artifact)
    network = zoo.open_network(settings.checkpoint, dataset=data, **options)
    return network, carrying[: len(network.train.images)]


def artifact_of(source: str) -> artifacts.ArtifactConfig:
    """Returns the artifact that a training has planted, by its flags; none where they speak of none."""
    path = pathlib.Path(source) / "flags.txt"
    flags = config.read_flagfile(path, artifacts.ArtifactConfig) if path.is_file() else {}
    return artifacts.ArtifactConfig(**({"artifact": "none"} if not flags else flags))


def explain(settings: ExplainConfig, run: app.Run, network: zoo.Network, numbers: np.ndarray):
    """Returns outputs `[n, classes]` and relevance `[n, height, width, channels]` of images for their labels."""
    compiled = jax.jit(explainer(settings.method, network))
    params, labels = jax.device_put(network.params), np.asarray(network.train.labels)
    outputs, maps = [], []
    starts = range(0, len(numbers), settings.batch_size)
    with run.progress(len(starts), settings.method) as progress:
        for start in starts:
            batch = numbers[start : start + settings.batch_size]
            padded = np.resize(batch, settings.batch_size)  # one shape, one program
            x = network.preprocess(network.train.images[padded])
            y, relevance = compiled(params, x, jnp.asarray(labels[padded]))
            outputs.append(np.asarray(y)[: len(batch)])
            maps.append(np.asarray(relevance)[: len(batch)])
            progress.update(1)
    return np.concatenate(outputs), np.concatenate(maps)


def explainer(method: str, network: zoo.Network):
    """Returns `explain(params, x, target) -> (outputs, relevance)`."""
    if method == "input_times_gradient":
        return lambda params, x, target: attribution.gradient(network.fn, params, x, target=target, times_input=True)
    box = (network.low, network.high) if method == "epsilon_gamma_box" else ()
    rules = getattr(attribution.composites, method)(*box)
    return lambda params, x, target: attribution.attribute(network.fn, params, x, target=target, rules=rules)


def check(relevance: np.ndarray, numbers: np.ndarray) -> None:
    """Raises ValueError for maps that are not finite, by the number of their image."""
    bad = ~np.isfinite(relevance).reshape(len(relevance), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the maps of {int(bad.sum())} of {len(bad)} images are not finite, training image {numbers[bad][0]} "
            "first: the network's weights, or its outputs for these images, are not."
        )


if __name__ == "__main__":
    app.run(main, ExplainConfig)
