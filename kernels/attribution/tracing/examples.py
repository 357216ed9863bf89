"""Which values hang on the example, and along which axis, over a whole graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import axes
from .axes import BATCH
from .dependence import EXAMPLE, PARAMETERS, VARYING, Dependence, varying
from .jaxpr import Equation, Graph, Value
from .loops import followed
from .primitives import ELEMENTWISE

Examples = Sequence[Value] | Mapping[Value, Dependence]


def dependences(graph: Graph, examples: Examples) -> dict[Value, Dependence]:
    """Returns the dependence of every value of a graph.

    Args:
        examples: the inputs of the graph that hold examples. These lie along the first axis if all such arrays have one
            of the same length and the output's first axis is it too; otherwise there is one example. Of the body of a
            loop or a branch: what every input that is no parameter hangs on.
    """
    if isinstance(examples, Mapping):
        inputs = [examples.get(value, Dependence(PARAMETERS, varying(value.shape))) for value in graph.inputs]
        return followed(graph, inputs)
    lengths = {value.shape[0] for value in examples if value.shape}
    for batched in (True, False) if len(lengths) == 1 else (False,):
        dependence = {value: Dependence(PARAMETERS, varying(value.shape)) for value in graph.inputs}
        for value in examples:
            labels = [BATCH if batched and axis == 0 else VARYING for axis in range(len(value.shape))]
            dependence[value] = Dependence(EXAMPLE, axes.labelled(value.shape, labels))
        dependence = followed(graph, [dependence[value] for value in graph.inputs])
        if all(_is_by_example(dependence[output]) for output in graph.outputs):
            break
    return dependence


def _is_by_example(dependence: Dependence) -> bool:
    leading = dependence.axes[0] if dependence.axes else ()
    return dependence.source == EXAMPLE and bool(leading) and leading[0].label == BATCH


def constants_by_example(graph: Graph, dependence: dict[Value, Dependence]) -> list[Equation]:
    """Returns equations where a constant meets examples and differs along their axis: it should be a part of x."""
    return [
        equation
        for equation in graph.equations
        for output in equation.outputs[:1]
        if equation.primitive in ELEMENTWISE
        and dependence[output].source == EXAMPLE
        and (axis := dependence[output].batch_axis) is not None
        and any(_differs_along(dependence[value], output, axis, value) for value in equation.inputs)
    ]


def _differs_along(operand: Dependence, output: Value, axis: int, value: Value) -> bool:
    return (
        operand.source == PARAMETERS
        and value.shape == output.shape
        and [part.label for part in operand.axes[axis]] == [VARYING]
    )
