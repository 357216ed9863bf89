"""Analyzers by name, in both semantics, against float64 oracles written from the formulas."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import composites, innvestigate, rules
from kernels.attribution.attributors import gradients
from kernels.attribution.stabilize import ZeroGuard
from tests.kernels.attribution import layered, layered_cases
from tests.kernels.oracles import innvestigate as oracle
from tests.kernels.oracles.innvestigate import RULES

pytestmark = pytest.mark.filterwarnings("ignore:every input has the same relevance")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def everywhere(rule):
    return lambda node, first: rule


def preset(convolution, epsilon=0.1, flat=False, bound=-1):
    dense = oracle.with_options(oracle.epsilon_rule, epsilon=epsilon)

    def kernel(node, first):
        if (flat and first) or node.number <= bound:
            return RULES["Flat"]
        return dense if node.step["op"] == "dense" else RULES[convolution]

    return {"kernel": kernel, "norm": RULES["AlphaBetaX2m100"]}


def fixed(name):
    return {"kernel": everywhere(RULES[name]), "norm": RULES[name]}


BOX = oracle.with_options(oracle.bounded, low=layered_cases.LOW, high=layered_cases.HIGH)
SMALL = oracle.with_options(oracle.epsilon_rule, epsilon=0.2, bias=False)
THREE = oracle.with_options(oracle.alpha_beta, alpha=3.0, beta=2.0)
LRP = {
    "lrp.z": fixed("Z"),
    "lrp.z_IB": fixed("ZIgnoreBias"),
    "lrp.epsilon": fixed("Epsilon"),
    "lrp.epsilon_IB": fixed("EpsilonIgnoreBias"),
    "lrp.epsilon 0.2": {"kernel": everywhere(SMALL), "norm": SMALL},
    "lrp.w_square": fixed("WSquare"),
    "lrp.flat": fixed("Flat"),
    "lrp.alpha_beta": {"kernel": everywhere(THREE), "norm": THREE},
    "lrp.alpha_2_beta_1": fixed("Alpha2Beta1"),
    "lrp.alpha_2_beta_1_IB": fixed("Alpha2Beta1IgnoreBias"),
    "lrp.alpha_1_beta_0": fixed("Alpha1Beta0"),
    "lrp.alpha_1_beta_0_IB": fixed("Alpha1Beta0IgnoreBias"),
    "lrp.z_plus": fixed("ZPlus"),
    "lrp.z_plus_fast": fixed("ZPlusFast"),
    "lrp.sequential_preset_a": preset("Alpha1Beta0"),
    "lrp.sequential_preset_b": preset("Alpha2Beta1", epsilon=0.25),
    "lrp.sequential_preset_a_flat": preset("Alpha1Beta0", flat=True),
    "lrp.sequential_preset_b_flat": preset("Alpha2Beta1", flat=True),
    "lrp bounded input": {"kernel": lambda node, first: BOX if first else RULES["Alpha1Beta0"]},
    "lrp ignoring biases": {"kernel": everywhere(RULES["AlphaBetaX1000"])},
}
CASES = layered_cases.ANALYZERS | {"lrp.z_IB": ("lrp.z_IB", {}), "lrp.epsilon_IB": ("lrp.epsilon_IB", {})}


def expected_of(label, plan, values, x):
    """What the oracle has for a label; None where it says that the network is refused."""
    analyzer, options = CASES[label]
    post = options.get("postprocess")
    if analyzer == "input":
        return x
    if analyzer.startswith("gradient"):
        return oracle.gradient(plan, values, x, postprocess=post)
    if analyzer == "input_t_gradient":
        return x * oracle.gradient(plan, values, x)
    if analyzer == "integrated_gradients":
        points = [x * k / options["steps"] for k in range(options["steps"])]
        return x * oracle.mean_gradient(plan, values, points, x, post)
    if label in LRP:
        return oracle.lrp(plan, values, x, **LRP[label])
    if "tanh" in str(plan):
        return None
    if analyzer.startswith("deep_taylor"):
        return oracle.deep_taylor(plan, values, x, BOX if "bounded" in analyzer else None)
    return oracle.by_relus(plan, values, x, "deconvnet" if analyzer == "deconvnet" else "guided")


def error(found, expected):
    return np.abs(np.asarray(found) - expected).max() / max(np.abs(expected).max(), 1e-12)


def ours(analyzer, fn, values, x, semantics="innvestigate", target=None, key=None, **options):
    return attribution.analyzer(analyzer, semantics, **options)(fn, layered.nested(values), x, target=target, key=key)


def check(plan, values, x, labels):
    fn, wrong = layered.function(plan), {}
    y, *_ = oracle.forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    for label in labels:
        analyzer, options = CASES[label]
        expected = expected_of(label, plan, values, x)
        if expected is None:
            with pytest.raises(ValueError, match="activations are ReLUs, and there is another one"):
                ours(analyzer, fn, values, x, **options)
            continue
        y_found, found = ours(analyzer, fn, values, x, **options)
        np.testing.assert_allclose(y_found, y, rtol=0, atol=1e-12)
        assert found.shape == x.shape and found.dtype == jnp.float64
        print(f"{label:30} {error(found, expected):.1e}")
        if error(found, expected) > 1e-9:
            wrong[label] = error(found, expected)
    assert not wrong


QUICK = ("norms",)  # all others with make test-all


@pytest.mark.parametrize(
    "network",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in layered_cases.NETWORKS],
)
def test_every_analyzer(network):
    plan, _, values, x = layered_cases.case(network, seed=2)
    check(plan, values, x, CASES)


def random_plan(index):
    """Two or three convolutions of random geometry, some with norms, a pooling, perhaps branches, dense layers."""
    draw = np.random.default_rng([13, index])
    steps, inputs = [], 2
    for number in range(int(draw.integers(2, 4))):
        outputs, groups = int(2 * draw.integers(1, 3)), int(draw.choice([1, 2]))
        steps.append(
            layered.conv(
                f"c{number}", inputs, outputs, int(draw.choice([1, 3])), groups=groups, padding="same",
                stride=int(draw.choice([1, 2])), bias=draw.random() < 0.7, activation=draw.choice(["relu", None]),
            )
        )  # fmt: skip
        if draw.random() < 0.5:
            steps += [layered.norm(f"n{number}", outputs), layered.activation()]
        if draw.random() < 0.5:
            block = [layered.conv(f"b{number}", outputs, outputs, 3, padding="same")]
            steps += [layered.residual(block), layered.activation()]
        inputs = outputs
    steps += [layered.GLOBAL_AVERAGE, layered.dense("fc1", inputs, 5, activation="relu"), layered.dense("fc2", 5, 3)]
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("index", range(6))
def test_random_networks(index):
    plan = random_plan(index)
    x = np.random.default_rng([17, index]).normal(size=(2, 8, 8, 2))
    check(plan, layered.parameters(plan, index), x, CASES)


def dense_case(seed=4):
    plan, fn, values, x = layered_cases.case("dense", seed)
    y, _, _ = oracle.forward(plan, values, x, x.shape[1:])
    return plan, fn, values, x, y


SELECTED = {
    "one": ({"target": 2}, {"index": 2}),
    "one a sample": ({"target": np.array([0, -1, 1])}, {"index": np.array([0, 3, 1])}),
    "all": ({"neuron_selection": "all"}, {"mode": "all"}),
    "the largest": ({"target": "max_activation"}, {}),
    "index": ({"neuron_selection": "index", "target": 1}, {"index": 1}),
}


@pytest.mark.parametrize("label", SELECTED)
def test_which_output_is_explained(label):
    plan, fn, values, x, y = dense_case()
    mine, theirs = SELECTED[label]
    nodes = oracle.forward(plan, values, x, x.shape[1:])[2]
    policy = oracle.Policy(everywhere(RULES["Epsilon"]), activation="pass")
    expected = oracle.backward(nodes, oracle.start(y, **theirs), policy)
    assert error(ours("lrp.epsilon", fn, values, x, **mine)[1], expected) < 1e-9
    expected = oracle.gradient(plan, values, x, r=oracle.start(y, "one", **theirs))
    assert error(ours("gradient", fn, values, x, **mine)[1], expected) < 1e-9
    expected = oracle.backward(
        nodes, oracle.start(y, "positive", **theirs),
        oracle.Policy(everywhere(RULES["Alpha1Beta0IgnoreBias"]), activation="pass"),
    )  # fmt: skip
    assert error(ours("deep_taylor", fn, values, x, **mine)[1], expected) < 1e-9


def test_what_several_share_is_split_and_outputs_of_several_axes_count_as_one():
    fn, weight, x = lambda w, x: (x @ w).reshape(1, 2, 2), np.array([[1.0, 1.0, 0.0, 0.5]]), np.array([[2.0]])
    assert attribution.analyzer("lrp.z")(fn, weight, x)[1].tolist() == [[2.0]]  # 1 each
    assert attribution.analyzer("gradient")(fn, weight, x)[1].tolist() == [[1.0]]
    assert attribution.analyzer("gradient")(fn, weight, x, target=3)[1].tolist() == [[0.5]]
    assert attribution.analyzer("lrp.z")(fn, weight, x, target=-1)[1].tolist() == [[1.0]]
    points = attribution.analyzer("integrated_gradients", steps=3)(fn, weight, x)[1]
    assert points.tolist() == [[2.0]]  # one of them, looked for once
    negative = attribution.analyzer("deep_taylor")(lambda w, x: -(x @ w), weight, x)
    assert negative[1].tolist() == [[0.0]]  # starts at max(y, 0)


def test_a_list_of_rules_is_taken_from_its_end_and_pairs_by_kind():
    plan, fn, values, x, _ = dense_case()
    names = ("Flat", "WSquare", "Alpha2Beta1")
    expected = oracle.lrp(plan, values, x, lambda node, first: RULES[names[2 - node.number]])
    assert error(ours("lrp", fn, values, x, rule=list(names))[1], expected) < 1e-9
    pairs = [("conv", "Flat"), (lambda layer: layer.name == "fc2", innvestigate.WSquare()), (("dense",), "Z")]
    expected = oracle.lrp(plan, values, x, lambda node, first: RULES["WSquare" if node.number == 1 else "Z"])
    assert error(ours("lrp", fn, values, x, rule=pairs)[1], expected) < 1e-9
    with pytest.raises(ValueError, match="rule has 2 rules, and the function 3 layers with weights .fc1, fc2, fc3."):
        ours("lrp", fn, values, x, rule=["Z", "Flat"])
    with pytest.raises(ValueError, match="no rule applies to fc1.*kinds dense, affine: add a pair"):
        ours("lrp", fn, values, x, rule=[("conv", "Z")])


def test_rules_up_to_a_layer_and_at_the_input():
    plan, fn, values, x, _ = dense_case()
    expected = oracle.lrp(plan, values, x, **preset("Alpha2Beta1", flat=True, bound=1))
    for until in (1, "fc2", "*2"):
        found = ours("lrp.sequential_preset_b_flat_until_idx", fn, values, x, until_layer_idx=until)[1]
        assert error(found, expected) < 1e-9
    low, high = np.full(7, -4.0), np.linspace(3, 5, 7)
    box = oracle.with_options(oracle.bounded, low=low, high=high)
    expected = oracle.lrp(plan, values, x, lambda node, first: box if first else RULES["Z"])
    assert error(ours("lrp", fn, values, x, rule="Z", input_layer_rule=(low, high))[1], expected) < 1e-9
    with pytest.raises(ValueError, match="until_layer_idx=3: expected below 3"):
        ours("lrp", fn, values, x, rule="Z", until_layer_idx=3)
    with pytest.raises(ValueError, match="until_layer_idx='c' names no layer with weights; there are fc1, fc2, fc3"):
        ours("lrp", fn, values, x, rule="Z", until_layer_idx="c")


def test_the_input_layer_lies_behind_what_only_moves_or_scales_by_constants():
    weight, x = {"a": {"kernel": np.array([[1.0, -2.0], [3.0, 1.0]])}}, np.array([[4.0, 6.0]])

    def scaled(p, x):
        return (x / 2.0 - 1.0).reshape(1, 2) @ p["a"]["kernel"]

    analyzer = attribution.analyzer("lrp", rule="Z", input_layer_rule="Flat")
    _, found = analyzer(scaled, weight, x, target=0)
    np.testing.assert_allclose(found, [[3.5 * 2 / 1, 3.5 * 3 / 2]], rtol=1e-6)  # evenly, then Z of x / 2 - 1

    def trained(p, x):
        return (x * p["n"]["scale"] + p["n"]["shift"]) @ p["a"]["kernel"] @ p["b"]["kernel"]

    more = weight | {"b": weight["a"], "n": {"scale": np.ones(2), "shift": np.ones(2)}}
    with pytest.raises(ValueError, match="no layer with weights has the model's inputs as its own.*n"):
        attribution.analyzer("lrp.sequential_preset_a_flat")(trained, more, x, target=0)


@pytest.mark.parametrize("as_coded", [False, True])
@pytest.mark.parametrize("mode", ["one_linear", "two_linear"])
def test_norms_with_rules_of_layers(mode, as_coded):
    plan, fn, values, x = layered_cases.case("dense norms", 3)
    for name in ("Epsilon", "AlphaBetaX1001", "Alpha2Beta1"):
        rule = RULES[name]
        if name == "AlphaBetaX1001" and as_coded:
            rule = oracle.with_options(oracle.alpha_beta_x, alpha=(1, 1), beta=(0, 0), as_coded=True)
        expected = oracle.lrp(
            plan, values, x, everywhere(RULES["Z"]), rule, two=mode == "two_linear", as_coded=as_coded
        )
        found = ours("lrp", fn, values, x, rule="Z", bn_layer_rule=name, bn_layer_fuse_mode=mode, as_coded=as_coded)[1]
        assert error(found, expected) < 1e-9, name


def test_norms_however_they_are_written():
    plan, _, values, x = layered_cases.case("dense norms", 3)
    tree = layered.nested(values)
    layer = tree["n1"]
    scale = layer["gamma"] / np.sqrt(layer["variance"] + layered.EPSILON)
    tree["n1"] = {"scale": scale, "shift": layer["beta"] - scale * layer["mean"]}

    def fn(p, x):
        parts = []
        for step in plan:
            if step["op"] == "batch_norm":
                parts.append(lambda x, n=step["name"]: x * p[n]["scale"] + p[n]["shift"])
            else:
                parts.append(lambda x, one=[step]: layered.function(one)(p, x))
        for part in parts:
            x = part(x)
        return x

    for analyzer in ("lrp.epsilon", "lrp.sequential_preset_a"):
        expected = expected_of(analyzer, plan, values, x)
        assert error(attribution.analyzer(analyzer)(fn, tree, x)[1], expected) < 1e-9
    with pytest.raises(ValueError, match="scales by no root of a variance"):
        attribution.analyzer("lrp.epsilon", bn_layer_fuse_mode="two_linear")(fn, tree, x)


def test_norms_that_are_held_by_a_statistic_of_each_sample():
    def fn(p, x):
        h = x @ p["a"]["kernel"]
        centred = h - h.mean(-1, keepdims=True)
        return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 0.1) @ p["b"]["kernel"]

    draw = np.random.default_rng(0)
    params = {"a": {"kernel": draw.normal(size=(4, 5))}, "b": {"kernel": draw.normal(size=(5, 3))}}
    x = draw.normal(size=(2, 4))
    y, found = attribution.analyzer("lrp.z")(fn, params, x, target=1)
    np.testing.assert_allclose(np.isfinite(found), True)
    y, epsilon = attribution.analyzer("lrp.epsilon")(fn, params, x, target=1)
    np.testing.assert_allclose(epsilon, found, rtol=1e-4)


@pytest.mark.parametrize("linear", ["alpha_1_beta_0_IB", "w_square"])
def test_deep_taylor_of_layers_without_a_relu(linear):
    plan, fn, values, x, _ = dense_case()
    rule = RULES["WSquare"] if linear == "w_square" else None
    expected = oracle.deep_taylor(plan, values, x, linear=rule)
    assert error(ours("deep_taylor", fn, values, x, linear=linear)[1], expected) < 1e-9


def test_relus_that_are_layers_of_their_own():
    plan = [layered.dense("fc1", 5, 6), layered.norm("n", 6), layered.RELU_LAYER, layered.dense("fc2", 6, 3)]
    values, x = layered.parameters(plan, 3), np.random.default_rng(3).normal(size=(3, 5))
    for relu in ("pass", "gradient"):
        expected = oracle.lrp(plan, values, x, everywhere(RULES["Flat"]), alone=relu)
        assert error(ours("lrp", layered.function(plan), values, x, rule="Flat", relu=relu)[1], expected) < 1e-9


def test_smoothgrad():
    plan, fn, values, x, y = dense_case()
    key = jax.random.key(3)
    keys = gradients._keys(key, x)
    draws = [np.asarray(gradients._drawn(keys, n, 0, x)) for n in range(4)]
    expected = oracle.mean_gradient(plan, values, [x + 0.5 * draw for draw in draws], x)
    found = ours("smoothgrad", fn, values, x, key=key, augment_by_n=4, noise_scale=0.5)[1]
    assert error(found, expected) < 1e-9
    expected = oracle.mean_gradient(plan, values, [x + draw for draw in draws], x, "square")
    found = ours(
        "smoothgrad", fn, values, x, key=key, augment_by_n=4, noise_scale=0.5, postprocess="square", as_coded=True
    )
    assert error(found[1], expected) < 1e-9  # noise_scale is not read there
    with pytest.raises(ValueError, match="smoothgrad draws noise: give a key"):
        ours("smoothgrad", fn, values, x)


def test_the_input_and_noise():
    _, fn, values, x, y = dense_case()
    np.testing.assert_array_equal(ours("input", fn, values, x)[1], x)
    key = jax.random.key(0)
    found = ours("random", fn, values, x, key=key, stddev=2.0)
    np.testing.assert_allclose(found[0], y, atol=1e-12)
    noise = (np.asarray(found[1]) - x) / 2
    np.testing.assert_allclose(noise, np.asarray(ours("random", fn, values, x, key=key)[1]) - x, atol=1e-12)
    wide = np.zeros((1000, 100))
    many = np.asarray(attribution.analyzer("random")(lambda p, x: x, {}, wide, key=key)[1])
    # Of 100,000 standard normal numbers: mean within 6 / sqrt(n), variance within 6 sqrt(2 / n), missed once in 1e8.
    assert abs(many.mean()) < 6 / np.sqrt(many.size) and abs(many.var() - 1) < 6 * np.sqrt(2 / many.size)
    with pytest.raises(ValueError, match="random draws noise: give the call a key"):
        ours("random", fn, values, x)


SOME = ("lrp.alpha_2_beta_1", "lrp.sequential_preset_b_flat", "gradient", "deep_taylor", "integrated_gradients")


@pytest.mark.parametrize("name", SOME)
def test_a_batch_is_its_samples_and_compiled_is_eager(name):
    plan, fn, values, x = layered_cases.case("dense norms", 5, samples=2)
    tree, analyzer = layered.nested(values), attribution.analyzer(name)
    y, found = analyzer(fn, tree, x)
    _, one = analyzer(fn, tree, x[1:])
    np.testing.assert_allclose(one[0], found[1], rtol=0, atol=1e-12 * np.abs(found).max())
    _, compiled = jax.jit(lambda p, x: analyzer(fn, p, x))(tree, x)
    np.testing.assert_allclose(compiled, found, rtol=0, atol=1e-12 * np.abs(found).max())

    def mapped(p, x):
        return jax.vmap(lambda sample: fn(p, sample[None])[0])(x)

    if name != "integrated_gradients":
        np.testing.assert_allclose(analyzer(mapped, tree, x)[1], found, rtol=0, atol=1e-11 * np.abs(found).max())


def test_biases_wherever_they_stand():
    plan, _, values, x, _ = dense_case()
    weights = [values[f"fc{n}/kernel"] for n in (1, 2, 3)]
    biases = {"all": [values[f"fc{n}/bias"] for n in (1, 2, 3)]}

    def fn(p, x):
        for number, (w, b) in enumerate(zip(p[0], p[1]["all"], strict=True)):
            x = b + jnp.dot(x, w)
            x = jnp.maximum(x, 0) if number < 2 else x
        return x

    for name in ("lrp.epsilon 0.2", "lrp.alpha_2_beta_1", "lrp.z"):
        analyzer, options = CASES[name]
        found = attribution.analyzer(analyzer, **options)(fn, (weights, biases), x)[1]
        assert error(found, expected_of(name, plan, values, x)) < 1e-9


def test_single_precision():
    plan, fn, values, x = layered_cases.case("dense norms", 2)
    small = {name: value.astype(np.float32) for name, value in values.items()}
    for name in ("lrp.alpha_1_beta_0_IB", "lrp.sequential_preset_a", "deep_taylor"):
        found = ours(name, fn, small, x.astype(np.float32))[1]
        assert found.dtype == jnp.float32
        assert error(found, expected_of(name, plan, values, x)) < 1e-4


ZENNIT = {
    "lrp.epsilon": rules.Epsilon(), "lrp.z_plus": rules.ZPlus(), "lrp.alpha_1_beta_0": rules.AlphaBeta(1.0, 0.0),
    "lrp.w_square": rules.WSquare(), "lrp.sequential_preset_a": composites.epsilon_plus(0.1),
    "epsilon_plus_flat": composites.epsilon_plus_flat(), "excitation_backprop": composites.excitation_backprop(),
}  # fmt: skip


def test_the_same_names_in_the_numerics_of_zennit():
    _, fn, values, x, y = dense_case()
    tree, largest = layered.nested(values), y.argmax(1)
    for name, choice in ZENNIT.items():
        expected = attribution.attribute(fn, tree, x, target=largest, rules=choice)[1]
        assert error(attribution.analyzer(name, "zennit")(fn, tree, x)[1], expected) < 1e-12
    for name, call in {
        "gradient": attribution.gradient,
        "integrated_gradients": attribution.integrated_gradients,
    }.items():
        expected = call(fn, tree, x, target=largest)[1]
        assert error(attribution.analyzer(name, "zennit")(fn, tree, x)[1], expected) < 1e-12
    key = jax.random.key(1)
    expected = attribution.smoothgrad(fn, tree, x, key, target=largest, n=3)[1]
    assert error(attribution.analyzer("smoothgrad", "zennit", n=3)(fn, tree, x, key=key)[1], expected) < 1e-12
    # Names of one library need no word on the numerics.
    expected = attribution.occlusion(fn, tree, x, target=1, window=2, stride=2)[1]
    assert error(attribution.analyzer("occlusion", window=2, stride=2)(fn, tree, x, target=1)[1], expected) < 1e-12
    assert attribution.analyzer("epsilon_plus").semantics == "zennit"
    assert attribution.analyzer("gradient").semantics == "innvestigate"


def test_zero_denominators_are_the_only_ones_that_are_touched():
    guard = ZeroGuard()
    assert guard(jnp.array([0.0, -0.0, 1e-12, -3.0])).tolist() == [1e-7, 1e-7, 1e-12, -3.0]
    x, weight = np.array([[1.0, -1.0]]), np.ones((2, 1))  # z = 0, with contributions of both signs
    _, found = attribution.attribute(
        lambda p, x: x @ p, weight, x, target=np.ones((1, 1)), rules=[innvestigate.Z(), innvestigate.Epsilon(0.5)]
    )
    np.testing.assert_allclose(found[0], 1e7 * x)
    np.testing.assert_allclose(found[1], 2 * x)
