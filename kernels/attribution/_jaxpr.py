"""Traces a function to a flat list of equations; the only file here that touches jax.extend.

Nested calls (jit, checkpoint, custom_jvp, custom_vjp, closed_call) are inlined. A call that is one activation of one
value (`jax.nn.relu` and its kin) stays an equation of its own, so that its own derivative is used.
Works on the jaxprs of JAX 0.10 (closed and open) and 0.11 (one class); neither promises to stay as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core, source_info_util

from .primitives import DETACHED, ELEMENTWISE

# Primitives that only call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}

# Functions of jax.nn whose jit keeps its name: one activation each, whatever they are made of.
ACTIVATIONS = frozenset(
    "celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid mish relu relu6 selu sigmoid "
    "silu soft_sign softplus sparse_plus squareplus swish".split()
)


@dataclasses.dataclass(eq=False)
class Value:
    """An array of the program: shape, dtype, whether relevance can reach it, and its number if it is a literal."""

    shape: tuple[int, ...]
    dtype: Any
    active: bool = False
    known: float | None = None


@dataclasses.dataclass(eq=False)
class Equation:
    """outputs = primitive(inputs). `apply` computes it; `scope` is the name stack, `source` the line of the program."""

    primitive: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    params: dict
    apply: Callable[..., tuple]
    scope: str
    source: str


@dataclasses.dataclass(eq=False)
class Graph:
    """A traced function: values by position, constants with their arrays, equations in execution order."""

    inputs: list[Value]
    outputs: list[Value]
    constants: dict[Value, Any]
    equations: list[Equation]
    output_tree: Any


def trace(function: Callable, arguments: Sequence, active: Sequence[bool]) -> Graph:
    """Returns the graph of `function(*arguments)`.

    Args:
        function: of pytrees of arrays.
        arguments: the pytrees; only shapes and dtypes are looked at.
        active: for every leaf of `arguments`, whether relevance is wanted there.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    graph = Graph([], [], {}, [], jax.tree.structure(shapes))
    constvars, constants, invars, outvars, equations = _opened(closed)
    environment: dict = {}
    for variable, is_active in zip(invars, active, strict=True):
        environment[variable] = _value(variable.aval, is_active and is_float(variable.aval.dtype))
        graph.inputs.append(environment[variable])
    _add_constants(graph, environment, constvars, constants)
    _inline(graph, environment, equations)
    graph.outputs = [_read(graph, environment, variable) for variable in outvars]
    return graph


def _inline(graph: Graph, environment: dict, equations, scope: str = "", called_at: str = "") -> None:
    """Appends `equations` to the graph, nested calls opened."""
    for equation in equations:
        inputs = tuple(_read(graph, environment, variable) for variable in equation.invars)
        name, own_scope = equation.primitive.name, "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
        # What JAX has traced before carries no lines: then that of the call counts.
        source = source_info_util.summarize(equation.source_info) or called_at
        if name in CALLS and not _is_activation(equation, inputs):
            constvars, constants, invars, outvars, body = _opened(equation.params[CALLS[name]])
            inner = dict(zip(invars, inputs, strict=True))
            _add_constants(graph, inner, constvars, constants)
            _inline(graph, inner, body, own_scope, source)
            outputs = [_read(graph, inner, variable) for variable in outvars]
            environment.update(zip(equation.outvars, outputs, strict=True))
            continue
        flows = any(value.active for value in inputs) and name not in DETACHED
        outputs = tuple(_value(v.aval, flows and is_float(v.aval.dtype)) for v in equation.outvars)
        environment.update(zip(equation.outvars, outputs, strict=True))
        graph.equations.append(
            Equation(
                _activation_name(equation) if name in CALLS else name,
                inputs,
                outputs,
                equation.params,
                _applier(equation),
                own_scope,
                source,
            )
        )


def _is_activation(equation, inputs) -> bool:
    """Whether a call is an elementwise function of one active value that should stay whole."""
    name = equation.primitive.name
    if sum(value.active for value in inputs) != 1 or len(equation.outvars) != 1:
        return False
    if name in ("jit", "pjit") and equation.params["name"] not in ACTIVATIONS:
        return False
    (data,) = [value for value in inputs if value.active]
    return (
        name in ("jit", "pjit", "custom_jvp_call")
        and data.shape == equation.outvars[0].aval.shape
        and _is_elementwise(equation.params[CALLS[name]], data.shape)
    )


def _is_elementwise(jaxpr, shape) -> bool:
    _, _, _, _, equations = _opened(jaxpr)
    for equation in equations:
        name = equation.primitive.name
        if name in CALLS:
            if not _is_elementwise(equation.params[CALLS[name]], shape):
                return False
        elif name == "broadcast_in_dim":
            if equation.invars[0].aval.size != 1:
                return False
        elif name not in ELEMENTWISE and name not in DETACHED:
            return False
    return True


def _activation_name(equation) -> str:
    """The name of a call that stays whole: "relu" for max(x, 0), else the function's."""
    body = equation
    while body.primitive.name in CALLS:
        _, _, _, _, equations = _opened(body.params[CALLS[body.primitive.name]])
        if len(equations) != 1:
            break
        body = equations[0]
    if body.primitive.name == "max" and any(isinstance(v, core.Literal) and v.val == 0 for v in body.invars):
        return "relu"
    info = getattr(equation.params[CALLS[equation.primitive.name]], "jaxpr", None)
    info = getattr(info or equation.params[CALLS[equation.primitive.name]], "debug_info", None)
    return equation.params.get("name") or getattr(info, "func_name", None) or equation.primitive.name


def _applier(equation) -> Callable[..., tuple]:
    def apply(*arrays):
        with getattr(equation.ctx, "manager", contextlib.nullcontext()):
            results = equation.primitive.bind(*arrays, **equation.primitive.get_bind_params(equation.params))
        return tuple(results) if equation.primitive.multiple_results else (results,)

    return apply


def _opened(jaxpr):
    """Returns (constvars, constants, invars, outvars, equations) of a jaxpr of either JAX, closed or open."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    constants = list(getattr(jaxpr, "consts", ()))
    constvars = list(inner.constvars)
    if len(constants) != len(constvars):
        raise NotImplementedError(
            f"a traced function inside fn has {len(constvars)} constants, of which {len(constants)} have values; "
            "pass the arrays it closes over as parts of params."
        )
    return constvars, constants, list(inner.invars), list(inner.outvars), inner.eqns


def _add_constants(graph, environment, constvars, constants):
    for variable, constant in zip(constvars, constants, strict=True):
        environment[variable] = value = _value(variable.aval, False)
        graph.constants[value] = constant


def _read(graph, environment, variable) -> Value:
    if not isinstance(variable, core.Literal):
        return environment[variable]
    value = _value(variable.aval, False)
    value.known = float(variable.val) if np.ndim(variable.val) == 0 and np.isrealobj(variable.val) else None
    graph.constants[value] = variable.val
    return value


def _value(aval, active) -> Value:
    return Value(tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", None), active)


def is_float(dtype) -> bool:
    """Whether relevance can be of this dtype."""
    return jax.dtypes.issubdtype(dtype, np.inexact)
