"""What holds for whole networks: conservation, identities, targets, places, several composites, compilation, chunks."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites, describe, rules
from kernels.attribution.engine import read


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def conv(layer, x, stride=1):
    y = lax.conv_general_dilated(
        x, layer["kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + layer["bias"]


def network(params, x):
    """Convolution, pooling, residual block, mean, dense; images [n, 8, 8, 3] to four outputs."""
    x = jax.nn.relu(conv(params["conv1"], x))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(x + conv(params["block"]["conv2"], x))
    return jnp.mean(x, (1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]


def parameters(bias=0.0, seed=0):
    draw = np.random.default_rng(seed)

    def layer(*shape):
        return {"kernel": draw.normal(0, 0.4, shape), "bias": bias * draw.normal(size=shape[-1])}

    return {"conv1": layer(3, 3, 3, 5), "block": {"conv2": layer(3, 3, 5, 5)}, "head": layer(5, 4)}


X = np.random.default_rng(9).normal(size=(3, 8, 8, 3))
LRP = ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_alpha2_beta1_flat", "epsilon_gamma_box")


def chosen(name):
    return composites.epsilon_gamma_box(-4.0, 4.0) if name == "epsilon_gamma_box" else getattr(composites, name)()


# Compiled whole: one by one, the operations of an explanation take XLA several times as long.
all_composites = jax.jit(
    lambda params, x: attribute(
        network, params, x, target="argmax", rules=[chosen(name) for name in LRP], return_report=True
    )
)


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_relevance_is_conserved_or_accounted_for(bias):
    params = parameters(bias)
    y, found, reports = all_composites(params, X)
    explained = float(y.max(-1).sum())
    for name, relevance, report in zip(LRP, found, reports, strict=True):
        kept = float((report.bias + report.epsilon + report.other).sum())
        np.testing.assert_allclose(float(relevance.sum()) + kept, explained, rtol=1e-12)
        np.testing.assert_allclose(report.other, 0.0, atol=1e-12 * abs(explained))
        assert name == "epsilon_gamma_box" or bool(np.any(report.bias)) == bool(bias)
    if not bias:  # alpha-beta loses what dead units had
        np.testing.assert_allclose(float(found[1].sum()), explained, rtol=1e-5)
    assert "head" in str(reports[0]) and "explained" in str(reports[0])


@pytest.mark.slow
def test_rules_that_are_the_same():
    params = parameters(0.2)
    pairs = [
        (rules.ZPlus(), rules.AlphaBeta(1, 0)),
        (rules.Gamma(0.0), rules.Epsilon()),
        (rules.Norm(), rules.Epsilon(1e-6)),
        (composites.gradient(), composites.Composite(default=rules.Gradient())),
        ("epsilon_plus", composites.epsilon_plus()),
    ]
    for one, other in pairs:
        _, (first, second) = attribute(network, params, X, target=1, rules=[one, other])
        np.testing.assert_allclose(first, second, atol=1e-12 * np.abs(first).max())


def test_without_bias_and_epsilon_relevance_is_input_times_gradient():
    params = parameters()
    exact = composites.Composite((("affine", rules.Epsilon(0.0)), ("sum", rules.Norm(0.0))))
    _, relevance = attribute(network, params, X, target=2, rules=exact)
    gradient = jax.grad(lambda x: network(params, x)[:, 2].sum())(X)
    np.testing.assert_allclose(relevance, X * gradient, atol=1e-12)
    _, ours = attribute(network, params, X, target=np.eye(4)[[2] * 3], rules=composites.gradient())
    np.testing.assert_allclose(ours, gradient, atol=1e-13)


def test_targets():
    params = parameters(0.1)
    y = network(params, X)
    one = np.eye(4)
    for target, start in [
        (None, y),
        (1, y * one[1]),
        (-1, y * one[3]),
        ([0, 3, 2], y * one[[0, 3, 2]]),
        ("argmax", y * one[np.argmax(y, -1)]),
        (lambda y: y**2, y**2),
    ]:
        target = np.asarray(target) if isinstance(target, list) else target
        ours, from_start = (
            attribute(network, params, X, target=t, rules="epsilon_plus")[1] for t in (target, np.asarray(start))
        )
        np.testing.assert_allclose(ours, from_start, atol=1e-14)


def test_relevance_inside():
    params = parameters()
    names = ("conv1", "relu#1", "block/conv2", "block/conv2:input", "head:input", "max_pool#1", "x")
    y, found = attribute(network, params, X, target="argmax", rules="epsilon_plus", at=names)
    assert found["conv1"].shape == (3, 8, 8, 5) and found["head:input"].shape == (3, 5)
    assert found["block/conv2:input"].shape == found["max_pool#1"].shape == (3, 4, 4, 5)
    for name in ("conv1", "head:input", "max_pool#1"):  # every path leads through these
        np.testing.assert_allclose(float(found[name].sum()), float(y.max(-1).sum()), rtol=1e-4)
    np.testing.assert_array_equal(found["relu#1"], found["conv1"])
    _, alone = attribute(network, params, X, target="argmax", rules="epsilon_plus", at="conv1")
    np.testing.assert_array_equal(alone, found["conv1"])
    # From inside on, the same as explaining the rest of the network.
    _, rest = attribute(
        lambda p, h: jax.nn.relu(h + conv(p["block"]["conv2"], h)).mean((1, 2)) @ p["head"]["kernel"],
        params, _pooled(params), target="argmax", rules="epsilon_plus",
    )  # fmt: skip
    np.testing.assert_allclose(rest, found["max_pool#1"], atol=1e-12)


def _pooled(params):
    h = jax.nn.relu(conv(params["conv1"], X))
    return lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def test_compiled_eager_chunked_single_and_mapped_are_equal():
    params = parameters(0.1)
    target = np.array([1, 0, 3])

    def run(x, target, **options):
        return attribute(network, params, x, target=target, rules="epsilon_alpha2_beta1", **options)[1]

    eager = run(X, target)
    scale = np.abs(eager).max()
    np.testing.assert_allclose(jax.jit(run)(X, target), eager, atol=1e-12 * scale)
    np.testing.assert_allclose(run(X, target, batch_size=2), eager, atol=1e-12 * scale)
    inside = jax.eval_shape(lambda x: run(x, target, batch_size=1, at="head:input"), X)
    assert inside.shape == (3, 5)
    np.testing.assert_allclose(jax.jit(run)(X[1:2], target[1:2]), eager[1:2], atol=1e-12 * scale)
    mapped = jax.jit(jax.vmap(lambda x, t: run(x[None], t[None])[0]))(jnp.asarray(X), target)
    np.testing.assert_allclose(mapped, eager, atol=1e-12 * scale)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, parameters(seed=1))
    by_parameters = jax.jit(
        jax.vmap(lambda p: attribute(network, p, X, target=target, rules="epsilon_alpha2_beta1")[1])
    )(both)
    np.testing.assert_allclose(by_parameters[0], eager, atol=1e-12 * scale)


@pytest.mark.parametrize(
    "composite",
    [
        composites.epsilon_plus_flat(0.05, 0.05),
        pytest.param(composites.epsilon_gamma_box(-4.0, 4.0, 0.05, stabilizer=0.05), marks=pytest.mark.slow),
        pytest.param(composites.epsilon_alpha2_beta1(0.05, 0.05), marks=pytest.mark.slow),
    ],
    ids=["plus_flat", "gamma_box", "alpha2_beta1"],
)
def test_relevance_has_a_gradient(composite):
    """An explanation loss: its derivative in weights and in the input, against central differences.

    Epsilon is large because the derivative of 1 / (z + epsilon) is otherwise steeper than differences can see.
    """
    params = parameters(0.2)
    draw = np.random.default_rng(4)
    weights = draw.normal(size=X.shape)

    def loss(params, x):
        _, relevance = attribute(network, params, x, target=1, rules=composite)
        return jnp.sum(weights * relevance**2)

    gradient = jax.jit(jax.grad(loss, (0, 1)))(params, jnp.asarray(X))
    loss = jax.jit(loss)
    direction = jax.tree.map(lambda a: draw.normal(size=np.shape(a)), (params, X))
    step = 1e-6
    ends = [loss(*jax.tree.map(lambda a, d: a + s * d, (params, X), direction)) for s in (step, -step)]  # noqa: B023
    expected = (ends[0] - ends[1]) / (2 * step)
    found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pytrees_and_unattributed_inputs():
    params = {"w": np.random.default_rng(0).normal(size=(4, 3)), "table": np.eye(5, 3)}
    x = {"left": np.ones((2, 4)), "right": np.full((2, 3), 0.5), "ids": np.array([1, 4])}
    y, relevance = attribute(
        lambda p, x: x["left"] @ p["w"] + x["right"] + p["table"][x["ids"]],
        params,
        x,
        target=None,
        rules=rules.Epsilon(),
    )
    assert jax.tree.structure(relevance) == jax.tree.structure(x)
    np.testing.assert_allclose(relevance["ids"], [1.0, 0.0], atol=1e-4)  # the sums of the rows that are added
    assert np.any(relevance["left"]) and np.any(relevance["right"])


def test_names_kinds_and_order():
    rows = describe(network, jax.eval_shape(lambda: parameters()), jax.ShapeDtypeStruct((1, 8, 8, 3), np.float64))
    assert [row["name"] for row in rows if "affine" in row["kinds"]] == ["conv1", "block/conv2", "head"]
    assert [row["kinds"][0] for row in rows] == [
        "conv", "relu", "max_pool", "conv", "sum", "relu", "avg_pool", "dense",
    ]  # fmt: skip
    assert rows[0]["rule"].startswith("Flat") and rows[3]["rule"].startswith("ZPlus")


def test_a_layer_keeps_its_name_beside_everything_else():
    """Named as a kind, with parameters that something else reads first, or used twice."""
    params = {"conv": {"kernel": np.ones((3, 3, 3, 3)), "gain": np.ones((8, 8, 1)), "bias": np.ones(3)}}
    rows = describe(lambda p, x: jax.nn.relu(conv(p["conv"], jnp.tanh(x * p["conv"]["gain"]))), params, X)
    assert [row["name"] for row in rows] == ["conv#2", "activation#1", "conv", "relu#1"]
    twice = describe(lambda p, x: conv(p["conv"], jax.nn.relu(conv(p["conv"], x))), params, X)
    assert [row["name"] for row in twice] == ["conv#1", "relu#1", "conv#2"]


def test_rules_by_name_and_by_place():
    params = parameters()
    program = read(network, params, X)
    by_name = composites.Composite(name_map=[("block/*", rules.WSquare()), (("head", "conv1"), rules.Flat())])
    assigned = dict(zip((o.name for o in program.operations), by_name.assign(program.operations), strict=True))
    assert assigned["block/conv2"] == rules.WSquare() and assigned["head"] == assigned["conv1"] == rules.Flat()
    assert assigned["relu#1"] is None
    both = composites.mixed(by_name, composites.epsilon_plus())
    assigned = dict(zip((o.name for o in program.operations), both.assign(program.operations), strict=True))
    assert assigned["block/conv2"] == rules.WSquare() and assigned["relu#1"] == rules.Pass()
    first = composites.epsilon_plus_flat(first="block/conv2")
    assigned = dict(zip((o.name for o in program.operations), first.assign(program.operations), strict=True))
    assert assigned["block/conv2"] == rules.Flat() and assigned["conv1"] == rules.ZPlus()


@pytest.mark.slow
def test_single_precision_is_near_double():
    params = parameters(0.1)
    names = [chosen(name) for name in LRP]
    _, double = attribute(network, params, X, target=1, rules=names)
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), (params, X))
    _, found = attribute(network, *single, target=1, rules=names)
    for ours, exact in zip(found, double, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, exact, atol=1e-5 * np.abs(exact).max())
