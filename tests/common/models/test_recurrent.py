"""The LSTM over rows: size, the loop in NumPy, and the plain loop that attribution reads."""

import jax
import numpy as np
from flax import nnx

from common import models
from kernels import plain_operations


def test_number_of_parameters():
    state = jax.eval_shape(lambda: nnx.state(models.create("lstm", rngs=nnx.Rngs(0)), nnx.Param))
    expected = 512 * (32 + 128 + 1) + 512 * (128 + 128 + 1) + 128 * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == expected == 215_306


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def in_numpy(tree, images):
    """Logits of images `[batch, rows, columns, channels]`, in float64, step by step."""
    sequence = images.reshape(*images.shape[:2], -1).astype(np.float64)
    for layer in (tree["lstm1"], tree["lstm2"]):
        state = cell = np.zeros((len(images), len(layer["hidden_kernel"])))
        outputs = []
        for now in sequence.swapaxes(0, 1):
            gates = now @ layer["kernel"] + state @ layer["hidden_kernel"] + layer["bias"]
            i, f, g, o = np.split(gates, 4, -1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(cell)
            outputs.append(state)
        sequence = np.stack(outputs, 1)
    return sequence[:, -1] @ tree["fc"]["kernel"] + tree["fc"]["bias"]


def test_it_is_the_loop_in_numpy_both_ways():
    network = models.create("lstm", rngs=nnx.Rngs(0), width=0.05, input_shape=(6, 5, 2), num_classes=3)
    apply, tree = models.apply_function(network), models.to_tree(network)
    images = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32)
    expected = in_numpy(tree, images)
    np.testing.assert_allclose(apply(tree, images), expected, atol=1e-5)
    with plain_operations.asked():
        np.testing.assert_allclose(apply(tree, images), expected, atol=1e-5)
    gradient = jax.grad(lambda tree: apply(tree, images)[:, 1].sum())(tree)
    with plain_operations.asked():
        plain = jax.grad(lambda tree: apply(tree, images)[:, 1].sum())(tree)
    for mine, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
