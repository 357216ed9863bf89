"""Trains a network to explain: LeNet5 on MNIST, ResNet-20 on digits; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses

from common import app
from common.training import classifier
from common.training.config import ClassifierConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig):
    """One network."""

    dataset: str | None = "mnist"
    epochs: int = 5
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    checkpoint_steps: int = 100


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    return classifier.train(settings, run)


if __name__ == "__main__":
    app.run(main, TrainConfig)
