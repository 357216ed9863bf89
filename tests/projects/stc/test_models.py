"""Sizes, first weights and outputs of the four networks, against plain NumPy; evaluation in chunks; and they learn."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.models import recurrence
from projects.stc import models

MODELS = {
    "vgg11": (models.vgg11(), 865_482, (32, 32, 3)),
    "keyword_cnn": (models.keyword_cnn(), 876_938, (32, 32, 1)),
    "lstm": (models.lstm(), 216_330, (32, 32)),
    "logistic_regression": (models.logistic_regression(), 7_850, (784,)),
}
each = pytest.mark.parametrize("name", MODELS)


@functools.cache
def first(name):
    return jax.jit(MODELS[name][0].init)(jax.random.key(0))


def batch(name, count=4, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, *MODELS[name][2])).astype(np.float32)
    return {"x": x, "y": (np.arange(count) % 10).astype(np.int32)}


@each
def test_parameters(name):
    model, size, _ = MODELS[name]
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == size
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_the_same_arguments_give_the_same_object():
    assert models.vgg11() is models.vgg11() and models.lstm(8) is models.lstm(8) is not models.lstm(9)


def test_first_weights_are_uniform_by_fan_in():
    """Of n uniform draws the largest is below 0.999 of the bound with probability 0.999^n: 4e-8 for 17,000."""
    bounds = {"conv2": math.sqrt(1 / (9 * 32)), "conv8": math.sqrt(1 / (9 * 128))}
    for name, bound in bounds.items():
        kernel = np.asarray(first("vgg11")[name]["kernel"])
        assert 0.999 * bound < np.abs(kernel).max() <= bound
        assert abs(kernel.mean()) < 6 * bound / math.sqrt(3 * kernel.size)
        assert np.abs(first("vgg11")[name]["bias"]).max() <= bound
    layer = first("lstm")["lstm1"]  # of an LSTM the fan-in is the number of hidden units, for all four arrays
    for part in ("input_kernel", "hidden_kernel"):
        assert 0.999 / math.sqrt(128) < np.abs(layer[part]).max() <= 1 / math.sqrt(128)
    assert not np.array_equal(layer["input_bias"], layer["hidden_bias"])


@each
def test_loss_falls_on_a_few_examples(name):
    model = MODELS[name][0]
    examples = batch(name)
    step = jax.jit(jax.value_and_grad(model.loss))
    params, losses = first(name), []
    rate = {"vgg11": 0.2, "lstm": 1.0}.get(name, 0.01)
    for _ in range(8):
        loss, gradient = step(params, examples)
        params = jax.tree.map(lambda value, slope: value - rate * slope, params, gradient)
        losses.append(float(loss))
    assert 2 < losses[0] < 4 and losses[-1] < losses[0] - 0.05, losses


def plain_lstm(params, x):
    """Logits [batch, 10] in float64, example by example, gate by gate."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    sigmoid, logits = lambda z: 1 / (1 + np.exp(-z)), []
    for sequence in np.asarray(x, np.float64):
        for name in ("lstm1", "lstm2"):
            layer, hidden = params[name], len(params[name]["hidden_kernel"])
            state, cell, states = np.zeros(hidden), np.zeros(hidden), []
            for value in sequence:
                gates = value @ layer["input_kernel"] + layer["input_bias"]
                gates = gates + state @ layer["hidden_kernel"] + layer["hidden_bias"]
                i, f, g, o = gates.reshape(4, hidden)
                cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
                state = sigmoid(o) * np.tanh(cell)
                states.append(state)
            sequence = states
        logits.append(state @ params["fc"]["kernel"] + params["fc"]["bias"])
    return np.array(logits)


def test_lstm_is_that_of_the_formulas():
    examples = batch("lstm", 3)
    logits = plain_lstm(first("lstm"), examples["x"])
    log_prob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_prob[np.arange(3), examples["y"]].mean()
    assert float(jax.jit(models.lstm().loss)(first("lstm"), examples)) == pytest.approx(loss, abs=1e-6)


def plain_states(inputs, kernel):
    state = cell = jnp.zeros((inputs.shape[1], kernel.shape[0]))
    states = []
    for value in inputs:
        i, f, g, o = jnp.split(value + state @ kernel, 4, axis=1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        state = jax.nn.sigmoid(o) * jnp.tanh(cell)
        states.append(state)
    return jnp.stack(states)


def test_recurrence_has_the_gradient_of_the_plain_loop():
    """Of all states, with a kernel for all clients and one for each."""
    random = np.random.default_rng(1)
    inputs, weights = random.normal(size=(2, 4, 3, 8)), random.normal(size=(2, 4, 3, 2))
    kernels = random.normal(size=(2, 2, 8))

    def slopes(states, kernels, axis):
        total = lambda inputs, kernel, weights: jnp.sum(weights * states(inputs, kernel))  # noqa: E731
        return jax.vmap(jax.grad(total, (0, 1)), (0, axis, 0))(inputs.astype(np.float32), kernels, weights)

    for axis, kernel in ((0, kernels.astype(np.float32)), (None, kernels[0].astype(np.float32))):
        ours, plain = (
            jax.jit(functools.partial(slopes, states, axis=axis))(kernel)
            for states in (recurrence.states, plain_states)
        )
        for mine, theirs in zip(ours, plain, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-6)


def test_chunks_change_nothing(monkeypatch):
    """Seven examples, three at a time: loss and accuracy."""
    model = MODELS["logistic_regression"][0]
    examples, params = batch("logistic_regression", 7), first("logistic_regression")
    both = lambda params, batch: (model.loss(params, batch), model.accuracy(params, batch))  # noqa: E731
    whole = jax.jit(both)(params, examples)
    monkeypatch.setattr(models, "CHUNK", 3)
    np.testing.assert_allclose(jax.jit(lambda *arguments: both(*arguments))(params, examples), whole, atol=1e-6)
    assert 0 < whole[1] < 1


def test_chunks_bound_memory():
    """Activations of four chunks are those of one: the rest of the difference is the images."""
    model, sizes = MODELS["keyword_cnn"][0], {}
    params = jax.eval_shape(model.init, jax.random.key(0))
    for count in (1, 4):
        images = jax.ShapeDtypeStruct((count * models.CHUNK, 32, 32, 1), jnp.float32)
        examples = {"x": images, "y": jax.ShapeDtypeStruct((count * models.CHUNK,), jnp.int32)}
        program = jax.jit(model.accuracy).lower(params, examples).compile()
        sizes[count] = program.memory_analysis().temp_size_in_bytes
    assert sizes[4] < 1.5 * sizes[1], sizes


def test_vgg11_standardises_bytes_and_decays_weights():
    model, params = MODELS["vgg11"][0], first("vgg11")
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    floats = (images / 255 - np.array(models.CIFAR_MEAN)) / np.array(models.CIFAR_STD)
    y = np.arange(4, dtype=np.int32)
    loss = jax.jit(model.loss)
    of_bytes = float(loss(params, {"x": images, "y": y}))
    assert of_bytes == pytest.approx(float(loss(params, {"x": floats.astype(np.float32), "y": y})), abs=1e-5)
    # All weights zero but the last bias: ten equal logits of 3, and the penalty of ten squares.
    zeros = jax.tree.map(jnp.zeros_like, params)
    zeros["fc3"]["bias"] += 3
    assert float(loss(zeros, {"x": images, "y": y})) == pytest.approx(math.log(10) + 2.5e-5 * 90, abs=1e-6)


def test_augmentation_moves_and_mirrors_images():
    """An image of distinct pixels: every result is a window of it over black, mirrored or not."""
    image = np.arange(1, 1 + 32 * 32, dtype=np.float32).reshape(1, 32, 32, 1)
    examples = {"x": np.broadcast_to(image, (64, 32, 32, 1)), "y": np.arange(64)}
    result = models.vgg11().augment(jax.random.key(0), examples)
    padded = np.pad(image[0], ((4, 4), (4, 4), (0, 0)))
    windows = {padded[i : i + 32, j : j + 32].tobytes(): (i, j, 0) for i in range(9) for j in range(9)}
    windows |= {padded[i : i + 32, j : j + 32][:, ::-1].tobytes(): (i, j, 1) for i in range(9) for j in range(9)}
    places = [windows[np.asarray(moved).tobytes()] for moved in result["x"]]
    assert len(set(places)) > 32 and {place[2] for place in places} == {0, 1}
    assert np.array_equal(result["y"], examples["y"])
    assert models.keyword_cnn().augment is models.lstm().augment is models.logistic_regression().augment is None
