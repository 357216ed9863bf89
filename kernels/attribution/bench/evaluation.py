"""Perturbation analysis beside Python loops over samples, and beside Quantus, on the same networks in the same run.

Images of 28 x 28, regions of 4 x 4, one more at each of 49 steps. Two loops: one compiled forward pass for each sample
and step, as such loops are written, and one for each sample with all its steps in a batch. In both the order and the
perturbed images are made with NumPy beforehand and not timed, which favours the loops. The floor is the compiled
forward pass of all perturbed images in batches: what is above it is the perturbation's own.
Peer: `make peers-quantus`.
"""

import functools

import jax
import numpy as np

from ... import timing
from ..evaluation import pixel_flipping
from . import networks, plans

BATCH, SIDE, REGION = 64, 28, 4
POINTS = (SIDE // REGION) ** 2 + 1

POOLED = [
    plans.conv("conv1", 1, 8, 3, padding=1), plans.RELU, plans.pool("max_pool", 2),
    plans.conv("conv2", 8, 16, 3, padding=1), plans.RELU, plans.pool("max_pool", 2),
    plans.FLATTEN, plans.dense("fc1", 784, 32), plans.RELU, plans.dense("fc2", 32, 10),
]  # fmt: skip
STRIDED = [
    plans.conv("conv1", 1, 16, 4, stride=4), plans.RELU, plans.conv("conv2", 16, 32, 3, stride=2, padding=1),
    plans.RELU, plans.FLATTEN, plans.dense("fc", 512, 10),
]  # fmt: skip
DENSE = [
    plans.FLATTEN, plans.dense("fc1", 784, 512), plans.RELU, plans.dense("fc2", 512, 256), plans.RELU,
    plans.dense("fc3", 256, 10),
]  # fmt: skip
# With points in one pass: on a CPU convolutions and poolings gain little from more than a batch, products do.
NETWORKS = (("784-512-256-10", DENSE, 5), ("strided CNN", STRIDED, 5), ("pooled CNN", POOLED, 1))


def run(bench) -> None:
    """Every comparison."""
    draw = np.random.default_rng(1)
    images = draw.uniform(size=(BATCH, 1, SIDE, SIDE)).astype(np.float32)
    maps = draw.normal(size=images.shape).astype(np.float32)
    target = np.arange(BATCH) % 10
    with bench.peer("quantus") as server:
        for name, plan, at_once in NETWORKS:
            compare(bench, server, name, plan, at_once, images, maps, target)


def compare(bench, server, name: str, plan: list[dict], at_once: int, images, maps, target: np.ndarray):
    """Records a network's row, and how far the contestants' curves are from ours."""
    values = plans.parameters(plan, seed=0)
    fn, params = networks.function(plan), jax.device_put(networks.from_torch(values, np.float32))
    x, relevance = (jax.device_put(networks.channels_last(one)) for one in (images, maps))

    def ours():
        curve = pixel_flipping(
            fn, params, x, relevance, target=target, regions=(REGION, REGION), axes=(1, 2), at_once=at_once
        )
        return curve.scores

    curves = np.asarray(ours())
    forward, steps = jax.jit(fn), perturbed(np.asarray(x), np.asarray(relevance))
    loops = {
        "loop over samples and steps": functools.partial(one_by_one, forward, params, steps, target),
        "loop over samples": functools.partial(sample_by_sample, forward, params, steps, target),
    }
    off = {who: float(np.abs(loop() - curves).max()) for who, loop in loops.items()}
    contestants = {"ours": ours} | loops
    if server is not None:
        parameters = server.put_many("parameters", values)
        built = server.ask("build", plan=plan, parameters=parameters, dtype="float32")["network"]
        question = {
            "name": "RegionPerturbation", "network": built, "x": server.put("x", images), "y": target.tolist(),
            "a": server.put("a", maps), "patch_size": REGION, "perturb_baseline": 0.0, "normalise": False,
            "abs": False, "regions_evaluation": POINTS - 1, "return_aggregate": False,
        }  # fmt: skip
        server.ask("measure", answer=server.folder / "answer.npy", **question)
        off["quantus"] = float(np.abs((curves[:, :1] - curves)[:, 1:] - server.get("answer.npy")).max())
        contestants["quantus"] = lambda: server.ask("seconds", **question)["seconds"]
    bench.record(f"pixel flipping, {name}, difference of curves", **off)
    batch = jax.device_put(np.moveaxis(steps, 1, 0)[:at_once].reshape(-1, *x.shape[1:]))
    floor = timing.of(functools.partial(forward, params, batch)).best * BATCH * POINTS / len(batch)
    bench.compare(
        f"pixel flipping, {name}, batch {BATCH}", contestants, work=BATCH * POINTS, unit="images", floor_s=floor,
        network=f"{name}, {SIDE} x {SIDE}", at_once=at_once,
    )  # fmt: skip


def perturbed(x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Returns every image of every point, `[batch, points, height, width, 1]`, most relevant regions first."""
    across = SIDE // REGION
    means = relevance.reshape(BATCH, across, REGION, across, REGION).mean((2, 4)).reshape(BATCH, -1)
    ranks = np.argsort(np.argsort(-means, axis=-1, kind="stable"), axis=-1).reshape(BATCH, across, across)
    on_places = ranks.repeat(REGION, 1).repeat(REGION, 2)[:, None, :, :, None]
    return np.where(on_places < np.arange(POINTS).reshape(1, -1, 1, 1, 1), np.float32(0), x[:, None])


def one_by_one(forward, params, steps: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the curves, a call for each sample and step."""
    return np.array([
        [np.asarray(forward(params, image[None]))[0, index] for image in images]
        for images, index in zip(steps, target, strict=True)
    ])  # fmt: skip


def sample_by_sample(forward, params, steps: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the curves, a call for each sample."""
    rows = zip(steps, target, strict=True)
    return np.array([np.asarray(forward(params, images))[:, index] for images, index in rows])
