"""Networks as attribution reads them: the same outputs, from XLA's own convolutions and poolings."""

import collections

import jax
import numpy as np
import pytest
from flax import nnx

from common import models
from kernels import plain_operations


def primitives(fn, *arguments) -> collections.Counter:
    """How often each primitive occurs outside of nested calls."""
    # A function of its own each time: JAX would otherwise give back an earlier trace.
    return collections.Counter(e.primitive.name for e in jax.make_jaxpr(lambda *a: fn(*a))(*arguments).eqns)


@pytest.mark.parametrize(
    ("name", "shape", "convolutions", "poolings"),
    [
        ("lenet5", (28, 28, 1), 2, 2),
        pytest.param("resnet20", (16, 16, 3), 19, 0, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", (32, 32, 3), 49, 0, marks=pytest.mark.slow),
    ],
)
def test_outputs_stay_and_operations_change(name, shape, convolutions, poolings):
    network = models.create(name, rngs=nnx.Rngs(0), width=0.5, input_shape=shape)
    apply, tree = models.apply_function(network), models.to_tree(network)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    with plain_operations.asked():
        plain, actual = apply(tree, x), primitives(apply, tree, x)
    np.testing.assert_allclose(plain, apply(tree, x), rtol=0, atol=1e-5 * np.abs(plain).max())
    assert (actual["conv_general_dilated"], actual["reduce_window_max"]) == (convolutions, poolings)
    assert not plain_operations.wanted()


def test_asking_ends_with_the_block():
    with pytest.raises(RuntimeError), plain_operations.asked():
        assert plain_operations.wanted()
        raise RuntimeError
    assert not plain_operations.wanted()
