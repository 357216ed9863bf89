"""Spectral embedding: the smallest eigenvalues of the normalised Laplacian and their vectors, and what is made of them.

An eigenvalue lambda of L is 1 - mu of M = D^(-1/2) A D^(-1/2), so the largest mu are computed. Each connected component
has an eigenvalue 0, with the vector D^(1/2) 1 on it: these are put down exactly, from the components, and the solver
looks for the others. A vertex without edges has its eigenvalue 0 with a vector of zeros, so that its row is 0.
Source: U. von Luxburg, arXiv:0711.0189; diffusion maps: R. Coifman and S. Lafon, ACHA 21, 2006; Nystroem's extension:
Y. Bengio et al., NeurIPS 2003.
"""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Bool, Count, Float, Int32, RandomKey, Scalar
from . import eigensolver, laplacians
from .arguments import LEAST, check_finite, choice
from .graph import Graph, checked_matrix
from .neighbors import Neighbors

DENSE = 256  # vertices up to which the whole spectrum is computed; above, Lanczos takes less time
RESTARTS = 200
TOLERANCES = {"float32": 1e-5, "float64": 1e-8}
SAME = 1e-3  # entries as large as the largest but for this share: the first decides the sign


class Embedding(NamedTuple):
    """Vertices by eigenvectors of the Laplacian.

    Attributes:
      eigenvalues: [q], ascending.
      vectors: [n, q], columns of norm 1 whose entry of the largest magnitude is positive; zeros for an eigenvalue 0 of
        a vertex without edges.
      residuals: [q], the norms of M u - mu u.
      converged: [q], whether they are within the tolerance.
      components: the number of connected components, as many eigenvalues are 0.
    """

    eigenvalues: Float[Array, " q"]
    vectors: Float[Array, "n q"]
    residuals: Float[Array, " q"]
    converged: Bool[Array, " q"]
    components: Int32[Array, ""]


def spectral_embedding(
    graph: Graph | Float[AnyArray, "n n"],
    q: Count,
    key: RandomKey,
    tolerance: Scalar | None = None,
    kind: str = "symmetric",
) -> Embedding:
    """The q smallest eigenpairs of the normalised Laplacian.

    Args:
      graph: of `affinity`, or a symmetric matrix of weights, as of `dense_affinity`.
      q: 1 to n - 1.
      key: from jax.random.key; where the solver begins.
      tolerance: of residuals; None: 1e-5 in float32, 1e-8 in float64.
      kind: "symmetric", or "random_walk": vectors D^(-1/2) u of I - D^(-1) A, with the same eigenvalues; residuals are
        those of u.

    Returns:
      the embedding. Pairs beyond the tolerance are marked, and warned of where they are concrete. Vectors of an
      eigenvalue that comes several times, zeros too, are a basis of its space: compare the spaces.

    Raises:
      ValueError: fewer than 3 vertices, a bad q, tolerance or kind, weights that are negative, not finite or not
        symmetric.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [2.0], [8.0], [9.0]]), 1))
      >>> embedding = spectral.spectral_embedding(graph, 2, jax.random.key(0))
      >>> abs(embedding.eigenvalues).round(3).tolist(), int(embedding.components)
      ([0.0, 0.0], 2)
    """
    choice("kind", kind, laplacians.KINDS)
    if not isinstance(graph, Graph):
        graph = checked_matrix("graph", graph)
    else:
        check_finite("graph", graph.degree[:, None])
    n = laplacians.degrees(graph).shape[0]
    if n < LEAST:
        raise ValueError(f"graph has {n} vertices: expected at least {LEAST}")
    q = scalars.whole("q", q, 1, n - 1, why=f": a graph of {n} vertices has so many beside a first one")
    dtype = laplacians.degrees(graph).dtype
    limit = TOLERANCES[dtype.name] if tolerance is None else tolerance
    limit = scalars.real("tolerance", limit, "a number above 0, or None", scalars.positive)
    embedding = _embedding(graph, jnp.asarray(limit, dtype), key, q, kind, laplacians.levels_of(graph), RESTARTS)
    if not scalars.is_traced(embedding.converged) and not bool(jnp.all(embedding.converged)):
        left = np.flatnonzero(~np.asarray(embedding.converged))
        warnings.warn(
            f"{len(left)} of {q} eigenpairs have not converged to tolerance={limit:g}, from number {left[0]} on; the "
            f"largest residual is {float(jnp.max(embedding.residuals)):.2g}: take a larger tolerance, or fewer",
            stacklevel=2,
        )
    return embedding


def normalize_rows(vectors: Float[AnyArray, "n q"]) -> Float[Array, "n q"]:
    """Rows of norm 1; rows of zeros stay zeros. Differentiable, with finite gradients also there.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.normalize_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = jnp.asarray(vectors)
    largest = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    unit = rows / jnp.where(largest > 0, largest, 1)
    # The root of 1, not of 0, whose derivative is infinite.
    return unit / jnp.sqrt(jnp.where(largest > 0, jnp.sum(unit * unit, axis=1, keepdims=True), 1))


def diffusion_scale(embedding: Embedding, t: Scalar) -> Float[Array, "n q"]:
    """Vectors times (1 - lambda)^t: distances of rows are then those of random walks of t steps.

    Raises:
      ValueError: a negative t, or one that is no whole number where an eigenvalue is above 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [2.0], [3.0]]), 2))
      >>> spectral.diffusion_scale(spectral.spectral_embedding(graph, 2, jax.random.key(0)), 3).shape
      (4, 2)
    """
    time: float = scalars.real("t", t, "a number of at least 0", scalars.not_negative)
    walk = 1 - embedding.eigenvalues
    if time != int(time) and not scalars.is_traced(walk) and bool(jnp.any(walk < 0)):
        raise ValueError(f"t={time:g}: expected a whole number, as eigenvalues above 1 have no other powers")
    power = jnp.where(walk < 0, -1.0 if time % 2 == 1 else 1.0, 1.0) * jnp.abs(walk) ** time
    return embedding.vectors * power.astype(embedding.vectors.dtype)


def nystrom(
    embedding: Embedding,
    graph: Graph | Float[AnyArray, "n n"],
    neighbors: Neighbors,
    weight: Float[AnyArray, "m k"] | None = None,
) -> Float[Array, "m q"]:
    """New samples among the vectors of the "symmetric" embedding: u(x) = sum_j a(x, j) u_j / (mu sqrt(d_x d_j)).

    Of a vertex with its own edges it is its row, exactly.

    Args:
      graph: the one that was embedded.
      neighbors: of `knn_between(new, old, k)`.
      weight: affinities of the new samples to these; None: 1, which is what "binary" weights are to one that has all of
        them as mutual neighbours. Their scale is that of the vectors' squares.

    Returns:
      [m, q]; rows without weight are 0.

    Raises:
      ValueError: eigenvalues of 1 or more, where mu is 0 or below and the sum says nothing; shapes that do not belong
        together.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> x = jnp.array([[0.0], [1.0], [2.0], [8.0], [9.0]])
      >>> graph = spectral.affinity(spectral.knn(x, 1))
      >>> embedding = spectral.spectral_embedding(graph, 2, jax.random.key(0))
      >>> spectral.nystrom(embedding, graph, spectral.knn_between(jnp.array([[8.5]]), x, 2)).shape
      (1, 2)
    """
    index = jnp.asarray(neighbors.index)
    weight = jnp.ones(index.shape, embedding.vectors.dtype) if weight is None else jnp.asarray(weight)
    degree = laplacians.degrees(graph)
    if weight.shape != index.shape or degree.shape[0] != embedding.vectors.shape[0]:
        raise ValueError(
            f"weight has shape {weight.shape}, neighbors {index.shape}, the graph {degree.shape[0]} vertices and the "
            f"embedding {embedding.vectors.shape[0]}: expected one shape, and one number of vertices"
        )
    mu = 1 - embedding.eigenvalues
    if not scalars.is_traced(mu) and not bool(jnp.all(mu > 0)):
        raise ValueError(
            f"embedding has eigenvalues up to {float(jnp.max(embedding.eigenvalues)):.4g}: expected them below 1; "
            "extend fewer vectors"
        )
    shares = weight * laplacians.inverse_root(jnp.sum(weight, axis=1))[:, None] * laplacians.inverse_root(degree)[index]
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("mk,mkq->mq", shares, embedding.vectors[index], precision=exact) / mu


@functools.partial(jax.jit, static_argnames=("q", "kind", "levels", "restarts"))
def _embedding(graph, tolerance, key, q: int, kind: str, levels: int, restarts: int) -> Embedding:
    components = laplacians.connected_components(graph)
    return embedded(graph, components, tolerance, key, q, kind, levels, restarts)


def embedded(graph, components, tolerance, key, q: int, kind: str, levels: int, restarts: int = RESTARTS) -> Embedding:
    """The embedding, of arguments that have been checked."""
    degree = laplacians.degrees(graph)
    n = degree.shape[0]
    has_edges = degree > 0
    known, real = _known(components, degree, q)
    multiply = laplacians.multiplier(graph, levels)
    if n <= DENSE:
        mu, vectors, residuals = _whole(multiply, known, has_edges, n, q)
    else:
        needed = jnp.maximum(q - components.count, 0)
        mu, vectors, residuals, _ = eigensolver.largest_pairs(
            multiply, known, has_edges, q, needed, key, tolerance, restarts
        )
    number = jnp.arange(q)
    is_known = number < components.count
    at = jnp.clip(number - components.count, 0, q - 1)
    vectors = jnp.where(is_known, known, vectors[:, at])
    eigenvalues = jnp.where(is_known, 0, 1 - mu[at])
    residuals = jnp.where(is_known, 0, residuals[at])
    if kind == "random_walk":
        vectors = vectors * laplacians.inverse_root(degree)[:, None]
        norm = jnp.linalg.norm(vectors, axis=0)
        vectors = vectors / jnp.where(norm > 0, norm, 1)
    converged = residuals <= tolerance
    return Embedding(eigenvalues, _with_sign(vectors), residuals, converged, components.count)


def _known(components, degree, q: int):
    """(vectors of eigenvalue 0 [n, q], how many there are): of components with edges, in their order, then zeros."""
    n = degree.shape[0]
    labels = components.labels
    mass = jnp.zeros(n, degree.dtype).at[labels].add(degree)
    rank = jnp.cumsum(mass > 0) - 1
    root = jnp.sqrt(degree / jnp.where(mass > 0, mass, 1)[labels])
    mine = jnp.where(mass > 0, rank, q)[labels]
    return jnp.where(mine[:, None] == jnp.arange(q), root[:, None], 0), jnp.sum(mass > 0)


def _whole(multiply, known, has_edges, n: int, q: int):
    """The q largest from the whole spectrum, those that are `known` moved to its other end."""
    matrix = multiply(jnp.eye(n, dtype=known.dtype))
    exact = jax.lax.Precision.HIGHEST
    moved = (matrix + matrix.T) / 2 - 4 * jnp.matmul(known, known.T, precision=exact)
    values, vectors = jnp.linalg.eigh(moved - jnp.diag(jnp.where(has_edges, 0, 4).astype(known.dtype)))
    values, vectors = values[::-1][:q], vectors[:, ::-1][:, :q]
    residuals = jnp.linalg.norm(multiply(vectors) - vectors * values, axis=0)
    return values, vectors, residuals


def _with_sign(vectors):
    size = jnp.abs(vectors)
    first = jnp.argmax(size >= (1 - SAME) * jnp.max(size, axis=0), axis=0)
    return vectors * jnp.where(jnp.take_along_axis(vectors, first[None], axis=0) < 0, -1, 1).astype(vectors.dtype)
