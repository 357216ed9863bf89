"""Softmaxes, however they are written: which equation ends one, what it is of, and what it weighs."""

from __future__ import annotations

from collections.abc import Sequence

from .analysis import Analysis
from .jaxpr import Equation, Graph, Value
from .primitives import ELEMENTWISE, LAYOUT
from .statistics import between

EXPONENTIALS = ("exp", "exp2")
LOGARITHMS = ("log", "log1p", "log2")
LINEAR = frozenset("dot_general reduce_sum cumsum".split())  # as where gates are put to their experts
PRODUCTS = ("dot_general", "mul", "conv_general_dilated")


def is_softmax(equation: Equation, facts: Analysis) -> bool:
    """Whether exponentials are divided by their sum, or the logarithm of such a sum is taken."""
    if equation.primitive in LOGARITHMS:
        return _is_sum_of_exponentials(equation.inputs[0], facts)
    return _exponentials(equation, facts) is not None


def comes_from_softmax(value: Value, facts: Analysis) -> bool:
    """Whether a value is the result of a softmax, perhaps masked, scaled or moved."""
    while (source := facts.producer.get(value)) is not None:
        if is_softmax(source, facts):
            return True
        active = [operand for operand in source.inputs if operand.active]
        if len(active) != 1 or not (source.primitive in LAYOUT | {"mul", "div"} or _distributes(source, facts)):
            return False
        value = active[0]
    return False


def _distributes(equation: Equation, facts: Analysis) -> bool:
    """Whether values are put to places by what is no parameter, as gates to their experts."""
    return equation.primitive in LINEAR and all(
        value.active or not facts.leaves[value] or not facts.depends[value].is_shared for value in equation.inputs
    )


def weighs_values(equation: Equation, facts: Analysis) -> bool:
    """Whether the result of a softmax is multiplied with other values, as weights of attention are."""
    values = [] if equation.primitive in LOGARITHMS else list(equation.outputs)
    while values:
        value = values.pop()
        for reader in facts.consumers.get(value, ()):
            if reader is None:
                continue
            several = sum(operand.active for operand in dict.fromkeys(reader.inputs)) > 1
            if several and reader.primitive in PRODUCTS:
                return True
            if not several and (reader.primitive in LAYOUT | ELEMENTWISE or _distributes(reader, facts)):
                values += reader.outputs
    return False


def logits_of(equation: Equation, graph: Graph, facts: Analysis) -> tuple[Value, tuple[Equation, ...]] | None:
    """Returns the logits of a softmax, before a maximum is taken off, and the equations from there to its result.

    None where the logarithm is taken, or where what goes into the exponential cannot be told.
    """
    operand = _exponentials(equation, facts)
    source = None if operand is None else _exponential_of(operand, facts)
    if source is None:
        return None
    logits = source.inputs[0]
    shift = facts.producer.get(logits)
    if shift is not None and shift.primitive == "sub" and _is_maximum(shift.inputs[1], facts):
        logits = shift.inputs[0]
    if not logits.active:
        return None
    return logits, between(logits, equation.outputs[0], graph)


_SHIFTS = {"reduce_max", "max", "stop_gradient", "broadcast_in_dim", "sub"}


def normalised_axes(logits: Value, equations: Sequence[Equation]) -> tuple[int, ...] | None:
    """Returns the axes of a softmax from its logits on that has no masks, casts and rearrangements between.

    None for any other one. Such a one is the same function however its maximum is taken off.
    """
    by_name: dict[str, list[Equation]] = {}
    for equation in equations:
        by_name.setdefault(equation.primitive, []).append(equation)
    steps = [by_name.pop(name, []) for name in ("exp", "reduce_sum", "div")]
    if not set(by_name) <= _SHIFTS or any(len(step) != 1 for step in steps):
        return None
    exponential, total, ratio = (step[0] for step in steps)
    shifts = by_name.get("sub", [])
    operand = shifts[0].inputs[0] if len(shifts) == 1 else exponential.inputs[0]
    if operand is not logits or (shifts and exponential.inputs[0] is not shifts[0].outputs[0]):
        return None
    spread = ratio.inputs[1]
    maker = {output: equation for equation in equations for output in equation.outputs}
    while spread in maker and maker[spread].primitive == "broadcast_in_dim":
        spread = maker[spread].inputs[0]
    if (
        total.inputs[0] is not exponential.outputs[0] or ratio.inputs[0] is not exponential.outputs[0]
        or spread is not total.outputs[0] or equations[-1] is not ratio
    ):  # fmt: skip
        return None
    return tuple(int(axis) for axis in total.params["axes"])


def _exponentials(equation: Equation, facts: Analysis) -> Value | None:
    """The exponentials that an equation divides by their sum."""
    if equation.primitive not in ("div", "mul") or sum(value.active for value in equation.inputs) < 2:
        return None
    left, right = equation.inputs
    pairs: Sequence = ((left, right),) if equation.primitive == "div" else ((left, right), (right, left))
    for one, other in pairs:
        if _exponential_of(one, facts) is not None and _is_sum_of_exponentials(other, facts):
            return one
    return None


def _exponential_of(value: Value, facts: Analysis) -> Equation | None:
    """The exponential that a value is, perhaps masked, scaled or moved."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive in EXPONENTIALS:
            return source if source.inputs[0].active else None
        active = [operand for operand in source.inputs if operand.active]
        if len(active) != 1 or source.primitive not in LAYOUT | {"mul", "div"}:
            return None
        value = active[0]
    return None


def _is_sum_of_exponentials(value: Value, facts: Analysis) -> bool:
    """Whether a value is an entrywise function, or a new arrangement, of a sum of exponentials."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive in ("reduce_sum", "cumsum", "dot_general"):
            return any(_exponential_of(operand, facts) is not None for operand in source.inputs if operand.active)
        active = [operand for operand in source.inputs if operand.active]
        if len(active) != 1 or source.primitive not in LAYOUT | ELEMENTWISE:
            return False
        value = active[0]
    return False


def _is_maximum(value: Value, facts: Analysis) -> bool:
    """Whether a value is a maximum over entries, perhaps moved, stopped or kept from being infinite."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive == "reduce_max":
            return True
        if source.primitive not in LAYOUT | {"max", "stop_gradient"}:
            return False
        value = max(source.inputs, key=lambda operand: (operand in facts.producer, operand.active))
    return False
