"""The attack beside Foolbox (on JAX and on torch) and ART: speed at batch 32 on the MLP, distances at equal queries.

In one run, in turn, from the same starts; `make peers-foolbox` sets the peers up. --publish writes
`results/bench.json`.
"""

import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, files, weight_files
from common.models import zoo
from common.runs import provenance
from common.training import checkpoint
from kernels import peers
from kernels.alpha_stable import words
from kernels.boundary_attack import AttackConfig, attack, device_loop, draw_noise
from projects.levy_attack import published, study, victims

BATCH = 32
STEPS = {
    "ours, alpha = 2": 3000,
    "ours, alpha = 1.5": 3000,
    "Foolbox, JAX": 100,
    "Foolbox, JAX, network not compiled": 100,
    "Foolbox, torch": 500,
    "ART": 150,
}
QUERIES_A_STEP = 1.1  # every tenth step asks twice, here and in Foolbox
OUTSIDE = 1.03  # starts lie so much beyond the boundary, where rounding changes no label


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """How to measure."""

    checkpoints: str = config.field("runs/levy_attack.train", "folder of the victims' run directories")
    repeats: int = config.field(5, "timed runs of each contestant, after one that is not counted", minimum=1)
    speed: bool = config.field(True, "measure speed")
    quality: tuple[str, ...] = config.field(
        ("mlp", "mnist_cnn", "art"),
        "comparisons of distances at equal queries: with Foolbox on two victims, with ART on the MLP",
        choices=("mlp", "mnist_cnn", "art"),
    )
    images: int = config.field(100, "of the comparison of distances with Foolbox", minimum=1)
    art_images: int = config.field(30, "of that with ART, which attacks one image after the other", minimum=1)
    runs: int = config.field(
        3, "of every comparison of distances, with other random numbers", minimum=1, identity=False
    )
    steps: int = config.field(4500, "of Foolbox in the comparison of distances", minimum=1)
    publish: bool = config.field(False, "put the result into the project's results/")


def main(settings: BenchConfig, run: app.Run) -> dict:
    """Measures, and returns what goes to the result file."""
    result: dict = {"batch": BATCH, "repeats": settings.repeats}
    with peers.start("foolbox") as peer:
        result["versions"] = peer.ask("version")
        if settings.speed:
            result["steps_per_s"] = _piece(run, "speed", lambda: speed(settings, peer))
            ours = result["steps_per_s"]["ours, alpha = 2"]
            result["parts_ms"] = _piece(run, "parts", lambda: parts(settings, peer, 1.1 * ours))
            result["times_faster"] = {who: ours / value for who, value in result["steps_per_s"].items()}
        result["quality"] = {}
        for name in settings.quality:
            found = [quality(settings, name, peer, seed, run) for seed in range(settings.runs)]
            result["quality"][name] = summary(found)
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


def _given(
    settings: BenchConfig, name: str, count: int, peer, dataset: str = "mnist"
) -> tuple[victims.Victim, dict, dict]:
    """Returns the victim, images with labels and starts, and the paths that the peer reads."""
    folder = f"{settings.checkpoints}/{name}"
    victim = victims.open_victim(name, folder, dataset)
    data = zoo.load_dataset(dataset)
    chosen = victims.choose_images(victim, count + count // 3 + 2, None)
    x, labels = victim.images[chosen], victim.labels[chosen]
    first = AttackConfig(budget=40, batch_size=len(chosen), delta=1e-6, eps=1e-6)  # a start and its bisection
    starts = attack(victim.predict, x, labels, first, 0, ids=chosen, on_device=True).x_adv
    # Noise never leaves the class that the victim sees in it: its images have no random start.
    found = np.flatnonzero(np.isfinite(starts).reshape(len(starts), -1).all(1))[:count]
    x, labels, starts = x[found], labels[found], starts[found]
    starts = np.clip(x + OUTSIDE * (starts - x), 0, 1).astype(np.float32)
    weights = weight_files.flatten(checkpoint.load_tree(folder))
    np.savez(peer.folder / "network.npz", mean=np.float32(data.mean), std=np.float32(data.std), **weights)
    np.savez(peer.folder / "problem.npz", images=x, labels=labels, starts=starts)
    paths = {name: str(peer.folder / f"{name}.npz") for name in ("network", "problem")}
    return victim, {"x": x, "labels": labels, "starts": starts}, paths | {"output": str(peer.folder / "output.npy")}


def _ours(victim, given, alpha, budget, seed=0, **first_steps):
    settings = AttackConfig(
        alpha=alpha, budget=budget, bisections=0, batch_size=len(given["x"]), chunk=1000, **first_steps
    )
    began = time.perf_counter()
    result = attack(
        victim.predict, given["x"], given["labels"], settings, seed, starts=given["starts"], on_device=True
    )  # fmt: skip
    return result, time.perf_counter() - began


def speed(settings: BenchConfig, peer) -> dict[str, float]:
    """Returns steps of the whole batch a second by contestant, the median of alternating runs."""
    victim, given, paths = _given(settings, "mlp", BATCH, peer)

    def ours(alpha):
        return lambda steps: _ours(victim, given, alpha, round(QUERIES_A_STEP * steps) + 2)[1]

    def foolbox(backend, **options):
        return lambda steps: peer.ask("boundary", **paths, backend=backend, steps=steps, **options)["seconds"]

    def art(steps):
        """ART asks for many labels a step: steps are counted by queries."""
        answer = peer.ask("art", **paths, budget=round(QUERIES_A_STEP * steps))
        return answer["seconds"] * QUERIES_A_STEP * steps * BATCH / answer["queries"]

    calls = (
        ours(2.0), ours(1.5), foolbox("jax"), foolbox("jax", compiled=False), foolbox("torch"), art,
    )  # fmt: skip
    contestants = dict(zip(STEPS, calls, strict=True))
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    for repeat in range(settings.repeats + 1):
        for who, call in contestants.items():
            taken = call(STEPS[who])
            if repeat:
                seconds[who].append(taken)
    return {who: STEPS[who] / statistics.median(times) for who, times in seconds.items()}


def parts(settings: BenchConfig, peer, queries_per_s: float) -> dict[str, float]:
    """Returns milliseconds for a query of the whole batch: the attack, and what it cannot do without, by itself."""
    victim, given, _ = _given(settings, "mlp", BATCH, peer)
    x = jnp.asarray(given["x"])
    size, times, calls_timed = x[0].size, device_loop.AHEAD, 50
    keys = jax.random.split(jax.random.key(0), (times, BATCH))

    def hashes(keys):
        data = jax.random.key_data(keys)[..., None]
        counter = jnp.broadcast_to(jnp.arange(size, dtype=jnp.uint32), (*keys.shape, size))
        first, second = words.threefry((data[..., 0, :], data[..., 1, :]), (jnp.zeros_like(counter), counter))
        return first ^ second

    def noise(keys):
        return draw_noise(keys, 1.5, "coordinatewise", size, jnp.float32, is_heavy=False)[0]

    def network(predict, x):
        return jax.lax.fori_loop(0, times, lambda _, labels: predict(x + labels[0] * 1e-9), jnp.zeros(BATCH, jnp.int32))

    calls = {
        "random bits": (hashes, (keys,)),
        "noise, bits included": (noise, (keys,)),
        "labels of the network": (network, (victim.predict, x)),
    }
    found = {"a query of the attack": 1000 / queries_per_s}
    for name, (function, arguments) in calls.items():
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(*arguments))
        seconds = []
        for _ in range(settings.repeats):
            began = time.perf_counter()
            for _ in range(calls_timed):
                jax.block_until_ready(compiled(*arguments))
            seconds.append(time.perf_counter() - began)
        found[name] = 1000 * statistics.median(seconds) / times / calls_timed
    return found


def quality(settings: BenchConfig, name: str, peer, seed: int, run) -> dict:
    """Returns distances of every image at equal queries from the same starts, by contestant; each is a piece."""
    is_art = name == "art"
    count = settings.art_images if is_art else settings.images
    victim, given, paths = _given(settings, "mlp" if is_art else name, count, peer)
    budget = round(QUERIES_A_STEP * settings.steps)

    def foolbox():
        peer.ask("boundary", **paths, backend="torch", steps=settings.steps, seed=seed)
        return found()

    def art():
        peer.ask("art", **paths, budget=budget, seed=seed)
        return found()

    def found():
        difference = np.load(paths["output"], allow_pickle=False) - given["x"]
        return np.linalg.norm(difference.reshape(count, -1).astype(np.float64), axis=1)

    theirs = "ART" if is_art else "Foolbox, torch"
    contestants = {
        "ours": lambda: _ours(victim, given, 2.0, budget + 2, seed)[0].distance,
        theirs: art if is_art else foolbox,
        "ours, longer first steps": lambda: _ours(victim, given, 2.0, budget + 2, seed, **study.SHORT)[0].distance,
    }
    distances = {
        who: _piece(run, f"quality_{name}_{seed}_{index}", make)
        for index, (who, make) in enumerate(contestants.items())
    }
    return {"victim": victim.title, "beside": theirs, "queries": budget, "distances": distances}


def summary(runs: list[dict]) -> dict:
    """Returns medians over the images of all runs and their ratios (ours over theirs); paired ones over the images."""
    theirs = runs[0]["beside"]
    found = {who: np.array([run["distances"][who] for run in runs]) for who in runs[0]["distances"]}
    medians = {who: float(np.median(values)) for who, values in found.items()}
    ours = [who for who in found if who != theirs]
    # A run of Foolbox shares its noise among the images: runs are averaged before images are compared.
    logs = {who: np.log(values).mean(0) for who, values in found.items()}
    by_run = {who: np.median(values, 1) for who, values in found.items()}
    return {
        "victim": runs[0]["victim"],
        "beside": theirs,
        "images": found[theirs].shape[1],
        "runs": len(runs),
        "queries": runs[0]["queries"],
        "median_l2": medians,
        "median_l2_by_run": by_run,
        "ratio": {who: medians[who] / medians[theirs] for who in ours},
        "paired_ratio": {who: float(np.exp(np.median(logs[who] - logs[theirs]))) for who in ours},
    }


if __name__ == "__main__":
    app.run(main, BenchConfig)
