"""`attribute`: one forward pass of a traced function, then relevance backwards through it, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import plain_operations
from ._jaxpr import Value, trace
from .chunks import in_chunks
from .composites import as_composite
from .operations import Operation, Program, program_of
from .propagation import Kept, propagate, registered_rule
from .report import Report
from .rules import Gradient
from .start import starting_relevance
from .unsupported import no_rule

SEMANTICS = ("zennit",)


def attribute(
    fn: Callable,
    params: Any,
    x: Any,
    *,
    target: Any = None,
    rules: Any = "epsilon_plus_flat",
    semantics: str = "zennit",
    at: str | Sequence[str] | None = None,
    return_report: bool = False,
    fold_norm: bool | str = True,
    batch_size: int | None = None,
) -> tuple:
    """Returns the output of a function and the relevance of its input for this output.

    The function stays as it is: it is traced, and rules are applied to the operations that are found. Scales and shifts
    by channel, BatchNorm for one, are folded into the convolution or product beside them. Wrap the call in `jax.jit` to
    compile it; it can be mapped by `jax.vmap` and differentiated.

    Args:
        fn: `fn(params, x)`, an array or a pytree with one; samples on the first axis of inputs and output.
        params: pytree of weights. Paths of its leaves name the layers: "conv1" for params["conv1"]["kernel"].
        x: array or pytree of arrays that gets relevance. Integers in it get none (zeros).
        target: what of the output is explained. None: all of it. An integer, or integers `[batch]`: this value of the
            last axis. "argmax": the largest. Floats of the output's shape: the relevance to start from. A function:
            of the output, gives the same.
        rules: a composite of `composites`, its name, or a rule for all affine operations. A list or a dict of them
            gives a list or a dict of relevances from one forward pass.
        semantics: "zennit".
        at: name of a layer or an operation (see `describe`): relevance of its output instead of that of x; with
            ":input" appended, of its input. What is folded into a layer belongs to it: its output is then the norm's.
            Several names give a dict, in which "x" is the input.
        return_report: give a conservation report too, of each of the `rules`.
        fold_norm: True, "after", "before": fold scales and shifts around affine operations, only those that follow or
            that precede them; False: none of them, they pass relevance on.
        batch_size: samples at a time; bounds the memory.

    Returns:
        (y, relevance), or (y, relevance, report). Relevance has the structure of x.

    Raises:
        ValueError: for a target out of range, an unknown name, kind or option, a NaN in x (when it can be looked at).
        NotImplementedError: for a primitive without a rule; the message has its place and the remedy.
    """
    if semantics not in SEMANTICS:
        raise ValueError(f"semantics is {semantics!r}; expected one of {', '.join(SEMANTICS)}.")
    if batch_size is not None:
        if return_report:
            raise ValueError("a report of chunks is not made; leave batch_size or return_report out.")
        return in_chunks(
            lambda x, target: attribute(fn, params, x, target=target, rules=rules, at=at, fold_norm=fold_norm),
            x, target, batch_size,
        )  # fmt: skip
    _check_numbers(x)
    program = read(fn, params, x, fold_norm=fold_norm)
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves((params, x))]
    values = forward(program, leaves)
    y = values[program.graph.outputs[0]]
    start = starting_relevance(y, target)
    chosen, tree = jax.tree.flatten(rules, is_leaf=lambda node: not isinstance(node, (list, tuple, dict)))
    x_leaves, x_tree = jax.tree.flatten(x)
    results = []
    for composite in chosen:
        composite = as_composite(composite)
        entries: list | None = [] if return_report else None
        found = backward(program, composite, values, start, entries, at)
        relevance = x_tree.unflatten(
            found.get(value, jnp.zeros(jnp.shape(leaf), _float_of(leaf)))
            for value, leaf in zip(program.graph.inputs[-len(x_leaves) :], x_leaves, strict=True)
        )
        chosen_relevance = relevance if at is None else _at(program, found, relevance, values, at)
        results.append((chosen_relevance, _report(entries, start, relevance) if return_report else None))
    relevances = jax.tree.unflatten(tree, [relevance for relevance, _ in results])
    y = jax.tree.unflatten(program.graph.output_tree, [y])
    if return_report:
        return y, relevances, jax.tree.unflatten(tree, [report for _, report in results])
    return y, relevances


def read(fn: Callable, params: Any, x: Any, *, fold_norm: bool | str = True) -> Program:
    """Returns the operations of `fn(params, x)`; only shapes and dtypes of `params` and `x` matter."""
    if fold_norm not in (True, False, "after", "before"):
        raise ValueError(f"fold_norm is {fold_norm!r}; expected True, False, 'after' or 'before'.")
    param_paths, _ = jax.tree_util.tree_flatten_with_path(params)
    x_leaves = jax.tree.leaves(x)
    if not any(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in x_leaves):
        raise ValueError("x has no array of floating-point numbers: relevance goes to such arrays only.")
    if hasattr(fn, "lower") and hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__  # a jax.jit keeps what it traced for speed
    active = [False] * len(param_paths) + [True] * len(x_leaves)
    with plain_operations.asked():
        # A function of its own each time: JAX would otherwise give back what it traced of `fn` for speed.
        graph = trace(lambda *arguments: fn(*arguments), (params, x), active)
    if len(graph.outputs) != 1:
        raise ValueError(
            f"fn returns {len(graph.outputs)} arrays; expected one: wrap it so that it returns what to explain."
        )
    if not graph.outputs[0].active:
        raise ValueError(
            "the output of fn does not hang on x by anything that has a derivative: there is no relevance."
        )
    paths = [layer_path(path) for path, _ in param_paths] + ["x"] * len(x_leaves)
    return program_of(graph, paths, fold_norm)


def layer_path(path: Sequence) -> str:
    """Returns "layer/parameter" of a leaf's path, without what containers add to it."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    if parts and parts[0] in ("params", "batch_stats") and len(parts) > 1:
        parts = parts[1:]
    return "/".join(part for part in parts if part not in ("value", "raw_value"))


def forward(program: Program, leaves: Sequence) -> dict[Value, Any]:
    """Returns every value of the program for these inputs."""
    values = dict(program.graph.constants)
    values.update(zip(program.graph.inputs, leaves, strict=True))
    for equation in program.graph.equations:
        arrays = [values[value] for value in equation.inputs]
        values.update(zip(equation.outputs, equation.apply(*arrays), strict=True))
    return values


def backward(
    program: Program,
    composite,
    values: Mapping[Value, Any],
    start: jax.Array,
    entries: list | None = None,
    at: Any = None,
) -> dict[Value, jax.Array]:
    """Returns the relevance of every value that has some, and appends what each step did to `entries`."""
    relevance: dict[Value, jax.Array] = {program.graph.outputs[0]: start}
    assigned = composite.assign(program.operations)
    for operation, rule in zip(reversed(program.operations), reversed(assigned), strict=True):
        if not any(output in relevance for output in operation.outputs):
            continue
        rule = _rule_or_default(operation, rule, program)
        received = [relevance.get(output, jnp.zeros(output.shape, output.dtype)) for output in operation.outputs]
        kept = None if entries is None else Kept()
        parts = propagate(rule, operation, received, values, program.facts, kept)
        for value, part in zip(operation.inputs, parts, strict=True):
            relevance[value] = relevance[value] + part if value in relevance else part
        if entries is not None:
            sums = [sum(jnp.sum(array) for array in arrays) for arrays in (received, parts)]
            entries.append((operation, rule, *sums, kept))
    return relevance


def _rule_or_default(operation: Operation, rule, program: Program):
    if "registered" in operation.kinds:
        return registered_rule(operation) if rule is None else rule
    if rule is not None:
        return rule
    if "unknown" in operation.kinds:
        raise no_rule(operation, program)
    return Gradient()


def _report(entries: list, start, relevance) -> Report:
    received, passed, bias, epsilon = (
        jnp.stack([jnp.asarray(column, start.dtype) for column in columns]) if columns else jnp.zeros(0, start.dtype)
        for columns in zip(*((r, p, kept.bias, kept.epsilon) for _, _, r, p, kept in entries), strict=True)
    ) if entries else (jnp.zeros(0, start.dtype),) * 4  # fmt: skip
    return Report(
        tuple(operation.name for operation, *_ in entries),
        tuple(operation.kinds[0] for operation, *_ in entries),
        tuple(type(rule).__name__ for _, rule, *_ in entries),
        received, passed, bias, epsilon, received - passed - bias - epsilon,
        jnp.sum(start), sum(jnp.sum(leaf) for leaf in jax.tree.leaves(relevance)),
    )  # fmt: skip


def _at(program: Program, found: Mapping, relevance, values: Mapping, at: str | Sequence[str]):
    """The relevance at one name, or at several as a dict."""
    if not isinstance(at, str):
        return {name: _at(program, found, relevance, values, name) for name in at}
    if at == "x":
        return relevance
    value = find(program, at)
    return found.get(value, jnp.zeros(value.shape, value.dtype))


def find(program: Program, name: str) -> Value:
    """Returns the value that a name of `at` stands for."""
    wanted, is_input = (name.removesuffix(":input"), True) if name.endswith(":input") else (name, False)
    operations = [o for o in program.operations if o.name == wanted]
    operations = operations or [o for o in program.operations if wanted in (o.base, *o.aliases)]
    affine = [o for o in operations if o.affine is not None]
    if len(affine) > 1:
        raise ValueError(f"at={name!r} is used {len(affine)} times: {', '.join(o.name for o in affine)}; name one.")
    if not operations:
        known = ", ".join(operation.name for operation in program.operations)
        raise ValueError(f"at={name!r} names no operation; there are {known}.")
    # A norm of several equations: its first input, its last output.
    operation = affine[0] if affine else operations[0] if is_input else operations[-1]
    return operation.inputs[0] if is_input else operation.outputs[0]


def describe(
    fn: Callable, params: Any, x: Any, *, rules: Any = "epsilon_plus_flat", fold_norm: bool | str = True
) -> list[dict]:
    """Returns what `attribute` sees: for every operation its name, kinds, output shape, rule, folded layers, source.

    Args: as for `attribute`; nothing is computed, `params` and `x` may be shapes (`jax.ShapeDtypeStruct`).
    """
    program = read(fn, params, x, fold_norm=fold_norm)
    assigned = as_composite(rules).assign(program.operations)
    return [
        {
            "name": operation.name,
            "kinds": operation.kinds,
            "shape": operation.outputs[0].shape,
            "rule": repr(rule) if rule is not None else ("none" if "unknown" in operation.kinds else "Gradient()"),
            "folded": operation.aliases,
            "source": operation.equations[-1].source,
        }
        for operation, rule in zip(program.operations, assigned, strict=True)
    ]


def _check_numbers(x) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(x)[0]:
        if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        if not np.isfinite(np.asarray(leaf, np.float64)).all():  # NumPy: inside a jit jax.numpy would be traced
            where = jax.tree_util.keystr(path)
            raise ValueError(f"x{where} has NaN or infinite values; relevance of it would be NaN everywhere.")


def _float_of(leaf):
    dtype = jnp.result_type(leaf)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32
