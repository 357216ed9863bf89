"""Trains a floating-point network: where entropy-constrained training starts, and what its accuracy is compared with.

AdamW, a learning rate that is constant and then falls linearly to 0. Leaves `model.safetensors`.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common import app, augmentation, checkpoint, config, datasets, models, training

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


class State(NamedTuple):
    """Parameters, running statistics, Adam's moments, the key of shifts (folded with the step), finished steps."""

    parameters: Any
    statistics: Any
    optimizer: Any
    key: jax.Array
    done: jax.Array


def main(settings: PretrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights, and returns what goes to `result.json`."""
    data = load_dataset(settings.dataset)
    train, validation = datasets.split_validation(data, settings.validation_images)
    network = create_network(settings, data)
    accuracy = make_accuracy(network, data)
    steps = settings.epochs * (len(train.images) // settings.batch_size)
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    optimizer = make_optimizer(settings, steps)
    key = jax.random.key(settings.seed, impl="rbg")
    state = State(parameters, statistics, optimizer.init(parameters), key, jnp.int32(0))

    def weights_of(state: State) -> dict:
        return models.to_tree(nnx.merge(graph, state.parameters, state.statistics))

    began = time.monotonic()
    state = training.train(
        run,
        make_step(settings, graph, optimizer, models.standardise(data.mean, data.std)),
        state,
        {"images": train.images, "labels": train.labels},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        evaluate=lambda state: {"validation_accuracy": accuracy(weights_of(state), validation)},
        log_every=len(train.images) // settings.batch_size,
        checkpoint_steps=settings.checkpoint_steps,
        description=f"{settings.model} float",
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    weights = weights_of(state)
    if run.is_main:
        checkpoint.save_tree(run.path / "model.safetensors", weights)
    return {
        "dataset": data.name,
        "validation_accuracy": accuracy(weights, validation),
        "test_accuracy": accuracy(weights, datasets.Split(data.test_images, data.test_labels)),
        "values": models.count(weights),
        "steps": steps,
    }


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

    def decayed(parameters):
        return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), parameters)

    return optax.adamw(rate, weight_decay=settings.weight_decay, mask=decayed)


def make_step(settings: PretrainConfig, graph, optimizer, preprocess: Callable) -> Callable:
    """Returns the training step `(state, {"images", "labels"}) -> (state, metrics)`; `preprocess`: uint8 to inputs."""

    def loss_function(parameters, statistics, images, labels):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        logits = network(images)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        _, _, statistics = nnx.split(network, nnx.Param, ...)
        return cross_entropy, (statistics, {"cross_entropy": cross_entropy, "train_accuracy": hits})

    def step(state: State, batch):
        key = jax.random.fold_in(state.key, state.done)
        images = preprocess(augmentation.augment(key, batch["images"], settings.shift, settings.flip))
        gradient_of = jax.value_and_grad(loss_function, has_aux=True)
        (_, (statistics, metrics)), gradient = gradient_of(state.parameters, state.statistics, images, batch["labels"])
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        return State(
            optax.apply_updates(state.parameters, updates), statistics, moments, state.key, state.done + 1
        ), metrics

    return step


if __name__ == "__main__":
    app.run(main, PretrainConfig)
