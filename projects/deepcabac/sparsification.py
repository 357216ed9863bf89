"""A training that makes a network sparse: its schedules, and what it adds to the common step.

It has two parts: the epochs that sparsify, and `fine_tune_epochs` in which the pruned weights stay zero and the others
train on without noise and without the KL term.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.training import augmentation, optimizers, pruning
from common.training import step as common_step
from common.training.step import Merge, State
from projects.deepcabac import variational_dropout
from projects.deepcabac.config import TrainConfig


class Plan(NamedTuple):
    """Steps of an epoch, steps before fine-tuning, all steps; and the number of training images."""

    epoch: int
    sparsify: int
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
    return Plan(epoch, (settings.epochs - settings.fine_tune_epochs) * epoch, settings.epochs * epoch, images)


def initial_state(settings: TrainConfig, network: nnx.Module, plan: Plan) -> tuple[Merge, State]:
    """Returns how to make a network of parameters, and the state before the first step.

    Its `extra` are masks: layer name -> 1 for a weight that stays, 0 for one that is gone; empty where nothing is ever
    masked.
    """
    is_masked = settings.method == "magnitude" or (settings.method == "sparse_vd" and settings.fine_tune_epochs > 0)
    masks = jax.tree.map(jnp.ones_like, variational_dropout.kernels(network)) if is_masked else {}
    return common_step.initial_state(network, make_optimizer(settings, plan), settings.seed, masks)


def make_optimizer(settings: TrainConfig, plan: Plan) -> optax.GradientTransformation:
    """Returns Adam with a learning rate that is constant, falls linearly to 0, and does so again for fine-tuning."""
    rate = optimizers.schedule(plan.sparsify, settings.learning_rate, decay_start=settings.decay_start)
    if settings.fine_tune_epochs:
        again = optax.linear_schedule(settings.fine_tune_rate, 0.0, plan.total - plan.sparsify)
        rate = optax.join_schedules([rate, again], [plan.sparsify])

    def scale(path, update):
        return update * settings.variance_rate if "log_variance" in jax.tree_util.keystr(path) else update

    return optax.chain(
        optax.adamw(rate, weight_decay=settings.weight_decay, mask=optimizers.kernels),
        optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates)),
    )


def make_step(settings: TrainConfig, merge: Merge, plan: Plan, preprocess: Callable) -> Callable:
    """Returns the training step `(state, {"images", "labels"}) -> (state, metrics)`; `preprocess`: uint8 to inputs."""
    is_variational = settings.method == "sparse_vd"

    def forward(network, x, key, state):
        kl = jnp.float32(0.0)
        is_sparsifying = state.done < plan.sparsify
        warmth = jnp.clip((state.done / plan.epoch - settings.kl_start) / settings.kl_warmup, 0.0, 1.0)
        kl_weight = jnp.where(is_sparsifying, settings.kl_weight * warmth, 0.0)
        if is_variational:
            variational_dropout.set_noise(network, key, is_sparsifying)
            kl = variational_dropout.network_kl(network)
        pruning.apply_masks(network, state.extra)
        logits = network(x)
        variational_dropout.set_noise(network, None)
        metrics = {"kl_nats": kl, "kl_weight": kl_weight} if is_variational else {}
        return logits, kl_weight * kl / plan.images, metrics

    return common_step.make_step(
        merge,
        make_optimizer(settings, plan),
        augmentation.inputs_of(preprocess, settings.shift, settings.flip),
        forward=forward,
        random=True,
        before=lambda state: state._replace(extra=update_masks(settings, merge, state, plan)),
    )


def update_masks(settings: TrainConfig, merge: Merge, state: State, plan: Plan) -> dict[str, jax.Array]:
    """Returns the masks for the coming step.

    Magnitude pruning chooses them anew every `pruning_interval` steps between `pruning_start` and `pruning_end`, sparse
    variational dropout once, where fine-tuning begins.
    """
    masks = state.extra
    if not masks:
        return masks
    network = merge(state.parameters, state.statistics)
    if settings.method == "magnitude":
        schedule = pruning.Schedule(
            settings.density, settings.pruning_start, settings.pruning_end, settings.pruning_interval
        )
        return pruning.update_masks(masks, variational_dropout.kernels(network), schedule, state.done, plan.sparsify)
    fresh = functools.partial(variational_dropout.posterior_masks, network, settings.log_alpha_threshold)
    return jax.lax.cond(state.done == plan.sparsify, fresh, lambda: masks)


def sparse_network(settings: TrainConfig, merge: Merge, state: State, plan: Plan) -> nnx.Module:
    """Returns the network of a state with the weights that are pruned, or would be if the training ended, at zero."""
    network, masks = merge(state.parameters, state.statistics), state.extra
    if settings.method == "sparse_vd" and (not masks or int(state.done) <= plan.sparsify):
        masks = variational_dropout.posterior_masks(network, settings.log_alpha_threshold)
    pruning.apply_masks(network, masks)
    return network
