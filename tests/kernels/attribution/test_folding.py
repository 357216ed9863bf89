"""Scales and shifts around affine operations: folded weights against explicit ones, and what is not folded."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, describe, rules
from tests.kernels.oracles import attribution as oracle

EPSILON = 1e-3


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(5)
NORM = {
    "scale": DRAW.uniform(-1, 2, 4), "bias": DRAW.normal(size=4), "mean": DRAW.normal(size=4),
    "var": DRAW.uniform(0.5, 2, 4),
}  # fmt: skip
X = DRAW.normal(size=(2, 4, 3, 4))


def norm(p, x):
    return (x - p["mean"]) * (p["scale"] * lax.rsqrt(p["var"] + EPSILON)) + p["bias"]


def norm_divided(p, x):
    return p["scale"] * (x - p["mean"]) / jnp.sqrt(p["var"] + EPSILON) + p["bias"]


def norm_of_factor_and_offset(p, x):
    factor = p["scale"] * lax.rsqrt(p["var"] + EPSILON)
    return x * jnp.broadcast_to(factor, x.shape) + (p["bias"] - p["mean"] * factor)


def explicit(p):
    """Scale and shift of the norm."""
    scale = p["scale"] / np.sqrt(p["var"] + EPSILON)
    return scale, p["bias"] - p["mean"] * scale


# name -> (kernel shape, groups, spread)
CONVOLUTIONS = {"plain": ((3, 3, 4, 4), 1, 1), "grouped": ((3, 3, 2, 4), 2, 1), "depthwise": ((3, 3, 1, 4), 4, 1),
                "transposed": ((3, 3, 4, 4), 1, 2)}  # fmt: skip


def conv(kernel, x, groups, spread, layout="NHWC"):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1), (1, 1)], lhs_dilation=(spread, spread),
        dimension_numbers=(layout, "HWIO", layout), feature_group_count=groups,
    )  # fmt: skip


RULES = {"epsilon": rules.Epsilon(), "zplus": rules.ZPlus(), "gamma": rules.Gamma(), "wsquare": rules.WSquare()}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("before", [False, True], ids=["norm after", "norm before"])
def test_a_norm_beside_a_convolution_is_part_of_it(kind, before):
    shape, groups, spread = CONVOLUTIONS[kind]
    kernel = np.random.default_rng(1).normal(size=shape)
    params = {"conv": {"kernel": kernel}, "norm": NORM}
    scale, shift = explicit(NORM)

    def fn(p, x, which=norm):
        if before:
            return conv(p["conv"]["kernel"], which(p["norm"], x), groups, spread)
        return which(p["norm"], conv(p["conv"]["kernel"], x, groups, spread))

    matrix, size = oracle.convolution_matrix(kernel, (4, 3), padding=[(1, 1)] * 2, groups=groups, spread=spread)
    if before:  # zero padding comes after the shift: what it adds depends on the place
        b = matrix @ np.tile(shift, 12)
        matrix = matrix * np.tile(scale, 12)
    else:
        b = np.tile(shift, int(np.prod(size)))
        matrix = matrix * np.tile(scale, int(np.prod(size)))[:, None]
    y, found = attribute(fn, params, X, rules=RULES, target=None)
    x, r = X.reshape(2, -1), np.asarray(y).reshape(2, -1)
    np.testing.assert_allclose(x @ matrix.T + b, r, atol=1e-12)
    for name in RULES:
        expected = getattr(oracle, name)(matrix, b, x, r)
        np.testing.assert_allclose(found[name].reshape(2, -1), expected, atol=1e-10 * np.abs(expected).max())
    assert [row["folded"] for row in describe(fn, params, X)] == [("norm",)]
    for which in (norm_divided, norm_of_factor_and_offset):
        _, other = attribute(lambda p, x: fn(p, x, which), params, X, rules=rules.ZPlus(), target=None)  # noqa: B023
        np.testing.assert_allclose(other, found["zplus"], atol=1e-12 * np.abs(other).max())


def test_dense_layers_and_channels_first():
    kernel = np.random.default_rng(2).normal(size=(4, 4))
    scale, shift = explicit(NORM)
    for fn, a, b in (
        (lambda p, x: norm(NORM, x @ p), kernel.T * scale[:, None], shift),
        (lambda p, x: norm(NORM, x) @ p, kernel.T * scale, kernel.T @ shift),
        (lambda p, x: jnp.einsum("io,bi->bo", p, x) * 2.0 - 1.0, 2 * kernel.T, -np.ones(4)),
    ):
        y, relevance = attribute(fn, kernel, X[:, 0, 0], rules=rules.ZPlus(), target=None)
        expected = oracle.zplus(a, b, X[:, 0, 0], np.asarray(y))
        np.testing.assert_allclose(relevance, expected, atol=1e-11 * np.abs(expected).max())
    window = np.random.default_rng(3).normal(size=(3, 3, 4, 4))
    first = jax.tree.map(lambda v: v[:, None, None], NORM)
    moved = X.transpose(0, 3, 1, 2)
    _, theirs = attribute(lambda p, x: norm(first, conv(p, x, 1, 1, "NCHW")), window, moved, rules="epsilon_plus")
    _, ours = attribute(lambda p, x: norm(NORM, conv(p, x, 1, 1)), window, X, rules="epsilon_plus")
    np.testing.assert_allclose(theirs.transpose(0, 2, 3, 1), ours, atol=1e-12)


def test_what_is_not_folded_passes():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 4))
    bias = np.random.default_rng(2).normal(size=4)
    params = {"conv": {"kernel": kernel, "bias": bias}, "norm": NORM}

    def fn(p, x):
        return norm(p["norm"], conv(p["conv"]["kernel"], x, 1, 1) + p["conv"]["bias"])

    y, relevance = attribute(fn, params, X, rules="epsilon_plus", fold_norm=False, target=None)
    matrix, _ = oracle.convolution_matrix(kernel, (4, 3), padding=[(1, 1)] * 2)
    expected = oracle.zplus(matrix, np.tile(bias, 12), X.reshape(2, -1), np.asarray(y).reshape(2, -1))
    np.testing.assert_allclose(relevance.reshape(2, -1), expected, atol=1e-12 * np.abs(expected).max())
    kinds = [row["kinds"][0] for row in describe(fn, params, X, fold_norm=False)]
    assert kinds[0] == "conv" and set(kinds[1:]) == {"norm_layer"}
    # A norm that two operations read belongs to neither.
    shared = describe(lambda p, x: (lambda h: conv(p, h, 1, 1) + h)(norm(NORM, x)), kernel, X)
    assert [row["kinds"][0] for row in shared].count("norm_layer") >= 1
    before = describe(lambda p, x: conv(p, norm(NORM, x), 1, 1), kernel, X, fold_norm="after")
    assert "norm_layer" in [row["kinds"][0] for row in before]


def test_the_divisor_of_a_mean_belongs_to_the_sum():
    """Epsilon acts on the mean, not on the sum, however the mean is written."""
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)) * 1e-5
    window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    pixels, _ = oracle.convolution_matrix(np.full((2, 2, 1, 2), 0.25), (4, 4), stride=2, groups=2)
    everywhere = np.tile(np.eye(2) / 16, 16)
    for fn, a in (
        (lambda _, x: lax.reduce_window(x, 0.0, lax.add, *window) / 4, pixels),
        (lambda _, x: lax.reduce_window(x, 0.0, lax.add, *window) * 0.25, pixels),
        (lambda _, x: lax.reduce_window(x, 0.0, lax.add, *window)
         / lax.reduce_window(jnp.ones_like(x[:1, ..., :1]), 0.0, lax.add, *window), pixels),
        (lambda _, x: x.mean((1, 2)), everywhere),
        (lambda _, x: x.mean((1, 2), keepdims=True), everywhere),
    ):  # fmt: skip
        y, relevance = attribute(fn, None, x, rules="epsilon_plus", target=None)
        expected = oracle.norm(a, x.reshape(2, -1), np.asarray(y).reshape(2, -1))
        np.testing.assert_allclose(relevance.reshape(2, -1), expected, atol=1e-12 * np.abs(expected).max())
        assert [row["kinds"][0] for row in describe(fn, None, x)] == ["avg_pool"]


def test_a_mean_before_a_convolution_keeps_its_divisor():
    kernel = np.random.default_rng(1).normal(size=(4, 3))
    rows = describe(lambda p, x: jax.nn.relu(x).mean((1, 2)) @ p, kernel, X)
    assert [row["kinds"][0] for row in rows] == ["relu", "avg_pool", "dense"]


def test_statistics_of_the_batch_count_as_constants():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 4))

    def trained(p, x):
        y = conv(p, x, 1, 1)
        mean = y.mean((0, 1, 2))
        var = jnp.mean(y**2, (0, 1, 2)) - mean**2
        return (y - mean) * lax.rsqrt(var + EPSILON)

    y = np.asarray(conv(kernel, X, 1, 1))
    fixed = {"scale": np.ones(4), "bias": np.zeros(4), "mean": y.mean((0, 1, 2)), "var": y.var((0, 1, 2))}
    with pytest.warns(UserWarning, match="statistics of the batch"):
        _, found = attribute(trained, kernel, X, rules="epsilon_plus", target=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, expected = attribute(
            lambda p, x: norm(fixed, conv(p, x, 1, 1)), kernel, X, rules="epsilon_plus", target=None
        )
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("axes", [-1, (1, 2)], ids=["layer", "instance"])
def test_norms_of_a_sample_pass_relevance(axes):
    def standardised(x):
        centred = x - x.mean(axes, keepdims=True)
        return centred / jnp.sqrt(jnp.mean(centred**2, axes, keepdims=True) + EPSILON)

    weight = np.random.default_rng(1).normal(size=(4, 3))
    y, relevance = attribute(lambda p, x: standardised(x) @ p, weight, X, rules=rules.Epsilon(), target=None)
    h = np.asarray(standardised(X)).reshape(-1, 4)
    expected = oracle.epsilon(weight.T, 0.0, h, np.asarray(y).reshape(-1, 3))
    np.testing.assert_allclose(relevance.reshape(-1, 4), expected, atol=1e-12 * np.abs(expected).max())
