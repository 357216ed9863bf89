"""Relevance of tokens: that of the rows which they look up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from kernels.attribution import attribute, composites, describe, rules

RANDOM = np.random.default_rng(0)
PARAMS = {"table": RANDOM.normal(size=(11, 4)), "hidden": RANDOM.normal(size=(4, 4)), "out": RANDOM.normal(size=(4, 3))}
TOKENS = RANDOM.integers(0, 11, (2, 5))
RULE = composites.Composite((("dense", rules.Epsilon()), *composites.layer_map_base()))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def behind(p, embedded):
    return jax.nn.relu(embedded @ p["hidden"]).mean(1) @ p["out"]


def expected_of(tokens):
    _, relevance = attribute(behind, PARAMS, PARAMS["table"][tokens], target=1, rules=RULE)
    return np.asarray(relevance.sum(-1))


WRITINGS = {
    "index": lambda p, t: p["table"][t],
    "take": lambda p, t: jnp.take(p["table"], t, axis=0),
    "clipped": lambda p, t: jnp.take(p["table"], t, axis=0, mode="clip"),
    "mapped": lambda p, t: jax.vmap(jax.vmap(lambda one: p["table"][one]))(t),
    "turned twice": lambda p, t: p["table"][t[:, ::-1]][:, ::-1],
    "time first": lambda p, t: p["table"].astype(float)[t.T.astype(np.int32)].swapaxes(0, 1),
    "features first": lambda p, t: p["table"].T[:, t].transpose(1, 2, 0),
    "flat": lambda p, t: p["table"][t.reshape(-1)].reshape(*t.shape, 4),
    "in two parts": lambda p, t: jnp.concatenate([p["table"][t[:, :2]], p["table"][t[:, 2:]]], 1),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_token_gets_the_relevance_of_its_row(writing):
    embed = WRITINGS[writing]
    _, relevance = attribute(lambda p, t: behind(p, embed(p, t)), PARAMS, TOKENS, target=1, rules=RULE)
    np.testing.assert_allclose(relevance, expected_of(TOKENS), atol=1e-12)


def test_special_tokens_and_several_uses():
    """A token in front belongs to nobody; one that is looked up in two tables gets both."""

    def fn(p, t):
        begun = jnp.concatenate([jnp.zeros((len(t), 1), t.dtype), t[:, 1:]], 1)
        return behind(p, p["table"][begun] + 0.5 * p["table"][begun])

    with_first = np.concatenate([np.zeros((2, 1), int), TOKENS[:, 1:]], 1)
    _, relevance = attribute(fn, PARAMS, TOKENS, target=1, rules=RULE)
    _, rows = attribute(behind, PARAMS, 1.5 * PARAMS["table"][with_first], target=1, rules=RULE)
    np.testing.assert_allclose(relevance[:, 1:], rows.sum(-1)[:, 1:], atol=1e-6)
    assert not np.asarray(relevance)[:, 0].any()


def test_tokens_beside_other_inputs_in_jit_in_chunks_and_at_the_embedding():
    x = {"tokens": TOKENS, "weights": RANDOM.normal(size=(2, 5, 1)), "count": np.array([3, 4])}

    def fn(p, x):
        return behind(p, p["table"][x["tokens"]] + x["weights"])

    y, relevance = jax.jit(lambda p, x: attribute(fn, p, x, target=1, rules=RULE))(PARAMS, x)
    assert not np.asarray(relevance["count"]).any()
    np.testing.assert_allclose(sum(leaf.sum() for leaf in jax.tree.leaves(relevance)), y[:, 1].sum(), rtol=1e-4)
    _, in_chunks = attribute(fn, PARAMS, x, target=1, rules=RULE, batch_size=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), relevance, in_chunks)
    _, rows = attribute(fn, PARAMS, x, target=1, rules=RULE, at="table")
    np.testing.assert_allclose(rows.sum(-1), relevance["tokens"], atol=1e-12)
    assert describe(fn, PARAMS, x, rules=RULE)[0]["kinds"] == ("embedding", "layout")


def test_an_embedding_of_flax():
    module = linen.Embed(11, 4, param_dtype=float)
    variables = module.init(jax.random.key(0), TOKENS)

    def fn(p, t):
        return behind(p["rest"], module.apply(p["embed"], t))

    y, relevance = attribute(fn, {"embed": variables, "rest": PARAMS}, TOKENS, target=1, rules=RULE)
    np.testing.assert_allclose(relevance.sum(1), y[:, 1], rtol=1e-3)


def test_tokens_that_go_into_a_loop_are_said():
    def fn(p, x):
        def step(h, now):
            tokens, values = now
            return h + p["table"][tokens] * values, None

        h, _ = jax.lax.scan(step, jnp.zeros((2, 4)), (x[0].T, x[1].swapaxes(0, 1)))
        return h @ p["out"]

    with pytest.warns(UserWarning, match="look them up before it"):
        attribute(fn, PARAMS, (TOKENS, np.ones((2, 5, 1))), target=1, rules=RULE)
