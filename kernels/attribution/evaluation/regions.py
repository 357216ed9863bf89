"""Regions of images, sequences or volumes, and the order in which they are perturbed: arXiv:1509.06321."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Array, Count, Float, Int, Key, Real
from ...scalars import whole

REDUCTIONS = ("mean", "sum", "abs", "max")
ORDERS = ("morf", "lerf", "random")


class Layout(NamedTuple):
    """How an array `[batch, ...]` is cut into regions; static.

    Attributes:
        shape: of the array.
        axes: that are cut, ascending; all others but the batch's are channels.
        sizes: of a region, along each of `axes`.
        counts: regions along each.
        pads: (before, after) entries that are added to each for whole regions.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def regions(self) -> int:
        """Of a sample."""
        return int(np.prod(self.counts))


def layout(shape: tuple[int, ...], regions: Count | Sequence[int], axes: Sequence[int] | None = None) -> Layout:
    """Returns the layout of an array of `shape` `[batch, ...]`; see `pixel_flipping` for the arguments.

    A side that is no multiple of its region's gets the rest, half before (rounded down) and half after it.

    Raises:
        ValueError: sizes that are none or larger than the array, axes that are none or not told.
    """
    sizes = tuple(regions) if isinstance(regions, (tuple, list, np.ndarray)) else (regions,)
    for size in sizes:
        whole("regions", size, 1, why=", or a length for each of `axes`")
    places = _axes(shape, len(sizes), axes)
    pairs = sorted(zip(places, (int(size) for size in sizes), strict=True))
    for axis, size in pairs:
        if size > shape[axis]:
            raise ValueError(f"regions={sizes}: one of {size} along axis {axis} of x, whose length is {shape[axis]}")
    rests = [-shape[axis] % size for axis, size in pairs]
    return Layout(
        tuple(shape),
        tuple(axis for axis, _ in pairs),
        tuple(size for _, size in pairs),
        tuple(-(-shape[axis] // size) for axis, size in pairs),
        tuple((rest // 2, rest - rest // 2) for rest in rests),
    )


def _axes(shape, count: int, axes) -> tuple[int, ...]:
    """The axes that lengths of regions mean."""
    if axes is not None:
        places = tuple(axis % len(shape) for axis in axes)
        if len(set(places)) != count or len(places) != count or min(places) < 1:
            raise ValueError(
                f"axes={tuple(axes)} for {count} lengths of regions of x with shape {shape}: name an axis after the "
                "batch's for each length, once"
            )
        return places
    if len(shape) == count + 1:
        return tuple(range(1, count + 1))
    ends = [shape[1], shape[-1]] if len(shape) == count + 2 else []
    if len(set(ends)) == 1 and ends[0] in (1, 3, 4):
        raise ValueError(f"x has shape {shape}, whose channels may come first or last: name the other axes in `axes`")
    if len(shape) == count + 2 and shape[-1] in (1, 3, 4):
        return tuple(range(1, count + 1))
    if len(shape) == count + 2 and shape[1] in (1, 3, 4):
        return tuple(range(2, count + 2))
    raise ValueError(
        f"regions of {count} lengths in x of shape {shape}: which axes they lie along cannot be told. Name them: "
        f"axes={tuple(range(1, count + 1))} for channels last"
    )


def padded(array: Real[Array, "batch ..."], plan: Layout) -> Real[Array, "batch ..."]:
    """Returns an array of the layout's shape with sides that are multiples of the regions', reflected at the edges."""
    widths = [(0, 0)] * array.ndim
    for axis, pad in zip(plan.axes, plan.pads, strict=True):
        widths[axis] = pad
    return jnp.pad(array, widths, mode="reflect")


def region_means(array: Real[Array, "batch ..."], plan: Layout) -> Float[Array, "batch ..."]:
    """Returns the mean of each region (and channel): `array` with the number of regions for each of the sides."""
    whole_regions = padded(array, plan)
    shape: list[int] = []
    within: list[int] = []
    for axis, side in enumerate(whole_regions.shape):
        if axis in plan.axes:
            size = plan.sizes[plan.axes.index(axis)]
            within.append(len(shape) + 1)
            shape += [side // size, size]
        else:
            shape.append(side)
    return jnp.mean(whole_regions.reshape(shape), axis=tuple(within))


def region_index(plan: Layout) -> Int[np.ndarray, ...]:
    """Returns the number of the region, in row order, that each place lies in: 1 along the axes of channels."""
    numbers = np.arange(plan.regions).reshape(plan.counts)
    for axis, (size, (before, _), place) in enumerate(zip(plan.sizes, plan.pads, plan.axes, strict=True)):
        numbers = np.repeat(numbers, size, axis).take(before + np.arange(plan.shape[place]), axis)
    sides = [plan.shape[axis] if axis in plan.axes else 1 for axis in range(1, len(plan.shape))]
    return numbers.reshape(sides)


def on_places(values: Array, plan: Layout) -> Array:
    """Returns values of regions `[batch, regions]` at every place, `[batch, ...]` with 1 along axes of channels."""
    return values[:, region_index(plan)]


def region_scores(relevance: Float[Array, "batch ..."], plan: Layout, reduce: str) -> Float[Array, "batch regions"]:
    """Returns the mean over each region of relevance reduced over channels; see `pixel_flipping`."""
    channels = tuple(axis for axis in range(1, len(plan.shape)) if axis not in plan.axes)
    if reduce == "abs":
        relevance, reduce = jnp.abs(relevance), "sum"
    over = jnp.mean if reduce == "mean" else jnp.sum if reduce == "sum" else jnp.max
    return region_means(over(relevance, axis=channels, keepdims=True), plan).reshape(len(relevance), -1)


def ranks(scores: Float[Array, "batch regions"], order: str) -> Int[Array, "batch regions"]:
    """Returns the place of each region in the order, from 0; equal scores are in the order of their numbers."""
    places = jnp.argsort(-scores if order == "morf" else scores, axis=-1, stable=True)
    return jnp.argsort(places, axis=-1).astype(jnp.int32)


def random_ranks(keys: Key[Array, " batch"], regions: Count) -> Int[Array, "batch regions"]:
    """Returns a random place in the order for each region."""
    return jax.vmap(lambda key: jax.random.permutation(key, regions))(keys).astype(jnp.int32)
