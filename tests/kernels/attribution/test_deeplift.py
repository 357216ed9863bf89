"""DeepLIFT against the rescale rule by hand, completeness of whatever is supported, and what is refused."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution.attributors import deeplift
from tests.kernels.oracles import deeplift as oracle


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(0)
X, ORIGIN = DRAW.normal(size=(2, 4, 6))
W1, W2 = DRAW.normal(size=(6, 8)), DRAW.normal(size=(8, 3))
BIAS = DRAW.normal(size=8)
TARGET = 1
ONE = np.arange(3) == TARGET


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("name", ["relu", "tanh", "where"])
def test_a_network_of_two_layers_by_hand(name):
    """A ReLU that is written as a choice is one, too."""
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "where": lambda z: jnp.where(z > 0, z, 0.0)}[name]
    f, slope = (np.tanh, lambda z: 1 - np.tanh(z) ** 2) if name == "tanh" else (relu, lambda z: (z > 0) * 1.0)
    params = {"w1": W1, "b": BIAS, "w2": W2}

    def network(params, x):
        return activation(x @ params["w1"] + params["b"]) @ params["w2"]

    y, share, report = deeplift(network, params, X, ORIGIN, target=TARGET, return_report=True)
    m = oracle.dense(ONE * np.ones((4, 1)), W2)
    m = oracle.dense(oracle.rescale(m, f, slope, X @ W1 + BIAS, ORIGIN @ W1 + BIAS), W1)
    np.testing.assert_allclose(share, m * (X - ORIGIN), atol=1e-12)
    np.testing.assert_allclose(y, network(params, X), rtol=1e-12)
    np.testing.assert_allclose(report["completeness"], 0, atol=1e-12)


def test_small_differences_have_the_derivative():
    """The layer's inputs differ by a half, and its sum goes from one side of the kink of a ReLU to the other."""
    w, fn = np.array([[1.0], [-1.0]]), lambda w, x: jax.nn.relu(x @ w)
    for size, slope in ((2.0**-26, 1.0), (2.0**-20, 0.5)):  # below 1e-7 and above
        x, origin = np.array([[1.0, 1.0 - size]]), np.array([[0.5, 0.5 + size]])
        share = deeplift(fn, w, x, origin, target=0)[1]
        np.testing.assert_allclose(share, slope * w[:, 0] * (x - origin), atol=1e-12)


def test_maxima_products_and_softmax_by_hand():
    a, a0, b, b0 = DRAW.normal(size=(4, 5, 7))
    maximum = lambda params, x: jnp.max(x, -1, keepdims=True)  # noqa: E731
    share = deeplift(maximum, {}, a, a0, target=0)[1]
    np.testing.assert_allclose(share, oracle.largest(np.ones(5), a, a0) * (a - a0), atol=1e-12)
    pooled = deeplift(
        lambda params, x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3), (1, 2), "VALID"), {}, a, a0, target=1
    )[1]
    expected = np.zeros_like(a)
    expected[:, 2:5] = oracle.largest(np.ones(5), a[:, 2:5], a0[:, 2:5]) * (a - a0)[:, 2:5]
    np.testing.assert_allclose(pooled, expected, atol=1e-12)
    gated = lambda params, x: x["a"] * x["b"]  # noqa: E731
    shares = deeplift(gated, {}, {"a": a, "b": b}, {"a": a0, "b": b0}, target=2)[1]
    m_a, m_b = oracle.product(np.arange(7) == 2, a, a0, b, b0)
    np.testing.assert_allclose(shares["a"], m_a * (a - a0), atol=1e-12)
    np.testing.assert_allclose(shares["b"], m_b * (b - b0), atol=1e-12)
    quotient = lambda z: jnp.exp(z) / jnp.sum(jnp.exp(z), -1, keepdims=True)  # noqa: E731
    for softmax, rule in ((jax.nn.softmax, oracle.softmax), (quotient, oracle.softmax_of_quotient)):
        share = deeplift(lambda params, x, f=softmax: f(x), {}, a, a0, target=2)[1]
        m = rule((np.arange(7) == 2) * np.ones((5, 1)), a, a0)
        np.testing.assert_allclose(share, m * (a - a0), atol=1e-12)


def attention(params, x):
    """One block of a decoder on tokens [n, 6, 8]: norm, masked attention of two heads, norm, gated layer."""

    def norm(x, g):
        x = x - jnp.mean(x, -1, keepdims=True)
        return g * x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)

    h = norm(x, params["g"])
    q, k, v = (jnp.einsum("bte,ehd->bthd", h, params[name]) for name in "qkv")
    logits = jnp.einsum("bthd,bshd->bhts", q, k) / 2.0
    logits = jnp.where(jnp.tril(jnp.ones((6, 6), bool)), logits, -jnp.inf)
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v)
    x = x + mixed.reshape(x.shape) @ params["o"]
    h = norm(x, params["g"])
    return jnp.mean(x + (jax.nn.silu(h @ params["q"].reshape(8, 8)) * (h @ params["o"])), 1)


BLOCK = {name: DRAW.normal(size=(8, 2, 4)) for name in "qkv"} | {
    "o": DRAW.normal(size=(8, 8)),
    "g": DRAW.normal(size=8),
}
TOKENS = DRAW.normal(size=(3, 6, 8))
IMAGES = DRAW.normal(size=(3, 8, 8, 2))
KERNEL = DRAW.normal(size=(3, 3, 2, 4))


def convolutional(params, x):
    """Convolution, group norm, maximum and mean pooling, a softmax at the end."""
    h = lax.conv_general_dilated(x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    groups = h.reshape(*h.shape[:3], 2, 2)
    groups = (groups - groups.mean((1, 2, 4), keepdims=True)) / jnp.sqrt(groups.var((1, 2, 4), keepdims=True) + 1e-3)
    h = jax.nn.gelu(groups.reshape(h.shape))
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.log_softmax(jnp.mean(h, (1, 2)))


CELL = {"x": 0.5 * DRAW.normal(size=(8, 12)), "h": DRAW.normal(size=(3, 12)), "b": DRAW.normal(size=12)}


def lstm(params, x, scan=lax.scan):
    """Outputs [n, 3] of a recurrent cell of three units; a counter is carried too, and each step sees the whole."""
    context = jnp.mean(x, 1) @ params["x"]

    def step(state, token):
        h, c, count = state
        i, f, o, g = jnp.split(token @ params["x"] + h @ params["h"] + params["b"] + context, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c) * (1 + 0.1 * count)
        return (h, c, count + 1), h

    zeros = jnp.zeros((len(x), 3), x.dtype)
    (h, _, _), hs = scan(step, (context[:, :3], zeros, jnp.zeros((), x.dtype)), x.swapaxes(0, 1))
    return h + jnp.mean(hs**2, 0)


def written_out(step, state, tokens):
    """The scan as a Python loop."""
    results = []
    for token in tokens:
        state, result = step(state, token)
        results.append(result)
    return state, jnp.stack(results)


def spelled(params, x):
    """Comparisons, steps, powers, quotients, choices between values, stopped gradients, a quantiser, clips."""
    a, b = jnp.split(x @ params, 2, axis=-1)
    h = jnp.where(a > b, a * b, jnp.maximum(a, -b)) / (1.5 + jnp.tanh(b))
    h = h + lax.stop_gradient(jnp.abs(a)) ** 1.3 + jnp.sign(b) + jnp.logaddexp(a, b) + jnp.clip(a, -0.3, 0.4)
    h = h + jnp.arctan2(a, b) + jnp.power(jnp.exp(0.1 * a), b) + jnp.cumsum(a, -1) + jnp.logical_and(a > 0, b > 0)
    return h + (lax.stop_gradient(jnp.round(a) - a) + a) + jnp.minimum(a, b) + jnp.hypot(a, b)


NETWORKS = {
    "attention": (attention, BLOCK, TOKENS, DRAW.normal(size=TOKENS.shape)),
    "convolutional": (convolutional, KERNEL, IMAGES, DRAW.normal(size=IMAGES.shape)),
    "lstm": (lstm, CELL, TOKENS, DRAW.normal(size=8)),
    "spelled": (spelled, W1, DRAW.normal(size=(40, 6)), DRAW.normal(size=6)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_contributions_sum_to_the_difference(name):
    fn, params, x, origin = NETWORKS[name]
    y, share, report = deeplift(fn, params, x, origin, target=TARGET, return_report=True)
    rise = np.asarray(y - fn(params, jnp.broadcast_to(origin, x.shape)))[:, TARGET]
    np.testing.assert_allclose(np.asarray(share).reshape(len(x), -1).sum(-1), rise, atol=1e-9)
    np.testing.assert_allclose(report["completeness"], 0, atol=1e-9)
    assert np.isfinite(np.asarray(share)).all() and np.abs(share).max() > 0.01


def test_a_scan_is_the_loop_written_out():
    _, _, x, origin = NETWORKS["lstm"]
    written = lambda params, x: lstm(params, x, written_out)  # noqa: E731
    expected = deeplift(written, CELL, x, origin, target=TARGET)[1]
    np.testing.assert_allclose(deeplift(lstm, CELL, x, origin, target=TARGET)[1], expected, atol=1e-12)
    reverse = lambda step, state, tokens: lax.scan(step, state, tokens, reverse=True)  # noqa: E731
    backwards = lambda params, x: lstm(params, x, reverse)  # noqa: E731
    found = deeplift(backwards, CELL, x[:, ::-1], origin, target=TARGET)[1]
    np.testing.assert_allclose(found[:, ::-1], expected, atol=1e-12)


def test_float32_and_half_precision_networks():
    fn, params, x, origin = NETWORKS["attention"]
    for dtype, limit in ((np.float32, 1e-5), (jnp.bfloat16, 1e-5)):
        cast = lambda tree, dtype=dtype: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)  # noqa: E731
        y, share, report = deeplift(fn, cast(params), cast(x), cast(origin), target=TARGET, return_report=True)
        assert share.dtype == dtype
        inside = jax.jit(lambda x: deeplift(fn, cast(params), x, cast(origin), target=TARGET)[1])  # noqa: B023
        np.testing.assert_allclose(inside(cast(x)).astype(float), share.astype(float), rtol=1e-2, atol=1e-3)
        assert np.abs(np.asarray(report["completeness"], float)).max() < limit * np.abs(np.asarray(y, float)).max()
        assert (np.abs(report["completeness"]) < 1e-6 * report["magnitude"]).all()


def test_a_shift_of_all_logits_changes_no_multiplier():
    """In float32, too, far away: one over the sums of exponentials would be e**200 of each other."""
    a, a0 = DRAW.normal(size=(2, 5, 7)).astype(np.float32)
    w = np.concatenate([np.eye(7), np.ones((1, 7))]).astype(np.float32)  # the last input is a shift of all logits
    one = lambda x, s: np.concatenate([x, np.full((5, 1), s, np.float32)], 1)  # noqa: E731
    fn = lambda w, x: jax.nn.softmax(x @ w)  # noqa: E731
    still = deeplift(fn, w, one(a, 0), one(a0, 0), target=2)[1]
    moved = deeplift(fn, w, one(a, 100), one(a0, -100), target=2)[1]
    np.testing.assert_allclose(moved[:, :7], still[:, :7], atol=1e-4)
    np.testing.assert_allclose(moved[:, 7], 0, atol=1e-4)
    logs = lambda w, x: jax.nn.log_softmax(x @ w)  # noqa: E731
    np.testing.assert_allclose(deeplift(logs, w, one(a, 100), one(a0, -100), target=2)[1][:, 7], 0, atol=1e-4)


def test_a_maximum_that_is_no_shift_counts():
    a, a0 = DRAW.normal(size=(2, 5, 7))
    soft = lambda params, x: jnp.exp(x - jnp.max(x, -1, keepdims=True))  # noqa: E731
    share, report = deeplift(soft, {}, a, a0, target=0, return_report=True)[1:]
    np.testing.assert_allclose(report["completeness"], 0, atol=1e-12)
    rise = soft({}, a)[:, 0] - soft({}, a0)[:, 0]
    np.testing.assert_allclose(share.sum(-1), rise, atol=1e-12)
    inside = jax.jit(lambda x: deeplift(soft, {}, x, a0, target=0)[1])
    assert np.isnan(inside(a)).all()  # what cannot be looked at says so


def test_several_baselines_targets_and_jit():
    fn = lambda params, x: jax.nn.relu(x @ params[0] + params[1]) @ params[2]  # noqa: E731
    params, origins = (W1, BIAS, W2), DRAW.normal(size=(3, 1, 6))
    y = np.asarray(fn(params, X))
    each = [deeplift(fn, params, X, origin, target="argmax")[1] for origin in origins]
    for at_once in (1, 2):
        mean = deeplift(fn, params, X, origins, target="argmax", at_once=at_once)[1]
        np.testing.assert_allclose(mean, np.mean(each, 0), atol=1e-12)
    inside = jax.jit(lambda x, origins: deeplift(fn, params, x, origins, target=y.argmax(-1))[1])
    np.testing.assert_allclose(inside(X, origins), np.mean(each, 0), atol=1e-12)
    parts = [deeplift(fn, params, X, target=c)[1] for c in range(3)]
    np.testing.assert_allclose(deeplift(fn, params, X)[1], sum(parts), atol=1e-12)
    weighted = deeplift(fn, params, X, target=lambda y: jnp.ones_like(y) * jnp.array([1.0, -2.0, 0.0]))[1]
    np.testing.assert_allclose(weighted, parts[0] - 2 * parts[1], atol=1e-12)
    one = lambda params, x: fn(params, x[None])[0]  # noqa: E731
    y, share, report = deeplift(one, params, X[0], target=2, return_report=True)
    np.testing.assert_allclose(share, parts[2][0], atol=1e-12)
    assert report["completeness"].shape == () and abs(report["completeness"]) < 1e-12


def test_what_mixes_samples_is_said_to():
    normed = lambda params, x: (x - x.mean(0)) / x.std(0)  # noqa: E731
    with pytest.warns(UserWarning, match="fn mixes samples"):
        deeplift(normed, {}, X, X[::-1] ** 2, target=0)


@pytest.mark.parametrize(
    "fn, name, remedy",
    [
        (lambda p, x: jnp.sort(x), "sort", "jnp.max"),
        (lambda p, x: lax.while_loop(lambda s: jnp.sum(s) < 9, lambda s: s + 1, x), "while", "out in Python"),
        (lambda p, x: jnp.prod(x, -1, keepdims=True), "reduce_prod", "factor by factor"),
        (lambda p, x: x[jnp.arange(4), jnp.argmax(x, -1)][:, None], "gather", "integrated_gradients"),
        (lambda p, x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), "cond", "jnp.where"),
    ],
)
def test_what_is_refused_has_a_remedy(fn, name, remedy):
    with pytest.raises(NotImplementedError, match=f"primitive '{name}'.*{remedy}"):
        deeplift(fn, {}, X, target=0)


def test_baselines_that_do_not_fit():
    fn = lambda w, x: x @ w  # noqa: E731
    for baseline in (np.zeros((2, 3, 6)), np.zeros(5)):
        with pytest.raises(ValueError, match="broadcast"):
            deeplift(fn, W1, X, baseline, target=0)
