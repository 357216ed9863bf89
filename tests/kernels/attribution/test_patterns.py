"""Patterns: moments of every kind of layer by explicit patches, a signal beside a distractor, and the way back."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import Patterns, fit_patterns, pattern_attribution, pattern_net
from tests.kernels.oracles import patterns as oracle


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def convolution(x, kernel, stride=1, padding=0, dilation=1, groups=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, rhs_dilation=(dilation, dilation),
        feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


DRAW = np.random.default_rng(0)
IMAGES = DRAW.normal(0.5, 1.0, (12, 6, 7, 4))
CONVOLUTIONS = [
    ({}, "relu"),
    ({"stride": 2, "padding": 1}, "relu.negative"),
    ({"dilation": 2, "padding": 2, "groups": 2}, "relu.positive"),
    pytest.param({"stride": 2, "padding": 2, "dilation": 2, "groups": 4}, "linear", marks=pytest.mark.slow),
]


def batches(x, *sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("settings, kind", CONVOLUTIONS)
def test_convolutions_by_explicit_patches(settings, kind):
    groups = settings.get("groups", 1)
    units = 8 if groups == 4 else 6
    params = {"conv": {"kernel": DRAW.normal(size=(3, 2, 4 // groups, units)), "bias": DRAW.normal(size=units)}}

    def network(params, x):
        return jax.nn.relu(convolution(x, params["conv"]["kernel"], **settings) + params["conv"]["bias"])

    patterns = fit_patterns(network, params, batches(IMAGES, 4, 4, 4), pattern=kind)
    expected = oracle.convolution_pattern(IMAGES, params["conv"]["kernel"], params["conv"]["bias"], kind, **settings)
    np.testing.assert_allclose(patterns.arrays["conv"], expected, atol=1e-11 * np.abs(expected).max())
    products = (patterns.arrays["conv"] * params["conv"]["kernel"]).sum((0, 1, 2))
    np.testing.assert_allclose(products, 1, rtol=1e-12)
    assert patterns.counts["conv"].shape == (units,)


def test_however_a_layer_is_written():
    """Channels first, a product of several axes, samples mapped one by one: the pattern of the same units."""
    kernel, bias = DRAW.normal(size=(3, 2, 4, 6)), DRAW.normal(size=6)
    plain = lambda params, x: jax.nn.relu(convolution(x, params["conv"]["kernel"]) + params["conv"]["bias"])  # noqa: E731

    def channels_first(params, x):
        x = lax.conv_general_dilated(
            x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NCHW", "HWIO", "NCHW")
        )
        return jax.nn.relu(x + params["conv"]["bias"][:, None, None])

    mapped = lambda params, x: jax.vmap(lambda one: plain(params, one[None])[0])(x)  # noqa: E731
    params = {"conv": {"kernel": kernel, "bias": bias}}
    expected = oracle.convolution_pattern(IMAGES, kernel, bias, "relu")
    for fn, x in ((channels_first, IMAGES.transpose(0, 3, 1, 2)), (mapped, IMAGES)):
        np.testing.assert_allclose(fit_patterns(fn, params, [x]).arrays["conv"], expected, atol=1e-10)
    heads = {"heads": {"kernel": kernel[0, 0].reshape(4, 2, 3)}}
    fn = lambda params, x: jnp.einsum("bhwc,cnd->bnhwd", x, params["heads"]["kernel"])  # noqa: E731
    rows = IMAGES.reshape(-1, 4)
    expected = oracle.pattern(rows, kernel[0, 0], rows @ kernel[0, 0] > 0).reshape(4, 2, 3)
    np.testing.assert_allclose(fit_patterns(fn, heads, [IMAGES]).arrays["heads"], expected, atol=1e-10)
    looped = lambda params, x: lax.scan(  # noqa: E731
        lambda h, t: (h, t @ params["heads"]["kernel"][:, 0]), 0.0, x.reshape(12, 42, 4)
    )[1]
    with pytest.raises(NotImplementedError, match="inside of a loop"):
        fit_patterns(lambda params, x: looped(params, x) + fn(params, x).sum(), heads, [IMAGES])


def mlp(params, x):
    h = jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"])
    return h @ params["second"]["kernel"]


def layers(dtype=np.float64):
    draw = np.random.default_rng(1)
    shapes = {"first": {"kernel": (5, 6), "bias": (6,)}, "second": {"kernel": (6, 3)}}
    return jax.tree.map(lambda shape: draw.normal(size=shape).astype(dtype), shapes, is_leaf=lambda s: type(s) is tuple)


X = np.random.default_rng(2).normal(size=(40, 5))


def expected_patterns(params, x):
    hidden = x @ params["first"]["kernel"] + params["first"]["bias"]
    h = np.maximum(hidden, 0)
    y = h @ params["second"]["kernel"]
    return (
        oracle.pattern(x, params["first"]["kernel"], hidden > 0), oracle.pattern(h, params["second"]["kernel"], y > 0),
        hidden, y,
    )  # fmt: skip


def test_the_way_back_by_hand():
    params = layers()
    a1, a2, hidden, y = expected_patterns(params, X)
    patterns = fit_patterns(mlp, params, batches(X, 20, 20))
    np.testing.assert_allclose(patterns.arrays["first"], a1, atol=1e-12)
    np.testing.assert_allclose(patterns.arrays["second"], a2, atol=1e-12)
    start = y * (np.arange(3) == 1)
    signal = ((start @ a2.T) * (hidden > 0)) @ a1.T
    weights = params["second"]["kernel"] * a2, params["first"]["kernel"] * a1
    shares = ((start @ weights[0].T) * (hidden > 0)) @ weights[1].T
    for explain, expected in ((pattern_net, signal), (pattern_attribution, shares)):
        output, found = explain(mlp, params, X, patterns, target=1)
        np.testing.assert_allclose(output, y, atol=1e-12)
        np.testing.assert_allclose(found, expected, atol=1e-11)
        projected = explain(mlp, params, X, patterns, target=1, project=True)[1]
        largest = np.abs(expected).max(-1, keepdims=True)
        np.testing.assert_allclose(projected, expected / np.where(largest == 0, 1, largest), atol=1e-9)


def test_the_signal_of_a_linear_model_with_a_distractor():
    """x = a s + d e with independent s and e, and w the direction in which d cancels: the pattern of w is a.

    With s and e of unit variance and w a = 1, w d = 0, the pattern is a + d c / v with c their sample covariance and v
    the variance of s. c sqrt(n) is normal with unit variance: it is above 6 in 2e-9 of all draws, and v below 0.9 for
    n = 40,000 (14 standard errors of sqrt(2 / n)) never.
    """
    draw, n = np.random.default_rng(3), 40_000
    signal, distractor = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.5])
    x = draw.normal(size=(n, 1)) * signal + draw.normal(size=(n, 1)) * distractor
    # w a = 1 and w d = 0
    w = np.linalg.lstsq(np.stack([signal, distractor]), np.array([1.0, 0.0]), rcond=None)[0][:, None]
    linear = lambda w, x: x @ w  # noqa: E731
    patterns = fit_patterns(linear, w, batches(x, *[n // 4] * 4), pattern="linear")
    (pattern,) = patterns.arrays.values()
    bound = 6 / np.sqrt(n) / 0.9 * np.abs(distractor).max()
    np.testing.assert_allclose(pattern[:, 0], signal, atol=bound)
    assert np.abs(w[:, 0] - signal).max() > 4 * bound  # the weights themselves do not show it
    found = pattern_net(linear, w, x[:5], patterns)[1]
    np.testing.assert_allclose(found, (x[:5] @ w) * signal, atol=bound * np.abs(x[:5] @ w).max())


def test_float32_far_from_zero_and_in_unequal_batches():
    """The mean of x is 3,000 times its spread, which squares in float32 would lose."""
    params = layers(np.float32)
    params["first"]["bias"] = -(3000 * params["first"]["kernel"].sum(0)).astype(np.float32)
    x = (X + 3000).astype(np.float32)
    a1, *_ = expected_patterns(jax.tree.map(lambda a: a.astype(float), params), x.astype(float))
    patterns = fit_patterns(mlp, params, batches(x, 10, 20, 10))
    covered = np.asarray(patterns.counts["first"]) > 5
    assert covered.sum() > 2 and patterns.arrays["first"].dtype == jnp.float32
    difference = np.abs(np.asarray(patterns.arrays["first"]) - a1)[:, covered]
    # E_m[y] - E[y] times the mean of x is most of these patterns: they are as exact as the sums y are.
    assert difference.max() < 2e-3 * np.abs(a1[:, covered]).max()


def test_a_folded_norm_has_the_pattern_of_its_layer():
    """W s times A / s is W A: shares do not hang on a scale behind the layer."""
    params = layers()
    scaled = lambda params, x: jax.nn.relu(  # noqa: E731
        (x @ params["first"]["kernel"]) * params["scale"] + params["first"]["bias"]
    )
    plain = lambda params, x: jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"])  # noqa: E731
    params["scale"] = np.linspace(0.5, 2, 6)
    folded = {"first": {"kernel": params["first"]["kernel"] * params["scale"], "bias": params["first"]["bias"]}}
    one, other = fit_patterns(scaled, params, [X]), fit_patterns(plain, folded, [X])
    np.testing.assert_allclose(one.arrays["first"], other.arrays["first"], atol=1e-12)


def test_saved_and_loaded_and_of_another_network(tmp_path, unchecked):
    params = layers()
    patterns = fit_patterns(mlp, params, [X])
    np.savez(tmp_path / "patterns.npz", **patterns.arrays)
    loaded = Patterns(dict(np.load(tmp_path / "patterns.npz")))
    expected = pattern_net(mlp, params, X, patterns, target=0)[1]
    np.testing.assert_array_equal(pattern_net(mlp, params, X, loaded, target=0)[1], expected)
    inside = jax.jit(lambda patterns, x: pattern_net(mlp, params, x, patterns, target=0)[1])
    np.testing.assert_allclose(inside(patterns, X), expected, atol=1e-12)
    with pytest.raises(ValueError, match="none for 'second'; fn has no 'third'"):
        pattern_net(mlp, params, X, Patterns({"first": loaded.arrays["first"], "third": np.ones(2)}))
    with pytest.raises(ValueError, match=r"'second' has shape \(2,\) and the weight \(6, 3\)"):
        pattern_attribution(mlp, params, X, Patterns(loaded.arrays | {"second": np.ones(2)}))
    with pytest.raises(ValueError, match="expected Patterns"):
        pattern_attribution(mlp, params, X, loaded.arrays)


def test_what_cannot_be_fitted():
    params = layers()
    with pytest.raises(ValueError, match="batches is empty"):
        fit_patterns(mlp, params, [])
    with pytest.raises(ValueError, match="pattern='sigmoid'"):
        fit_patterns(mlp, params, [X], pattern="sigmoid")
    with pytest.raises(ValueError, match="NaN"):
        fit_patterns(mlp, params, [X * np.nan])
    params["first"]["bias"] = params["first"]["bias"] - 100 * (np.arange(6) == 2)
    with pytest.warns(UserWarning, match="1 of 6 units of 'first'"):
        patterns = fit_patterns(mlp, params, [X])
    assert not np.asarray(patterns.arrays["first"])[:, 2].any() and patterns.counts["first"][2] == 0
