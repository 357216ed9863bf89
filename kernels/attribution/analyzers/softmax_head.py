"""The softmax at the end of a network: explanations are of what goes into it, of the logits.

Relevance of a probability is spread over all classes by the sum it is divided by, and says little of the class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ... import plain_operations
from ...array_types import Array, Float
from ..arguments import Parameters, PyTree, as_array, is_floating, plain
from ..tracing.jaxpr import Equation, Graph, Region, Value, trace
from ..tracing.primitives import LAYOUT

_CASTS = frozenset(("copy", "convert_element_type", "name", "reduce_precision", "optimization_barrier"))


def strip_softmax(fn: Callable) -> Callable[[PyTree, PyTree], Float[Array, "*outputs"]]:
    """Returns the function of the logits: what goes into the softmax or log-softmax that a network ends with.

    Args:
        fn: `fn(params, x)`, an array or a pytree with one, whose last step is a softmax, however it is written: as
            `jax.nn.softmax`, `jax.nn.log_softmax`, `x - logsumexp(x)` or exponentials over their sum.

    Returns:
        `logits(params, x)`, an array of the shape of fn's output; it can be traced, mapped and differentiated as fn.

    Raises:
        ValueError: from the function that is returned, where fn does not end with a softmax, or the logits have
            another shape than its output.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> logits = attribution.strip_softmax(lambda w, x: jax.nn.softmax(x @ w))
        >>> logits(jnp.eye(2), jnp.array([[1.0, 3.0]])).tolist()
        [[1.0, 3.0]]
    """
    inner = plain(fn)

    @functools.wraps(inner)
    def logits(params, x):
        graph, leaves = traced(inner, params, x)
        value = find_logits(graph)
        if value is None:
            last = _source(graph.outputs[0], _producers(graph))
            end = "its input" if last is None else f"{last.primitive!r} at {last.source or 'an unknown line'}"
            raise ValueError(f"fn does not end with a softmax or log-softmax but with {end}: explain it as it is.")
        if value.shape != graph.outputs[0].shape:
            raise ValueError(
                f"the softmax of fn takes {value.shape} and its output is {graph.outputs[0].shape}: something cuts or "
                "moves the probabilities. Do that to the logits instead, in a function without the softmax."
            )
        return jax.tree.unflatten(graph.output_tree, [evaluated(graph, leaves, value)])

    return logits


def refuse_softmax(fn: Callable, params: PyTree, x: PyTree) -> None:
    """Raises ValueError where `fn(params, x)` ends with a softmax."""
    graph, _ = traced(plain(fn), params, x)
    if len(graph.outputs) == 1 and find_logits(graph) is not None:
        raise ValueError(
            "fn ends with a softmax, and probabilities are not explained: give attribution.strip_softmax(fn), which "
            "returns the logits, or leave the softmax out."
        )


def traced(fn: Callable, params: PyTree, x: PyTree) -> tuple[Graph, list]:
    """Returns the graph of `fn(params, x)` and the arrays that are its inputs."""
    parameters, leaves = Parameters.of(params), jax.tree.leaves(x)
    active = [False] * len(parameters.arrays) + [is_floating(leaf) for leaf in leaves]
    with plain_operations.asked():
        graph = trace(lambda arrays, x: fn(parameters.structure.with_arrays(arrays), x), (parameters.arrays, x), active)
    return graph, [as_array(leaf) for leaf in (*parameters.arrays, *leaves)]


def find_logits(graph: Graph) -> Value | None:
    """Returns the value that goes into the softmax which gives a graph's output; None where there is none."""
    producer = _producers(graph)
    if len(graph.outputs) != 1:
        return None
    value = graph.outputs[0]
    source = _source(value, producer)
    if source is not None and source.primitive == "log":  # of a softmax
        source = _source(source.inputs[0], producer)
    if source is None or len(source.inputs) != 2:
        return None
    left, right = source.inputs
    if source.primitive == "div":
        return _of_exponential(left, producer) if _is_sum_of_exponentials(right, producer) else None
    if source.primitive == "mul":
        for one, other in ((left, right), (right, left)):
            inverse = _source(other, producer)
            if inverse is None or inverse.primitive not in ("div", "integer_pow"):
                continue
            if any(_is_sum_of_exponentials(operand, producer) for operand in inverse.inputs):
                return _of_exponential(one, producer)
    if source.primitive == "sub" and _is_logarithm_of_sum(right, producer):
        return _without_maximum(left, producer)
    return None


def evaluated(graph: Graph, leaves: Sequence, value: Value) -> Any:
    """Returns one value of a graph; calls with a derivative of their own are made whole, unless it lies in them."""
    producer = _producers(graph)
    around = set(producer[value].regions) if value in producer else set()
    items: dict[Equation | Region, None] = {}
    for equation in graph.equations:
        items[next((region for region in equation.regions if region not in around), equation)] = None
    needed: set[Value] = {value}
    order: list[Equation | Region] = []
    for item in reversed(items):
        if any(output in needed for output in item.outputs):
            order.insert(0, item)
            needed.update(item.inputs)
    values = dict(graph.constants) | dict(zip(graph.inputs, leaves, strict=True))
    for item in order:
        values.update(zip(item.outputs, item.apply(*(values[operand] for operand in item.inputs)), strict=True))
    return values[value]


def _producers(graph: Graph) -> dict[Value, Equation]:
    return {output: equation for equation in graph.equations for output in equation.outputs}


def _source(value: Value, producer, through=_CASTS) -> Equation | None:
    """The equation that a value comes from, casts apart."""
    source = producer.get(value)
    while source is not None and source.primitive in through and len(source.inputs) >= 1:
        source = producer.get(source.inputs[0])
    return source


def _of_exponential(value: Value, producer) -> Value | None:
    """What the exponential is of that a value is."""
    source = _source(value, producer, LAYOUT)
    return _without_maximum(source.inputs[0], producer) if source is not None and source.primitive == "exp" else None


def _without_maximum(value: Value, producer) -> Value:
    """A value before its maximum was taken off."""
    source = _source(value, producer)
    if source is not None and source.primitive == "sub" and _comes_from(source.inputs[1], ("reduce_max",), producer):
        return source.inputs[0]
    return value


def _is_sum_of_exponentials(value: Value, producer) -> bool:
    source = _source(value, producer, LAYOUT | {"abs"})  # jax.nn.logsumexp takes it
    if source is None or source.primitive not in ("reduce_sum", "dot_general"):
        return False
    return any(_of_exponential(operand, producer) is not None for operand in source.inputs)


def _is_logarithm_of_sum(value: Value, producer) -> bool:
    """Whether a value is the logarithm of a sum of exponentials, perhaps with a maximum added again."""
    source = _source(value, producer, LAYOUT)
    if source is not None and source.primitive == "add":
        return any(_is_logarithm_of_sum(operand, producer) for operand in source.inputs)
    return source is not None and source.primitive == "log" and _is_sum_of_exponentials(source.inputs[0], producer)


def _comes_from(value: Value, primitives, producer) -> bool:
    """Whether a value is made from the result of one of `primitives` by what keeps or chooses numbers."""
    source = producer.get(value)
    if source is None:
        return False
    if source.primitive in primitives:
        return True
    if source.primitive not in LAYOUT | {"stop_gradient", "max", "select_n"}:
        return False
    return any(_comes_from(operand, primitives, producer) for operand in source.inputs)
