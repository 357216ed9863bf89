"""Trains a classifier on images of which some carry a planted artifact; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end, as
they are and, those of other classes, with the artifact in each: the share of them that the network then takes for the
planted class is what the artifact does to it.
"""

import dataclasses

import numpy as np

from common import app, datasets, weight_files
from common.models import zoo
from common.training import classifier
from common.training.config import ClassifierConfig
from projects.spray import artifacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig, artifacts.ArtifactConfig):
    """One network and one artifact."""

    model: str = "mnist_cnn"
    dataset: str | None = "mnist"
    width: float = 0.5
    epochs: int = 2
    checkpoint_steps: int = 100


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    clean = zoo.load_dataset(settings.dataset or zoo.OWN_DATASET[settings.model])
    data, carrying = artifacts.plant(clean, settings)
    result = classifier.train(settings, run, data=data)
    network = zoo.untrained(settings, data)
    return result | {"planted": int(carrying[: len(network.train.images)].sum())} | effect(settings, run, network)


def effect(settings: TrainConfig, run: app.Run, network: zoo.Network) -> dict:
    """Returns the shares of test images of other classes that are taken for the planted class, without and with it."""
    if settings.artifact == "none":
        return {}
    params = weight_files.load_tree(run.path / "model.safetensors")
    other = np.flatnonzero(network.test.labels != settings.planted_class)
    images = network.test.images[other]
    claimed = np.full(len(other), settings.planted_class, np.int32)
    shares = {
        name: network.accuracy(params, datasets.Split(shown, claimed))
        for name, shown in (("clean", images), ("planted", artifacts.insert(images, settings)))
    }
    return {"taken_for_planted_class": shares}


if __name__ == "__main__":
    app.run(main, TrainConfig)
