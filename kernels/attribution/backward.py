"""The way back: which rule, or which derivative, takes relevance through what, in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .nested import through_bodies
from .precision import widened
from .propagation import Kept, propagate, through_equations, through_region
from .rules import Gradient
from .tracing.jaxpr import Equation, Region, Value
from .tracing.operations import Operation, Program
from .unsupported import no_rule


@dataclasses.dataclass
class Step:
    """What a step did, for the report.

    Attributes:
        received, passed: relevance of its outputs and of its inputs, summed.
    """

    operation: Operation
    rule: Any
    received: jax.Array
    passed: jax.Array
    kept: Kept


class Inside:
    """Stands in the report for the rules of the operations inside of a loop or a branch."""


def backward(
    program: Program,
    composite,
    values: Mapping[Value, Any],
    start: jax.Array,
    steps: list[Step] | None = None,
    primitive_rules: Mapping[str, Any] | None = None,
) -> dict[Value, jax.Array]:
    """Returns the relevance of every value that has some, and appends what each step did to `steps`."""
    operations = program.flattened()
    rules = dict(zip(operations, composite.assign(operations), strict=True))

    def back(program: Program, values: Mapping, relevance: dict, steps: list[Step] | None) -> dict:
        return _back(program, rules, values, relevance, steps, primitive_rules or {}, back)

    return back(program, values, {program.output: start}, steps)


def _back(program: Program, rules: Mapping, values, relevance: dict, steps, primitive_rules: Mapping, back) -> dict:
    """The relevance of every value of a program, from that of some of them on."""
    assigned = [rules[operation] for operation in program.operations]
    for item, rule in _schedule(program, assigned, primitive_rules):
        outputs = item.outputs
        if not any(output in relevance for output in outputs):
            continue
        received = [_received(relevance.get(output), widened(values[output])) for output in outputs]
        store = None if steps is None else Kept()
        if isinstance(item, Region):
            shares = through_region(item, received, values)
        elif isinstance(item, Equation):
            shares = through_equations([item], dict(zip(outputs, received, strict=True)), values, program)
        else:
            if rule is None and "unknown" in item.kinds:
                raise no_rule(item, program)
            if rule is None and item.bodies:
                shares, rule = through_bodies(item, received, values, back, store), Inside()
            else:
                rule = Gradient() if rule is None else rule
                shares = propagate(rule, item, received, values, program, store)
        for value, part in shares:
            relevance[value] = relevance[value] + part if value in relevance else part
        if steps is not None:
            operation = item if isinstance(item, Operation) else _named(item)
            none = jnp.zeros((), received[0].dtype)
            arrived, passed = (sum(map(jnp.sum, arrays), none) for arrays in (received, [p for _, p in shares]))
            steps.append(Step(operation, Gradient() if rule is None else rule, arrived, passed, store or Kept()))
    return relevance


def _received(relevance, like):
    """Relevance of a value, in its dtype; zeros where it has none."""
    if relevance is None:
        return jnp.zeros_like(like)
    return relevance if relevance.dtype == like.dtype else relevance.astype(like.dtype)


def _schedule(program: Program, assigned: Sequence, primitive_rules: Mapping[str, Any]):
    """Operations with their rules, last first; what only gradients go through is a call of its own where it was one."""
    rules = [
        primitive_rules[operation.equations[0].primitive] if "registered" in operation.kinds and rule is None else rule
        for operation, rule in zip(program.operations, assigned, strict=True)
    ]
    by_gradient: dict[Region, bool] = {}
    for operation, rule in zip(program.operations, rules, strict=True):
        for equation in operation.equations:
            for region in equation.regions:
                plain = isinstance(rule, Gradient) or (rule is None and "registered" not in operation.kinds)
                by_gradient[region] = by_gradient.get(region, True) and plain
    whole = {region for region, plain in by_gradient.items() if plain}
    if not whole:
        yield from zip(reversed(program.operations), reversed(rules), strict=True)
        return
    place = {equation: number for number, equation in enumerate(program.graph.equations)}
    items: dict[Any, tuple[int, Any]] = {}
    for operation, rule in zip(program.operations, rules, strict=True):
        regions = [_outermost(equation, whole) for equation in operation.equations]
        if not any(regions):
            items[operation] = (place[operation.equations[-1]], rule)
            continue
        for equation, outermost in zip(operation.equations, regions, strict=True):
            if outermost is None:
                items[equation] = (place[equation], rule)
            else:
                items[outermost] = (max(items.get(outermost, (-1,))[0], place[equation]), rule)
    for item in sorted(items, key=lambda item: -items[item][0]):
        yield item, items[item][1]


def _outermost(equation: Equation, whole) -> Region | None:
    return next((region for region in equation.regions if region in whole), None)


def _named(item: Equation | Region) -> Operation:
    """Stands in the report for what is no operation."""
    name = item.primitive if isinstance(item, Equation) else "custom derivative"
    return Operation(("call",), item.inputs, item.outputs, (), name)
