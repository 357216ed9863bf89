"""The attack beside Foolbox (on JAX and on torch) and ART: speed at batch 32 on the MLP, distances at equal queries.

In one run, in turn, from the same starts; `make peers-foolbox` sets the peers up. --publish writes
`results/bench.json`.
"""

import dataclasses
import statistics
import time

import numpy as np

from common import app, checkpoint, config, datasets, files, provenance, weight_files
from projects.levy_attack import published, victims
from projects.levy_attack.attack import AttackConfig, attack

BATCH = 32
STEPS = {"ours, alpha = 2": 3000, "ours, alpha = 1.5": 3000, "Foolbox, JAX": 30, "Foolbox, torch": 500, "ART": 150}
QUERIES_A_STEP = 1.1  # every tenth step asks twice, here and in Foolbox
OUTSIDE = 1.03  # starts lie so much beyond the boundary, where rounding changes no label


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """How to measure."""

    checkpoints: str = config.field("runs/levy_attack.train", "folder of the victims' run directories")
    repeats: int = config.field(5, "timed runs of each contestant, after one that is not counted", minimum=1)
    speed: bool = config.field(True, "measure speed")
    quality: tuple[str, ...] = config.field(
        ("mnist_cnn", "mlp"), "victims whose distances are compared at equal queries", choices=("mlp", "mnist_cnn")
    )
    images: int = config.field(50, "of the comparison of distances", minimum=1)
    steps: int = config.field(4500, "of Foolbox in the comparison of distances", minimum=1)
    publish: bool = config.field(False, "put the result into the project's results/")


def main(settings: BenchConfig, run: app.Run) -> dict:
    """Measures, and returns what goes to the result file."""
    from tests.peers import client

    result: dict = {"batch": BATCH, "repeats": settings.repeats}
    with client.open_peer("foolbox") as peer:
        result["versions"] = peer.ask("version")
        if settings.speed:
            result["steps_per_s"] = _piece(run, "speed", lambda: speed(settings, peer))
            ours = result["steps_per_s"]["ours, alpha = 2"]
            result["times_faster"] = {who: ours / value for who, value in result["steps_per_s"].items()}
        result["quality"] = {
            name: _piece(run, f"quality_{name}", lambda name=name: quality(settings, name, peer))
            for name in settings.quality
        }
    result["provenance"] = provenance.stamp()
    if settings.publish:
        kept = files.read_json(published.RESULTS / "bench.json") or {}
        quality_kept = kept.get("quality", {}) | result["quality"]
        files.write_json(published.RESULTS / "bench.json", kept | result | {"quality": quality_kept})
    return result


def _piece(run, name, make):
    path = run.path / "pieces" / f"{name}.json"
    if (kept := files.read_json(path)) is None:
        kept = files.clean(make())
        files.write_json(path, kept)
    return kept


def _given(settings: BenchConfig, name: str, count: int, peer) -> tuple[victims.Victim, dict, dict]:
    """Returns the victim, images with labels and starts, and the paths that the peer reads."""
    folder = f"{settings.checkpoints}/{name}"
    victim = victims.open_victim(name, folder)
    data = datasets.load("mnist")
    chosen = victims.choose_images(victim, count, None)
    x, labels = victim.images[chosen], victim.labels[chosen]
    first = AttackConfig(budget=40, batch_size=count, delta=1e-6, eps=1e-6)  # a start and its bisection
    starts = attack(victim.predict, x, labels, first, 0, ids=chosen, on_device=True).x_adv
    starts = np.clip(x + OUTSIDE * (starts - x), 0, 1).astype(np.float32)
    weights = weight_files.flatten(checkpoint.load_tree(folder))
    np.savez(peer.folder / "network.npz", mean=np.float32(data.mean), std=np.float32(data.std), **weights)
    np.savez(peer.folder / "problem.npz", images=x, labels=labels, starts=starts)
    paths = {name: str(peer.folder / f"{name}.npz") for name in ("network", "problem")}
    return victim, {"x": x, "labels": labels, "starts": starts}, paths | {"output": str(peer.folder / "output.npy")}


def _ours(victim, given, alpha, budget):
    settings = AttackConfig(alpha=alpha, budget=budget, bisections=0, batch_size=len(given["x"]), chunk=1000)
    began = time.perf_counter()
    result = attack(
        victim.predict, given["x"], given["labels"], settings, 0, starts=given["starts"], on_device=True
    )  # fmt: skip
    return result, time.perf_counter() - began


def speed(settings: BenchConfig, peer) -> dict[str, float]:
    """Returns steps of the whole batch a second by contestant, the median of alternating runs."""
    victim, given, paths = _given(settings, "mlp", BATCH, peer)

    def ours(alpha):
        return lambda steps: _ours(victim, given, alpha, round(QUERIES_A_STEP * steps) + 2)[1]

    def foolbox(backend):
        return lambda steps: peer.ask("boundary", **paths, backend=backend, steps=steps)["seconds"]

    def art(steps):
        """ART asks for many labels a step: steps are counted by queries."""
        answer = peer.ask("art", **paths, budget=round(QUERIES_A_STEP * steps))
        return answer["seconds"] * QUERIES_A_STEP * steps * BATCH / answer["queries"]

    contestants = dict(
        zip(STEPS, (ours(2.0), ours(1.5), foolbox("jax"), foolbox("torch"), art), strict=True)
    )  # fmt: skip
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    for repeat in range(settings.repeats + 1):
        for who, call in contestants.items():
            taken = call(STEPS[who])
            if repeat:
                seconds[who].append(taken)
    return {who: STEPS[who] / statistics.median(times) for who, times in seconds.items()}


def quality(settings: BenchConfig, name: str, peer) -> dict:
    """Returns median distances at equal queries from the same starts, and their ratios (ours over theirs)."""
    victim, given, paths = _given(settings, name, settings.images, peer)
    budget = round(QUERIES_A_STEP * settings.steps)
    found = {"ours": _ours(victim, given, 2.0, budget + 2)[0].distance}
    contestants = {"Foolbox, torch": lambda: peer.ask("boundary", **paths, backend="torch", steps=settings.steps)}
    if name == "mlp":
        contestants["ART"] = lambda: peer.ask("art", **paths, budget=budget)
    for who, call in contestants.items():
        call()
        images = np.load(paths["output"], allow_pickle=False)
        difference = (images - given["x"]).reshape(len(images), -1)
        found[who] = np.linalg.norm(difference.astype(np.float64), axis=1)
    medians = {who: float(np.median(values)) for who, values in found.items()}
    return {
        "images": settings.images,
        "queries": budget,
        "median_l2": medians,
        "ratio": {who: medians["ours"] / value for who, value in medians.items() if who != "ours"},
        "paired_ratio": {
            who: float(np.median(found["ours"] / values)) for who, values in found.items() if who != "ours"
        },
    }


if __name__ == "__main__":
    app.run(main, BenchConfig)
