"""What a graph tells before it runs: who uses a value, which parameters it is made of, what it hangs on, its sign.

Also dominators: the nearest value of which an entrywise expression is a function. `x * sigmoid(x)` has dominator x,
which makes it an activation; `a * b` of two layers has none, which makes it a product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .dependence import Dependence
from .examples import Examples, dependences
from .jaxpr import Equation, Graph, Value
from .primitives import ELEMENTWISE, STEPS
from .signs import signs_of


@dataclasses.dataclass(eq=False)
class Analysis:
    """Facts by value.

    Attributes:
        consumers: equations that read a value and through which relevance can reach it; a graph output counts as None.
        producer: the equation that makes it.
        leaves: parameters it is computed from, as positions among the graph's inputs; constants of the function count
            with -1. Empty: it is the same whatever the parameters.
        depends: what it hangs on, and along which axis the examples lie.
        signs: see `signs`; absent where nothing is known.
        live: active values from which the output can be reached: relevance can be there.
        dominator: for results of entrywise functions, the nearest active value they are a function of.
        constants: of the graph, with their arrays.
        pinned: values that a gradient can reach through a statistic too, so that no operation may swallow them.
    """

    consumers: dict[Value, list[Equation | None]]
    producer: dict[Value, Equation]
    leaves: dict[Value, frozenset[int]]
    depends: dict[Value, Dependence]
    signs: dict[Value, frozenset[int]]
    live: set[Value]
    dominator: dict[Value, Value]
    pinned: frozenset[Value] = frozenset()
    constants: Mapping[Value, object] = dataclasses.field(default_factory=dict)

    def only_consumer(self, value: Value) -> Equation | None:
        """The equation that alone reads a value; None where there are several or none."""
        readers = () if value in self.pinned else self.consumers.get(value, ())
        return readers[0] if len(readers) == 1 else None


def analyse(graph: Graph, examples: Examples) -> Analysis:
    """Returns the facts of a graph.

    Args:
        examples: the inputs that hold examples.
    """
    facts = Analysis({}, {}, {}, dependences(graph, examples), signs_of(graph), live_values(graph), {})
    facts.constants = graph.constants
    for position, value in enumerate(graph.inputs):
        facts.leaves[value] = frozenset() if value in examples else frozenset([position])
    for value in graph.constants:
        facts.leaves[value] = frozenset() if value.known is not None else frozenset([-1])
    depth: dict[Value, int] = {}
    for equation in graph.equations:
        if any(value in facts.live for value in equation.outputs):
            for value in dict.fromkeys(equation.inputs):
                facts.consumers.setdefault(value, []).append(equation)
        leaves = frozenset().union(*(facts.leaves[value] for value in equation.inputs))
        for value in equation.outputs:
            facts.producer[value] = equation
            facts.leaves[value] = leaves
        _find_dominator(equation, facts.dominator, depth)
    for value in graph.outputs:
        facts.consumers.setdefault(value, []).append(None)
    return facts


def live_values(graph: Graph) -> set[Value]:
    """Returns the active values from which the output can be reached."""
    live = {value for value in graph.outputs if value.active}
    for equation in reversed(graph.equations):
        if any(value in live for value in equation.outputs):
            live.update(value for value in equation.inputs if value.active)
    return live


def dominators(graph: Graph) -> dict[Value, Value]:
    """Returns the nearest active value that each entrywise result is a function of."""
    result: dict[Value, Value] = {}
    depth: dict[Value, int] = {}
    for equation in graph.equations:
        _find_dominator(equation, result, depth)
    return result


def _find_dominator(equation: Equation, dominator: dict[Value, Value], depth: dict[Value, int]) -> None:
    """Sets the dominator of an entrywise result: the common one of all its operands, comparisons included."""
    (output, *others) = equation.outputs or (None,)
    # A comparison gives no relevance and still hangs on its operands.
    entrywise = equation.primitive in ELEMENTWISE | STEPS or equation.call == "entrywise"
    # A stop before a comparison stops nothing.
    entrywise = entrywise or (equation.primitive == "stop_gradient" and not equation.inputs[0].active)
    if output is None or others or not entrywise:
        return
    operands = []
    for value in equation.inputs:
        if value.shape == output.shape and (value.active or value in dominator):
            operands.append(value)
        elif value.active or value in dominator:
            return
    if not operands:
        return
    meeting: Value | None = operands[0]
    for other in operands[1:]:
        if meeting is None:
            return
        meeting = _meet(meeting, other, dominator, depth)
    if meeting is None:
        return
    dominator[output] = meeting
    depth[output] = depth.get(meeting, 0) + 1


def _meet(left: Value, right: Value, parents: dict[Value, Value], depth: dict[Value, int]) -> Value | None:
    """The nearest common ancestor in the tree of dominators, None where there is none."""
    while left is not right:
        if depth.get(left, 0) < depth.get(right, 0):
            left, right = right, left
        if left not in parents:
            return None
        left = parents[left]
    return left
