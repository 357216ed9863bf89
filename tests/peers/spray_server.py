"""CoRelAy's spectral clustering timed on request, by its own Python: .venv-peers/spray/bin/python spray_server.py

Rows come as .npy once and are kept; the seconds are those of a call that has been made before, in this process.
"""

import importlib.metadata
import resource
import time

import line_server
import numpy as np
from corelay.pipeline.spectral import SpectralClustering
from corelay.processor.affinity import SparseKNN
from corelay.processor.base import FunctionProcessor
from corelay.processor.clustering import KMeans
from corelay.processor.distance import SciPyPDist
from corelay.processor.embedding import EigenDecomposition
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

rows: dict[str, np.ndarray] = {}

# As it is shipped, and with scikit-learn's distances of a matrix product in their place: its fastest form.
DISTANCES = {
    "shipped": lambda: SciPyPDist(metric="euclidean"),
    "product": lambda: FunctionProcessor(pairwise_distances),
}


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("corelay", "numpy", "scipy", "scikit-learn")}


def take(name: str, x: str) -> dict:
    """Keeps rows [n, d] under a name; others are let go."""
    rows.clear()
    rows[name] = np.load(x)
    return {}


def pipeline(name: str, distance: str, k: int, q: int, clusters: int, answer: str = "") -> dict:
    """Returns the seconds of distances, neighbours, Laplacian, q eigenpairs and k-means; writes values and labels.

    The largest eigenvalues in algebraic order, which are the ones that are meant, not in magnitude.
    """
    x = rows[name]
    start = time.perf_counter()
    clustering = SpectralClustering(
        pairwise_distance=DISTANCES[distance](), affinity=SparseKNN(n_neighbors=k, symmetric=True),
        embedding=EigenDecomposition(n_eigval=q, which="LA", normalize=False, is_output=True),
        clustering=KMeans(n_clusters=clusters, is_output=True),
    )  # fmt: skip
    (values, _), labels = clustering(x)
    seconds = time.perf_counter() - start
    if answer:
        np.savez(answer, eigenvalues=np.sort(values), labels=labels)
    return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def neighbors(name: str, distance: str, k: int) -> dict:
    """Returns the seconds of distances and the graph of neighbours; "search": scikit-learn's blocked search."""
    x = rows[name]
    start = time.perf_counter()
    if distance == "search":
        NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors()
    else:
        SparseKNN(n_neighbors=k, symmetric=True)(DISTANCES[distance]()(x))
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    commands = (version, take, pipeline, neighbors)
    line_server.serve({command.__name__: command for command in commands})
