"""What `attribute` says of an explanation that cannot be trusted: rules that apply to nothing, relevance that grows."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites, describe, rules

RANDOM = np.random.default_rng(0)
STACKED = RANDOM.normal(size=(3, 4, 4)).astype(np.float32)
X = RANDOM.normal(size=(2, 4)).astype(np.float32)


def stacked(p, x):
    return lax.scan(lambda h, w: (jax.nn.relu(h @ w), None), x, p)[0]


def first_outside(p, x):
    return stacked(p[1:], jax.nn.relu(x @ p[0]))


def said(fn, p, x, **options):
    """What is warned of."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        attribute(fn, p, x, **options)
    return [str(one.message) for one in record]


def test_a_rule_for_first_layers_that_applies_to_nothing():
    for rule in ("epsilon_plus_flat", composites.mixed(composites.epsilon_plus_flat(), "epsilon_plus")):
        (text,) = said(stacked, STACKED, X, target=0, rules=rule)
        assert "Flat, applies to nothing" in text and "before the loop" in text
    with pytest.warns(UserWarning, match="applies to nothing"):
        describe(stacked, STACKED, X)
    with pytest.warns(UserWarning, match="applies to nothing"):
        jax.jit(lambda p, x: attribute(stacked, p, x, target=0)[1])(STACKED, X)
    (text,) = said(lambda p, x: x @ p[0], STACKED, X, target=0, rules=composites.epsilon_gamma_box(-1.0, 1.0))
    assert "ZBox, applies to nothing: fn has none of kind conv" in text


def test_the_remedy_says_nothing():
    """Called before the loop the first layer has the rule: the map is constant, which is said of it."""
    assert [row["rule"].split("(")[0] for row in describe(first_outside, STACKED, X) if "dense" in row["kinds"]] == [
        "Flat", "Epsilon",
    ]  # fmt: skip
    assert not any("applies to nothing" in text for text in said(first_outside, STACKED, X, target=0))
    assert not said(stacked, STACKED, X, target=0, rules="epsilon_plus")
    assert not said(lambda p, x: jnp.tanh(x), None, X, target=0)


def doubled(layers):
    """Layers without a negative part: AlphaBeta(2, 1) doubles relevance in each."""
    return lambda p, x: lax.fori_loop(0, layers, lambda _, h: h @ p, x)


POSITIVE = np.abs(STACKED[0]) / 2
DOUBLING = composites.Composite((("affine", rules.AlphaBeta(2.0, 1.0)),))


@pytest.mark.parametrize(("layers", "explodes"), [(9, False), (10, True)])
def test_relevance_that_grows_is_said(layers, explodes):
    fn, x = doubled(layers), np.abs(X)
    y, relevance = attribute(fn, POSITIVE, x, target=1, rules=DOUBLING)
    np.testing.assert_allclose(relevance.sum(1) / y[:, 1], 2.0**layers, rtol=1e-4)
    for options in ({}, {"batch_size": 1}, {"at": "x"}):
        texts = said(fn, POSITIVE, x, target=1, rules=DOUBLING, **options)
        assert [("over 1000 times the output" in text and "2 of 2" in text) for text in texts] == [True] * explodes
    for options in ({}, {"batch_size": 1}):
        *_, report = jax.jit(
            lambda x, options=options: attribute(
                fn, POSITIVE, x, target=1, rules=DOUBLING, return_report=True, **options
            )
        )(x)
        assert int(report.exploded_maps) == 2 * explodes
        assert ("exploded maps: 2" in str(report)) == explodes


def test_what_does_not_grow_is_not_said():
    """A gradient is no share of an output; relevance that starts from a difference is measured by its parts."""
    fn, x = doubled(2), 1e5 * np.abs(X)
    assert not said(fn, POSITIVE * 1e3, x, target=jnp.ones_like(x), rules="gradient")
    difference = np.tile(np.array([1.0, -1.0, 0, 0], np.float32), (2, 1))
    assert not said(fn, POSITIVE, x, target=difference, rules=DOUBLING)
