"""Spectral analysis of relevance maps (SpRAy, arXiv:1902.10178): neighbours, their graph, its embedding, clusters.

maps = normalize_maps(pool_maps(reduce_channels(relevance)))                  # of one class
graph = affinity(knn(maps.reshape(len(maps), -1), 10))
embedding = spectral_embedding(graph, 32, jax.random.key(0))
k = int(eigengap(embedding.eigenvalues, components=embedding.components).k)   # how many strategies
clusters = kmeans(normalize_rows(embedding.vectors[:, :k]), k, jax.random.key(1))

Differentiable: maps but for histograms; `pairwise_distance` and the distances of `knn`, also where they are 0, with the
neighbours as they are; weights of `affinity` and `dense_affinity` in distances; products with a graph;
`normalize_rows`; tau of `fisher_separability` in phi. Not: neighbours, eigenvectors, gaps, clusters and what is made of
them, among these `class_separability` and its null: loops that end by a condition have no reverse mode, and numbers of
clusters no slope.
"""

from .distances import METRICS, pairwise_distance
from .eigengap import Eigengap, eigengap
from .embedding import Embedding, diffusion_scale, normalize_rows, nystrom, spectral_embedding
from .graph import Graph, affinity, dense_affinity
from .kmeans import Clusters, kmeans
from .laplacians import (
    Components,
    connected_components,
    degrees,
    laplacian,
    laplacian_matvec,
    normalized_matvec,
)
from .maps import histogram_maps, normalize_maps, pool_maps, reduce_channels, resize_maps
from .neighbors import Neighbors, knn, knn_between
from .scores import adjusted_rand_index
from .separability import (
    Null,
    Separability,
    class_separability,
    distinct_rows,
    fisher_separability,
    separability_null,
)

__all__ = [
    "METRICS",
    "Clusters",
    "Components",
    "Eigengap",
    "Embedding",
    "Graph",
    "Neighbors",
    "Null",
    "Separability",
    "adjusted_rand_index",
    "affinity",
    "class_separability",
    "connected_components",
    "degrees",
    "dense_affinity",
    "diffusion_scale",
    "distinct_rows",
    "eigengap",
    "fisher_separability",
    "histogram_maps",
    "kmeans",
    "knn",
    "knn_between",
    "laplacian",
    "laplacian_matvec",
    "normalize_maps",
    "normalize_rows",
    "normalized_matvec",
    "nystrom",
    "pairwise_distance",
    "pool_maps",
    "reduce_channels",
    "resize_maps",
    "separability_null",
    "spectral_embedding",
]
