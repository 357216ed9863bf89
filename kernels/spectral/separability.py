"""Fisher separability: how far a cluster stands from the rest of its class in the spectral embedding, against a null.

For a cluster with the share pi of the samples, means mu_1, mu_0 of it and of the rest, and S_w their pooled covariance
with a ridge, J = pi (1 - pi) (mu_1 - mu_0)' S_w^(-1) (mu_1 - mu_0) and tau = J / (1 + J): without the ridge the share
of the variance of the indicator that a linear fit explains, R^2. Clustering makes clusters separable, whatever the
data; so a class's tau is read beside that of data without clusters. It is akin to the Fisher discriminant of C. Anders
et al., arXiv:1912.11425, and not claimed to be equal to it.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Bool, Count, Float, Int32, Integer, RandomKey, Scalar
from . import embedding as embeddings
from . import neighbors
from .arguments import checked_samples, choice, refuse_traced
from .kmeans import clustered
from .laplacians import dense_components

NULLS = ("columns", "principal", "gaussian")
NUMBERS = (2, 3, 4, 5, 6, 7, 8)
SMALLEST = 5  # samples of a cluster, and of the rest, in the score of a class
RESTARTS = 5  # of k-means, in the score of a class
EXACT = jax.lax.Precision.HIGHEST


class Separability(NamedTuple):
    """Of each cluster, by its label.

    Attributes:
      tau: [clusters], in [0, 1); NaN where skipped.
      sizes: int32 [clusters].
      skipped: [clusters], whether it, or the rest, has fewer than `min_size` samples.
    """

    tau: Float[Array, " clusters"]
    sizes: Int32[Array, " clusters"]
    skipped: Bool[Array, " clusters"]


class Null(NamedTuple):
    """A class's separability beside that of data without clusters.

    Attributes:
      tau: of the data; NaN as `class_separability` says.
      draws: [draws], of the null, in the order in which they were drawn.
      median: of these.
      excess: tau less their median.
      p_value: (1 + draws at or above tau) / (1 + draws); NaN where tau is. A draw that is NaN counts as above.
    """

    tau: Float[Array, ""]
    draws: Float[Array, " draws"]
    median: Float[Array, ""]
    excess: Float[Array, ""]
    p_value: Float[Array, ""]


def fisher_separability(
    phi: Float[AnyArray, "n q"],
    labels: Integer[AnyArray, " n"],
    ridge: Scalar = 1e-3,
    min_size: Count = 5,
    clusters: Count | None = None,
) -> Separability:
    """tau of each cluster against all other samples; differentiable in phi.

    Args:
      phi: columns of a spectral embedding.
      labels: 0 and above; what is below, noise, counts among the others only.
      ridge: of the covariance, as a share of its mean variance; 0 for none.
      min_size: samples of a cluster, and of the rest, at least; smaller ones are skipped.
      clusters: how many labels there are; None: as `labels` say, which are then not traced.

    Raises:
      ValueError: a bad ridge, min_size, clusters or labels; values that are not finite, with their sample numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> phi = jnp.array([[0.0], [0.0], [1.0], [1.0], [0.0], [1.0]])
      >>> result = spectral.fisher_separability(phi, jnp.array([0, 0, 0, 1, 1, 1]), ridge=0.0, min_size=2)
      >>> [round(float(tau), 3) for tau in result.tau]
      [0.111, 0.111]
    """
    rows, labels = checked_samples("phi", phi, (2,)), jnp.asarray(labels)
    if labels.shape != rows.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.signedinteger):
        raise ValueError(
            f"labels are {labels.dtype} of shape {labels.shape}: expected signed integers, one for each of the "
            f"{rows.shape[0]} samples"
        )
    ridge = scalars.real("ridge", ridge, "a number of at least 0", scalars.not_negative)
    min_size = scalars.whole("min_size", min_size, 1)
    if clusters is None:
        if scalars.is_traced(labels):
            raise ValueError("clusters=None: labels are traced, and their number is not seen; set clusters")
        clusters = int(jnp.max(labels)) + 1
        if clusters < 1:
            raise ValueError(f"labels are all below 0, down to {int(jnp.min(labels))}: expected at least one cluster")
    clusters = scalars.whole("clusters", clusters, 1)
    return _separability(rows, labels, ridge, clusters, min_size)


def class_separability(
    x: Float[AnyArray, "n d"],
    key: RandomKey,
    k: Count = 10,
    q: Count = 8,
    clusters: Sequence[Count] = NUMBERS,
) -> Float[Array, ""]:
    """The largest tau of all clusters and numbers of clusters, by the whole pipeline.

    Mean graph of k neighbours, q vectors of its Laplacian, k-means of the first K of them with rows of norm 1 for each
    K, tau of its clusters in all q. For n of a class: it holds n x n weights.

    Args:
      x: preprocessed maps as rows.
      key: from jax.random.key. k: neighbours, at most n - 1. q: vectors, at most n - 1.
      clusters: numbers of them to try, 2 to q.

    Returns:
      tau; NaN where every cluster is smaller than 5 samples, and where fewer than 6 rows are distinct: then clusters
      are copies, which are as far from the others as can be and say nothing. Copies of one row among many distinct
      ones are a cluster, too: `distinct_rows` counts, so that a number can stand beside tau.

    Raises:
      ValueError: fewer than 3 rows, a bad k, q or clusters, values that are not finite, with their sample numbers.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> x = jax.random.normal(jax.random.key(0), (30, 4)).at[:10].add(20.0)
      >>> bool(spectral.class_separability(x, jax.random.key(0), k=5, q=3, clusters=(2,)) > 0.9)
      True
    """
    rows, settings = _settings(x, k, q, clusters)
    return _class_tau(rows, key, *settings)


def distinct_rows(x: Float[AnyArray, "n d"]) -> int:
    """How many rows are distinct: n, less the copies of others.

    Args:
      x: rows, on the host; equal is what is equal in every value (0 and -0 are).

    Raises:
      ValueError: an empty x, another dtype or shape, values that are not finite or that are traced.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.distinct_rows(jnp.array([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]]))
      2
    """
    refuse_traced("x", x, "distinct_rows")
    rows = np.asarray(checked_samples("x", x, (2,))) + 0.0  # -0 + 0 is 0
    return len({row.tobytes() for row in rows})


def separability_null(
    x: Float[AnyArray, "n d"],
    key: RandomKey,
    draws: Count = 20,
    k: Count = 10,
    q: Count = 8,
    clusters: Sequence[Count] = NUMBERS,
    null: str = "gaussian",
) -> Null:
    """`class_separability` of x beside that of data with the same pipeline but without clusters.

    Args:
      draws: of the null; with 20, no p-value is below 1/21.
      null: what is compared with, and so what a small p-value speaks against.
        "columns": each column's values in a random order of samples. Speaks against independent pixels, which no real
          maps are: it is small for any class whose maps vary in few ways.
        "principal": the same of the coordinates along principal axes. These keep covariances and the distribution along
          each axis; speaks against uncorrelated axes being independent. An axis along which a cluster stands apart
          keeps its two peaks, so that it sees little.
        "gaussian": normal draws of the same mean and covariance. Speaks against one normal blob. Of 100 normal rows, 30
          of them moved by 8 standard deviations, p was 0.048 (20 draws: the least); with "principal" 0.24 in one such
          set and 0.95 in another.
        None of them is a class without artifacts: ways to write a digit are clusters, too. Of maps of four digits, two
        had small p-values with all three nulls, all four with "columns". So a class is compared with others as well.

    Raises:
      ValueError: as `class_separability`; bad draws or another null.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> x = jax.random.normal(jax.random.key(0), (30, 4))
      >>> null = spectral.separability_null(x, jax.random.key(1), draws=3, k=5, q=3, clusters=(2,))
      >>> null.draws.shape, bool(null.p_value >= 0.25)
      ((3,), True)
    """
    rows, settings = _settings(x, k, q, clusters)
    choice("null", null, NULLS)
    draws = scalars.whole("draws", draws, 1)
    return _null(rows, key, draws, null, *settings)


def _settings(x, k, q, clusters):
    rows = checked_samples("x", x, (2,), 3)
    n = rows.shape[0]
    q = scalars.whole("q", q, 2, n - 1, why=f", as there are {n} samples")
    numbers = tuple(clusters) if isinstance(clusters, (tuple, list, range)) else (clusters,)
    numbers = tuple(scalars.whole("clusters", one, 2, q, why=f", as there are {q} vectors") for one in numbers)
    if not numbers:
        raise ValueError(f"clusters={scalars.shown(clusters)}: expected at least one number of clusters")
    return rows, (scalars.whole("k", k, 1, n - 1, why=f", as there are {n} samples"), q, numbers)


@functools.partial(jax.jit, static_argnames=("clusters", "min_size"))
def _separability(phi, labels, ridge, clusters: int, min_size: int) -> Separability:
    n, q = phi.shape
    phi = phi - jnp.mean(phi, axis=0)
    number = jnp.arange(clusters)
    members = (labels[:, None] == number).astype(phi.dtype)
    sizes = jnp.sum(members > 0, axis=0, dtype=jnp.int32)

    def of_cluster(mask, size):
        share = size / n
        inside, outside = jnp.maximum(size, 1), jnp.maximum(n - size, 1)
        one, other = mask @ phi / inside, (1 - mask) @ phi / outside
        rest = phi - jnp.where(mask[:, None] > 0, one, other)
        within = jnp.matmul(rest.T, rest, precision=EXACT) / n
        within = within + ridge * jnp.trace(within) / q * jnp.eye(q, dtype=phi.dtype)
        between = share * (1 - share) * _squared_length(within, one - other)
        return jnp.where(jnp.isinf(between), 1, between / (1 + between))

    tau = jax.vmap(of_cluster, (1, 0))(members, sizes.astype(phi.dtype))
    skipped = (sizes < min_size) | (n - sizes < min_size)
    return Separability(jnp.where(skipped, jnp.nan, tau), sizes, skipped)


def _squared_length(matrix, vector):
    """vector' matrix^(-1) vector; of a singular matrix along its range, and infinite where the vector leaves that."""
    values, axes = jnp.linalg.eigh(matrix)
    along = jnp.matmul(axes.T, vector, precision=EXACT)
    eps = jnp.finfo(matrix.dtype).eps
    is_flat = values <= values[-1] * values.shape[0] * eps
    leaves = jnp.any(is_flat & (jnp.abs(along) > 10 * jnp.sqrt(eps) * jnp.linalg.norm(vector)))
    total = jnp.sum(jnp.where(is_flat, 0, jnp.square(along) / jnp.where(is_flat, 1, values)))
    return jnp.where(leaves, jnp.inf, total)


@functools.partial(jax.jit, static_argnames=("k", "q", "clusters"))
def _class_tau(x, key, k: int, q: int, clusters: tuple[int, ...]):
    return _row_tau(x, key, k, q, clusters)


def _row_tau(x, key, k: int, q: int, clusters: tuple[int, ...]):
    return jnp.where(_has_distinct(x, SMALLEST + 1), _tau_of(_weights(x, k), key, q, clusters), jnp.nan)


def _has_distinct(x, number: int):
    """Whether so many rows are distinct: one after the other is taken, with its copies."""
    is_left = jnp.ones(x.shape[0], bool)
    for _ in range(number - 1):
        is_left &= jnp.any(x != x[jnp.argmax(is_left)], axis=1)
    return jnp.any(is_left)


def _weights(x, k: int):
    """The mean graph of k neighbours as a matrix."""
    n = x.shape[0]
    index = neighbors.search(x, x, k, "euclidean", None, neighbors.BLOCK, True).index
    one_way = jnp.zeros((n, n), x.dtype).at[jnp.arange(n)[:, None], index].set(1)
    return (one_way + one_way.T) / 2


def _tau_of(weights, key, q: int, clusters: tuple[int, ...]):
    embed_key, cluster_key = jax.random.split(key)
    components = dense_components(weights)
    tolerance = jnp.asarray(embeddings.TOLERANCES[weights.dtype.name], weights.dtype)
    phi = embeddings.embedded(weights, components, tolerance, embed_key, q, "symmetric", 0).vectors
    labels = clustered(phi, clusters, cluster_key, RESTARTS, True).labels
    tau = jax.vmap(lambda one: _separability(phi, one, 1e-3, max(clusters), SMALLEST).tau)(labels)
    best = jnp.max(jnp.where(jnp.isnan(tau), -1, tau))
    return jnp.where(best < 0, jnp.nan, best)


@functools.partial(jax.jit, static_argnames=("draws", "null", "k", "q", "clusters"))
def _null(x, key, draws: int, null: str, k: int, q: int, clusters: tuple[int, ...]) -> Null:
    keys = jax.random.split(key, draws + 1)
    sample = _sampler(x, null)
    draw_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)

    def of_draw(i):
        rows = jnp.where(i == 0, x, sample(draw_keys[i]))
        return _row_tau(rows, keys[i], k, q, clusters)

    tau, *others = jax.lax.map(of_draw, jnp.arange(draws + 1))
    others = jnp.stack(others)
    median = jnp.median(others)
    above = jnp.sum(~(others < tau))
    p_value = jnp.where(jnp.isnan(tau), jnp.nan, (1 + above) / (1 + draws))
    return Null(tau, others, median, tau - median, p_value)


def _sampler(x, null: str):
    """A function of a key: samples like x without clusters, as `separability_null` says."""
    if null == "columns":
        return lambda key: jax.random.permutation(key, x, axis=0, independent=True)
    mean = jnp.mean(x, axis=0)
    if x.shape[0] > x.shape[1]:
        _, axes = jnp.linalg.eigh(jnp.matmul((x - mean).T, x - mean, precision=EXACT))
    else:
        axes = jnp.linalg.svd(x - mean, full_matrices=False)[2].T
    scores = jnp.matmul(x - mean, axes, precision=EXACT)

    def draw(key):
        if null == "principal":
            fresh = jax.random.permutation(key, scores, axis=0, independent=True)
        else:
            fresh = jax.random.normal(key, scores.shape, x.dtype) * jnp.std(scores, axis=0)
        return mean + jnp.matmul(fresh, axes.T, precision=EXACT)

    return draw
