"""The networks' sizes, shapes and names; weights to trees and back, with errors that name the path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from common.models import layers

SIZES = {"lenet_300_100": 266_610, "lenet5": 431_080, "small_vgg16": 15_001_418, "efficientnet_lite0": 4_694_024}


def abstract_tree(name, **options):
    """Paths and shapes without the cost of making the weights."""
    return jax.eval_shape(lambda: nnx.state(models.create(name, rngs=nnx.Rngs(0), **options)))


def small(name, **options):
    return models.create(name, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("name", SIZES)
def test_number_of_values(name):
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract_tree(name))) == SIZES[name]


def test_lenet5_has_430500_weights_and_580_biases():
    sizes = {"kernel": 0, "bias": 0}
    for path, leaf in jax.tree.leaves_with_path(nnx.to_pure_dict(abstract_tree("lenet5"))):
        sizes[path[-1].key] += leaf.size
    assert sizes == {"kernel": 430_500, "bias": 580}


def test_names_and_layouts():
    tree = models.to_tree(small("lenet5", width=0.2))
    assert list(tree) == ["conv1", "conv2", "fc1", "fc2"]
    assert tree["conv1"]["kernel"].shape == (5, 5, 1, 4) and tree["fc1"]["kernel"].shape == (4 * 4 * 10, 100)
    assert list(models.to_tree(small("lenet_300_100", width=0.1))) == ["fc1", "fc2", "fc3"]
    names = list(models.to_tree(small("small_vgg16", width=0.02)))
    assert names[:3] == ["conv1", "conv2", "conv3"] and names[12] == "conv13"  # counted, not sorted as text


def test_width_scales_every_hidden_layer():
    tree = models.to_tree(small("small_vgg16", width=0.125))
    assert tree["conv13"]["kernel"].shape == (3, 3, 64, 64)
    assert tree["fc1"]["kernel"].shape == (64, 64) and tree["fc2"]["kernel"].shape == (64, 10)


@pytest.mark.parametrize(
    "name,options,shape",
    [
        ("lenet_300_100", dict(width=0.1), (28, 28, 1)),
        ("lenet_300_100", dict(width=0.1, input_shape=(8, 8, 1), num_classes=7), (8, 8, 1)),
        ("lenet5", dict(width=0.1, input_shape=(16, 20, 2)), (16, 20, 2)),
    ],
)
def test_logits(name, options, shape):
    network = small(name, **options)
    logits = network(jnp.ones((2, *shape)))
    assert logits.shape == (2, options.get("num_classes", 10)) and np.isfinite(logits).all()


def test_lenet5_is_the_network_of_its_description(monkeypatch):
    network, images = small("lenet5", width=0.1), jnp.asarray(np.random.default_rng(0).normal(size=(2, 28, 28, 1)))
    tree = models.to_tree(network)

    def convolution(x, layer):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["kernel"], (1, 1), "VALID", dimension_numbers=numbers)
        x = jax.lax.reduce_window(x + layer["bias"], -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jax.nn.relu(x)

    x = convolution(convolution(images, tree["conv1"]), tree["conv2"]).reshape(2, -1)
    x = jax.nn.relu(x @ tree["fc1"]["kernel"] + tree["fc1"]["bias"])
    expected = x @ tree["fc2"]["kernel"] + tree["fc2"]["bias"]
    np.testing.assert_allclose(network(images), expected, atol=1e-5)
    monkeypatch.setattr(layers, "preferred_layout", lambda: "NHWC")  # as on an accelerator: the same weights fit
    np.testing.assert_allclose(network(images), expected, atol=1e-5)


def test_small_vgg16_trains_and_evaluates():
    network = small("small_vgg16", width=0.02)
    graph, parameters, statistics = nnx.split(network, nnx.Param, nnx.BatchStat)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 32, 32, 3)), jnp.float32)

    @jax.jit
    def step(parameters, statistics):
        def loss(parameters):
            # A copy: what changes inside the gradient must not be a variable from outside.
            network = nnx.merge(graph, parameters, statistics, copy=True)
            return jnp.sum(network(images) ** 2), nnx.state(network, nnx.BatchStat)

        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
        return value, gradient, statistics

    value, gradient, new_statistics = step(parameters, statistics)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    changed = jax.tree.map(lambda new, old: bool(jnp.any(new != old)), new_statistics, statistics)
    assert all(jax.tree.leaves(changed))

    trained = nnx.merge(graph, parameters, new_statistics, copy=True)
    trained.eval()
    apply = models.apply_function(network)  # in evaluation mode, whatever the mode of the module
    np.testing.assert_allclose(
        jax.jit(apply)(models.to_tree(trained), images), nnx.jit(trained)(images), rtol=1e-5, atol=1e-5
    )
    assert network.norm1.use_running_average is False


def test_tree_round_trip_and_cast():
    source, target = small("lenet_300_100", width=0.1), models.create("lenet_300_100", rngs=nnx.Rngs(1), width=0.1)
    tree = models.to_tree(source)
    assert models.from_tree(target, tree) is target
    for name, layer in models.to_tree(target).items():
        for leaf, value in layer.items():
            assert isinstance(value, np.ndarray)
            np.testing.assert_array_equal(value, tree[name][leaf])
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), tree)
    assert models.from_tree(target, half).fc1.kernel[...].dtype == jnp.float32


def broken(tree, change):
    tree = {name: dict(layer) for name, layer in tree.items()}
    change(tree)
    return tree


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda tree: tree["fc1"].pop("bias"), ["missing fc1/bias"]),
        (lambda tree: tree.update(fc9={"kernel": np.zeros(3)}), ["unexpected fc9/kernel"]),
        (lambda tree: tree["fc2"].update(kernel=np.zeros((3, 4))), ["fc2/kernel", "[3, 4]", "[30, 10]"]),
        (lambda tree: tree["fc2"].update(bias=np.array(["a"] * 10)), ["fc2/bias", "numbers"]),
    ],
)
def test_from_tree_names_the_path_and_changes_nothing(change, words):
    network = small("lenet_300_100", width=0.1)
    before = models.to_tree(network)
    zeros = jax.tree.map(np.zeros_like, before)
    with pytest.raises(ValueError) as caught:
        models.from_tree(network, broken(zeros, change))
    assert all(word in str(caught.value) for word in words), caught.value
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, before, models.to_tree(network))))


def test_negative_running_variance_is_refused():
    network = small("small_vgg16", width=0.02)
    tree = broken(models.to_tree(network), lambda tree: tree["norm3"].update(var=-np.ones_like(tree["norm3"]["var"])))
    with pytest.raises(ValueError, match="norm3/var is a running variance"):
        models.from_tree(network, tree)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: small("lenet"), ["'lenet'", "lenet_300_100"]),
        (lambda: small("lenet5", input_shape=(8, 8, 1)), ["16 x 16", "(8, 8, 1)"]),
        (lambda: small("small_vgg16", input_shape=(28, 28, 1)), ["32 x 32"]),
        (lambda: small("lenet5", width=0), ["width"]),
        (lambda: small("lenet5", num_classes=0), ["num_classes"]),
    ],
)
def test_create_says_what_is_wrong(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
