"""Parameters and inputs as people have them: modules, half precisions, sharded batches, names of other things."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kernels.attribution import (
    attribute,
    composites,
    describe,
    gradient,
    integrated_gradients,
    occlusion,
    rules,
    smoothgrad,
)

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(4, 6)).astype(np.float32)
PARAMS = {
    "first": {"kernel": DRAW.normal(size=(6, 5)).astype(np.float32), "bias": DRAW.normal(size=5).astype(np.float32)},
    "second": {"kernel": DRAW.normal(size=(5, 3)).astype(np.float32)},
}


def network(params, x):
    h = jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"])
    return h @ params["second"]["kernel"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Linear:
    """A layer as an Equinox module is one: arrays, and other leaves beside them."""

    weight: jax.Array
    bias: jax.Array | None
    activation: object
    scale: object

    def __call__(self, x):
        y = self.weight @ x
        y = y if self.bias is None else y + self.bias
        return self.activation(y) * self.scale if self.scale != 1 else self.activation(y)


def module():
    """The same network, of layers for one sample."""
    first = Linear(PARAMS["first"]["kernel"].T, PARAMS["first"]["bias"], jax.nn.relu, 1)
    return {"first": first, "second": Linear(PARAMS["second"]["kernel"].T, None, lambda y: y, 1.0), "note": "trained"}


def of_module(tree, x):
    assert tree["note"] == "trained"
    return jax.vmap(lambda sample: tree["second"](tree["first"](sample)))(x)


def test_leaves_that_are_no_arrays():
    _, expected = attribute(network, PARAMS, X, target="argmax")
    _, found = attribute(of_module, module(), X, target="argmax")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [row["name"] for row in describe(of_module, module(), X) if "affine" in row["kinds"]] == ["first", "second"]
    named = composites.epsilon_plus(name_map=[("first", rules.WSquare())])
    a, b = (attribute(fn, p, X, target=1, rules=named)[1] for fn, p in ((network, PARAMS), (of_module, module())))
    np.testing.assert_allclose(a, b, atol=1e-6)
    for method, options in (
        (gradient, {}), (smoothgrad, {"key": jax.random.key(0), "n": 3, "rules": named}),
        (integrated_gradients, {"n": 3, "rules": "epsilon_plus"}), (occlusion, {"window": 2, "stride": 2}),
    ):  # fmt: skip
        ours, theirs = (
            method(fn, p, X, target=1, **options)[1] for fn, p in ((network, PARAMS), (of_module, module()))
        )
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_an_nnx_module_is_a_tree_too():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.value = nnx.Linear(6, 5, rngs=rngs)
            self.head = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jax.nn.relu(self.value(x)))

    net = Net(nnx.Rngs(0))
    graph, state = nnx.split(net)
    _, expected = attribute(lambda state, x: nnx.merge(graph, state)(x), state, X, target="argmax")
    _, found = attribute(lambda net, x: net(x), net, X, target="argmax")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for fn, params in ((lambda net, x: net(x), net), (lambda state, x: nnx.merge(graph, state)(x), state)):
        rows = describe(fn, params, X)
        assert [row["name"] for row in rows if "affine" in row["kinds"]] == ["value", "head"]


def test_a_layer_may_be_called_value():
    params = {"value": PARAMS["first"], "params": PARAMS["second"]}

    def fn(p, x):
        return jax.nn.relu(x @ p["value"]["kernel"] + p["value"]["bias"]) @ p["params"]["kernel"]

    names = [row["name"] for row in describe(fn, params, X) if "affine" in row["kinds"]]
    assert names == ["value", "kernel"]  # "params" at the top is where Linen puts its parameters
    _, found = attribute(fn, params, X, at=["value", "kernel:input"], rules="epsilon_plus")
    np.testing.assert_allclose(found["value"], found["kernel:input"])
    layers = {"attention": {"value": jnp.ones((6, 2))}}
    assert describe(lambda p, x: x @ p["attention"]["value"], layers, X)[0]["name"] == "attention"


@pytest.mark.parametrize("dtype", [pytest.param(jnp.float16, marks=pytest.mark.slow), jnp.bfloat16])
@pytest.mark.parametrize("name", ["epsilon_alpha2_beta1", "epsilon_plus_flat", "guided_backprop"])
def test_half_precisions(dtype, name):
    """Zeros, means, a norm, a pooling and casts among them."""
    draw = np.random.default_rng(1)
    params = {"conv": {"kernel": draw.normal(0, 0.3, (3, 3, 2, 4)), "bias": draw.normal(0, 0.1, 4)},
              "head": {"kernel": draw.normal(0, 0.3, (4, 3))}}  # fmt: skip
    x = draw.normal(size=(2, 6, 6, 2)) * (draw.random((2, 6, 6, 2)) < 0.5)

    def fn(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(x, p["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
        h = jax.nn.relu(h + p["conv"]["bias"])
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jax.nn.gelu(h.mean((1, 2))) @ p["head"]["kernel"]

    half, wide = (jax.tree.map(lambda a: jnp.asarray(a, d), (params, x)) for d in (dtype, jnp.float32))  # noqa: B023
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), half)  # the same numbers
    y, found = attribute(fn, *half, target=0, rules=name)
    _, expected = attribute(fn, *wide, target=0, rules=name)
    assert y.dtype == found.dtype == dtype
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=0.05 * float(jnp.abs(expected).max()))


def test_inside_of_a_shard_map():
    """At its default, that checks what varies from device to device."""
    mesh = jax.make_mesh((1,), ("data",))
    x, params = jax.device_put(X, NamedSharding(mesh, P("data"))), jax.device_put(PARAMS, NamedSharding(mesh, P()))
    composite = {
        "flat": "epsilon_plus_flat",
        "box": rules.ZBox(-3.0, 3.0),
        "square": rules.WSquare(),
        "gradient": rules.Gradient(),
    }
    explain = jax.shard_map(
        lambda p, x: attribute(network, p, x, target="argmax", rules=composite)[1],
        mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"),
    )  # fmt: skip
    _, expected = attribute(network, PARAMS, X, target="argmax", rules=composite)
    found = jax.jit(explain)(params, x)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)


def test_what_is_not_finite_is_named():
    broken = jax.tree.map(np.copy, PARAMS)
    broken["second"]["kernel"][1, 2] = np.nan
    for call in (
        lambda: attribute(network, broken, X, target="argmax"), lambda: gradient(network, broken, X, target=0),
        lambda: attribute(network, broken, X, target=0, batch_size=2),
        lambda: smoothgrad(network, broken, X, jax.random.key(0), target=0, rules="epsilon_plus"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="params at 'second/kernel' have NaN"):
            call()
    with pytest.raises(ValueError, match="the outputs of activation#.*, at test_arguments.py:.* are not finite"):
        attribute(lambda p, x: jnp.log(x - x) * 0 @ p["first"]["kernel"], PARAMS, X)
    with pytest.raises(ValueError, match=r"x\['a'\] is str"):
        attribute(lambda p, x: network(p, x["x"]), PARAMS, {"x": X, "a": "b"})
    masked = jax.tree.map(np.copy, PARAMS)

    def with_masked_class(p, x):  # minus infinity is a fair logit of a class that is not asked for
        return network(p, x).at[:, 2].set(-jnp.inf)

    _, found = attribute(with_masked_class, masked, X, target=0)
    assert np.isfinite(found).all()


def test_noise_of_a_sample_is_its_own():
    keys = jax.random.split(jax.random.key(3), 4)
    options = {"target": 0, "n": 4, "rules": "epsilon_plus"}
    _, whole = smoothgrad(network, PARAMS, X, keys, **options)
    for row in (0, 3):
        _, alone = smoothgrad(network, PARAMS, X[row : row + 1], keys[row : row + 1], **options)
        np.testing.assert_allclose(alone, whole[row : row + 1], atol=1e-5)
    _, one = smoothgrad(network, PARAMS, X, jax.random.key(3), **options)
    _, first = smoothgrad(network, PARAMS, X[:2], jax.random.key(3), **options)
    np.testing.assert_allclose(first, one[:2], atol=1e-5)
    assert np.abs(np.diff(np.asarray(one), axis=0)).min() > 0
