"""One step of a training that makes a network sparse, and the schedules that it follows.

A training has two parts: the epochs that sparsify, and `fine_tune_epochs` in which the pruned weights stay zero and the
others train on without noise and without the KL term.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.training import augmentation
from projects.deepcabac import model, sparsify
from projects.deepcabac.config import TrainConfig


class State(NamedTuple):
    """What a step changes.

    Attributes:
      parameters: weights, biases, and log variances with sparse variational dropout.
      statistics: running means and variances of batch normalisation.
      masks: layer name -> 1 for a weight that stays, 0 for one that is gone; empty where nothing is ever masked.
      optimizer: Adam's moments.
      key: of all random numbers but the order of the images; never changes, a step folds its number in.
      done: finished steps, int32.
    """

    parameters: Any
    statistics: Any
    masks: dict[str, jax.Array]
    optimizer: Any
    key: jax.Array
    done: jax.Array


class Plan(NamedTuple):
    """Steps of an epoch, steps before fine-tuning, all steps; and the number of training images."""

    epoch: int
    sparsify: int
    total: int
    images: int


def make_plan(config: TrainConfig, images: int) -> Plan:
    """Returns the plan of a training on so many images.

    Raises:
      ValueError: a batch is larger than the training set.
    """
    epoch = images // config.batch_size
    if epoch == 0:
        raise ValueError(f"--batch_size={config.batch_size} with {images} training images: give at most that")
    return Plan(epoch, (config.epochs - config.fine_tune_epochs) * epoch, config.epochs * epoch, images)


def initial_state(config: TrainConfig, network: nnx.Module, plan: Plan) -> tuple[Any, State]:
    """Returns the graph of `network`, which never changes, and the state before the first step."""
    graph, parameters, statistics = nnx.split(network, nnx.Param, ...)
    is_masked = config.method == "magnitude" or (config.method == "sparse_vd" and config.fine_tune_epochs > 0)
    masks = jax.tree.map(jnp.ones_like, model.kernels(network)) if is_masked else {}
    key = jax.random.key(config.seed, impl="rbg")  # draws normal numbers in half the time of the default on a CPU
    optimizer = make_optimizer(config, plan)
    return graph, State(parameters, statistics, masks, optimizer.init(parameters), key, jnp.int32(0))


def make_optimizer(config: TrainConfig, plan: Plan) -> optax.GradientTransformation:
    """Returns Adam with a learning rate that is constant, falls linearly to 0, and does so again for fine-tuning."""
    hold = int(config.decay_start * plan.sparsify)
    rate = optax.linear_schedule(config.learning_rate, 0.0, max(plan.sparsify - hold, 1), hold)
    if config.fine_tune_epochs:
        again = optax.linear_schedule(config.fine_tune_rate, 0.0, plan.total - plan.sparsify)
        rate = optax.join_schedules([rate, again], [plan.sparsify])
    decayed = functools.partial(_map_named, lambda name, _: "kernel" in name)
    scaled = functools.partial(_map_named, lambda name, u: u * config.variance_rate if "log_variance" in name else u)
    return optax.chain(
        optax.adamw(rate, weight_decay=config.weight_decay, mask=decayed),
        optax.stateless(lambda updates, parameters: scaled(updates)),
    )


def _map_named(function, tree):
    """Returns `tree` with `function(path as text, leaf)` in place of each leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(jax.tree_util.keystr(path), leaf), tree)


def make_step(config: TrainConfig, graph, plan: Plan, preprocess: Callable) -> Callable:
    """Returns the training step `(state, {"images", "labels"}) -> (state, metrics)`; `preprocess`: uint8 to inputs."""
    optimizer = make_optimizer(config, plan)

    def loss_function(parameters, statistics, masks, images, labels, key, kl_weight, noise_scale):
        network = nnx.merge(graph, parameters, statistics, copy=True)
        network.train()
        kl = jnp.float32(0.0)
        if config.method == "sparse_vd":
            model.set_noise(network, key, noise_scale)
            variances = model.log_variances(network)
            for name, kernel in model.kernels(network).items():
                kl += sparsify.kl_divergence(sparsify.log_alpha(kernel, variances[name]))
        model.apply_masks(network, masks)
        logits = network(images)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        model.set_noise(network, None)
        _, _, statistics = nnx.split(network, nnx.Param, ...)
        metrics = {"cross_entropy": cross_entropy, "train_accuracy": hits}
        if config.method == "sparse_vd":
            metrics |= {"kl_nats": kl, "kl_weight": kl_weight}
        return cross_entropy + kl_weight * kl / plan.images, (statistics, metrics)

    def step(state: State, batch):
        shift_key, noise_key = jax.random.split(jax.random.fold_in(state.key, state.done))
        images = preprocess(augmentation.augment(shift_key, batch["images"], config.shift, config.flip))
        is_sparsifying = state.done < plan.sparsify
        warmth = jnp.clip((state.done / plan.epoch - config.kl_start) / config.kl_warmup, 0.0, 1.0)
        kl_weight = jnp.where(is_sparsifying, config.kl_weight * warmth, 0.0)
        masks = update_masks(config, graph, state, plan)
        (_, (statistics, metrics)), gradient = jax.value_and_grad(loss_function, has_aux=True)(
            state.parameters, state.statistics, masks, images, batch["labels"], noise_key, kl_weight, is_sparsifying
        )
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        return State(parameters, statistics, masks, moments, state.key, state.done + 1), metrics

    return step


def update_masks(config: TrainConfig, graph, state: State, plan: Plan) -> dict[str, jax.Array]:
    """Returns the masks for the coming step.

    Magnitude pruning chooses them anew every `pruning_interval` steps between `pruning_start` and `pruning_end`, sparse
    variational dropout once, where fine-tuning begins.
    """
    if not state.masks:
        return state.masks

    def choose(state: State):
        network = nnx.merge(graph, state.parameters, state.statistics)
        if config.method == "sparse_vd":
            return posterior_masks(config, network)
        progress = state.done / plan.sparsify
        density = sparsify.scheduled_density(progress, config.pruning_start, config.pruning_end, config.density)
        return sparsify.magnitude_masks(model.kernels(network), density)

    if config.method == "sparse_vd":
        is_time = state.done == plan.sparsify
    else:
        first, last = (share * plan.sparsify for share in (config.pruning_start, config.pruning_end))
        is_time = (state.done % config.pruning_interval == 0) & (state.done >= first)
        is_time &= state.done < last + config.pruning_interval  # the last choice finds the final density
    return jax.lax.cond(is_time, choose, lambda state: state.masks, state)


def posterior_masks(config: TrainConfig, network: nnx.Module) -> dict[str, jax.Array]:
    """Returns layer name -> mask of the weights that are more than noise."""
    return sparsify.variational_masks(model.kernels(network), model.log_variances(network), config.log_alpha_threshold)


def sparse_network(config: TrainConfig, graph, state: State, plan: Plan) -> nnx.Module:
    """Returns the network of a state with the weights that are pruned, or would be if the training ended, at zero."""
    network = nnx.merge(graph, state.parameters, state.statistics)
    is_undecided = config.method == "sparse_vd" and (not state.masks or int(state.done) <= plan.sparsify)
    model.apply_masks(network, posterior_masks(config, network) if is_undecided else state.masks)
    return network
