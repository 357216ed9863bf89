"""Conditions on the way back: relevance at a named tensor goes on through some channels only, or through a mask.

With one channel it is concept-conditional relevance (Achtibat et al., Nature Machine Intelligence 2023,
arXiv:2206.03208): what of the explanation came through this concept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .places import at_step, place_of
from .tracing.axes import Axes, places
from .tracing.jaxpr import Equation, Value
from .tracing.layout import view_after, view_before
from .tracing.operations import Operation, Program

# A channel or several, a mask that broadcasts to the tensor, or a function of its relevance.
Condition = Mapping[str, Any]

_KEEP_CHANNELS = frozenset("activation relu norm_layer bias sum max_pool avg_pool max".split())


def conditions_of(program: Program, condition: Condition) -> dict[Value, Callable]:
    """Returns value -> function of its relevance and of the numbers of the steps of the loops around it.

    Args:
        condition: name of a layer or an operation, as for `at` of `attribute`, to what becomes of its relevance.

    Raises:
        ValueError: a name or a channel that is none, a mask that does not fit.
    """
    if not isinstance(condition, Mapping):
        raise ValueError(f"condition is {condition!r:.60}: expected a dict, the name of a layer to its channels.")
    result: dict[Value, Callable] = {}
    steps: dict[Value, list[tuple[int, ...]]] = {}
    for name, what in condition.items():
        place = place_of(program, name)
        value, others = place.value, steps.setdefault(place.value, [])
        if any(not (place.steps and other) or place.steps == other for other in others):
            raise ValueError(f"condition names the same tensor twice, the second time as {name!r}: join the two masks.")
        change = at_step(what if callable(what) else _masking(mask_of(place.program, value, what, name)), place)
        result[value] = _both(result[value], change) if others else change
        others.append(place.steps)
    return result


def _both(first: Callable, second: Callable) -> Callable:
    return lambda relevance, numbers=(): second(first(relevance, numbers), numbers)


def _masking(mask: jax.Array) -> Callable:
    return lambda relevance: relevance * mask.astype(relevance.dtype)


def mask_of(program: Program, value: Value, what: Any, name: str) -> jax.Array:
    """Returns what relevance is multiplied by, which broadcasts to the value."""
    array = what if isinstance(what, jax.Array) else np.asarray(what)
    if array.dtype.kind in "OUSMmc":
        raise ValueError(
            f"condition[{name!r}] is {what!r:.60}; expected channels (integers), a mask (floats or bools) or a "
            "function."
        )
    if array.dtype.kind not in "iu":
        try:
            shape = jnp.broadcast_shapes(array.shape, value.shape)
        except ValueError:
            shape = None
        if shape != value.shape:
            raise ValueError(
                f"condition[{name!r}] is a mask of shape {array.shape}, and the tensor has {value.shape}: expected one "
                "that broadcasts to it."
            )
        return jnp.asarray(array)
    axis = channel_axis(program, value)
    if axis is None:
        raise ValueError(
            f"condition[{name!r}] names channels, and which axis of {value.shape} has them cannot be told: give a mask "
            "that broadcasts to this shape."
        )
    channels, size = np.atleast_1d(np.asarray(array)), value.shape[axis]
    wrong = channels[(channels < -size) | (channels >= size)]
    if channels.ndim != 1 or wrong.size:
        raise ValueError(
            f"condition[{name!r}] has channel {wrong[0] if wrong.size else what}; the tensor of shape {value.shape} "
            f"has {size} of them, along axis {axis}."
        )
    mask = np.zeros(size, np.float32)
    mask[channels] = 1
    return jnp.asarray(mask.reshape([size if place == axis else 1 for place in range(len(value.shape))]))


def channel_axis(program: Program, value: Value) -> int | None:
    """Returns the axis of a value along which the units of the layer lie that it comes from, None where none is told.

    Activations, norms, sums and poolings keep the axis; before the first layer it is the one which that layer reads.
    """
    if len(value.shape) == 2:
        return 1
    maker = {output: operation for operation in program.operations for output in operation.outputs}
    current: Value | None = value
    while current is not None and (operation := maker.get(current)) is not None:
        if operation.affine is not None:
            return _fitting(_units(operation), current, value)
        following = operation.inputs[0] if operation.kinds[0] in _KEEP_CHANNELS else None
        current = following if following is not None and len(following.shape) == len(value.shape) else None
    readers = [o for o in program.operations if o.affine is not None and o.inputs[0] is value]
    return _read_axis(readers[0]) if readers else None


def _fitting(axis: int | None, source: Value, value: Value) -> int | None:
    return axis if axis is not None and source.shape[axis] == value.shape[axis] else None


def _units(operation: Operation) -> int | None:
    """The axis of an affine operation's output along which its units lie, the last one where these are several."""
    affine = operation.affine
    assert affine is not None
    axis: int | None = max(affine.output_axes(), default=None)
    for step in affine.after:
        if step.kind == "layout" and axis is not None:
            axis = _axis_behind(step.equation, axis)
    return axis


def _read_axis(operation: Operation) -> int | None:
    """The axis of an affine operation's input that its weight runs along."""
    affine = operation.affine
    assert affine is not None
    axis: int | None = max(affine.data_axes(), default=None)
    for step in reversed(affine.before):
        if step.kind == "layout" and axis is not None:
            axis = _axis_before(step.equation, axis)
    return axis


def _axis_behind(equation: Equation, axis: int) -> int | None:
    """Where an axis of the operand of a rearrangement lies in its result, None where it is no axis there."""
    if equation.primitive == "transpose":
        return equation.params["permutation"].index(axis)
    view = view_after(places(equation.inputs[0].shape), equation)
    return axis if equation.primitive == "rev" else _only(view, axis)


def _axis_before(equation: Equation, axis: int) -> int | None:
    """Where an axis of the result of a rearrangement lies in its operand, None where it is no axis there."""
    if equation.primitive == "transpose":
        return equation.params["permutation"][axis]
    view = view_before(places(equation.outputs[0].shape), equation)
    return axis if equation.primitive == "rev" else _only(view, axis)


def _only(view: Axes | None, along: int) -> int | None:
    """The axis of a view that is axis `along` of what is viewed, and nothing else."""
    for axis, parts in enumerate(view or ()):
        if len(parts) == 1 and parts[0].label.axis == along:
            return axis
    return None
