"""Gradual magnitude pruning: which weights stay, when they are chosen anew, and a training that does it.

Zhu, Gupta, arXiv:1710.01878. Trees have one array for each weight kernel.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common import models
from common.models import zoo
from common.runs.run_directory import Run
from common.training import augmentation, classifier, step
from common.training.config import SupervisedConfig

TINY = 1e-8  # keeps the magnitudes of a layer of zeros finite
LEAST_SHARE = 1000  # one weight in so many stays in every layer, and one at the least


class Schedule(NamedTuple):
    """When weights are chosen. Attributes: density, share of the weights that stay in the end; start and end, shares of
    the training between which the density falls; interval, steps between two choices."""

    density: float
    start: float
    end: float
    interval: int


def scheduled_density(progress: jax.Array | float, start: float, end: float, final: float) -> jax.Array:
    """Returns the share of weights to keep: 1 until `start`, then falling by the cubic rule to `final` at `end`.

    Args:
      progress: share of the training that is done, 0 to 1; `start` and `end` on the same scale.
      start, end: between which it falls.
      final: share of weights that stay.
    """
    progressed = jnp.clip((progress - start) / max(end - start, 1e-9), 0.0, 1.0)
    return final + (1.0 - final) * (1.0 - progressed) ** 3


def magnitude_masks(kernels: Any, density: jax.Array | float) -> Any:
    """Returns a tree of float masks that keep the `density` share of all weights which is largest in magnitude.

    Magnitudes are taken relative to the root mean square of their layer, so that a layer of small weights is not
    emptied because of its scale. Weights as large as the smallest that stays stay as well. Each layer keeps its largest
    one in a thousand, and at least one: of equal magnitudes the first ones, so that no layer is emptied.
    """
    leaves, structure = jax.tree.flatten(kernels)
    relative = [jnp.abs(w) / (jnp.sqrt(jnp.mean(w * w)) + TINY) for w in leaves]
    magnitudes = jnp.sort(jnp.concatenate([r.ravel() for r in relative]))
    place = jnp.clip(jnp.round((1.0 - density) * magnitudes.size).astype(jnp.int32), 0, magnitudes.size - 1)
    masks = []
    for r in relative:
        flat = r.ravel()
        largest = jax.lax.top_k(flat, max(1, flat.size // LEAST_SHARE))[1]
        mask = (flat >= magnitudes[place]).at[largest].set(True)
        masks.append(mask.astype(r.dtype).reshape(r.shape))
    return jax.tree.unflatten(structure, masks)


def update_masks(masks: Any, kernels: Any, schedule: Schedule, done: jax.Array, steps: int) -> Any:
    """Returns the masks of the step after `done` finished ones of `steps`: chosen anew when it is time, else as before.

    Args:
      masks: of the step before, of the structure of `kernels`; ones at first.
      kernels: the weights now.
      schedule: when to choose, and how many.
      done, steps: finished steps, int32, and those of the whole training.
    """
    first, last = schedule.start * steps, schedule.end * steps
    is_time = (done % schedule.interval == 0) & (done >= first)
    is_time &= done < last + schedule.interval  # the last choice finds the final density

    def choose(masks, kernels):
        density = scheduled_density(done / steps, schedule.start, schedule.end, schedule.density)
        return magnitude_masks(kernels, density)

    return jax.lax.cond(is_time, choose, lambda masks, kernels: masks, masks, kernels)


def apply_masks(network: nnx.Module, masks: Mapping[str, jax.Array]) -> None:
    """Multiplies the kernel of each layer that `masks` names, as `models.weight_layers` does, by its mask."""
    for name, layer in models.weight_layers(network).items():
        if name in masks:
            layer.kernel[...] = layer.kernel[...] * masks[name]


def nonzero_share(tree: Any) -> float:
    """Returns the share of nonzero values over all arrays of a tree, 0 to 1 (0 for an empty tree)."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    size = sum(leaf.size for leaf in leaves)
    return float(sum(np.count_nonzero(leaf) for leaf in leaves) / size) if size else 0.0


def prune(
    settings: SupervisedConfig,
    run: Run,
    network: zoo.Network,
    weights: Mapping,
    schedule: Schedule,
    optimizer: optax.GradientTransformation,
) -> dict:
    """Returns weights that are pruned by magnitude while they train on.

    Args:
      settings: epochs, batch size, seed, shifts of the images.
      run: where checkpoints and metrics go.
      network: its module and training images.
      weights: tree to start from.
      schedule: how many weights stay, and when they are chosen.
      optimizer: of all parameters.
    """
    steps = settings.epochs * (len(network.train.images) // settings.batch_size)
    merge, state = step.initial_state(models.from_tree(network.module, weights), optimizer, settings.seed)

    def masked(state: step.State) -> nnx.Module:
        module = merge(state.parameters, state.statistics)
        apply_masks(module, state.extra)
        return module

    def kernels(state: step.State) -> dict[str, jax.Array]:
        return {name: layer.kernel[...] for name, layer in models.weight_layers(masked(state)).items()}

    def choose(state: step.State) -> step.State:
        return state._replace(extra=update_masks(state.extra, kernels(state), schedule, state.done, steps))

    def forward(module: nnx.Module, x: jax.Array, key: jax.Array | None, state: step.State):
        apply_masks(module, state.extra)
        share = sum(m.sum() for m in state.extra.values()) / sum(m.size for m in state.extra.values())
        return module(x), 0.0, {"nonzero": share}

    state = state._replace(extra=jax.tree.map(jnp.ones_like, kernels(state._replace(extra={}))))
    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)
    advance = step.make_step(merge, optimizer, inputs, forward=forward, before=choose)
    state = classifier.fit(settings, run, network, advance, state, description=f"prune to {schedule.density:.3g}")
    return models.to_tree(masked(state))
