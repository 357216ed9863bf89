"""One network in NNX, in Linen and as a plain function explains itself in the same way; real networks in one call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from common import models
from kernels.attribution import attribute, composites, describe, rules

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
# layer -> (window, channels in, channels out, stride); its norm follows
CONVOLUTIONS = {"stem": (3, 3, 6, 1), "a": (3, 6, 6, 1), "b": (3, 6, 6, 1), "c": (3, 6, 8, 2), "d": (3, 8, 8, 1),
                "short": (1, 6, 8, 2)}  # fmt: skip


def weights():
    draw = np.random.default_rng(1)
    tree = {}
    for name, (window, inputs, outputs, _) in CONVOLUTIONS.items():
        tree[name] = {"kernel": draw.normal(0, (2 / (window**2 * inputs)) ** 0.5, (window, window, inputs, outputs))}
        tree[f"{name}_norm"] = {
            "scale": draw.uniform(0.5, 1.5, outputs), "bias": draw.normal(0, 0.1, outputs),
            "mean": draw.normal(0, 0.2, outputs), "var": draw.uniform(0.5, 2, outputs),
        }  # fmt: skip
    tree["head"] = {"kernel": draw.normal(size=(8, 5)), "bias": draw.normal(0, 0.1, 5)}
    return jax.tree.map(lambda a: a.astype(np.float32), tree)


def forward(block, head, x):
    """The residual network in terms of `block(name, x)`, a convolution with its norm."""
    x = jax.nn.relu(block("stem", x))
    x = jax.nn.relu(x + block("b", jax.nn.relu(block("a", x))))
    x = jax.nn.relu(block("d", jax.nn.relu(block("c", x))) + block("short", x))
    x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    return head(jnp.mean(x, axis=(1, 2)))


def plain(params, x):
    def block(name, x):
        stride, p = CONVOLUTIONS[name][3], params[f"{name}_norm"]
        y = lax.conv_general_dilated(
            x, params[name]["kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return (y - p["mean"]) / jnp.sqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]

    return forward(block, lambda x: x @ params["head"]["kernel"] + params["head"]["bias"], x)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        def block(name, x):
            window, _, features, stride = CONVOLUTIONS[name]
            x = linen.Conv(features, (window,) * 2, strides=stride, use_bias=False, name=name)(x)
            return linen.BatchNorm(use_running_average=True, name=f"{name}_norm")(x)

        return forward(block, linen.Dense(5, name="head"), x)


class Nnx(nnx.Module):
    def __init__(self, tree):
        rngs = nnx.Rngs(0)
        for name, (window, inputs, outputs, stride) in CONVOLUTIONS.items():
            conv = nnx.Conv(inputs, outputs, (window,) * 2, strides=stride, use_bias=False, rngs=rngs)
            setattr(self, name, conv)
            setattr(self, f"{name}_norm", nnx.BatchNorm(outputs, use_running_average=True, rngs=rngs))
        self.head = nnx.Linear(8, 5, rngs=rngs)
        for name, arrays in tree.items():
            for kind, array in arrays.items():
                getattr(getattr(self, name), kind)[...] = array

    def __call__(self, x):
        return forward(lambda name, x: getattr(self, f"{name}_norm")(getattr(self, name)(x)), self.head, x)


def functions():
    """Returns name -> (fn, params)."""
    tree = weights()
    statistics = {name: {k: p[k] for k in ("mean", "var")} for name, p in tree.items() if "var" in p}
    trained = {name: {k: v for k, v in p.items() if k not in ("mean", "var")} for name, p in tree.items()}
    graph, state = nnx.split(Nnx(tree))
    return {
        "plain": (plain, tree),
        "linen": (Linen().apply, {"params": trained, "batch_stats": statistics}),
        "nnx": (lambda state, x: nnx.merge(graph, state)(x), state),
    }


def test_three_frameworks_one_explanation():
    names = ("epsilon_plus_flat", "epsilon_alpha2_beta1", "guided_backprop")
    box = composites.epsilon_gamma_box(-3.0, 3.0)
    found, layers = {}, {}
    for framework, (fn, params) in functions().items():
        run = jax.jit(lambda p, x: attribute(fn, p, x, target="argmax", rules=[*names, box]))  # noqa: B023
        found[framework] = run(params, X)
        rows = describe(fn, params, X)
        layers[framework] = [(row["name"], row["kinds"], row["folded"]) for row in rows if "affine" in row["kinds"]]
        assert [row["kinds"][0] for row in rows].count("norm_layer") == 0
    y, relevance = found["plain"]
    assert layers["plain"][0] == ("stem", ("conv", "affine"), ("stem_norm",))
    for framework in ("linen", "nnx"):
        assert layers[framework] == layers["plain"]
        np.testing.assert_allclose(found[framework][0], y, rtol=1e-4, atol=1e-5)
        for ours, expected in zip(found[framework][1], relevance, strict=True):
            np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet5", pytest.param("small_vgg16", marks=pytest.mark.slow)])
def test_the_networks_of_the_repository(name):
    """As they are on this machine, whatever they compute convolutions with."""
    network = models.create(name, rngs=nnx.Rngs(0), width=0.1)
    fn, tree = models.apply_function(network), models.to_tree(network)
    x = np.random.default_rng(2).uniform(size=(1, *models.input_shape(name))).astype(np.float32)
    rows = describe(fn, tree, x)
    assert {row["kinds"][0] for row in rows} <= {"conv", "dense", "relu", "max_pool", "layout"}
    compiled = jax.jit(fn)
    compiled(tree, x)  # traced for speed before it is explained
    y, relevance = jax.jit(lambda p, x: attribute(compiled, p, x, target="argmax"))(tree, x)
    np.testing.assert_allclose(y, network_outputs(network, x), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(float(relevance.sum()), float(y.max()), rtol=2e-3)


def network_outputs(network, x):
    network.eval()
    return network(jnp.asarray(x))


@pytest.mark.slow
def test_efficientnet_in_one_call():
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0), num_classes=7, input_shape=(64, 64, 3))
    fn, tree = models.apply_function(network), models.to_tree(network)
    x = np.random.default_rng(2).normal(size=(1, 64, 64, 3)).astype(np.float32)
    kinds = [row["kinds"][0] for row in describe(fn, tree, x)]
    assert kinds.count("conv") == 49 and kinds.count("dense") == 1 and "norm_layer" not in kinds
    y, relevance = jax.jit(lambda p, x: attribute(fn, p, x, target="argmax"))(tree, x)
    assert relevance.shape == x.shape and bool(jnp.all(jnp.isfinite(relevance)))
    np.testing.assert_allclose(float(relevance.sum()), float(y.max()), rtol=1e-2)


def test_efficientnet_is_seen_as_convolutions():
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0), num_classes=7, input_shape=(64, 64, 3))
    rows = describe(models.apply_function(network), models.to_tree(network), np.zeros((1, 64, 64, 3), np.float32))
    kinds = [row["kinds"][0] for row in rows]
    assert kinds.count("conv") == 49 and kinds.count("dense") == 1 and kinds.count("avg_pool") == 1
    assert set(kinds) == {"conv", "dense", "avg_pool", "activation", "sum"}
    assert all(row["folded"] for row in rows if row["kinds"][0] == "conv")


@pytest.mark.slow
def test_a_dense_block_with_concatenation():
    """Norm, ReLU and convolution in this order: the norm reads a concatenation and passes relevance."""
    draw = np.random.default_rng(3)
    params = {f"conv{i}": {"kernel": draw.normal(0, 0.3, (3, 3, 3 + 2 * i, 2))} for i in range(3)}
    params |= {
        f"norm{i}": {"scale": draw.uniform(0.5, 2, 3 + 2 * i), "bias": draw.normal(size=3 + 2 * i)} for i in range(3)
    }
    params = jax.tree.map(lambda a: a.astype(np.float32), params)

    def fn(p, x):
        for i in range(3):
            h = jax.nn.relu(x * p[f"norm{i}"]["scale"] + p[f"norm{i}"]["bias"])
            numbers = ("NHWC", "HWIO", "NHWC")
            h = lax.conv_general_dilated(h, p[f"conv{i}"]["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
            x = jnp.concatenate([x, h], -1)
        return x.mean((1, 2))

    y, relevance, report = attribute(fn, params, X, target="argmax", rules=rules.Epsilon(), return_report=True)
    assert [row["kinds"][0] for row in describe(fn, params, X)].count("norm_layer") == 6
    kept = float((report.bias + report.epsilon + report.other).sum())
    np.testing.assert_allclose(float(relevance.sum()) + kept, float(y.max(-1).sum()), rtol=1e-4)
