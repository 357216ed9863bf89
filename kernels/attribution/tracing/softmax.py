"""Softmaxes, however they are written: which equation ends one, what it is of, and what it weighs."""

from __future__ import annotations

from collections.abc import Sequence

from .analysis import Analysis
from .forms import form_of, identity_of
from .jaxpr import Equation, Graph, Value
from .primitives import ELEMENTWISE, LAYOUT
from .statistics import between

EXPONENTIALS = ("exp", "exp2")
LOGARITHMS = ("log", "log1p", "log2")
LINEAR = frozenset("dot_general reduce_sum cumsum".split())  # as where gates are put to their experts
PRODUCTS = ("dot_general", "mul", "conv_general_dilated")


def is_softmax(equation: Equation, facts: Analysis) -> bool:
    """Whether weights that are exponentials are divided by their sum, or the logarithm of such a sum is taken.

    A softmax some of whose weights are divided by the sum of these, as by gates of the best experts, is one softmax.
    """
    if equation.primitive in LOGARITHMS:
        return _is_sum_of_exponentials(equation.inputs[0], facts)
    return _source(equation, facts) is not None or _is_share(equation, facts)


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

    None where the logarithm is taken, or where what goes into the exponential cannot be told. Of other values that are
    divided by their sum, what is divided.
    """
    source = _source(equation, facts)
    logits: Value | None
    if source is not None:
        logits = _logits(source, facts)
    elif equation.primitive not in LOGARITHMS:
        logits = _shared(equation, facts)
    else:
        return None
    if logits is None or not logits.active:
        return None
    return logits, between(logits, equation.outputs[0], graph)


def _logits(exponential: Equation, facts: Analysis) -> Value:
    """What an exponential is of, before a maximum is taken off."""
    logits = exponential.inputs[0]
    shift = facts.producer.get(logits)
    if shift is not None and shift.primitive == "sub" and _is_maximum(shift.inputs[1], facts):
        logits = shift.inputs[0]
    return logits


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


def _source(equation: Equation, facts: Analysis) -> Equation | None:
    """The exponentials that an equation divides by their sum, or from whose logits it takes the logarithm of it off."""
    if equation.primitive in EXPONENTIALS:
        return _with_logarithm(equation, facts)
    if equation.primitive not in ("div", "mul") or sum(value.active for value in equation.inputs) < 2:
        return None
    left, right = equation.inputs
    pairs: Sequence = ((left, right),) if equation.primitive == "div" else ((left, right), (right, left))
    for one, other in pairs:
        source = _exponential_of(one, facts)
        if source is not None and _is_sum_of_exponentials(other, facts):
            return source
    return None


def _with_logarithm(equation: Equation, facts: Analysis) -> Equation | None:
    """The exponentials inside of exp(l - log(sum exp(l))), however a maximum is taken off; None for another one."""
    for logarithm in _summands(equation.inputs[0], None, facts):
        source = facts.producer.get(logarithm)
        if source is None or source.primitive not in LOGARITHMS:
            continue
        inner = _summed_exponential(source.inputs[0], facts)
        if inner is None:
            continue
        logits = identity_of(_logits(inner, facts), facts)
        outside, inside = (_summands(one.inputs[0], logits, facts) for one in (equation, inner))
        if outside.pop(logarithm, 0) == -1 and outside == inside and inside.get(logits) == 1:
            return inner
    return None


def _summands(value: Value, whole: Value | None, facts: Analysis) -> dict[Value, int]:
    """What a value is a sum of, with signs; `whole` is not taken apart."""
    result: dict[Value, int] = {}
    stack = [(value, 1)]
    while stack:
        value, sign = stack.pop()
        value = identity_of(value, facts)
        source = facts.producer.get(value)
        if value is whole or source is None or source.primitive not in ("add", "add_any", "sub", "neg"):
            result[value] = result.get(value, 0) + sign
            continue
        last = -sign if source.primitive in ("sub", "neg") else sign
        stack += zip(source.inputs, (last,) if len(source.inputs) == 1 else (sign, last), strict=True)
    return {value: sign for value, sign in result.items() if sign}


def _is_share(equation: Equation, facts: Analysis) -> bool:
    """Whether values of no negative sign, such as sigmoids, are divided by their sum to weigh others."""
    return _shared(equation, facts) is not None and weighs_values(equation, facts)


def _shared(equation: Equation, facts: Analysis) -> Value | None:
    """The values of no negative sign that an equation divides by their sum."""
    if equation.primitive not in ("div", "mul") or not all(value.active for value in equation.inputs):
        return None
    left, right = equation.inputs
    for values, total in ((left, right),) if equation.primitive == "div" else ((left, right), (right, left)):
        form = form_of(total, values, facts) if 1 in facts.signs.get(values, ()) else None
        degree = 1 if equation.primitive == "div" else -1
        if form is not None and form.summed and not form.entrywise and not form.spread and form.degree == degree:
            return values
    return None


def _exponential_of(value: Value, facts: Analysis) -> Equation | None:
    """The exponential that a value is, perhaps masked, scaled, moved or divided by a sum of such."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive in EXPONENTIALS:
            return (_with_logarithm(source, facts) or source) if source.inputs[0].active else None
        active = [operand for operand in source.inputs if operand.active]
        if len(active) == 2:
            return _source(source, facts)
        if len(active) != 1 or source.primitive not in LAYOUT | {"mul", "div"}:
            return None
        value = active[0]
    return None


def _is_sum_of_exponentials(value: Value, facts: Analysis) -> bool:
    return _summed_exponential(value, facts) is not None


def _summed_exponential(value: Value, facts: Analysis) -> Equation | None:
    """The exponentials of whose sum a value is an entrywise function, or a new arrangement."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive in ("reduce_sum", "cumsum", "dot_general"):
            inner = (_exponential_of(operand, facts) for operand in source.inputs if operand.active)
            return next((one for one in inner if one is not None), None)
        active = [operand for operand in source.inputs if operand.active]
        if len(active) != 1 or source.primitive not in LAYOUT | ELEMENTWISE:
            return None
        value = active[0]
    return None


def _is_maximum(value: Value, facts: Analysis) -> bool:
    """Whether a value is a maximum over entries, perhaps moved, stopped or kept from being infinite."""
    while (source := facts.producer.get(value)) is not None:
        if source.primitive == "reduce_max":
            return True
        if source.primitive not in LAYOUT | {"max", "stop_gradient"}:
            return False
        value = max(source.inputs, key=lambda operand: (operand in facts.producer, operand.active))
    return False
