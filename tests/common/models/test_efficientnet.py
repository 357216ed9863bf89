"""EfficientNet-Lite0: conversion of the published file, the forward pass against XLA's convolutions, real accuracy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import datasets, models
from common.models import efficientnet

SIZE = 32


@pytest.fixture(scope="module")
def network():
    return models.create("efficientnet_lite0", rngs=nnx.Rngs(0), input_shape=(SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def published(network):
    """Random arrays with the names, shapes and layouts of the published file, made independently of the converter."""
    rng, arrays = np.random.default_rng(0), {}

    def convolution(name, outputs, inputs, size):
        deviation = (2 / (inputs * size * size)) ** 0.5
        arrays[name] = rng.normal(size=(outputs, inputs, size, size), scale=deviation).astype(np.float32)

    def norm(name, features):
        for part in ("weight", "bias", "running_mean", "running_var"):
            low, high = (0.5, 1.5) if part in ("weight", "running_var") else (-0.5, 0.5)
            arrays[f"{name}.{part}"] = rng.uniform(low, high, features).astype(np.float32)

    convolution("_conv_stem.weight", 32, 3, 3)
    norm("_bn0", 32)
    channels, index = 32, 0
    rows = [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112), (4, 5, 6, 192), (1, 3, 6, 320)]
    for repeats, size, expansion, features in rows:
        for _ in range(repeats):
            inner, block = channels * expansion, f"_blocks.{index}."
            if expansion > 1:
                convolution(block + "_expand_conv.weight", inner, channels, 1)
                norm(block + "_bn0", inner)
            convolution(block + "_depthwise_conv.weight", inner, 1, size)
            norm(block + "_bn1", inner)
            convolution(block + "_project_conv.weight", features, inner, 1)
            norm(block + "_bn2", features)
            channels, index = features, index + 1
    convolution("_conv_head.weight", 1280, 320, 1)
    norm("_bn1", 1280)
    arrays["_fc.weight"] = rng.normal(size=(1000, 1280), scale=0.02).astype(np.float32)
    arrays["_fc.bias"] = rng.normal(size=1000).astype(np.float32)
    return arrays


def test_conversion_is_exact_in_both_directions(network, published):
    assert len(published) == 247 and sum(array.size for array in published.values()) == 4_694_024
    tree = efficientnet.convert_published(published)
    back = efficientnet.to_published(models.to_tree(models.from_tree(network, tree)))
    assert list(back) == list(published)
    for name, array in published.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    kernel = published["_blocks.3._expand_conv.weight"]
    np.testing.assert_array_equal(tree["block3"]["expand"]["kernel"][0, 0], kernel[:, :, 0, 0].T)


def published_forward(arrays, x):
    """The network straight from the published arrays in their own layouts, with XLA's convolutions."""

    def convolution(name, x, stride=1):
        kernel = arrays[name + ".weight"]
        groups = x.shape[1] // kernel.shape[1]
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", feature_group_count=groups)

    def norm(name, x):
        weight, bias, mean, var = (
            arrays[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / jnp.sqrt(var + 1e-3) * weight + bias

    relu6 = lambda x: jnp.minimum(jnp.maximum(x, 0), 6)  # noqa: E731
    x = relu6(norm("_bn0", convolution("_conv_stem", x.transpose(0, 3, 1, 2), 2)))
    strided = {1, 3, 5, 11}  # the first blocks of stages 2, 3, 4 and 6
    for index in range(16):
        block, y = f"_blocks.{index}.", x
        if index:
            y = relu6(norm(block + "_bn0", convolution(block + "_expand_conv", y)))
        y = relu6(norm(block + "_bn1", convolution(block + "_depthwise_conv", y, 2 if index in strided else 1)))
        y = norm(block + "_bn2", convolution(block + "_project_conv", y))
        x = x + y if x.shape == y.shape else y
    x = relu6(norm("_bn1", convolution("_conv_head", x))).mean((2, 3))
    return x @ arrays["_fc.weight"].T + arrays["_fc.bias"]


def test_forward_equals_the_published_arrays_with_xla(network, published):
    # Odd sides somewhere on the way: TensorFlow's SAME padding differs from PyTorch's there.
    images = np.random.default_rng(1).integers(0, 256, (2, 72, 88, 3), dtype=np.uint8)
    inputs = jax.jit(lambda images: efficientnet.preprocess(images, 70))(images)
    actual = jax.jit(models.apply_function(network))(efficientnet.convert_published(published), inputs)
    expected = jax.jit(published_forward)(published, inputs)
    assert actual.shape == (2, 1000)
    np.testing.assert_allclose(actual, expected, atol=2e-4 * float(jnp.abs(expected).max()))


def test_preprocess_takes_the_centre():
    images = np.zeros((1, 256, 256, 3), np.uint8)
    images[:, 16:240, 16:240] = 255
    inputs = efficientnet.preprocess(jnp.asarray(images))
    assert inputs.shape == (1, 224, 224, 3) and (inputs == 1.0).all()
    assert efficientnet.preprocess(jnp.zeros((1, 224, 224, 3), jnp.uint8)).max() == np.float32(-127 / 128)
    with pytest.raises(ValueError, match="200 x 300"):
        efficientnet.preprocess(jnp.zeros((1, 200, 300, 3)))


def test_conversion_names_what_is_wrong(published):
    with pytest.raises(ValueError, match="1 names are missing.*_fc.bias"):
        efficientnet.convert_published({name: a for name, a in published.items() if name != "_fc.bias"})
    with pytest.raises(ValueError, match="_fc.weight has shape"):
        efficientnet.convert_published(published | {"_fc.weight": np.zeros(3)})
    tree = efficientnet.convert_published(published)
    with pytest.raises(ValueError, match="block2/expand/kernel"):
        efficientnet.to_published(tree | {"block2": {}})
    negative = published | {"_blocks.7._bn1.running_var": -published["_blocks.7._bn1.running_var"]}
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="block7/depthwise_norm/var is a running variance"):
        models.from_tree(network, efficientnet.convert_published(negative))


def test_width_scales_blocks_but_not_stem_and_head():
    def shapes():
        network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0), width=0.5, num_classes=7)
        return nnx.to_pure_dict(nnx.state(network))

    narrow = jax.eval_shape(shapes)
    assert narrow["stem"]["kernel"].shape == (3, 3, 3, 32) and narrow["fc"]["kernel"].shape == (1280, 7)
    assert narrow["block15"]["project"]["kernel"].shape == (1, 1, 576, 160)


@pytest.mark.slow
def test_accuracy_of_the_published_weights(data_dir):
    path = data_dir / "efficientnet_lite0" / "efficientnet_lite0.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    tree = efficientnet.convert_published(np.load(path, allow_pickle=False))
    data = datasets.load("imagenet_samples", indices=range(0, 1000, 10))
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0))
    options = dict(preprocess=efficientnet.preprocess, batch_size=efficientnet.CPU_BATCH)
    apply = models.apply_function(models.from_tree(network, tree))
    result = models.evaluate(apply, tree, data.test_images, data.test_labels, **options)
    assert result.correct.shape == (100,)
    assert result.accuracy >= 0.82, result.accuracy  # 0.83 when it was measured
