"""Which entrywise equations around a convolution or product belong to it: biases, BatchNorm, scales, shifts.

Between them and it axes may be rearranged, as by `jax.vmap`, by tokens that are flattened into the batch, by channels
that come first: what counts is along which axes of the convolution or product itself a scale or a shift varies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .affine import Affine, Step
from .analysis import Analysis
from .axes import Axes, merge, places
from .dependence import CONSTANT
from .jaxpr import Equation, Value
from .layout import flipped, is_rearrangement, view_after, view_before
from .primitives import CASTS, LAYOUT

_KINDS = {"add": "add", "add_any": "add", "mul": "multiply"}


def as_step(equation: Equation, data: Value) -> Step | None:
    """The step that an equation is for `data`: a cast, a sign, or arithmetic with an inactive value."""
    if len(equation.outputs) != 1 or equation.outputs[0].shape != data.shape:
        return None
    name = equation.primitive
    if name in CASTS and name != "optimization_barrier":
        return Step(equation, "cast")
    if name == "neg":
        return Step(equation, "negate")
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


def fold_after(
    affine: Affine,
    facts: Analysis,
    paths: Sequence[str],
    folded: Collection[Equation],
    everything: bool,
    biases: bool = False,
) -> None:
    """Folds the steps that follow the core, up to what is taken; of them only its own bias unless `everything`.

    Args:
        biases: what is added is a bias, wherever among the parameters it stands.
    """
    value, along = affine.core.outputs[0], affine.output_axes()
    view: Axes | None = places(value.shape)
    step: Step | None
    steps, depth = [], 0
    while view is not None and (equation := facts.only_consumer(value)) is not None and equation not in folded:
        if is_rearrangement(equation):
            step, view = Step(equation, "layout"), view_after(view, equation)
        elif equation.primitive == "rev":
            step, view = Step(equation, "layout"), flipped(view, equation)
        else:
            step = as_step(equation, value)
            step = step and located(step, view, facts, along)
        if step is None or view is None:
            break
        own = step.kind in ("cast", "layout") or (
            step.kind == "add" and (biases or _is_bias(step, affine, facts, paths))
        )
        if not everything and not own:
            break
        steps.append(step)
        value = equation.outputs[0]
        # What only moves entries at the end stays outside.
        depth = depth if step.kind == "layout" or (step.kind == "cast" and depth < len(steps) - 1) else len(steps)
        if not everything and step.kind == "add":
            break
    affine.after += steps[:depth]


def fold_before(affine: Affine, facts: Analysis, folded: Collection[Equation]) -> None:
    """Folds the steps that lead to the data of the core, back to the nearest value that something else needs too."""
    value, along = affine.data, affine.data_axes()
    view: Axes | None = places(value.shape)
    step: Step | None
    steps, depth = [], 0
    while view is not None and facts.only_consumer(value) is not None:
        equation = facts.producer.get(value)
        if equation is None or equation in folded:
            break
        active = [operand for operand in dict.fromkeys(equation.inputs) if operand.active]
        if len(active) != 1:
            break
        (data,) = active
        if is_rearrangement(equation):
            step, view = Step(equation, "layout"), view_before(view, equation)
        elif equation.primitive == "rev":
            step, view = Step(equation, "layout"), flipped(view, equation)
        else:
            step = as_step(equation, data)
            step = step and located(step, view, facts, along)
        if step is None or view is None:
            break
        steps.append(step)
        value = data
        depth = depth if step.kind == "layout" or (step.kind == "cast" and depth < len(steps) - 1) else len(steps)
    affine.before = [*reversed(steps[:depth]), *affine.before]


def located(step: Step, view: Axes, facts: Analysis, along: Collection[int]) -> Step | None:
    """A step with the places of its operand's parts in the core's own array; None unless it varies `along` these axes.

    Args:
        view: where the axes of the step lie in the core's array.
    """
    if step.operand is None:
        return step
    dependence = facts.depends[step.operand]
    if not dependence.is_shared:
        return None
    if not step.operand.shape:
        return Step(step.equation, step.kind, step.operand, ())
    parts = []
    for axis, own, size in zip(view, dependence.axes, step.operand.shape, strict=True):
        if size == 1:
            continue
        both = merge(axis, own, lambda place, label: (place, label))
        if both is None:
            return None
        parts += [(part.size, *part.label) for part in both]
    if any(label != CONSTANT and (place is None or place.axis not in along) for _, place, label in parts):
        return None
    wide = {place.axis for _, place, label in parts if label != CONSTANT}
    return Step(
        step.equation,
        step.kind,
        step.operand,
        tuple((size, place, place is not None and place.axis in wide) for size, place, _ in parts),
    )


def _is_bias(step: Step, affine: Affine, facts: Analysis, paths: Sequence[str]) -> bool:
    """Whether what is added is a parameter that stands beside the weight."""
    return step.operand is not None and stands_beside(step.operand, affine.weight, facts, paths)


def stands_beside(bias: Value, weight: Value, facts: Analysis, paths: Sequence[str]) -> bool:
    """Whether a parameter, or several put together, is of the same layers as a weight."""
    leaves, of_weight = facts.leaves[bias], facts.leaves[weight]
    if not leaves or not of_weight or (len(leaves) > 1 and not _is_put_together(bias, facts)):
        return False
    if -1 in leaves or -1 in of_weight:
        return -1 in leaves and -1 in of_weight
    parents = {path_of(paths[leaf]) for leaf in of_weight}
    return all(path_of(paths[leaf]) in parents for leaf in leaves)


def _is_put_together(value: Value, facts: Analysis) -> bool:
    """Whether a value is of entries of parameters that were only moved, as a fused bias is."""
    stack = [value]
    while stack:
        source = facts.producer.get(stack.pop())
        if source is not None and source.primitive not in LAYOUT:
            return False
        stack += source.inputs if source is not None else ()
    return True


def path_of(path: str) -> str:
    """The layer of a parameter: "conv1" of "conv1/kernel", "" of a parameter at the top."""
    return path.rpartition("/")[0]
