"""The k nearest neighbours of each row, exactly, in blocks: never an n x n matrix.

Rows are compared block by block, and the best k + 8 so far of each are merged with the next block's. Distances of
squares come from matrix products there, which round; the candidates' are computed again from differences, and a row
whose k-th neighbour is not nearer than all that was left out, by more than that rounding, is searched again from
differences alone: many duplicates, or clusters far narrower than the whole. So the result is that of brute force, for
any block.
"""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import scalars
from ..array_types import AnyArray, Array, Bool, Count, Float, Int32
from . import distances
from .arguments import LEAST, checked_samples
from .distances import Metric

SPARE = 8  # candidates beyond k
BLOCK = 2048  # squared, the distances of a block, where it is not chosen
WIDEST = 1 << 15  # columns of such a block: the wider, the fewer selections, which take longer than the products
CHUNK = 64  # rows whose candidates are compared at once, whatever the block is: rounding does not hang on it
AGAIN = 32  # rows that are searched again at once
NARROWEST = 4  # groups of fewer columns spare no time


class Neighbors(NamedTuple):
    """Neighbours of n rows, the nearest first, those at one distance by index.

    Attributes:
      index: int32 [n, k].
      distance: [n, k], in the dtype of the rows.
    """

    index: Int32[Array, "n k"]  # type: ignore[assignment]  # a tuple has a method of this name
    distance: Float[Array, "n k"]


def knn(
    x: Float[AnyArray, "n d"],
    k: Count,
    metric: Metric = "euclidean",
    block: Count | None = None,
    *,
    shape: tuple[Count, Count] | None = None,
) -> Neighbors:
    """The k nearest other rows of each row: exact, with ties by index. A row is no neighbour of itself, a duplicate is.

    Args:
      x: at least 3 rows.
      k: at least 1; above n - 1 it is n - 1, with a warning.
      metric: as for `pairwise_distance`.
      block: rows and columns that are compared at once; memory is of the order of block^2 + n k. None: 2048^2 pairs,
        few rows and up to 32,768 columns. The result is the same for any.
      shape: (height, width) of the maps that rows are, for "ssim".

    Distances are differentiable in x, with neighbours as they are; at distance 0 with 0 for "euclidean".

    Raises:
      KeyError: an unknown metric. ValueError: fewer than 3 rows, a bad k, block or shape, rows that are not finite or
        that the metric is undefined for, with their numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> neighbors = spectral.knn(jnp.array([[0.0], [1.0], [1.0], [3.0]]), 2)
      >>> neighbors.index.tolist(), neighbors.distance.tolist()
      ([[1, 2], [2, 0], [1, 0], [1, 2]], [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [2.0, 2.0]])
    """
    rows = checked_samples("x", x, (2,), LEAST)
    return _checked(rows, rows, k, metric, block, shape, is_own=True)


def knn_between(
    queries: Float[AnyArray, "m d"],
    x: Float[AnyArray, "n d"],
    k: Count,
    metric: Metric = "euclidean",
    block: Count | None = None,
    *,
    shape: tuple[Count, Count] | None = None,
) -> Neighbors:
    """The k nearest rows of x of each query: as `knn`, but that all rows count; k at most n.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> x = jnp.array([[0.0], [1.0], [3.0]])
      >>> spectral.knn_between(jnp.array([[2.5]]), x, 2).index.tolist()
      [[2, 1]]
    """
    rows, others = distances.checked_pair(queries, x)
    return _checked(rows, others, k, metric, block, shape, is_own=False)


def _checked(rows, others, k, metric, block, shape, is_own: bool) -> Neighbors:
    metric = distances.checked_metric(metric)
    image = distances.checked_image(metric, shape, rows.shape[1])
    k, most = scalars.whole("k", k, 1), others.shape[0] - is_own
    if k > most:
        warnings.warn(f"k={k}: {others.shape[0]} samples have {most} neighbours each; all are taken", stacklevel=3)
        k = most
    side = None if block is None else scalars.whole("block", block, 1)
    distances.check_directions(metric, "x", others)
    if not is_own:
        distances.check_directions(metric, "queries", rows)
    neighbors = search(rows, others, k, metric, image, side, is_own)
    distances.check_distances(metric, neighbors.distance)
    return neighbors


@functools.partial(jax.jit, static_argnames=("k", "metric", "image", "block", "is_own"))
def search(x, y, k: int, metric: Metric, image, block: int | None, is_own: bool) -> Neighbors:
    """Neighbours of rows x among rows y, of arguments that have been checked; own: x is y."""
    rows = distances.prepared(x, y, metric)
    number = min(k + SPARE, y.shape[0] - is_own)
    # Of squares, what is selected is computed again: only that is differentiated.
    selected = jax.lax.stop_gradient(rows) if metric in distances.OF_SQUARES else rows
    value, index = _candidates(selected, number, metric, image, block, is_own)
    if metric not in distances.METRICS:  # a function's values are what they are
        return Neighbors(index[:, :k], value[:, :k].astype(x.dtype))
    if metric in distances.OF_SQUARES and number < y.shape[0] - is_own:
        limit = value[:, -1]
        exact, best = _ordered(selected, index, metric)
        is_uncertain = _is_uncertain(selected, exact[:, k - 1], limit)
        index = _searched_again(selected, best, is_uncertain, metric, is_own)
    if metric in distances.OF_SQUARES:
        value, index = _ordered(rows, index, metric)
    return Neighbors(index[:, :k], distances.finished(metric, value[:, :k], rows.scale))


def _candidates(rows, number: int, metric, image, block: int | None, is_own: bool) -> tuple[Array, Array]:
    """(values, indices) [m, number] of the smallest of each row, block by block."""
    m, n = rows.x.shape[0], rows.y.shape[0]
    widest = min(n, WIDEST) if block is None else block
    # As many blocks as it takes, of one size: little of the last is padding.
    height, width = (
        -(-size // -(-size // side)) for size, side in ((m, block or max(1, BLOCK**2 // widest)), (n, widest))
    )
    group = _group(width, min(number, width))
    width = -(-width // group) * group  # else every block would be copied to be padded
    columns = _padded(rows.y, width).reshape(-1, width, rows.y.shape[1])
    starts = jnp.arange(columns.shape[0], dtype=jnp.int32) * width

    def of_rows(row_block):
        a, places = row_block

        def merge(best, column_block):
            b, start = column_block
            values = distances.block_of(metric, image, a, b, rows.center)
            place = start + jnp.arange(width, dtype=jnp.int32)
            is_out = place[None] >= n
            if is_own:
                is_out |= place[None] == places[:, None]
            # NaN of a function would be sorted anywhere: it comes first, and is refused where it comes out.
            values = jnp.where(is_out, jnp.inf, jnp.where(jnp.isnan(values), -jnp.inf, values))
            fresh, at = smallest(values, min(number, width))
            return _merged(best, (fresh, start + at), number), None

        empty = (jnp.full((height, number), jnp.inf, a.dtype), jnp.full((height, number), n, jnp.int32))
        return jax.lax.scan(merge, empty, (columns, starts))[0]

    places = _padded(jnp.arange(m, dtype=jnp.int32)[:, None], height).reshape(-1, height)
    blocks = _padded(rows.x, height).reshape(-1, height, rows.x.shape[1])
    value, index = jax.lax.map(of_rows, (blocks, places))
    return value.reshape(-1, number)[:m], index.reshape(-1, number)[:m]


def smallest(values: Float[Array, "b c"], number: int) -> tuple[Float[Array, "b number"], Int32[Array, "b number"]]:
    """(values, columns) of the smallest of each row, in ascending order, those that are equal by column.

    Columns in groups of g: the groups with the smallest minima hold the smallest values, so that a selection passes
    over c/g + g number values instead of c. Groups are runs of columns, and taken in their order, which keeps ties by
    index.
    """
    b, c = values.shape
    group = _group(c, number)
    if group == 1:
        negative, at = jax.lax.top_k(-values, number)
        return -negative, at
    groups = -(-c // group)
    wide = jnp.pad(values, ((0, 0), (0, groups * group - c)), constant_values=jnp.inf).reshape(b, groups, group)
    _, chosen = jax.lax.top_k(-jnp.min(wide, axis=2), number)
    chosen = jnp.sort(chosen, axis=1)
    inside = jnp.take_along_axis(wide, chosen[:, :, None], axis=1).reshape(b, number * group)
    negative, at = jax.lax.top_k(-inside, number)
    return -negative, jnp.take_along_axis(chosen, at // group, axis=1) * group + at % group


def _group(columns: int, number: int) -> int:
    """How many columns are selected together, 1 where that spares no time."""
    group = int((columns / max(number, 1)) ** 0.5)
    return 1 if group < NARROWEST else group


def _merged(best, fresh, number: int):
    """The smallest of two lists; the first has the lower indices, and comes first where values are equal."""
    value, index = (jnp.concatenate(pair, axis=1) for pair in zip(best, fresh, strict=True))
    negative, at = jax.lax.top_k(-value, number)
    return -negative, jnp.take_along_axis(index, at, axis=1)


def _ordered(rows, index, metric) -> tuple[Array, Array]:
    """Candidates [m, c] in the order of their values from differences, then of their indices."""

    def of_chunk(chunk):
        a, at = chunk
        return distances.direct(metric, a[:, None], rows.y[at])

    m = rows.x.shape[0]
    chunks = (_padded(rows.x, CHUNK).reshape(-1, CHUNK, rows.x.shape[1]), _padded(index, CHUNK))
    value = jax.lax.map(of_chunk, (chunks[0], chunks[1].reshape(-1, CHUNK, index.shape[1])))
    value, index = jax.lax.sort((value.reshape(-1, index.shape[1])[:m], index), num_keys=2)
    return value, index


def _is_uncertain(rows, farthest, limit) -> Bool[Array, " m"]:
    """Whether rounding may hide a neighbour: one left out that is as near as the k-th.

    Such a row's norm is at most that of the query plus the k-th distance, and rounding is a share of the norms.
    """
    own = jnp.sum(jnp.square(rows.x - rows.center), axis=1)
    other = jnp.square(jnp.sqrt(own) + jnp.sqrt(farthest))
    bound = distances.rounding(rows.x.shape[1], rows.x.dtype) * (own + other)
    return ~(farthest + bound < limit)


def _searched_again(rows, index, is_uncertain, metric, is_own: bool) -> Int32[Array, "m c"]:
    """The candidates, where uncertain those of a search by differences over all rows, `AGAIN` of them at once."""
    m, number = index.shape
    n, d = rows.y.shape
    width = min(n, max(128, (1 << 22) // (AGAIN * d)))
    columns = _padded(rows.y, width).reshape(-1, width, d)
    starts = jnp.arange(columns.shape[0], dtype=jnp.int32) * width
    queue = jnp.nonzero(is_uncertain, size=m + AGAIN, fill_value=m)[0].astype(jnp.int32)

    def of_chunk(state):
        start, index = state
        own = jax.lax.dynamic_slice(queue, (start,), (AGAIN,))
        a = rows.x[jnp.minimum(own, m - 1)]

        def merge(best, column_block):
            b, first = column_block
            place = first + jnp.arange(width, dtype=jnp.int32)
            is_out = place[None] >= n
            if is_own:
                is_out |= place[None] == own[:, None]
            values = jnp.where(is_out, jnp.inf, distances.direct(metric, a[:, None], b[None]))
            fresh, at = smallest(values, min(number, width))
            return _merged(best, (fresh, first + at), number), None

        empty = (jnp.full((AGAIN, number), jnp.inf, a.dtype), jnp.full((AGAIN, number), n, jnp.int32))
        (_, fresh), _ = jax.lax.scan(merge, empty, (columns, starts))
        return start + AGAIN, index.at[own].set(fresh, mode="drop")

    total = jnp.sum(is_uncertain)
    return jax.lax.while_loop(lambda state: state[0] < total, of_chunk, (0, index))[1]


def _padded(rows: Array, multiple: int) -> Array:
    """Rows with zeros below them, to a multiple."""
    return jnp.pad(rows, ((0, -rows.shape[0] % multiple), (0, 0)))
