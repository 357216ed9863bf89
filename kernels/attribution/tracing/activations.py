"""Which entrywise functions are a ReLU, however they are written: by what they give at a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .jaxpr import Equation, Value, body_of
from .primitives import STEPS

# Far out too: a ReLU6, or a clip at some number, is none.
PROBES = np.array([-1e9, -40.0, -3.7, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 1.0, 3.7, 40.0, 1e9])

_LARGEST = 1 << 16  # entries of a constant that may all be one number

_FUNCTIONS: dict[str, Callable] = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "neg": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square, "sqrt": np.sqrt,
    "gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "xor": np.logical_xor,
    "log": np.log, "exp": np.exp, "rsqrt": lambda x: 1 / np.sqrt(x),
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.choose(np.asarray(which).astype(int), cases, mode="clip"),
}  # fmt: skip
_SAME = frozenset("convert_element_type copy stop_gradient name broadcast_in_dim reshape squeeze".split())


class _Numbers(NamedTuple):
    """What stands for an array.

    Attributes:
        plain: its numbers.
        followed: the same, NaN where a gradient that is stopped on the way would be needed.
    """

    plain: Any
    followed: Any


def is_relu(
    equations: Sequence[Equation], root: Value, constants: Mapping[Value, object], producer: Mapping[Value, Equation]
) -> bool:
    """Whether the last of `equations` gives max(root, 0), whatever the parameters.

    Args:
        equations: an entrywise function of `root`, in execution order.
        constants: of the graph, with their arrays.
        producer: what makes each value of it.
    """
    if equations[-1].primitive == "relu" and len(equations) == 1:
        return True
    with np.errstate(all="ignore"):
        result = _evaluated(equations, {root: _Numbers(PROBES, PROBES)}, constants, producer)
    if result is None or np.shape(result.followed) != PROBES.shape:
        return False
    return bool(np.all(result.followed == np.maximum(PROBES, 0)))


def number_of(value: Value, constants: Mapping[Value, object], producer: Mapping[Value, Equation]) -> float | None:
    """Returns a constant that is one number, perhaps repeated or computed from others; None for another one."""
    number = _numbers(value, {}, constants, producer)
    return None if number is None or np.ndim(number.plain) else float(number.plain)


def _evaluated(equations: Sequence[Equation], values: dict, constants: Mapping, producer: Mapping) -> _Numbers | None:
    """The last equation's result for numbers in the place of arrays; None where it is not followed."""
    for equation in equations:
        operands = [_numbers(value, values, constants, producer) for value in equation.inputs]
        values[equation.outputs[0]] = _result(equation, operands)
    return values[equations[-1].outputs[0]] if equations else None


def _result(equation: Equation, numbers: Sequence[_Numbers | None]) -> _Numbers | None:
    """The result of an equation for numbers; None where it is not followed."""
    operands = [operand for operand in numbers if operand is not None]
    if len(operands) < len(numbers):
        return None
    if equation.call == "entrywise":
        body = body_of(equation)
        own = {output: producer for producer in body.equations for output in producer.outputs}
        return _evaluated(body.equations, dict(zip(body.inputs, operands, strict=True)), body.constants, own)
    if equation.primitive == "stop_gradient":
        plain = operands[0].plain
        return _Numbers(plain, np.full(np.shape(plain), np.nan) if equation.inputs[0].active else plain)
    plain = _applied(equation, [operand.plain for operand in operands])
    if plain is None:
        return None
    # Nothing flows through a comparison, stopped or not.
    is_step = equation.primitive in STEPS
    return _Numbers(plain, plain if is_step else _applied(equation, [operand.followed for operand in operands]))


def _applied(equation: Equation, arrays: Sequence):
    """What a primitive makes of numbers; None for one that is not known here."""
    name = equation.primitive
    if name == "convert_element_type" and jax.dtypes.issubdtype(equation.params["new_dtype"], np.integer):
        return np.trunc(np.asarray(arrays[0], np.float64))
    if name == "convert_element_type" and equation.params["new_dtype"] == np.bool_:
        return np.not_equal(arrays[0], 0)
    if name in _SAME:
        return arrays[0]
    if name == "integer_pow":
        return np.power(arrays[0], equation.params["y"])
    function = _FUNCTIONS.get(name)
    return None if function is None else function(*arrays)


def _numbers(value: Value, values: dict, constants: Mapping, producer: Mapping) -> _Numbers | None:
    """What stands for a value: an entrywise function of what is in `values`, or a constant that is one number."""
    if value in values:
        return values[value]
    if value.known is not None:
        return _Numbers(value.known, value.known)
    source = producer.get(value)
    if source is not None:
        values[value] = None  # an active one is followed only where it lies between
        if not value.active:
            values[value] = _result(source, [_numbers(v, values, constants, producer) for v in source.inputs])
        return values[value]
    array = constants.get(value)
    if array is None or isinstance(array, jax.core.Tracer) or not 1 <= np.size(array) <= _LARGEST:
        return None
    if not (jax.dtypes.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        return None
    entries = np.asarray(array).ravel()
    if np.any(entries != entries[0]):
        return None
    number = float(entries[0])
    return _Numbers(number, number)
