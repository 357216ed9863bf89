"""What the embedding of a graph is made of: degrees, products with its normalised Laplacian, connected components.

L = I - D^(-1/2) A D^(-1/2), of weights A and degrees D = diag(sum_j A_ij); the random walk's is I - D^(-1) A. A vertex
without edges is a component of its own: its rows of both are 0. Source: U. von Luxburg, A Tutorial on Spectral
Clustering, arXiv:0711.0189.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Float, Int32
from . import row_sums
from .arguments import choice
from .graph import Graph, checked_matrix

KINDS = ("symmetric", "random_walk")


class Components(NamedTuple):
    """Connected components.

    Attributes:
      labels: int32 [n], 0 to count - 1 in the order of their first vertices.
      count: int32; vertices without edges are counted.
    """

    labels: Int32[Array, " n"]
    count: Int32[Array, ""]  # type: ignore[assignment]  # a tuple has a method of this name


def degrees(graph: Graph | Float[AnyArray, "n n"]) -> Float[Array, " n"]:
    """The sum of the weights of each vertex.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.degrees(spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [3.0]]), 2))).tolist()
      [2.0, 2.0, 2.0]
    """
    return graph.degree if isinstance(graph, Graph) else jnp.sum(checked_matrix("graph", graph), axis=1)


def normalized_matvec(
    graph: Graph | Float[AnyArray, "n n"], v: Float[AnyArray, " n *columns"]
) -> Float[Array, " n *columns"]:
    """D^(-1/2) A D^(-1/2) v; 0 for vertices without edges.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [3.0]]), 2))
      >>> spectral.normalized_matvec(graph, jnp.array([1.0, 0.0, 0.0])).round(3).tolist()
      [0.0, 0.5, 0.5]
    """
    return _product(graph, jnp.asarray(v), levels_of(graph))


def laplacian_matvec(
    graph: Graph | Float[AnyArray, "n n"], v: Float[AnyArray, " n *columns"]
) -> Float[Array, " n *columns"]:
    """(I - D^(-1/2) A D^(-1/2)) v; 0 for vertices without edges.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [3.0]]), 2))
      >>> spectral.laplacian_matvec(graph, jnp.array([1.0, 0.0, 0.0])).round(3).tolist()
      [1.0, -0.5, -0.5]
    """
    v = jnp.asarray(v)
    has_edges = (degrees(graph) > 0).reshape(-1, *(1,) * (v.ndim - 1))
    return jnp.where(has_edges, v, 0) - normalized_matvec(graph, v)


def laplacian(graph: Graph | Float[AnyArray, "n n"], kind: str = "symmetric") -> Float[Array, "n n"]:
    """The Laplacian as a matrix, for looking at small ones: "symmetric", or "random_walk", I - D^(-1) A.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.laplacian(spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [3.0]]), 2)))[0].round(3).tolist()
      [1.0, -0.5, -0.5]
    """
    choice("kind", kind, KINDS)
    weights, degree = matrix_of(graph), degrees(graph)
    if kind == "symmetric":
        root = inverse_root(degree)
        walk = root[:, None] * weights * root
    else:
        walk = weights / jnp.where(degree > 0, degree, 1)[:, None]
    return jnp.diag(jnp.where(degree > 0, 1, 0).astype(walk.dtype)) - walk


def connected_components(graph: Graph | Float[AnyArray, "n n"]) -> Components:
    """The connected components, exactly: labels of neighbours are exchanged until none changes.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> graph = spectral.affinity(spectral.knn(jnp.array([[0.0], [1.0], [7.0], [8.0]]), 1))
      >>> components = spectral.connected_components(graph)
      >>> components.labels.tolist(), int(components.count)
      ([0, 0, 1, 1], 2)
    """
    if isinstance(graph, Graph):
        return _components(graph.row, graph.column, graph.weight > 0, graph.degree.shape[0])
    return dense_components(checked_matrix("graph", graph))


def matrix_of(graph: Graph | AnyArray) -> Float[Array, "n n"]:
    """The weights as a matrix."""
    if not isinstance(graph, Graph):
        return checked_matrix("graph", graph)
    n = graph.degree.shape[0]
    return jnp.zeros((n, n), graph.weight.dtype).at[graph.row, graph.column].add(graph.weight)


def levels_of(graph: Graph | AnyArray) -> int:
    """Levels of `row_sums` for a graph: of its largest row, where it is concrete."""
    if not isinstance(graph, Graph):
        return 0
    n, entries = graph.degree.shape[0], graph.row.shape[0]
    if scalars.is_traced(graph.row):
        return row_sums.levels_for(min(entries, 2 * n))
    return row_sums.levels_for(int(np.bincount(np.asarray(graph.row), minlength=1).max()))


def multiplier(graph: Graph | Array, levels: int):
    """A function of v that multiplies by the normalised weights."""
    root = inverse_root(degrees(graph))
    if not isinstance(graph, Graph):
        matrix = root[:, None] * jnp.asarray(graph) * root
        return lambda v: jnp.matmul(matrix, v, precision=jax.lax.Precision.HIGHEST)
    weight = graph.weight * root[graph.row] * root[graph.column]
    rows = row_sums.plan(graph.row, graph.degree.shape[0], levels)
    return lambda v: row_sums.multiplied(rows, graph.column, weight, v)


def inverse_root(degree: Float[Array, " n"]) -> Float[Array, " n"]:
    """D^(-1/2), 0 where the degree is."""
    return jnp.where(degree > 0, 1 / jnp.sqrt(jnp.where(degree > 0, degree, 1)), 0)


@functools.partial(jax.jit, static_argnames="levels")
def _product(graph, v, levels: int):
    return multiplier(graph, levels)(v)


@functools.partial(jax.jit, static_argnames="n")
def _components(row, column, is_edge, n: int) -> Components:
    own = jnp.arange(n, dtype=jnp.int32)
    # What is no edge leads from vertex to itself.
    other = jnp.where(is_edge, column, row)

    def step(state):
        label, _ = state
        least = jnp.minimum(label, jax.ops.segment_min(label[other], row, n, indices_are_sorted=True))
        # The root of a tree takes the least label of its members' neighbours; then paths are halved.
        rooted = jnp.minimum(least, jnp.full(n, n, jnp.int32).at[label].min(least))
        rooted = jnp.minimum(rooted, rooted[rooted])
        rooted = rooted[rooted]
        return rooted, jnp.any(rooted != label)

    label, _ = jax.lax.while_loop(lambda state: state[1], step, (own, jnp.asarray(True)))
    return _numbered(label)


@jax.jit
def dense_components(matrix: Float[Array, "n n"]) -> Components:
    """The connected components of a matrix of weights: the least label of the neighbours, until none changes."""
    n = matrix.shape[0]
    own = jnp.arange(n, dtype=jnp.int32)
    is_edge = matrix > 0

    def step(state):
        label, _ = state
        least = jnp.minimum(label, jnp.min(jnp.where(is_edge, label[None], n), axis=1))
        least = least[least]
        return least, jnp.any(least != label)

    label, _ = jax.lax.while_loop(lambda state: state[1], step, (own, jnp.asarray(True)))
    return _numbered(label)


def _numbered(label) -> Components:
    """Labels that are vertices, the first of each component, as numbers from 0."""
    is_root = label == jnp.arange(label.shape[0], dtype=jnp.int32)
    return Components((jnp.cumsum(is_root, dtype=jnp.int32) - 1)[label], jnp.sum(is_root, dtype=jnp.int32))
