"""Which entrywise equations around a convolution or product belong to it: biases, BatchNorm, scales, shifts."""

from __future__ import annotations

from collections.abc import Sequence

from ._jaxpr import Equation, Value
from .affine import Affine, Step
from .analysis import Analysis
from .primitives import CASTS

_KINDS = {"add": "add", "add_any": "add", "mul": "multiply"}


def as_step(equation: Equation, data: Value) -> Step | None:
    """The step that an equation is for `data`: a cast, a sign, or arithmetic with an inactive value."""
    if len(equation.outputs) != 1 or equation.outputs[0].shape != data.shape:
        return None
    name = equation.primitive
    if name in CASTS and name != "optimization_barrier":
        return Step(equation, "cast", None)
    if name == "neg":
        return Step(equation, "negate", None)
    if name not in ("add", "add_any", "sub", "mul", "div"):
        return None
    left, right = equation.inputs
    if left is right or (left.active and right.active):
        return None
    operand = right if left is data else left
    if name == "sub":
        return Step(equation, "subtract" if left is data else "subtract_from", operand)
    if name == "div":
        return Step(equation, "divide", operand) if left is data else None
    return Step(equation, _KINDS[name], operand)


def fold_after(affine: Affine, facts: Analysis, paths: Sequence[str], everything: bool) -> None:
    """Folds the steps that follow the core; of them only its own bias unless `everything`."""
    value, axes = affine.core.outputs[0], affine.output_axes()
    while len(facts.consumers.get(value, ())) == 1 and facts.consumers[value][0] is not None:
        step = as_step(facts.consumers[value][0], value)
        if step is None or not _is_by_channel(step, facts, axes):
            return
        if not everything and step.kind != "cast" and not (step.kind == "add" and _is_bias(step, affine, facts, paths)):
            return
        affine.after.append(step)
        value = step.equation.outputs[0]
        if not everything and step.kind == "add":
            return


def fold_before(affine: Affine, facts: Analysis, taken: set[Equation]) -> None:
    """Folds the steps that lead to the data of the core, back to the nearest value that something else needs too."""
    value, axes = affine.data, affine.data_axes()
    while len(facts.consumers[value]) == 1 and value in facts.producer and facts.producer[value] not in taken:
        equation = facts.producer[value]
        (data, *more) = [operand for operand in equation.inputs if operand.active] or [None]
        step = as_step(equation, data) if data is not None and not more else None
        if step is None or not _is_by_channel(step, facts, axes):
            return
        affine.before.insert(0, step)
        value = data


def _is_by_channel(step: Step, facts: Analysis, axes) -> bool:
    return step.operand is None or facts.varies[step.operand] <= set(axes)


def _is_bias(step: Step, affine: Affine, facts: Analysis, paths: Sequence[str]) -> bool:
    """Whether what is added is one parameter that stands beside the weight."""
    bias, weight = facts.leaves[step.operand], facts.leaves[affine.weight]
    if len(bias) != 1 or not weight:
        return False
    if -1 in bias or -1 in weight:
        return -1 in bias and -1 in weight
    parents = {path_of(paths[leaf]) for leaf in weight}
    return path_of(paths[next(iter(bias))]) in parents


def path_of(path: str) -> str:
    """The layer of a parameter: "conv1" of "conv1/kernel", "" of a parameter at the top."""
    return path.rpartition("/")[0]
