"""The way back: which rule, or which derivative, takes relevance through what, in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .nested import through_bodies
from .places import Watched
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
    conditions: Mapping[Value, Callable] | None = None,
    watched: Watched | None = None,
) -> dict[Value, jax.Array]:
    """Returns the relevance of every value that has some, and appends what each step did to `steps`.

    Args:
        conditions: of some values, what becomes of their relevance before it goes on; see `conditions`.
        watched: values inside of loops and branches; their relevance in each step is in the result, stacked.
    """
    operations, changes = program.flattened(), _Changes(dict(conditions or {}))
    rules = dict(zip(operations, composite.assign(operations), strict=True))

    def back(program: Program, values: Mapping, relevance: dict, steps: list[Step] | None, numbers: tuple = ()) -> dict:
        """`numbers`: of the steps of the loops around the program."""
        changes.numbers = numbers
        return _back(program, rules, values, relevance, steps, primitive_rules or {}, back, changes, watched or {})

    relevance = back(program, values, {program.output: start}, steps)
    for value in changes.by_value:
        if value not in changes.passed:
            raise ValueError(
                f"condition on a tensor of shape {value.shape} that only a gradient passes, inside of a call with a "
                "derivative of its own: put it on the layer before or behind."
            )
    return relevance


@dataclasses.dataclass
class _Changes:
    """Conditions by value.

    Attributes:
        numbers: of the steps of the loops around the program whose way back is taken.
        passed: values that the way back has come to.
    """

    by_value: dict[Value, Callable]
    numbers: tuple = ()
    passed: set[Value] = dataclasses.field(default_factory=set)

    def of(self, values: Sequence[Value]) -> dict[Value, Callable]:
        """Returns the conditions of some values, in this step."""
        here, numbers = {value: self.by_value[value] for value in values if value in self.by_value}, self.numbers
        self.passed.update(here)
        return {value: lambda relevance, change=change: change(relevance, numbers) for value, change in here.items()}


def _back(
    program: Program,
    rules: Mapping,
    values,
    relevance: dict,
    steps,
    primitive_rules: Mapping,
    back,
    conditions: _Changes,
    watched: Watched,
) -> dict:
    """The relevance of every value of a program, from that of some of them on."""
    numbers = conditions.numbers
    assigned = [rules[operation] for operation in program.operations]
    for item, rule in _schedule(program, assigned, primitive_rules):
        outputs = item.outputs
        conditions.numbers = numbers  # what lies inside of a loop has others
        changes = conditions.of(outputs)
        if not any(output in relevance for output in outputs):
            continue
        received = [_received(relevance.get(output), widened(values[output])) for output in outputs]
        arrived = sum(map(jnp.sum, received), jnp.zeros((), received[0].dtype))
        for output, change in changes.items():
            place = outputs.index(output)
            relevance[output] = received[place] = changed(change, received[place])
        store = None if steps is None else Kept()
        if isinstance(item, Region):
            shares = through_region(item, received, values)
        elif isinstance(item, Equation):
            shares = through_equations([item], dict(zip(outputs, received, strict=True)), values, program)
        else:
            if rule is None and "unknown" in item.kinds:
                raise no_rule(item, program)
            if rule is None and item.bodies:
                shares, inside = through_bodies(item, received, values, back, store, watched, numbers)
                relevance.update(inside)
                rule = Inside()
            else:
                rule = Gradient() if rule is None else rule
                shares = propagate(rule, item, received, values, program, store)
        for value, part in shares:
            relevance[value] = relevance[value] + part if value in relevance else part
        if steps is not None:
            operation = item if isinstance(item, Operation) else _named(item)
            passed = sum((jnp.sum(part) for _, part in shares), jnp.zeros((), received[0].dtype))
            steps.append(Step(operation, Gradient() if rule is None else rule, arrived, passed, store or Kept()))
    conditions.numbers = numbers
    for value, change in conditions.of(program.graph.inputs).items():
        if value in relevance:
            relevance[value] = changed(change, relevance[value])
    return relevance


def changed(change: Callable, relevance: jax.Array) -> jax.Array:
    """Returns the relevance that a condition makes of one; raises ValueError for another shape."""
    result = jnp.asarray(change(relevance), relevance.dtype)
    if result.shape != relevance.shape:
        raise ValueError(
            f"a function of condition gave shape {result.shape}; expected that of the relevance, {relevance.shape}."
        )
    return result


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
