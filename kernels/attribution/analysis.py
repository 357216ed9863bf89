"""What a graph tells before it runs: who uses a value, which parameters it hangs on, along which axes it can vary.

Also dominators: the nearest value of which an entrywise expression is a function. `x * sigmoid(x)` has dominator x,
which makes it an activation; `a * b` of two layers has none, which makes it a product.
"""

from __future__ import annotations

import dataclasses

from ._jaxpr import Equation, Graph, Value
from .primitives import ELEMENTWISE
from .signs import signs_of


@dataclasses.dataclass(eq=False)
class Analysis:
    """Facts by value.

    Attributes:
        consumers: equations that read a value and through which relevance can reach it; a graph output counts as None.
        producer: the equation that makes it.
        leaves: parameters it is computed from, as positions among the graph's inputs; constants of the function count
            with -1, an attributed input with -2. Empty: it is the same whatever the parameters.
        varies: axes along which its entries can differ; only for values that relevance does not reach.
        signs: see `signs`; absent where nothing is known.
        live: active values from which the output can be reached: relevance can be there.
        dominator: for results of entrywise functions, the nearest active value they are a function of.
    """

    consumers: dict[Value, list[Equation | None]]
    producer: dict[Value, Equation]
    leaves: dict[Value, frozenset[int]]
    varies: dict[Value, frozenset[int]]
    signs: dict[Value, frozenset[int]]
    live: set[Value]
    dominator: dict[Value, Value]


def analyse(graph: Graph) -> Analysis:
    """Returns the facts of a graph, in one pass from its inputs."""
    facts = Analysis({}, {}, {}, {}, signs_of(graph), _live(graph), {})
    for position, value in enumerate(graph.inputs):
        facts.leaves[value] = frozenset([-2 if value.active else position])
        facts.varies[value] = _all_axes(value)
    for value in graph.constants:
        facts.leaves[value] = frozenset() if value.known is not None else frozenset([-1])
        facts.varies[value] = _all_axes(value)
    depth: dict[Value, int] = {}
    for equation in graph.equations:
        if any(value in facts.live for value in equation.outputs):
            for value in equation.inputs:
                facts.consumers.setdefault(value, []).append(equation)
        leaves = frozenset().union(*(facts.leaves[value] for value in equation.inputs))
        for value in equation.outputs:
            facts.producer[value] = equation
            facts.leaves[value] = leaves
            if not value.active:
                facts.varies[value] = _varying_axes(equation, value, facts)
        _find_dominator(equation, facts, depth)
    for value in graph.outputs:
        facts.consumers.setdefault(value, []).append(None)
    return facts


def _live(graph: Graph) -> set[Value]:
    live = {value for value in graph.outputs if value.active}
    for equation in reversed(graph.equations):
        if any(value in live for value in equation.outputs):
            live.update(value for value in equation.inputs if value.active)
    return live


def _all_axes(value: Value) -> frozenset[int]:
    return frozenset(axis for axis, size in enumerate(value.shape) if size > 1)


def _varying_axes(equation: Equation, output: Value, facts: Analysis) -> frozenset[int]:
    """Axes of `output` along which entries may differ."""
    everything = _all_axes(output)
    name = equation.primitive
    if any(value.active for value in equation.inputs):
        return everything
    if name == "broadcast_in_dim":
        source = facts.varies[equation.inputs[0]]
        axes = equation.params["broadcast_dimensions"]
        return frozenset(axes[axis] for axis in source) & everything
    if name == "transpose":
        source = facts.varies[equation.inputs[0]]
        return frozenset(new for new, old in enumerate(equation.params["permutation"]) if old in source)
    if name in ("reshape", "squeeze", "expand_dims"):
        # Axes of size one come and go; the others keep their order, else nothing is known.
        (data,) = equation.inputs[:1]
        old = [axis for axis, size in enumerate(data.shape) if size > 1]
        new = [axis for axis, size in enumerate(output.shape) if size > 1]
        if [data.shape[axis] for axis in old] != [output.shape[axis] for axis in new]:
            return frozenset() if not facts.varies[data] else everything
        return frozenset(after for before, after in zip(old, new, strict=True) if before in facts.varies[data])
    if name in ELEMENTWISE:
        found = frozenset()
        for value in equation.inputs:
            if value.shape:
                found |= facts.varies[value]
        return found & everything
    return everything


def _find_dominator(equation: Equation, facts: Analysis, depth: dict[Value, int]) -> None:
    """Sets the dominator of an entrywise result: the common one of all its operands, comparisons included."""
    (output, *others) = equation.outputs or (None,)
    if output is None or others or not _is_entrywise(equation):
        return
    operands = []
    for value in equation.inputs:
        if value.shape == output.shape and (value.active or value in facts.dominator):
            operands.append(value)
        elif value.active:
            return
    if not operands:
        return
    meeting = operands[0]
    for other in operands[1:]:
        meeting = _meet(meeting, other, facts.dominator, depth)
        if meeting is None:
            return
    facts.dominator[output] = meeting
    depth[output] = depth.get(meeting, 0) + 1


def _is_entrywise(equation: Equation) -> bool:
    # A comparison gives no relevance and still hangs on its operands. A whole activation keeps the shape of its value.
    if equation.primitive in ELEMENTWISE or equation.primitive in (
        "eq",
        "ne",
        "ge",
        "gt",
        "le",
        "lt",
        "sign",
        "and",
        "or",
        "not",
    ):
        return True
    return "call_jaxpr" in equation.params or equation.params.get("name") == equation.primitive


def _meet(left: Value, right: Value, parents: dict[Value, Value], depth: dict[Value, int]) -> Value | None:
    """The nearest common ancestor in the tree of dominators, None where there is none."""
    while left is not right:
        if depth.get(left, 0) < depth.get(right, 0):
            left, right = right, left
        if left not in parents:
            return None
        left = parents[left]
    return left
