"""The most memory of a simulation in a process of its own: `python -m projects.stc.peak_memory CLIENTS SAMPLES METHOD
CHUNK` prints it as JSON. All clients take part in each round; their samples are noise of MNIST's size."""

import json
import sys

import jax
import numpy as np

from common import memory
from common.federated import clients, simulate
from projects.stc import bench

ROUNDS, FEATURES = 10, 784


def main(count: int, samples: int, method: str, chunk: int) -> dict:
    """Returns mebibytes: `start` of the process, `samples` and `residuals` held, `ready` before, `peak` in the end."""
    start = memory.peak_mebibytes()
    rng = np.random.default_rng(0)
    x = rng.random((count * samples, FEATURES), np.float32)
    population = clients.Clients(
        {"x": jax.numpy.asarray(x), "y": jax.numpy.asarray(rng.integers(0, 10, len(x), np.int32))},
        jax.numpy.arange(count, dtype=np.int32) * samples,
        jax.numpy.full(count, samples, np.int32),
    )
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(population))
    del x
    ready = memory.peak_mebibytes()
    settings = simulate.Settings(batch_size=20, chunk=chunk, every=ROUNDS)
    network = bench.model(FEATURES)
    result = simulate.simulate(network, population, bench.MEMORY_METHODS[method], ROUNDS, jax.random.key(0), settings)
    jax.block_until_ready(result.state)
    mebibytes = {"samples": held, "residuals": result.state.residuals.nbytes}
    return {
        "start": start, "ready": ready, "peak": memory.peak_mebibytes(),
        **{name: value / 2**20 for name, value in mebibytes.items()},
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
