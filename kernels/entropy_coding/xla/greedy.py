"""The greedy decision of core/greedy.py as a loop over weights, all tensors of a batch beside each other."""

import jax
import jax.numpy as jnp

from ...array_types import Array, Float, Int32
from ..core.constants import COST_UNIT
from .contexts import Lanes, bins_of, class_of, like, moved, prices, rounded, rows_of, starts


def decide(
    w: Float[Array, "n batch"],
    step: Float[Array, " batch"],
    importance: Float[Array, "#n batch"],
    rate_weight: Float[Array, " batch"],
    presets: Int32[Array, "lanes batch"],
    lanes: Lanes,
) -> Int32[Array, "n batch"]:
    """The levels.

    Args:
      w: weights in coding order.
      step, rate_weight: of each tensor, in the dtype of all arithmetic.
      importance: F, of each weight or of all.
      presets: of the lanes.
      lanes: no level needs more.
    """
    unit = rate_weight * COST_UNIT
    state, shifts = starts(lanes, presets)

    def body(carry, row):
        state, neighbour = carry
        weight = row.get("weight", importance[0])
        level, magnitude, negative = _decision(row["value"], weight, state, neighbour)
        state = moved(state, shifts, *bins_of(lanes, neighbour, neighbour, magnitude, negative))
        return (state, class_of(magnitude, negative)), level

    def _decision(value, weight, state, neighbour):
        scaled = value.astype(step.dtype) / step
        size, negative = jnp.abs(scaled), scaled < 0
        whole = jnp.floor(size)
        nearest = whole + (size - whole >= 0.5)
        level, error = nearest.astype(jnp.int32), size - nearest
        zero, nonzero, lower, upper = prices(lanes, state, neighbour, neighbour, level - 1, negative)
        lowest, best = rounded(weight * size * size) + rounded(unit * zero), jnp.zeros_like(level)
        for magnitude, distance, price in ((level - 1, error + 1, lower), (level, error, upper)):
            total = rounded(weight * distance * distance) + rounded(unit * (nonzero + price))
            is_better = (magnitude > 0) & (total < lowest)
            lowest, best = jnp.where(is_better, total, lowest), jnp.where(is_better, magnitude, best)
        return jnp.where(negative, -best, best), best, negative

    nothing = like(w[0], state[0].shape)
    start = (state[0] + nothing, state[1] + nothing), like(w[0], w.shape[1:])
    return jax.lax.scan(body, start, rows_of(w, importance))[1]
