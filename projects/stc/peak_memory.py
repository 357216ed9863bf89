"""The most memory of a simulation in a process of its own: `python -m projects.stc.peak_memory CLIENTS SAMPLES METHOD
CHUNK` prints it as JSON. All clients take part in each round; their samples are noise of MNIST's size."""

import functools
import json
import sys

import jax
import jax.numpy as jnp

from common import memory
from common.federated import clients, simulate
from projects.stc import bench

ROUNDS, FEATURES = 10, 784


@functools.partial(jax.jit, static_argnums=(0, 1))
def noise(count: int, samples: int) -> clients.Clients:
    """Returns clients of equal sizes, made in place: copies on the way would be the most memory of the process."""
    pixels = jax.lax.iota(jnp.uint32, count * samples * FEATURES) * jnp.uint32(2654435761)
    return clients.Clients(
        {
            "x": ((pixels >> 8) * jnp.float32(2**-24)).reshape(-1, FEATURES),
            "y": jax.lax.iota(jnp.int32, count * samples) % 10,
        },
        jnp.arange(count, dtype=jnp.int32) * samples,
        jnp.full(count, samples, jnp.int32),
    )


def main(count: int, samples: int, method: str, chunk: int) -> dict:
    """Returns mebibytes: `start` of the process, `samples` and `residuals` held, `ready` before, `peak` in the end."""
    start = memory.peak_mebibytes()
    population = noise(count, samples)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(jax.block_until_ready(population)))
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
