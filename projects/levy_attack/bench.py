"""The attack beside Foolbox (on JAX and on torch) and ART: speed at batch 32 on the MLP, distances at equal queries.

In one run, in turn, from the same starts; `make peers-foolbox` sets the peers up. --publish writes
`results/bench.json`.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, weight_files
from common.models import zoo
from common.study import parts
from common.training import checkpoint
from kernels import boundary_attack, peers, timing
from kernels.alpha_stable import random_bits
from kernels.boundary_attack import AttackConfig, device_loop
from projects.levy_attack import victims
from projects.levy_attack.arms import SHORT
from projects.levy_attack.page import page

BATCH = 32
OUR_STEPS = 3000  # in a timed run
FOOLBOX = {  # steps in a timed run, and options of the peer
    "Foolbox, JAX": (100, {"backend": "jax"}),
    "Foolbox, JAX, network not compiled": (100, {"backend": "jax", "compiled": False}),
    "Foolbox, torch": (500, {"backend": "torch"}),
}
ART_STEPS = 150
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
    stamp = page.stamp() if settings.publish else None
    result: dict = {"batch": BATCH, "repeats": settings.repeats}
    with peers.start("foolbox") as peer:
        result["versions"] = peer.ask("version")
        if settings.speed:
            speeds = parts.part(run, "speed", lambda: speed(settings, peer))
            times = parts.part(run, "parts", lambda: costs(settings, peer, QUERIES_A_STEP * speeds["ours, alpha = 2"]))
            result |= {"steps_per_s": speeds, "parts_ms": times}
            result["times_faster"] = {who: speeds["ours, alpha = 2"] / value for who, value in speeds.items()}
        result["quality"] = {
            name: summary([quality(settings, name, peer, seed, run) for seed in range(settings.runs)])
            for name in settings.quality
        }
    if settings.publish and run.is_main:
        page.write("bench", result | {"provenance": stamp})
    return result


@dataclasses.dataclass(frozen=True)
class Problem:
    """What every contestant works on.

    Attributes:
      victim: that is attacked.
      images, labels, starts: [images, ...]; starts are adversarial.
      peer: that runs.
      files: where it reads the network and the problem, and writes its images.
    """

    victim: victims.Victim
    images: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    peer: peers.Peer
    files: dict[str, str]

    def ours(self, alpha: float, budget: int, seed: int = 0, **first_steps: float) -> boundary_attack.Result:
        """Returns the result of our attack."""
        options = {"bisections": 0, "batch_size": len(self.images), "chunk": 1000, **first_steps}
        settings = AttackConfig(alpha=alpha, budget=budget, **options)
        x, labels, starts = self.images, self.labels, self.starts
        return boundary_attack.attack(self.victim.predict, x, labels, settings, seed, starts=starts, on_device=True)

    def theirs(self, command: str, **options) -> dict:
        """Returns the answer of a peer's attack, and "distances", float64 [images]."""
        answer = self.peer.ask(command, **self.files, **options)
        difference = (self.peer.get("output.npy") - self.images).astype(np.float64)
        return answer | {"distances": np.linalg.norm(difference.reshape(len(difference), -1), axis=1)}


def make_problem(checkpoints: str, name: str, count: int, peer: peers.Peer, dataset: str = "mnist") -> Problem:
    """Returns the first `count` images of a victim for which noise is adversarial."""
    folder = f"{checkpoints}/{name}"
    victim = victims.open_victim(name, folder, dataset)
    data = zoo.load_dataset(dataset)
    indices = victims.choose_images(victim, count + count // 3 + 2, None)
    x, labels = victim.images[indices], victim.labels[indices]
    first = AttackConfig(budget=40, batch_size=len(indices), delta=1e-6, eps=1e-6)  # a start and its bisection
    starts = boundary_attack.attack(victim.predict, x, labels, first, 0, ids=indices, on_device=True).x_adv
    # Noise never leaves the class that the victim sees in it: its images have no random start.
    has_start = np.flatnonzero(np.isfinite(starts).reshape(len(starts), -1).all(1))[:count]
    x, labels, starts = x[has_start], labels[has_start], starts[has_start]
    starts = np.clip(x + OUTSIDE * (starts - x), 0, 1).astype(np.float32)
    network = {"mean": np.float32(data.mean), "std": np.float32(data.std)}
    files = {
        "network": peer.put_many("network", network | weight_files.flatten(checkpoint.load_tree(folder))),
        "problem": peer.put_many("problem", {"images": x, "labels": labels, "starts": starts}),
        "output": str(peer.folder / "output.npy"),
    }
    return Problem(victim, x, labels, starts, peer, files)


def speed(settings: BenchConfig, peer: peers.Peer) -> dict[str, float]:
    """Returns steps of the whole batch a second by contestant, the median of alternating runs."""
    problem = make_problem(settings.checkpoints, "mlp", BATCH, peer)

    def ours(alpha):
        budget = round(QUERIES_A_STEP * OUR_STEPS) + 2
        return timing.seconds_of(lambda: problem.ours(alpha, budget)) / OUR_STEPS

    def foolbox(steps, options):
        return problem.theirs("boundary", steps=steps, **options)["seconds"] / steps

    def art():
        """ART asks for many labels a step: steps are counted by queries."""
        answer = problem.theirs("art", budget=round(QUERIES_A_STEP * ART_STEPS))
        return answer["seconds"] * QUERIES_A_STEP * BATCH / answer["queries"]

    contestants = {f"ours, alpha = {alpha:g}": functools.partial(ours, alpha) for alpha in (2.0, 1.5)}
    contestants |= {who: functools.partial(foolbox, *arguments) for who, arguments in FOOLBOX.items()} | {"ART": art}
    timings = timing.in_turn(contestants, repeats=settings.repeats)
    return {who: 1 / seconds for who, seconds in timing.medians(timings).items()}


def costs(settings: BenchConfig, peer: peers.Peer, queries_per_s: float) -> dict[str, float]:
    """Returns milliseconds for a query of the whole batch: the attack, and what it cannot do without, by itself."""
    problem = make_problem(settings.checkpoints, "mlp", BATCH, peer)
    x, predict = jnp.asarray(problem.images), problem.victim.predict
    size, count = x[0].size, device_loop.AHEAD
    keys = jax.random.split(jax.random.key(0), (count, BATCH))

    def hashes(keys):
        data = jax.random.key_data(keys)[..., None]
        counter = jnp.broadcast_to(jnp.arange(size, dtype=jnp.uint32), (*keys.shape, size))
        first, second = random_bits.threefry((data[..., 0, :], data[..., 1, :]), (jnp.zeros_like(counter), counter))
        return first ^ second

    def noise(keys):
        return boundary_attack.draw_noise(keys, 1.5, "coordinatewise", size, jnp.float32, is_heavy=False)[0]

    def network(predict, x):
        return jax.lax.fori_loop(0, count, lambda _, labels: predict(x + labels[0] * 1e-9), jnp.zeros(BATCH, jnp.int32))

    calls = {
        "random bits": functools.partial(jax.jit(hashes), keys),
        "noise, bits included": functools.partial(jax.jit(noise), keys),
        "labels of the network": functools.partial(jax.jit(network), predict, x),
    }
    seconds = timing.medians(timing.in_turn(calls, repeats=50 * settings.repeats))
    return {"a query of the attack": 1000 / queries_per_s} | {name: 1000 * s / count for name, s in seconds.items()}


def quality(settings: BenchConfig, name: str, peer: peers.Peer, seed: int, run: app.Run) -> dict:
    """Returns distances of every image at equal queries from the same starts, by contestant; each is a part."""
    is_art = name == "art"
    count, victim = (settings.art_images, "mlp") if is_art else (settings.images, name)
    problem = make_problem(settings.checkpoints, victim, count, peer)
    budget = round(QUERIES_A_STEP * settings.steps)
    call = ("art", {"budget": budget}) if is_art else ("boundary", {"backend": "torch", "steps": settings.steps})
    theirs = "ART" if is_art else "Foolbox, torch"
    contestants = {
        "ours": lambda: problem.ours(2.0, budget + 2, seed).distance,
        theirs: lambda: problem.theirs(call[0], seed=seed, **call[1])["distances"],
        "ours, longer first steps": lambda: problem.ours(2.0, budget + 2, seed, **SHORT).distance,
    }
    distances = {
        who: parts.part(run, f"quality_{name}_{seed}_{index}", make)
        for index, (who, make) in enumerate(contestants.items())
    }
    return {"victim": problem.victim.title, "beside": theirs, "queries": budget, "distances": distances}


def summary(runs: Sequence[dict]) -> dict:
    """Returns medians over the images of all runs and their ratios (ours over theirs); paired ones over the images."""
    theirs = runs[0]["beside"]
    distances = {who: np.array([run["distances"][who] for run in runs]) for who in runs[0]["distances"]}
    medians = {who: float(np.median(values)) for who, values in distances.items()}
    # A run of Foolbox shares its noise among the images: runs are averaged before images are compared.
    logs = {who: np.log(values).mean(0) for who, values in distances.items()}
    ours = [who for who in distances if who != theirs]
    return {
        **{name: runs[0][name] for name in ("victim", "beside", "queries")},
        "images": distances[theirs].shape[1],
        "runs": len(runs),
        "median_l2": medians,
        "median_l2_by_run": {who: np.median(values, 1) for who, values in distances.items()},
        "ratio": {who: medians[who] / medians[theirs] for who in ours},
        "paired_ratio": {who: float(np.exp(np.median(logs[who] - logs[theirs]))) for who in ours},
    }


if __name__ == "__main__":
    app.run(main, BenchConfig)
