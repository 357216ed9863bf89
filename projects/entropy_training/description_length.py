"""The description length as a loss, J = cross entropy + alpha ln 2 / N * bits in nats an example of N, and its step.

alpha = 1 is the literal description length. It rises from 0 over the first epochs, or moves so that a size is reached;
labels get sharper meanwhile.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.models import zoo
from common.training import augmentation, optimizers, step
from kernels.soft_entropy import LN2
from projects.entropy_training import relaxation
from projects.entropy_training.config import TrainConfig


def prepare(settings: TrainConfig, network: zoo.Network, coded: nnx.Module) -> tuple[step.Merge, Callable, step.State]:
    """Returns `merge(parameters, statistics)`, the training step, and the state before the first.

    The state's `extra` is the weight of the rate when warm; it moves under a rate target only.

    Args:
      settings: of the training.
      network: the plain one, whose training images are passed over.
      coded: the same with coded layers.
    """
    images = len(network.train.images)
    epoch = images // settings.batch_size
    steps = settings.epochs * epoch
    target = settings.target_bytes
    optimizer = make_optimizer(settings, steps)
    alpha = jnp.float32(settings.alpha if target is None else 0.0)
    merge, state = step.initial_state(coded, optimizer, settings.seed, alpha)

    def forward(coded: nnx.Module, inputs: jax.Array, key: jax.Array, state: step.State):
        sharpness = sharpness_at(settings, state.done / max(steps, 1))
        warmth = jnp.clip(state.done / max(settings.alpha_warmup * epoch, 1), 0.0, 1.0)
        alpha = state.extra * (warmth if target is None else 1.0)
        bits = sum(relaxation.soften(coded, settings, sharpness, key).values())
        logits = coded(inputs)
        relaxation.make_plain(coded)
        metrics = {"relaxed_bits": bits, "alpha": alpha, "sharpness": sharpness}
        return logits, alpha * LN2 / images * bits, metrics

    def ascend(state: step.State, metrics: step.Metrics):
        excess = metrics["relaxed_bits"] / (8 * target) - 1
        alpha = jnp.maximum(0.0, state.extra + settings.ascent_rate * jnp.minimum(excess, 1.0))
        return state._replace(extra=alpha), metrics

    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)
    options = {} if target is None else {"after": ascend}
    advance = step.make_step(merge, optimizer, inputs, forward=forward, random=True, **options)
    return merge, advance, state


def make_optimizer(settings: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Returns Adam, without weight decay (it would fight the grid), slower for centroids, and 0 for the zero."""
    rate = optimizers.schedule(steps, settings.learning_rate, decay_start=settings.decay_start)

    def scaled(updates, _):
        def change(path, update):
            if "centroids" not in jax.tree_util.keystr(path):
                return update
            return (settings.centroid_rate * update).at[update.shape[0] // 2].set(0.0)

        return jax.tree_util.tree_map_with_path(change, updates)

    return optax.chain(optax.adam(rate), optax.stateless(scaled))


def sharpness_at(settings: TrainConfig, progress: jax.Array | float) -> jax.Array:
    """Returns beta d^2 / 2 at a share of the steps, 0 to 1: a geometric rise."""
    start, end = settings.sharpness
    first, last = settings.sharpening
    rise = jnp.clip((progress - first) / (last - first), 0.0, 1.0)
    return start * (end / start) ** rise
