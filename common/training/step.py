"""The one supervised step: augmented images, cross entropy, gradient, update; what a method adds are three functions.

    merge, state = step.initial_state(network, optimizer, seed)
    inputs = augmentation.inputs_of(preprocess, shift=1)
    advance = step.make_step(merge, optimizer, inputs, forward=forward, random=True)
    state, metrics = advance(state, {"images": images, "labels": labels})

`forward` computes logits and a penalty beside the cross entropy (noise on weights, masks, bits of a code); `before`
and `after` change the state around the update (choose masks, move a multiplier).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.training import augmentation

Metrics = dict[str, jax.Array]


class State(NamedTuple):
    """What a step changes.

    Attributes:
      parameters: what is trained.
      statistics: everything else of the network: running means and variances.
      optimizer: its moments.
      key: of all random numbers but the order of the images; never changes, a step folds its number in.
      done: finished steps, int32.
      extra: what a method keeps beside: masks, a multiplier.
    """

    parameters: Any
    statistics: Any
    optimizer: Any
    key: jax.Array
    done: jax.Array
    extra: Any = ()


Merge = Callable[[Any, Any], nnx.Module]
Forward = Callable[[nnx.Module, jax.Array, jax.Array | None, State], tuple[jax.Array, Any, Metrics]]


def initial_state(
    network: nnx.Module, optimizer: optax.GradientTransformation, seed: int, extra: Any = ()
) -> tuple[Merge, State]:
    """Returns `merge(parameters, statistics) -> a network like this one`, and the state before the first step."""
    graph, *states = nnx.split(network, nnx.Param, ...)
    parameters, statistics = states
    key = jax.random.key(seed, impl="rbg")  # draws in half the time of the default on a CPU

    def merge(parameters: Any, statistics: Any) -> nnx.Module:
        return nnx.merge(graph, parameters, statistics, copy=True)

    return merge, State(parameters, statistics, optimizer.init(parameters), key, jnp.int32(0), extra)


def plain_forward(
    network: nnx.Module, x: jax.Array, key: jax.Array | None, state: State
) -> tuple[jax.Array, float, Metrics]:
    """Returns the logits `[batch, classes]` of `x` `[batch, ...]`, no penalty and no metrics."""
    return network(x), 0.0, {}


def make_step(
    merge: Merge,
    optimizer: optax.GradientTransformation,
    inputs: augmentation.Augment,
    *,
    label_smoothing: float = 0.0,
    forward: Forward = plain_forward,
    random: bool = False,
    before: Callable[[State], State] = lambda state: state,
    after: Callable[[State, Metrics], tuple[State, Metrics]] = lambda state, metrics: (state, metrics),
) -> Callable[[State, Mapping[str, jax.Array]], tuple[State, Metrics]]:
    """Returns the step `(state, {"images", "labels"}) -> (state, metrics)`, jittable.

    Images are uint8 `[batch, height, width, channels]`, labels integers `[batch]`, logits `[batch, classes]`, metrics
    scalars.

    Args:
      merge: parameters and statistics to a network, from `initial_state` or of one's own.
      optimizer: as `initial_state` had it.
      inputs: `(key, uint8 images) -> inputs [batch, height, width, channels]`, see `augmentation.inputs_of`.
      label_smoothing: share of each target that is spread over all classes.
      forward: `(network, x, key, state) -> (logits, penalty, metrics)`, of a network in training mode with the
        parameters that the gradient is taken of; the penalty is added to the mean cross entropy. It may change the
        network, but leaves in it no arrays that were not there.
      random: whether `forward` draws random numbers; its key is None otherwise.
      before: changes the state before the gradient is taken.
      after: changes the state and the metrics after the update.
    """

    def loss(parameters, state, x, labels, key):
        network = merge(parameters, state.statistics)
        network.train()
        logits, penalty, metrics = forward(network, x, key, state)
        if label_smoothing:
            targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
            cross_entropy = optax.softmax_cross_entropy(logits, targets).mean()
        else:
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        statistics = nnx.split(network, nnx.Param, ...)[2]
        metrics = {"cross_entropy": cross_entropy, "train_accuracy": hits} | metrics
        return cross_entropy + penalty, (statistics, metrics)

    def step(state: State, batch: Mapping[str, jax.Array]) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.done)
        shift_key, forward_key = jax.random.split(key) if random else (key, None)
        x = inputs(shift_key, batch["images"])
        state = before(state)
        gradient, (statistics, metrics) = jax.grad(loss, has_aux=True)(
            state.parameters, state, x, batch["labels"], forward_key
        )
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        done = state.done + 1
        state = state._replace(parameters=parameters, statistics=statistics, optimizer=moments, done=done)
        return after(state, metrics)

    return step
