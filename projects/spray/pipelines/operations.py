"""What can stand in a slot: pure functions with parameters, by slot and name, with what they take and give.

`OPERATIONS[slot][name]`. The kinds of values that flow between them:

| kind | what |
|---|---|
| maps | relevance `[n, height, width]` or `[n, height, width, channels]` |
| rows | `[n, d]` |
| neighbors | `kernels.spectral.Neighbors`: `[n, k]`, never `[n, n]` |
| distances | `[n, n]`, where a slot asks for it |
| graph | `kernels.spectral.Graph`, or a dense affinity `[n, n]` |
| laplacian | a graph and which normalisation |
| embedding | `kernels.spectral.Embedding` |
| selection | the columns that are clustered, and how many clusters they speak for |
| labels | `[n]`, clusters by size, -1 noise |
| coordinates | `[n, 2]` or more, to be seen |
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kernels import spectral
from kernels.spectral.kmeans import clustered
from projects.spray.pipelines import checks, estimators

SLOTS = ("preprocessing", "distance", "affinity", "laplacian", "embedding", "select", "clustering", "views")
LEAST_NEIGHBORS = 10


class Laplacian(NamedTuple):
    """I - D^-1/2 A D^-1/2 ("symmetric") or I - D^-1 A ("random_walk") of a graph; the solver never forms it."""

    graph: Any
    kind: str


class Selection(NamedTuple):
    """Columns of an embedding, with rows of length 1, and what chose them.

    Attributes:
      rows: `[n, k]`.
      k: how many clusters they speak for.
      eigengap: of the spectrum, None where k was set.
    """

    rows: Any
    k: int
    eigengap: spectral.Eigengap | None


TYPES = (
    Laplacian, Selection, spectral.Neighbors, spectral.Graph, spectral.Embedding, spectral.Eigengap, spectral.Clusters,
    spectral.Components,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Operation:
    """One function that a slot may hold.

    Attributes:
      function: `function(value, **parameters)`.
      takes: kinds.
      gives: a kind, or "same" as it took.
      checks: of parameters, by name.
    """

    function: Callable
    takes: tuple[str, ...]
    gives: str
    checks: Mapping[str, Callable[[str, Any], None]]

    def defaults(self) -> dict[str, Any]:
        """Returns its parameters and their defaults; `inspect.Parameter.empty` where one must be set."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {item.name: item.default for item in parameters}


def reduce_channels(maps, *, how: str = "sum"):
    """Maps without channels."""
    return spectral.reduce_channels(maps, how)


def absolute(maps):
    """Magnitudes."""
    return jnp.abs(maps)


def positive(maps):
    """What speaks for the class; the rest is 0."""
    return jnp.maximum(maps, 0)


def pool(maps, *, grid: int | tuple[int, int] = (16, 16)):
    """Sums over the bins of a grid; totals are conserved."""
    return spectral.pool_maps(maps, grid)


def resize(maps, *, shape: int | tuple[int, int], order: int = 1):
    """Another size, interpolated."""
    return spectral.resize_maps(maps, shape, order)


def normalize(maps, *, norm: str = "l1", zero: str = "refuse"):
    """Each map divided by its norm."""
    return spectral.normalize_maps(maps, norm, zero)


def histogram(maps, *, bins: int = 32, limits: tuple[float, float] | None = None):
    """Shares of values in bins of one range for all samples, as rows."""
    counts = spectral.histogram_maps(maps, bins, limits)
    return (counts / math.prod(np.shape(maps)[1:3])).reshape(len(counts), -1)


def flatten(maps):
    """Maps as rows."""
    return jnp.reshape(maps, (len(maps), -1))


def knn(maps, *, k: int | None = None, metric: str | Callable = "euclidean", block: int | None = None):
    """The k nearest other samples, without a matrix of all pairs; by default k = max(10, log n)."""
    k = max(LEAST_NEIGHBORS, math.ceil(math.log(len(maps)))) if k is None else k
    return spectral.knn(flatten(maps), k, metric, block, shape=_image(maps, metric))


def pairwise(maps, *, metric: str | Callable = "euclidean"):
    """Distances of all pairs `[n, n]`, 0 on the diagonal, symmetric."""
    rows = flatten(maps)
    distances = spectral.pairwise_distance(rows, rows, metric, shape=_image(maps, metric))
    return jnp.where(jnp.eye(len(rows), dtype=bool), 0, (distances + distances.T) / 2)


def graph(neighbors, *, symmetrize: str = "mean", weights: str = "binary", sigma: float | None = None):
    """The symmetric affinity of neighbours."""
    return spectral.affinity(neighbors, symmetrize, weights, sigma)


def graph_of_distances(
    distances, *, k: int | None = None, symmetrize: str = "mean", weights: str = "binary", sigma: float | None = None
):
    """The affinity of the k nearest by distances of all pairs; oneself is left out by number, ties go by number."""
    values = _distances(distances)
    count = len(values)
    k = min(max(LEAST_NEIGHBORS, math.ceil(math.log(count))) if k is None else k, count - 1)
    others = values.copy()
    np.fill_diagonal(others, np.inf)
    index = np.argsort(others, axis=1, kind="stable")[:, :k].astype(np.int32)
    nearest = np.take_along_axis(others, index, 1)
    neighbors = spectral.Neighbors(jnp.asarray(index), jnp.asarray(nearest))
    return spectral.affinity(neighbors, symmetrize, weights, sigma)


def gaussian(distances, *, sigma: float):
    """exp(-d^2 / 2 sigma^2) of all pairs `[n, n]`."""
    return spectral.dense_affinity(jnp.asarray(_distances(distances)), sigma)


def normalized(graph, *, kind: str = "symmetric"):
    """The normalised Laplacian."""
    return Laplacian(graph, kind)


def spectral_embedding(laplacian, *, q: int = 32, tolerance: float | None = None, seed: int = 0):
    """The q smallest eigenpairs."""
    return spectral.spectral_embedding(laplacian.graph, q, jax.random.key(seed), tolerance, laplacian.kind)


def eigengap(embedding, *, k_max: int | None = None):
    """The first K columns, K by the largest gap of the spectrum, with rows of length 1."""
    gap = spectral.eigengap(embedding.eigenvalues, k_max, int(embedding.components), len(embedding.vectors))
    return Selection(spectral.normalize_rows(embedding.vectors[:, : int(gap.k)]), int(gap.k), gap)


def columns(embedding, *, k: int):
    """The first k columns, with rows of length 1."""
    if k > embedding.vectors.shape[1]:
        raise ValueError(f"k={k}: the embedding has {embedding.vectors.shape[1]} columns; take a larger q")
    return Selection(spectral.normalize_rows(embedding.vectors[:, :k]), k, None)


def diffusion(embedding, *, k: int, t: float = 1.0):
    """The first k columns times (1 - lambda)^t."""
    return Selection(spectral.diffusion_scale(embedding, t)[:, :k], k, None)


def spectral_kmeans(embedding, *, k: int | tuple[int, ...], restarts: int = 10, seed: int = 0):
    """Spectral clustering: for each k, k-means of the first k columns with rows of length 1; one program."""
    numbers, width = _several(k), embedding.vectors.shape[1]
    if max(numbers) > width:
        raise ValueError(f"k={max(numbers)}: the embedding has {width} columns; take a larger q")
    for number in numbers:
        estimators.warn_of_copies(np.asarray(spectral.normalize_rows(embedding.vectors[:, :number])), number)
    clusters = clustered(jnp.asarray(embedding.vectors), numbers, jax.random.key(seed), restarts, True)
    return _each(k, list(np.asarray(clusters.labels)))


def kmeans(rows, *, k: int | tuple[int, ...] | None = None, restarts: int = 10, seed: int = 0):
    """k-means; of a selection by default with its own number of clusters. Several k are one program."""
    k = _number(rows, k)
    clusters = spectral.kmeans(jnp.asarray(rows_of(rows)), _several(k), jax.random.key(seed), restarts)
    return _each(k, list(np.asarray(clusters.labels)))


def dbscan(rows, *, eps: float = 0.5, min_samples: int = 5, metric: str = "euclidean"):
    """DBSCAN; -1 is noise."""
    return estimators.dbscan(rows_of(rows), eps=eps, min_samples=min_samples, metric=metric)


def hdbscan(rows, *, min_cluster_size: int = 5, min_samples: int | None = None, metric: str = "euclidean"):
    """HDBSCAN; -1 is noise."""
    options = {} if min_samples is None else {"min_samples": min_samples}
    return estimators.hdbscan(rows_of(rows), min_cluster_size=min_cluster_size, metric=metric, **options)


def agglomerative(rows, *, k: int | tuple[int, ...] | None = None, linkage: str = "ward", metric: str = "euclidean"):
    """Agglomerative clustering."""
    k, values = _number(rows, k), rows_of(rows)
    labels = [estimators.agglomerative(values, n_clusters=i, linkage=linkage, metric=metric) for i in _several(k)]
    return _each(k, labels)


def gaussian_mixture(rows, *, k: int | tuple[int, ...] | None = None, seed: int = 0):
    """The likeliest component of a Gaussian mixture."""
    k, values = _number(rows, k), rows_of(rows)
    return _each(k, [estimators.gaussian_mixture(values, n_clusters=i, random_state=seed) for i in _several(k)])


def tsne(rows, *, perplexity: float = 30.0, metric: str = "euclidean", seed: int = 0):
    """t-SNE from principal components."""
    return estimators.tsne(rows_of(rows), perplexity=perplexity, metric=metric, random_state=seed)


def umap(rows, *, n_neighbors: int = 15, min_dist: float = 0.1, metric: str = "euclidean", seed: int = 0):
    """UMAP, where umap-learn is installed."""
    values = rows_of(rows)
    return estimators.umap(values, n_neighbors=n_neighbors, min_dist=min_dist, metric=metric, random_state=seed)


def pca(rows, *, n_components: int = 2, whiten: bool = False, seed: int = 0):
    """Principal components."""
    return estimators.pca(rows_of(rows), n_components=n_components, whiten=whiten, random_state=seed)


def lle(rows, *, n_neighbors: int = 10, n_components: int = 2, seed: int = 0):
    """Locally linear embedding."""
    return estimators.lle(rows_of(rows), n_neighbors=n_neighbors, n_components=n_components, random_state=seed)


def isomap(rows, *, n_neighbors: int = 10, n_components: int = 2):
    """Isomap."""
    return estimators.isomap(rows_of(rows), n_neighbors=n_neighbors, n_components=n_components)


def rows_of(value: Any) -> np.ndarray:
    """Returns the rows of a selection, of an embedding (vectors with rows of length 1), of maps (flattened)."""
    if isinstance(value, Selection):
        return np.asarray(value.rows)
    if isinstance(value, spectral.Embedding):
        return np.asarray(spectral.normalize_rows(value.vectors))
    return np.reshape(np.asarray(value), (len(value), -1))


def _image(maps, metric) -> tuple[int, int] | None:
    return tuple(np.shape(maps)[1:3]) if metric == "ssim" and np.ndim(maps) == 3 else None


def _distances(distances) -> np.ndarray:
    values = np.asarray(distances)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 3:
        raise ValueError(f"distances of shape {values.shape}: expected [n, n], three samples or more")
    bad = np.flatnonzero(~(values >= 0).all(1))
    if len(bad):
        raise ValueError(
            f"distances of samples {bad[:8].tolist()} are negative or NaN: of a similarity s the distance is 1 - s"
        )
    return values


def _number(rows: Any, k: int | tuple[int, ...] | None) -> int | tuple[int, ...]:
    if k is not None:
        return k
    if not isinstance(rows, Selection):
        raise ValueError("k=None: only a selection has a number of clusters of its own; set k")
    return rows.k


def _several(k: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(k) if isinstance(k, Sequence) else (k,)


def _each(k: int | Sequence[int], labels: list[np.ndarray]):
    """Returns labels of one k, or a tuple of them as k came."""
    return tuple(labels) if isinstance(k, Sequence) else labels[0]


def one_or_several(what: str, value: Any) -> None:
    """A check for a number of clusters, or a tuple of different ones."""
    for number in _several(value) if not isinstance(value, str) else (value,):
        checks.COUNT(what, number)
    if isinstance(value, Sequence) and (not value or len(set(value)) < len(value)):
        raise ValueError(f"{what}={value!r}: expected different numbers of clusters, one or more")


def _pair(what: str, value: Any) -> None:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    for side in sides:
        checks.COUNT(what, side)


def _metric(what: str, value: Any) -> None:
    if not callable(value):
        checks.one_of(f"{what}:", value, spectral.METRICS)


TEXT = checks.of_type(str, "the name of a metric of scikit-learn")
MAPS, ANY_ROWS = ("maps",), ("rows", "maps", "coordinates", "selection", "embedding")
COMMON = {
    "k": checks.optional(one_or_several), "restarts": checks.COUNT, "seed": checks.whole(0), "q": checks.COUNT,
    "tolerance": checks.optional(checks.POSITIVE), "sigma": checks.optional(checks.POSITIVE), "bins": checks.COUNT,
    "grid": _pair, "shape": _pair, "order": checks.whole(0, 1), "block": checks.optional(checks.COUNT),
    "k_max": checks.optional(checks.COUNT), "how": checks.choice("sum", "sum_abs", "max_abs"),
    "norm": checks.choice("l1", "l2", "max_abs", "signed_sum"), "zero": checks.choice("refuse", "keep"),
    "symmetrize": checks.choice("mean", "union", "mutual"), "kind": checks.choice("symmetric", "random_walk"),
    "weights": checks.choice("binary", "gaussian", "self_tuning"), "eps": checks.POSITIVE, "t": checks.real(0),
    "min_samples": checks.optional(checks.COUNT), "min_cluster_size": checks.whole(2), "perplexity": checks.POSITIVE,
    "linkage": checks.choice(*checks.LINKAGES), "metric": TEXT, "n_neighbors": checks.COUNT, "min_dist": checks.real(0),
    "n_components": checks.COUNT, "whiten": checks.FLAG,
}  # fmt: skip


def _operation(function: Callable, takes: tuple[str, ...], gives: str, **own: Callable) -> Operation:
    names = list(inspect.signature(function).parameters)[1:]
    return Operation(function, takes, gives, {name: (COMMON | own)[name] for name in names if name in COMMON | own})


VIEWS = {
    function.__name__: _operation(function, ANY_ROWS, "coordinates") for function in (tsne, umap, pca, lle, isomap)
}  # fmt: skip
OPERATIONS: dict[str, dict[str, Operation]] = {
    "preprocessing": {
        "reduce_channels": _operation(reduce_channels, MAPS, "maps"),
        "absolute": _operation(absolute, ANY_ROWS, "same"),
        "positive": _operation(positive, ANY_ROWS, "same"), "pool": _operation(pool, MAPS, "maps"),
        "resize": _operation(resize, MAPS, "maps"), "normalize": _operation(normalize, ("maps", "rows"), "same"),
        "histogram": _operation(histogram, MAPS, "rows"), "flatten": _operation(flatten, ("maps", "rows"), "rows"),
    },
    "distance": {
        "knn": _operation(knn, ("maps", "rows"), "neighbors", k=checks.optional(checks.COUNT), metric=_metric),
        "pairwise": _operation(pairwise, ("maps", "rows"), "distances", metric=_metric),
    },
    "affinity": {
        "graph": _operation(graph, ("neighbors",), "graph"),
        "graph_of_distances": _operation(
            graph_of_distances, ("distances",), "graph", k=checks.optional(checks.COUNT)
        ),
        "gaussian": _operation(gaussian, ("distances",), "graph", sigma=checks.POSITIVE),
    },
    "laplacian": {"normalized": _operation(normalized, ("graph",), "laplacian")},
    "embedding": {"spectral": _operation(spectral_embedding, ("laplacian",), "embedding")} | VIEWS,
    "select": {
        "eigengap": _operation(eigengap, ("embedding",), "selection"),
        "columns": _operation(columns, ("embedding",), "selection", k=checks.COUNT),
        "diffusion": _operation(diffusion, ("embedding",), "selection", k=checks.COUNT),
    },
    "clustering": {
        "spectral_kmeans": _operation(spectral_kmeans, ("embedding",), "labels", k=one_or_several),
        "kmeans": _operation(kmeans, ANY_ROWS, "labels"), "dbscan": _operation(dbscan, ANY_ROWS, "labels"),
        "hdbscan": _operation(hdbscan, ANY_ROWS, "labels"),
        "agglomerative": _operation(agglomerative, ANY_ROWS, "labels"),
        "gaussian_mixture": _operation(gaussian_mixture, ANY_ROWS, "labels"),
    },
    "views": VIEWS,
}  # fmt: skip
KINDS = (
    "maps", "rows", "neighbors", "distances", "graph", "laplacian", "embedding", "selection", "labels", "coordinates"
)  # fmt: skip
