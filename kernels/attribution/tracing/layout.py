"""Arrays that are others in a new arrangement: where each axis lies, through reshapes and transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from . import axes
from .axes import Axes, Part, Place
from .jaxpr import Equation


def is_rearrangement(equation: Equation) -> bool:
    """Whether every entry of the one operand has one place in the result."""
    if equation.primitive in ("squeeze", "transpose"):
        return True
    if equation.primitive == "reshape":
        return equation.params.get("dimensions") is None
    sizes = [math.prod(value.shape) for value in (*equation.inputs[:1], *equation.outputs[:1])]
    return equation.primitive == "broadcast_in_dim" and len(equation.inputs) == 1 and sizes[0] == sizes[1] > 0


def view_after(view: Axes, equation: Equation) -> Axes | None:
    """Returns the axes of the result of a rearrangement from those of its operand; None where parts are cut."""
    if not is_rearrangement(equation):
        return None
    if equation.primitive == "transpose":
        return tuple(view[old] for old in equation.params["permutation"])
    return axes.regroup(view, equation.outputs[0].shape)


def view_before(view: Axes, equation: Equation) -> Axes | None:
    """Returns the axes of the operand of a rearrangement from those of its result; None where parts are cut."""
    if not is_rearrangement(equation):
        return None
    if equation.primitive == "transpose":
        order = equation.params["permutation"]
        return tuple(view[order.index(axis)] for axis in range(len(order)))
    return axes.regroup(view, equation.inputs[0].shape)


def flipped(view: Axes, equation: Equation) -> Axes | None:
    """Returns the axes before or after a flip, of which those that are flipped lie nowhere; None for no flip."""
    if equation.primitive != "rev":
        return None
    flips = equation.params["dimensions"]
    nowhere = tuple(tuple(Part(part.size, None) for part in axis) for axis in view)
    return tuple(nowhere[axis] if axis in flips else view[axis] for axis in range(len(view)))


def undo(equation: Equation, array):
    """Returns an array arranged like the result of a rearrangement or a flip in the arrangement of its operand."""
    if equation.primitive == "rev":
        return lax.rev(array, equation.params["dimensions"])
    if equation.primitive == "transpose":
        order = equation.params["permutation"]
        return jnp.transpose(array, [order.index(axis) for axis in range(len(order))])
    return jnp.reshape(array, equation.inputs[0].shape)


def arrange(array, sizes: Sequence[int], labels: Sequence[Place], shape: Sequence[int]):
    """Returns an array of which parts are known as one of this shape.

    Args:
        sizes, labels: of its parts in row-major order, and where they lie in the result.
    """
    order = sorted(range(len(labels)), key=lambda number: (labels[number].axis, -labels[number].step))
    return array.reshape(sizes).transpose(order).reshape(shape)
