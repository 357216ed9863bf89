"""Embeddings and clusterings of rows: scikit-learn's, umap-learn's where it is installed, k-means and the rest ours.

Each is a function of rows `[n, d]` with a seed where it draws. Labels are numbered by the size of their cluster, the
largest first; -1 is noise.
"""

import warnings
from typing import Any

import numpy as np

THREADS_FROM = 1000  # samples
UMAP_REMEDY = "UMAP needs umap-learn: `pip install umap-learn`, or choose another view such as t-SNE"


def by_size(labels: np.ndarray) -> np.ndarray:
    """Returns labels numbered by size, the largest cluster 0, ties by the first sample; negative ones become -1."""
    labels = np.asarray(labels)
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    clusters = names >= 0
    order = np.lexsort((first[clusters], -counts[clusters]))
    numbers = np.full(len(names), -1)
    numbers[np.flatnonzero(clusters)[order]] = np.arange(clusters.sum())
    return numbers[np.searchsorted(names, labels)].astype(np.int32)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Returns rows of length 1; rows of 0 stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def distinct_rows(rows: np.ndarray) -> int:
    """Returns how many rows are distinct by more than rounding."""
    values = np.reshape(np.asarray(rows), (len(rows), -1))
    eps = np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
    step = 8 * eps * np.abs(values).max(initial=0)
    return len(np.unique(np.round(values / step) + 0.0, axis=0)) if step > 0 else min(len(values), 1)


def warn_of_copies(rows: np.ndarray, k: int | None = None, metric: str = "euclidean") -> None:
    """Warns where there are fewer distinct rows than clusters, or without a number of clusters only one."""
    if metric == "precomputed" or not len(rows):
        return
    distinct = distinct_rows(rows)
    if k is not None and distinct < k:
        warnings.warn(
            f"k={k}: clusters that are copies of others, as only {distinct} of {len(rows)} rows are distinct; take a "
            "smaller k",
            stacklevel=3,
        )
    elif k is None and distinct == 1 < len(rows):
        warnings.warn(f"all {len(rows)} rows are the same: there is nothing to cluster", stacklevel=3)


def tsne(rows: np.ndarray, *, n_components: int = 2, perplexity: float = 30.0, metric: str = "euclidean",
         early_exaggeration: float = 12.0, random_state: int = 0, init: str = "pca",
         **more: Any) -> np.ndarray:  # fmt: skip
    """t-SNE, from principal components and a seed, so that it is the same twice; `[n, n_components]`."""
    import threadpoolctl
    from sklearn.manifold import TSNE

    if not 0 < perplexity < len(rows):
        raise ValueError(f"perplexity={perplexity} of {len(rows)} samples: expected less")
    init = "random" if metric == "precomputed" and init == "pca" else init
    model = TSNE(
        n_components, perplexity=perplexity, metric=metric, early_exaggeration=early_exaggeration,
        random_state=random_state, init=init, **more,
    )  # fmt: skip
    threads = 1 if len(rows) < THREADS_FROM else None  # few samples: threads wait for each other longer than they work
    with threadpoolctl.threadpool_limits(threads, user_api="openmp"):
        return model.fit_transform(np.asarray(rows))


def umap(rows: np.ndarray, *, n_components: int = 2, n_neighbors: int = 15, min_dist: float = 0.1,
         metric: str = "euclidean", random_state: int = 0, **more: Any) -> np.ndarray:  # fmt: skip
    """UMAP by umap-learn; `[n, n_components]`. An ImportError says how to get it."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(UMAP_REMEDY) from error
    options = {"n_neighbors": n_neighbors, "min_dist": min_dist, "metric": metric, "random_state": random_state}
    return UMAP(n_components=n_components, **options, **more).fit_transform(np.asarray(rows))


def pca(
    rows: np.ndarray, *, n_components: int = 2, whiten: bool = False, random_state: int = 0, **more: Any
) -> np.ndarray:
    """Principal components; `[n, n_components]`."""
    from sklearn.decomposition import PCA

    return PCA(n_components, whiten=whiten, random_state=random_state, **more).fit_transform(np.asarray(rows))


def lle(
    rows: np.ndarray, *, n_components: int = 2, n_neighbors: int = 5, random_state: int = 0, **more: Any
) -> np.ndarray:
    """Locally linear embedding; `[n, n_components]`."""
    from sklearn.manifold import LocallyLinearEmbedding

    model = LocallyLinearEmbedding(
        n_neighbors=n_neighbors, n_components=n_components, random_state=random_state, **more
    )
    return model.fit_transform(np.asarray(rows))


def isomap(rows: np.ndarray, *, n_components: int = 2, n_neighbors: int = 5, **more: Any) -> np.ndarray:
    """Isomap: shortest paths along neighbours, scaled to few dimensions; `[n, n_components]`."""
    from sklearn.manifold import Isomap

    return Isomap(n_neighbors=n_neighbors, n_components=n_components, **more).fit_transform(np.asarray(rows))


def kmeans(rows: np.ndarray, *, n_clusters: int, random_state: int = 0, n_init: int = 10) -> np.ndarray:
    """k-means with k-means++ starts, the best of `n_init`; labels `[n]`."""
    import jax

    from kernels import spectral

    if not 1 <= n_clusters <= len(rows):
        raise ValueError(f"n_clusters={n_clusters} of {len(rows)} samples: expected 1 to {len(rows)}")
    rows = np.asarray(rows)
    with jax.enable_x64(rows.dtype == np.float64):
        clusters = spectral.kmeans(rows, n_clusters, jax.random.key(random_state), restarts=n_init)
        return by_size(np.asarray(clusters.labels))


def dbscan(
    rows: np.ndarray, *, eps: float = 0.5, min_samples: int = 5, metric: str = "euclidean", **more
) -> np.ndarray:
    """DBSCAN; labels `[n]`, -1 noise."""
    from sklearn.cluster import DBSCAN

    warn_of_copies(rows, metric=metric)
    return by_size(DBSCAN(eps=eps, min_samples=min_samples, metric=metric, **more).fit_predict(np.asarray(rows)))


def hdbscan(rows: np.ndarray, *, min_cluster_size: int = 5, metric: str = "euclidean", **more: Any) -> np.ndarray:
    """HDBSCAN; labels `[n]`, -1 noise."""
    from sklearn.cluster import HDBSCAN

    warn_of_copies(rows, metric=metric)
    model = HDBSCAN(min_cluster_size=min_cluster_size, metric=metric, **({"copy": True} | more))
    return by_size(model.fit_predict(np.asarray(rows)))


def agglomerative(rows: np.ndarray, *, n_clusters: int = 5, metric: str = "euclidean", linkage: str = "ward",
                  **more: Any) -> np.ndarray:  # fmt: skip
    """Agglomerative clustering; labels `[n]`."""
    from sklearn.cluster import AgglomerativeClustering

    warn_of_copies(rows, n_clusters, metric)
    model = AgglomerativeClustering(n_clusters=n_clusters, metric=metric, linkage=linkage, **more)
    return by_size(model.fit_predict(np.asarray(rows)))


def gaussian_mixture(
    rows: np.ndarray, *, n_clusters: int, random_state: int = 0, n_init: int = 5, **more: Any
) -> np.ndarray:
    """The likeliest component of a Gaussian mixture; labels `[n]`."""
    from sklearn.mixture import GaussianMixture

    warn_of_copies(rows, n_clusters)
    model = GaussianMixture(n_clusters, random_state=random_state, n_init=n_init, **more)
    return by_size(model.fit_predict(np.asarray(rows)))
