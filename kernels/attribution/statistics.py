"""Means and variances that normalise the very values they are of: rules treat them as constants.

LayerNorm, RMSNorm, GroupNorm and BatchNorm in training mode compute such statistics. With these held fixed, a norm is a
scale and a shift. Statistics over the batch make a sample's relevance hang on its neighbours: that is warned of.
"""

from __future__ import annotations

import warnings

from ._jaxpr import Equation, Graph, Value, is_float
from .analysis import Analysis, analyse
from .primitives import DETACHED, ELEMENTWISE

_SPREADING = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "convert_element_type")
_ROOTS = ("sqrt", "rsqrt", "pow")


def hold_statistics(graph: Graph, warn: bool = True) -> Analysis:
    """Makes statistics inactive in the graph and returns its facts."""
    held: set[Equation] = set()
    while True:
        facts = analyse(graph)
        found = {e for e in graph.equations if e.primitive == "reduce_sum" and _normalises(e, facts)} - held
        if not found:
            return facts
        over_batch = [equation for equation in found if 0 in equation.params["axes"] and _is_batch_norm(equation)]
        if over_batch and warn and not held:
            warnings.warn(
                f"normalised by statistics of the batch, at {over_batch[0].source}: they count as constants, and "
                "samples share them. Explain the network in evaluation mode, with running statistics.",
                stacklevel=5,
            )
        held |= found
        _deactivate(graph, held)


def _is_batch_norm(equation: Equation) -> bool:
    """Whether all axes but one are summed over, as for a statistic by channel."""
    return len(equation.params["axes"]) == len(equation.inputs[0].shape) - 1


def _normalises(equation: Equation, facts: Analysis) -> bool:
    """Whether a sum ends up in a difference with, or as a divisor of, what it is a sum of."""
    (summed,) = equation.inputs
    if not summed.active:
        return False
    family = {summed}
    while summed in facts.dominator or _is_moved(summed, facts):
        summed = facts.dominator.get(summed) or facts.producer[summed].inputs[0]
        family.add(summed)
    reached: dict[Value, bool] = {equation.outputs[0]: False}
    stack = [equation.outputs[0]]
    while stack:
        value = stack.pop()
        for user in facts.consumers.get(value, ()):
            if user is None or (user.primitive not in ELEMENTWISE and user.primitive not in _SPREADING):
                continue
            rooted = reached[value] or user.primitive in _ROOTS
            others = [v for v in user.inputs if v.active and v not in reached]
            if any(_is_of(other, family, facts) for other in others):
                if user.primitive == "sub" or (user.primitive in ("mul", "div") and rooted):
                    return True
                continue
            output = user.outputs[0]
            if reached.get(output) is not True and (output not in reached or rooted):
                reached[output] = rooted
                stack.append(output)
    return False


def _is_moved(value: Value, facts: Analysis) -> bool:
    """Whether a value is another one in a new shape, as for the groups of GroupNorm."""
    return value in facts.producer and facts.producer[value].primitive in ("reshape", "transpose")


def _is_of(value: Value, family: set[Value], facts: Analysis) -> bool:
    """Whether a value is, entry by entry, a function of one of the family."""
    while value not in family:
        if value not in facts.dominator:
            return False
        value = facts.dominator[value]
    return True


def _deactivate(graph: Graph, held: set[Equation]) -> None:
    """Marks again which values relevance can reach."""
    for equation in graph.equations:
        flows = any(value.active for value in equation.inputs) and equation.primitive not in DETACHED
        for value in equation.outputs:
            value.active = flows and equation not in held and is_float(value.dtype)
