"""Folded statistics keep the function; measured ones are those of the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from common.models import batch_norm, layers
from kernels import entropy_coding

EPSILON = 1e-5


@pytest.fixture(scope="module")
def network():
    """A network with statistics and scales of its own: (apply, tree, images)."""
    module = models.create("small_vgg16", rngs=nnx.Rngs(0), width=1 / 16)
    random = np.random.default_rng(2)

    def stir(path, array):
        return array + 0.1 * random.random(array.shape).astype(np.float32)

    tree = jax.tree_util.tree_map_with_path(stir, models.to_tree(module))
    images = jnp.asarray(random.normal(size=(4, 32, 32, 3)), jnp.float32)
    return jax.jit(models.apply_function(module)), tree, images


@pytest.mark.parametrize("variance", [0.0, 1 - EPSILON])
def test_folding_keeps_the_function_and_frees_two_vectors(network, variance):
    apply, tree, images = network
    folded = batch_norm.fold_statistics(tree, EPSILON, variance, 1e-8)
    np.testing.assert_allclose(apply(folded, images), apply(tree, images), rtol=2e-3, atol=2e-4)
    norms = [node for node in folded.values() if "var" in node]
    assert norms and not any(node["mean"].any() for node in norms)
    assert all((node["var"] == np.float32(variance)).all() for node in norms)
    plain, small = (len(entropy_coding.compress(t, step=0.05, small_step=0.05)) for t in (tree, folded))
    assert small < plain


def test_a_constant_channel_folds_to_its_bias():
    norm = {"scale": [2.0, 2.0], "bias": [0.5, 0.5], "mean": [3.0, 1.0], "var": [0.0, 4.0 - EPSILON]}
    tree = {"norm": {name: np.float32(values) for name, values in norm.items()}}
    folded = batch_norm.fold_statistics(tree, EPSILON, 1 - EPSILON, 1e-8)["norm"]
    np.testing.assert_allclose(folded["scale"], [0.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(folded["bias"], [0.5, -0.5], rtol=1e-5)
    assert not folded["mean"].any() and np.ptp(folded["var"]) == 0


def test_measured_statistics_are_those_of_the_images():
    class Norm(nnx.Module):
        def __init__(self):
            self.norm = layers.BatchNorm(3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(x)

    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
    before = Norm()
    tree = batch_norm.measured_statistics(before, lambda key, x: x / 255.0, images, batch_size=20)["norm"]
    values = images.reshape(3, -1, 3) / 255.0  # by batch; the last images make whole batches
    np.testing.assert_allclose(tree["mean"], values.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(tree["var"], values.var(axis=1).mean(axis=0), rtol=1e-3)
    assert not np.asarray(before.norm.mean[...]).any()  # the network itself is as before
