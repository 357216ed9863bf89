"""Multipliers through `jax.lax.scan`: the loop at two points, then backwards step by step; see `multipliers`.

The carries before each step are kept, at both points, and a step is computed again on the way back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..precision import widened
from ..tracing.jaxpr import Equation, Graph


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """A scan at two points.

    Attributes:
        graph: of a step, whose inputs are constants, carries and slices. differs: which of these can differ.
        constants, carries, slices: pairs of lists, at x and at the baseline; the carries before each step, stacked.
        reverse, length: of the scan.
        run: as `multipliers.run` with the choice of shifts made.
    """

    graph: Graph
    differs: list[bool]
    constants: tuple[list, list]
    carries: tuple[list, list]
    slices: tuple[list, list]
    reverse: bool
    length: int
    run: Callable


def run_scan(equation: Equation, here: Sequence, there: Sequence, differs: Sequence[bool], run: Callable):
    """Returns (pairs of results, which of them differ, the `Loop`).

    Args:
        here, there: operands of the scan at both points; differs: which of them differ.
        run: of (graph, here, there, differs), the graph at both points.
    """
    (graph,), params = equation.bodies, equation.params
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    here, there = ([widened(jnp.asarray(array)) for array in side] for side in (here, there))
    flags = _settled(graph, here, there, list(differs), first, last, run)
    constants, slices = (here[:first], there[:first]), (here[last:], there[last:])

    def step(carries, slices):
        result = run(graph, *_joined(constants, carries, slices), flags)
        ends = [[side.get(v, result.here[v]) for v in graph.outputs] for side in (result.here, result.there)]
        after = tuple([jnp.asarray(a, b.dtype) for a, b in zip(end, old, strict=False)] for end, old in zip(
            ends, carries, strict=True))  # fmt: skip
        return after, (carries, tuple(end[last - first :] for end in ends))

    start = (here[first:last], there[first:last])
    after, (before, stacked) = jax.lax.scan(step, start, slices, length=params["length"], reverse=params["reverse"])
    results = list(zip(*((*a, *s) for a, s in zip(after, stacked, strict=True)), strict=True))
    varies = [*flags[first:last], *_varying(graph, here, there, flags, first, last, run)[last - first :]]
    loop = Loop(graph, flags, constants, before, slices, params["reverse"], params["length"], run)
    return results, varies, loop


def through_scan(loop: Loop, received: Sequence, multipliers: Callable, zeros: Callable) -> list:
    """Returns the multipliers of the operands of a scan, None for those that do not differ.

    Args:
        received: multipliers of its results. multipliers: as `multipliers.multipliers`. zeros: of an array, none.
    """
    first, last = len(loop.constants[0]), len(loop.constants[0]) + len(loop.carries[0])
    of_carries, of_slices = loop.differs[first:last], loop.differs[last:]
    like = [carry[0] for carry in loop.carries[0]]
    start = [zeros(a) if m is None else m for a, m in zip(like, received[: last - first], strict=True)]
    stacked = list(received[last - first :])

    def step(state, taken):
        after, constants = state
        carries, slices, ms = taken
        result = loop.run(loop.graph, *_joined(loop.constants, carries, slices), loop.differs)
        parts = multipliers(result, [*(m if d else None for m, d in zip(after, of_carries, strict=True)), *ms])
        arrays = [result.here[value] for value in loop.graph.inputs]
        parts = [zeros(a) if m is None else m for m, a in zip(parts, arrays, strict=True)]
        constants = [old + m for old, m in zip(constants, parts[:first], strict=True)]
        return (parts[first:last], constants), [m for m, d in zip(parts[last:], of_slices, strict=True) if d]

    none = [zeros(array) for array in loop.constants[0]]
    (carries, constants), slices = jax.lax.scan(
        step, (start, none), (loop.carries, loop.slices, stacked), length=loop.length, reverse=not loop.reverse
    )
    rest = iter(slices)
    parts: list[Any] = [*constants, *carries, *(next(rest) if d else None for d in of_slices)]
    return [m if d else None for m, d in zip(parts, loop.differs, strict=True)]


def _joined(constants, carries, slices) -> list[list]:
    """Inputs of a step, at both points."""
    return [[*c, *b, *s] for c, b, s in zip(constants, carries, slices, strict=True)]


def _settled(graph, here, there, flags: list[bool], first: int, last: int, run: Callable) -> list[bool]:
    """Which inputs of a step differ in some step: a carry does if it does after one."""
    while True:
        after = _varying(graph, here, there, flags, first, last, run)[: last - first]
        now = [*flags[:first], *(a or b for a, b in zip(flags[first:last], after, strict=True)), *flags[last:]]
        if now == flags:
            return flags
        flags = now


def _varying(graph, here, there, flags: Sequence[bool], first: int, last: int, run: Callable) -> list[bool]:
    """Which results of a step differ; nothing is computed."""
    varies: list[bool] = []

    def step(here, there):
        result = run(graph, here, there, flags)
        varies.extend(result.varies(value) for value in graph.outputs)

    def one(arrays):
        return [array if place < last else array[0] for place, array in enumerate(arrays)]

    jax.eval_shape(lambda here, there: step(one(here), one(there)), list(here), list(there))
    return varies
