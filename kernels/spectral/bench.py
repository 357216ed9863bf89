"""Neighbours and the whole way to clusters beside CoRelAy, and how memory grows.

    python -m kernels.bench spectral

Rows are normalised maps of 256 pixels in eight clusters, n = 1,000, 5,000 and 20,000. The way: 10 neighbours, their
mean graph, 32 eigenpairs, the eigengap, k-means with 8 clusters. CoRelAy computes the same with its own distances, and
with scikit-learn's from a matrix product in their place. The floor is the distances' products over the measured rate
of matrix products. n = 50,000 runs alone, and the peak of a process is measured at several n, each in one of its own.
"""

import functools
import json
import subprocess
import sys
import time

import numpy as np

SIZES = (1000, 5000, 20_000)
ALONE = (1000, 5000, 10_000, 20_000, 50_000)
D, K, Q, CLUSTERS = 256, 10, 32, 8
PEER = {"k": K, "q": Q, "clusters": CLUSTERS}


def rows(n: int) -> np.ndarray:
    """float32 [n, 256], sums of magnitudes 1: noise of few directions around eight maps."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((40, D)) / np.arange(1, 41)[:, None]
    x = 0.5 * rng.standard_normal((CLUSTERS, D))[np.arange(n) % CLUSTERS]
    x += rng.standard_normal((n, 40)) @ directions + 0.3 * rng.standard_normal((n, D))
    return (x / np.abs(x).sum(1, keepdims=True)).astype(np.float32)


def way(x, key):
    """(embedding, eigengap, clusters) of rows."""
    import jax

    from .. import spectral

    graph = spectral.affinity(spectral.knn(x, K))
    embedding = spectral.spectral_embedding(graph, Q, key)
    gap = spectral.eigengap(embedding.eigenvalues)
    vectors = spectral.normalize_rows(embedding.vectors[:, :CLUSTERS])
    return embedding, gap, spectral.kmeans(vectors, CLUSTERS, jax.random.fold_in(key, 1))


def alone(n: int) -> dict:
    """Seconds, the first and a second time, and the peak of this process in bytes."""
    import jax

    x, seconds = jax.numpy.asarray(rows(n)), []
    for seed in range(2):
        start = time.perf_counter()
        embedding, *_ = jax.block_until_ready(way(x, jax.random.key(seed)))
        seconds.append(time.perf_counter() - start)
    residual = float(jax.numpy.max(embedding.residuals))
    return {"n": n, "seconds": seconds, "peak_bytes": peak_bytes(), "largest_residual": residual}


def peak_bytes() -> int:
    """The most that this program has held; getrusage would begin with what its parent held."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def run(bench) -> None:
    """Measures neighbours and the whole way at three sizes, then memory."""
    import jax

    from .. import ceilings, spectral

    rate = ceilings.matrix_rate()
    key = jax.random.key(0)
    with bench.peer("spray") as peer:
        for n in SIZES:
            x = rows(n)
            device = jax.numpy.asarray(x)
            ours = {"ours": functools.partial(spectral.knn, device, K)}
            whole = {"ours": functools.partial(way, device, key)}
            facts = {"n": n, "d": D, "floor_s": 2 * n * n * D / rate}
            if peer is not None:
                peer.ask("take", name=str(n), x=x)
                facts |= _agreement(peer, way(device, key), n)
                ours |= {
                    "CoRelAy": _seconds(peer, "neighbors", n, distance="shipped", k=K),
                    "CoRelAy, product": _seconds(peer, "neighbors", n, distance="product", k=K),
                    "scikit-learn": _seconds(peer, "neighbors", n, distance="search", k=K),
                }
                whole |= {
                    "CoRelAy": _seconds(peer, "pipeline", n, distance="shipped", **PEER),
                    "CoRelAy, product": _seconds(peer, "pipeline", n, distance="product", **PEER),
                }
            bench.compare(f"neighbours, n = {n:,}", ours, work=n, unit="sample", **facts)
            bench.compare(f"maps to clusters, n = {n:,}", whole, work=n, unit="sample", **facts)
    x = jax.numpy.asarray(rows(500))
    null = functools.partial(spectral.separability_null, x, key)
    bench.compare("separability and 20 draws of its null, n = 500", {"ours": null}, work=21 * 500, unit="sample")
    for n in ALONE:
        bench.record(f"memory, n = {n:,}", **child(n))


def child(n: int) -> dict:
    """`alone` in a process of its own."""
    command = [sys.executable, "-m", __package__ + ".bench", str(n)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _seconds(peer, command: str, n: int, **arguments):
    return lambda: float(peer.ask(command, name=str(n), **arguments)["seconds"])


def _agreement(peer, ours, n: int) -> dict:
    """How far the peer's numbers are ours, and what its process holds at most, so far."""
    from .. import spectral

    embedding, gap, clusters = ours
    path = peer.folder / "answer.npz"
    answer = peer.ask("pipeline", name=str(n), distance="product", answer=path, **PEER)
    theirs = peer.get(path.name)
    return {
        "eigengap": int(gap.k),
        "largest_residual": float(embedding.residuals.max()),
        "eigenvalue_difference": float(np.abs(theirs["eigenvalues"] - np.asarray(embedding.eigenvalues)).max()),
        "adjusted_rand_index": spectral.adjusted_rand_index(clusters.labels, theirs["labels"]),
        "peer_peak_bytes": answer["peak_bytes"],
    }


if __name__ == "__main__":
    print(json.dumps(alone(int(sys.argv[1]))))
