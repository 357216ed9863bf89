"""Norms: means and spreads that normalise the very values they are of count as constants there.

What makes a norm is what it does (see `forms`). Taking off a mean: an entrywise linear function of h less a sum over
entries of h, so that the difference vanishes for equal entries. Dividing by a spread: an entrywise function of h by
sums over squares, absolute values or maxima of its entries. With these held, LayerNorm, RMSNorm, GroupNorm,
InstanceNorm, BatchNorm in training mode and divisive normalisation are scales and shifts. Softmax is none: what it
divides by is a sum of exponentials. A statistic that is used elsewhere too keeps its relevance there, and a gradient
goes through it.
"""

from __future__ import annotations

import dataclasses
import math

from .analysis import Analysis, analyse
from .dependence import PARAMETERS, STATISTIC
from .examples import Examples
from .forms import Form, form_of, is_of, roots_of
from .jaxpr import Equation, Graph, Value, written


@dataclasses.dataclass(frozen=True)
class Held:
    """A statistic that counts as a constant in one equation.

    Attributes:
        root: what it is a statistic of.
        equations: what computes the operand that is held from the root, in execution order.
    """

    root: Value
    equations: tuple[Equation, ...]


def hold_statistics(
    graph: Graph, examples: Examples, means: bool = True
) -> tuple[Analysis, dict[Equation, Held], tuple[str, ...]]:
    """Makes statistics constants where they normalise; means that are taken off only with `means`.

    Returns the facts, the equations that hold some, and what the caller is to be warned of.
    """
    facts, statistics = analyse(graph, examples), {}
    over_batch: Equation | None = None
    while True:
        matches = [(equation, match) for equation in graph.equations if (match := _normalises(equation, facts, means))]
        if not matches:
            break
        for equation, (side, root) in matches:
            if facts.depends[equation.inputs[side]].source == STATISTIC:
                over_batch = over_batch or equation
            equation, hold = _hold(graph, facts, equation, side, root)
            statistics[equation] = hold
        facts = analyse(graph, examples)
    # What varies along channels alone, as a statistic of the batch does, is folded with what it is one of.
    own = [hold.root for equation, hold in statistics.items() if not _reads_shared(equation, facts)]
    facts = dataclasses.replace(facts, pinned=frozenset(own))
    if over_batch is None:
        return facts, statistics, ()
    note = (
        f"normalised by statistics of the batch, at {over_batch.source}: they count as constants, and "
        "samples share them. Explain the network in evaluation mode, with running statistics."
    )
    return facts, statistics, (note,)


def _reads_shared(equation: Equation, facts: Analysis) -> bool:
    return all(facts.depends[value].is_shared for value in equation.inputs if not value.active)


def _normalises(equation: Equation, facts: Analysis, means: bool) -> tuple[int, Value] | None:
    """Which operand of an equation is a statistic that normalises the other one, and of what it is one."""
    if equation.primitive not in ("add", "add_any", "sub", "mul", "div") or equation.outputs[0] not in facts.live:
        return None
    left, right = equation.inputs
    if not (left.active and right.active) or left is right:
        return None
    for side in (1,) if equation.primitive == "div" else (1, 0):
        statistic, value = equation.inputs[side], equation.inputs[1 - side]
        for root in roots_of(statistic, facts):
            form = form_of(statistic, root, facts)
            if form is None or form.entrywise or not form.summed:
                continue
            if (means and _cancels(equation, form, form_of(value, root, facts))) or _divides(
                equation, form, value, root, facts
            ):
                return side, root
    return None


def _cancels(equation: Equation, statistic: Form, value: Form | None) -> bool:
    """Whether the sum or difference of both vanishes for equal entries of what they are of."""
    if equation.primitive not in ("add", "add_any", "sub") or value is None or not value.entrywise:
        return False
    if value.weight is None or statistic.weight is None or value.weight[1] != statistic.weight[1]:
        return False
    sign = 1 if equation.primitive == "sub" else -1
    return math.isclose(value.weight[0], sign * statistic.weight[0], rel_tol=1e-4)


def _divides(equation: Equation, statistic: Form, value: Value, root: Value, facts: Analysis) -> bool:
    """Whether the value is divided by a spread of what it is a function of."""
    if equation.primitive not in ("mul", "div") or not statistic.spread or statistic.logarithm:
        return False
    falls = statistic.degree > 0 if equation.primitive == "div" else statistic.degree <= 0
    return falls and is_of(value, root, facts)


def _hold(graph: Graph, facts: Analysis, equation: Equation, side: int, root: Value) -> tuple[Equation, Held]:
    """Lets an equation read a constant instead of its operand `side`; returns the one that does, and what it holds.

    Parameters in the statistic, such as a scale that a norm takes into its spread, are taken out of it first:
    v - (s + p) is (v - s) - p, v (s p) is (v s) p, which belong to what follows.
    """
    additive = equation.primitive not in ("mul", "div")
    value, statistic = equation.inputs[1 - side], equation.inputs[side]
    # The equation is value (by `sign`) with statistic (by `power`): signs of a sum, or exponents of a product.
    sign = -1 if equation.primitive == "sub" and side == 0 else 1
    power = -1 if equation.primitive == "div" or (equation.primitive == "sub" and side == 1) else 1
    outside: list[tuple[Value, int]] = []
    while (peeled := _parameter_in(statistic, facts, additive)) is not None:
        statistic, of_inner, parameter, of_parameter = peeled
        outside.append((parameter, power * of_parameter))
        power *= of_inner
    constant = Value(statistic.shape, statistic.dtype, False)
    stop = Equation("stop_gradient", (statistic,), (constant,), {}, lambda x: (x,), equation.scope, equation.source)
    if not outside:
        inputs = list(equation.inputs)
        inputs[side] = constant
        equation.inputs = tuple(inputs)
        _replace(graph, equation, [stop, equation])
        return equation, Held(root, between(root, constant, graph))

    def normalised(value, constant, *parameters):
        result = value if sign == 1 else -value
        powers = (power, *(count for _, count in outside))
        for operand, count in zip((constant, *parameters), powers, strict=True):
            if additive:
                result = result + operand if count == 1 else result - operand
            else:
                result = result * operand if count == 1 else result / operand
        return result

    others = written(graph, normalised, [value, constant, *(parameter for parameter, _ in outside)], equation)
    others[-1].outputs = equation.outputs
    _replace(graph, equation, [stop, *others])
    reads = {constant}
    for other in others:
        operand = next((read for read in other.inputs if read in reads), None)
        if operand is not None and other.outputs[0].active:
            return other, Held(root, between(root, operand, graph))
        reads.update(other.outputs if operand is not None else ())
    raise AssertionError("a statistic that was held is not read")


def _parameter_in(statistic: Value, facts: Analysis, additive: bool) -> tuple[Value, int, Value, int] | None:
    """Returns (the rest, its sign or exponent, parameter, its sign or exponent) of a statistic with a parameter."""
    source = facts.producer.get(statistic)
    if source is None or source.primitive not in (("add", "add_any", "sub") if additive else ("mul", "div")):
        return None
    active = [position for position, operand in enumerate(source.inputs) if operand.active]
    if len(active) != 1:
        return None
    (position,) = active
    parameter, powers = source.inputs[1 - position], (1, -1 if source.primitive in ("sub", "div") else 1)
    if facts.depends[parameter].source != PARAMETERS or not parameter.shape:
        return None
    return source.inputs[position], powers[position], parameter, powers[1 - position]


def between(root: Value, value: Value, graph: Graph) -> tuple[Equation, ...]:
    """Returns what computes a value from another one, through constants that are held on the way, too."""
    visited, behind = {root}, []
    for equation in graph.equations:
        stops = equation.primitive == "stop_gradient" and equation.original is not None
        if not stops and any(operand in visited for operand in equation.inputs):
            visited.update(equation.outputs)
            behind.append(equation)
    sources = {value}
    for equation in reversed(behind):
        if any(output in sources for output in equation.outputs):
            sources.update(equation.inputs)
    return tuple(equation for equation in behind if any(output in sources for output in equation.outputs))


def _replace(graph: Graph, equation: Equation, others: list[Equation]) -> None:
    index = graph.equations.index(equation)
    graph.equations[index : index + 1] = others
