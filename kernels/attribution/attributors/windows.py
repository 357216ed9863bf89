"""Windows that slide over an array and wrap round its edges, for occlusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Int32
from ...scalars import whole


class Plan(NamedTuple):
    """Attributes: window, lengths int `[axes]` for the axes after the batch; offsets, int `[windows, axes]`."""

    window: Int32[np.ndarray, " axes"]
    offsets: Int32[np.ndarray, "windows axes"]


def plan(shape: tuple[int, ...], window, stride, axes: Sequence[int] | None = None) -> Plan:
    """Returns all windows over an array of `shape` `[batch, ...]`; see `attributors.occlusion` for the arguments."""
    sides = shape[1:]
    for name, lengths in (("window", window), ("stride", stride)):
        for length in np.atleast_1d(np.asarray(lengths, object)):
            whole(name, length, 1, why=", or a length for each of `axes`")
    if isinstance(window, (int, np.integer)) and isinstance(stride, (int, np.integer)) and axes is None:
        lengths, steps = [int(window)] * len(sides), [int(stride)] * len(sides)
    else:
        lengths, steps = _along_axes(shape, window, stride, axes)
    lengths = [min(length, side) for length, side in zip(lengths, sides, strict=True)]
    if list(lengths) == list(sides) and max(sides, default=1) > 1:
        raise ValueError(
            f"window={window!r} covers all of an input of shape {sides}: every entry would have the same score. Take a "
            "smaller one, along some axis at least."
        )
    steps = [min(step, side) for step, side in zip(steps, sides, strict=True)]
    offsets = itertools.product(*(range(0, side, step) for side, step in zip(sides, steps, strict=True)))
    return Plan(np.array(lengths, np.int32), np.array(list(offsets), np.int32).reshape(-1, len(sides)))


def mask(shape: tuple[int, ...], offset: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns bool `[1, *shape[1:]]`, True inside the window at `offset`, int `[axes]`, of lengths `sizes`."""
    inside = jnp.ones((1,) * len(shape), bool)
    for axis, side in enumerate(shape[1:]):
        here = (jnp.arange(side) - offset[axis]) % side < sizes[axis]
        inside = inside & here.reshape((-1,) + (1,) * (len(shape) - axis - 2))
    return inside


def spread(scores: jax.Array, inside: jax.Array) -> jax.Array:
    """Returns each sample's score at the places inside the window, zero elsewhere."""
    return scores.reshape((-1,) + (1,) * (inside.ndim - 1)) * inside


def _along_axes(shape, window, stride, axes) -> tuple[list[int], list[int]]:
    """Returns lengths and steps for all axes but the batch's; those not named are covered whole."""
    count = max(np.size(window), np.size(stride), 1 if axes is None else len(axes))
    many = [tuple(int(n) for n in np.broadcast_to(value, (count,))) for value in (window, stride)]
    if axes is None:
        axes = tuple(range(len(shape) - count, len(shape)))
        if count == 2 and len(shape) == 4 and shape[-1] in (1, 3, 4):
            axes = (1, 2)
    axes = tuple(axis % len(shape) for axis in axes)
    if len(set(axes)) != count or min(axes) < 1:
        raise ValueError(
            f"axes={axes} for {count} lengths of an array of shape {shape}: name each axis after the batch's once"
        )
    lengths, steps = list(shape[1:]), list(shape[1:])
    for axis, length, step in zip(axes, *many, strict=True):
        lengths[axis - 1], steps[axis - 1] = length, step
    return lengths, steps
