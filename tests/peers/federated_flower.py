"""Logistic regression as an app of Flower, and its simulation by Ray on this machine alone; leaves no process behind.

Clients compute with NumPy, which needs no start and no compiler in Ray's processes and is as fast as any for so little.
Nothing leaves the loopback interface, and no usage is reported.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import signal
import tempfile
import time

import numpy as np

MARK = "HAVEL_FLOWER_PEER"  # in the environment of every process that a simulation starts


@functools.cache
def samples(folder, client):
    """(x, y) of a client, read once by each of Ray's processes."""
    return tuple(np.load(pathlib.Path(folder) / f"{name}{client}.npy", allow_pickle=False) for name in "xy")


def train(kernel, bias, x, y, batch_size, steps, learning_rate, shuffles):
    """Returns the weights after some steps of gradient descent, one epoch of the samples after the other."""
    kernel, bias, order = kernel.copy(), bias.copy(), np.arange(len(x))
    if shuffles:
        rng = np.random.default_rng()
    places = np.arange(batch_size)
    for step in range(steps):
        begin = step * batch_size % len(x)
        if shuffles and begin < batch_size:
            rng.shuffle(order)
        rows = order[begin : begin + batch_size] if begin + batch_size <= len(x) else order[(begin + places) % len(x)]
        batch = x[rows]
        error = batch @ kernel + bias
        error -= error.max(axis=1, keepdims=True)
        np.exp(error, out=error)
        error /= error.sum(axis=1, keepdims=True)
        error[places, y[rows]] -= 1
        error *= np.float32(learning_rate / batch_size)
        kernel -= batch.T @ error
        bias -= error.sum(axis=0)
    return kernel, bias


def client_app():
    """The app of a client."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def on_train(message, context):
        import federated_flower  # by its name, so that what is read stays in the process

        config = message.content["config"]
        x, y = federated_flower.samples(config["folder"], context.node_config["partition-id"])
        names = ("batch_size", "steps", "learning_rate", "shuffles")
        weights = message.content["arrays"].to_numpy_ndarrays()
        weights = federated_flower.train(*weights, x, y, **{name: config[name] for name in names})
        content = {"arrays": ArrayRecord(list(weights)), "metrics": MetricRecord({"num-examples": len(x)})}
        return Message(content=RecordDict(content), reply_to=message)

    return app


def simulate(
    problem, rounds, batch_size, steps, learning_rate, shuffles=True, cpus=1.0, intervals=(None,), warm_up=2
):  # fmt: skip
    """Returns ({"kernel", "bias"}, what to answer): `seconds` of `rounds` rounds at each interval, and `start_s`.

    Args:
      problem: arrays, see federated_server.py.
      rounds: that count, in which all clients take part.
      batch_size, steps, learning_rate, shuffles: of a client in a round.
      cpus: that Ray reserves for a client: 1 makes as many processes as there are cores.
      intervals: seconds between two looks of the server for replies, each for a training of its own; None: Flower's.
      warm_up: rounds before: Ray's processes start and import, and belong to the start.
    """
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "FLWR_LOG_LEVEL": "ERROR"}
    os.environ[MARK] = f"{os.getpid()} {time.time_ns()}"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flwr-"))  # a short name: Ray's sockets lie in it
    os.environ["FLWR_HOME"] = str(folder / "home")
    try:
        for client, size in enumerate(problem["sizes"]):
            for name in "xy":
                np.save(folder / f"{name}{client}.npy", problem[name][client, :size])
        config = {
            "folder": str(folder), "batch_size": batch_size, "steps": steps, "learning_rate": learning_rate,
            "shuffles": shuffles,
        }  # fmt: skip
        first = [problem[name] for name in ("kernel", "bias")]
        return run(first, config, len(problem["sizes"]), rounds, cpus, intervals, warm_up, folder)
    finally:
        end_processes(os.environ.pop(MARK))
        shutil.rmtree(folder, ignore_errors=True)


def run(first, config, clients, rounds, cpus, intervals, warm_up, folder):
    """Runs the simulation in this process; see `simulate`."""
    began = time.perf_counter()
    from flwr.app import ArrayRecord, ConfigRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    answer, weights, server_app = {"seconds": []}, [], ServerApp()

    def training(grid, count):
        """Returns when each round ended, and before these when the first began; the last weights stay."""
        stamps = []
        strategy = FedAvg(
            fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients
        )
        result = strategy.start(
            grid=grid, initial_arrays=ArrayRecord(first), num_rounds=count, train_config=ConfigRecord(config),
            evaluate_fn=lambda number, arrays: stamps.append(time.perf_counter()),
        )  # fmt: skip
        weights[:] = result.arrays.to_numpy_ndarrays()
        return stamps

    @server_app.main()
    def serve(grid, context):
        answer["start_s"] = training(grid, warm_up)[-1] - began if warm_up else 0.0
        for interval in intervals:
            if interval is not None:
                grid.pull_interval = interval
            stamps = training(grid, rounds)
            answer["seconds"].append(stamps[-1] - stamps[0])

    init = {
        "num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False, "log_to_driver": False,
        "_temp_dir": str(folder / "ray"), "_node_ip_address": "127.0.0.1", "object_store_memory": 200_000_000,
    }  # fmt: skip
    backend = {"client_resources": {"num_cpus": cpus, "num_gpus": 0.0}, "init_args": init}
    run_simulation(server_app=server_app, client_app=client_app(), num_supernodes=clients, backend_config=backend)
    if len(weights) != 2 or len(answer["seconds"]) != len(intervals):
        raise RuntimeError("Flower's simulation ended without a result")
    return dict(zip(("kernel", "bias"), weights, strict=True)), answer


def end_processes(mark):
    """Ends what a simulation has started and not ended, by the mark in its environment."""
    entry = f"{MARK}={mark}".encode()
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)
