"""Products that are summed as one product: x A + h B is (x, h) (A; B), so that a rule sees one sum with one bias.

As the rules of recurrent networks are written (Arras et al., EMNLP-WASSA 2017). Composites ask for it; elsewhere each
product is a layer of its own, as in Zennit.
"""

from __future__ import annotations

import collections
from collections.abc import Collection

import jax.numpy as jnp
from jax import lax

from .jaxpr import Equation, Graph, Value, written

_SUMS = ("add", "add_any")


def join_products(graph: Graph, registered: Collection[str] = ()) -> None:
    """Rewrites a graph in place."""
    if "dot_general" in registered:
        return
    producer = {output: equation for equation in graph.equations for output in equation.outputs}
    readers = collections.Counter(value for equation in graph.equations for value in equation.inputs)
    readers.update(graph.outputs)
    inner = {
        value
        for equation in graph.equations
        if equation.primitive in _SUMS
        for value in equation.inputs
        if readers[value] == 1
    }
    equations: list[Equation] = []
    for equation in graph.equations:
        is_root = equation.primitive in _SUMS and equation.outputs[0] not in inner
        others = _joined(graph, equation, producer, inner) if is_root else None
        equations += others or [equation]
    graph.equations = equations


def _joined(graph: Graph, root: Equation, producer, inner) -> list[Equation] | None:
    """The equations of a sum in which several products are one."""
    leaves = _summands(root, producer, inner)
    groups = collections.defaultdict(list)
    for leaf in leaves:
        source = producer.get(leaf)
        if source is not None and leaf in inner and (form := _form(source)) is not None:
            groups[form].append(source)
    form, products = max(groups.items(), key=lambda item: len(item[1]), default=(None, []))
    if form is None or len(products) < 2:
        return None
    position, *_ = form
    results = {product.outputs[0] for product in products}
    rest = [leaf for leaf in leaves if leaf not in results]
    count, dtype = len(products), root.outputs[0].dtype
    sides = [
        (p.params["dimension_numbers"][0][position][0], p.params["dimension_numbers"][0][1 - position][0])
        for p in products
    ]

    def whole(*arrays):
        data, weights, others = arrays[:count], arrays[count : 2 * count], arrays[2 * count :]
        x = jnp.concatenate([jnp.moveaxis(one, axis, -1) for one, (axis, _) in zip(data, sides, strict=True)], -1)
        w = jnp.concatenate([jnp.moveaxis(one, axis, 0) for one, (_, axis) in zip(weights, sides, strict=True)], 0)
        operands, axes = ((x, w), (x.ndim - 1, 0)) if position == 0 else ((w, x), (0, x.ndim - 1))
        result = lax.dot_general(*operands, (((axes[0],), (axes[1],)), ((), ())), preferred_element_type=dtype)
        for other in others:
            result = result + other
        return result

    values = [p.inputs[position] for p in products] + [p.inputs[1 - position] for p in products] + rest
    others = written(graph, whole, values, root)
    others[-1].outputs = root.outputs
    return others


def _summands(root: Equation, producer, inner) -> list[Value]:
    """What a sum of several is of: through sums of the same shape that nothing else reads."""
    result: list[Value] = []
    stack = list(reversed(root.inputs))
    while stack:
        value = stack.pop()
        source = producer.get(value)
        if value in inner and source is not None and source.primitive in _SUMS and value.shape == root.outputs[0].shape:
            stack += reversed(source.inputs)
        else:
            result.append(value)
    return result


def _form(equation: Equation) -> tuple | None:
    """What products have to have in common to be one: the operand that is data, the free axes, types."""
    if equation.primitive != "dot_general" or [value.active for value in equation.inputs].count(True) != 1:
        return None
    contracted, batched = equation.params["dimension_numbers"]
    if batched[0] or len(contracted[0]) != 1:
        return None
    position = 0 if equation.inputs[0].active else 1
    return position, equation.outputs[0].shape, tuple(value.dtype for value in equation.inputs), equation.regions
