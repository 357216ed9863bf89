"""Trains a network of the zoo to explain: LeNet5 on MNIST, ResNet-20 on digits; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses

from common import app, config
from common.training import classifier
from projects.attribution import zoo


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One network. Epochs are passes over the training images without those kept apart."""

    model: str = config.field("lenet5", "network", choices=zoo.TRAINED)
    width: float = config.field(1.0, "factor on the number of channels and hidden units", exclusive_minimum=0.0)
    dataset: str = config.field("mnist", "images", choices=zoo.TRAINING_SETS)
    seed: int = config.field(0, "of initial weights, order and shifts of the images", minimum=0)
    validation_images: int | None = config.field(
        None, "last training images, kept apart (none: 5,000, or a fifth of a small set)", minimum=1
    )
    epochs: int = config.field(5, "passes over the training images", minimum=1)
    batch_size: int = config.field(128, "images a step", minimum=1)
    optimizer: str = config.field("adamw", "how weights move", choices=classifier.OPTIMIZERS)
    learning_rate: float = config.field(2e-3, "the highest", exclusive_minimum=0.0)
    weight_decay: float = config.field(1e-2, "on kernels", minimum=0.0)
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")
    checkpoint_steps: int = config.field(100, "steps between two checkpoints", minimum=1, identity=False)


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    data = zoo.load_dataset(settings.dataset)
    found = classifier.train(
        run,
        zoo.create_network(settings.model, data, width=settings.width, seed=settings.seed),
        data,
        lambda steps: classifier.make_optimizer(
            settings.optimizer, steps=steps, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        ),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        validation_images=settings.validation_images,
        shift=settings.shift,
        flip=settings.flip,
        checkpoint_steps=settings.checkpoint_steps,
        description=settings.model,
    )
    return {"model": settings.model} | found


if __name__ == "__main__":
    app.run(main, TrainConfig)
