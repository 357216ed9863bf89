"""The MLP, the two CNNs and ResNet-20: sizes, shapes, and the functions that their descriptions name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from common.models import layers

# Parameters by hand: weights and biases of each layer; two more values a channel where batches are normalised.
CNN = (9 * 32 + 32) + (9 * 32 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64)
CNN += (1024 * 200 + 200) + (200 * 200 + 200) + (200 * 10 + 10)
CIFAR = (27 * 64 + 64) + (576 * 64 + 64) + (576 * 128 + 128) + (1152 * 128 + 128) + 2 * 384
CIFAR += (3200 * 256 + 256) + (256 * 256 + 256) + (256 * 10 + 10)
STAGES = [27 * 16, 6 * 9 * 16 * 16, 9 * 16 * 32 + 5 * 9 * 32 * 32, 9 * 32 * 64 + 5 * 9 * 64 * 64]
RESNET = sum(STAGES) + 2 * (7 * 16 + 6 * 32 + 6 * 64) + 64 * 10 + 10
SIZES = {"mlp": 784 * 128 + 128 + 128 * 10 + 10, "mnist_cnn": CNN, "cifar_cnn": CIFAR, "resnet20": RESNET}


@pytest.mark.parametrize("name", SIZES)
def test_number_of_parameters(name):
    state = jax.eval_shape(lambda: nnx.state(models.create(name, rngs=nnx.Rngs(0)), nnx.Param))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == SIZES[name]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (8, 8, 1)),
        ("mnist_cnn", (16, 18, 1)),
        pytest.param("cifar_cnn", (16, 16, 3), marks=pytest.mark.slow),
        pytest.param("resnet20", (8, 12, 3), marks=pytest.mark.slow),
    ],
)
def test_logits_are_the_same_in_both_layouts(name, shape, monkeypatch):
    network = models.create(name, rngs=nnx.Rngs(0), width=0.25, input_shape=shape, num_classes=7)
    apply, tree = models.apply_function(network), models.to_tree(network)
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    logits = apply(tree, images)
    assert logits.shape == (3, 7) and np.isfinite(logits).all()
    monkeypatch.setattr(layers, "preferred_layout", lambda: "NHWC")  # as on an accelerator: the same weights fit
    np.testing.assert_allclose(apply(tree, images), logits, atol=1e-5)


def convolution(x, kernel, stride=1):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)


def test_a_residual_block_is_its_formula():
    network = models.create("resnet20", rngs=nnx.Rngs(1), width=0.25, input_shape=(8, 8, 3))
    block = network.block3  # halves the pixels, doubles the channels
    block.eval()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 4)), jnp.float32)
    y = jax.nn.relu(convolution(x, block.conv1.kernel[...], 2) / np.sqrt(1 + 1e-5))
    y = convolution(y, block.conv2.kernel[...]) / np.sqrt(1 + 1e-5)
    shortcut = jnp.concatenate([jnp.zeros((2, 4, 4, 2)), x[:, ::2, ::2], jnp.zeros((2, 4, 4, 2))], axis=3)
    np.testing.assert_allclose(block(x, layout="NHWC"), jax.nn.relu(y + shortcut), atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("mnist_cnn", (15, 28, 1)), ("resnet20", (7, 8, 3))])
def test_images_too_small_are_refused(name, shape):
    with pytest.raises(ValueError, match="needs images of"):
        models.create(name, rngs=nnx.Rngs(0), input_shape=shape)
