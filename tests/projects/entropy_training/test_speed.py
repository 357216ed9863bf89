"""A training step with 33 centroids beside a plain floating-point step, in turn, in one process."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from projects.entropy_training import model, pretrain, steps
from projects.entropy_training.config import TrainConfig
from projects.entropy_training.pretrain import PretrainConfig

IMAGES = np.random.default_rng(0).integers(0, 255, (128, 28, 28, 1), np.uint8)
BATCH = {"images": IMAGES, "labels": np.arange(128) % 10}


def plain_step(data):
    settings = PretrainConfig(dataset="digits", shift=1)
    graph, parameters, statistics = nnx.split(pretrain.create_network(settings, data), nnx.Param, ...)
    optimizer = pretrain.make_optimizer(settings, 1000)
    state = pretrain.State(
        parameters, statistics, optimizer.init(parameters), jax.random.key(0, impl="rbg"), jnp.int32(0)
    )
    return jax.jit(pretrain.make_step(settings, graph, optimizer, models.standardise(data.mean, data.std))), state


def coded_step(data, **changes):
    settings = dataclasses.replace(TrainConfig(dataset="digits", shift=1, levels=33), **changes)
    network = pretrain.create_network(settings, data, **model.coded_options("lenet_300_100", 33))
    model.start_from(network, models.to_tree(pretrain.create_network(settings, data)), 2.0)
    plan = steps.make_plan(settings, 55_000)
    graph, state = steps.initial_state(settings, network, plan)
    return jax.jit(steps.make_step(settings, graph, plan, models.standardise(data.mean, data.std))), state


@pytest.mark.slow
def test_a_step_costs_at_most_four_plain_ones():
    data = pretrain.load_dataset("digits")
    contestants = {"plain": plain_step(data), "coded": coded_step(data, linear_noise=False), "noisy": coded_step(data)}
    seconds = {name: [] for name in contestants}
    for _ in range(30):
        for name, (step, state) in contestants.items():
            began = time.perf_counter()
            state, metrics = step(state, BATCH)
            jax.block_until_ready((state.parameters, metrics))
            seconds[name].append(time.perf_counter() - began)
            contestants[name] = (step, state)
    least = {name: min(times[2:]) for name, times in seconds.items()}
    print({name: round(1e3 * value, 2) for name, value in least.items()})
    assert least["coded"] <= 4 * least["plain"]
    assert least["noisy"] <= 5 * least["plain"]  # about 4: twice the products of the layers
