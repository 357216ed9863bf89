"""Bad arguments are said at the door, by name, with the remedy; what cannot be seen there comes out as NaN."""

import importlib.util
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import (
    attribute,
    caller,
    composites,
    describe,
    gradient,
    integrated_gradients,
    occlusion,
    rules,
    smoothgrad,
)
from kernels.attribution.report import Report

DRAW = np.random.default_rng(0)
KEY = jax.random.key(0)
X = DRAW.normal(size=(4, 6)).astype(np.float32)
PARAMS = {"first": DRAW.normal(size=(6, 5)).astype(np.float32), "second": DRAW.normal(size=(5, 3)).astype(np.float32)}


def network(params, x):
    return jax.nn.relu(x @ params["first"]) @ params["second"]


def looped(params, x):
    """With a primitive inside of a loop, and another one inside of a call."""
    h = lax.fori_loop(0, 2, lambda _, h: jnp.sin(h), x)
    return jax.jit(lambda h: jnp.cosh(h))(h) @ params["first"]


@pytest.mark.parametrize("name", ["dot_generl", "tanh", "jit"])
@pytest.mark.parametrize("call", [attribute, describe])
def test_a_rule_for_a_primitive_that_does_not_occur(name, call):
    with pytest.raises(ValueError, match=f"'{name}', which is no primitive of fn; there are .*dot_general"):
        call(network, PARAMS, X, primitive_rules={"dot_general": rules.Pass(), name: rules.Pass()})


def test_a_rule_for_a_primitive_that_occurs_inside_of_another():
    def doubled(relevance, inputs, outputs, function):
        return (2 * relevance,)

    _, once = attribute(looped, PARAMS, X)
    _, relevance = attribute(looped, PARAMS, X, primitive_rules={"sin": doubled})
    np.testing.assert_allclose(relevance, 4 * once, rtol=1e-5)  # in both steps of the loop
    _, relevance = attribute(network, PARAMS, X, primitive_rules={"relu": rules.Gradient(), "max": rules.Gradient()})
    assert np.isfinite(relevance).all()
    with pytest.raises(ValueError, match="give rules too"):
        smoothgrad(network, PARAMS, X, n=1, primitive_rules={"relu": rules.Pass()})


COMPOSITES = ["epsilon_plus_flat", "epsilon_alpha2_beta1", "guided_backprop", "deconvnet", "excitation_backprop"]


@pytest.mark.parametrize("out", [3, -4, 9])
def test_a_traced_target_out_of_range_gives_nan(out):
    """For its own sample and no other one, whatever the rules, inside of the network, too."""
    chosen = np.array([0, out, -3, 2])
    fitting = [0, 2, 3]

    def explained(x, target):
        both = {name: name for name in COMPOSITES}
        return attribute(network, PARAMS, x, target=target, rules=both, at=["x", "first"])[1]

    relevance = jax.jit(explained)(X, chosen)
    expected = explained(X[np.array(fitting)], chosen[fitting])
    for name in COMPOSITES:
        for place in ("x", "first"):
            assert np.isnan(relevance[name][place][1]).all(), (name, place)
            np.testing.assert_allclose(relevance[name][place][np.array(fitting)], expected[name][place], atol=1e-5)


def test_a_traced_target_out_of_range_gives_nan_everywhere():
    one = jax.jit(lambda x, c: attribute(network, PARAMS, x, target=c, return_report=True)[1:])
    relevance, report = one(X, 9)
    assert np.isnan(relevance).all() and np.isnan(report.explained)
    assert np.isfinite(one(X, 2)[0]).all()
    for method, options in (
        (gradient, {}), (integrated_gradients, {"n": 2}), (occlusion, {"window": 3, "stride": 3}),
        (smoothgrad, {"key": jax.random.key(0), "n": 2}),
        (smoothgrad, {"key": jax.random.key(0), "n": 2, "rules": "guided_backprop"}),
    ):  # fmt: skip
        call = jax.jit(lambda c: method(network, PARAMS, X, target=c, **options)[1])  # noqa: B023
        assert np.isnan(call(3)).all() and np.isfinite(call(2)).all(), method.__name__
    column = jax.jit(lambda c: attribute(lambda p, x: network(p, x)[:, 0], PARAMS, X, target=c)[1])  # [batch]
    assert np.isnan(column(1)).all() and np.isfinite(column(0)).all()
    mapped = jax.vmap(lambda x, c: attribute(network, PARAMS, x, target=c, rules="guided_backprop")[1])(
        X, np.array([0, 7, 1, 2])
    )
    assert np.isnan(mapped[1]).all() and np.isfinite(mapped[np.array([0, 2, 3])]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_labels_in_a_byte_for_more_classes_than_it_counts(dtype):
    weight, x = DRAW.normal(size=(6, 300)).astype(np.float32), X[:2]
    labels = np.array([100, -2] if dtype is np.int8 else [100, 200], dtype)
    _, expected = attribute(lambda p, x: x @ p, weight, x, target=labels.astype(int))
    for given in (labels, jnp.asarray(labels)):
        _, relevance = attribute(lambda p, x: x @ p, weight, x, target=given)
        np.testing.assert_array_equal(relevance, expected)


@pytest.mark.parametrize(
    "call",
    [
        attribute, describe, gradient, occlusion, integrated_gradients,
        lambda *a: smoothgrad(*a, jax.random.key(0)), lambda *a: attribute(*a, batch_size=2),
        lambda fn, p, x: jax.jit(lambda x: attribute(fn, p, x)[1])(x),
    ],
)  # fmt: skip
def test_an_empty_batch(call):
    with pytest.raises(ValueError, match=r"x has shape \(0, 6\): it is empty"):
        call(network, PARAMS, X[:0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": np.full((4, 3), np.nan)}, "target is an array with NaN"),
        ({"target": np.full((4, 3), np.inf)}, "target is an array with NaN or infinite"),
        ({"target": lambda y: y * jnp.nan}, "the function of target gave an array with NaN"),
        ({"target": lambda y: "a"}, "the function of target gave 'a', str"),
        ({"target": lambda y: None}, "the function of target gave None"),
        ({"target": [[1], [2, 3]]}, "target is .*list"),
        ({"target": object()}, "target is <object"),
        ({"rules": composites.epsilon_plus}, r"call it, composites.epsilon_plus\("),
        ({"rules": composites.epsilon_gamma_box}, r"call it, composites.epsilon_gamma_box\("),
        ({"rules": [composites.gradient]}, r"call it, composites.gradient\("),
        ({"rules": composites.Composite}, r"call it, composites.Composite\("),
        ({"rules": None}, r"rules is None; .*composites.epsilon_plus\(\)"),
        (
            {"rules": "epsilon_gamma_box"},
            r"needs the bounds of the input: give composites.epsilon_gamma_box\(low, high",
        ),
        ({"batch_size": 2.0}, "batch_size=2.0: expected an integer"),
        ({"batch_size": True}, "batch_size=True: expected an integer"),
        ({"at": 3}, "at=3: expected the name"),
    ],
)
def test_the_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        attribute(network, PARAMS, X, **options)


def test_a_batch_size_for_one_sample():
    with pytest.raises(ValueError, match=r"an output of shape \(3,\) .* x is one sample"):
        attribute(network, PARAMS, X[0], batch_size=2)
    with pytest.raises(ValueError, match="x is one sample"):  # of as many outputs as features
        attribute(lambda p, x: x @ p["first"] @ p["first"].T, PARAMS, X[0], batch_size=2)
    with pytest.raises(ValueError, match=r"shapes \(4, 6\), \(3, 6\); expected as many samples"):
        attribute(lambda p, x: network(p, x["a"]), PARAMS, {"a": X, "b": X[:3]}, batch_size=2)
    _, whole = attribute(lambda p, x: x**3, None, X[:, 0])  # a number a sample
    _, chunked = attribute(lambda p, x: x**3, None, X[:, 0], batch_size=np.int64(3))
    np.testing.assert_allclose(chunked, whole)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "key",
    [
        0,
        "a",
        np.zeros(5, np.uint32),
        jnp.zeros(4, jnp.uint32),
        jnp.zeros(4, jnp.float32),
        jax.random.split(jax.random.key(0), 3),
    ],
)
def test_a_key_that_is_none(key):
    with pytest.raises(ValueError, match=r"key is .*: expected jax.random.key\(seed\), or 4"):
        smoothgrad(network, PARAMS, X, key, target=0)
    with pytest.raises(ValueError, match="sigma='a'"):
        smoothgrad(network, PARAMS, X, jax.random.key(0), target=0, sigma="a")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smoothgrad(network, PARAMS, X, KEY, sigma=np.ones(4)), r"sigma of shape \(4,\): expected one number"),
        (lambda: smoothgrad(network, PARAMS, X, KEY, sigma=[0.1]), r"sigma=\[0.1\]: expected one number"),
        (lambda: smoothgrad(network, PARAMS, X, KEY, sigma=np.inf), "sigma=inf: .* finite"),
        (
            lambda: jax.jit(lambda sigma: smoothgrad(network, PARAMS, X, KEY, sigma=sigma)[1])(0.1),
            "sigma is traced: .*static_argnames",
        ),
        (lambda: smoothgrad(network, PARAMS, X, noise={"a": X}), r"noise has the structure .*'a'.* and x"),
        (
            lambda: smoothgrad(lambda p, x: network(p, x["a"]), PARAMS, {"a": X}, noise=np.zeros((19, 4, 6))),
            r"noise has the structure .* and x .*'a'",
        ),
        (
            lambda: integrated_gradients(network, PARAMS, X, baseline={"a": 0.0}),
            "baseline has the structure .*'a'.* or one number or array",
        ),
        (lambda: occlusion(network, PARAMS, X, fill=np.zeros(5)), r"fill of shape \(5,\) does not broadcast to x"),
    ],
)
def test_an_option_of_an_attributor(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_number_as_an_array_is_a_sigma():
    _, one = smoothgrad(network, PARAMS, X, KEY, target=1, n=2, sigma=np.float32(0.3))
    _, other = smoothgrad(network, PARAMS, X, jax.random.key_data(KEY), target=1, n=2, sigma=jnp.float32(0.3))
    np.testing.assert_array_equal(one, other)


SQUARE = {"first": np.eye(6, dtype=np.float32), "second": DRAW.normal(size=(6, 6)).astype(np.float32)}


@pytest.mark.parametrize("name", rules.__all__)
def test_a_rule_for_affine_operations_is_one(name):
    """By any way in which it comes to a layer as wide as its inputs, where the shapes do not tell."""
    if name in ("Stabilizer", "stabilize"):
        return
    rule = rules.ZBox(-4.0, 4.0) if name == "ZBox" else getattr(rules, name)()
    ways = [
        rule, composites.Composite((("dense", rule),)), composites.Composite(name_map=(("second", rule),)),
        composites.Composite(first_map=(("affine", rule),)),
    ]  # fmt: skip
    is_refused = isinstance(rule, rules.ENTRYWISE)
    for way in ways:
        if is_refused:
            with pytest.raises(
                ValueError,
                match=rf"{name}\(.*, a rule for (entrywise operations|products|a softmax); .*rules.Epsilon\(\)",
            ):
                attribute(network, SQUARE, X, target=1, rules=way)
        else:
            attribute(network, SQUARE, X, target=1, rules=way)


def test_the_gradient_is_a_composite_by_name():
    _, relevance = attribute(network, PARAMS, X, target=1, rules="gradient")
    y, _ = attribute(network, PARAMS, X, target=1)
    start = np.eye(3, dtype=np.float32)[[1] * 4] * y
    _, expected = gradient(network, PARAMS, X, target=start)
    np.testing.assert_allclose(relevance, expected, rtol=1e-5)


def test_tokens_alone():
    tokens = np.array([[1, 2], [0, 1]])

    def embedded(params, tokens):
        return params["first"][tokens].mean(1)

    with pytest.raises(ValueError, match="pass the embedded tokens"):
        gradient(embedded, PARAMS, tokens)
    with pytest.raises(ValueError, match="does not hang on floating-point"):  # they are counted, not looked up
        attribute(lambda p, x: x.astype(float) @ p["first"][:2], PARAMS, tokens)
    _, of_tokens = attribute(lambda p, x: embedded(p, x) @ p["second"], PARAMS, tokens, target=1, rules=rules.Epsilon())
    # The same from the output of the embedding on.
    y, relevance = attribute(
        lambda p, e: e.mean(1) @ p["second"], PARAMS, PARAMS["first"][tokens], target=1, rules=rules.Epsilon()
    )
    np.testing.assert_allclose(relevance.sum((1, 2)), y[:, 1], rtol=1e-4)
    np.testing.assert_allclose(relevance.sum(2), of_tokens, rtol=1e-5)


def test_names_in_a_report_stay_different():
    end = "encoder/layers/attention/projection"
    names = ("short", f"a/{end}", f"b/{end}", f"{'c' * 30}/{end}")
    zeros = jnp.zeros(4)
    report = Report(names, ("dense",) * 4, ("Epsilon",) * 4, *[zeros] * 6, jnp.zeros(()), jnp.zeros(()))
    rows = [line[: line.index(" ")] for line in str(report).splitlines()[1:5]]
    assert rows[0] == "short" and rows[1] == f"a/{end}" and rows[2] == f"b/{end}"
    assert rows[3].startswith("…") and rows[3].endswith(end) and len(set(rows)) == 4
    assert len({line.index("dense") for line in str(report).splitlines()[1:5]}) == 1
    cut = str(Report(names[1:2], ("dense",), ("Epsilon",), *[zeros[:1]] * 6, jnp.zeros(()), jnp.zeros(())))
    assert cut.splitlines()[1].startswith("…") and cut.splitlines()[1][27] == "n"


WEIGHTS = jax.tree.map(np.abs, PARAMS)  # every hidden unit is on


def dense(params, x):
    return jax.nn.relu(x @ params["first"]) @ params["second"]


def test_a_constant_map_is_said_to_be_one():
    """Flat gives every input of a dense first layer the same, by definition; Epsilon does not."""
    x = np.abs(X[:2])
    with pytest.warns(UserWarning, match="every input has the same relevance"):
        _, relevance, report = attribute(dense, WEIGHTS, x, target=1, rules="epsilon_plus_flat", return_report=True)
    assert np.ptp(relevance, axis=1).max() < 1e-6 < np.abs(relevance).max()
    assert report.constant_maps == 2 and "constant maps: 2" in str(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, relevance, report = attribute(dense, WEIGHTS, x, target=1, rules="epsilon_plus", return_report=True)
    assert report.constant_maps == 0 and "constant maps" not in str(report)
    one = lambda x: attribute(dense, WEIGHTS, x, target=1, return_report=True, batch_size=1)[2]  # noqa: E731
    assert jax.jit(one)(x).constant_maps == 2  # summed over chunks, seen through jit
    # One input of a sample is no map, and no relevance to start from no warning.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(lambda p, x: x * p, np.float32(2), x[:, :1], rules=rules.Epsilon())
        attribute(dense, WEIGHTS, x, target=np.zeros((2, 3), np.float32), rules="epsilon_plus_flat")


@pytest.mark.parametrize("size", [None, 2, 3])
def test_a_warning_comes_once_and_points_at_the_caller(size, monkeypatch):
    """However many chunks there are, whose function is traced once for each of their sizes."""
    checks = importlib.util.find_spec("jaxtyping")  # whose frames are there in tests alone
    if checks is not None:
        monkeypatch.setattr(caller, "INSIDE", (*caller.INSIDE, *checks.submodule_search_locations))
    x, calls = np.abs(np.concatenate([X, X])), []

    def fn(params, x):
        calls.append(x.shape)
        h = dense(params, x)
        return h - h.mean(0)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        attribute(dense, WEIGHTS, x, target=1, rules="epsilon_plus_flat", batch_size=size)
        attribute(fn, WEIGHTS, x, target=1, rules=rules.Epsilon(), batch_size=size)
        # Shapes are looked at once before there are chunks; 3 does not divide 8.
        assert len(calls) == {None: 1, 2: 2, 3: 3}[size]
        describe(fn, WEIGHTS, x)
        smoothgrad(fn, WEIGHTS, x, KEY, target=1, n=2, rules=rules.Epsilon())
    texts = [str(warning.message).split(" ")[0] for warning in seen]
    assert texts == ["every", "normalised", "normalised", "normalised"]
    assert {warning.filename for warning in seen} == {__file__}


def test_maps_are_constant_when_those_of_all_chunks_are():
    """A chunk alone whose maps are constant is no reason for a warning, as without chunks."""
    x = np.stack([np.ones(6, np.float32), np.abs(X[0])])
    for size in (None, 1):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attribute(lambda p, x: x @ p, np.ones((6, 1), np.float32), x, rules=rules.Epsilon(), batch_size=size)


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet", "beta_smooth"])
def test_rules_of_relus_without_a_relu_are_said(name):
    def fn(params, x):
        return jax.nn.relu6(x @ params["first"]) @ params["second"]

    with pytest.warns(UserWarning, match="no ReLU"):
        attribute(fn, PARAMS, X, target=1, rules=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(network, PARAMS, X, target=1, rules=name)
        attribute(fn, PARAMS, X, target=1, rules="epsilon_plus")


@pytest.mark.parametrize("end", [jax.nn.sigmoid, lambda z: 1 / (1 + jnp.exp(-z)), jax.nn.softplus])
def test_a_sigmoid_at_the_end_is_said(end):
    with pytest.warns(UserWarning, match="Explain the logit"):
        attribute(lambda p, x: end(network(p, x)), PARAMS, X, target=1, rules="epsilon_plus")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(lambda p, x: end(network(p, x)), PARAMS, X, target=1, rules="gradient")
        attribute(lambda p, x: jnp.tanh(network(p, x)), PARAMS, X, target=1, rules="epsilon_plus")
        attribute(lambda p, x: jax.nn.relu(network(p, x)), PARAMS, X, target=1, rules="epsilon_plus")
