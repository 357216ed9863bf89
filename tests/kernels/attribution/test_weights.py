"""Weights that sum to one, in the ways they are written: gates of the best experts, attention by a logarithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites, describe

RANDOM = np.random.default_rng(0)
PARAMS = {
    "router": RANDOM.normal(size=(4, 5)), "experts": RANDOM.normal(size=(5, 4, 3)), "out": RANDOM.normal(size=(3, 2)),
    "key": RANDOM.normal(size=(4, 4)), "value": RANDOM.normal(size=(4, 3)),
}  # fmt: skip
X, SEQUENCE = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(2, 5, 4))
RULES = ["epsilon_plus", composites.cp_lrp(0.0, 0.0), composites.attnlrp(0.0, 0.0)]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def mixed(p, x, gates, index):
    """The sum of the experts in `index`, weighed by `gates`."""
    values = jnp.take_along_axis(jax.nn.relu(jnp.einsum("bi,eio->beo", x, p["experts"])), index[..., None], 1)
    return (gates[..., None] * values).sum(1) @ p["out"]


def by_softmax(p, x):
    logits, index = lax.top_k(x @ p["router"], 2)
    return mixed(p, x, jax.nn.softmax(logits), index)


def best(p, x, weights=jax.nn.softmax):
    return lax.top_k(weights(x @ p["router"]), 2)


def masked(p, x):
    """All experts, the weights of most of which are zero."""
    weights = jax.nn.softmax(x @ p["router"])
    weights = jnp.where(weights >= lax.top_k(weights, 2)[0][..., -1:], weights, 0)
    return mixed(p, x, weights / weights.sum(-1, keepdims=True), jnp.tile(jnp.arange(5), (len(x), 1)))


def by_reciprocal(p, x):
    values, index = best(p, x)
    return mixed(p, x, values * (1 / jnp.einsum("bk->b", values))[:, None], index)


def by_quotient(p, x):
    values, index = best(p, x)
    return mixed(p, x, values / values.sum(-1, keepdims=True), index)


def by_log_softmax(p, x):
    values, index = best(p, x, lambda logits: jnp.exp(jax.nn.log_softmax(logits)))
    return mixed(p, x, values / jnp.maximum(values.sum(-1, keepdims=True), 1e-30), index)


def by_logarithm(p, x):
    logits, index = lax.top_k(x @ p["router"], 2)
    return mixed(p, x, jnp.exp(logits - jax.nn.logsumexp(logits, -1, keepdims=True)), index)


def by_hand(p, x):
    logits, index = lax.top_k(x @ p["router"], 2)
    largest = lax.stop_gradient(logits.max(-1))
    total = jnp.log(jnp.exp(logits - largest[:, None]).sum(-1)) + largest
    return mixed(p, x, jnp.exp(-(total[:, None] - logits)), index)


def same(fn, expected, x, rules):
    (y, relevance), (z, other) = (attribute(one, PARAMS, x, target=1, rules=rules) for one in (fn, expected))
    np.testing.assert_allclose(y, z, rtol=1e-12)
    np.testing.assert_allclose(relevance, other, atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize("fn", [masked, by_reciprocal, by_quotient, by_log_softmax, by_logarithm, by_hand])
@pytest.mark.parametrize("rules", RULES, ids=["epsilon_plus", "cp_lrp", "attnlrp"])
def test_gates_are_one_however_they_are_normalised(fn, rules):
    same(fn, by_softmax, X, rules)


def attention(p, x, weights):
    return (weights((x @ p["key"]) @ x.swapaxes(1, 2) / 2) @ (x @ p["value"]))[:, 0] @ p["out"]


@pytest.mark.parametrize(
    "weights",
    [
        lambda s: jnp.exp(s - jax.nn.logsumexp(s, -1)[..., None]),
        lambda s: jnp.exp(jax.nn.log_softmax(s)),
        lambda s: jnp.exp(s - jnp.log(jnp.exp(s).sum(-1, keepdims=True))),
    ],
    ids=["logsumexp", "log_softmax", "by hand"],
)
@pytest.mark.parametrize("rules", RULES[1:], ids=["cp_lrp", "attnlrp"])
def test_attention_by_the_logarithm_of_a_sum(weights, rules):
    def fn(p, x):
        return attention(p, x, weights)

    same(fn, lambda p, x: attention(p, x, jax.nn.softmax), SEQUENCE, rules)
    rows = describe(fn, PARAMS, SEQUENCE, rules=rules)
    assert [row["kinds"][0] for row in rows].count("attention_weights") == 1
    assert not any(row["kinds"][0] in ("softmax", "activation") for row in rows)


def test_shares_of_sigmoids_are_gates():
    """Of the best scores, which are sigmoids; by hand: gates get nothing, experts what their weights say."""

    def fn(p, x):
        values, index = best(p, x, jax.nn.sigmoid)
        return mixed(p, x, values / (values.sum(-1, keepdims=True) + 1e-20), index)

    held = jax.grad(lambda x: _with_constant_gates(x).sum())(jnp.asarray(X))
    _, relevance = attribute(fn, PARAMS, X, target=1, rules=composites.cp_lrp(0.0, 0.0))
    np.testing.assert_allclose(relevance, X * held, atol=1e-12)
    _, relevance = attribute(fn, PARAMS, X, target=1, rules="attnlrp")
    assert np.isfinite(relevance).all()


def _with_constant_gates(x):
    values, index = best(PARAMS, jnp.asarray(X), jax.nn.sigmoid)
    return mixed(PARAMS, x, values / values.sum(-1, keepdims=True), index)[:, 1]


@pytest.mark.parametrize(
    "weights",
    [
        lambda s: jnp.exp(s - 2 * jax.nn.logsumexp(s, -1, keepdims=True)),
        lambda s: jnp.exp(s - jax.nn.logsumexp(s[..., ::-1] * 2, -1, keepdims=True)),
        lambda s: s / s.sum(-1, keepdims=True),
    ],
    ids=["twice", "of others", "of any sign"],
)
def test_what_does_not_sum_to_one_is_refused(weights):
    with pytest.raises(NotImplementedError):
        attribute(lambda p, x: attention(p, x, weights), PARAMS, SEQUENCE, target=1, rules="attnlrp")


def test_weights_that_are_divided_last_have_a_remedy():
    def fn(p, x):
        e = jnp.exp((x @ p["key"]) @ x.swapaxes(1, 2) / 2)
        return ((e @ (x @ p["value"])) / e.sum(-1, keepdims=True))[:, 0] @ p["out"]

    with pytest.raises(NotImplementedError, match=r"w / w.sum\(\) first"):
        attribute(fn, PARAMS, SEQUENCE, target=1, rules="attnlrp")
