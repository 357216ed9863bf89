"""Samples that neighbours and graphs may go wrong with, shared by the tests of the room."""

import functools

import jax
import numpy as np

from kernels import spectral
from tests.kernels.oracles import spectral as oracle

N, D, K = 500, 12, 10


@functools.cache
def samples() -> np.ndarray:
    """float32 [500, 12] with 60 copies of one row, far more than the spare candidates, and 20 of another."""
    x = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    x[np.arange(60) * 7 + 3] = x[0]
    x[300:320] = x[299]
    return x


@functools.cache
def brute() -> tuple[np.ndarray, np.ndarray]:
    """(indices, distances) of the neighbours of `samples`, by float64."""
    distances = np.sqrt(oracle.squares(samples(), samples()))
    index = oracle.nearest(distances, K, is_own=True)
    return index, np.take_along_axis(distances, index, axis=1)


def blobs(n: int, clusters: int, d: int = 6, seed: int = 0, spread: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """(samples, labels) of round clusters, far apart for a large spread."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % clusters
    centers = np.eye(clusters, d) * spread
    return (centers[labels] + rng.standard_normal((n, d))).astype(np.float32), labels


def graph_of(weights) -> spectral.Graph:
    """The graph of a matrix of weights."""
    weights = np.asarray(weights, np.float32)
    row, column = np.nonzero(weights)
    return spectral.Graph(
        *(jax.numpy.asarray(one) for one in (row.astype(np.int32), column.astype(np.int32), weights[row, column])),
        jax.numpy.asarray(weights.sum(1)),
    )


def cliques(sizes) -> np.ndarray:
    """Weights of complete graphs beside each other."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return (labels[:, None] == labels).astype(np.float64) - np.eye(len(labels))


def path(n: int) -> np.ndarray:
    """Weights of a path of n vertices."""
    return np.eye(n, k=1) + np.eye(n, k=-1)
