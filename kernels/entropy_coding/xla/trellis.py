"""The trellis of core/trellis.py as a loop over weights, all tensors of a batch beside each other: Viterbi over eight
states, every survivor with its own contexts."""

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Bool, Float, Int32
from ..core.constants import COST_UNIT, STATE_TRANSITIONS
from .contexts import Lanes, bins_of, class_of, like, looked_up, moved, prices, rounded, rows_of, starts

# The two edges into each state, [edge, state]: the state of origin and the parity of the level.
_EDGES = np.array([[(s, p) for s in range(8) for p in (0, 1) if STATE_TRANSITIONS[s, p] == t] for t in range(8)])
_ORIGIN, _PARITY = _EDGES[:, :, 0].T, _EDGES[:, :, 1].T
_STATES = np.arange(8, dtype=np.int32)[:, None]
_ODD = (_STATES & 1).astype(bool)  # states that take odd grid integers


def nearest(
    w: Float[Array, "n batch"], step: Float[Array, " batch"], importance: Float[Array, "#n batch"]
) -> Int32[Array, "n batch"]:
    """The grid integers of the least squared error. Arguments as for `decide`."""

    def body(cost, row):
        size, weight = _size(row["value"], step), row.get("weight", importance[0])
        first = _first(size)
        errors = jnp.zeros((4, *size.shape), step.dtype)
        for k in range(4):
            distance = size - (first + k).astype(step.dtype)
            place = np.arange(4, dtype=np.int32)[:, None] == ((first + k) & 3)
            errors = jnp.where(place, rounded(weight * distance * distance), errors)
        zero = rounded(weight * size * size)
        even, odd = jnp.minimum(zero, errors[0]), jnp.minimum(zero, errors[3])
        is_zero = jnp.where(_ODD, zero <= errors[3], zero <= errors[0])
        edges = jnp.stack([jnp.where(_ODD, odd, even), jnp.where(_ODD, errors[1], errors[2])])
        cost, edge = _survivors(cost + edges)
        nonzero = ~(_of_edge(is_zero, edge) & (_of_edge_constant(_PARITY, edge) == 0))
        return _settled(cost), _packed(edge, nonzero)

    cost, decisions = jax.lax.scan(body, _first_cost(w, step.dtype), rows_of(w, importance))
    return _along_the_path(cost, decisions, w, step)["grid"]


def decide(
    w: Float[Array, "n batch"],
    step: Float[Array, " batch"],
    importance: Float[Array, "#n batch"],
    rate_weight: Float[Array, " batch"],
    presets: Int32[Array, "lanes batch"],
    lanes: Lanes,
    restarts: Bool[AnyArray, " n"] | None = None,
) -> dict[str, Int32[Array, "n batch"]]:
    """The path of the least F (w / step - x)^2 + rate_weight * bits.

    Args:
      w, step, importance, rate_weight, presets, lanes: as for `greedy.decide`.
      restarts: where contexts and neighbour start anew; None: nowhere.

    Returns:
      grid, the grid integers; state, the one before each; magnitude, of the level.
    """
    unit = rate_weight * COST_UNIT
    start, shifts = starts(lanes, presets)

    def body(carry, row):
        state, neighbour, cost = carry
        if restarts is not None:
            state = tuple(jnp.where(row["restart"], x, y) for x, y in zip(start, state, strict=True))
            neighbour = jnp.where(row["restart"], 0, neighbour)
        negative, weight = row["value"] < 0, row.get("weight", importance[0])
        edges, levels = _edges(state, neighbour, _size(row["value"], step), weight, negative)
        cost, edge = _survivors(cost + edges)
        level = jnp.where(edge, _into(levels, 1), _into(levels, 0))
        origin = _of_edge_constant(_ORIGIN, edge)
        state = tuple(jnp.where(edge[:, None], x[_ORIGIN[1]], x[_ORIGIN[0]]) for x in state)
        near = _of_edge(neighbour, edge)
        touched, one = bins_of(lanes, 3 * origin + near, near, level, negative)
        state = moved(state, shifts, touched, one)
        return (state, class_of(level, negative), _settled(cost)), _packed(edge, level != 0)

    def _edges(state, neighbour, size, weight, negative):
        """Costs [parity, state, batch] of the best level of each parity, and the magnitudes of these levels."""
        first = _first(size)
        grid = jnp.where(_ODD, first | 1, first + (first & 1))  # the lower one of two candidates beside 0
        low = (grid + _ODD) >> 1
        distance = size - grid.astype(step.dtype)
        next_distance = distance - 2
        zero, nonzero, *more = prices(lanes, state, 3 * _STATES + neighbour, neighbour, low, negative[None])
        zero = rounded(weight * size * size) + rounded(unit * zero)
        low_cost, high_cost = (
            rounded(weight * error * error) + rounded(unit * (nonzero + price))
            for error, price in zip((distance, next_distance), more, strict=True)
        )
        is_odd = (low & 1) == 1
        odd, odd_level = jnp.where(is_odd, low_cost, high_cost), jnp.where(is_odd, low, low + 1)
        even, even_level = jnp.where(is_odd, high_cost, low_cost), jnp.where(is_odd, low + 1, low)
        is_zero = zero <= even
        even, even_level = jnp.where(is_zero, zero, even), jnp.where(is_zero, 0, even_level)
        return jnp.stack([even, odd]), jnp.stack([even_level, odd_level])

    rows = rows_of(w, importance) | ({} if restarts is None else {"restart": restarts})
    nothing = like(w[0], (8, *start[0].shape))
    first = (start[0] + nothing, start[1] + nothing), like(w[0], (8, *w.shape[1:])), _first_cost(w, step.dtype)
    (_, _, cost), decisions = jax.lax.scan(body, first, rows)
    return _along_the_path(cost, decisions, w, step)


def _size(value, step):
    return jnp.abs(value.astype(step.dtype) / step)


def _first(size):
    """The lowest of the four grid integers around a scaled magnitude that are candidates beside 0."""
    return jnp.maximum(jnp.floor(size).astype(jnp.int32) - 1, 1)


def _first_cost(w, dtype):
    return jnp.where(_STATES == 0, 0.0, jnp.inf).astype(dtype) + like(w[0], (8, *w.shape[1:])).astype(dtype)


def _settled(cost):
    """Costs for the next weight; in float32 less the least one, so that a long tensor's do not grow too large."""
    return cost - jnp.min(cost, axis=0) if cost.dtype == jnp.float32 else cost


def _survivors(costs):
    """Cost of the cheaper edge into each state [8, batch], whether it is the second; costs: [parity, state, batch]."""
    first, second = _into(costs, 0), _into(costs, 1)
    return jnp.minimum(first, second), second < first


def _into(values, edge: int):
    """Values [parity, state, batch] of one of the two edges into each state."""
    return values[_PARITY[edge], _ORIGIN[edge]]


def _of_edge(values, edge):
    """Values [state, batch] of the states that survivors come from."""
    return jnp.where(edge, values[_ORIGIN[1]], values[_ORIGIN[0]])


def _of_edge_constant(table, edge):
    """Entries of a table [edge, state] for the edges [state, batch] that survivors came by."""
    first, second = table.astype(np.int32)[:, :, None]
    return jnp.where(edge, second, first)


def _packed(edge, nonzero):
    """One int32 [batch] with two bits a state: the edge that a survivor came by, and whether its level is not 0."""
    bits = edge.astype(jnp.int32) | (nonzero.astype(jnp.int32) << 1)
    return jnp.sum(bits << (2 * _STATES), axis=0, dtype=jnp.int32).astype(jnp.uint16)


def _along_the_path(cost, decisions, w, step):
    """What the survivor of the least cost took, see `decide`."""

    def body(state, decision):
        bits = decision.astype(jnp.int32) >> (2 * state)
        place = 8 * (bits & 1) + state
        origin = looked_up(_ORIGIN, place)
        return origin, (origin, looked_up(_PARITY, place), bits & 2)

    last = jnp.argmin(cost, axis=0).astype(jnp.int32)
    _, (state, parity, nonzero) = jax.lax.scan(body, last, decisions, reverse=True)
    odd, first = state & 1, _first(_size(w, step))
    residue = jnp.where(odd == 1, jnp.where(parity == 1, 1, 3), 2 * parity)
    grid = jnp.where(nonzero > 0, first + ((residue - first) & 3), 0)
    return {"grid": jnp.where(w < 0, -grid, grid), "state": state, "magnitude": (grid + odd * (grid > 0)) >> 1}
