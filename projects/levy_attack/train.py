"""Trains a victim: the MLP or the CNN for MNIST, the CNN or the ResNet-20 for CIFAR-10; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses

from common import app, config
from common.training import classifier
from common.training.config import ClassifierConfig
from projects.levy_attack import victims


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig):
    """One victim."""

    model: str = config.field("mlp", "network", choices=victims.TRAINED, formerly="victim")
    checkpoint_steps: int = 200


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    result = classifier.train(settings, run)
    if run.is_main:
        from projects.levy_attack import plots  # matplotlib takes seconds to import

        plots.draw_training(run)
    return result


if __name__ == "__main__":
    app.run(main, TrainConfig)
