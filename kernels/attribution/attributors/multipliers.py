"""Multipliers between two points: how finite differences pass through each equation of a traced function, exactly.

For an equation y = f(a, b, ...) with values at x and at a baseline, and a multiplier m of y, every operand gets one, so
that the sum of multipliers times differences stays the same. Linear equations pass m on as gradients do; an entrywise
For an equation y = f(a, b, ...) with values at x and at a baseline, and a multiplier m of y, each operand gets one, so
values that differ is split at their midpoints, and any other entrywise function of two in equal parts over both orders
in which they change; a maximum gives what it rose by to the entry that is largest at x, and what it fell by to the one
that is largest at the baseline. What is made of these, softmax, norms, attention and activations however they are
written, is exact with them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..precision import applied, widened
from ..tracing.jaxpr import Equation, Graph, Value, body_of
from ..tracing.primitives import AFFINE, ELEMENTWISE, LAYOUT, MAXIMA, STEPS, SUMS
from .secant_loops import Loop, run_scan, through_scan

SMALL = 1e-7  # differences below have the derivative
ROUNDING = 4  # as have those of so many last bits, which in float32 are larger
_LINEAR = (LAYOUT - {"select_n", "sort", "top_k", "select_and_gather_add"}) | SUMS | {"neg", "stop_gradient"}
_MAXIMA = MAXIMA | {"max", "min"}
_INDEXED = {  # operands that say where
    "gather": (1,), "scatter": (1,), "scatter-add": (1,), "dynamic_slice": range(1, 99),
    "dynamic_update_slice": range(2, 99),
}  # fmt: skip


@dataclasses.dataclass(eq=False)
class Run:
    """A graph at two points.

    Attributes:
        here, there: values at x, and at the baseline where they differ.
        nested: runs of calls that are opened. loops: scans. shifts: maxima that are soft ones, see `run`.
    """

    graph: Graph
    here: dict[Value, Any]
    there: dict[Value, Any]
    nested: dict[Equation, Run] = dataclasses.field(default_factory=dict)
    loops: dict[Equation, Loop] = dataclasses.field(default_factory=dict)
    shifts: frozenset[Equation] = frozenset()

    def pair(self, value: Value) -> tuple[Any, Any]:
        """Returns a value at x and at the baseline, floating-point and no half precision."""
        one = floating(self.here[value])
        return one, floating(self.there[value]) if value in self.there else one

    def varies(self, value: Value) -> bool:
        """Whether a value can differ between the two points."""
        return value in self.there


def run(graph: Graph, here: Sequence, there: Sequence, differs: Sequence[bool], soft_shifts: bool) -> Run:
    """Returns a graph at two points.

    Args:
        here, there: its inputs; differs: which of them differ.
        soft_shifts: take the logarithm of the sum of exponentials for a maximum that keeps exponentials in range. What
            is computed has to be the same with any shift; a softmax is then the exponential of its logarithm.
    """
    values = {**graph.constants, **dict(zip(graph.inputs, here, strict=True))}
    others = {v: array for v, array, d in zip(graph.inputs, there, differs, strict=True) if d}
    result = Run(graph, values, others, shifts=_shifts(graph) if soft_shifts else frozenset())
    for equation in graph.equations:
        varies = [result.varies(value) for value in equation.inputs]
        operands = [values[value] for value in equation.inputs]
        if not any(varies):
            values.update(zip(equation.outputs, applied(equation, operands), strict=True))
            continue
        origin = [others.get(value, values[value]) for value in equation.inputs]
        if equation.primitive == "scan" and equation.bodies:
            inside = functools.partial(run, soft_shifts=soft_shifts)
            ends, differing, result.loops[equation] = run_scan(equation, operands, origin, varies, inside)
            for value, (one, other), differ in zip(equation.outputs, ends, differing, strict=True):
                values[value] = one
                others.update({value: other} if differ else {})
            continue
        if equation.call == "opaque" or (equation.call and sum(varies) > 1):
            inner = result.nested[equation] = run(body_of(equation), operands, origin, varies, soft_shifts)
            ends = [(inner.here[v], inner.there.get(v, inner.here[v])) for v in inner.graph.outputs]
        else:
            ends = list(zip(applied(equation, operands), applied(equation, origin), strict=True))
        if equation in result.shifts:
            ends = [tuple(_soft_maximum(equation, array) for array in result.pair(equation.inputs[0]))]
        for value, (one, other) in zip(equation.outputs, ends, strict=True):
            values[value], others[value] = one, other
    return result


def multipliers(result: Run, start: Sequence[jax.Array | None]) -> list[jax.Array | None]:
    """Returns the multipliers of the inputs of a graph, None for those from which nothing hangs.

    Args:
        start: multipliers of its outputs.

    Raises:
        NotImplementedError: an equation for which there is no exact rule, with its place and what to do.
    """
    totals: dict[Value, jax.Array] = {}

    def add(value: Value, m) -> None:
        if m is not None and result.varies(value):
            totals[value] = totals[value] + m if value in totals else m

    for value, m in zip(result.graph.outputs, start, strict=True):
        add(value, m)
    for equation in reversed(result.graph.equations):
        received = [totals.get(value) for value in equation.outputs]
        if all(m is None for m in received):
            continue
        if equation in result.loops:
            parts = through_scan(result.loops[equation], received, multipliers, _none_of)
        elif equation in result.shifts:
            parts = [_of_soft_maximum(equation, received[0], result)]
        elif equation in result.nested:
            parts = multipliers(result.nested[equation], received)
        else:
            parts = _through(equation, received, result)
        for value, m in zip(equation.inputs, parts, strict=True):
            add(value, m if m is None else _fitted(m, value.shape))
    return [totals.get(value) for value in result.graph.inputs]


def _fitted(m, shape: tuple[int, ...]) -> jax.Array:
    """The multiplier of an operand that was repeated along some axes: the sum over its copies."""
    m = jnp.sum(m, tuple(range(m.ndim - len(shape))))
    return jnp.sum(m, tuple(axis for axis, size in enumerate(shape) if size != m.shape[axis]), keepdims=True)


def _none_of(array) -> jax.Array:
    return jnp.zeros_like(floating(array))


def difference(one, other) -> jax.Array:
    """Returns one - other, zero where both are equal, infinite ones too."""
    return jnp.where(one == other, jnp.zeros((), one.dtype), one - other)


def floating(array):
    """Returns an array in floating-point numbers, no half precision."""
    array = widened(jnp.asarray(array))
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)


def _through(equation: Equation, received: Sequence, result: Run) -> list:
    """The multipliers of the operands; None for one that does not vary."""
    name = equation.primitive
    varying = [place for place, value in enumerate(equation.inputs) if result.varies(value)]
    if any(place in _INDEXED.get(name, ()) for place in varying):
        raise _refusal(equation, "where it reads or writes hangs on x")
    if name == "stop_gradient":
        return [received[0]]
    if name in _LINEAR or (name in AFFINE and len(varying) == 1):
        return _linear(equation, received, result, varying)
    if len(equation.outputs) != 1:
        raise _refusal(equation)
    (m,) = received
    if name in AFFINE or name == "mul":
        return _bilinear(equation, m, result, varying)
    if name in _MAXIMA and (name in MAXIMA or len(varying) > 1):
        return _maximum(equation, m, result, varying)
    if name == "select_n" and not (name in ELEMENTWISE and varying == [0] and len(equation.inputs) == 2):
        return _choice(equation, m, result, varying)
    if name == "div":
        return _quotient(equation, m, result)
    if name in ELEMENTWISE | STEPS or equation.call == "entrywise":
        if len(varying) == 1:
            return _secant(equation, m, result, varying[0])
        if len(varying) == 2 and len(equation.inputs) == 2:
            return _secants_of_two(equation, m, result)
    raise _refusal(equation)


def _function(equation: Equation, result: Run, varying: Sequence[int]) -> Callable:
    """An equation as a function of the operands that vary, in floating-point numbers where those are."""
    fixed = [result.here[value] for value in equation.inputs]

    def function(*arrays):
        operands = list(fixed)
        for place, array in zip(varying, arrays, strict=True):
            dtype = equation.inputs[place].dtype
            is_float = jnp.issubdtype(dtype, jnp.floating)
            operands[place] = array if is_float or equation.primitive in _LINEAR else array.astype(dtype)
        return tuple(floating(out) for out in applied(equation, operands))

    return function


def _linear(equation: Equation, received, result: Run, varying) -> list:
    if equation.primitive in ("convert_element_type", "reduce_precision"):  # of a bool too
        return [received[0]]
    function = _function(equation, result, varying)
    y, pull = jax.vjp(function, *(result.pair(equation.inputs[place])[0] for place in varying))
    cotangents = [jnp.zeros_like(z) if m is None else m.astype(z.dtype) for m, z in zip(received, y, strict=True)]
    return _placed(equation, varying, pull(tuple(cotangents)))


def _bilinear(equation: Equation, m, result: Run, varying) -> list:
    """a b = (mean of a) (difference of b) + (mean of b) (difference of a), for sums of products too."""
    pairs = [result.pair(value) for value in equation.inputs]
    means = [(one + other) / 2 if place in varying else one for place, (one, other) in enumerate(pairs)]
    y, pull = jax.vjp(lambda *arrays: floating(applied(equation, arrays)[0]), *means)
    return _placed(equation, varying, [part for place, part in enumerate(pull(m.astype(y.dtype))) if place in varying])


def _quotient(equation: Equation, m, result: Run) -> list:
    """a / b as the product of a and 1 / b, whose secant has the slope -1 / (b b0)."""
    (a, a0), (b, b0) = (result.pair(value) for value in equation.inputs)
    parts = [m * (1 / b + 1 / b0) / 2, -m * ((a + a0) / 2) / (b * b0)]
    return [part if result.varies(v) else None for part, v in zip(parts, equation.inputs, strict=True)]


def _maximum(equation: Equation, m, result: Run, varying) -> list:
    """A maximum, or minimum, over a set: its rise is of the entry that wins at x, its fall of the one at the baseline.

    The winner's own difference is at least as large, so that it is never divided by zero; equal winners share.
    """
    pairs = [result.pair(equation.inputs[place]) for place in varying]
    function = _function(equation, result, varying)
    (y,), pull = jax.vjp(function, *(one for one, _ in pairs))
    (y0,), pull0 = jax.vjp(function, *(other for _, other in pairs))
    step = difference(y, y0)
    up, down = jnp.maximum(step, 0), jnp.minimum(step, 0)
    if equation.primitive in ("min", "reduce_min", "reduce_window_min", "cummin"):
        up, down = down, up
    shares = [part + other for part, other in zip(pull((m * up,)), pull0((m * down,)), strict=True)]
    parts = [_ratio(share, difference(*pair)) for share, pair in zip(shares, pairs, strict=True)]
    return _placed(equation, varying, parts)


def _soft_maximum(equation: Equation, x) -> jax.Array:
    """The logarithm of the sum of exponentials over the axes of a maximum."""
    return jax.nn.logsumexp(x, axis=equation.params["axes"])


def _of_soft_maximum(equation: Equation, m, result: Run) -> jax.Array:
    """A soft maximum: weights in proportion to the secants of exp at the logarithms of the shares p.

    With L the logarithmic mean (p - p0) / (log p - log p0), the sum of L times the differences of log p is that of p,
    which is zero: so the soft maximum rises by exactly the mean of the differences of x, weighted by L.
    """
    axes = equation.params["axes"]
    (x, x0), (s, s0) = result.pair(equation.inputs[0]), result.pair(equation.outputs[0])
    a, a0 = x - jnp.expand_dims(s, axes), x0 - jnp.expand_dims(s0, axes)
    mean = _slope(jnp.exp(a) - jnp.exp(a0), a, a0, lambda: jnp.exp(a))
    return jnp.expand_dims(m, axes) * _ratio(mean, jnp.sum(mean, axes, keepdims=True))


def _choice(equation: Equation, m, result: Run, varying) -> list:
    """One of two values: (1 - p) a + p b, split by midpoints where what chooses differs; else gradients."""
    if 0 not in varying:
        return _linear(equation, [m], result, varying)
    if len(equation.inputs) != 3:
        raise _refusal(equation, "which of several values it takes hangs on x")
    (p, p0), (a, a0), (b, b0) = (result.pair(value) for value in equation.inputs)
    mean = (p + p0) / 2
    gap = jnp.where(p == p0, 0, (b + b0) / 2 - (a + a0) / 2)
    parts = [m * gap, m * (1 - mean), m * mean]
    return [part if place in varying else None for place, part in enumerate(parts)]


def _secant(equation: Equation, m, result: Run, place: int) -> list:
    """An entrywise function of one value: the slope of its secant, its derivative where the value hardly differs."""
    x, x0 = result.pair(equation.inputs[place])
    function = _function(equation, result, [place])
    (y,), (y0,) = function(x), function(x0)
    slope = _slope(difference(y, y0), x, x0, lambda: _derivative(equation, function, x))
    return _placed(equation, [place], [m * slope])


def _secants_of_two(equation: Equation, m, result: Run) -> list:
    """An entrywise function of two values: the mean over the orders in which they change (Shapley's value)."""
    (a, a0), (b, b0) = (result.pair(value) for value in equation.inputs)
    function = _function(equation, result, [0, 1])
    whole, none, first, second = (function(*pair)[0] for pair in ((a, b), (a0, b0), (a, b0), (a0, b)))
    left = (difference(whole, second) + difference(first, none)) / 2
    right = (difference(whole, first) + difference(second, none)) / 2

    def derivative(side: int):
        fixed = (b, b0) if side == 0 else (a, a0)
        one = a if side == 0 else b
        ordered = (lambda v, o: function(v, o)) if side == 0 else (lambda v, o: function(o, v))
        first, second = (_derivative(equation, lambda v, o=other: ordered(v, o), one) for other in fixed)
        return None if first is None or second is None else (first + second) / 2

    return [
        m * _slope(left, a, a0, lambda: derivative(0)),
        m * _slope(right, b, b0, lambda: derivative(1)),
    ]


def _slope(rise, x, x0, derivative: Callable) -> jax.Array:
    """rise / (x - x0), the derivative where that is small."""
    step = difference(x, x0)
    size = jnp.maximum(jnp.abs(x), jnp.abs(x0))
    small = jnp.abs(step) < jnp.maximum(SMALL, ROUNDING * float(jnp.finfo(x.dtype).eps) * size)
    slope = derivative()
    if slope is None:  # a step function: its whole rise, however near the two are
        return _ratio(rise, step)
    return jnp.where(small | (step == 0), slope, _ratio(rise, step))


def _derivative(equation: Equation, function: Callable, x) -> jax.Array | None:
    """The derivative of an entrywise function, zero where it has none; None for a step function."""
    if equation.primitive in STEPS or not jnp.issubdtype(equation.outputs[0].dtype, jnp.floating):
        return None
    (_,), (slope,) = jax.jvp(function, (x,), (jnp.ones_like(x),))
    return jnp.where(jnp.isfinite(slope), slope, 0)


def _ratio(numerator, denominator) -> jax.Array:
    """numerator / denominator, zero where the denominator is."""
    safe = jnp.where(denominator == 0, jnp.ones((), denominator.dtype), denominator)
    return jnp.where(denominator == 0, jnp.zeros((), denominator.dtype), numerator / safe)


def _placed(equation: Equation, varying: Sequence[int], parts: Sequence) -> list:
    by_place = dict(zip(varying, parts, strict=True))
    return [by_place.get(place) for place in range(len(equation.inputs))]


_SAME = frozenset("broadcast_in_dim reshape squeeze transpose stop_gradient convert_element_type copy".split())


def _shifts(graph: Graph) -> frozenset[Equation]:
    """The maxima that are taken off what exponentials are of."""
    readers: dict[Value, list[Equation]] = {}
    for equation in graph.equations:
        for value in equation.inputs:
            readers.setdefault(value, []).append(equation)
    return frozenset(e for e in graph.equations if e.primitive == "reduce_max" and _is_shift(e, readers))


def has_shifts(graph: Graph) -> bool:
    """Whether a graph, or what is nested in it, has maxima that `run` can take soft ones for."""
    bodies = [b for e in graph.equations for b in e.bodies or ([body_of(e)] if e.call == "opaque" else [])]
    return bool(_shifts(graph)) or any(map(has_shifts, bodies))


def _is_shift(equation: Equation, readers: Mapping[Value, list[Equation]]) -> bool:
    stack, visited, taken_off = [equation.outputs[0]], set(), False
    while stack:
        value = stack.pop()
        visited.add(value)
        for reader in readers.get(value, ()):
            if reader.primitive in _SAME | {"select_n", "max"}:
                stack += [output for output in reader.outputs if output not in visited]
            elif reader.primitive == "sub" and reader.inputs[1] is value:
                taken_off = taken_off or _enters_exponential(reader.outputs[0], readers)
    return taken_off


def _enters_exponential(value: Value, readers: Mapping[Value, list[Equation]]) -> bool:
    stack, steps = [value], 0
    while stack and steps < 16:
        steps += 1
        for reader in readers.get(stack.pop(), ()):
            if reader.primitive in ("exp", "exp2"):
                return True
            if reader.primitive in _SAME | {"mul", "select_n"}:
                stack += reader.outputs
    return False


_REMEDIES = {
    "scan": "write the loop out in Python, step by step",
    "while": "write the loop out in Python with the steps that it takes",
    "cond": "compute both sides and choose with jnp.where, or take the branch in Python",
    "reduce_prod": "write the product as exp of a sum of logarithms, or factor by factor",
    "cumprod": "write the product factor by factor",
    "cumlogsumexp": "write it as the logarithm of a cumulative sum of exponentials",
    "sort": "take the order out of fn, or use jnp.max and jnp.min",
    "top_k": "take the order out of fn, or use jnp.max",
    "argmax": "take the choice out of fn, and give the index as a part of params",
    "argmin": "take the choice out of fn, and give the index as a part of params",
}


def _refusal(equation: Equation, why: str = "there is no rule by which finite differences pass through it exactly"):
    name = equation.primitive
    remedy = _REMEDIES.get(name, "write it with sums, products, maxima and entrywise functions")
    shapes = ", ".join(str(list(value.shape)) for value in equation.inputs)
    scope = f", in {equation.scope}" if equation.scope else ""
    return NotImplementedError(
        f"no DeepLIFT through the primitive {name!r} of operands {shapes}{scope}, at "
        f"{equation.source or 'an unknown line'}: {why}. {remedy[0].upper()}{remedy[1:]}; or take "
        "integrated_gradients, which needs a gradient only."
    )
