"""Distances of rows: euclidean, cosine, correlation, cityblock, Chebyshev, of structural similarity, and one's own.

What is a sum of squares is |a|^2 + |b|^2 - 2 a.b of rows without their mean, a matrix product: off by up to `ROUNDING`
of the squared norms, and clipped at 0. `neighbors` selects by it and computes what it returns from differences.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Count, Float
from .arguments import checked_samples, checked_shape, numbers_of

METRICS = ("euclidean", "sqeuclidean", "cosine", "correlation", "cityblock", "chebyshev", "ssim")
OF_SQUARES = METRICS[:4]
EXACT = jax.lax.Precision.HIGHEST
WINDOW = 7  # pixels of the sides of the windows of the structural similarity, at most
PAIRS_AT_ONCE = 1 << 22  # values of products of maps in memory

Metric = str | Callable[[Array, Array], Array]


class Prepared(NamedTuple):
    """Rows as a metric compares them, and what turns the value compared into the distance."""

    x: Array
    y: Array
    center: Array  # [d]; what is taken from rows before they are multiplied, and not before they are subtracted
    scale: Array  # of distances: rows are brought to the order of 1, so that squares stay in range


def pairwise_distance(
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "m d"],
    metric: Metric = "euclidean",
    *,
    shape: tuple[Count, Count] | None = None,
) -> Float[Array, "n m"]:
    """The distances of all rows of x to all rows of y.

    Args:
      metric: "euclidean", "sqeuclidean", "cosine" (1 - cos), "correlation" (1 - Pearson's r), "cityblock", "chebyshev",
        "ssim" (1 - structural similarity, of windows of 7 x 7 pixels and the range of all values of x and y), or a
        function of JAX of two blocks [b, d], [c, d] that returns [b, c].
      shape: (height, width) of the maps that rows are, for "ssim".

    Returns:
      distances in the dtype of x, differentiable in x and y; where rows are the same, a gradient is a subgradient, 0
      for "euclidean". Those of squares have an error of about d eps (|x|^2 + |y|^2) in their square, rows taken from
      their mean: distances of close rows are better from `knn`.

    Raises:
      KeyError: an unknown metric. ValueError: shapes or dtypes that do not belong together, values that are not finite,
        rows of zeros (cosine) or of one value (correlation), with their numbers; negative distances of a function.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.pairwise_distance(jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0]])).tolist()
      [[5.0]]
    """
    rows, others = checked_pair(x, y)
    metric = checked_metric(metric)
    image = checked_image(metric, shape, rows.shape[1])
    check_directions(metric, "x", rows)
    check_directions(metric, "y", others)
    distances = _pairwise(rows, others, metric, image)
    check_distances(metric, distances)
    return distances


def checked_pair(x: AnyArray, y: AnyArray) -> tuple[Array, Array]:
    """Two sets of rows of one length and dtype."""
    rows, others = checked_samples("x", x, (2,)), checked_samples("y", y, (2,))
    if rows.shape[1] != others.shape[1] or rows.dtype != others.dtype:
        raise ValueError(
            f"y is {others.dtype} of shape {others.shape}, x {rows.dtype} of shape {rows.shape}: expected rows of one "
            "length and dtype"
        )
    return rows, others


def checked_metric(metric) -> Metric:
    """A name of METRICS or a function."""
    if not callable(metric) and (not isinstance(metric, str) or metric not in METRICS):
        raise KeyError(
            f"metric={scalars.shown(metric)}: expected one of {', '.join(METRICS)}, or a function of two blocks of rows"
        )
    return metric


def checked_image(metric: Metric, shape, d: int) -> tuple[int, int] | None:
    """The shape of maps where a metric needs it."""
    if metric != "ssim":
        return None
    if shape is None:
        raise ValueError(f'shape=None: metric="ssim" needs the (height, width) of maps of {d} pixels')
    height, width = checked_shape("shape", shape)
    if height * width != d:
        raise ValueError(f"shape={(height, width)}: expected a height and a width with the product {d}, the row length")
    return height, width


def check_directions(metric: Metric, name: str, rows: Array) -> None:
    """ValueError with the numbers of rows that have no direction, or do not vary; traced ones pass."""
    if metric not in ("cosine", "correlation") or scalars.is_traced(rows):
        return
    flat = np.asarray(jnp.all(rows == (0 if metric == "cosine" else rows[:, :1]), axis=1))
    if flat.any():
        what = "zero" if metric == "cosine" else "of one value"
        raise ValueError(
            f"{name} is {what} throughout in {flat.sum()} samples of {len(flat)}, numbers {numbers_of(flat)}: {metric} "
            "distances are undefined there; leave these samples out"
        )


def check_distances(metric: Metric, distances: Array, ignored: Array | bool = False) -> None:
    """ValueError where a function gave negative or undefined distances, with the numbers of the rows."""
    if not callable(metric) or scalars.is_traced(distances):
        return
    wrong = np.asarray(jnp.any(~((distances >= 0) | ignored), axis=1))
    if wrong.any():
        raise ValueError(
            f"metric gives negative or NaN distances for {wrong.sum()} samples of {len(wrong)}, numbers "
            f"{numbers_of(wrong)}: expected distances, 0 where rows are the same (1 - s of a similarity s)"
        )


def prepared(x: Array, y: Array, metric: Metric) -> Prepared:
    """Rows without what the metric does not see, as their length, and what brings them near 1 and to their mean."""
    scale = jnp.ones((), x.dtype)
    if metric in ("cosine", "correlation"):
        x, y = _directions(x, metric), _directions(y, metric)
    elif metric == "ssim":
        low, high = jnp.minimum(jnp.min(x), jnp.min(y)), jnp.maximum(jnp.max(x), jnp.max(y))
        span = jnp.where(high > low, high - low, 1)
        x, y = x / span, y / span
    elif not callable(metric):
        scale = _power_of_two(jnp.maximum(jnp.max(jnp.abs(x)), jnp.max(jnp.abs(y))))
        x, y = x / scale, y / scale
    center = jnp.mean(y, axis=0) if metric in OF_SQUARES else jnp.zeros_like(y[0])
    return Prepared(x, y, center, scale)


def quick(a: Float[Array, "b d"], b: Float[Array, "c d"]) -> Float[Array, "b c"]:
    """Squared distances by a matrix product, not clipped: to `rounding`."""
    norms = jnp.sum(b * b, axis=1)
    product = jnp.matmul(a, b.T, precision=EXACT)
    return (jnp.sum(a * a, axis=1)[:, None] - 2 * product) + norms[None, :]


def rounding(d: int, dtype) -> float:
    """A bound of the error of `quick`, as a share of |a|^2 + |b|^2."""
    return 2 * (d + 8) * float(jnp.finfo(dtype).eps)


def direct(metric: Metric, a: Float[Array, "*#batch d"], b: Float[Array, "*#batch d"]) -> Float[Array, "..."]:
    """What a named metric compares, from differences; axes of a and b broadcast."""
    difference = a - b
    if metric in OF_SQUARES:
        return jnp.sum(difference * difference, axis=-1)
    return (jnp.sum if metric == "cityblock" else jnp.max)(jnp.abs(difference), axis=-1)


def finished(metric: Metric, value: Array, scale: Array) -> Array:
    """The distance, of what was compared."""
    if metric == "euclidean":
        is_apart = value > 0  # twice: the derivative of a root at 0 is infinite, and infinite times 0 is NaN
        return jnp.where(is_apart, jnp.sqrt(jnp.where(is_apart, value, 1)), 0) * scale
    if metric == "sqeuclidean":
        return jnp.maximum(value, 0) * scale * scale
    if metric in ("cosine", "correlation"):
        return jnp.maximum(value, 0) / 2
    return value * scale


def block_of(metric: Metric, image: tuple[int, int] | None, a: Array, b: Array, center: Array) -> Array:
    """What a metric compares, of all pairs of two blocks of prepared rows [b, d], [c, d]: [b, c]."""
    if callable(metric):
        values = jnp.asarray(metric(a, b))
        if values.shape != (a.shape[0], b.shape[0]):
            raise ValueError(
                f"metric returns shape {values.shape} for blocks of {a.shape[0]} and {b.shape[0]} rows: expected "
                f"{(a.shape[0], b.shape[0])}"
            )
        return values.astype(a.dtype)
    if metric in OF_SQUARES:
        return quick(a - center, b - center)
    if metric == "ssim":
        assert image is not None
        return _dissimilarity(a.reshape(-1, *image), b.reshape(-1, *image))
    return direct(metric, a[:, None], b[None])


@functools.partial(jax.jit, static_argnames=("metric", "image"))
def _pairwise(x, y, metric, image):
    rows = prepared(x, y, metric)
    return finished(metric, block_of(metric, image, rows.x, rows.y, rows.center), rows.scale)


def _directions(rows, metric):
    rows = rows / _power_of_two(jnp.max(jnp.abs(rows), axis=1, keepdims=True))
    if metric == "correlation":
        rows = rows - jnp.mean(rows, axis=1, keepdims=True)
    return rows / jnp.sqrt(jnp.sum(rows * rows, axis=1, keepdims=True))


def _power_of_two(largest):
    """The power of two below a magnitude, 1 for 0: division by it rounds nothing."""
    largest = jax.lax.stop_gradient(largest)  # it cancels
    _, exponent = jnp.frexp(jnp.where(largest > 0, largest, 1))
    return jnp.ldexp(jnp.ones_like(largest), jnp.clip(exponent - 1, -120, 120))


def _dissimilarity(a, b):
    """1 - the mean structural similarity over all windows, of maps [b, h, w] and [c, h, w] with a range of 1.

    Windows are uniform and variances those of samples. Source: Z. Wang et al., IEEE Trans. Image Processing 13, 2004.
    """
    height, width = a.shape[1:]
    side = min(WINDOW, height, width)
    side -= 1 - side % 2
    down, across = (
        jnp.asarray(
            np.abs(np.arange(size)[None] - np.arange(side // 2, size - side // 2)[:, None]) <= side // 2, a.dtype
        )
        for size in (height, width)
    )
    number = side * side

    def means(maps):
        return jnp.einsum("ph,...hw,qw->...pq", down, maps, across, precision=EXACT) / number

    unbiased = number / max(number - 1, 1)
    mean_b = means(b)
    square_b = unbiased * (means(b * b) - mean_b**2)
    c1, c2 = 0.01**2, 0.03**2

    def of_one(one):
        mean = means(one)
        square = unbiased * (means(one * one) - mean**2)
        shared = unbiased * (means(one * b) - mean * mean_b)
        similarity = (2 * mean * mean_b + c1) * (2 * shared + c2)
        similarity /= (mean**2 + mean_b**2 + c1) * (square + square_b + c2)
        return 1 - jnp.mean(similarity, axis=(-2, -1))

    at_once = max(1, PAIRS_AT_ONCE // max(1, b.size))
    return jnp.maximum(jax.lax.map(of_one, a, batch_size=min(at_once, a.shape[0])), 0)
