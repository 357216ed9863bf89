"""Relevance through loops and choices: a scan backwards step by step, and the branch that was taken.

A step of the way back knows the carries before its step of the loop, computes that step again and takes relevance of
the carries and the stacked results through it by the rules of the operations inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .places import Watched
from .precision import widened
from .propagation import Kept, Shares
from .tracing.jaxpr import Value, as_like
from .tracing.loops import Sides, run_graph
from .tracing.operations import Operation, Program

# (program, values, relevance, steps of the report, numbers of the loops' steps) to all relevance
Back = Callable[[Program, Mapping, dict, list | None, tuple], dict]
Inside = dict[Value, jax.Array]


def through_bodies(
    operation: Operation,
    received: Sequence[jax.Array],
    values: Mapping[Value, Any],
    back: Back,
    store: Kept | None,
    watched: Watched,
    numbers: tuple,
) -> tuple[Shares, Inside]:
    """Returns the relevance of the operands of a loop or a choice, and that of the values inside that are watched.

    `store` gets what was kept inside; `numbers` are those of the steps of the loops around it.
    """
    equation = operation.equations[-1]
    through = _through_scan if equation.primitive == "scan" else _through_branches
    parts, kept, inside = through(operation, received, values, back, store is not None, watched, numbers)
    if store is not None:
        store.bias, store.epsilon = kept
    shares: dict[Value, jax.Array] = {}
    for value, part in parts:
        if value.active:
            shares[value] = shares[value] + part if value in shares else part
    return list(shares.items()), inside


def _seen(watched: Mapping[Value, tuple[int, ...]], relevance: Mapping, like: jax.Array) -> Inside:
    """The relevance of values that are watched; zeros where they have none."""
    result = {}
    for value, shape in watched.items():
        dtype = widened(jnp.zeros((), value.dtype)).dtype
        part = relevance[value] if value in relevance else as_like(jnp.zeros(shape, dtype), like)
        result[value] = part.astype(dtype)
    return result


def _through_scan(operation, received, values, back: Back, is_reported: bool, watched: Watched, numbers: tuple):
    (program,), equation = operation.bodies, operation.equations[-1]
    inputs, outputs = (Sides.operands(equation, program.graph.inputs), Sides.results(equation, program.graph.outputs))
    operands = Sides.operands(equation, [values[value] for value in equation.inputs])
    before = tuple(values[value] for value in equation.carries)
    results, length = Sides.results(equation, received), equation.params["length"]

    def zeros(value, like):
        return as_like(jnp.zeros(value.shape, widened(jnp.zeros((), value.dtype)).dtype), like)

    def step(state, slices):
        after, constants = state
        carries, now, of_slices, number = slices
        local = run_graph(program.graph, (*operands.constants, *carries, *now))
        start: dict[Value, jax.Array] = {}
        arrays = (*after, *of_slices)
        for value, part in zip(
            (*_active(outputs.carries, inputs.carries), *_active(outputs.slices)), arrays, strict=True
        ):
            if value.active:
                start[value] = start[value] + part if value in start else part
        steps: list | None = [] if is_reported else None
        relevance = back(program, local, start, steps, (*numbers, number))

        def of(value):
            return relevance[value] if value in relevance else zeros(value, received[0])

        state = [of(value) for value in _active(inputs.carries)]
        constants = [old + of(v) for old, v in zip(constants, _active(inputs.constants), strict=True)]
        inside = _seen(watched.get(program, {}), relevance, received[0])
        return (state, constants), (
            [of(value) for value in _active(inputs.slices)],
            _kept(steps),
            list(inside.values()),
        )

    last = [part for value, part in zip(inputs.carries, results.carries, strict=True) if value.active]
    stacked = [part for value, part in zip(outputs.slices, results.slices, strict=True) if value.active]
    start = (last, [zeros(value, received[0]) for value in _active(inputs.constants)])
    steps_of = jnp.arange(length)
    (carries, constants), (slices, kept, inside) = jax.lax.scan(
        step, start, (before, operands.slices, stacked, steps_of), length=length, reverse=not equation.params["reverse"]
    )
    outer = Sides.operands(equation, equation.inputs)
    pairs: list[tuple[Value, jax.Array]] = []
    for mine, theirs, parts in (
        (outer.constants, inputs.constants, constants), (outer.carries, inputs.carries, carries),
        (outer.slices, inputs.slices, slices),
    ):  # fmt: skip
        rest = iter(parts)
        pairs += [(value, next(rest)) for value, inner in zip(mine, theirs, strict=True) if inner.active]
    return pairs, jax.tree.map(jnp.sum, kept), dict(zip(watched.get(program, {}), inside, strict=True))


def _active(values: Sequence[Value], like: Sequence[Value] | None = None) -> list[Value]:
    """The values of which those beside them (by default they themselves) are active."""
    return [value for value, other in zip(values, like or values, strict=True) if other.active]


def _through_branches(operation, received, values, back: Back, is_reported: bool, watched: Watched, numbers: tuple):
    equation = operation.equations[-1]
    index, *operands = equation.inputs
    active = [position for position, value in enumerate(operands) if value.active]
    all_watched = {value: shape for body in operation.bodies for value, shape in watched.get(body, {}).items()}

    def branch(program: Program):
        def taken(arrays, received):
            local = run_graph(program.graph, arrays)
            start: dict[Value, jax.Array] = {}
            for value, part in zip(program.graph.outputs, received, strict=True):
                if value.active:
                    start[value] = start[value] + part if value in start else part
            steps: list | None = [] if is_reported else None
            relevance = back(program, local, start, steps, numbers)
            inputs = [program.graph.inputs[position] for position in active]
            dtypes = [widened(jnp.zeros((), value.dtype)).dtype for value in inputs]
            parts = [
                relevance[value].astype(dtype)
                if value in relevance
                else as_like(jnp.zeros(value.shape, dtype), received[0])
                for value, dtype in zip(inputs, dtypes, strict=True)
            ]
            return parts, _kept(steps), list(_seen(all_watched, relevance, received[0]).values())

        return taken

    branches = [branch(program) for program in operation.bodies]
    arrays = [values[value] for value in operands]
    parts, kept, inside = jax.lax.switch(values[index], branches, arrays, list(received))
    pairs = [(operands[position], part) for position, part in zip(active, parts, strict=True)]
    return pairs, kept, dict(zip(all_watched, inside, strict=True))


def _kept(steps: Sequence | None) -> tuple[jax.Array, jax.Array]:
    """What biases and stabilisers kept in some steps, summed."""
    none = jnp.zeros(())
    bias, epsilon = (sum((jnp.asarray(one) for one in column), none) for column in (
        [step.kept.bias for step in steps or ()], [step.kept.epsilon for step in steps or ()]))  # fmt: skip
    return bias, epsilon
