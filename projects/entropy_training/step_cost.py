"""What a training step with soft labels costs beside a plain floating-point step: LeNet-300-100, in turn, one process.

`--publish` puts the medians into the project's `results/`, from where its page takes them.
"""

import dataclasses
import statistics
import time

import jax
import numpy as np

from common import app, config, files, models
from common.runs import provenance
from common.training import augmentation, classifier, step
from projects.entropy_training import model, pretrain, published, steps
from projects.entropy_training.config import TrainConfig
from projects.entropy_training.pretrain import PretrainConfig

STEPS_OF_A_PLAN = 55_000  # images an epoch, which only sets the schedules


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCostConfig:
    """How to measure."""

    levels: int = config.field(33, "centroids a layer", minimum=3)
    batch_size: int = config.field(128, "images a step", minimum=1)
    repeats: int = config.field(30, "timed steps of each kind, after three that are not counted", minimum=5)
    publish: bool = config.field(False, "put the result into the project's results/")


def main(settings: StepCostConfig, run: app.Run) -> dict:
    """Times plain steps, coded ones and coded ones with noise in turn; returns medians in seconds."""
    data = pretrain.load_dataset("digits")
    contestants = {
        "plain": plain_step(data), "coded": coded_step(data, settings.levels, False),
        "noisy": coded_step(data, settings.levels, True),
    }  # fmt: skip
    images = np.random.default_rng(0).integers(0, 255, (settings.batch_size, 28, 28, 1), np.uint8)
    batch = {"images": images, "labels": np.arange(settings.batch_size) % 10}
    seconds = {name: [] for name in contestants}
    for repeat in range(settings.repeats + 3):
        for name, (advance, state) in contestants.items():
            began = time.perf_counter()
            state, metrics = advance(state, batch)
            jax.block_until_ready((state.parameters, metrics))
            if repeat >= 3:
                seconds[name].append(time.perf_counter() - began)
            contestants[name] = (advance, state)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "levels": settings.levels, "batch_size": settings.batch_size, "repeats": settings.repeats, "median_s": median,
        "times_plain": {name: value / median["plain"] for name, value in median.items()},
        "provenance": provenance.stamp(),
    }  # fmt: skip
    if settings.publish:
        files.write_json(published.RESULTS / f"{published.STEP_COST}.json", result)
    return result


def plain_step(data):
    """Returns (step, state) of a floating-point training."""
    settings = PretrainConfig(dataset="digits", shift=1)
    optimizer = classifier.make_optimizer(settings, 1000)
    merge, state = step.initial_state(pretrain.create_network(settings, data), optimizer, 0)
    inputs = augmentation.inputs_of(models.standardise(data.mean, data.std), settings.shift)
    return jax.jit(step.make_step(merge, optimizer, inputs)), state


def coded_step(data, levels: int, noisy: bool):
    """Returns (step, state) of an entropy-constrained training."""
    settings = TrainConfig(dataset="digits", shift=1, levels=levels, linear_noise=noisy)
    network = pretrain.create_network(settings, data, **model.coded_options("lenet_300_100", levels))
    model.start_from(network, models.to_tree(pretrain.create_network(settings, data)), 2.0)
    plan = steps.make_plan(settings, STEPS_OF_A_PLAN)
    graph, state = steps.initial_state(settings, network, plan)
    return jax.jit(steps.make_step(settings, graph, plan, models.standardise(data.mean, data.std))), state


if __name__ == "__main__":
    app.run(main, StepCostConfig)
