"""What the primitives of ordinary networks are taken for, and what passes through them."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from kernels.attribution import attribute, composites, describe, rules
from kernels.attribution.maxima import is_plain_pooling, pooling_gradient
from kernels.attribution.tracing.jaxpr import trace
from tests.kernels.oracles import attribution as oracle


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


X = np.random.default_rng(0).normal(size=(3, 6))
ACTIVATIONS = {
    "relu": jax.nn.relu, "relu6": jax.nn.relu6, "gelu": jax.nn.gelu, "silu": jax.nn.silu, "elu": jax.nn.elu,
    "gelu exact": lambda x: jax.nn.gelu(x, approximate=False), "celu": jax.nn.celu, "selu": jax.nn.selu,
    "leaky": jax.nn.leaky_relu, "softplus": jax.nn.softplus, "mish": jax.nn.mish, "hard_swish": jax.nn.hard_swish,
    "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "clip": lambda x: jnp.clip(x, 0, 6), "log_sigmoid": jax.nn.log_sigmoid,
    "by hand": lambda x: x * (1 / (1 + jnp.exp(-x))), "where": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "maximum": lambda x: jnp.maximum(x, 0.2 * x), "square": lambda x: x * x, "checkpoint": jax.checkpoint(jnp.sin),
    "jitted": jax.jit(lambda x: jnp.tanh(x) * x), "prelu": lambda x: jnp.where(x >= 0, x, np.full(6, 0.3) * x),
}  # fmt: skip


def test_an_activation_is_one_whatever_it_is_made_of():
    start = np.random.default_rng(1).normal(size=X.shape)
    for name, function in ACTIVATIONS.items():
        y, relevance = attribute(lambda p, x: function(x), None, X, target=start, rules="epsilon_plus")  # noqa: B023
        np.testing.assert_allclose(y, function(X), atol=1e-14)
        np.testing.assert_allclose(relevance, start, atol=1e-12, err_msg=name)


def test_only_a_relu_is_a_relu():
    for function, kind in (
        (jax.nn.relu, "relu"), (lambda x: jnp.maximum(x, 0), "relu"), (jax.nn.relu6, "activation"),
        (lambda x: jnp.clip(x, 0, 6), "activation"), (lambda x: jnp.minimum(jnp.maximum(x, 0), 6), "activation"),
        (jax.nn.elu, "activation"),
    ):  # fmt: skip
        rows = describe(lambda p, x: function(x), None, X)  # noqa: B023
        assert rows[0]["kinds"][0] == kind and all("relu" not in row["kinds"] for row in rows[1:])
    start = np.random.default_rng(1).normal(size=X.shape)
    for rule, expected in (
        (composites.deconvnet(), np.maximum(start, 0)),
        (composites.guided_backprop(), start * (X > 0) * (start > 0)),
        (composites.beta_smooth(3.0), start / (1 + np.exp(-3 * X))),
        (composites.excitation_backprop(), start * (X > 0)),
    ):
        _, relevance = attribute(lambda p, x: jax.nn.relu(x), None, X, target=start, rules=rule)
        np.testing.assert_allclose(relevance, expected, atol=1e-15)


def test_layout_moves_relevance_exactly():
    start = np.random.default_rng(1).normal(size=(3, 40))

    def fn(p, x):
        x = jnp.concatenate([x, x[:, ::-1]], 1).reshape(3, 3, 4)
        x = jnp.pad(x, ((0, 0), (1, 1), (0, 1)))[:, :, :4].transpose(0, 2, 1)
        left, right = jnp.split(x, 2, axis=2) if x.shape[2] % 2 == 0 else (x[..., :2], x[..., 2:])
        x = jnp.concatenate([right, left], 2)[:, jnp.array([3, 0, 1, 2, 2, 1, 0, 3])]
        return jnp.where(jnp.arange(40) % 3 > 0, x.reshape(3, 40), 0.0)

    _, relevance = attribute(fn, None, X, target=start, rules="epsilon_plus")
    expected = jax.vjp(lambda x: fn(None, x), jnp.asarray(X))[1](jnp.asarray(start))[0]
    np.testing.assert_allclose(relevance, expected, atol=1e-14)


def test_sums_share_by_contribution():
    weights = np.random.default_rng(2).normal(size=(6, 6))
    start = np.random.default_rng(1).normal(size=X.shape)
    for fn, a in (
        (lambda p, x: x + x @ p, None),
        (lambda p, x: jnp.cumsum(x, 1), np.tril(np.ones((6, 6)))),
        (lambda p, x: x[:, :3] - x[:, 3:], np.hstack([np.eye(3), -np.eye(3)])),
        (lambda p, x: jnp.sum(x, 1, keepdims=True), np.ones((1, 6))),
        (
            lambda p, x: jax.image.resize(x, (3, 12), "linear"),
            np.asarray(jax.image.resize(np.eye(6), (12, 6), "linear")),
        ),
    ):
        if a is None:
            continue
        r = start[:, : a.shape[0]] if a.shape[0] <= 6 else np.tile(start, 2)
        _, relevance = attribute(fn, weights, X, target=r, rules="epsilon_plus")
        np.testing.assert_allclose(relevance, oracle.norm(a, X, r), atol=1e-10)
    _, relevance = attribute(lambda p, x: x + x @ p, weights, X, target=start, rules=rules.Epsilon())
    h = X @ weights
    s = start / oracle.stabilize(X + h)
    np.testing.assert_allclose(relevance, X * s + oracle.epsilon(weights.T, 0.0, X, h * s), atol=1e-9)


def test_a_gate_gets_nothing_and_the_signal_all():
    start = np.random.default_rng(1).normal(size=(3, 4, 6))
    x = {"signal": np.random.default_rng(2).normal(size=(3, 4, 6)), "gate": X}
    gated = attribute(lambda p, x: x["signal"] * jax.nn.sigmoid(x["gate"])[:, None], None, x, target=start)[1]
    np.testing.assert_allclose(gated["signal"], start, atol=1e-15)
    assert not np.any(gated["gate"])
    halves = attribute(lambda p, x: x["signal"] * x["gate"][:, None], None, x, target=start)[1]
    np.testing.assert_allclose(halves["signal"], start / 2, atol=1e-15)
    np.testing.assert_allclose(halves["gate"], start.sum(1) / 2, atol=1e-14)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        pytest.param("bhwc,cd->bhwd", (2, 3, 2, 4), marks=pytest.mark.slow),
        ("bhwc,hwcd->bd", (2, 3, 2, 4)),
        ("bhc,hcd->bhd", (2, 3, 4)),
        pytest.param("btc,dc->bdt", (2, 3, 4), marks=pytest.mark.slow),
    ],
)
def test_products_of_any_dimension_numbers(text, shape):
    draw = np.random.default_rng(3)
    x = draw.normal(size=shape)
    sides = {"h": 3, "w": 2, "c": 4, "d": 5}
    weight = draw.normal(size=[sides[letter] for letter in text.split(",")[1].split("->")[0]])

    def fn(p, x):
        return jnp.einsum(text, x, p)

    basis = np.eye(x[0].size).reshape(-1, *shape[1:])
    matrix = np.einsum(text, basis, weight).reshape(len(basis), -1).T  # what the product does to each unit input
    y, found = attribute(fn, weight, x, target=None, rules=[rules.ZPlus(), rules.WSquare(), rules.Epsilon()])
    r, flat = np.asarray(y).reshape(2, -1), x.reshape(2, -1)
    for ours, formula in zip(found, (oracle.zplus, oracle.wsquare, oracle.epsilon), strict=True):
        expected = formula(matrix, 0.0, flat, r)
        np.testing.assert_allclose(ours.reshape(2, -1), expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("window", "stride", "padding", "shape"),
    [
        ((1, 2, 2, 1), (1, 2, 2, 1), "VALID", (2, 6, 8, 3)),
        ((1, 3, 3, 1), (1, 2, 2, 1), "SAME", (2, 7, 8, 3)),
        ((1, 2, 2, 1), (1, 2, 2, 1), "VALID", (2, 7, 7, 3)),
        ((1, 2, 2, 1), (1, 1, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0)), (2, 5, 5, 2)),
        ((1, 3, 1), (1, 3, 1), "VALID", (2, 9, 2)),
        ((1, 2, 2, 2, 1), (1, 2, 1, 2, 1), "VALID", (1, 4, 3, 4, 2)),
    ],
)
def test_pooling_gives_all_to_the_first_of_equals(window, stride, padding, shape):
    draw = np.random.default_rng(4)
    x = jnp.asarray(draw.integers(-2, 3, shape).astype(np.float64))  # many ties
    graph = trace(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, stride, padding), (x,), [True])
    (equation,) = graph.equations
    assert is_plain_pooling(equation)
    y, pull = jax.vjp(lambda x: equation.apply(x)[0], x)
    r = jnp.asarray(draw.normal(size=y.shape))
    np.testing.assert_allclose(pooling_gradient(equation, x, y, r), pull(r)[0], atol=1e-14)


def test_named_values_and_scopes():
    def fn(p, x):
        with jax.named_scope("stem"):
            h = jax.nn.relu(x @ p["w"])
        return checkpoint_name(h, "features") @ p["v"]

    params = {"w": np.random.default_rng(0).normal(size=(6, 5)), "v": np.ones((5, 2))}
    _, found = attribute(fn, params, X, at=("features", "stem", "v:input", "w:input"), target=0)
    np.testing.assert_array_equal(found["features"], found["v:input"])
    np.testing.assert_array_equal(found["features"], found["stem"])
    assert found["w:input"].shape == X.shape


def test_calls_are_seen_through():
    """The same layer plain, jitted, checkpointed, with custom derivatives, and vmapped over samples."""
    weight = np.random.default_rng(0).normal(size=(6, 5))

    def layer(p, x):
        return jax.nn.relu(x @ p)

    with_rule = jax.custom_vjp(layer)
    with_rule.defvjp(lambda p, x: (layer(p, x), None), lambda _, r: (r, r))
    _, expected = attribute(layer, weight, X, target=2)
    for wrapped in (jax.jit(layer), jax.checkpoint(layer), with_rule, lambda p, x: jax.vmap(layer, (None, 0))(p, x)):
        _, found = attribute(wrapped, weight, X, target=2)
        np.testing.assert_allclose(found, expected, atol=1e-14)
