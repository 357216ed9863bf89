"""Spellings of ReLUs, norms and poolings that compute the same are explained the same; what is none of them is not."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites, describe, rules
from tests.kernels.oracles import attribution as oracle

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(4, 6))
PARAMS = {"first": DRAW.normal(size=(6, 8)), "second": DRAW.normal(size=(8, 3))}
EPSILON = 1e-5


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def between(function):
    """A network with a function between two layers."""
    return lambda params, x: function(x @ params["first"]) @ params["second"]


def _by_entry(function):
    return jax.vmap(jax.vmap(function))


ZEROS = np.zeros(8)
RELUS = {
    "select": lambda h: jnp.select([h > 0], [h], 0.0),
    "select of three": lambda h: jnp.select([h > 1, h > 0], [h, h], 0.0),
    "select, zero first": lambda h: jnp.select([h <= 0], [jnp.zeros_like(h)], h),
    "piecewise": lambda h: jnp.piecewise(h, [h > 0], [lambda v: v, 0.0]),
    "stack": lambda h: jnp.max(jnp.stack([h, jnp.zeros_like(h)]), 0),
    "stack, last axis": lambda h: jnp.max(jnp.stack([jnp.zeros_like(h), h], -1), -1),
    "concatenate": lambda h: jnp.concatenate([h[None], jnp.zeros((1, *h.shape))]).max(0),
    "array of two": lambda h: jnp.array([h, 0 * h]).max(0),
    "least of negatives": lambda h: -jnp.min(jnp.stack([-h, jnp.zeros_like(h)]), 0),
    "mapped cond": _by_entry(lambda v: lax.cond(v > 0, lambda v: v, lambda v: 0.0 * v, v)),
    "mapped cond, constant": _by_entry(lambda v: lax.cond(v > 0, lambda v: v, lambda v: 0.0, v)),
    "mapped switch": _by_entry(lambda v: lax.switch((v > 0).astype(int), [lambda v: 0.0 * v, lambda v: v], v)),
    "stopped mask": lambda h: jnp.where(lax.stop_gradient(h) > 0, h, 0.0),
    "array of zeros": lambda h: jnp.maximum(h, ZEROS),
}


@pytest.mark.parametrize("name", RELUS)
def test_a_relu_by_what_it_gives(name):
    network = between(RELUS[name])
    both = {"guided": "guided_backprop", "deconvnet": "deconvnet", "plus": "epsilon_plus"}
    y, relevance = attribute(network, PARAMS, X, target=0, rules=both)
    _, expected = attribute(between(jax.nn.relu), PARAMS, X, target=0, rules=both)
    for composite in both:
        np.testing.assert_allclose(relevance[composite], expected[composite], atol=1e-12, err_msg=composite)
    h = X @ PARAMS["first"]
    back = np.asarray(y)[:, :1] * PARAMS["second"][:, 0]
    by_hand = (back * (h > 0) * (back > 0)) @ PARAMS["first"].T
    np.testing.assert_allclose(relevance["guided"], by_hand, atol=1e-12)
    assert sum("relu" in row["kinds"] for row in describe(network, PARAMS, X)) == 1


OTHERS = {
    "leaky": lambda h: jnp.select([h > 0], [h], 0.1 * h),
    "later": lambda h: jnp.select([h > 0.5], [h], 0.0),
    "order of conditions": lambda h: jnp.select([h < 2, h > 0], [0.0 * h, h], 0.0),
    "stack of three": lambda h: jnp.max(jnp.stack([h, 0 * h, -h]), 0),
    "mapped cond": _by_entry(lambda v: lax.cond(v > 0, lambda v: v, lambda v: 0.3 * v, v)),
    "half stopped": lambda h: jnp.where(h > 1, lax.stop_gradient(h), jnp.maximum(h, 0) * (h <= 1)),
    "threshold": lambda h: jnp.maximum(h, np.full(8, 0.5)),
    "a constant of its own": lambda h: jnp.maximum(h, np.linspace(-1, 1, 8)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_relu(name):
    network = between(OTHERS[name])
    _, relevance = attribute(network, PARAMS, X, target=0, rules=composites.gradient())
    y, pull_back = jax.vjp(lambda x: network(PARAMS, x), X)
    start = np.zeros(y.shape)
    start[:, 0] = y[:, 0]
    np.testing.assert_allclose(relevance, pull_back(start)[0], atol=1e-12)
    rows = describe(network, PARAMS, X)
    assert all(row["kinds"][0] != "relu" for row in rows)


def test_largest_of_two_layers_takes_all():
    network = lambda params, x: jnp.max(jnp.stack([x @ params["first"], -x @ params["first"] + 1]), 0)  # noqa: E731
    _, relevance = attribute(network, PARAMS, X, rules=composites.gradient())
    y, pull_back = jax.vjp(lambda x: network(PARAMS, x), X)
    np.testing.assert_allclose(relevance, pull_back(y)[0], atol=1e-12)


def _spread(h, v):
    return h / jnp.sqrt(v + EPSILON)


def _mean(h):
    return jnp.mean(h, -1, keepdims=True)


RMS = {
    "einsum": lambda h: _spread(h, jnp.einsum("bi,bi->b", h, h)[:, None] / 8),
    "einsum, axis of one": lambda h: _spread(h, jnp.einsum("bij,bij->bi", h[:, None], h[:, None]) / 8),
    "dot": jax.vmap(lambda r: _spread(r, jnp.dot(r, r) / 8)),
    "vdot": jax.vmap(lambda r: r * lax.rsqrt(jnp.vdot(r, r) / 8 + EPSILON)),
    "row by column": lambda h: _spread(h, (h[:, None] @ h[..., None])[..., 0] / 8),
    "ones": lambda h: _spread(h, jnp.square(h) @ jnp.ones((8, 1)) / 8),
    "ones of NumPy": lambda h: _spread(h, jnp.square(h) @ np.full((8, 1), 1 / 8)),
    "logarithm": lambda h: h * jnp.exp(-0.5 * jnp.log(_mean(h * h) + EPSILON)),
    "logarithm, divided": lambda h: h / jnp.exp(jnp.log(_mean(h * h) + EPSILON) / 2),
    "logarithm, of two": lambda h: h * jnp.exp2(-jnp.log2(_mean(h * h) + EPSILON) / 2),
}  # fmt: skip
LAYER = {
    "einsum": lambda h: (lambda c: _spread(c, jnp.einsum("bi,bi->b", c, c)[:, None] / 8))(h - _mean(h)),
    "pairs": lambda h: _spread(h - _mean(h), (((h[:, :, None] - h[:, None]) ** 2).mean((1, 2)) / 2)[:, None]),
    "mean by ones": lambda h: (lambda c: _spread(c, _mean(c * c)))(h - h @ jnp.full((8, 1), 1 / 8)),
    "logarithm": lambda h: (h - _mean(h)) * jnp.exp(-0.5 * jnp.log(jnp.var(h, -1, keepdims=True) + EPSILON)),
}


@pytest.mark.parametrize("name", RMS)
def test_a_norm_by_its_second_moment(name):
    y, relevance = attribute(between(RMS[name]), PARAMS, X, target=1, rules=rules.Epsilon())
    h = X @ PARAMS["first"]
    scaled = h / np.sqrt((h**2).mean(-1, keepdims=True) + EPSILON)
    start = np.zeros(y.shape)
    start[:, 1] = y[:, 1]
    r = oracle.epsilon(PARAMS["second"].T, 0.0, scaled, start)  # the norm passes it on
    np.testing.assert_allclose(relevance, oracle.epsilon(PARAMS["first"].T, 0.0, X, r), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LAYER)
def test_a_norm_with_a_mean(name):
    _, relevance = attribute(between(LAYER[name]), PARAMS, X, target=1, rules="epsilon_plus")
    plain = between(lambda h: (h - _mean(h)) / jnp.sqrt(jnp.var(h, -1, keepdims=True) + EPSILON))
    _, expected = attribute(plain, PARAMS, X, target=1, rules="epsilon_plus")
    np.testing.assert_allclose(relevance, expected, rtol=1e-6, atol=1e-9)


def _square(h):
    return h.reshape(4, 2, 2, 2)


NO_NORMS = {
    "logarithm": lambda h: h / jnp.log(_mean(h * h) + 2.0),
    "of another value": lambda h: h[:, :4] / jnp.einsum("bi,bi->b", h[:, 4:], h[:, 4:])[:, None],
    "trace of a square": lambda h: h / jnp.einsum("bijk,bjik->b", _square(h), _square(h))[:, None],
    "sum": lambda h: h / (h @ jnp.ones((8, 1))),
    "weights of both signs": lambda h: h / (jnp.square(h) @ jnp.full((8, 1), -1.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_is_no_norm_says_what_would_be(name):
    network = lambda params, x: NO_NORMS[name](x @ params["first"]).sum(-1, keepdims=True)  # noqa: E731
    with pytest.raises(NotImplementedError, match="hangs on the example too.* einsum, dot, .*attention"):
        attribute(network, PARAMS, X)


def convolution(params, x):
    return lax.conv_general_dilated(x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pooled(x, start, function=lax.max, padding="VALID", stride=2):
    return lax.reduce_window(x, start, function, (1, 2, 2, 1), (1, stride, stride, 1), padding)


def _where(h):
    return jnp.where(h > 0, h, 0)


@pytest.mark.parametrize(
    ("before", "start", "padding"),
    [
        (jax.nn.relu, 0.0, "VALID"), (jax.nn.relu, 0.0, "SAME"), (_where, 0.0, "VALID"), (jnp.abs, 0.0, "VALID"),
        (lambda h: jax.nn.relu(h).transpose(0, 2, 1, 3), 0.0, "VALID"),
        (lambda h: h, float(np.finfo(float).min), "SAME"), (lambda h: h, np.finfo(float).min, "VALID"),
    ],
)  # fmt: skip
def test_a_pool_from_another_number(before, start, padding):
    kernel, image = DRAW.normal(size=(3, 3, 2, 3)), DRAW.normal(size=(2, 5, 5, 2))
    found, expected = (
        attribute(
            lambda p, x: pooled(before(convolution(p, x)), value, padding=padding, stride=1).mean((1, 2)),  # noqa: B023
            kernel, image, target=0, rules={"plus": "epsilon_plus", "guided": "guided_backprop"},
        )[1]
        for value in (start, -jnp.inf)
    )  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)


def test_a_pool_that_is_cut_is_refused():
    kernel, image = DRAW.normal(size=(3, 3, 2, 3)), DRAW.normal(size=(2, 4, 4, 2))
    far = [(0, 0), (3, 0), (0, 0), (0, 0)]
    for network in (
        lambda p, x: pooled(convolution(p, x), 0.0), lambda p, x: pooled(jax.nn.relu(convolution(p, x)), 0.5),
        lambda p, x: pooled(jax.nn.relu(convolution(p, x)), 0.0, lax.min),
        lambda p, x: pooled(convolution(p, x), -1e9),
        lambda p, x: pooled(convolution(p, x), np.finfo(float).min, padding=far),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match="Start from -inf"):
            attribute(network, kernel, image)


def test_a_rule_of_the_user_is_for_the_primitive_as_it_is_written():
    """Whatever would be rewritten otherwise."""
    seen = []

    def rule(relevance, inputs, outputs, function):
        seen.append(len(inputs))
        return jax.vjp(function, *inputs)[1]((relevance,))

    for name, network in (
        ("reduce_max", RELUS["stack"]), ("dot_general", lambda h: jnp.einsum("bi,bi->bi", h, jnp.cos(h))),
        ("mul", lambda h: (h * np.arange(8.0)).sum(-1, keepdims=True)),
    ):  # fmt: skip
        attribute(lambda p, x: network(x), None, X @ PARAMS["first"], primitive_rules={name: rule})  # noqa: B023
    assert seen == [1, 2, 1]
