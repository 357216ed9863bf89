"""CoRelAy's processors by name: what computes them in both semantics, their parameters and defaults."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from projects.spray.pipelines import corelay_processors as processors
from projects.spray.pipelines import estimators, legacy


def _with_kwargs(function: Callable, **names: str) -> Callable:
    """Returns `function(data, **parameters)` with the peer's names for parameters, whose `kwargs` are unpacked."""

    def call(data, kwargs=None, **parameters):
        renamed = {names.get(key, key): value for key, value in parameters.items()}
        return function(data, **renamed, **(kwargs or {}))

    return call


def _kmeans(function: Callable, options: tuple[str, ...] | None = None) -> Callable:
    """Returns k-means of the part `index` of data; options: the kwargs that it takes, None where it says so itself."""

    def call(data, n_clusters, index, kwargs=None):
        others = {key: value for key, value in (kwargs or {}).items() if options is not None and key not in options}
        processors.no_more(others, f"KMeans, which takes {', '.join(options or ())}")
        return function(np.asarray(data)[index], n_clusters=n_clusters, **(kwargs or {}))

    return call


FUNCTIONS: dict[str, Callable] = {
    "SciPyPDist": processors.scipy_pdist, "SparseKNN": processors.sparse_knn,
    "RadialBasisFunction": processors.radial_basis_function,
    "SymmetricNormalLaplacian": processors.symmetric_normal_laplacian,
    "RandomWalkNormalLaplacian": processors.random_walk_normal_laplacian,
    "EigenDecomposition": processors.eigen_decomposition, "TSNEEmbedding": _with_kwargs(estimators.tsne),
    "PCAEmbedding": _with_kwargs(estimators.pca), "LLEEmbedding": _with_kwargs(estimators.lle),
    "UMAPEmbedding": _with_kwargs(estimators.umap), "KMeans": _kmeans(estimators.kmeans, ("n_init", "random_state")),
    "HDBSCAN": _with_kwargs(estimators.hdbscan, n_clusters="min_cluster_size"),
    "DBSCAN": _with_kwargs(estimators.dbscan),
    "AgglomerativeClustering": _with_kwargs(estimators.agglomerative), "Dendrogram": processors.dendrogram,
    "Histogram": processors.histogram, "Resize": processors.resize, "Rescale": processors.rescale,
    "Pooling": processors.pooling, "Absolute": processors.absolute, "SumChannel": processors.sum_channel,
    "Normalize": processors.normalize, "Flatten": processors.flatten, "SSIM": processors.ssim, "PCC": processors.pcc,
}  # fmt: skip
LEGACY: dict[str, Callable] = {
    "SparseKNN": legacy.sparse_knn, "SymmetricNormalLaplacian": legacy.symmetric_normal_laplacian,
    "RandomWalkNormalLaplacian": legacy.random_walk_normal_laplacian,
    "EigenDecomposition": legacy.eigen_decomposition, "TSNEEmbedding": _with_kwargs(legacy.tsne),
    "UMAPEmbedding": _with_kwargs(legacy.umap), "KMeans": _kmeans(legacy.kmeans),
    "HDBSCAN": _with_kwargs(legacy.hdbscan, n_clusters="min_cluster_size"), "DBSCAN": _with_kwargs(legacy.dbscan),
    "AgglomerativeClustering": _with_kwargs(legacy.agglomerative), "Dendrogram": legacy.dendrogram,
    "Histogram": legacy.histogram, "Normalize": legacy.normalize, "SSIM": legacy.ssim, "PCC": legacy.pcc,
}  # fmt: skip

# The peer's parameters and defaults. What it marks as positional comes first and may be given without its name.
REQUIRED = inspect.Parameter.empty
PARAMETERS: dict[str, dict[str, Any]] = {
    "FunctionProcessor": {"processing_function": REQUIRED, "bind_method": False}, "Shaper": {"indices": REQUIRED},
    "Parallel": {"children": REQUIRED, "broadcast": False}, "Sequential": {"children": REQUIRED},
    "SciPyPDist": {"metric": "euclidean", "m_kwargs": {}}, "SparseKNN": {"n_neighbors": 10, "symmetric": True},
    "RadialBasisFunction": {"sigma": 1.0}, "SymmetricNormalLaplacian": {}, "RandomWalkNormalLaplacian": {},
    "EigenDecomposition": {"n_eigval": 32, "which": "LM", "normalize": True, "kwargs": {}},
    "TSNEEmbedding": {"n_components": 2, "metric": "euclidean", "perplexity": 30.0, "early_exaggeration": 12.0,
                      "kwargs": {}},
    "PCAEmbedding": {"n_components": 2, "whiten": False, "kwargs": {}},
    "LLEEmbedding": {"n_components": 2, "n_neighbors": 5, "kwargs": {}},
    "UMAPEmbedding": {"n_neighbors": 15, "min_dist": 0.1, "metric": "correlation", "kwargs": {}},
    "KMeans": {"n_clusters": 2, "index": (slice(None),), "kwargs": {}},
    "HDBSCAN": {"n_clusters": 5, "metric": "euclidean", "kwargs": {}},
    "DBSCAN": {"metric": "euclidean", "eps": 0.5, "min_samples": 5, "kwargs": {}},
    "AgglomerativeClustering": {"n_clusters": 5, "metric": "euclidean", "linkage": "ward", "kwargs": {}},
    "Dendrogram": {"output_file": REQUIRED, "metric": "euclidean", "linkage": "ward", "kwargs": {}},
    "Histogram": {"channels_first": True, "bins": 32, "kwargs": {}},
    "Resize": {"width": 100, "height": 100, "filter": 1, "channels_first": True, "kwargs": {}},
    "Rescale": {"scale": 0.5, "filter": 1, "channels_first": True, "kwargs": {}},
    "Pooling": {"stride": (1, 1, 2, 2), "pooling_function": np.sum, "kwargs": {}},
    "Absolute": {}, "SumChannel": {}, "Normalize": {"axes": (1, 2)}, "Flatten": {}, "SSIM": {"data_range": None},
    "PCC": {},
}  # fmt: skip
POSITIONAL = {"FunctionProcessor", "Shaper", "Parallel", "Sequential"}
