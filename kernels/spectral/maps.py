"""Relevance maps before they are compared: channels, pooling, norms, sizes, histograms.

Maps are [n, height, width] or [n, height, width, channels], float32 or float64, and keep their dtype. Source: the
preprocessing of SpRAy, S. Lapuschkin et al., arXiv:1902.10178. All but `histogram_maps`, which counts, are
differentiable in the maps.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Count, Float, Scalar
from .arguments import checked_samples, checked_shape, choice, numbers_of

REDUCTIONS = ("sum", "sum_abs", "max_abs")
NORMS = ("l1", "l2", "max_abs", "signed_sum")
MOST_CHANNELS = 4  # rows of maps so few are rather channels that come first
CANCELLED = 1e-12  # of the sum of magnitudes: a signed sum below it is rounding
EXACT = jax.lax.Precision.HIGHEST  # of matrix products: accelerators multiply float32 in shorter formats otherwise


def reduce_channels(
    relevance: Float[AnyArray, "n height width *channels"], how: str = "sum"
) -> Float[Array, "n height width"]:
    """Maps without channels.

    Args:
      relevance: with one axis of channels, the last, or none.
      how: "sum", "sum_abs" (the sum of magnitudes) or "max_abs" (the largest magnitude).

    Raises:
      ValueError: another `how`, shape or dtype, or values that are not finite, with their sample numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.reduce_channels(jnp.array([[[[1.0, -2.0]]]]), "sum_abs").tolist()
      [[[3.0]]]
    """
    maps = checked_samples("relevance", relevance, (3, 4))
    choice("how", how, REDUCTIONS)
    maps = maps if maps.ndim == 4 else maps[..., None]
    if how == "sum":
        return jnp.sum(maps, axis=-1)
    return (jnp.sum if how == "sum_abs" else jnp.max)(jnp.abs(maps), axis=-1)


def pool_maps(
    relevance: Float[AnyArray, "n height width *channels"], grid: Count | tuple[Count, Count] = (16, 16)
) -> Float[Array, "n rows columns *channels"]:
    """Sums over the bins of a grid. Each pixel is in one bin, so that the total of a map is conserved.

    Bin i of g covers the pixels r of H with floor(r g / H) = i: H/g of them, to one pixel.

    Args:
      grid: (rows, columns), or one number for both.

    Raises:
      ValueError: fewer pixels than bins, a bad grid, shape or dtype, or values that are not finite, with their sample
        numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.pool_maps(jnp.ones((1, 5, 4)), (2, 2)).tolist()
      [[[6.0, 6.0], [4.0, 4.0]]]
    """
    maps = checked_samples("relevance", relevance, (3, 4))
    rows, columns = checked_shape("grid", grid)
    height, width = maps.shape[1:3]
    if height < rows or width < columns:
        first = (
            f"; if axis 1 of {maps.shape} are channels, move them last: jnp.moveaxis(relevance, 1, -1)"
            if maps.ndim == 4 and height <= MOST_CHANNELS
            else ""
        )
        raise ValueError(
            f"grid={(rows, columns)} has more bins than maps of {height} x {width} have pixels: take a coarser grid, "
            f"or `resize_maps` first{first}"
        )
    down, across = (
        jnp.asarray((np.arange(size) * bins // size)[None, :] == np.arange(bins)[:, None], maps.dtype)
        for size, bins in ((height, rows), (width, columns))
    )
    return jnp.einsum("gh,nhw...,kw->ngk...", down, maps, across, precision=EXACT)


def normalize_maps(
    relevance: Float[AnyArray, " n *shape"], norm: str = "l1", zero: str = "refuse"
) -> Float[Array, " n *shape"]:
    """Each map divided by its norm.

    Args:
      relevance: maps, or rows [n, d].
      norm: "l1" (the sum of magnitudes), "l2", "max_abs", or "signed_sum": the sum, which turns signs where it is
        negative and means nothing where it nearly cancels; for comparisons with others.
      zero: "refuse" a map of zeros, or "keep" it as it is.

    Raises:
      ValueError: maps of zeros, or with "signed_sum" maps whose sum is below 1e-12 of their sum of magnitudes, with
        their sample numbers; another name, shape or dtype; values that are not finite. Under `jit` such maps become
        NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.normalize_maps(jnp.array([[3.0, -1.0], [0.0, 0.5]])).tolist()
      [[0.75, -0.25], [0.0, 1.0]]
    """
    maps = checked_samples("relevance", relevance, (2, 3, 4))
    choice("norm", norm, NORMS)
    choice("zero", zero, ("refuse", "keep"))
    axes = tuple(range(1, maps.ndim))
    largest = jnp.max(jnp.abs(maps), axis=axes, keepdims=True)
    is_zero = largest == 0
    if zero == "refuse" and not scalars.is_traced(maps) and bool(jnp.any(is_zero)):
        flags = np.asarray(is_zero).reshape(-1)
        raise ValueError(
            f"relevance is zero throughout in {flags.sum()} samples of {len(flags)}, numbers {numbers_of(flags)}: "
            'leave them out, or keep them with zero="keep"'
        )
    unit = maps / jnp.where(is_zero, 1, largest)  # squares of small or large numbers would leave the range
    if norm == "signed_sum":
        _refuse_cancelled(maps, is_zero)
        magnitude = jnp.sum(jnp.abs(unit), axis=axes, keepdims=True)
        size = jnp.sum(unit, axis=axes, keepdims=True)
        size = jnp.where(jnp.abs(size) < CANCELLED * magnitude, jnp.nan, size)
    elif norm == "max_abs":
        size = jnp.ones_like(largest)
    elif norm == "l1":
        size = jnp.sum(jnp.abs(unit), axis=axes, keepdims=True)
    else:
        size = jnp.sqrt(jnp.sum(unit * unit, axis=axes, keepdims=True))
    empty = jnp.zeros_like(maps) if zero == "keep" else jnp.full_like(maps, jnp.nan)
    return jnp.where(is_zero, empty, unit / jnp.where(is_zero, 1, size))


def resize_maps(
    relevance: Float[AnyArray, "n height width *channels"], shape: Count | tuple[Count, Count], order: Count = 1
) -> Float[Array, "n rows columns *channels"]:
    """Maps of another size, interpolated: values are conserved, totals are not (`pool_maps` conserves these).

    Args:
      shape: (height, width), or one number for both.
      order: 0, the nearest pixel; 1, linear, with a wider kernel where maps shrink, so that no pixel is passed over.

    Raises:
      ValueError: a bad shape, order or dtype, or values that are not finite, with their sample numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.resize_maps(jnp.array([[[0.0, 1.0], [2.0, 3.0]]]), (1, 2), order=1).tolist()
      [[[1.0, 2.0]]]
    """
    maps = checked_samples("relevance", relevance, (3, 4))
    size = (maps.shape[0], *checked_shape("shape", shape), *maps.shape[3:])
    method = ("nearest", "linear")[scalars.whole("order", order, 0, 1)]
    return jax.image.resize(maps, size, method, antialias=True, precision=EXACT)


def histogram_maps(
    relevance: Float[AnyArray, "n height width *channels"],
    bins: Count = 32,
    limits: tuple[Scalar, Scalar] | None = None,
) -> Float[Array, "n *channels bins"]:
    """Counts of the values of each map and channel, in bins of one range for all samples, in the dtype of the maps.

    Args:
      bins: of equal width; the last one includes its end.
      limits: (lowest, highest); None: those of all samples together, so that bins mean the same in each.

    Raises:
      ValueError: values beyond the limits, or that are not finite, with their sample numbers; bad bins or limits.
        Under `jit`, values beyond them are counted in no bin.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.histogram_maps(jnp.array([[[0.0, 1.0, 1.0]], [[3.0, 3.0, 4.0]]]), bins=4).tolist()
      [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]]
    """
    maps = checked_samples("relevance", relevance, (3, 4))
    bins = scalars.whole("bins", bins, 1)
    values = maps.reshape(maps.shape[0], -1, *maps.shape[3:])
    low, high = (jnp.min(maps), jnp.max(maps)) if limits is None else _checked_limits(limits, maps.dtype)
    # One value throughout has a bin around it.
    low, high = jnp.where(low == high, low - 0.5, low), jnp.where(low == high, high + 0.5, high)
    if limits is not None and not scalars.is_traced(maps):
        beyond = np.asarray(jnp.any((maps < low) | (maps > high), axis=tuple(range(1, maps.ndim))))
        if beyond.any():
            raise ValueError(
                f"relevance is beyond limits={scalars.shown(limits)} in {beyond.sum()} samples of {len(beyond)}, "
                f"numbers {numbers_of(beyond)}: widen the limits, or clip the maps"
            )
    edges = jnp.linspace(low, high, bins + 1, dtype=maps.dtype)
    place = jnp.minimum(jnp.searchsorted(edges, values, side="right") - 1, bins - 1)
    place = jnp.where(values > high, bins, jnp.where(values < low, -1, place))
    rows = jnp.moveaxis(place, 1, -1)
    return jnp.sum(rows[..., None] == jnp.arange(bins), axis=-2).astype(maps.dtype)


def _refuse_cancelled(maps, is_zero) -> None:
    """Of a signed sum, where maps are concrete: in float64, as their own dtype's rounding is larger than the limit."""
    if scalars.is_traced(maps):
        return
    rows = np.asarray(maps, np.float64).reshape(maps.shape[0], -1)
    cancelled = np.abs(rows.sum(1)) < CANCELLED * np.abs(rows).sum(1)
    cancelled &= ~np.asarray(is_zero).reshape(-1)
    if cancelled.any():
        raise ValueError(
            f"relevance sums to zero, against its magnitudes, in {cancelled.sum()} samples of {len(cancelled)}, "
            f'numbers {numbers_of(cancelled)}: "signed_sum" cannot normalise these; take norm="l1"'
        )


def _checked_limits(limits, dtype):
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise ValueError(f"limits={scalars.shown(limits)}: expected (lowest, highest), or None")
    low, high = (scalars.real("limits", one, "two finite numbers") for one in limits)
    if not low <= high:
        raise ValueError(f"limits={scalars.shown(limits)}: expected the lowest first")
    return jnp.asarray(low, dtype), jnp.asarray(high, dtype)
