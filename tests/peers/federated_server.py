"""Federated averaging of FedJAX and of Flower's simulation, timed, on request, in .venv-peers/federated.

The model is logistic regression. A problem is a file of `x` float32 [clients, samples, features], `y` int32 [clients,
samples], `sizes` int32 [clients] of samples that count, `kernel` and `bias` to start from; the trained `kernel` and
`bias` go to a file. A process serves one contestant: FedJAX's backend decides how JAX starts.
"""

import functools
import importlib.metadata
import os
import time

import federated_flower
import line_server
import numpy as np


def load(path):
    """Arrays of a file by name."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@functools.cache
def fedjax_algorithm(backend, batch_size, steps, learning_rate, shuffles):
    """FedJAX's federated averaging; `backend` is "jit", or "pmap" over as many devices of the CPU as it has cores."""
    if backend == "pmap":
        cores = len(os.sched_getaffinity(0))
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={cores}"
    import jax

    if not hasattr(jax, "tree_map"):  # removed from JAX since its last release
        jax.tree_map = jax.tree_util.tree_map
    import fedjax
    import jax.numpy as jnp
    from fedjax.algorithms import fed_avg

    def loss(params, batch):
        log_prob = jax.nn.log_softmax(batch["x"] @ params["kernel"].T + params["bias"])
        return -jnp.mean(jnp.take_along_axis(log_prob, batch["y"][:, None], axis=1))

    gradient = jax.grad(loss)
    batches = fedjax.ShuffleRepeatBatchHParams(
        batch_size=batch_size, num_epochs=None, num_steps=steps, skip_shuffle=not shuffles
    )
    fedjax.set_for_each_client_backend(backend)
    return fed_avg.federated_averaging(
        lambda params, batch, key: gradient(params, batch),
        fedjax.optimizers.sgd(learning_rate), fedjax.optimizers.sgd(1.0), batches,
    )  # fmt: skip


def fedjax(
    problem: str,
    output: str,
    rounds: int,
    batch_size: int,
    steps: int,
    learning_rate: float,
    shuffles: bool = True,
    backend: str = "jit",
) -> dict:
    """Trains by FedJAX; the seconds are those of `rounds` rounds, `start_s` those of importing and compiling.

    Args:
      problem, output: files, see above.
      rounds: in which all clients take part.
      batch_size, steps, learning_rate: of a client in a round; `steps` batches, one epoch after the other.
      shuffles: whether samples of an epoch come in random order.
      backend: "jit" or "pmap".
    """
    began = time.perf_counter()
    algorithm = fedjax_algorithm(backend, batch_size, steps, learning_rate, shuffles)
    import fedjax
    import jax
    import jax.numpy as jnp

    given = load(problem)
    # Keys stay: logistic regression draws nothing by them, and splitting would cost time.
    keys = jax.random.split(jax.random.PRNGKey(0), len(given["sizes"]))
    clients = [
        (str(client), fedjax.ClientDataset({name: given[name][client, :size] for name in "xy"}), keys[client])
        for client, size in enumerate(given["sizes"])
    ]
    # A class is a row: the gradient takes less time than in columns.
    first = {"kernel": jnp.asarray(np.ascontiguousarray(given["kernel"].T)), "bias": jnp.asarray(given["bias"])}
    jax.block_until_ready(algorithm.apply(algorithm.init(first), clients)[0].params)  # compiles, where it has not
    start = time.perf_counter() - began
    state = algorithm.init(first)
    began = time.perf_counter()
    for _ in range(rounds):
        state, _ = algorithm.apply(state, clients)
    params = {name: np.asarray(value) for name, value in state.params.items()}
    seconds = time.perf_counter() - began
    np.savez(output, kernel=params["kernel"].T, bias=params["bias"])
    return {"seconds": seconds, "start_s": start, "devices": jax.device_count()}


def flower(problem: str, output: str, **settings) -> dict:
    """Trains by Flower's simulation, which starts and ends with the request; see `federated_flower.simulate`."""
    given = load(problem)
    params, seconds = federated_flower.simulate(given, **settings)
    np.savez(output, **params)
    return seconds


def version() -> dict:
    """Returns what answers here."""
    names = ("fedjax", "flwr", "jax", "jaxlib", "numpy", "ray")
    return {name: importlib.metadata.version(name) for name in names}


if __name__ == "__main__":
    line_server.serve({"fedjax": fedjax, "flower": flower, "version": version})
