"""Heatmap images of relevance: colour maps as text, palettes of 256 colours, and arrays as RGB pictures, in NumPy.

A colour map is written `[index:]colour,...`: colours of 3 or 6 hexadecimal digits, indices of 1 or 2 (00 to ff) in
ascending order, colours without an index spread evenly between their neighbours. The language, the named maps and the
arithmetic of the pictures are Zennit's (Anders et al., arXiv:2106.13200); a constant array gives the centre of the map
instead of NaN.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence

import numpy as np

from ..array_types import AnyArray, Float64, Int, Real, Scalar, UInt8
from ..scalars import real, reals

COLORMAPS = {
    "gray": "000,fff",
    "wred": "fff,f00",
    "wblue": "fff,00f",
    "hot": "000,f00,ff0,fff",
    "cold": "000,00f,0ff",
    "coldnhot": "0ff,00f,80:000,f00,ff0,fff",
    "bwr": "00f,80:fff,f00",
    "france": "0055a4,80:fff,ef4135",
    "seismic": "0000d0,80:d0d0d0,d00000",
    "coolio": "00d0d0,80:d0d0d0,d000d0",
    "coleus": "00d000,80:d0d0d0,d000d0",
}
CENTRE = 0.5  # what a constant array is drawn as

_NODE = re.compile(r"(?:([0-9a-fA-F]{1,2}):)?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")


@dataclasses.dataclass(frozen=True)
class ColorMap:
    """A piecewise linear map from [0, 1] to colours.

    Attributes:
        indices: int `[nodes]`, ascending from 0 to 255.
        colors: uint8 `[nodes, 3]`, red, green, blue.
    """

    indices: Int[np.ndarray, " nodes"]
    colors: UInt8[np.ndarray, "nodes 3"]

    def __call__(self, values: Scalar | Real[AnyArray, "*shape"] | Sequence) -> Float64[np.ndarray, " *shape 3"]:
        """Returns colours in [0, 1] as float64 `[..., 3]` for values `[...]`, which are clipped to [0, 1]."""
        places = np.clip(np.asarray(values, np.float64), 0.0, 1.0) * 255
        return np.stack([np.interp(places, self.indices, channel) for channel in self.colors.T], axis=-1) / 255

    def palette(self, level: float = 1.0) -> UInt8[np.ndarray, "256 3"]:
        """Returns 256 colours as uint8 `[256, 3]`.

        Args:
            level: contrast around the centre: below 1 the ends of the map are not reached, above 1 they are reached
                early.
        """
        level = real("level", level, "a finite number; 1 is the whole map")
        places = np.clip((np.linspace(-1.0, 1.0, 256) * level + 1) / 2, 0.0, 1.0)
        return np.round(self(places) * 255, 12).astype(np.uint8)


def colormap(text: str | ColorMap) -> ColorMap:
    """Returns the colour map of a name in COLORMAPS or of a text such as "00f,80:fff,f00".

    Raises:
        ValueError: a text that is neither; the message says which part, and lists the names.

    Example:
        >>> from havel.kernels import attribution
        >>> attribution.colormap("00f,80:fff,f00").colors.tolist()
        [[0, 0, 255], [255, 255, 255], [255, 0, 0]]
    """
    if isinstance(text, ColorMap):
        return text
    source = COLORMAPS.get(text, text)
    parts = [part.strip() for part in source.split(",")]
    matches = [_NODE.fullmatch(part) for part in parts]
    names = f"a name ({', '.join(COLORMAPS)}) or '[index:]colour,...' such as '00f,80:fff,f00'"
    if wrong := [part for part, match in zip(parts, matches, strict=True) if match is None]:
        raise ValueError(
            f"colour map {text!r}: {wrong[0]!r} is no colour of 3 or 6 hexadecimal digits; expected {names}"
        )
    if len(parts) < 2:
        raise ValueError(f"colour map {text!r} has one colour; expected two or more: {names}")
    nodes = [(_index(match[1]), _color(match[2])) for match in matches if match is not None]
    if nodes[0][0] not in (None, 0):
        nodes.insert(0, (0, nodes[0][1]))
    if nodes[-1][0] not in (None, 255):
        nodes.append((255, nodes[-1][1]))
    indices = [index for index, _ in nodes]
    indices[0], indices[-1] = 0, 255
    stated = [(place, index) for place, index in enumerate(indices) if index is not None]
    for (before, low), (after, high) in itertools.pairwise(stated):
        if high < low:
            raise ValueError(f"colour map {text!r}: index {high:x} comes after {low:x}; write them ascending")
        share = np.linspace(0.0, 1.0, after - before + 1)
        spread = low * (1.0 - share) + high * share  # in this form: truncation shows its last digit
        indices[before : after + 1] = spread.astype(int).tolist()
    return ColorMap(np.array(indices), np.array([color for _, color in nodes], np.uint8))


def palette(cmap: str | ColorMap = "bwr", level: float = 1.0) -> UInt8[np.ndarray, "256 3"]:
    """Returns 256 colours as uint8 `[256, 3]` of a colour map by name or text; see `ColorMap.palette`.

    Example:
        >>> from havel.kernels import attribution
        >>> attribution.palette("bwr")[[0, 128, 255]].tolist()
        [[0, 0, 255], [255, 255, 255], [255, 0, 0]]
    """
    return colormap(cmap).palette(level)


def imgify(
    values: Real[AnyArray, "..."] | Sequence,
    *,
    vmin: Scalar | Real[AnyArray, "..."] | None = None,
    vmax: Scalar | Real[AnyArray, "..."] | None = None,
    cmap: str | ColorMap = "bwr",
    level: float = 1.0,
    symmetric: bool = False,
    grid: bool | Sequence[int] = False,
    gridfill: Scalar | Real[AnyArray, " channels"] | Sequence | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns an array as an RGB picture, uint8 `[height, width, 3]`.

    Args:
        values: `[height, width]`, or with a channel axis of 1 or 3 at the end or at the front; with `grid` there is a
            batch axis before all of them. One channel is drawn with the colour map, three are drawn as red, green and
            blue. uint8 is taken as it is, the range of everything else is spread over 0 to 255.
        vmin, vmax: values that become the first and the last colour; by default the array's own (each sample's in a
            grid).
        cmap: colour map by name or text, see `colormap`.
        level: contrast of the colour map, see `ColorMap.palette`.
        symmetric: take plus and minus the largest magnitude as the range, so that 0 is the centre of the map.
        grid: True: samples in rows of floor(sqrt(samples)); or (rows, columns).
        gridfill: value 0 to 255 of empty cells, by default the smallest of the picture (of each channel).

    Raises:
        ValueError: a shape that is no picture, values that are not numbers, a grid that is too small.

    Example:
        >>> import numpy as np
        >>> from havel.kernels import attribution
        >>> attribution.imgify(np.array([[-1.0, 0.0], [0.5, 1.0]]), symmetric=True).shape
        (2, 2, 3)
    """
    array = np.asarray(values)
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its kin register as void
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"values of type {array.dtype}: expected real numbers")
    if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"values hold {count} NaN or infinite entries of {array.size}: mend or mask them first")
    if array.size == 0:
        raise ValueError(f"values of shape {array.shape} are empty: nothing to draw")
    levels = _to_bytes(array, vmin, vmax, symmetric, per_sample=bool(grid))
    pixels = _tile(_channels_last(levels, 1), grid, gridfill) if grid else _channels_last(levels, 0)
    return pixels if pixels.shape[-1] == 3 else palette(cmap, level)[pixels[..., 0]]


def _index(digits: str | None) -> int | None:
    return None if digits is None else int(digits * (3 - len(digits)), 16)


def _color(digits: str) -> tuple[int, ...]:
    wide = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    return tuple(int(wide[start : start + 2], 16) for start in (0, 2, 4))


def _to_bytes(array: np.ndarray, vmin, vmax, symmetric: bool, per_sample: bool) -> np.ndarray:
    """Returns the array with its range spread over 0 to 255, truncated to uint8; bytes as they are."""
    if array.dtype == np.uint8:
        return array
    axes = tuple(range(1, array.ndim)) if per_sample else None
    if symmetric:
        high = np.abs(array).max(axis=axes, keepdims=True)
        low = -high
    else:
        low, high = array.min(axis=axes, keepdims=True), array.max(axis=axes, keepdims=True)
    for name, end in (("vmin", vmin), ("vmax", vmax)):
        if end is not None:
            reals(name, end, "a finite number, or None for the array's own")
    low = low if vmin is None else np.asarray(vmin)
    high = high if vmax is None else np.asarray(vmax)
    extent = high - low
    if (extent < 0).any():
        raise ValueError(f"vmin={np.max(low)} lies above vmax={np.min(high)}: give vmin below vmax")
    flat = extent == 0
    scaled = (array - low) / np.where(flat, np.ones_like(extent), extent)
    return np.clip(np.where(flat, CENTRE, scaled) * 255, 0, 255).astype(np.uint8)


def _channels_last(array: np.ndarray, before: int) -> np.ndarray:
    """Returns pictures `[..., height, width, channels]` after `before` axes."""
    shape = array.shape[before:]
    if len(shape) == 2:
        return array[..., None]
    if len(shape) == 3 and shape[-1] in (1, 3):
        return array
    if len(shape) == 3 and shape[0] in (1, 3):
        return np.moveaxis(array, before, -1)
    expectation = "[height, width], or three axes with 1 or 3 channels last or first" + (
        ", after the batch" if before else ""
    )
    raise ValueError(f"an array of shape {array.shape} is no picture{'s' * before}; expected {expectation}")


def _tile(pictures: np.ndarray, grid: bool | Sequence[int], gridfill) -> np.ndarray:
    """Returns pictures `[n, height, width, channels]` side by side, row after row."""
    count, height, width, channels = pictures.shape
    columns = math.isqrt(count)
    rows, columns = (math.ceil(count / columns), columns) if isinstance(grid, bool) else (int(side) for side in grid)
    if rows * columns < count:
        raise ValueError(f"grid={grid} has {rows * columns} cells for {count} pictures: give more, or grid=True")
    fill = pictures.min(axis=(0, 1, 2)) if gridfill is None else np.asarray(gridfill, np.uint8)
    cells = np.empty((rows * columns, height, width, channels), np.uint8)
    cells[:] = fill
    cells[:count] = pictures
    cells = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return cells.reshape(rows * height, columns * width, channels)
