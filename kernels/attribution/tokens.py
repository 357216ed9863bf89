"""Relevance of tokens: that of what was looked up by them, summed over features, moved to where each token stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .tracing.jaxpr import Equation, Graph, Value
from .tracing.primitives import LAYOUT


def relevance_of_tokens(
    graph: Graph, leaf: Value, values: Mapping[Value, Any], relevance: Mapping[Value, jax.Array]
) -> jax.Array | None:
    """Returns the relevance of an input of integers, of its shape; None where nothing is looked up by it.

    Args:
        values: of the graph. relevance: by value, see `backward`.
    """
    total = None
    for lookup in graph.lookups:
        received = relevance.get(lookup.outputs[0])
        moves = _moves(graph, leaf, lookup.inputs[1])
        if received is None or not moves:
            continue
        by_index = jnp.sum(received, axis=lookup.params["dimension_numbers"].offset_dims)

        def moved(tokens, moves=moves, lookup=lookup):
            return _moved(moves, leaf, tokens, values)[lookup.inputs[1]][..., 0]

        _, pull = jax.vjp(moved, jnp.zeros(leaf.shape, by_index.dtype))
        (part,) = pull(by_index)
        total = part if total is None else total + part
    return total


def _moves(graph: Graph, leaf: Value, index: Value) -> list[Equation]:
    """The equations that make an index of tokens, in order; [] where it is not made of these."""
    sources, moves = {index}, []
    for equation in reversed(graph.equations):
        if any(output in sources for output in equation.outputs):
            tokens = [value for value in equation.inputs if value.tokens]
            if tokens:
                sources.update(tokens)
                moves.append(equation)
    return moves[::-1] if leaf in sources else []


def _moved(moves, leaf: Value, tokens: jax.Array, values: Mapping[Value, Any]) -> dict[Value, jax.Array]:
    """What moves do to an array in the place of tokens; shifts of theirs do nothing, what is no token is zero."""
    local = {leaf: tokens}
    for equation in moves:
        operands = [
            local[value] if value in local
            else jnp.zeros(value.shape, tokens.dtype) if _holds_integers(equation, value)
            else values[value]
            for value in equation.inputs
        ]  # fmt: skip
        if equation.primitive == "convert_element_type" or equation.primitive not in LAYOUT:
            (operand, *_) = [array for array, value in zip(operands, equation.inputs, strict=True) if value in local]
            results = [jnp.broadcast_to(operand, output.shape) for output in equation.outputs]
        else:
            results = equation.apply(*operands)
        local.update(zip(equation.outputs, results, strict=True))
    return local


def _holds_integers(equation: Equation, value: Value) -> bool:
    """Whether an operand is of the kind of the results, not an index or a choice."""
    return value.dtype == equation.outputs[0].dtype and not (
        equation.primitive in ("dynamic_slice", "gather", "dynamic_update_slice", "scatter")
        and value is not equation.inputs[0]
    )
