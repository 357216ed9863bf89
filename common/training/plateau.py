"""A learning rate that falls where the loss stalls, as a state inside of a compiled step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Plateau(NamedTuple):
    """Where the loss stalls the rate falls. Attributes: rate, best loss so far, steps since it."""

    rate: jax.Array
    best: jax.Array
    waited: jax.Array


def initial(rate: float) -> Plateau:
    """Returns the state before the first loss."""
    return Plateau(jnp.float32(rate), jnp.float32(jnp.inf), jnp.int32(0))


def following(plateau: Plateau, loss, factor: float, patience: float, threshold: float, least: float) -> Plateau:
    """Returns the state after a loss.

    Args:
      plateau: before it.
      loss: of a step, a scalar.
      factor: of the rate, when it falls.
      patience: so many steps without a better loss are borne.
      threshold: a loss is better if it is below the best by more than this share of it.
      least: rate.
    """
    loss = jnp.asarray(loss, plateau.best.dtype)  # float32 in 64-bit mode, too: a state keeps its types
    better = loss < plateau.best - threshold * jnp.abs(plateau.best) * jnp.isfinite(plateau.best)
    better = better | ~jnp.isfinite(plateau.best)
    waited = jnp.where(better, jnp.int32(0), plateau.waited + 1)
    lowered = waited > patience
    rate = jnp.where(lowered, jnp.maximum(plateau.rate * factor, least), plateau.rate)
    return Plateau(rate, jnp.where(better, loss, plateau.best), jnp.where(lowered, jnp.int32(0), waited))
