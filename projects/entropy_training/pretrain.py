"""Trains a floating-point network: where entropy-constrained training starts, and what its accuracy is compared with.

AdamW, a learning rate that is constant and then falls linearly to 0. Leaves `model.safetensors`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import optax
from flax import nnx

from common import app, config, datasets, models
from common.training import classifier

MODELS = ("lenet_300_100", "lenet5", "small_vgg16")
DATASETS = ("mnist", "fashion_mnist", "cifar10", "digits")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One training in floating point. Epochs are passes over the training images without those kept apart."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    width: float = config.field(1.0, "factor on the number of channels and hidden units", exclusive_minimum=0.0)
    dataset: str = config.field("mnist", "images", choices=DATASETS)
    seed: int = config.field(0, "of initial weights, order and shifts of the images", minimum=0)
    validation_images: int | None = config.field(
        None, "last training images, kept apart to choose settings (none: 5,000, or a fifth of a small set)", minimum=1
    )
    epochs: int = config.field(30, "passes over the training images", minimum=1)
    batch_size: int = config.field(128, "images a step", minimum=1)
    learning_rate: float = config.field(1e-3, "of Adam", exclusive_minimum=0.0)
    weight_decay: float = config.field(0.0, "of AdamW, on kernels", minimum=0.0)
    decay_start: float = config.field(
        0.5, "share of the epochs after which the learning rate falls linearly to 0", minimum=0.0, maximum=1.0
    )
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")
    checkpoint_steps: int = config.field(1000, "steps between two checkpoints", minimum=1, identity=False)


def main(settings: PretrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights, and returns what goes to `result.json`."""
    data = load_dataset(settings.dataset)
    return classifier.train(
        run,
        create_network(settings, data),
        data,
        lambda steps: make_optimizer(settings, steps),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        validation_images=settings.validation_images,
        shift=settings.shift,
        flip=settings.flip,
        checkpoint_steps=settings.checkpoint_steps,
        description=f"{settings.model} float",
    )


def load_dataset(name: str) -> datasets.Dataset:
    """Returns a data set; scikit-learn's digits in the size of MNIST's."""
    return datasets.load(name, **({"size": 28} if name == "digits" else {}))


def create_network(settings: Any, data: datasets.Dataset, **options: Any) -> nnx.Module:
    """Returns the untrained network that `settings.model`, `.width` and `.seed` name; `options` as models.create."""
    return models.create(
        settings.model,
        rngs=nnx.Rngs(settings.seed),
        width=settings.width,
        num_classes=len(data.classes),
        input_shape=data.train_images.shape[1:],
        **options,
    )


def make_accuracy(network: nnx.Module, data: datasets.Dataset) -> Callable[[dict, datasets.Split], float]:
    """Returns `(weights, split) -> share of images that the plain network with these weights gets right`."""
    apply = models.apply_function(network)
    preprocess = models.standardise(data.mean, data.std)
    return lambda weights, split: models.evaluate(apply, weights, *split, preprocess=preprocess).accuracy


def make_optimizer(settings: PretrainConfig, steps: int) -> optax.GradientTransformation:
    """Returns AdamW with a rate that is constant, then falls linearly to 0 at the last step."""
    hold = int(settings.decay_start * steps)
    rate = optax.linear_schedule(settings.learning_rate, 0.0, max(steps - hold, 1), hold)

    return optax.adamw(rate, weight_decay=settings.weight_decay, mask=classifier.kernels)


if __name__ == "__main__":
    app.run(main, PretrainConfig)
