"""Relevance through `lax.scan`, `fori_loop`, `lax.map` and `lax.cond`: as through the same steps written one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from kernels.attribution import attribute, composites, describe, rules, smoothgrad
from tests.kernels.oracles import recurrent as oracle

RANDOM = np.random.default_rng(0)
WIDTH = 5
PARAMS = {
    "wx": RANDOM.normal(size=(3, 4 * WIDTH)), "wh": RANDOM.normal(size=(WIDTH, 4 * WIDTH)),
    "b": RANDOM.normal(size=4 * WIDTH), "out": RANDOM.normal(size=(WIDTH, 4)),
}  # fmt: skip
X = RANDOM.normal(size=(2, 6, 3))
STATE = RANDOM.normal(size=(2, 2, WIDTH))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def cell(params, carry, x):
    h, c = carry
    i, g, f, o = jnp.split(x @ params["wx"] + h @ params["wh"] + params["b"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def started(inputs):
    """The sequence and the state before it, as `[batch, ...]` arrays."""
    return inputs["x"].swapaxes(0, 1), (inputs["h"], inputs["c"])


def unrolled(params, inputs):
    x, carry = started(inputs)
    for now in x:
        carry, _ = cell(params, carry, now)
    return carry[0] @ params["out"]


def scanned(params, inputs):
    x, carry = started(inputs)
    carry, _ = lax.scan(lambda carry, now: cell(params, carry, now), carry, x)
    return carry[0] @ params["out"]


def counted(params, inputs):
    x, carry = started(inputs)
    return lax.fori_loop(0, len(x), lambda t, carry: cell(params, carry, x[t])[0], carry)[0] @ params["out"]


def backwards(params, inputs):
    """The same, from a sequence that is turned round twice; the last of all states is the result."""
    x, carry = started(inputs)
    _, h = lax.scan(lambda carry, now: cell(params, carry, now), carry, x[::-1], reverse=True)
    return h[0] @ params["out"]


def by_example(params, inputs):
    def one(example):
        return scanned(params, jax.tree.map(lambda leaf: leaf[None], example))[0]

    return lax.map(one, inputs)


INPUTS = {"x": X, "h": STATE[0], "c": STATE[1]}


@pytest.mark.parametrize("rule", ["epsilon_plus", "gradient", "lstm", "guided_backprop"])
@pytest.mark.parametrize("loop", [scanned, counted, backwards, by_example])
def test_a_loop_is_its_steps(loop, rule):
    y, expected = attribute(unrolled, PARAMS, INPUTS, target=1, rules=rule)
    got, relevance = attribute(loop, PARAMS, INPUTS, target=1, rules=rule)
    np.testing.assert_allclose(got, y, rtol=1e-12)
    for name in INPUTS:
        np.testing.assert_allclose(relevance[name], expected[name], atol=1e-9 * np.abs(expected["x"]).max())


def test_the_first_layer_of_a_loop_is_what_the_sequence_goes_into():
    """What a state goes into is no first layer: after the first step it comes from the layers before."""
    rule = {row["name"]: row["rule"] for row in describe(scanned, PARAMS, INPUTS)}
    assert rule["wx"].startswith("Flat") and rule["wh"].startswith("Epsilon") and rule["out"].startswith("Epsilon")


@pytest.mark.parametrize("bias_factor", [0.0, 1.0])
def test_an_lstm_as_in_numpy(bias_factor):
    rule = composites.lstm(1e-3, bias_factor)
    y, relevance = jax.jit(lambda p, x: attribute(scanned, p, x, target=[1, 3], rules=rule))(PARAMS, INPUTS)
    for sample, target in enumerate((1, 3)):
        expected = oracle.lstm(PARAMS, X[sample], target, 1e-3, bias_factor, STATE[0, sample], STATE[1, sample])
        got = (y, relevance["x"], relevance["h"], relevance["c"])
        for mine, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(mine[sample], theirs, atol=1e-12)
        if bias_factor:
            whole = sum(float(part[sample].sum()) for part in jax.tree.leaves(relevance))
            assert whole == pytest.approx(float(y[sample, target]), rel=1e-12)


def test_an_lstm_in_float32():
    params, inputs = jax.tree.map(np.float32, (PARAMS, INPUTS))
    _, relevance = attribute(scanned, params, inputs, target=1, rules="lstm")
    _, expected, *_ = oracle.lstm(PARAMS, X[0], 1, 1e-3, 0.0, STATE[0, 0], STATE[1, 0])
    np.testing.assert_allclose(relevance["x"][0], expected, atol=1e-5 * np.abs(expected).max())


def test_gates_take_their_part_where_they_shall():
    whole = {}
    for gate in ("signal", "half", "proportional"):
        _, relevance = attribute(scanned, PARAMS, INPUTS, target=1, rules=composites.lstm(gate=gate))
        whole[gate] = relevance["x"]
    assert np.abs(whole["half"] - whole["signal"]).max() > 1e-3 and np.isfinite(whole["proportional"]).all()
    # A product by hand: 0.25 of 1.5 times, in proportion to 0.5 and 2 before the activations.
    gate, signal = np.array([[0.5]]), np.array([[2.0]])
    y, (a, b) = attribute(
        lambda p, x: jax.nn.sigmoid(x[0]) * jnp.tanh(x[1]), None, (gate, signal),
        rules=composites.Composite((("product", rules.Proportional(0.0)), *composites.layer_map_base())),
    )  # fmt: skip
    np.testing.assert_allclose((a, b), (y * 0.2, y * 0.8), rtol=1e-12)


def test_layers_whose_weights_are_stacked():
    weights = {"w": RANDOM.normal(size=(3, 4, 4)), "b": RANDOM.normal(size=(3, 4))}
    x = RANDOM.normal(size=(2, 4))

    def stacked(p, x):
        return lax.scan(lambda h, layer: (jax.nn.relu(h @ layer["w"] + layer["b"]), None), x, p)[0]

    def one_by_one(p, x):
        for number in range(3):
            x = jax.nn.relu(x @ p["w"][number] + p["b"][number])
        return x

    for rule in (rules.ZPlus(), rules.AlphaBeta(), "deconvnet"):
        _, expected = attribute(one_by_one, weights, x, rules=rule)
        _, relevance, report = attribute(stacked, weights, x, rules=rule, return_report=True)
        np.testing.assert_allclose(relevance, expected, atol=1e-12)
    rest = report.explained - report.arrived - report.bias.sum() - report.epsilon.sum() - report.other.sum()
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    names = [row["name"] for row in describe(stacked, weights, x)]
    assert "w" in names, names


def test_conservation_is_told_of_what_is_inside():
    *_, report = attribute(scanned, PARAMS, INPUTS, target=1, rules="epsilon_plus", return_report=True)
    row = report.kinds.index("recurrent")
    assert abs(report.bias[row]) > 0.01 and abs(report.other[row]) < 1e-9
    np.testing.assert_allclose(report.explained - report.arrived, report.bias.sum() + report.epsilon.sum(), atol=1e-9)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_branch_that_is_taken(which):
    weights = {"a": RANDOM.normal(size=(4, 4)), "b": RANDOM.normal(size=(4, 4)), "which": which}
    branches = [lambda p, x: x @ p["a"], lambda p, x: jax.nn.relu(x @ p["b"]), lambda p, x: jnp.sin(x @ p["a"])]
    x = RANDOM.normal(size=(2, 4))

    def chosen(p, x):
        return x + lax.switch(p["which"], branches, p, x)

    weights["which"] = np.int32(which)
    for rule in ("epsilon_plus", rules.ZPlus(), "gradient"):
        _, expected = attribute(lambda p, x: x + branches[which](p, x), weights, x, rules=rule)
        _, relevance = attribute(chosen, weights, x, rules=rule)
        np.testing.assert_allclose(relevance, expected, atol=1e-12)


def test_values_around_a_loop_that_it_reads():
    """Attention over all states at each step: constants of the loop get relevance of all its steps."""
    memory, weights = RANDOM.normal(size=(2, 5, 3)), RANDOM.normal(size=(3, 3))

    def step(memory, weights, h):
        return h @ weights + memory.mean(1)

    def looped(p, x):
        h, _ = lax.scan(lambda h, _: (step(x, p, h), None), x[:, 0], None, length=3)
        return h

    def written(p, x):
        h = x[:, 0]
        for _ in range(3):
            h = step(x, p, h)
        return h

    _, expected = attribute(written, weights, memory, rules="epsilon_plus")
    _, relevance = attribute(looped, weights, memory, rules="epsilon_plus")
    np.testing.assert_allclose(relevance, expected, atol=1e-12)


def test_a_batch_is_its_samples_and_the_loop_can_be_mapped_and_differentiated():
    _, whole = attribute(scanned, PARAMS, INPUTS, target=1, rules="lstm")
    first = jax.tree.map(lambda leaf: leaf[:1], INPUTS)
    _, alone = attribute(scanned, PARAMS, first, target=1, rules="lstm")
    np.testing.assert_allclose(whole["x"][:1], alone["x"], atol=1e-12)
    _, in_chunks = attribute(scanned, PARAMS, INPUTS, target=1, rules="lstm", batch_size=1)
    np.testing.assert_allclose(whole["x"], in_chunks["x"], atol=1e-12)

    def single(p, x):
        return jax.vmap(lambda x: scanned(p, jax.tree.map(lambda leaf: leaf[None], x))[0])(x)

    _, mapped = attribute(single, PARAMS, INPUTS, target=1, rules="lstm")
    np.testing.assert_allclose(whole["x"], mapped["x"], atol=1e-12)
    loss = jax.grad(lambda p: (attribute(scanned, p, INPUTS, target=1, rules="lstm")[1]["x"] ** 2).sum())(PARAMS)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loss))
    _, smooth = smoothgrad(scanned, PARAMS, INPUTS, jax.random.key(0), target=1, n=2, rules="lstm")
    assert np.isfinite(smooth["x"]).all()


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "SimpleCell"])
def test_cells_of_flax(kind):
    network = linen.RNN(getattr(linen, kind)(WIDTH))
    with jax.enable_x64(False):
        x = X.astype(np.float32)
        variables = network.init(jax.random.key(0), x)

        def fn(variables, x):
            return network.apply(variables, x)[:, -1]

        y, relevance = attribute(fn, variables, x, target=1, rules=composites.lstm(1e-6, 1.0))
        np.testing.assert_allclose(relevance.sum((1, 2)), y[:, 1], rtol=1e-4)
