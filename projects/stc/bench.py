"""The simulator beside FedJAX and Flower: federated averaging of logistic regression, in one run, in turn.

`make peers-federated` sets the peers up. Also: rounds a second with compression, and the memory of many clients.
--publish writes `results/bench.json`.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, datasets, files
from common.datasets import dataset
from common.federated import clients, methods, simulate, splits
from common.publishing import Page
from common.study import parts
from kernels import peers, timing

INTERVAL = 0.005  # seconds between two looks of Flower's server for replies; its own choice is 0.1
PEERS = {  # the command, and its options
    "FedJAX, jit": ("fedjax", {"backend": "jit"}),
    "FedJAX, pmap": ("fedjax", {"backend": "pmap"}),
    "Flower": ("flower", {"intervals": [None, INTERVAL]}),
}
OFTEN = "Flower, server polls often"
MEMORY = {  # clients, samples of each (the same number in all), and how many are handled at once
    "100 clients of 600, 50 at a time": (100, 600, 50),
    "1,000 clients of 60, 50 at a time": (1000, 60, 50),
    "1,000 clients of 60, all at once": (1000, 60, 1000),
}
MEMORY_METHODS = {"FedSGD": methods.fed_sgd(), "STC 1/100": methods.stc(1 / 100)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """How to measure."""

    dataset: str = config.field("mnist", "images of the clients", choices=("mnist", "digits"))
    clients: int = config.field(10, "that all take part", minimum=1)
    samples: int = config.field(600, "of each", minimum=1)
    batch_size: int = config.field(20, "of a local step; a round is one epoch", minimum=1)
    learning_rate: float = config.field(0.04, "of a local step", exclusive_minimum=0)
    rounds: int = config.field(20, "of a timed run", minimum=1)
    repeats: int = config.field(5, "timed runs of each contestant", minimum=1)
    measure: tuple[str, ...] = config.field(
        ("peers", "rate", "memory"), "what to measure", choices=("peers", "rate", "memory")
    )
    publish: bool = config.field(False, "put the result into the project's results/")


def init(key: jax.Array, features: int = 784) -> dict[str, jax.Array]:
    """Returns weights of zeros: 7,850 for images of 28 x 28.

    A class is a row of the kernel, for FedJAX too: its gradient then takes half the time on a CPU.
    """
    return {"bias": jnp.zeros(10), "kernel": jnp.zeros((10, features))}


def loss(params: dict, batch: dict) -> jax.Array:
    """Returns the mean cross-entropy of a batch."""
    log_prob = jax.nn.log_softmax(batch["x"] @ params["kernel"].T + params["bias"])
    return -jnp.mean(jnp.take_along_axis(log_prob, batch["y"][:, None], axis=1))


def accuracy(params: dict, batch: dict) -> jax.Array:
    """Returns the share of a batch that is classified rightly."""
    return jnp.mean(jnp.argmax(batch["x"] @ params["kernel"].T + params["bias"], axis=1) == batch["y"])


def model(features: int) -> simulate.Model:
    """Returns logistic regression; made once for a run, whose programs are compiled for its functions."""
    return simulate.Model(lambda key: init(key, features), loss, accuracy)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What every contestant works on.

    Attributes:
      x, y, sizes: float32 [clients, samples, features], int32 [clients, samples], int32 [clients]: how many count.
      batch_size, steps, learning_rate: of a client in a round.
      shuffles: whether peers put the samples of an epoch into a random order.
      test: a batch, float32 [n, features] and int32 [n]; None where nobody asks for accuracy.
    """

    x: np.ndarray
    y: np.ndarray
    sizes: np.ndarray
    batch_size: int
    steps: int
    learning_rate: float
    shuffles: bool = True
    test: dict[str, np.ndarray] | None = None

    @property
    def population(self) -> clients.Clients:
        """The clients of our simulator."""
        return clients.from_parts(
            [{"x": x[:size], "y": y[:size]} for x, y, size in zip(self.x, self.y, self.sizes, strict=True)]
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what a peer reads."""
        start = {name: np.asarray(value) for name, value in init(jax.random.key(0), self.x.shape[-1]).items()}
        return {"x": self.x, "y": self.y, "sizes": self.sizes, "bias": start["bias"], "kernel": start["kernel"].T}

    def theirs(self, peer: peers.Peer, command: str, rounds: int, **options: Any) -> tuple[dict, dict[str, np.ndarray]]:
        """Returns a peer's answer, and its weights by name."""
        path = peer.folder / "problem.npz"
        if not path.exists():
            peer.put_many("problem", self.arrays())
        settings = {name: getattr(self, name) for name in ("batch_size", "steps", "learning_rate", "shuffles")}
        answer = peer.ask(
            command, problem=path, output=peer.folder / "output.npz", rounds=rounds, **settings, **options
        )
        weights = peer.get("output.npz")
        return answer, weights | {"kernel": weights["kernel"].T}

    def ours(self, network: simulate.Model, population: clients.Clients, rounds: int, seed: int = 0) -> simulate.Result:
        """Returns the result of our simulator."""
        settings = simulate.Settings(batch_size=self.batch_size, learning_rate=self.learning_rate, every=rounds)
        method = methods.fed_avg(self.steps)
        return simulate.simulate(network, population, method, rounds, jax.random.key(seed), settings)


def make_problem(settings: BenchConfig) -> Problem:
    """Returns clients of equal sizes with all classes: training images in random order."""
    data = datasets.load(settings.dataset)
    order = np.random.default_rng(0).permutation(len(data.train_images))
    count = settings.clients * settings.samples
    if count > len(order):
        raise ValueError(
            f"clients={settings.clients} of samples={settings.samples}: expected at most {len(order)} in all"
        )
    flat = [
        dataset.standardise(images, data).reshape(len(images), -1)
        for images in (data.train_images[order[:count]], data.test_images)
    ]
    shape = settings.clients, settings.samples
    return Problem(
        flat[0].reshape(*shape, -1),
        data.train_labels[order[:count]].astype(np.int32).reshape(shape),
        np.full(settings.clients, settings.samples, np.int32),
        settings.batch_size,
        settings.samples // settings.batch_size,
        settings.learning_rate,
        test={"x": flat[1], "y": data.test_labels.astype(np.int32)},
    )


def main(settings: BenchConfig, run: app.Run) -> dict:
    """Measures, and returns what goes to the result file."""
    stamp = page().stamp() if settings.publish else None
    measures = {"peers": beside_peers, "rate": rates, "memory": memory}
    result: dict = {}
    for name in settings.measure:
        result[name] = parts.part(run, name, lambda name=name: measures[name](settings))
        run.log(f"{name}: {json.dumps(files.clean(result[name]))}")
    if settings.publish and run.is_main:
        page().write("bench", result | {"provenance": stamp})
    return result


def page() -> Page:
    """The place of the result."""
    return Page(pathlib.Path(__file__).parent, "arXiv:1903.02891", {})


def beside_peers(settings: BenchConfig) -> dict:
    """Returns seconds a round by contestant, medians of alternating runs, their starts, and accuracies reached."""
    load = os.getloadavg()[0]  # of others, in the minute before
    problem = make_problem(settings)
    network, population = model(problem.x.shape[-1]), problem.population
    rounds, weights, starts, polled = settings.rounds, {}, {}, []

    def ours() -> float:
        began = time.perf_counter()
        result = problem.ours(network, population, rounds, seed=len(polled))
        weights["ours"] = jax.device_get(result.params)
        return (time.perf_counter() - began) / rounds

    def theirs(who: str) -> float:
        command, options = PEERS[who]
        answer, weights[who] = problem.theirs(running[who], command, rounds, **options)
        starts.setdefault(who, answer["start_s"])
        if command == "flower":
            polled.append(answer["seconds"][1] / rounds)
            return answer["seconds"][0] / rounds
        return answer["seconds"] / rounds

    with contextlib.ExitStack() as stack:
        running = {who: stack.enter_context(peers.start("federated")) for who in PEERS}
        versions = running["Flower"].ask("version") | {"our jax": jax.__version__}
        starts["ours"] = rounds * ours()  # compiles; a run is a small part of it
        contestants = {"ours": ours} | {who: (lambda who=who: theirs(who)) for who in PEERS}
        timings = timing.in_turn(contestants, repeats=settings.repeats, warm_up=0)
    timings[OFTEN] = timing.Timing(tuple(polled))
    medians = timing.medians(timings)
    batch = {name: jnp.asarray(value) for name, value in problem.test.items()}
    return {
        "dataset": settings.dataset,
        "clients": settings.clients,
        "samples": settings.samples,
        "features": problem.x.shape[-1],
        "batch_size": problem.batch_size,
        "steps": problem.steps,
        "learning_rate": problem.learning_rate,
        "rounds": rounds,
        "repeats": settings.repeats,
        "load": load,
        "versions": versions,
        "seconds_a_round": medians,
        "spread": {who: one.spread for who, one in timings.items()},
        "start_s": starts,
        "times_faster": {who: seconds / medians["ours"] for who, seconds in medians.items()},
        "accuracy": {who: float(accuracy(one, batch)) for who, one in weights.items()},
    }


def rates(settings: BenchConfig) -> dict:
    """Returns rounds a second of 10 of 100 clients of all training images, by method, medians of alternating runs."""
    data = datasets.load(settings.dataset)
    x = dataset.standardise(data.train_images, data).reshape(len(data.train_images), -1)
    labels = data.train_labels.astype(np.int32)
    population = clients.from_split({"x": x, "y": labels}, splits.split_by_class(labels, 100, 2, seed=0))
    network, rounds = model(x.shape[-1]), 25 * settings.rounds
    trains = simulate.Settings(
        per_round=10, batch_size=settings.batch_size, learning_rate=settings.learning_rate, every=min(rounds, 100)
    )

    def seconds(method) -> float:
        began = time.perf_counter()
        simulate.simulate(network, population, method, rounds, jax.random.key(0), trains)
        return (time.perf_counter() - began) / rounds

    contestants = {name: (lambda method=method: seconds(method)) for name, method in MEMORY_METHODS.items()}
    timings = timing.in_turn(contestants, repeats=settings.repeats)
    return {
        "clients": 100,
        "per_round": 10,
        "batch_size": trains.batch_size,
        "rounds": rounds,
        "rounds_per_s": {who: 1 / value for who, value in timing.medians(timings).items()},
        "spread": {who: one.spread for who, one in timings.items()},
    }


def memory(settings: BenchConfig) -> dict:
    """Returns mebibytes that a process of its own has needed at most, by clients and method, and what they hold."""
    rows = {}
    for who, (count, samples, chunk) in MEMORY.items():
        for method in MEMORY_METHODS:
            command = [sys.executable, "-m", "projects.stc.peak_memory", str(count), str(samples), method, str(chunk)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=peers.ROOT).stdout
            rows[f"{who}, {method}"] = json.loads(answer.splitlines()[-1])
    return {"features": 784, "rows": rows}


if __name__ == "__main__":
    app.run(main, BenchConfig)
