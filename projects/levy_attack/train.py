"""Trains a victim: the MLP or the CNN for MNIST, the CNN or the ResNet-20 for CIFAR-10; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses

from common import app, config
from common.training import classifier
from projects.levy_attack import victims


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One victim. Epochs are passes over the training images without those kept apart."""

    victim: str = config.field("mlp", "network", choices=victims.TRAINED)
    dataset: str | None = config.field(
        None,
        "images (none: the victim's own, MNIST or CIFAR-10)",
        choices=("mnist", "fashion_mnist", "cifar10", "digits"),
    )
    width: float = config.field(1.0, "factor of its channels", exclusive_minimum=0.0)
    seed: int = config.field(0, "of initial weights, order and shifts of the images", minimum=0)
    validation_images: int | None = config.field(
        None, "last training images, kept apart (none: 5,000, or a fifth of a small set)", minimum=1
    )
    epochs: int = config.field(10, "passes over the training images", minimum=1)
    batch_size: int = config.field(128, "images a step", minimum=1)
    optimizer: str = config.field("adamw", "how weights move", choices=classifier.OPTIMIZERS)
    learning_rate: float = config.field(1e-3, "the highest", exclusive_minimum=0.0)
    warmup: float = config.field(0.1, "share of the steps in which it rises", minimum=0.0, maximum=1.0)
    weight_decay: float = config.field(0.0, "on kernels", minimum=0.0)
    label_smoothing: float = config.field(0.0, "share of a target spread over all classes", minimum=0.0, maximum=1.0)
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")
    checkpoint_steps: int = config.field(200, "steps between two checkpoints", minimum=1, identity=False)


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    data = victims.load_dataset(settings.dataset or victims.DATASETS[settings.victim])
    found = classifier.train(
        run,
        victims.create_network(settings.victim, data, settings.seed, settings.width),
        data,
        lambda steps: classifier.make_optimizer(
            settings.optimizer,
            steps=steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
        ),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        validation_images=settings.validation_images,
        shift=settings.shift,
        flip=settings.flip,
        label_smoothing=settings.label_smoothing,
        checkpoint_steps=settings.checkpoint_steps,
        description=settings.victim,
    )
    if run.is_main:
        from projects.levy_attack import plots  # matplotlib takes seconds to import

        plots.draw_training(run)
    return {"victim": settings.victim} | found


if __name__ == "__main__":
    app.run(main, TrainConfig)
