"""An alpha that adapts: every image chooses from a grid by the successes of its own queries, as a bandit.

Upper confidence bounds (Auer, Cesa-Bianchi, Fischer, Machine Learning 47, 2002) with old queries forgotten: what pays
changes as an image comes near. An alpha stays for a block of steps; that of the next block is chosen a block ahead, so
that the noise of coming queries is known before they are answered.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from ..array_types import AnyArray, Array, Bool, Float, Int32

BLOCK = 32  # steps with one alpha
MEMORY = 0.99  # weight of the past, after every block
WIDTH = 0.25  # of the confidence bounds


class Learner(NamedTuple):
    """What each image has learnt.

    Attributes:
      arms: int32 [batch, 2], places in the grid of the alphas of this block and of the next.
      wins, plays: [batch, alphas], queries that came nearer, and all queries; old ones count less.
    """

    arms: Int32[Array, "batch 2"]
    wins: Float[Array, "batch alphas"]
    plays: Float[Array, "batch alphas"]


def initial(batch: int, alphas: int, dtype: DTypeLike) -> Learner:
    """Returns the learners of images that have not walked, the first two alphas first. 0 alphas: nothing to learn."""
    first = jnp.arange(2, dtype=jnp.int32) % max(alphas, 1)
    return Learner(jnp.tile(first, (batch, 1)), jnp.zeros((batch, alphas), dtype), jnp.zeros((batch, alphas), dtype))


def coming_alphas(
    learner: Learner, grid: Float[AnyArray, " alphas"], step: Int32[Array, " batch"], steps: Int32[Array, "count batch"]
) -> Float[Array, "count batch"]:
    """Returns the alphas of coming steps [count, batch], of this block or the next.

    Args:
      learner: of the images.
      grid: [alphas].
      step: int32 [batch], where the images are.
      steps: int32 [count, batch], at most BLOCK further.
    """
    is_next = steps // BLOCK > step // BLOCK
    return grid[jnp.where(is_next, learner.arms[:, 1], learner.arms[:, 0])]


def update(
    learner: Learner, is_better: Bool[Array, " batch"], ends_step: Bool[Array, " batch"], step: Int32[Array, " batch"]
) -> Learner:
    """Returns the learners after a query.

    Args:
      learner: before it.
      is_better: bool [batch], whether it came nearer.
      ends_step: bool [batch], whether it was the last of its step.
      step: int32 [batch], the step that it belongs to.
    """
    alphas = learner.wins.shape[1]
    if alphas == 0:
        return learner
    here = (jnp.arange(alphas) == learner.arms[:, :1]).astype(learner.wins.dtype)
    wins, plays = learner.wins + here * is_better[:, None], learner.plays + here
    ends_block = (ends_step & ((step + 1) % BLOCK == 0))[:, None]
    memory = jnp.where(ends_block, MEMORY, 1).astype(wins.dtype)
    wins, plays = wins * memory, plays * memory
    following = jnp.stack([learner.arms[:, 1], highest_bound(wins, plays, learner.arms[:, 1])], 1)
    return Learner(jnp.where(ends_block, following, learner.arms), wins, plays)


def highest_bound(
    wins: Float[Array, "batch alphas"], plays: Float[Array, "batch alphas"], coming: Int32[Array, " batch"]
) -> Int32[Array, " batch"]:
    """Returns the place [batch] of the alpha with the highest bound; untried ones first.

    Args:
      wins, plays: [batch, alphas].
      coming: int32 [batch], which alpha the block in between has; it counts as tried.
    """
    is_tried = (plays > 0) | (jnp.arange(plays.shape[1]) == coming[:, None])
    size = jnp.maximum(plays, 1)
    total = jnp.maximum(jnp.sum(plays, 1, keepdims=True), 2)
    bound = wins / size + WIDTH * jnp.sqrt(jnp.log(total) / size)
    return jnp.argmax(jnp.where(is_tried, bound, jnp.inf), 1).astype(jnp.int32)
