"""k-means on the device: all restarts, and several numbers of clusters, in one program.

Starts are drawn by k-means++, each centre the best of a few draws; Lloyd's steps follow until no centre moves. A
cluster that loses its last sample takes the one farthest from its centre. Source: D. Arthur and S. Vassilvitskii, SODA
2007.
"""

import functools
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Count, Float, Int32, RandomKey
from .arguments import checked_samples

STEPS = 300
SHIFT = 1e-6  # of centres, as a share of the spread of the samples, at which Lloyd's steps end
EXACT = jax.lax.Precision.HIGHEST


class Clusters(NamedTuple):
    """Clusters in the order of their sizes, the largest first; a leading axis for several k.

    Attributes:
      labels: int32 [n].
      centers: [k, d]; zeros of a cluster that is empty or, of several k, beyond its own.
      inertia: the sum of squared distances to the centres.
      sizes: int32 [k].
    """

    labels: Int32[Array, "*several n"]
    centers: Float[Array, "*several k d"]
    inertia: Float[Array, "*several"]
    sizes: Int32[Array, "*several k"]


def kmeans(x: Float[AnyArray, "n d"], k: Count | Sequence[Count], key: RandomKey, restarts: Count = 10) -> Clusters:
    """The best of several runs of k-means.

    Args:
      x: samples.
      k: clusters, 1 to n; several as a tuple, which are computed in one program, with as many centres as the largest.
      key: from jax.random.key.
      restarts: runs, of which the one with the least inertia is returned.

    Raises:
      ValueError: a bad k or restarts, values that are not finite, with their sample numbers. Warns, where values are
        concrete, of clusters that stay empty, as there are fewer distinct samples.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> clusters = spectral.kmeans(jnp.array([[0.0], [1.0], [9.0], [0.5]]), 2, jax.random.key(0))
      >>> clusters.labels.tolist(), clusters.centers.tolist(), float(clusters.inertia)
      ([0, 0, 1, 0], [[0.5], [9.0]], 0.5)
    """
    rows = checked_samples("x", x, (2,))
    several = tuple(k) if isinstance(k, (tuple, list, range)) else (k,)
    why = f", as there are {rows.shape[0]} samples"
    numbers = tuple(scalars.whole("k", one, 1, rows.shape[0], why) for one in several)
    if not numbers:
        raise ValueError(f"k={scalars.shown(k)}: expected at least one number of clusters")
    clusters = clustered(rows, numbers, key, scalars.whole("restarts", restarts, 1), False)
    if not scalars.is_traced(clusters.sizes):
        for number, sizes in zip(numbers, np.asarray(clusters.sizes), strict=True):
            if empty := number - np.count_nonzero(sizes):
                warnings.warn(
                    f"k={number}: {empty} clusters are empty, as x has fewer distinct samples; take a smaller k",
                    stacklevel=2,
                )
    return clusters if len(several) > 1 or several is k else jax.tree.map(lambda one: one[0], clusters)


@functools.partial(jax.jit, static_argnames=("numbers", "restarts", "is_spectral"))
def clustered(x, numbers: tuple[int, ...], key, restarts: int, is_spectral: bool) -> Clusters:
    """Of arguments that have been checked. is_spectral: of the first k columns, with rows of norm 1 (or 0)."""
    most = max(numbers)

    def of_number(number, key):
        rows = x
        if is_spectral:
            rows = jnp.where(jnp.arange(x.shape[1]) < number, x, 0)
            norm = jnp.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / jnp.where(norm > 0, norm, 1)
        center = jnp.mean(rows, axis=0)
        rows = rows - center
        is_real = jnp.arange(most) < number
        keys = jax.random.split(key, restarts)
        starts = jax.vmap(lambda key: _start(rows, is_real, key))(keys)
        centers, inertia = jax.vmap(lambda start: _lloyd(rows, is_real, start))(starts)
        best = jnp.argmin(inertia)
        return _in_order(rows, center, is_real, centers[best])

    keys = jax.random.split(key, len(numbers))
    return jax.vmap(of_number)(jnp.asarray(numbers), keys)


def _squares(x, centers, is_real):
    """Squared distances [n, k], infinite to centres that are none."""
    product = jnp.matmul(x, centers.T, precision=EXACT)
    squares = jnp.sum(x * x, axis=1)[:, None] - 2 * product + jnp.sum(centers * centers, axis=1)
    return jnp.where(is_real, jnp.maximum(squares, 0), jnp.inf)


def _start(x, is_real, key):
    """Centres [k, d] by k-means++: each the best of 2 + ln k draws by squared distance."""
    most, n = is_real.shape[0], x.shape[0]
    draws = 2 + int(math.log(most))
    first_key, key = jax.random.split(key)
    first = x[jax.random.randint(first_key, (), 0, n)]

    def step(i, state):
        centers, least = state
        total = jnp.cumsum(least)
        u = jax.random.uniform(jax.random.fold_in(key, i), (draws,), x.dtype) * total[-1]
        candidates = x[jnp.clip(jnp.searchsorted(total, u, side="right"), 0, n - 1)]
        nearer = jnp.minimum(least[:, None], _squares(x, candidates, jnp.ones(draws, bool)))
        best = jnp.argmin(jnp.sum(nearer, axis=0))
        return centers.at[i].set(candidates[best]), nearer[:, best]

    centers = jnp.zeros((most, x.shape[1]), x.dtype).at[0].set(first)
    least = _squares(x, first[None], jnp.ones(1, bool))[:, 0]
    return jax.lax.fori_loop(1, most, step, (centers, least))[0]


def _assigned(x, centers, is_real):
    """(labels, their one-hot form, the squared distance to the own centre)."""
    squares = _squares(x, centers, is_real)
    labels = jnp.argmin(squares, axis=1).astype(jnp.int32)
    return labels, (labels[:, None] == jnp.arange(is_real.shape[0])).astype(x.dtype), jnp.min(squares, axis=1)


def _lloyd(x, is_real, centers):
    """(centres, inertia) where Lloyd's steps end."""
    most = min(is_real.shape[0], x.shape[0])
    spread = jnp.mean(jnp.sum(x * x, axis=1))

    def step(state):
        centers, _, number = state
        _, members, squares = _assigned(x, centers, is_real)
        size = jnp.sum(members, axis=0)
        means = jnp.matmul(members.T, x, precision=EXACT) / jnp.maximum(size, 1)[:, None]
        is_empty = is_real & (size == 0)
        _, far = jax.lax.top_k(squares, most)
        seeds = x[far[jnp.clip(jnp.cumsum(is_empty) - 1, 0, most - 1)]]
        moved = jnp.where(is_empty[:, None], seeds, means)
        shift = jnp.sum(jnp.where(is_real[:, None], jnp.square(moved - centers), 0))
        return moved, shift, number + 1

    def goes_on(state):
        return (state[1] > SHIFT**2 * spread) & (state[2] < STEPS)

    centers, _, _ = jax.lax.while_loop(goes_on, step, (centers, jnp.asarray(jnp.inf, x.dtype), 0))
    labels, _, _ = _assigned(x, centers, is_real)
    return centers, jnp.sum(jnp.square(x - centers[labels]))


def _in_order(x, center, is_real, centers) -> Clusters:
    """Clusters by size; those of one size by their first sample."""
    n, most = x.shape[0], is_real.shape[0]
    labels, members, _ = _assigned(x, centers, is_real)
    size = jnp.sum(members > 0, axis=0, dtype=jnp.int32)
    first = jnp.full(most, n, jnp.int32).at[labels].min(jnp.arange(n, dtype=jnp.int32))
    _, _, order = jax.lax.sort((-size, first, jnp.arange(most, dtype=jnp.int32)), num_keys=2)
    rank = jnp.zeros(most, jnp.int32).at[order].set(jnp.arange(most, dtype=jnp.int32))
    size, centers = size[order], centers[order]
    inertia = jnp.sum(jnp.square(x - centers[rank[labels]]))
    return Clusters(rank[labels], jnp.where((size > 0)[:, None], centers + center, 0), inertia, size)
