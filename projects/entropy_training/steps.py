"""One step of entropy-constrained training, and the schedules that it follows.

The loss is J = cross entropy + alpha ln 2 / N_train * bits, in nats an example: alpha = 1 is the description length.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.training import augmentation
from kernels.entropy import LN2
from projects.entropy_training import model
from projects.entropy_training.config import TrainConfig


class State(NamedTuple):
    """What a step changes.

    Attributes:
      parameters: latent weights, centroids, biases, norms.
      statistics: running means and variances of batch normalisation.
      optimizer: Adam's moments.
      key: of all random numbers but the order of the images; never changes, a step folds its number in.
      alpha: weight of the rate when warm; moves under a rate target only.
      done: finished steps, int32.
    """

    parameters: Any
    statistics: Any
    optimizer: Any
    key: jax.Array
    alpha: jax.Array
    done: jax.Array


class Plan(NamedTuple):
    """Steps of an epoch, all steps, and the number of training images."""

    epoch: int
    total: int
    images: int


def make_plan(settings: TrainConfig, images: int) -> Plan:
    """Returns the plan of a training on so many images.

    Raises:
      ValueError: a batch is larger than the training set.
    """
    epoch = images // settings.batch_size
    if epoch == 0:
        raise ValueError(f"--batch_size={settings.batch_size} with {images} training images: give at most that")
    return Plan(epoch, settings.epochs * epoch, images)


def initial_state(settings: TrainConfig, network: nnx.Module, plan: Plan) -> tuple[Any, State]:
    """Returns the graph of `network`, which never changes, and the state before the first step."""
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    key = jax.random.key(settings.seed, impl="rbg")  # normal numbers in half the time of the default on a CPU
    alpha = 0.0 if settings.target_bytes is not None else settings.alpha
    optimizer = make_optimizer(settings, plan)
    state = State(parameters, statistics, optimizer.init(parameters), key, jnp.float32(alpha), jnp.int32(0))
    return graph, state


def make_optimizer(settings: TrainConfig, plan: Plan) -> optax.GradientTransformation:
    """Returns Adam, without weight decay (it would fight the grid), slower for centroids, and 0 for the zero."""
    hold = int(settings.decay_start * plan.total)
    rate = optax.linear_schedule(settings.learning_rate, 0.0, max(plan.total - hold, 1), hold)

    def scaled(updates, _):
        def change(path, update):
            if "centroids" not in jax.tree_util.keystr(path):
                return update
            return (settings.centroid_rate * update).at[update.shape[0] // 2].set(0.0)

        return jax.tree_util.tree_map_with_path(change, updates)

    return optax.chain(optax.adam(rate), optax.stateless(scaled))


def sharpness_at(settings: TrainConfig, plan: Plan, done: jax.Array | int) -> jax.Array:
    """Returns beta d^2 / 2 at a step: a geometric rise."""
    start, end = settings.sharpness
    first, last = settings.sharpening
    progress = jnp.clip((done / plan.total - first) / (last - first), 0.0, 1.0)
    return start * (end / start) ** progress


def softening(settings: TrainConfig) -> model.Softening:
    """Returns how the labels of a training are softened."""
    return model.Softening(
        settings.parametrisation,
        settings.rate,
        settings.sparsity_prior,
        settings.table_points,
        settings.linear_noise,
        settings.convolution_noise,
    )


def make_step(settings: TrainConfig, graph, plan: Plan, preprocess: Callable) -> Callable:
    """Returns the training step `(state, {"images", "labels"}) -> (state, metrics)`; `preprocess`: uint8 to inputs."""
    optimizer, how = make_optimizer(settings, plan), softening(settings)

    def loss_function(parameters, statistics, images, labels, key, sharpness, alpha):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        bits = sum(model.soften(network, how, sharpness, key).values())
        logits = network(images)
        model.harden(network)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        _, _, statistics = nnx.split(network, nnx.Param, ...)
        metrics = {"cross_entropy": cross_entropy, "relaxed_accuracy": hits, "relaxed_bits": bits}
        return cross_entropy + alpha * LN2 / plan.images * bits, (statistics, metrics)

    def step(state: State, batch):
        shift_key, noise_key = jax.random.split(jax.random.fold_in(state.key, state.done))
        images = preprocess(augmentation.augment(shift_key, batch["images"], settings.shift, settings.flip))
        sharpness = sharpness_at(settings, plan, state.done)
        warmth = jnp.clip(state.done / max(settings.alpha_warmup * plan.epoch, 1), 0.0, 1.0)
        alpha = state.alpha * (1.0 if settings.target_bytes is not None else warmth)
        (_, (statistics, metrics)), gradient = jax.value_and_grad(loss_function, has_aux=True)(
            state.parameters, state.statistics, images, batch["labels"], noise_key, sharpness, alpha
        )
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        following = state.alpha
        if settings.target_bytes is not None:
            excess = metrics["relaxed_bits"] / (8 * settings.target_bytes) - 1
            following = jnp.maximum(0.0, state.alpha + settings.ascent_rate * jnp.minimum(excess, 1.0))
        metrics |= {"alpha": alpha, "sharpness": sharpness}
        return State(parameters, statistics, moments, state.key, following, state.done + 1), metrics

    return step
