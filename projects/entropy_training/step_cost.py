"""What a training step with soft labels costs beside a plain floating-point step: LeNet-300-100, in turn, one process.

`--publish` puts the medians into the project's `results/`, from where its page takes them.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from common import app, config
from common.models import zoo
from common.runs import provenance
from common.training import augmentation, classifier, step
from kernels import timing
from projects.entropy_training import description_length, relaxation
from projects.entropy_training.config import PretrainConfig, TrainConfig
from projects.entropy_training.page import STEP_COST, page

FLAGS = {"dataset": "digits", "shift": 1}
STEPS = 1000  # of the plain training, which only sets its schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCostConfig:
    """How to measure."""

    levels: int = config.field(33, "centroids a layer", minimum=3)
    batch_size: int = config.field(128, "images a step", minimum=1)
    repeats: int = config.field(30, "timed steps of each kind, after three that are not counted", minimum=5)
    publish: bool = config.field(False, "put the result into the project's results/")


def main(settings: StepCostConfig, run: app.Run) -> dict:
    """Times plain steps, coded ones and coded ones with noise in turn; returns medians in seconds."""
    stamp = page.stamp() if settings.publish else provenance.stamp()
    images = np.random.default_rng(0).integers(0, 255, (settings.batch_size, 28, 28, 1), np.uint8)
    batch = {"images": images, "labels": np.arange(settings.batch_size) % 10}
    steps = {
        "plain": plain_step(),
        "coded": coded_step(settings.levels, has_noise=False),
        "noisy": coded_step(settings.levels, has_noise=True),
    }
    calls = {name: repeated(*start, batch) for name, start in steps.items()}
    timings = timing.in_turn(calls, repeats=settings.repeats, warm_up=3)
    result = {
        "levels": settings.levels, "batch_size": settings.batch_size, "repeats": settings.repeats,
        "median_s": timing.medians(timings), "times_plain": timing.relative(timings, "plain"), "provenance": stamp,
    }  # fmt: skip
    if settings.publish and run.is_main:
        page.write(STEP_COST, result)
    return result


def repeated(advance: Callable, state: step.State, batch: dict) -> Callable[[], tuple]:
    """Returns a call without arguments that makes the next step, and returns parameters and metrics."""
    advance = jax.jit(advance)

    def call():
        nonlocal state
        state, metrics = advance(state, batch)
        return state.parameters, metrics

    return call


def plain_step() -> tuple[Callable, step.State]:
    """Returns step and state of a floating-point training."""
    settings = PretrainConfig(**FLAGS)
    network, optimizer = zoo.untrained(settings), classifier.make_optimizer(settings, STEPS)
    merge, state = step.initial_state(network.module, optimizer, settings.seed)
    return step.make_step(merge, optimizer, augmentation.inputs_of(network.preprocess, settings.shift)), state


def coded_step(levels: int, has_noise: bool) -> tuple[Callable, step.State]:
    """Returns step and state of an entropy-constrained training."""
    settings = TrainConfig(**FLAGS, levels=levels, linear_noise=has_noise)
    network = zoo.untrained(settings)
    coded = relaxation.create_network(settings, network.data, network.params)
    return description_length.prepare(settings, network, coded)[1:]


if __name__ == "__main__":
    app.run(main, StepCostConfig)
