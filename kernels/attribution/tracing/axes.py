"""Axes in parts: what becomes of an axis when arrays are reshaped, transposed and combined entry by entry.

An axis of length n is a row-major product of parts with labels. A reshape regroups parts and splits them where it has
to, so that a label survives whatever merges its axis with others: tokens flattened into the batch, channels in groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BATCH = "batch"  # the label of the axis of examples, whose part is carried along even where there is only one example


class Part(NamedTuple):
    """A factor of an axis: its length and what is said of it."""

    size: int
    label: Any


class Place(NamedTuple):
    """Where a part lies: an axis of another array, and the step along it from one entry of the part to the next."""

    axis: int
    step: int


Axis = tuple[Part, ...]
Axes = tuple[Axis, ...]


def labelled(shape: Sequence[int], labels: Sequence[Any]) -> Axes:
    """Returns axes of one part each; lengths of one have none, unless they are the batch."""
    return tuple(
        (Part(size, label),) if size != 1 or label == BATCH else ()
        for size, label in zip(shape, labels, strict=True)
    )  # fmt: skip


def places(shape: Sequence[int]) -> Axes:
    """Returns axes whose parts say where they lie in an array of this shape."""
    return labelled(shape, [Place(axis, 1) for axis in range(len(shape))])


def regroup(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Returns the axes after a reshape to `shape`, None where a part would have to be cut across."""
    if 0 in shape:
        return None
    parts = [part for axis in axes for part in axis]
    position, result = 0, []
    for size in shape:
        axis: list[Part] = []
        need = size
        while position < len(parts):
            part = parts[position]
            if part.size == 1:  # the batch of one example goes to the axis that begins here
                if axis and need == 1:
                    break
                axis.append(part)
                position += 1
                continue
            if need == 1:
                break
            if need % part.size == 0:
                axis.append(part)
                position += 1
                need //= part.size
            elif part.size % need == 0:
                outer, parts[position] = split(part, part.size // need)
                axis.append(outer)
                need = 1
            else:
                return None
        if need != 1:
            return None
        result.append(tuple(axis))
    if result:  # a batch of one at the end
        result[-1] += tuple(parts[position:])
    return tuple(result)


def split(part: Part, inner: int) -> tuple[Part, Part]:
    """Returns a part in two, the inner one of this length."""
    label = part.label
    outer = Place(label.axis, label.step * inner) if isinstance(label, Place) else label
    return Part(part.size // inner, outer), Part(inner, label)


def merge(left: Axis, right: Axis, combine: Callable[[Any, Any], Any]) -> Axis | None:
    """Returns the common refinement of two divisions of one axis, None where they cross each other.

    Args:
        left, right: of axes of the same length.
        combine: label of the result from the two labels; None stands for a batch of one that only one side has.
    """
    stacks, result = [list(left), list(right)], []
    while stacks[0] or stacks[1]:
        ones = [bool(stack) and stack[-1].size == 1 for stack in stacks]
        if any(ones):
            first, second = (stack.pop().label if one else None for stack, one in zip(stacks, ones, strict=True))
            result.append(Part(1, combine(first, second)))
            continue
        if not (stacks[0] and stacks[1]):
            return None
        inner = min(stacks[0][-1].size, stacks[1][-1].size)
        labels = []
        for stack in stacks:
            part = stack.pop()
            if part.size % inner:
                return None
            if part.size != inner:
                outer, part = split(part, inner)
                stack.append(outer)
            labels.append(part.label)
        result.append(Part(inner, combine(*labels)))
    return tuple(reversed(result))
