"""Maps at another size, by splines of order 0 to 5 and with a Gaussian before maps shrink, as scikit-image does it.

What these do to an axis is linear, so that it is a matrix: made once from unit vectors, it serves all maps at once.
Values are kept, totals are not: `kernels.spectral.pool_maps` conserves these.
"""

import numpy as np
import scipy.ndimage


def resize(maps: np.ndarray, height: int, width: int, order: int = 1, anti_aliasing: bool = True) -> np.ndarray:
    """Returns maps of another size.

    Args:
      maps: `[n, rows, columns]` or `[n, rows, columns, channels]`.
      height, width: of the result.
      order: of the spline, 0 to 5.
      anti_aliasing: blurs an axis that shrinks by the factor f with a standard deviation of (f - 1) / 2 pixels.

    Returns:
      `[n, height, width, ...]` in the maps' type; values stay within the range of their map.
    """
    down = axis_matrix(maps.shape[1], height, order, anti_aliasing)
    across = axis_matrix(maps.shape[2], width, order, anti_aliasing)
    resized = np.einsum("gh,nhw...,kw->ngk...", down, maps, across, optimize=True)
    axes = tuple(range(1, maps.ndim))
    return np.clip(resized, maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)).astype(maps.dtype)


def axis_matrix(old: int, new: int, order: int, anti_aliasing: bool) -> np.ndarray:
    """Returns `[new, old]`, which takes values along an axis to another number of them; edges are mirrored."""
    unit = np.eye(old)
    factor = old / new
    if anti_aliasing and factor > 1:
        unit = scipy.ndimage.gaussian_filter1d(unit, (factor - 1) / 2, axis=0, mode="mirror")
    if old == new:
        return unit
    return scipy.ndimage.zoom(unit, (new / old, 1), order=order, mode="mirror", grid_mode=True)


def block_reduce(data: np.ndarray, stride: tuple[int, ...], function=np.sum, fill: float = 0.0) -> np.ndarray:
    """Returns `function(..., axis)` of the blocks of an array; ends that fill no block are filled up."""
    if len(stride) != data.ndim:
        raise ValueError(f"stride={stride} for data of shape {data.shape}: expected one number an axis")
    ends = [(0, -size % step) for size, step in zip(data.shape, stride, strict=True)]
    whole = np.pad(data, ends, constant_values=fill)
    shape = [part for size, step in zip(whole.shape, stride, strict=True) for part in (size // step, step)]
    blocks = whole.reshape(shape)
    order = (*range(0, 2 * data.ndim, 2), *range(1, 2 * data.ndim, 2))
    return function(blocks.transpose(order), axis=tuple(range(data.ndim, 2 * data.ndim)))
