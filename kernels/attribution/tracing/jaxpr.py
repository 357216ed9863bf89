"""Traces a function to a flat list of equations; the only file here that touches jax.extend.

Nested calls (jit, checkpoint, custom_jvp, custom_vjp, closed_call) are opened. A call that is one function of one
value, entry by entry (`jax.nn.relu` and its kin, a quantiser with a straight-through gradient), stays an equation of
its own; an opened call that has a derivative of its own leaves a `Region`, so that a gradient can be that one. Works on
the jaxprs of JAX 0.10 (closed and open) and 0.11 (one class); neither promises to stay as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core, source_info_util

from .primitives import AFFINE, DETACHED, ELEMENTWISE, LAYOUT, STRAIGHT_THROUGH

# Primitives that only call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "composite": "jaxpr",
    "custom_vmap_call": "call",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
CUSTOM = frozenset(name for name in CALLS if name.startswith(("custom_jvp", "custom_vjp")))

# Functions of jax.nn whose jit keeps its name: one activation each, whatever they are made of.
ACTIVATIONS = frozenset(
    "celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid mish relu relu6 selu sigmoid "
    "silu soft_sign softplus sparse_plus squareplus swish".split()
)
_OF_JAX_NN = re.compile(r"jax.(_src.)?nn.functions")


@dataclasses.dataclass(eq=False)
class Value:
    """An array of the program: shape, dtype, whether relevance can reach it, and its number if it is a literal.

    Attributes:
        tokens: whether it holds integers of the example, moved or shifted, with which parameters can be looked up.
    """

    shape: tuple[int, ...]
    dtype: Any
    active: bool = False
    known: float | None = None
    tokens: bool = False


@dataclasses.dataclass(eq=False)
class Region:
    """A call that was opened and has a derivative of its own: `outputs = apply(*inputs)`."""

    inputs: tuple[Value, ...]
    apply: Callable[..., tuple]
    outputs: tuple[Value, ...] = ()


@dataclasses.dataclass(eq=False)
class Equation:
    """outputs = primitive(inputs).

    Attributes:
        apply: computes it.
        scope: the name stack; source: the line of the program.
        call: "" for a primitive; "entrywise" for a call that stays whole and is a function of one active value, entry
            by entry; "opaque" for another one.
        regions: that it lies in, the outermost first.
        original: JAX's own equation, of which parameters were changed to `params` where `changes` has some.
        bodies: the graphs of a loop's step, or of a choice's branches, of which `NESTED` says how they are called.
        carries: of a loop, what its carries are before each step, stacked; see `loops`.
    """

    primitive: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    params: dict
    apply: Callable[..., tuple]
    scope: str
    source: str
    call: str = ""
    regions: tuple[Region, ...] = ()
    original: Any = None
    changes: dict = dataclasses.field(default_factory=dict)
    bodies: tuple[Graph, ...] = ()
    carries: tuple[Value, ...] = ()

    @property
    def passes_straight(self) -> bool:
        """Whether it is a step function inside a call whose own derivative goes through it."""
        return self.primitive in STRAIGHT_THROUGH and bool(self.regions)


@dataclasses.dataclass(eq=False)
class Graph:
    """A traced function: values by position, constants with their arrays, equations in execution order.

    Attributes:
        primitives: the names of all primitives, those in nested jaxprs too; calls that are opened are none.
        lookups: what looks parameters up by tokens: relevance begins and ends at its results.
        lost: lines where tokens go into a loop or a branch, in which look-ups are not seen.
    """

    inputs: list[Value]
    outputs: list[Value]
    constants: dict[Value, Any]
    equations: list[Equation]
    output_tree: Any
    literals: dict = dataclasses.field(default_factory=dict)
    primitives: frozenset[str] = frozenset()
    lookups: list[Equation] = dataclasses.field(default_factory=list)
    lost: list[str] = dataclasses.field(default_factory=list)


def trace(function: Callable, arguments: Sequence, active: Sequence[bool]) -> Graph:
    """Returns the graph of `function(*arguments)`; integers of which relevance is wanted are tokens.

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
        environment[variable] = value = _value(variable.aval, is_active and is_float(variable.aval.dtype))
        value.tokens = is_active and is_integer(value.dtype)
        graph.inputs.append(value)
    _add_constants(graph, environment, constvars, constants)
    _Inliner(graph).add(environment, equations)
    graph.outputs = [_read(graph, environment, variable) for variable in outvars]
    # An opened call is only what is inside; one that stays whole has a name in the graph.
    graph.primitives = frozenset(_names(equations) - CALLS.keys() | {e.primitive for e in graph.equations})
    return graph


def _names(equations) -> set[str]:
    """The names of all primitives of equations and of the jaxprs in their parameters."""
    names: set[str] = set()
    for equation in equations:
        names.add(equation.primitive.name)
        for parameter in equation.params.values():
            for nested in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                names |= _names(getattr(getattr(nested, "jaxpr", nested), "eqns", ()))
    return names


def written(graph: Graph, function: Callable, inputs: Sequence[Value], like: Equation) -> list[Equation]:
    """Returns equations that compute `function` of values of a graph: another way to write equations it has.

    The equations are not added; the outputs of the last one are the function's. They stand in for `like`.
    """
    shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in inputs]
    _, constants, invars, _, equations = _opened(jax.make_jaxpr(function)(*shapes))
    if constants:
        raise ValueError("a rewritten equation closes over arrays")
    inner = Graph([], [], graph.constants, [], None, graph.literals)
    _Inliner(inner, like.regions).add(dict(zip(invars, inputs, strict=True)), equations, like.scope, like.source)
    for equation in inner.equations:
        equation.scope, equation.source = like.scope, like.source
    return inner.equations


@dataclasses.dataclass
class _Inliner:
    """Appends equations to a graph, nested calls opened."""

    graph: Graph
    regions: tuple[Region, ...] = ()

    def add(self, environment: dict, equations, scope: str = "", called_at: str = "") -> None:
        for equation in equations:
            inputs = tuple(_read(self.graph, environment, variable) for variable in equation.invars)
            name = equation.primitive.name
            own_scope = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
            # What JAX has traced before carries no lines: then that of the call counts.
            source = source_info_util.summarize(equation.source_info) or called_at
            whole = _whole_call(equation, inputs) if name in CALLS else ""
            if name in CALLS and not whole:
                outputs = self._open(equation, inputs, own_scope, source)
            else:
                outputs = self._append(equation, inputs, own_scope, source, whole)
            environment.update(zip(equation.outvars, outputs, strict=True))

    def _append(self, equation, inputs, scope, source, whole):
        name = equation.primitive.name
        stops = name in DETACHED and not (name in STRAIGHT_THROUGH and self.regions)
        flows = any(value.active for value in inputs) and not stops
        flow, bodies = [flows] * len(equation.outvars), ()
        if name in NESTED and flows:
            bodies, flow = NESTED[name](equation, [value.active for value in inputs])
        outputs = tuple(
            _value(v.aval, f and is_float(v.aval.dtype)) for v, f in zip(equation.outvars, flow, strict=True)
        )
        result = Equation(
            _name_of_call(equation) if whole else name, inputs, outputs, equation.params, applier(equation),
            scope, source, whole, self.regions, equation, bodies=bodies,
        )  # fmt: skip
        self.graph.equations.append(result)
        if any(value.tokens for value in inputs):
            self._follow_tokens(result)
        return outputs

    def _follow_tokens(self, equation: Equation) -> None:
        """Marks what is made of tokens, and what is looked up by them."""
        name = equation.primitive
        if name == "gather" and equation.inputs[1].tokens and not equation.inputs[0].active:
            if is_float(equation.outputs[0].dtype):
                equation.outputs[0].active = True
                self.graph.lookups.append(equation)
        elif name in LAYOUT | ELEMENTWISE:
            for output in equation.outputs:
                output.tokens = is_integer(output.dtype)
        elif name in NESTED or name == "while":
            self.graph.lost.append(equation.source)

    def _open(self, equation, inputs, scope, source):
        constvars, constants, invars, outvars, body = _opened(equation.params[CALLS[equation.primitive.name]])
        inner = dict(zip(invars, inputs, strict=True))
        _add_constants(self.graph, inner, constvars, constants)
        if equation.primitive.name not in CUSTOM or not any(value.active for value in inputs):
            self.add(inner, body, scope, source)
            return [_read(self.graph, inner, variable) for variable in outvars]
        region = Region(inputs, applier(equation))
        outer, self.regions = self.regions, (*self.regions, region)
        self.add(inner, body, scope, source)
        # Outputs of its own, also where the call hands an input on.
        results = [self._copy(_read(self.graph, inner, variable), scope, source) for variable in outvars]
        self.regions = outer
        region.outputs = tuple(results)
        return results

    def _copy(self, value: Value, scope: str, source: str) -> Value:
        output = Value(value.shape, value.dtype, value.active)
        same = Equation("copy", (value,), (output,), {}, lambda x: (x,), scope, source, "", self.regions)
        self.graph.equations.append(same)
        return output


def _whole_call(equation, inputs: Sequence[Value]) -> str:
    """How a call stays whole, see `Equation.call`; "" for one that is opened."""
    name, active = equation.primitive.name, [value.active for value in inputs]
    jaxpr = equation.params[CALLS[name]]
    is_named = name in ("jit", "pjit") and _name_of_call(equation) != "call"
    if sum(active) == 1 and len(equation.outvars) == 1 and (is_named or name in CUSTOM):
        (data,) = [value for value in inputs if value.active]
        if data.shape == equation.outvars[0].aval.shape and _is_elementwise(jaxpr, data.shape):
            return "entrywise"
    if name in CUSTOM and any(active):
        # Where the body cuts the way that the call's own derivative takes, the call can only be taken as it is.
        equations = _reached(jaxpr, active)
        if not all(r for r, v in zip(equations, equation.outvars, strict=True) if is_float(v.aval.dtype)):
            return "opaque"
        # A quantiser with a step that hangs on the data: what is inside is not what it stands for.
        names = _primitives(jaxpr)
        if keeps_shape(inputs, [v.aval for v in equation.outvars]) and names & STRAIGHT_THROUGH and not names & AFFINE:
            return "opaque"
    return ""


def keeps_shape(inputs: Sequence[Value], outputs: Sequence) -> bool:
    """Whether there is one active operand, and one result of its shape."""
    active = [value for value in inputs if value.active]
    return len(active) == len(outputs) == 1 and active[0].shape == tuple(outputs[0].shape)


def _primitives(jaxpr) -> set[str]:
    """The names of all primitives in a body."""
    names: set[str] = set()
    for equation in _opened(jaxpr)[-1]:
        name = equation.primitive.name
        names |= _primitives(equation.params[CALLS[name]]) if name in CALLS else {name}
    return names


def passes_through(equation: Equation) -> bool:
    """Whether a call that stays whole is a kind of activation: one value in its own shape, no layer inside."""
    names = _primitives(equation.original.params[CALLS[equation.original.primitive.name]])
    return keeps_shape(equation.inputs, equation.outputs) and not names & AFFINE


def _reached(jaxpr, active: Sequence[bool]) -> list[bool]:
    """Which results of a body relevance can reach from the active operands."""
    _, _, invars, outvars, equations = _opened(jaxpr)
    reach = {variable for variable, is_active in zip(invars, active, strict=True) if is_active}

    def reaches(variable) -> bool:
        return not isinstance(variable, core.Literal) and variable in reach

    for equation in equations:
        flags = [reaches(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name in CALLS:
            results = _reached(equation.params[CALLS[name]], flags) if name not in CUSTOM else [any(flags)] * 9
        elif name in NESTED and any(flags):
            _, results = NESTED[name](equation, flags)
        else:
            results = [any(flags) and (name not in DETACHED or name in STRAIGHT_THROUGH)] * len(equation.outvars)
        reach.update(
            v for v, r in zip(equation.outvars, results, strict=False) if r and is_float(getattr(v.aval, "dtype", None))
        )
    return [reaches(variable) for variable in outvars]


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


def _name_of_call(equation) -> str:
    """The name of a call that stays whole: of a function of jax.nn, else "call", for a name alone says nothing."""
    jaxpr = equation.params[CALLS[equation.primitive.name]]
    info = getattr(getattr(jaxpr, "jaxpr", jaxpr), "debug_info", None)
    where = str(getattr(info, "func_src_info", ""))
    name = where.partition(" ")[0]
    return name if name in ACTIVATIONS and _OF_JAX_NN.search(where) else "call"


def body_of(equation: Equation) -> Graph:
    """Returns the graph of a call that stays whole; its operands are active as those of the call are."""
    return _graph_of(
        equation.original.params[CALLS[equation.original.primitive.name]], [value.active for value in equation.inputs]
    )


def _graph_of(jaxpr, active: Sequence[bool]) -> Graph:
    """The graph of a nested jaxpr, whose operands are active as said."""
    constvars, constants, invars, outvars, body = _opened(jaxpr)
    inputs = [
        _value(variable.aval, is_active and is_float(getattr(variable.aval, "dtype", None)))
        for variable, is_active in zip(invars, active, strict=True)
    ]
    graph = Graph(inputs, [], {}, [], None)
    environment = dict(zip(invars, graph.inputs, strict=True))
    _add_constants(graph, environment, constvars, constants)
    _Inliner(graph).add(environment, body)
    graph.outputs = [_read(graph, environment, variable) for variable in outvars]
    return graph


def _loop(equation, active: Sequence[bool]) -> tuple[tuple[Graph, ...], list[bool]]:
    """The graph of a step of `lax.scan`, and which results are active: a carry is if it is after some step."""
    params, flags = equation.params, list(active)
    carries = slice(params["num_consts"], params["num_consts"] + params["num_carry"])
    while True:
        graph = _graph_of(params["jaxpr"], flags)
        after = [value.active for value in graph.outputs]
        now = [a or b for a, b in zip(flags[carries], after[: params["num_carry"]], strict=True)]
        if now == flags[carries]:
            return (graph,), [*now, *after[params["num_carry"] :]]
        flags[carries] = now


def _choice(equation, active: Sequence[bool]) -> tuple[tuple[Graph, ...], list[bool]]:
    """The graphs of the branches of `lax.cond`, and which results are active in one of them."""
    graphs = tuple(_graph_of(branch, active[1:]) for branch in equation.params["branches"])
    return graphs, [any(values) for values in zip(*([v.active for v in g.outputs] for g in graphs), strict=True)]


# Primitives with bodies of which relevance goes through each: (equation of JAX, which operands are active) to the
# graphs and which results are active.
NESTED: dict[str, Callable] = {"scan": _loop, "cond": _choice}


def applier(equation, **changes) -> Callable[..., tuple]:
    """Returns the function of arrays that an equation of JAX is, with some of its parameters changed."""

    def apply(*arrays):
        with getattr(equation.ctx, "manager", contextlib.nullcontext()):
            parameters = equation.primitive.get_bind_params(equation.params | changes)
            results = equation.primitive.bind(*_alike(arrays), **parameters)
        return tuple(results) if equation.primitive.multiple_results else (results,)

    return apply


def _manual_axes(array) -> frozenset:
    """The axes of a `shard_map` along which an array differs, under either name that JAX has for them."""
    aval = jax.typeof(array)
    return getattr(getattr(aval, "manual_axis_type", aval), "varying", getattr(aval, "vma", frozenset()))


def _alike(arrays):
    """The arrays, all of them varying along the axes of a `shard_map` that one of them varies along."""
    manual = [_manual_axes(array) for array in arrays]
    everywhere = frozenset().union(*manual)
    if not everywhere:
        return arrays
    return [
        array if varies == everywhere else jax.lax.pcast(array, tuple(everywhere - varies), to="varying")
        for array, varies in zip(arrays, manual, strict=True)
    ]


def varies_manually(array) -> bool:
    """Whether an array differs along an axis of a `shard_map` that it is in."""
    return bool(_manual_axes(array))


def as_like(array, like):
    """Returns an array that varies along the same axes of a `shard_map` as another one."""
    return _alike((array, like))[0]


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
    number = np.ndim(variable.val) == 0 and np.isrealobj(variable.val)
    key = (str(variable.aval), repr(float(variable.val))) if number else object()
    if key not in graph.literals:
        value = _value(variable.aval, False)
        value.known = float(variable.val) if number else None
        graph.constants[value] = variable.val
        graph.literals[key] = value
    return graph.literals[key]


def _value(aval, active) -> Value:
    return Value(tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", None), active)


def is_integer(dtype) -> bool:
    """Whether a dtype is one of integers."""
    return dtype is not None and jax.dtypes.issubdtype(dtype, np.integer)


def is_float(dtype) -> bool:
    """Whether relevance can be of this dtype."""
    return dtype is not None and jax.dtypes.issubdtype(dtype, np.inexact)
