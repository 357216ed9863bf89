"""Loops of a fixed number of steps and choices between branches: how they run, and what their results hang on.

`lax.scan` (`fori_loop` with fixed bounds and `lax.map` are scans) runs its step by the step's own graph, so that the
carries before each step can be kept for the way back. What a carry hangs on is the same in every step: the least that
holds before the first and after each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax

from .axes import BATCH, Part
from .dependence import (
    EXAMPLE,
    MIXED,
    PARAMETERS,
    SOURCES,
    VARYING,
    Dependence,
    follow,
    has_batch,
    merged,
    rule,
    varying,
)
from .jaxpr import Equation, Graph, Value


@dataclasses.dataclass(frozen=True)
class Sides:
    """The operands or the results of a scan, by what they are there for."""

    constants: tuple
    carries: tuple
    slices: tuple

    @classmethod
    def operands(cls, equation: Equation, items: Sequence) -> Sides:
        """Takes operands, or inputs of the step, apart."""
        first, second = equation.params["num_consts"], equation.params["num_carry"]
        return cls(tuple(items[:first]), tuple(items[first : first + second]), tuple(items[first + second :]))

    @classmethod
    def results(cls, equation: Equation, items: Sequence) -> Sides:
        """Takes results, or outputs of the step, apart."""
        count = equation.params["num_carry"]
        return cls((), tuple(items[:count]), tuple(items[count:]))


def run_graph(graph: Graph, arrays: Sequence, values: Mapping | None = None) -> dict[Value, object]:
    """Returns every value of a graph for these inputs; loops on the way leave their carries too."""
    values = {**graph.constants, **(values or {}), **dict(zip(graph.inputs, arrays, strict=True))}
    for equation in graph.equations:
        operands = [values[value] for value in equation.inputs]
        results: Sequence
        if equation.carries:
            results, carries = run_scan(equation, operands)
            values.update(zip(equation.carries, carries, strict=True))
        else:
            results = equation.apply(*operands)
        values.update(zip(equation.outputs, results, strict=True))
    return values


def keep_carries(equation: Equation) -> None:
    """Makes a scan leave the carries before each step."""
    length = equation.params["length"]
    carries = Sides.operands(equation, equation.bodies[0].inputs).carries
    equation.carries = tuple(Value((length, *value.shape), value.dtype) for value in carries)


def run_scan(equation: Equation, operands: Sequence) -> tuple[list, tuple]:
    """Returns the results of a scan, and its carries before each step, stacked."""
    graph, sides = equation.bodies[0], Sides.operands(equation, operands)

    def step(carries, slices):
        values = run_graph(graph, (*sides.constants, *carries, *slices))
        results = Sides.results(equation, [values[output] for output in graph.outputs])
        return results.carries, (results.slices, carries)

    carries, (slices, before) = jax.lax.scan(
        step, sides.carries, sides.slices, length=equation.params["length"], reverse=equation.params["reverse"]
    )
    return [*carries, *slices], before


@rule("scan")
def _scan(equation: Equation, operands: Sequence[Dependence]):
    return results_of(equation, operands)[1]


@rule("cond")
def _cond(equation: Equation, operands: Sequence[Dependence]):
    index, *rest = operands
    columns = []
    for graph in equation.bodies:
        inner = followed(graph, rest)
        columns.append([inner[output] for output in graph.outputs])
    results = [_joined(column) for column in zip(*columns, strict=True)]
    if index.source != PARAMETERS:  # which branch it is hangs on examples, on all of them
        results = [Dependence(MIXED, varying(output.shape)) for output in equation.outputs]
    return results or None


def followed(graph: Graph, operands: Sequence[Dependence]) -> dict[Value, Dependence]:
    """Returns the dependence of every value of a graph."""
    dependence = {value: Dependence(PARAMETERS, varying(value.shape)) for value in graph.constants}
    dependence.update(zip(graph.inputs, operands, strict=True))
    for equation in graph.equations:
        results = follow(equation, [dependence[value] for value in equation.inputs])
        dependence.update(zip(equation.outputs, results, strict=True))
    return dependence


def results_of(equation: Equation, operands: Sequence[Dependence]) -> tuple[list[Dependence], list[Dependence]]:
    """Returns the dependences of the inputs of a scan's step, and of the scan's results."""
    graph, sides = equation.bodies[0], Sides.operands(equation, operands)
    over_examples = any(has_batch(one.axes[0]) for one in sides.slices)  # a step has one example, as in `lax.map`
    slices = [Dependence(one.source, one.axes[1:]) for one in sides.slices]
    carries = list(sides.carries)
    while True:
        inputs = [*sides.constants, *carries, *slices]
        inner = followed(graph, inputs)
        results = Sides.results(equation, [inner[output] for output in graph.outputs])
        after = [_mixed(one) if over_examples and one.source == EXAMPLE else one for one in results.carries]
        now = [_joined([old, new]) for old, new in zip(carries, after, strict=True)]
        if now == carries:
            break
        carries = now
    length, stacked = equation.params["length"], []
    for one in results.slices:
        label = BATCH if over_examples and one.source == EXAMPLE else VARYING
        step = (Part(length, label),) if length != 1 or label == BATCH else ()
        stacked.append(Dependence(one.source, (step, *one.axes)))
    return inputs, [*carries, *stacked]


def _mixed(one: Dependence) -> Dependence:
    return Dependence(MIXED, varying([math.prod(part.size for part in axis) for axis in one.axes]))


def _joined(several: Sequence[Dependence]) -> Dependence:
    """What hangs on what any of several does."""
    first = several[0]
    if all(other == first for other in several):
        return first
    source = max((one.source for one in several), key=SOURCES.index)
    columns = [merged(list(column)) for column in zip(*(one.axes for one in several), strict=True)]
    if any(column is None for column in columns):
        return _mixed(first)
    return Dependence(source, tuple(column for column in columns if column is not None))
