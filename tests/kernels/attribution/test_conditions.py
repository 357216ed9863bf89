"""Conditions at named tensors, against masks by hand on a network that is cut in two there."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(0)
PARAMS = {
    "conv1": {"kernel": DRAW.normal(size=(3, 3, 3, 5)), "bias": DRAW.normal(size=5)},
    "conv2": {"kernel": DRAW.normal(size=(3, 3, 5, 4)), "bias": DRAW.normal(size=4)},
    "head": {"kernel": DRAW.normal(size=(4, 3))},
}
X = DRAW.normal(size=(2, 6, 6, 3))


def conv(layer, x, order="NHWC"):
    numbers = (order, "HWIO", order)
    y = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    return y + (layer["bias"] if order == "NHWC" else layer["bias"][:, None, None])


def lower(params, x, order="NHWC"):
    return conv(params["conv1"], x, order)


def upper(params, z, order="NHWC"):
    h = jax.nn.relu(conv(params["conv2"], jax.nn.relu(z), order))
    return jnp.mean(h, (1, 2) if order == "NHWC" else (2, 3)) @ params["head"]["kernel"]


def network(params, x, order="NHWC"):
    return upper(params, lower(params, x, order), order)


@pytest.mark.parametrize(
    "name", ["epsilon_plus", pytest.param("epsilon_alpha2_beta1", marks=pytest.mark.slow), "gradient"]
)
def test_masked_by_hand_on_a_network_cut_in_two(name):
    rules = getattr(composites, name)()
    z = lower(PARAMS, X)
    y, at_z = attribute(upper, PARAMS, z, target=1, rules=rules)
    mask = np.isin(np.arange(5), (1, 3)) * 1.0
    expected = attribute(lower, PARAMS, X, target=lambda y: at_z * mask, rules=rules)[1]
    weights = DRAW.normal(size=(6, 6, 1))
    for condition in ([1, 3], mask, mask > 0, np.array([-4, 3]), lambda r: r * mask):
        found = attribute(network, PARAMS, X, target=1, rules=rules, condition={"conv1": condition})[1]
        np.testing.assert_allclose(found, expected, atol=1e-11)
    both = {"conv1": 3, "conv2": weights, "x": lambda r: 2 * r}
    assert np.abs(expected).max() > 0.01
    with pytest.raises(ValueError, match="'x' names no operation"):
        attribute(network, PARAMS, X, target=1, rules=rules, condition=both)


def test_channels_add_up_and_the_report_has_what_is_dropped():
    whole = attribute(network, PARAMS, X, target=0, rules="epsilon_plus")[1]
    parts = [
        attribute(network, PARAMS, X, target=0, rules="epsilon_plus", condition={"conv1": c}, return_report=True)
        for c in range(5)
    ]
    np.testing.assert_allclose(sum(part for _, part, _ in parts), whole, atol=1e-11)
    y, at, report = attribute(
        network, PARAMS, X, target=0, rules="epsilon_plus", condition={"conv1": 2}, at=["conv1", "x"],
        return_report=True,
    )  # fmt: skip
    assert not np.asarray(at["conv1"])[..., [0, 1, 3, 4]].any()
    row = report.names.index("conv1")
    np.testing.assert_allclose(report.received[row] - report.passed[row], report.bias[row] + report.epsilon[row]
                               + report.other[row], atol=1e-11)  # fmt: skip
    unconditional = attribute(network, PARAMS, X, target=0, rules="epsilon_plus", at="conv1")[1]
    np.testing.assert_allclose(report.received[row], unconditional.sum(), atol=1e-11)


def test_channels_are_found_wherever_they_lie():
    """Before and behind a layer and its activation, with channels first and last; the input, too."""
    first = lambda params, x: network(params, x.transpose(0, 3, 1, 2), "NCHW")  # noqa: E731
    mapped = lambda params, x: jax.vmap(lambda one: network(params, one[None])[0])(x)  # noqa: E731
    for name, channel in (("conv2", 2), ("conv1", 1), ("conv2:input", 1), ("relu#2", 2), ("conv1:input", 2)):
        results = [
            attribute(fn, PARAMS, X, target=1, rules="epsilon_plus", condition={name: channel})[1]
            for fn in (network, first, mapped)
            if fn is not mapped or name != "relu#2"  # mapped activations have the name of the map
        ]
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], atol=1e-11)
        if name == "conv1:input":
            assert not np.asarray(results[0])[..., :2].any() and np.asarray(results[0])[..., 2].any()


def test_jit_batches_and_several_composites():
    rules = {"plus": composites.epsilon_plus(), "slope": composites.gradient()}
    explain = lambda x, **options: attribute(  # noqa: E731
        network, PARAMS, x, target=1, rules=rules, condition={"conv1": 2}, **options
    )[1]
    expected = explain(X)
    for found in (jax.jit(explain)(X), explain(X, batch_size=1)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), found, expected)


@pytest.mark.parametrize(
    "condition, message",
    [
        ({"conv1": 5}, "has channel 5; the tensor of shape .* has 5 of them"),
        ({"conv9": 1}, "'conv9' names no operation"),
        ({"conv1": np.ones(4)}, r"mask of shape \(4,\)"),
        ({"conv1": "a"}, "expected channels"),
        ({"conv1": lambda r: r[..., :2]}, "gave shape"),
        ({"conv1": 1, "relu#1:input": 2}, "the same tensor twice"),
        ("conv1", "expected a dict"),
    ],
)
def test_what_is_no_condition(condition, message, unchecked):
    with pytest.raises(ValueError, match=message):
        attribute(network, PARAMS, X, target=1, rules="epsilon_plus", condition=condition)


def test_inside_of_a_call_that_only_gradients_pass():
    @jax.custom_vjp
    def block(w, x):
        return jax.nn.relu(x @ w)

    block.defvjp(lambda w, x: (block(w, x), (w, x)), lambda kept, r: (None, r @ kept[0].T))
    fn = lambda params, x: block(params["inner"], x) @ params["head"]  # noqa: E731
    params = {"inner": DRAW.normal(size=(3, 3)), "head": DRAW.normal(size=(3, 2))}
    with pytest.raises(ValueError, match="only a gradient passes"):
        attribute(fn, params, X[:, 0, 0], target=1, rules=composites.gradient(), condition={"inner": 0})
