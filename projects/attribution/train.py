"""Trains a network of the zoo to explain: LeNet5 on MNIST, ResNet-20 on digits; leaves `model.safetensors`.

The last training images are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses
import time

import numpy as np

from common import app, checkpoint, classifier_training, config, datasets, models, training
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
    optimizer: str = config.field("adamw", "how weights move", choices=classifier_training.OPTIMIZERS)
    learning_rate: float = config.field(2e-3, "the highest", exclusive_minimum=0.0)
    weight_decay: float = config.field(1e-2, "on kernels", minimum=0.0)
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")
    checkpoint_steps: int = config.field(100, "steps between two checkpoints", minimum=1, identity=False)


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and returns what goes to `result.json`."""
    data = zoo.load_dataset(settings.dataset)
    train, validation = datasets.split_validation(data, settings.validation_images)
    network = zoo.create_network(settings.model, data, width=settings.width, seed=settings.seed)
    epoch_steps = len(train.images) // settings.batch_size
    optimizer = classifier_training.make_optimizer(
        settings.optimizer,
        steps=settings.epochs * epoch_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    graph, state = classifier_training.initial_state(network, optimizer, settings.seed)
    apply, preprocess = models.apply_function(network), models.standardise(data.mean, data.std)

    def accuracy(weights: dict, split: datasets.Split) -> float:
        return models.evaluate(apply, weights, *split, preprocess=preprocess).accuracy

    began = time.monotonic()
    state = training.train(
        run,
        classifier_training.make_step(graph, optimizer, preprocess, shift=settings.shift, flip=settings.flip),
        state,
        {"images": train.images, "labels": train.labels},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        evaluate=lambda state: {"validation_accuracy": accuracy(classifier_training.weights(graph, state), validation)},
        log_every=min(100, max(epoch_steps, 1)),
        checkpoint_steps=settings.checkpoint_steps,
        description=settings.model,
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    weights = classifier_training.weights(graph, state)
    if run.is_main:
        checkpoint.save_tree(run.path / "model.safetensors", weights)
    return {
        "model": settings.model,
        "dataset": data.name,
        "validation_accuracy": accuracy(weights, validation),
        "test_accuracy": accuracy(weights, datasets.Split(data.test_images, data.test_labels)),
        "values": models.count(weights),
        "steps": int(np.asarray(state.done)),
    }


if __name__ == "__main__":
    app.run(main, TrainConfig)
