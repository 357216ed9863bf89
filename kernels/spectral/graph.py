"""Affinity graphs: who is whose neighbour, and how near, as a symmetric matrix of weights.

Source: U. von Luxburg, A Tutorial on Spectral Clustering, arXiv:0711.0189; self-tuning weights: L. Zelnik-Manor and
P. Perona, NeurIPS 2004.
"""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Float, Int32, Scalar
from . import row_sums
from .arguments import LEAST, check_finite, choice, numbers_of
from .neighbors import Neighbors

SYMMETRIZATIONS = ("mean", "union", "mutual")
WEIGHTS = ("binary", "gaussian", "self_tuning")
LOCAL = 7  # the neighbour whose distance is the scale of a sample, in self-tuning weights


class Graph(NamedTuple):
    """A symmetric matrix of weights, as entries in the order of rows, then columns; each edge has two.

    Attributes:
      row, column: int32 [e]. Entries of weight 0 are no edges: they fill a shape that n and k fix.
      weight: [e].
      degree: [n], the sum of each row.
    """

    row: Int32[Array, " e"]
    column: Int32[Array, " e"]
    weight: Float[Array, " e"]
    degree: Float[Array, " n"]


def affinity(
    neighbors: Neighbors, symmetrize: str = "mean", weights: str = "binary", sigma: Scalar | None = None
) -> Graph:
    """The symmetric graph of neighbours.

    Args:
      neighbors: of `knn`.
      symmetrize: "mean" of both directions, so that an edge of one direction has half its weight; "union", the larger
        of both; "mutual", the smaller, 0 where one is no neighbour of the other.
      weights: "binary", 1; "gaussian", exp(-d^2 / 2 sigma^2); "self_tuning", exp(-d^2 / sigma_i sigma_j) with the
        distance sigma_i of sample i to its neighbour min(7, k).
      sigma: of "gaussian" only; None: the median of the distances to the last neighbour.

    Raises:
      ValueError: another name, a bad sigma, or one without "gaussian"; negative distances or ones that are not finite,
        with their samples. Warns of samples whose weights all vanish, by number.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [3.0]]), 1))
      >>> graph.degree.tolist()
      [1.0, 1.5, 0.5]
    """
    choice("symmetrize", symmetrize, SYMMETRIZATIONS)
    choice("weights", weights, WEIGHTS)
    index, distance = jnp.asarray(neighbors.index), jnp.asarray(neighbors.distance)
    _check_neighbors(index, distance)
    if weights != "gaussian" and sigma is not None:
        raise ValueError(f'sigma={scalars.shown(sigma)}: expected None with weights="{weights}", which have none')
    if sigma is not None:
        sigma = scalars.real("sigma", sigma, "a number above 0, or None", scalars.positive, traced=True)
    graph = _affinity(index, distance, sigma, symmetrize, weights)
    if weights != "binary" and not scalars.is_traced(graph.degree):
        vanished = np.asarray(graph.degree == 0) & (symmetrize != "mutual")
        if vanished.any():
            warnings.warn(
                f"all weights of {vanished.sum()} samples of {len(vanished)} vanish, numbers {numbers_of(vanished)}: "
                "they are components of their own; take a larger sigma, or self-tuning weights",
                stacklevel=2,
            )
    return graph


def dense_affinity(distances: Float[AnyArray, "n n"], sigma: Scalar) -> Float[Array, "n n"]:
    """exp(-d^2 / 2 sigma^2) of all pairs, 0 on the diagonal; `spectral_embedding` takes it. For up to 5,000 samples.

    Raises:
      ValueError: a bad sigma; a matrix that is not square, or whose distances are negative, not finite or not
        symmetric, with their samples.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.dense_affinity(jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 9.0], [0.0, 9.0, 0.0]]), 0.01).tolist()[0]
      [0.0, 0.0, 1.0]
    """
    matrix = checked_matrix("distances", distances)
    sigma = scalars.real("sigma", sigma, "a number above 0", scalars.positive, traced=True)
    weights = jnp.exp(-jnp.square(matrix / sigma) / 2)
    return jnp.where(jnp.eye(matrix.shape[0], dtype=bool), 0, weights)


def checked_matrix(name: str, matrix: AnyArray) -> Float[Array, "n n"]:
    """A symmetric matrix of finite numbers that are not negative; a traced one by its shape."""
    array = jnp.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}: expected float32 or float64 [n, n]")
    if array.shape[0] < LEAST:
        raise ValueError(f"{name} has {array.shape[0]} samples: expected at least {LEAST}")
    check_finite(name, array)
    if not scalars.is_traced(array):
        largest = float(jnp.max(jnp.abs(array)))
        off = jnp.abs(array - array.T) > 1e-5 * largest
        for wrong, what in ((array < 0, "negative"), (off, "not symmetric")):
            if bool(jnp.any(wrong)):
                raise ValueError(f"{name} is {what} for samples {numbers_of(jnp.any(wrong, axis=1))}")
    return array


@functools.partial(jax.jit, static_argnames=("symmetrize", "weights"))
def _affinity(index, distance, sigma, symmetrize: str, weights: str) -> Graph:
    n, k = index.shape
    weight = _weights(index, distance, sigma, weights)
    ends = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], (n, k)).reshape(-1)
    other, weight = index.reshape(-1), weight.reshape(-1)
    # Both directions of every neighbour; where two are neighbours of each other, each entry is there twice.
    row, column, weight = jax.lax.sort(
        (jnp.concatenate([ends, other]), jnp.concatenate([other, ends]), jnp.concatenate([weight, weight])), num_keys=2
    )
    is_pair = (row[1:] == row[:-1]) & (column[1:] == column[:-1])
    is_first, is_second = jnp.append(is_pair, False), jnp.concatenate([jnp.zeros(1, bool), is_pair])
    twin = jnp.append(weight[1:], 0)
    if symmetrize == "mean":
        merged = jnp.where(is_first, weight + twin, weight) / 2
    elif symmetrize == "union":
        merged = jnp.where(is_first, jnp.maximum(weight, twin), weight)
    else:
        merged = jnp.where(is_first, jnp.minimum(weight, twin), 0)
    merged = jnp.where(is_second, 0, merged)
    degree = row_sums.summed(row_sums.plan(row, n, row_sums.levels_for(min(2 * n * k, 2 * n))), merged)
    return Graph(row, column, merged, degree)


def _weights(index, distance, sigma, weights: str):
    if weights == "binary":
        return jnp.ones_like(distance)
    if weights == "gaussian":
        scale = jnp.median(distance[:, -1]) if sigma is None else jnp.asarray(sigma, distance.dtype)
        ratio = distance / jnp.where(scale > 0, scale, 1) / jnp.sqrt(jnp.asarray(2, distance.dtype))
        square = jnp.square(ratio)
        is_sharp = scale <= 0
    else:
        local = distance[:, min(LOCAL, distance.shape[1]) - 1]
        pair = local[:, None] * local[index]
        square = distance / jnp.where(pair > 0, pair, 1) * distance
        is_sharp = pair <= 0
    # Among duplicates the scale is 0: these have weight 1, and others none.
    square = jnp.where(is_sharp, jnp.where(distance > 0, jnp.inf, 0), square)
    return jnp.exp(-square)


def _check_neighbors(index: Array, distance: Array) -> None:
    if index.ndim != 2 or index.shape != distance.shape or index.shape[1] == 0:
        raise ValueError(
            f"neighbors have indices of shape {index.shape} and distances of shape {distance.shape}: expected "
            "[n, k] of `knn` for both"
        )
    if scalars.is_traced(index) or scalars.is_traced(distance):
        return
    wrong = np.asarray(jnp.any((index < 0) | (index >= index.shape[0]), axis=1))
    if wrong.any():
        raise ValueError(
            f"neighbors lead beyond the {len(wrong)} samples for numbers {numbers_of(wrong)}: expected those of `knn`, "
            "among the samples themselves"
        )
    wrong = np.asarray(jnp.any(~((distance >= 0) & jnp.isfinite(distance)), axis=1))
    if wrong.any():
        raise ValueError(
            f"neighbors have negative distances, or ones that are not finite, for samples {numbers_of(wrong)}: "
            "expected distances (1 - s of a similarity s)"
        )
