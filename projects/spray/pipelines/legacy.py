"""What CoRelAy 1.0.0 does otherwise than it should, to compare with its numbers: `semantics="corelay"` only.

- SparseKNN leaves out column 0 of the sorted distances, which is another sample where rows are equal, or where a
  similarity was taken for a distance; too many neighbours are cut in silence.
- EigenDecomposition asks for eigenvalues of largest magnitude, which come from both ends of the spectrum, and returns
  1 - mu in descending order; it gives an unsymmetric matrix to a symmetric solver; rows of 0 become NaN.
- Laplacians divide by the degree 0 of isolated samples.
- Histogram takes each sample's own range, and columns for channels of maps without channels if channels come last.
- t-SNE starts at random without a seed, UMAP ignores `kwargs`, the dendrogram ignores `metric`.
- The published variants divide by the signed sum, and feed the similarities SSIM and Pearson's r as distances.
- Clusters are numbered as scikit-learn numbers them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.sparse

from projects.spray.pipelines import corelay_processors as processors


def sparse_knn(data: np.ndarray, *, n_neighbors: int = 10, symmetric: bool = True) -> scipy.sparse.csr_matrix:
    """Affinity to columns 1 to k of the sorted distances."""
    distances = processors.square(data, "distances")
    count = len(distances)
    k = min(n_neighbors, count - 1)
    columns = np.argsort(distances, axis=1)[:, 1 : k + 1]
    rows = np.repeat(np.arange(count), k)
    affinity = scipy.sparse.csr_matrix((np.ones(count * k, distances.dtype), (rows, columns.ravel())), (count, count))
    return (affinity + affinity.T) / 2 if symmetric else affinity


def symmetric_normal_laplacian(data):
    """D^-1/2 A D^-1/2; isolated samples divide by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.sqrt(np.asarray(data.sum(1), np.float64).ravel())
        return processors.scaled(data, inverse, inverse)


def random_walk_normal_laplacian(data):
    """D^-1 A; isolated samples divide by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.asarray(data.sum(1), np.float64).ravel()
        return processors.scaled(data, inverse, np.ones_like(inverse))


def eigen_decomposition(
    data,
    *,
    n_eigval: int = 32,
    which: str = "LM",
    normalize: bool = True,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """1 - mu, for mu ascending, of largest magnitude by default; the start is seeded, which the peer's is not."""
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(0).normal(size=data.shape[0])
    values, vectors = eigsh(data, k=n_eigval, which=which, **({"v0": start} | dict(kwargs or {})))
    if normalize:
        with np.errstate(divide="ignore", invalid="ignore"):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return 1 - values, vectors


def histogram(data: np.ndarray, *, channels_first: bool = True, bins: int = 32, kwargs=None) -> np.ndarray:
    """Densities in bins of each sample's own range."""
    maps = np.asarray(data)
    maps = maps[:, None] if maps.ndim == 3 else maps
    maps = maps if channels_first else np.moveaxis(maps, -1, 1)
    return np.array([[np.histogram(channel, bins, density=True)[0] for channel in sample] for sample in maps])


def tsne(rows, **parameters) -> np.ndarray:
    """From a random start."""
    from projects.spray.pipelines import estimators

    return estimators.tsne(rows, **({"init": "random", "random_state": None} | parameters))


def umap(rows, *, n_neighbors: int = 15, min_dist: float = 0.1, metric: str = "correlation", **_ignored) -> np.ndarray:
    """Without a seed, and without anything else that was asked for."""
    from projects.spray.pipelines import estimators

    return estimators.umap(rows, n_neighbors=n_neighbors, min_dist=min_dist, metric=metric, random_state=None)


def kmeans(rows, *, n_clusters: int = 2, **options) -> np.ndarray:
    """scikit-learn's, by default from one start without a seed."""
    from sklearn.cluster import KMeans

    return KMeans(n_clusters=n_clusters, **options).fit_predict(np.asarray(rows))


def dbscan(rows, **parameters) -> np.ndarray:
    """scikit-learn's."""
    from sklearn.cluster import DBSCAN

    return DBSCAN(**parameters).fit_predict(np.asarray(rows))


def hdbscan(rows, **parameters) -> np.ndarray:
    """scikit-learn's, where the peer has the package hdbscan, whose labels have other numbers."""
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(copy=True, **parameters).fit_predict(np.asarray(rows))


def agglomerative(rows, **parameters) -> np.ndarray:
    """scikit-learn's."""
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(**parameters).fit_predict(np.asarray(rows))


def dendrogram(data: np.ndarray, *, output_file: Any, metric: str = "euclidean", linkage: str = "ward", kwargs=None):
    """The tree of euclidean distances, whatever `metric` says."""
    import scipy.cluster.hierarchy as hierarchy

    processors.draw_dendrogram(hierarchy.linkage(data, method=linkage), output_file)
    return data


def normalize(data: np.ndarray, *, axes: int | tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Maps divided by their signed sum."""
    maps = np.asarray(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        return maps / maps.sum(axes, keepdims=True)


def ssim(data: np.ndarray, *, data_range: float | None = None) -> np.ndarray:
    """The structural similarity itself, 0 on the diagonal, of a range of 2 unless told: once that of floats.

    scikit-image 0.26 asks for `data_range`, so that the published variant stops there.
    """
    maps = np.asarray(data, np.float64)
    similarity = np.stack([_similarity(one, maps, 2.0 if data_range is None else data_range) for one in maps])
    np.fill_diagonal(similarity, 0)
    return similarity


def _similarity(one: np.ndarray, maps: np.ndarray, data_range: float) -> np.ndarray:
    """Returns the structural similarity of a map to others (Wang et al. 2004): windows of 7 x 7, sample covariances."""
    side, margin = 7, 3
    unbiased = side**2 / (side**2 - 1)

    def means(values):
        filtered = scipy.ndimage.uniform_filter(values, (*[0] * (values.ndim - 2), side, side))
        return filtered[..., margin:-margin, margin:-margin]

    mean, mean_others = means(one), means(maps)
    square = unbiased * (means(one * one) - mean**2)
    square_others = unbiased * (means(maps * maps) - mean_others**2)
    shared = unbiased * (means(one * maps) - mean * mean_others)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean * mean_others + c1) * (2 * shared + c2)
    below = (mean**2 + mean_others**2 + c1) * (square + square_others + c2)
    return (above / below).mean((-2, -1))


def pcc(data: np.ndarray) -> np.ndarray:
    """Pearson's correlation itself, 0 on the diagonal."""
    from scipy.spatial import distance

    return distance.squareform(1 - distance.pdist(np.asarray(data), "correlation"))
