"""Bad input stops at the door; a primitive without a rule says which, where and what to do; users register rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import attribute, composites, describe, integrated_gradients, rules

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
PARAMS = {"layer": {"kernel": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)}}


def dense(params, x):
    return x @ params["layer"]["kernel"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 3}, "target is 3; the output has 3"),
        ({"target": np.array([0, 5])}, "target is 5"),
        ({"target": np.array([0, 1, 2])}, "shape"),
        ({"target": np.ones((2, 2))}, "floats of the output's shape"),
        ({"target": "largest"}, "argmax"),
        ({"target": lambda y: y[:1]}, "expected that of the output"),
        ({"rules": "epsilon_minus"}, "epsilon_plus_flat"),
        ({"rules": 3}, "no rule"),
        ({"rules": rules.Epsilon}, "as an instance"),
        ({"fold_norm": "always"}, "fold_norm"),
        ({"at": "conv7"}, "there are layer"),
        ({"batch_size": 0}, "at least 1"),
        ({"primitive_rules": {"sin": 3}}, "primitive_rules.*'sin'.* is no rule"),
        ({"primitive_rules": {"sin": rules.Pass}}, "as an instance"),
        (
            {"rules": composites.epsilon_plus(name_map=[("layre", rules.ZPlus())])},
            "'layre', which names no operation; there are layer",
        ),
        ({"rules": composites.epsilon_plus_flat(first="stem")}, "'stem'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        attribute(dense, PARAMS, X, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.AlphaBeta(2, 2), "alpha - beta = 1"),
        (lambda: rules.AlphaBeta(0, -1), "alpha=0: expected|beta=-1: expected"),
        (lambda: rules.Epsilon(-0.1), "epsilon >= 0"),
        (lambda: rules.Epsilon("small"), "epsilon='small': expected an epsilon"),
        (lambda: rules.ZBox(1.0, 0.0), "low <= high"),
        (lambda: rules.Gamma(-1), "gamma=-1: expected"),
        (lambda: rules.ZPlus(zero_params="kernel"), "'bias', 'weight'"),
        (lambda: composites.Composite([("convolution", rules.ZPlus())]), "no kind of operation 'convolution'"),
        (lambda: composites.Composite(name_map=[("conv1", "zplus")]), "no rule"),
    ],
)
def test_bad_rules(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_inputs_and_functions():
    with pytest.raises(ValueError, match=r"x\['image'\] has NaN"):
        attribute(lambda p, x: dense(p, x["image"]), PARAMS, {"image": X * np.nan})
    with pytest.raises(ValueError, match="floating-point"):
        attribute(dense, PARAMS, X.astype(int))
    with pytest.raises(ValueError, match="returns 2 arrays"):
        attribute(lambda p, x: (dense(p, x), x), PARAMS, X)
    with pytest.raises(ValueError, match="does not hang on floating-point"):
        attribute(lambda p, x: jnp.sign(dense(p, x)), PARAMS, X)
    with pytest.raises(ValueError, match="expected a number, 4 channels"):
        attribute(dense, PARAMS, X, rules=rules.ZBox(np.zeros(3), 1.0))
    with pytest.raises(ValueError, match="affine operations"):
        attribute(lambda p, x: jax.nn.relu(x), None, X, rules=composites.Composite([("relu", rules.ZPlus())]))
    shared = {"w": np.eye(4, dtype=np.float32)}
    with pytest.raises(ValueError, match="used 2 times: w#1, w#"):
        attribute(lambda p, x: jax.nn.relu(x @ p["w"]) @ p["w"], shared, X, at="w")


@pytest.mark.parametrize(
    ("function", "primitive", "remedy"),
    [
        (lambda h: jax.nn.softmax(h), "div", "logits"),
        (lambda h: jax.nn.softmax(h @ h.T) @ h, "dot_general", "attention"),
        (lambda h: jax.nn.log_softmax(h), "log", "logits"),
        (lambda h: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, h), "while", "lax.scan"),
        (lambda h: jax.lax.cumlogsumexp(h, 1), "cumlogsumexp", "primitive_rules"),
        (lambda h: jnp.fft.fft(h).real, "fft", "primitive_rules"),
    ],
)
def test_a_primitive_without_a_rule_says_where_it_is(function, primitive, remedy):
    with pytest.raises(NotImplementedError, match=remedy) as caught:
        attribute(lambda p, x: function(dense(p, x)), PARAMS, X)
    message = str(caught.value)
    assert f"'{primitive}'" in message and "after layer 'layer'" in message and "test_errors.py" in message
    rows = describe(lambda p, x: function(dense(p, x)), PARAMS, X)
    assert any(row["rule"] == "none" for row in rows) or primitive in ("fft", "while")


def test_gradients_need_no_rule():
    start = np.ones((2, 3), np.float32)
    _, found = attribute(lambda p, x: jax.nn.softmax(dense(p, x)), PARAMS, X, target=start, rules=composites.gradient())
    expected = jax.vjp(lambda x: jax.nn.softmax(dense(PARAMS, x)), jnp.asarray(X))[1](jnp.asarray(start))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_rule_for_a_primitive_is_one_of_this_call():
    def fn(p, x):
        return jax.lax.cumlogsumexp(dense(p, x), 1)

    def passing(relevance, inputs, outputs, function):
        return relevance

    given = {"cumlogsumexp": passing}
    y, relevance = attribute(fn, PARAMS, X, rules="epsilon_plus", primitive_rules=given)
    _, expected = attribute(dense, PARAMS, X, rules="epsilon_plus", target=y)
    np.testing.assert_allclose(relevance, expected, rtol=1e-6)
    assert describe(fn, PARAMS, X, primitive_rules=given)[-1]["kinds"] == ("registered",)
    _, chunked = attribute(fn, PARAMS, X, rules="epsilon_plus", primitive_rules=given, batch_size=1)
    np.testing.assert_allclose(chunked, expected, rtol=1e-6)
    _, path = integrated_gradients(fn, PARAMS, X, n=1, rules="epsilon_plus", primitive_rules=given)
    np.testing.assert_allclose(path, X * expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="expected one relevance"):
        attribute(fn, PARAMS, X, primitive_rules={"cumlogsumexp": lambda relevance, *_: relevance[:1]})
    _, relevance = attribute(fn, PARAMS, X, rules="epsilon_plus", primitive_rules={"cumlogsumexp": rules.Gradient()})
    assert np.all(np.isfinite(relevance))
    with pytest.raises(NotImplementedError):
        attribute(fn, PARAMS, X)
