"""The strategies of a classifier for one class: clusters of its relevance maps in a spectral embedding.

Maps become rows (`features`), rows a graph of nearest neighbours, the graph the smallest eigenvalues and vectors of its
Laplacian; the largest gap between eigenvalues says how many strategies there are, k-means on the first vectors which
map follows which. Section "Method" of the paper, with its choices as flags.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from common import config
from kernels import spectral
from projects.spray import pipelines
from projects.spray.pipelines.standard import PREPROCESSING as VARIANTS

FEW = 50  # maps of a class, below which its strategies are doubtful
LEAST = 12  # below which they are not looked for
ALIKE = 0.8  # a gap that the next one comes as near as this chooses a number of strategies by a hair
SEEN = 8  # eigenvectors that separability and pictures look at


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategiesConfig:
    """How maps become strategies: flags that verbs share."""

    variant: str = config.field(
        "spectral", "of CoRelAy: how maps become rows and how rows are compared", choices=tuple(VARIANTS)
    )
    grid: int = config.field(14, "side of the grid to which maps are summed (0: pixels as they are)", minimum=0)
    metric: str | None = config.field(
        None, "of distances (none: the variant's)", choices=("euclidean", "cosine", "correlation", "cityblock")
    )
    neighbors: int = config.field(10, "of each map in the graph", minimum=1)
    symmetrize: str = config.field("mean", "of edges that go one way", choices=("mean", "union", "mutual"))
    weights: str = config.field("binary", "of edges", choices=("binary", "gaussian", "self_tuning"))
    eigenvectors: int = config.field(32, "of the graph", minimum=SEEN)
    most_clusters: int = config.field(16, "that the eigengap may choose", minimum=1)
    clusters: tuple[int, ...] = config.field(
        (2, 3, 4, 5, 6, 7, 8),
        "numbers of clusters beside the eigengap's; tau is the largest of theirs",
        minimum=2,
        maximum=SEEN,
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


def pipeline_of(settings: StrategiesConfig, count: int) -> pipelines.Pipeline:
    """Returns the pipeline from `count` maps of a class to clusters of every number that the eigengap may choose."""
    pairs = min(settings.eigenvectors, count - 1)
    most = min(settings.most_clusters, pairs - 1)
    standard = pipelines.spectral_clustering(
        settings.variant, grid=settings.grid or None, k=min(settings.neighbors, count - 1), q=pairs, k_max=most,
        views={"tsne": pipelines.step("tsne", perplexity=perplexity_of(count), seed=settings.seed)},
        clustering={"kmeans": pipelines.step("spectral_kmeans", k=tuple(range(2, most + 1)), seed=settings.seed)},
        affinity=pipelines.step("graph", symmetrize=settings.symmetrize, weights=settings.weights),
        clusters=(), seed=settings.seed,
    )  # fmt: skip
    if settings.metric is None:
        return standard
    distance = pipelines.step("knn", k=min(settings.neighbors, count - 1), metric=settings.metric)
    return pipelines.Pipeline({**standard.slots, "distance": distance})


def strategies_of(maps: np.ndarray, settings: StrategiesConfig) -> Strategies:
    """Returns the strategies behind the maps of one class.

    Args:
      maps: relevance `[n, height, width, channels]`, n >= 12.
      settings: of the pipeline.

    Raises:
      ValueError: a map that is not finite or all zeros, or a grid finer than the maps; the text has the numbers.
    """
    count = len(maps)
    results = pipelines.run(pipeline_of(settings, count), maps, intermediates=True)
    embedding, gap = results["embedding"], results["select"].eigengap
    by_gap, vectors = int(gap.k), np.asarray(embedding.vectors)
    numbers = [k for k in range(2, vectors.shape[1]) if k == by_gap or k in settings.clusters]
    every = {int(name.rpartition("_")[2]): row for name, row in results["clustering"].items() if "_" in name}
    labels = {k: every[k] for k in numbers if k in every}
    separability, silhouette = {}, {}
    for k, row in labels.items():
        if k in settings.clusters:
            fisher = spectral.fisher_separability(vectors[:, :SEEN], row, clusters=max(every))
            separability[k] = np.asarray(fisher.tau)[:k]
        rows = np.asarray(spectral.normalize_rows(vectors[:, :k]))
        silhouette[k] = pipelines.scores(rows, row).silhouette
    features = np.asarray(results["preprocessing"])
    return Strategies(
        features.reshape(count, -1), np.asarray(embedding.eigenvalues), vectors, np.asarray(embedding.residuals),
        int(embedding.components), by_gap, np.asarray(gap.gaps), labels, separability,
        {k: float("nan") if value is None else value for k, value in silhouette.items()},
        np.asarray(results["views"]["tsne"]), doubts_of(features.reshape(count, -1), embedding, gap, settings),
    )  # fmt: skip


def perplexity_of(count: int) -> float:
    """Returns t-SNE's perplexity for so many maps: 30, less for few."""
    return min(30.0, (count - 1) / 3)


def doubts_of(features: np.ndarray, embedding, gap, settings: StrategiesConfig) -> tuple[str, ...]:
    """Returns what makes the number of strategies uncertain."""
    count, texts = len(features), []
    if copies := count - spectral.distinct_rows(features):
        texts.append(f"{copies} of {count} maps are copies of others: equal maps are a cluster of their own")
    if count < FEW:
        texts.append(f"only {count} maps, expected {FEW} or more")
    if settings.neighbors >= count:
        texts.append(f"every map is a neighbour of every other: {count} maps for {settings.neighbors} neighbours")
    if not bool(np.all(embedding.converged)):
        off = float(np.max(embedding.residuals))
        texts.append(f"{int(np.sum(~np.asarray(embedding.converged)))} eigenvalues did not converge (off by {off:.0e})")
    if bool(gap.is_cut):
        texts.append("the largest gap is the last that was looked at: raise --most_clusters")
    first, second = np.argsort(-np.asarray(gap.gaps), kind="stable")[:2] if len(gap.gaps) > 1 else (0, 0)
    if first != second and gap.gaps[second] > ALIKE * gap.gaps[first]:
        texts.append(
            f"{first + 1} strategies by a hair: the gap is {float(gap.gaps[first]):.3f}, and {second + 1} have "
            f"{float(gap.gaps[second]):.3f}"
        )
    return tuple(texts)


def highest(strategies: Strategies) -> tuple[float, int, int]:
    """Returns the largest separability of a class, with its number of clusters and its cluster; NaN without one."""
    options = [
        (float(tau), k, cluster)
        for k, row in strategies.separability.items()
        for cluster, tau in enumerate(row)
        if np.isfinite(tau)
    ]
    return max(options, default=(float("nan"), 0, 0))
