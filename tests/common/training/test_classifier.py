"""A plain training: the schedule by hand, a network that learns, what decays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import datasets, models
from common.training import classifier


def test_the_rate_rises_and_falls():
    optimizer = classifier.make_optimizer("sgd", steps=10, learning_rate=0.5, warmup=0.2)
    parameters = {"kernel": jnp.zeros(1)}
    state, moved = optimizer.init(parameters), []
    for _ in range(10):
        updates, state = optimizer.update({"kernel": jnp.ones(1)}, state, parameters)
        moved.append(-float(updates["kernel"][0]))
    momentum = [sum(0.9**age for age in range(step + 1)) for step in range(10)]
    rates = [0.5 * min(step / 2, (10 - step) / 8) for step in range(10)]
    np.testing.assert_allclose(moved, [r * (1 + 0.9 * m) for r, m in zip(rates, momentum, strict=True)], rtol=1e-5)


@pytest.mark.parametrize("name", classifier.OPTIMIZERS)
def test_kernels_decay_and_biases_do_not(name):
    optimizer = classifier.make_optimizer(name, steps=10, learning_rate=0.5, weight_decay=0.1, warmup=0.0)
    parameters = {"fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    zero = jax.tree.map(jnp.zeros_like, parameters)
    state = optimizer.init(parameters)
    for _ in range(2):
        updates, state = optimizer.update(zero, state, parameters)
    assert np.all(updates["fc"]["kernel"] < 0) and np.all(updates["fc"]["bias"] == 0)


def test_unknown_optimizers_are_refused():
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        classifier.make_optimizer("lion", steps=1, learning_rate=1.0)


def test_a_network_learns_the_digits():
    data = datasets.load("digits", size=28)
    network = models.create("mlp", rngs=nnx.Rngs(0))
    optimizer = classifier.make_optimizer("adamw", steps=120, learning_rate=3e-3)
    graph, state = classifier.initial_state(network, optimizer, 0)
    preprocess = models.standardise(data.mean, data.std)
    step = jax.jit(classifier.make_step(graph, optimizer, preprocess, shift=1, label_smoothing=0.1))
    for index in range(120):
        rows = np.arange(64) + 64 * (index % (len(data.train_images) // 64))
        state, metrics = step(state, {"images": data.train_images[rows], "labels": data.train_labels[rows]})
    assert metrics["cross_entropy"] < 1.2 and int(state.done) == 120
    weights = classifier.weights(graph, state)
    apply = models.apply_function(network)
    found = models.evaluate(apply, weights, data.test_images, data.test_labels, preprocess=preprocess)
    assert found.accuracy > 0.85
