"""Grad-CAM, conductance and influence of a layer, by hand from gradients of a network that is cut in two there."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import (
    attribute,
    composites,
    deeplift,
    grad_cam,
    guided_grad_cam,
    internal_influence,
    layer_conductance,
)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(0)
PARAMS = {
    "conv": {"kernel": DRAW.normal(size=(3, 3, 2, 5)), "bias": DRAW.normal(size=5)},
    "head": {"kernel": DRAW.normal(size=(5, 3))},
}
X = DRAW.normal(size=(2, 6, 8, 2))


def lower(params, x, order="NHWC"):
    y = lax.conv_general_dilated(x, params["conv"]["kernel"], (2, 2), "SAME", dimension_numbers=(order, "HWIO", order))
    return y + (params["conv"]["bias"] if order == "NHWC" else params["conv"]["bias"][:, None, None])


def upper(params, z, order="NHWC"):
    return jnp.mean(jnp.tanh(z) ** 2, (1, 2) if order == "NHWC" else (2, 3)) @ params["head"]["kernel"]


def network(params, x, order="NHWC"):
    return upper(params, lower(params, x, order), order)


def slope_at(z, target):
    return jax.grad(lambda z: jnp.sum(upper(PARAMS, z)[:, target]))(z)


def test_grad_cam_by_hand():
    z = lower(PARAMS, X)
    weights = slope_at(z, 1).mean((1, 2), keepdims=True)
    expected = (z * weights).sum(-1)
    y, cam = grad_cam(network, PARAMS, X, target=1, at="conv", size=(3, 4), relu=False)
    np.testing.assert_allclose(cam, expected, atol=1e-12)
    np.testing.assert_allclose(y, network(PARAMS, X), rtol=1e-12)
    full = grad_cam(network, PARAMS, X, target=1, at="conv", method="nearest")[1]
    np.testing.assert_allclose(full, np.maximum(expected, 0).repeat(2, 1).repeat(2, 2), atol=1e-12)
    first = lambda params, x: network(params, x, "NCHW")  # noqa: E731
    other = grad_cam(first, PARAMS, X.transpose(0, 3, 1, 2), target=1, at="conv", method="nearest")[1]
    np.testing.assert_allclose(other, full, atol=1e-12)
    inside = jax.jit(lambda x: grad_cam(network, PARAMS, x, target=1, at="conv", method="nearest")[1])
    np.testing.assert_allclose(inside(X), full, atol=1e-12)
    guided = attribute(
        network, PARAMS, X, target=jnp.broadcast_to(jnp.arange(3) == 1, (2, 3)) * 1.0,
        rules=composites.guided_backprop(),
    )[1]  # fmt: skip
    found = guided_grad_cam(network, PARAMS, X, target=1, at="conv", method="nearest")[1]
    np.testing.assert_allclose(found, guided * full[..., None], atol=1e-12)


def test_influence_and_conductance_by_hand():
    origin, n = 0.3 * np.ones((6, 8, 2)), 6
    layer = lambda place: lower(PARAMS, origin + place * (X - origin))  # noqa: E731
    middles = [slope_at(layer((k + 0.5) / n), 2) for k in range(n)]
    rises = [layer((k + 1) / n) - layer(k / n) for k in range(n)]
    options = {"target": 2, "at": "conv", "baseline": origin, "n": n}
    np.testing.assert_allclose(internal_influence(network, PARAMS, X, **options)[1], sum(middles) / n, atol=1e-12)
    expected = sum(m * r for m, r in zip(middles, rises, strict=True))
    for at_once in (1, 4):
        found = layer_conductance(network, PARAMS, X, at_once=at_once, **options)[1]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    many = layer_conductance(network, PARAMS, X, at_once=50, **options | {"n": 200})[1]
    rise = network(PARAMS, X)[:, 2] - network(PARAMS, np.broadcast_to(origin, X.shape))[:, 2]
    np.testing.assert_allclose(many.sum((1, 2, 3)), rise, atol=1e-3 * np.abs(rise).max())
    exact = deeplift(network, PARAMS, X, origin, target=2)[1]  # another way round, of the same sum
    np.testing.assert_allclose(exact.sum((1, 2, 3)), rise, atol=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: grad_cam(network, PARAMS, X, target=0, at="conf"), "names no operation"),
        (lambda: grad_cam(network, PARAMS, X, target=0, at="head"), "expected a layer with samples, positions"),
        (lambda: grad_cam(network, PARAMS, X, target=0, at="conv", size=(3,)), "expected 2 lengths"),
        (lambda: grad_cam(network, PARAMS, X, target=0, at="conv", method="best"), "method='best'"),
        (lambda: layer_conductance(network, PARAMS, X, target=3, at="conv"), "target is 3"),
    ],
)
def test_what_is_no_layer(call, message):
    with pytest.raises(ValueError, match=message):
        call()
