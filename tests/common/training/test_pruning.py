"""Masks and schedule against values worked out by hand; layers of equal magnitudes keep what the guard says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from common import datasets, models, weight_files
from common.models import zoo
from common.runs import run_directory
from common.training import pruning
from common.training.config import SupervisedConfig


@pytest.mark.parametrize("progress, density", [(0.0, 1.0), (0.2, 1.0), (0.4, 0.1 + 0.9 / 8), (0.6, 0.1), (1.0, 0.1)])
def test_scheduled_density(progress, density):
    assert float(pruning.scheduled_density(progress, 0.2, 0.6, 0.1)) == pytest.approx(density)


def test_the_largest_stay_relative_to_their_layer():
    generator = np.random.default_rng(0)
    kernels = {"large": jnp.array(generator.normal(size=(100, 50))), "small": jnp.array(generator.normal(size=5000))}
    kernels["small"] *= 1e-3
    masks = pruning.magnitude_masks(kernels, 0.1)
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    assert sum(counts.values()) == pytest.approx(1000, abs=2)
    assert min(counts.values()) > 400  # a common threshold on raw magnitudes would leave "small" empty
    for name, mask in masks.items():
        magnitudes = np.abs(kernels[name])
        assert magnitudes[mask == 1].min() >= magnitudes[mask == 0].max()


@pytest.mark.parametrize(("size", "least"), [(3, 1), (999, 1), (4000, 4)])
@pytest.mark.parametrize("value", [1.0, -1e-9, 0.0])
def test_a_layer_of_equal_magnitudes_keeps_one_in_a_thousand(size, least, value):
    wide = jnp.array(np.random.default_rng(0).normal(size=10_000)).at[:100].set(9.0)
    masks = jax.jit(pruning.magnitude_masks)({"wide": wide, "equal": jnp.full(size, value)}, 0.005)
    assert masks["equal"].tolist() == [1.0] * least + [0.0] * (size - least)


def test_all_stay_at_full_density():
    masks = pruning.magnitude_masks({"a": jnp.arange(10.0), "b": jnp.ones((2, 3))}, 1.0)
    assert all(np.all(mask == 1) for mask in masks.values()) and masks["b"].shape == (2, 3)


def test_masks_are_chosen_when_it_is_time():
    schedule = pruning.Schedule(density=0.25, start=0.2, end=0.6, interval=4)
    update = jax.jit(lambda masks, kernels, done: pruning.update_masks(masks, kernels, schedule, done, 20))
    kernels, masks = {"a": jnp.arange(1.0, 17.0)}, {"a": jnp.ones(16)}
    counts = []
    for done in range(20):
        masks = update(masks, kernels, jnp.int32(done))
        counts.append(int(masks["a"].sum()))
    half = round(16 * (0.25 + 0.75 / 8))
    assert counts == [16] * 8 + [half] * 4 + [4] * 8


def test_nonzero_share():
    assert pruning.nonzero_share({"a": np.array([0, 1.0]), "b": np.zeros(2)}) == 0.25
    assert pruning.nonzero_share({}) == 0.0


def test_masks_are_applied_by_layer_name():
    network = models.create("resnet20", rngs=nnx.Rngs(0), width=0.25, input_shape=(8, 8, 1))
    layers = models.weight_layers(network)
    assert list(layers)[:2] == ["block0/conv1", "block0/conv2"] and {"conv", "fc"} <= set(layers) and len(layers) == 20
    before = models.to_tree(network)
    pruning.apply_masks(network, {"block0/conv1": jnp.zeros_like(layers["block0/conv1"].kernel[...])})
    after = models.to_tree(network)
    assert not after["block0"]["conv1"]["kernel"].any()
    np.testing.assert_array_equal(after["fc"]["kernel"], before["fc"]["kernel"])


@pytest.mark.slow
def test_a_training_ends_with_the_density_of_its_schedule(tmp_path):
    """Every weight that is gone is 0 in the tree that comes back, and the last choice stands."""
    settings = SupervisedConfig(model="mlp", dataset="digits", width=0.3, epochs=4, batch_size=16)
    network = zoo.untrained(settings)
    images = datasets.Split(network.train.images[:64], network.train.labels[:64])
    network = dataclasses.replace(network, train=images)
    schedule = pruning.Schedule(0.1, 0.2, 0.6, 2)
    run = run_directory.open_for_test(tmp_path)
    weights = pruning.prune(settings, run, network, network.params, schedule, optax.adam(1e-3))
    kernels = {path: value for path, value in weight_files.flatten(weights).items() if path.endswith("/kernel")}
    assert pruning.nonzero_share(kernels) == pytest.approx(0.1, abs=0.002)
    before = weight_files.flatten(network.params)
    assert all(np.any(value[value != 0] != before[path][value != 0]) for path, value in kernels.items())
