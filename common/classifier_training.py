"""A classifier in plain floating point: network, optimiser and the jitted step that `common.training` runs.

Cross entropy on augmented images; AdamW or SGD with Nesterov momentum, a learning rate that rises linearly over the
first steps and falls linearly to 0 at the last.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common import augmentation, models

OPTIMIZERS = ("adamw", "sgd")


class State(NamedTuple):
    """Parameters, running statistics, the optimiser's moments, the key of augmentation, finished steps (int32)."""

    parameters: Any
    statistics: Any
    optimizer: Any
    key: jax.Array
    done: jax.Array


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
        return optax.adamw(rate, weight_decay=weight_decay, mask=_kernels)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_kernels), optax.sgd(rate, momentum=0.9, nesterov=True)
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
        shift, flip: see `common.augmentation`.
        label_smoothing: share of each target that is spread over all classes.
    """

    def loss_function(parameters, statistics, images, labels):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        logits = network(images)
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
        cross_entropy = optax.softmax_cross_entropy(logits, targets).mean()
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


def _kernels(parameters):
    """True for kernels, False for biases and norms: what decays."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), parameters)
