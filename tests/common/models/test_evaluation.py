"""Accuracy on many images in batches: every image counted once, no recompilation for new weights."""

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from tests.host_devices import xla_flags

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 4, 4, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 23).astype(np.int32)


def linear(tree, images):
    return images.reshape(images.shape[0], -1) @ tree["kernel"]


@pytest.mark.parametrize("batch_size", [1, 10, 23, 100])
@pytest.mark.parametrize("top", [1, 2])
def test_equals_plain_numpy(batch_size, top):
    kernel = RNG.normal(size=(16, 5)).astype(np.float32)
    result = models.evaluate(linear, {"kernel": kernel}, IMAGES, LABELS, batch_size=batch_size, top=top)
    best = np.argsort(-(IMAGES.reshape(23, -1).astype(np.float32) @ kernel), axis=1)[:, :top]
    expected = (best == LABELS[:, None]).any(axis=1)
    np.testing.assert_array_equal(result.correct, expected)
    assert result.accuracy == expected.mean()


def test_new_weights_do_not_compile_again():
    traces = []

    def counted(tree, images):
        traces.append(1)
        return linear(tree, images)

    preprocess = models.standardise((0.5,), (0.25,))
    for seed in range(3):
        kernel = np.random.default_rng(seed).normal(size=(16, 5)).astype(np.float32)
        again = models.standardise(np.array([0.5]), [0.25])  # equal numbers, the same function
        assert again is preprocess
        models.evaluate(counted, {"kernel": kernel}, IMAGES, LABELS, preprocess=again, batch_size=10)
    assert len(traces) == 1


def test_standardise():
    images = RNG.integers(0, 256, (2, 3, 3, 2), dtype=np.uint8)
    actual = models.standardise((0.2, 0.5), (0.3, 0.1))(jnp.asarray(images))
    expected = (images / 255 - np.array([0.2, 0.5])) / np.array([0.3, 0.1])
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_ties_go_to_the_lower_class_and_nothing_but_numbers_is_right():
    constant = {"kernel": np.zeros((16, 5), np.float32)}
    np.testing.assert_array_equal(models.evaluate(linear, constant, IMAGES, LABELS).correct, LABELS == 0)
    broken = {"kernel": np.full((16, 5), np.nan, np.float32)}
    assert models.evaluate(linear, broken, IMAGES, LABELS).accuracy == 0


def test_with_a_network():
    network = models.create("lenet_300_100", rngs=nnx.Rngs(0), width=0.05, input_shape=(4, 4, 1), num_classes=5)
    result = models.evaluate(models.apply_function(network), models.to_tree(network), IMAGES, LABELS, batch_size=7)
    logits = np.asarray(network(jnp.asarray(IMAGES, jnp.float32)))
    np.testing.assert_array_equal(result.correct, logits.argmax(1) == LABELS)


def test_apply_function_refuses_other_weights():
    network = models.create("lenet_300_100", rngs=nnx.Rngs(0), width=0.05, input_shape=(4, 4, 1))
    tree = models.to_tree(network)
    del tree["fc2"]["bias"]
    with pytest.raises(ValueError, match="fc2/bias"):
        models.apply_function(network)(tree, IMAGES)


def test_images_and_labels_must_match():
    with pytest.raises(ValueError, match="23 and shape"):
        models.evaluate(linear, {}, IMAGES, LABELS[:5])
    with pytest.raises(ValueError, match="images"):
        models.evaluate(linear, {}, IMAGES[:0], LABELS[:0])


def test_several_trees_at_once():
    kernels = [np.random.default_rng(seed).normal(size=(16, 5)).astype(np.float32) for seed in range(3)]
    actual = models.evaluate_many(linear, [{"kernel": kernel} for kernel in kernels], IMAGES, LABELS, batch_size=10)
    expected = [models.evaluate(linear, {"kernel": kernel}, IMAGES, LABELS).correct for kernel in kernels]
    np.testing.assert_array_equal(actual, expected)
    with pytest.raises(ValueError, match="0 trees"):
        models.evaluate_many(linear, [], IMAGES, LABELS)


def test_several_trees_over_several_devices():
    code = """
import jax, numpy as np
from common import models
assert len(jax.devices()) == 2
images, labels = np.random.default_rng(0).integers(0, 256, (23, 4, 4, 1), np.uint8), np.arange(23) % 5
trees = [{"kernel": np.random.default_rng(seed).normal(size=(16, 5)).astype(np.float32)} for seed in range(4)]
linear = lambda tree, images: images.reshape(images.shape[0], -1) @ tree["kernel"]
found = models.evaluate_many(linear, trees, images, labels)
np.testing.assert_array_equal(found, [models.evaluate(linear, tree, images, labels).correct for tree in trees])
"""
    environment = os.environ | {"XLA_FLAGS": xla_flags(2), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
