"""A classifier in plain floating point, trained by one call; its optimiser and jitted step, for loops of one's own.

Cross entropy on augmented images; AdamW or SGD with Nesterov momentum, a learning rate that rises linearly over the
first steps and falls linearly to 0 at the last.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common import datasets, models
from common.runs.run_directory import Run
from common.training import augmentation, checkpoint, supervised

OPTIMIZERS = ("adamw", "sgd")


class State(NamedTuple):
    """Parameters, running statistics, the optimiser's moments, the key of augmentation, finished steps (int32)."""

    parameters: Any
    statistics: Any
    optimizer: Any
    key: jax.Array
    done: jax.Array


def train(
    run: Run,
    network: nnx.Module,
    data: datasets.Dataset,
    optimizer: Callable[[int], optax.GradientTransformation],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    validation_images: int | None = None,
    shift: int = 0,
    flip: bool = False,
    label_smoothing: float = 0.0,
    log_every: int | None = None,
    checkpoint_steps: int | None = None,
    description: str = "train",
) -> dict:
    """Trains, leaves `model.safetensors` in the run directory, and returns what goes to `result.json`.

    The last training images are kept apart; the test images are looked at once, at the end.

    Args:
        run: where weights, checkpoints and metrics go.
        network: with its initial weights.
        data: images and labels, of the network's input shape and classes.
        optimizer: number of steps of the whole training -> optimiser.
        epochs: passes over the training images without those kept apart.
        batch_size, seed, log_every, checkpoint_steps, description: see `common.training.train`; a row of metrics is
            written every 100 steps, or epoch if that is shorter, when `log_every` is None.
        validation_images: how many are kept apart; see `datasets.split_validation`.
        shift, flip, label_smoothing: see `make_step`.
    """
    train_split, validation = datasets.split_validation(data, validation_images)
    epoch_steps = len(train_split.images) // batch_size
    steps = epochs * epoch_steps
    moves = optimizer(steps)
    graph, state = initial_state(network, moves, seed)
    apply, preprocess = models.apply_function(network), models.standardise(data.mean, data.std)

    def accuracy(tree: dict, split: datasets.Split) -> float:
        return models.evaluate(apply, tree, *split, preprocess=preprocess).accuracy

    began = time.monotonic()
    state = supervised.train(
        run,
        make_step(graph, moves, preprocess, shift=shift, flip=flip, label_smoothing=label_smoothing),
        state,
        {"images": train_split.images, "labels": train_split.labels},
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        evaluate=lambda state: {"validation_accuracy": accuracy(weights(graph, state), validation)},
        log_every=min(100, max(epoch_steps, 1)) if log_every is None else log_every,
        checkpoint_steps=checkpoint_steps,
        description=description,
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    tree = weights(graph, state)
    if run.is_main:
        checkpoint.save_tree(run.path / "model.safetensors", tree)
    return {
        "dataset": data.name,
        "validation_accuracy": accuracy(tree, validation),
        "test_accuracy": accuracy(tree, datasets.Split(data.test_images, data.test_labels)),
        "test_images": len(data.test_images),
        "values": models.count(tree),
        "steps": steps,
    }


def make_optimizer(
    name: str, *, steps: int, learning_rate: float, weight_decay: float = 0.0, warmup: float = 0.1
) -> optax.GradientTransformation:
    """Returns the optimiser with its schedule; weights decay on kernels only.

    Args:
        name: "adamw", or "sgd" (Nesterov momentum 0.9; the decay is then part of the gradient).
        steps: of the whole training.
        learning_rate: the highest, reached after the share `warmup` of the steps.
        weight_decay: as the optimiser means it.
        warmup: share of the steps, 0 to 1.

    Raises:
        ValueError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    rise = max(int(warmup * steps), 1)
    up = optax.linear_schedule(0.0, learning_rate, rise)
    rate = optax.join_schedules([up, optax.linear_schedule(learning_rate, 0.0, max(steps - rise, 1))], [rise])
    if name == "adamw":
        return optax.adamw(rate, weight_decay=weight_decay, mask=kernels)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=kernels), optax.sgd(rate, momentum=0.9, nesterov=True)
    )


def initial_state(network: nnx.Module, optimizer: optax.GradientTransformation, seed: int) -> tuple[Any, State]:
    """Returns the graph of `network`, which never changes, and the state before the first step."""
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    key = jax.random.key(seed, impl="rbg")  # draws in half the time of the default on a CPU
    return graph, State(parameters, statistics, optimizer.init(parameters), key, jnp.int32(0))


def make_step(
    graph: Any,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array],
    *,
    shift: int = 0,
    flip: bool = False,
    label_smoothing: float = 0.0,
) -> Callable[[State, Any], tuple[State, dict]]:
    """Returns the step `(state, {"images", "labels"}) -> (state, metrics)`.

    Args:
        graph: of the network, from `initial_state`.
        optimizer: as `initial_state` had it.
        preprocess: uint8 images to inputs.
        shift, flip: see `common.training.augmentation`.
        label_smoothing: share of each target that is spread over all classes.
    """

    def loss_function(parameters, statistics, images, labels):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        logits = network(images)
        if label_smoothing:
            targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
            cross_entropy = optax.softmax_cross_entropy(logits, targets).mean()
        else:
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        _, _, statistics = nnx.split(network, nnx.Param, ...)
        return cross_entropy, (statistics, {"cross_entropy": cross_entropy, "train_accuracy": hits})

    def step(state: State, batch):
        key = jax.random.fold_in(state.key, state.done)
        images = preprocess(augmentation.augment(key, batch["images"], shift, flip))
        gradient_of = jax.value_and_grad(loss_function, has_aux=True)
        (_, (statistics, metrics)), gradient = gradient_of(state.parameters, state.statistics, images, batch["labels"])
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        return State(parameters, statistics, moments, state.key, state.done + 1), metrics

    return step


def weights(graph: Any, state: State) -> dict:
    """Returns the tree of arrays that files hold."""
    return models.to_tree(nnx.merge(graph, state.parameters, state.statistics))


def kernels(parameters: Any) -> Any:
    """Returns a tree of the same structure, True for kernels, False for biases and norms: what decays."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), parameters)
