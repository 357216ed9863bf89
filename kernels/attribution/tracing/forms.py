"""What a value is as a function of the entries of another: entry by entry or a sum over them, linear or a spread."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .activations import number_of
from .analysis import Analysis
from .jaxpr import Equation, Value
from .layout import is_rearrangement
from .primitives import ELEMENTWISE

_SAME = frozenset("convert_element_type copy reduce_precision name optimization_barrier pvary".split())
_PICKING = frozenset("broadcast_in_dim gather slice squeeze concatenate pad rev".split())
_REDUCING = frozenset("reduce_sum reduce_max reduce_window_sum dot_general".split())
_LONGEST = 64  # values that are looked through for one statistic

# What becomes of a degree, in units of natural logarithms.
_LOGARITHMS = {"log": 1.0, "log1p": 1.0, "log2": 1 / math.log(2)}
_EXPONENTIALS = {"exp": 1.0, "exp2": math.log(2)}

Weight = tuple[float, frozenset[tuple[Any, int]]]


@dataclasses.dataclass(frozen=True)
class Form:
    """A value as a function of the entries of another, h.

    Attributes:
        entrywise: whether an entry of it hangs on the same entry of h, beside sums over entries.
        summed: whether sums (or maxima) over entries of h are in it.
        degree: times t for h, it is times t to this power; constants that are added do not count.
        spread: whether what is summed does not hang on the sign of h: squares, absolute values.
        weight: what it gives for h of ones if it is linear in h: a number times constants to powers, of which only the
            identity is known. None where it is not linear.
        logarithm: whether it is the logarithm of what the other attributes describe, plus a constant.
    """

    entrywise: bool
    summed: bool
    degree: float
    spread: bool
    weight: Weight | None
    logarithm: bool = False


def form_of(value: Value, root: Value, facts: Analysis) -> Form | None:
    """Returns what a value is as a function of the entries of `root`; None for what is not known here."""
    memo: dict[Value, Form | None] = {root: Form(True, False, 1.0, False, (1.0, frozenset()))}

    def form(value: Value) -> Form | None:
        if value not in memo:
            memo[value] = None  # also for what is too long to look through
            source = facts.producer.get(value)
            if source is not None and value.active and len(memo) < _LONGEST:
                memo[value] = _form(source, form, facts)
        return memo[value]

    return form(value)


def is_of(value: Value, root: Value, facts: Analysis) -> bool:
    """Whether a value is, entry by entry, a function of another one, beside sums over its entries."""
    form = form_of(value, root, facts)
    if form is not None:
        return form.entrywise
    while value is not root:
        source = facts.producer.get(value)
        if value in facts.dominator:
            value = facts.dominator[value]
        elif source is not None and is_rearrangement(source):
            value = source.inputs[0]
        else:
            return False
    return True


def roots_of(statistic: Value, facts: Analysis) -> list[Value]:
    """Returns what a statistic can be one of: what is summed over, and what that is an entrywise function of."""
    roots: dict[Value, None] = {}
    stack: list[Value] = [statistic]
    visited: set[Value] = set()
    while stack and len(visited) < _LONGEST:
        value = stack.pop()
        source = facts.producer.get(value)
        if value in visited or not value.active or source is None:
            continue
        visited.add(value)
        sums = source.primitive in _REDUCING and not _is_layer(source, facts)
        of: Value | None
        for of in source.inputs if sums or source.primitive in ("slice", "pad", "gather", "rev") else ():
            while of is not None and of.active and len(roots) < _LONGEST:
                roots[of] = None
                of = facts.dominator.get(of) or _moved(of, facts)
        if sums or source.primitive in ELEMENTWISE | _SAME | _PICKING or is_rearrangement(source):
            stack += source.inputs
    return list(roots)


def _is_layer(equation: Equation, facts: Analysis) -> bool:
    """Whether an equation is a product with parameters."""
    return equation.primitive == "dot_general" and any(
        not value.active and any(leaf >= 0 for leaf in facts.leaves[value]) for value in equation.inputs
    )


def _moved(value: Value, facts: Analysis) -> Value | None:
    """What a value is a new arrangement of, or a function of pairs of whose entries; None for another value."""
    source = facts.producer.get(value)
    if source is not None and (is_rearrangement(source) or source.primitive in _SAME | {"broadcast_in_dim"}):
        return source.inputs[0]
    if source is None or source.primitive not in ELEMENTWISE or not all(operand.active for operand in source.inputs):
        return None
    sources = {identity_of(operand, facts) for operand in source.inputs}
    return sources.pop() if len(sources) == 1 else None


def identity_of(value: Value, facts: Analysis) -> Value:
    """Returns the value that another one is a cast, a repetition or a rearrangement of."""
    while value.known is None and (source := facts.producer.get(value)) is not None:
        if source.primitive not in _SAME | {"broadcast_in_dim", "stop_gradient"} and not is_rearrangement(source):
            break
        value = source.inputs[0]
    return value


def _form(equation: Equation, form, facts: Analysis) -> Form | None:
    name, inputs = equation.primitive, equation.inputs
    active = [value for value in inputs if value.active]
    if name == "select_n" and active and not inputs[0].active:
        forms = [form(value) for value in active]
        if None in forms or any((f.degree, f.logarithm) != (forms[0].degree, forms[0].logarithm) for f in forms):
            return None
        return dataclasses.replace(forms[0], weight=None)
    if len(active) == 1:
        operand = form(active[0])
        if operand is None or name in _SAME or is_rearrangement(equation):
            return operand
        if name == "dot_general":
            return _weighted(equation, operand, next(value for value in inputs if not value.active), facts)
        if name in _REDUCING:
            return _reduced(equation, operand)
        if name == "broadcast_in_dim" and operand.entrywise:  # beside other entries, as for differences of all pairs
            return _stretched(operand)
        if name in _PICKING and operand.entrywise:
            # Squares of other entries, as in a window that is summed slice by slice.
            return dataclasses.replace(operand, entrywise=False, summed=True, weight=None) if operand.spread else None
        if name in _PICKING:
            return operand
        return _of_one(equation, operand, active[0], facts)
    if len(active) == len(inputs) == 2:
        left, right = map(form, inputs)
        if left is None or right is None or left.logarithm or right.logarithm:
            return None
        if name == "dot_general":
            return _square_of_product(equation, left, facts)
        sides = zip((left, right), inputs, strict=True)
        left, right = (_stretched(f) if f.entrywise and v.shape != equation.outputs[0].shape else f for f, v in sides)
        return _of_two(equation, left, right, facts)
    return None


def _stretched(form: Form) -> Form:
    """Entries that are repeated along another axis stand beside others than themselves."""
    return dataclasses.replace(form, entrywise=False, summed=True, weight=None)


def _square_of_product(equation: Equation, operand: Form, facts: Analysis) -> Form | None:
    """A product of a value with itself, entry with the same entry: a sum of squares, as of einsum("bi,bi->b", h, h)."""
    numbers, sources = equation.params["dimension_numbers"], []
    for value, contracted, batch in zip(equation.inputs, *numbers, strict=True):
        order = [axis for axis in (*batch, *contracted) if value.shape[axis] != 1]
        if order != [axis for axis in range(len(value.shape)) if value.shape[axis] != 1]:
            return None
        sources.append(_in_order(value, facts))
    if sources[0] is not sources[1] or operand.logarithm:
        return None
    return Form(False, True, 2 * operand.degree, True, None)


def _in_order(value: Value, facts: Analysis) -> Value:
    """What a value is a cast or a reshape of, its entries in the same order."""
    while (source := facts.producer.get(value)) is not None:
        in_order = source.primitive in ("reshape", "squeeze", "broadcast_in_dim") and is_rearrangement(source)
        if source.primitive not in _SAME and not in_order:
            break
        if source.primitive == "broadcast_in_dim" and list(source.params["broadcast_dimensions"]) != sorted(
            source.params["broadcast_dimensions"]
        ):
            break
        value = source.inputs[0]
    return value


def _weighted(equation: Equation, operand: Form, other: Value, facts: Analysis) -> Form | None:
    """A product with a constant array of equal entries: a sum, as by a matrix of ones."""
    number = number_of(other, facts.constants, facts.producer)
    if number is None or operand.logarithm or (operand.spread and number <= 0):
        return None
    side = 0 if equation.inputs[1] is other else 1
    contracted = equation.params["dimension_numbers"][0][side]
    count = number * math.prod(equation.inputs[side].shape[axis] for axis in contracted)
    weight = operand.weight and (operand.weight[0] * count, operand.weight[1])
    return Form(False, True, operand.degree, operand.spread, weight)


def _reduced(equation: Equation, operand: Form) -> Form | None:
    if operand.logarithm:
        return None
    weight = operand.weight
    if equation.primitive == "reduce_max":
        weight = None
    elif weight is not None:
        old, new = equation.inputs[0].shape, equation.outputs[0].shape
        window = equation.params.get("window_dimensions")
        count = math.prod(window) if window else math.prod(old) / max(math.prod(new), 1)
        weight = (weight[0] * count, weight[1])
    return Form(False, True, operand.degree, operand.spread, weight)


def _of_one(equation: Equation, operand: Form, value: Value, facts: Analysis) -> Form | None:
    """A function of one value that hangs on h, and of constants."""
    name = equation.primitive
    if name in _LOGARITHMS or operand.logarithm:
        return _in_logarithms(equation, operand, value, facts)
    if name in ("square", "abs", "integer_pow", "sqrt", "rsqrt", "cbrt", "pow"):
        power = {"square": 2.0, "abs": 1.0, "sqrt": 0.5, "rsqrt": -0.5, "cbrt": 1 / 3}.get(name)
        power = float(equation.params["y"]) if name == "integer_pow" else power
        power = identity_of(equation.inputs[1], facts).known if name == "pow" else power
        if power is None:
            return None
        even = name in ("square", "abs") or (name == "integer_pow" and power % 2 == 0)
        return dataclasses.replace(operand, degree=operand.degree * power, spread=operand.spread or even, weight=None)
    if name == "div" and equation.inputs[1] is value:
        return dataclasses.replace(operand, degree=-operand.degree, weight=None)
    if name in ("mul", "div"):
        other = identity_of(equation.inputs[1 - equation.inputs.index(value)], facts)
        return _times(operand, other, -1 if name == "div" else 1)
    if name in ("neg", "add", "add_any", "sub"):
        minus = name == "neg" or (name == "sub" and equation.inputs[1] is value)
        weight = operand.weight and (-operand.weight[0] if minus else operand.weight[0], operand.weight[1])
        return dataclasses.replace(operand, weight=weight)
    if name in ("max", "min", "clamp"):
        return dataclasses.replace(operand, weight=None)
    return None


def _in_logarithms(equation: Equation, operand: Form, value: Value, facts: Analysis) -> Form | None:
    """The logarithm of a spread, its multiples, and the power that the exponential makes of these."""
    name = equation.primitive
    if name in _LOGARITHMS:
        fits = operand.spread and not operand.logarithm
        degree = operand.degree * _LOGARITHMS[name]
        return dataclasses.replace(operand, degree=degree, weight=None, logarithm=True) if fits else None
    if name in _EXPONENTIALS:
        return dataclasses.replace(operand, degree=operand.degree * _EXPONENTIALS[name], logarithm=False)
    if name == "neg":
        return dataclasses.replace(operand, degree=-operand.degree)
    if len(equation.inputs) != 2 or (name == "div" and equation.inputs[1] is value):
        return None
    if name in ("add", "add_any", "sub"):
        turned = name == "sub" and equation.inputs[1] is value
        return dataclasses.replace(operand, degree=-operand.degree if turned else operand.degree)
    factor = number_of(equation.inputs[1 - equation.inputs.index(value)], facts.constants, facts.producer)
    if name not in ("mul", "div") or not factor:
        return None
    return dataclasses.replace(operand, degree=operand.degree * (factor if name == "mul" else 1 / factor))


def _times(form: Form, factor: Value, power: int) -> Form:
    """A form times a factor, which counts as a constant, to a power of 1 or -1."""
    if form.weight is None:
        return form
    number, factors = form.weight
    if factor.known is not None:
        return dataclasses.replace(form, weight=(number * factor.known**power if factor.known else 0.0, factors))
    powers = dict(factors)
    powers[factor] = powers.get(factor, 0) + power
    rest = frozenset((key, count) for key, count in powers.items() if count)
    return dataclasses.replace(form, weight=(number, rest))


def _of_two(equation: Equation, left: Form, right: Form, facts: Analysis) -> Form | None:
    """A function of two values that both hang on h."""
    name = equation.primitive
    entrywise, summed = left.entrywise or right.entrywise, left.summed or right.summed
    spread = left.spread or right.spread
    if name in ("add", "add_any", "sub", "max", "min"):
        if left.degree != right.degree:
            return None
        weight = None
        if name not in ("max", "min") and left.weight and right.weight and left.weight[1] == right.weight[1]:
            weight = (left.weight[0] + (-right.weight[0] if name == "sub" else right.weight[0]), left.weight[1])
        return Form(entrywise, summed, left.degree, spread, weight)
    if name not in ("mul", "div"):
        return None
    power, (first, second) = 1 if name == "mul" else -1, equation.inputs
    result = Form(entrywise, summed, left.degree + power * right.degree, spread or first is second, None)
    for linear, factor, value in ((left, right, second), (right, left, first)):
        # A spread that something linear is divided by counts as a constant here, too.
        if linear.weight is not None and factor.spread and not factor.entrywise and (linear is left or power == 1):
            return dataclasses.replace(result, weight=_times(linear, identity_of(value, facts), power).weight)
    return result
