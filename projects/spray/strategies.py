"""The strategies of a classifier for one class: clusters of its relevance maps in a spectral embedding.

Maps become rows (`features`), rows a graph of nearest neighbours, the graph the smallest eigenvalues and vectors of its
Laplacian; the largest gap between eigenvalues says how many strategies there are, k-means on the first vectors which
map follows which. Section "Method" of the paper, with its choices as flags.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import manifold, metrics

from common import config
from kernels import spectral

VARIANTS = {  # by the names of CoRelAy: channels, metric
    "spectral": ("sum", "euclidean"),
    "absspectral": ("sum_abs", "euclidean"),
    "fullspectral": (None, "euclidean"),
    "histogram": ("sum", "euclidean"),
    "ssim": ("sum", "ssim"),
    "pcc": ("sum", "correlation"),
}
FEW = 50  # maps of a class, below which its strategies are doubtful
LEAST = 12  # below which they are not looked for
SEEN = 8  # eigenvectors that separability and pictures look at
RESTARTS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategiesConfig:
    """How maps become strategies: flags that verbs share."""

    variant: str = config.field("spectral", "how maps become rows and how rows are compared", choices=tuple(VARIANTS))
    grid: int = config.field(14, "side of the grid to which maps are summed (0: pixels as they are)", minimum=0)
    norm: str = config.field("l1", "maps are divided by: sum or root of squares of magnitudes", choices=("l1", "l2"))
    metric: str | None = config.field(
        None, "of distances (none: the variant's)", choices=("euclidean", "cosine", "correlation", "cityblock", "ssim")
    )
    neighbors: int = config.field(10, "of each map in the graph", minimum=1)
    symmetrize: str = config.field("mean", "of edges that go one way", choices=("mean", "union", "mutual"))
    weights: str = config.field("binary", "of edges", choices=("binary", "gaussian", "self_tuning"))
    eigenvectors: int = config.field(32, "of the graph", minimum=SEEN)
    most_clusters: int = config.field(16, "that the eigengap may choose", minimum=1)
    clusters: tuple[int, ...] = config.field(
        (2, 3, 4, 5, 6, 7, 8), "numbers of clusters beside the eigengap's; tau is the largest of theirs", minimum=2
    )
    seed: int = config.field(0, "of starting vectors, k-means and t-SNE", minimum=0)

    def __post_init__(self):
        above = [k for k in self.clusters if k > self.most_clusters]
        if above:
            raise ValueError(f"--clusters={above[0]}: more than --most_clusters={self.most_clusters}")
        if self.most_clusters >= self.eigenvectors:
            raise ValueError(
                f"--most_clusters={self.most_clusters}: expected less than --eigenvectors={self.eigenvectors}"
            )


class Strategies(NamedTuple):
    """What is found of one class of n maps.

    Attributes:
      features: `[n, d]`, the rows that were compared.
      eigenvalues, vectors, residuals: `[q]` ascending, `[n, q]`, `[q]`.
      components: of the graph.
      k: the number of clusters by the eigengap; 1 means one strategy.
      gaps: `[most_clusters]`, between eigenvalue k + 1 and k.
      labels: number of clusters -> cluster of each map, `[n]`, the largest cluster first.
      separability: number of clusters -> Fisher separability of each cluster, NaN where it is too small.
      silhouette: number of clusters -> mean silhouette, -1 to 1.
      view: `[n, 2]`, t-SNE of the eigenvectors.
      doubts: texts, such as eigenvalues that did not converge.
    """

    features: np.ndarray
    eigenvalues: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    components: int
    k: int
    gaps: np.ndarray
    labels: dict[int, np.ndarray]
    separability: dict[int, np.ndarray]
    silhouette: dict[int, float]
    view: np.ndarray
    doubts: tuple[str, ...]


def features_of(maps: np.ndarray, settings: StrategiesConfig) -> np.ndarray:
    """Returns rows to compare, float32 `[n, d]`.

    Args:
      maps: relevance `[n, height, width, channels]`.
      settings: variant, grid, norm.

    Raises:
      ValueError: a map that is not finite or all zeros, or a grid finer than the maps; the text has the numbers.
    """
    channels, _ = VARIANTS[settings.variant]
    maps = jnp.asarray(maps, jnp.float32)
    if channels is not None:
        maps = spectral.reduce_channels(maps, channels)
    if settings.grid:
        maps = spectral.pool_maps(maps, (min(settings.grid, maps.shape[1]), min(settings.grid, maps.shape[2])))
    maps = spectral.normalize_maps(maps, settings.norm)
    if settings.variant == "histogram":
        maps = spectral.histogram_maps(maps)
    return np.asarray(maps).reshape(len(maps), -1)


def strategies_of(features: np.ndarray, settings: StrategiesConfig) -> Strategies:
    """Returns the strategies behind the rows of one class, `[n, d]`, n >= 12."""
    count = len(features)
    key = jax.random.key(settings.seed)
    metric = settings.metric or VARIANTS[settings.variant][1]
    neighbors = spectral.knn(features, min(settings.neighbors, count - 1), **metric_of(metric, settings))
    graph = spectral.affinity(neighbors, settings.symmetrize, settings.weights)
    pairs = min(settings.eigenvectors, count - 1)
    embedding = spectral.spectral_embedding(graph, pairs, jax.random.fold_in(key, 0))
    gap = spectral.eigengap(embedding.eigenvalues, min(settings.most_clusters, pairs - 1), embedding.components)
    chosen = int(gap.k)
    numbers = tuple(range(2, min(settings.most_clusters, pairs - 1) + 1))  # one program, whatever the gap chooses
    clusters = spectral.spectral_clusters(embedding.vectors, numbers, jax.random.fold_in(key, 1), RESTARTS)
    labels = {k: np.asarray(row) for k, row in zip(numbers, clusters.labels, strict=True)}
    labels = {k: row for k, row in labels.items() if k == chosen or k in settings.clusters}
    separability, silhouette = {}, {}
    for k, row in labels.items():
        if k in settings.clusters:
            fisher = spectral.fisher_separability(embedding.vectors[:, :SEEN], row, clusters=max(numbers))
            separability[k] = np.asarray(fisher.tau)[:k]
        rows = np.asarray(spectral.normalize_rows(embedding.vectors[:, :k]))
        several = 1 < len(np.unique(row)) < count
        silhouette[k] = float(metrics.silhouette_score(rows, row)) if several else float("nan")
    vectors = np.asarray(embedding.vectors)
    return Strategies(
        features, np.asarray(embedding.eigenvalues), vectors, np.asarray(embedding.residuals),
        int(embedding.components), chosen, np.asarray(gap.gaps), labels, separability, silhouette,
        view(vectors[:, :SEEN], settings.seed), doubts_of(count, embedding, gap, settings),
    )  # fmt: skip


def metric_of(metric: str, settings: StrategiesConfig) -> dict:
    """Returns the arguments of `spectral.knn` for a metric by name; SSIM looks at rows as pictures."""
    return {"metric": metric} if metric != "ssim" else {"metric": metric, "shape": (settings.grid, settings.grid)}


def doubts_of(count: int, embedding, gap, settings: StrategiesConfig) -> tuple[str, ...]:
    """Returns what makes the number of strategies uncertain."""
    texts = []
    if count < FEW:
        texts.append(f"only {count} maps, expected {FEW} or more")
    if settings.neighbors >= count:
        texts.append(f"every map is a neighbour of every other: {count} maps for {settings.neighbors} neighbours")
    if not bool(np.all(embedding.converged)):
        off = float(np.max(embedding.residuals))
        texts.append(f"{int(np.sum(~np.asarray(embedding.converged)))} eigenvalues did not converge (off by {off:.0e})")
    if bool(gap.is_cut):
        texts.append("the largest gap is the last that was looked at: raise --most_clusters")
    return tuple(texts)


def view(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Returns eigenvectors as points of a plane, t-SNE started at the first two principal components, `[n, 2]`."""
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    tsne = manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return tsne.fit_transform(np.asarray(vectors, np.float32))


def highest(strategies: Strategies) -> tuple[float, int, int]:
    """Returns the largest separability of a class, with its number of clusters and its cluster; NaN without one."""
    options = [
        (float(tau), k, cluster)
        for k, row in strategies.separability.items()
        for cluster, tau in enumerate(row)
        if np.isfinite(tau)
    ]
    return max(options, default=(float("nan"), 0, 0))
