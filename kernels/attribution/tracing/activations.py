"""Which entrywise functions are a ReLU, however they are written: by what they give at a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from .jaxpr import Equation, Value, body_of

# Far out too: a ReLU6, or a clip at some number, is none.
PROBES = np.array([-1e9, -40.0, -3.7, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 1.0, 3.7, 40.0, 1e9])

_FUNCTIONS = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "neg": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square, "sqrt": np.sqrt,
    "gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "xor": np.logical_xor,
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.where(which, cases[-1], cases[0]) if len(cases) == 2 else None,
}  # fmt: skip
_SAME = frozenset("convert_element_type copy stop_gradient name broadcast_in_dim reshape squeeze".split())


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
        result = _evaluated(equations, {root: PROBES}, constants, producer)
    if result is None or np.shape(result) != PROBES.shape:
        return False
    return bool(np.all(result == np.maximum(PROBES, 0)))


def _evaluated(equations: Sequence[Equation], values: dict[Value, object], constants: Mapping, producer: Mapping):
    """The last equation's result for numbers in the place of arrays; None where it is not followed."""
    for equation in equations:
        operands = [values[v] if v in values else _number(v, constants, producer) for v in equation.inputs]
        values[equation.outputs[0]] = _result(equation, operands)
    return values[equations[-1].outputs[0]] if equations else None


def _result(equation: Equation, operands: Sequence):
    """The result of an equation for numbers; None where it is not followed."""
    if any(operand is None for operand in operands):
        return None
    if equation.call == "entrywise":
        body = body_of(equation)
        own = {output: made for made in body.equations for output in made.outputs}
        return _evaluated(body.equations, dict(zip(body.inputs, operands, strict=True)), body.constants, own)
    if equation.primitive in _SAME:
        return operands[0]
    if equation.primitive == "integer_pow":
        return np.power(operands[0], equation.params["y"])
    function = _FUNCTIONS.get(equation.primitive)
    return None if function is None else function(*operands)


def _number(value: Value, constants: Mapping[Value, object], producer: Mapping[Value, Equation]):
    """A constant that is one number, perhaps repeated or computed from others; None for another one."""
    if value.known is not None:
        return value.known
    made = producer.get(value)
    if made is not None:
        return None if value.active else _result(made, [_number(v, constants, producer) for v in made.inputs])
    array = constants.get(value)
    if array is None or isinstance(array, jax.core.Tracer) or np.size(array) != 1:
        return None
    return float(np.asarray(array, np.float64).reshape(()))
