"""The step: a network learns; forward, before and after do what they say; random numbers come when asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.models import zoo
from common.training import augmentation, optimizers, step


@pytest.fixture(scope="module")
def network():
    return zoo.untrained(zoo.NetworkConfig(model="mlp", dataset="digits"))


@pytest.fixture(scope="module")
def inputs(network):
    return augmentation.inputs_of(network.preprocess)


@pytest.fixture(scope="module")
def batch(network):
    return {"images": network.train.images[:8], "labels": network.train.labels[:8]}


def test_a_network_learns_the_digits(network):
    optimizer = optimizers.make_optimizer("adamw", steps=120, learning_rate=3e-3)
    merge, state = step.initial_state(network.module, optimizer, 0)
    inputs = augmentation.inputs_of(network.preprocess, shift=1)
    advance = jax.jit(step.make_step(merge, optimizer, inputs, label_smoothing=0.1))
    for index in range(120):
        rows = np.arange(64) + 64 * (index % (len(network.train.images) // 64))
        state, metrics = advance(state, {"images": network.train.images[rows], "labels": network.train.labels[rows]})
    assert metrics["cross_entropy"] < 1.2 and int(state.done) == 120
    params = zoo.models.to_tree(merge(state.parameters, state.statistics))
    assert network.accuracy(params, network.test) > 0.85


def test_a_penalty_is_added_and_its_gradient_taken(network, inputs, batch):
    """With plain descent the update is that of the cross entropy, and of the penalty 0.5 |bias|^2 beside it."""
    optimizer = optax.sgd(1.0)
    merge, state = step.initial_state(network.module, optimizer, 0)
    state.parameters["fc2"]["bias"][...] = jnp.arange(10.0)

    def forward(network, images, key, state):
        assert key is None
        penalty = 0.5 * jnp.sum(network.fc2.bias[...] ** 2)
        return network(images), penalty, {"penalty": penalty}

    plain, _ = step.make_step(merge, optimizer, inputs)(state, batch)
    penalised, metrics = step.make_step(merge, optimizer, inputs, forward=forward)(state, batch)
    assert set(metrics) == {"cross_entropy", "train_accuracy", "penalty"} and metrics["penalty"] == 142.5
    difference = plain.parameters["fc2"]["bias"][...] - penalised.parameters["fc2"]["bias"][...]
    np.testing.assert_allclose(difference, jnp.arange(10.0), atol=1e-5)
    np.testing.assert_allclose(plain.parameters["fc1"]["bias"][...], penalised.parameters["fc1"]["bias"][...])


def test_before_and_after_change_the_state_around_the_update(network, inputs, batch):
    optimizer = optax.sgd(0.0)
    merge, state = step.initial_state(network.module, optimizer, 0, extra=jnp.float32(1.0))
    order = []

    def before(state):
        order.append("before")
        return state._replace(extra=state.extra + 1)

    def forward(network, images, key, state):
        order.append("forward")
        return network(images), 0.0, {"multiplier": state.extra}

    def after(state, metrics):
        order.append("after")
        return state._replace(extra=state.extra * 10), metrics | {"done": state.done}

    advance = step.make_step(merge, optimizer, inputs, forward=forward, before=before, after=after)
    state, metrics = advance(state, batch)
    assert order == ["before", "forward", "after"]
    assert metrics["multiplier"] == 2 and metrics["done"] == 1 and state.extra == 20


def test_random_forward_passes_get_a_key_of_their_own(network, inputs, batch):
    optimizer = optax.sgd(0.0)
    merge, state = step.initial_state(network.module, optimizer, 0)

    def forward(network, images, key, state):
        return network(images), 0.0, {"noise": jax.random.normal(key)}

    advance = step.make_step(merge, optimizer, inputs, forward=forward, random=True)
    state, first = advance(state, batch)
    state, second = advance(state, batch)
    assert first["noise"] != second["noise"]
    expected = jax.random.normal(jax.random.split(jax.random.fold_in(jax.random.key(0, impl="rbg"), 0))[1])
    assert first["noise"] == expected
