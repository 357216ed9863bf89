"""What CoRelAy's processors mean, done right: one function a processor, its parameters by its names.

`corelay_names` makes pipelines of them; what CoRelAy 1.0.0 does otherwise is in `legacy`, and there only. Maps are
`[n, channels, height, width]` with `channels_first`, else `[n, height, width, channels]`, or `[n, height, width]`.
Every random one has a seed: `kwargs={"random_state": 3}`, 0 by default. Clusters are numbered by size.
"""

import os
import pathlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from projects.spray.pipelines import estimators, resampling

EIGENVALUES = ("LM", "SM", "LA", "SA", "BE")
SOLVER_OPTIONS = ("v0", "tol", "maxiter", "ncv")
DENSE_UP_TO = 2000  # samples; beyond, the largest eigenvalues come from Lanczos iterations


def scipy_pdist(
    data: np.ndarray, *, metric: str = "euclidean", m_kwargs: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Distances of all pairs, `[n, d]` to `[n, n]`; a ValueError names a metric that is none, and rows without one."""
    from scipy.spatial import distance

    rows = finite_rows(data)
    try:
        distances = distance.squareform(distance.pdist(rows, metric=metric, **(m_kwargs or {})))
    except ValueError as error:
        raise ValueError(f"metric={metric!r}: {error}") from error
    finite = np.isfinite(distances)
    if not finite.all():
        alone = np.flatnonzero(finite.sum(1) <= 1)  # but for the 0 to itself
        undefined = alone if len(alone) else np.flatnonzero(~finite.all(1))
        raise ValueError(f"metric={metric!r} is undefined for samples {undefined[:8].tolist()}: leave them out")
    return distances


def sparse_knn(data: np.ndarray, *, n_neighbors: int = 10, symmetric: bool = True) -> scipy.sparse.csr_matrix:
    """Affinity 1 to the nearest by distances `[n, n]`, oneself left out, ties by number; the mean of both ways.

    Raises ValueErrors for negative distances and those of another shape; warns where there are fewer neighbours.
    """
    distances = square(data, "distances")
    negative = np.flatnonzero((distances < 0).any(1))
    if len(negative):
        raise ValueError(f"negative distances of samples {negative[:8].tolist()}: a similarity s is made one by 1 - s")
    count = len(distances)
    if n_neighbors > count - 1:
        warnings.warn(f"n_neighbors={n_neighbors}: {count} samples have {count - 1} neighbours", stacklevel=2)
    k = min(n_neighbors, count - 1)
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    columns = np.argsort(others, axis=1, kind="stable")[:, :k]
    rows = np.repeat(np.arange(count), k)
    edges = (np.ones(count * k, others.dtype), (rows, columns.ravel()))
    affinity = scipy.sparse.csr_matrix(edges, shape=(count, count))
    return ((affinity + affinity.T) / 2).tocsr() if symmetric else affinity


def radial_basis_function(data: np.ndarray, *, sigma: float = 1.0) -> np.ndarray:
    """Affinity exp(-d^2 / 2 sigma^2) of distances `[n, n]`."""
    return np.exp(-(np.asarray(data) ** 2) / (2 * sigma**2))


def symmetric_normal_laplacian(data):
    """D^-1/2 A D^-1/2 of an affinity, dense or sparse, I minus the Laplacian; isolated samples have rows of 0."""
    inverse = 1 / np.sqrt(degrees(data))
    return scaled(data, inverse, inverse)


def random_walk_normal_laplacian(data):
    """D^-1 A of an affinity, dense or sparse; isolated samples have rows of 0."""
    inverse = 1 / degrees(data)
    return scaled(data, inverse, np.ones_like(inverse))


def eigen_decomposition(
    data,
    *,
    n_eigval: int = 32,
    which: str = "LM",
    normalize: bool = True,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues 1 - mu of a normalised affinity, ascending, and eigenvectors `[n, n_eigval]` in their order.

    Args:
      data: D^-1/2 A D^-1/2, or D^-1 A, whose symmetric twin is then solved and its vectors taken back.
      n_eigval: how many.
      which: "LM" and "LA": the largest mu, the smooth end of the spectrum. CoRelAy's "LM" takes the largest |mu|, which
        brings in the other end; the rest is as in SciPy.
      normalize: gives rows the length 1; rows of 0 stay.
      kwargs: v0, tol, maxiter, ncv of SciPy's `eigsh`, which is used beyond 2,000 samples; before, all is exact.

    Signs: the entry of largest magnitude of each column is positive.
    """
    options = dict(kwargs or {})
    no_more({key: value for key, value in options.items() if key not in SOLVER_OPTIONS}, "EigenDecomposition")
    matrix, back = symmetrized(data)
    count = matrix.shape[0]
    if not n_eigval < count:
        raise ValueError(f"n_eigval={n_eigval} of {count} samples: expected less than the number of samples")
    values, vectors = eigenpairs(matrix, n_eigval, "LA" if which == "LM" else which, options)
    order = np.argsort(1 - values, kind="stable")
    vectors = vectors[:, order] * back[:, None]
    largest = np.abs(vectors).argmax(0)
    vectors = vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return 1 - values[order], estimators.unit_rows(vectors) if normalize else vectors


def histogram(
    data: np.ndarray, *, channels_first: bool = True, bins: int = 32, kwargs: Mapping | None = None
) -> np.ndarray:
    """Densities `[n, channels, bins]` in bins of one range for all samples, which makes bins comparable."""
    no_more(kwargs, "Histogram")
    maps = channels_second(finite_rows(data), channels_first)
    values = maps.reshape(*maps.shape[:2], -1)
    low, high = values.min(), values.max()
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    edges = np.linspace(low, high, bins + 1)
    places = np.clip(np.searchsorted(edges, values, "right") - 1, 0, bins - 1)
    places += bins * np.arange(values.shape[0] * values.shape[1]).reshape(*values.shape[:2], 1)
    counts = np.bincount(places.ravel(), minlength=values.shape[0] * values.shape[1] * bins)
    return counts.reshape(*values.shape[:2], bins) / (values.shape[2] * np.diff(edges))


def resize(
    data: np.ndarray, *, width: int = 100, height: int = 100, filter: int = 1, channels_first: bool = True, kwargs=None
) -> np.ndarray:
    """Maps of another size; `filter` is the order of the spline, kwargs may hold anti_aliasing."""
    options = {"anti_aliasing": True} | dict(kwargs or {})
    no_more({key: value for key, value in options.items() if key != "anti_aliasing"}, "Resize")
    maps = channels_last(np.asarray(data), channels_first)
    return channels_back(resampling.resize(maps, height, width, filter, **options), channels_first)


def rescale(
    data: np.ndarray, *, scale: float = 0.5, filter: int = 1, channels_first: bool = True, kwargs=None
) -> np.ndarray:
    """Maps whose sides are `scale` times as long; see `resize`."""
    sides = channels_last(np.asarray(data), channels_first).shape[1:3]
    height, width = (max(1, int(np.round(scale * side))) for side in sides)
    return resize(data, width=width, height=height, filter=filter, channels_first=channels_first, kwargs=kwargs)


def pooling(
    data: np.ndarray, *, stride: tuple = (1, 1, 2, 2), pooling_function: Callable = np.sum, kwargs=None
) -> np.ndarray:
    """A function of blocks of `stride`; kwargs may hold cval, which fills up the last blocks."""
    options = dict(kwargs or {})
    fill = options.pop("cval", 0.0)
    no_more(options, "Pooling")
    return resampling.block_reduce(np.asarray(data), tuple(stride), pooling_function, fill)


def dendrogram(data: np.ndarray, *, output_file: Any, metric: str = "euclidean", linkage: str = "ward", kwargs=None):
    """Draws the tree of a hierarchical clustering into a file, and returns the data."""
    import scipy.cluster.hierarchy as hierarchy

    tree = hierarchy.linkage(finite_rows(data), method=linkage, metric=metric)
    draw_dendrogram(tree, output_file)
    return data


def draw_dendrogram(tree: np.ndarray, output_file: Any) -> None:
    """Saves the picture of a linkage."""
    import scipy.cluster.hierarchy as hierarchy
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7))
    hierarchy.dendrogram(tree, ax=figure.add_subplot())
    if isinstance(output_file, (str, os.PathLike)):
        pathlib.Path(output_file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output_file)


def absolute(data: np.ndarray) -> np.ndarray:
    """Magnitudes."""
    return np.abs(data)


def sum_channel(data: np.ndarray) -> np.ndarray:
    """The sum over the channels of `[n, channels, ...]`."""
    return np.asarray(data).sum(axis=1)


def normalize(data: np.ndarray, *, axes: int | tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Maps divided by their sum of magnitudes over axes; a ValueError names maps that are zero throughout."""
    maps = finite_rows(data)
    total = np.abs(maps).sum(axes, keepdims=True)
    empty = np.unique(np.nonzero(total == 0)[0])
    if len(empty):
        raise ValueError(f"relevance is zero throughout in samples {empty[:8].tolist()}: leave them out")
    return maps / total


def flatten(data: np.ndarray) -> np.ndarray:
    """Samples as rows."""
    return np.asarray(data).reshape(len(data), -1)


def ssim(data: np.ndarray, *, data_range: float | None = None) -> np.ndarray:
    """1 - structural similarity of all pairs of maps `[n, height, width]`; by default of the range of all of them."""
    import jax

    from kernels import spectral

    maps = finite_rows(data)
    if data_range is not None:
        raise ValueError(f"data_range={data_range}: the range is that of all maps; CoRelAy's semantics take another")
    rows = flatten(maps)
    with jax.enable_x64(rows.dtype == np.float64):
        distances = np.array(spectral.pairwise_distance(rows, rows, "ssim", shape=maps.shape[1:]))
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


def pcc(data: np.ndarray) -> np.ndarray:
    """1 - Pearson's correlation of all pairs of rows `[n, d]`."""
    return scipy_pdist(data, metric="correlation")


def finite_rows(data: np.ndarray) -> np.ndarray:
    """Returns data; a ValueError names samples that are not finite, and says so of fewer than three."""
    rows = np.asarray(data)
    if rows.ndim < 2 or len(rows) < 3:
        raise ValueError(f"data of shape {rows.shape}: expected three samples or more, [n, ...]")
    bad = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(1))
    if len(bad):
        raise ValueError(f"samples {bad[:8].tolist()} are not finite ({len(bad)} of {len(rows)}): leave them out")
    return rows


def square(data: np.ndarray, what: str) -> np.ndarray:
    """Returns data; a ValueError where it is no square matrix."""
    matrix = np.asarray(data)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{what} of shape {matrix.shape}: expected [n, n]")
    return matrix


def degrees(affinity) -> np.ndarray:
    """Returns the row sums of an affinity, infinite for isolated samples: their inverse is 0."""
    total = np.asarray(affinity.sum(1), np.float64).ravel()
    return np.where(total > 0, total, np.inf)


def scaled(matrix, left: np.ndarray, right: np.ndarray):
    """Returns diag(left) @ matrix @ diag(right), sparse where it was."""
    if scipy.sparse.issparse(matrix):
        return (scipy.sparse.diags(left) @ matrix @ scipy.sparse.diags(right)).tocsr()
    return left[:, None] * np.asarray(matrix) * right


def symmetrized(matrix):
    """Returns (a symmetric matrix of the same eigenvalues, what takes its eigenvectors back `[n]`).

    P = D^-1 A of a symmetric A has the twin sqrt(P_ij P_ji), and its eigenvectors are D^-1/2 u. D, to a factor in each
    component, follows from P_ij / P_ji = d_j / d_i along edges.
    """
    if scipy.sparse.issparse(matrix):
        matrix = matrix.tocsr()
        is_symmetric = abs(matrix - matrix.T).max() <= 1e-12 * max(abs(matrix).max(), 1e-300)
    else:
        matrix = square(matrix, "a normalised affinity")
        is_symmetric = np.allclose(matrix, matrix.T, rtol=0, atol=1e-12 * max(np.abs(matrix).max(), 1e-300))
    if is_symmetric:
        return matrix, np.ones(matrix.shape[0])
    steps = scipy.sparse.csr_matrix(matrix)
    twin = steps.multiply(steps.T).sqrt().tocsr()
    if twin.nnz != steps.nnz:
        raise ValueError("the affinity is not symmetric: give D^-1/2 A D^-1/2 or D^-1 A of a symmetric A")
    return twin, 1 / np.sqrt(_stationary(steps))


def _stationary(steps) -> np.ndarray:
    """Returns degrees to a factor in each component, from the transition matrix of a reversible walk."""
    count, degree = steps.shape[0], np.ones(steps.shape[0])
    label_count, labels = scipy.sparse.csgraph.connected_components(steps, directed=False)
    for label in range(label_count):
        start = int(np.argmax(labels == label))
        order, before = scipy.sparse.csgraph.breadth_first_order(steps, start, directed=False)
        for node in order[1:]:
            degree[node] = degree[before[node]] * steps[before[node], node] / steps[node, before[node]]
    return degree * count / degree.sum()


def eigenpairs(matrix, count: int, which: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvalues of a symmetric matrix, ascending, and their vectors."""
    size = matrix.shape[0]
    if size > DENSE_UP_TO:
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).normal(size=size)
        return eigsh(matrix, k=count, which=which, **({"v0": start} | options))
    dense = matrix.toarray() if scipy.sparse.issparse(matrix) else matrix
    values, vectors = scipy.linalg.eigh(np.asarray(dense, np.float64))
    places = {
        "LA": np.arange(size - count, size), "SA": np.arange(count), "SM": np.sort(np.argsort(np.abs(values))[:count]),
        "BE": np.r_[np.arange(count // 2), np.arange(size - (count - count // 2), size)],
    }[which]  # fmt: skip
    return values[places], vectors[:, places]


def channels_second(maps: np.ndarray, first: bool) -> np.ndarray:
    """Returns `[n, channels, height, width]`."""
    if maps.ndim == 3:
        return maps[:, None]
    return maps if first else np.moveaxis(maps, -1, 1)


def channels_last(maps: np.ndarray, first: bool) -> np.ndarray:
    """Returns `[n, height, width, channels]`, or without channels as they came."""
    if maps.ndim not in (3, 4):
        raise ValueError(f"maps of shape {maps.shape}: expected [n, height, width] or four axes with channels")
    return np.moveaxis(maps, 1, -1) if maps.ndim == 4 and first else maps


def channels_back(maps: np.ndarray, first: bool) -> np.ndarray:
    """Undoes `channels_last`."""
    return np.moveaxis(maps, -1, 1) if maps.ndim == 4 and first else maps


def no_more(kwargs: Mapping | None, name: str) -> None:
    """A ValueError names arguments that are not taken."""
    if kwargs:
        raise ValueError(f"{name}: kwargs {', '.join(kwargs)}: not taken here")
