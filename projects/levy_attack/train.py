"""Trains a victim: the MLP or the CNN for MNIST, the CNN or the ResNet-20 for CIFAR-10; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses

from common import app, config
from common.training import classifier
from common.training.config import ClassifierConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig):
    """One victim."""

    model: str = config.field(
        "mlp", "network", choices=("mlp", "mnist_cnn", "cifar_cnn", "resnet20"), formerly="victim"
    )
    checkpoint_steps: int = 200


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    return classifier.train(settings, run)


if __name__ == "__main__":
    app.run(main, TrainConfig)
