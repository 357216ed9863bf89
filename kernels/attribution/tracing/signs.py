"""Signs that are certain at trace time: after a ReLU nothing is negative, so half of the terms of a rule vanish.

A sign is a set: 1 in it says that no entry is negative, -1 that none is positive; zero has both, the unknown
neither.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from .jaxpr import Equation, Graph, Value, body_of
from .primitives import LAYOUT, NONNEGATIVE, SIGN_KEEPING

UNKNOWN: frozenset[int] = frozenset()
NOT_NEGATIVE = frozenset([1])


def signs_of(graph: Graph, assumed: Mapping[Value, frozenset[int]] | None = None) -> dict[Value, frozenset[int]]:
    """Returns the sign of every value of which something is known, some perhaps `known` before."""
    signs: dict[Value, frozenset[int]] = dict(assumed or {})
    for value in graph.constants:
        if value.known is not None:
            signs[value] = frozenset(sign for sign in (1, -1) if value.known * sign >= 0)
    for equation in graph.equations:
        sign = _sign_of(equation, [signs.get(value, UNKNOWN) for value in equation.inputs])
        if sign:
            signs.update({output: sign for output in equation.outputs})
    return signs


def _sign_of(equation: Equation, signs: list[frozenset[int]]) -> frozenset[int]:
    name = equation.primitive
    if name == "call":
        return _sign_of_call(equation, signs)
    if name in NONNEGATIVE or (name == "integer_pow" and equation.params["y"] % 2 == 0):
        return NOT_NEGATIVE
    if name == "mul" and equation.inputs[0] is equation.inputs[1]:
        return NOT_NEGATIVE
    if name == "clamp":
        low, value, high = signs
        return _minimum(_maximum(value, low), high)
    if name in _TABLE:
        return _TABLE[name](*signs)  # type: ignore[operator]  # functions of one, two or more signs
    if name in SIGN_KEEPING:
        relevant = [sign for sign, value in zip(signs, equation.inputs, strict=True) if _has_entries(name, value)]
        return frozenset.intersection(*relevant) if relevant else UNKNOWN
    return UNKNOWN


def _sign_of_call(equation: Equation, signs: list[frozenset[int]]) -> frozenset[int]:
    """What the body of a call says of its one result."""
    if equation.call != "entrywise" or len(equation.outputs) != 1:
        return UNKNOWN
    body = body_of(equation)
    return signs_of(body, dict(zip(body.inputs, signs, strict=True))).get(body.outputs[0], UNKNOWN)


def _product(left, right):
    return frozenset(a * b for a in left for b in right)


def _maximum(left, right):
    return (left | right) & NOT_NEGATIVE | (left & right)


def _minimum(left, right):
    return _negated(_maximum(_negated(left), _negated(right)))


def _negated(sign):
    return frozenset(-s for s in sign)


_TABLE = {
    "mul": _product,
    "div": _product,
    "max": _maximum,
    "min": _minimum,
    "neg": _negated,
    "add": lambda left, right: left & right,
    "add_any": lambda left, right: left & right,
    "sub": lambda left, right: left & _negated(right),
    "pow": lambda base, exponent: base & NOT_NEGATIVE,
}


def _has_entries(name: str, value: Value) -> bool:
    """Whether an operand's entries appear in the result: indices and predicates of layout operations do not."""
    if name in LAYOUT:
        return value.dtype is not None and jax.dtypes.issubdtype(value.dtype, np.inexact)
    return value.active
