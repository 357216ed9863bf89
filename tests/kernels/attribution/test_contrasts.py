"""Contrastive relevance, relevance of pairs, and the samples that excite a channel, by hand and by brute force."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import attribute, bilrp, composites, contrastive, relevance_maximisation, rules


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


DRAW = np.random.default_rng(0)
PARAMS = {"first": {"kernel": DRAW.normal(size=(5, 8))}, "second": {"kernel": DRAW.normal(size=(8, 4))}}
X, OTHER = np.abs(DRAW.normal(size=(2, 3, 5)))
EXACT = composites.Composite((*composites.layer_map_base(0.0), ("affine", rules.Epsilon(0.0))))


def network(params, x):
    return jax.nn.relu(x @ params["first"]["kernel"]) @ params["second"]["kernel"]


@pytest.mark.parametrize("others", ["alike", pytest.param("proportional", marks=pytest.mark.slow)])
def test_a_class_against_the_others(others):
    y = np.asarray(network(PARAMS, X))
    classes = np.array([2, 0, 3])
    is_own = np.arange(4) == classes[:, None]
    share = np.where(is_own, 0, np.exp(y) if others == "proportional" else 1.0)
    share = share / share.sum(-1, keepdims=True)
    own = (y * is_own).sum(-1, keepdims=True)
    for target in (classes, "argmax") if others == "alike" else (classes,):
        if isinstance(target, str):
            is_own = np.arange(4) == y.argmax(-1)[:, None]
            own, share = (y * is_own).sum(-1, keepdims=True), (~is_own) / 3
        _, relevance = contrastive(network, PARAMS, X, target=target, others=others, rules=EXACT)
        start, dual = own * is_own, own * share
        expected = sum(
            sign * attribute(network, PARAMS, X, target=jnp.asarray(part), rules=EXACT)[1]
            for sign, part in ((1, start), (-1, dual))
        )
        np.testing.assert_allclose(relevance, expected, atol=1e-11)
        np.testing.assert_allclose(relevance.sum(-1), 0, atol=1e-11)  # both sides start with as much
        positive = contrastive(network, PARAMS, X, target=target, others=others, rules=EXACT, positive=True)[1]
        np.testing.assert_array_equal(positive, np.maximum(relevance, 0))


def test_what_is_no_contrast(unchecked):
    for options, message in (
        ({"target": None}, "expected a class"), ({"others": "best"}, "others='best'"),
        ({"rules": ["epsilon_plus"]}, "several composites"), ({"target": 4}, "target is 4"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            contrastive(network, PARAMS, X, **options)
    with pytest.raises(ValueError, match="two classes or more"):
        contrastive(lambda p, x: network(p, x)[:, :1], PARAMS, X)


def test_pairs_by_brute_force_and_what_they_sum_to():
    def relevance(x, dimension):
        return np.asarray(attribute(network, PARAMS, x, target=dimension, rules=EXACT)[1])

    expected = sum(np.einsum("bi,bj->bij", relevance(X, m), relevance(OTHER, m)) for m in range(4))
    similarity = (network(PARAMS, X) * network(PARAMS, OTHER)).sum(-1)
    for at_once in (1, 3, 16):
        y, pairs = bilrp(network, PARAMS, X, OTHER, rules=EXACT, at_once=at_once)
        np.testing.assert_allclose(pairs, expected, atol=1e-11)
        np.testing.assert_allclose(y, similarity, rtol=1e-12)
    np.testing.assert_allclose(pairs.sum((1, 2)), similarity, rtol=1e-9)
    reduced = bilrp(network, PARAMS, X, OTHER, rules=EXACT, reduce=lambda r: r[:, :4].reshape(-1, 2, 2).sum(-1))[1]
    np.testing.assert_allclose(reduced, expected[:, :4, :4].reshape(3, 2, 2, 2, 2).sum((2, 4)), atol=1e-11)
    inside = jax.jit(lambda x: bilrp(network, PARAMS, x, OTHER, rules=EXACT)[1])
    np.testing.assert_allclose(inside(X), expected, atol=1e-11)


@pytest.mark.slow
def test_projections_are_without_bias():
    """Products of signs of two dimensions average out: a pair is off by the mean of k sums of bounded terms.

    Its terms lie within B = (sum over dimensions of |R|) (the same of the other), so that the mean of k is off by more
    than 2 B sqrt(ln(2 / p) / 2 k) with probability below p (Hoeffding), here 1e-9 for each of 75.
    """
    y, exact = bilrp(network, PARAMS, X, OTHER, rules=EXACT)
    k = 4000
    found = bilrp(network, PARAMS, X, OTHER, rules=EXACT, projections=k, key=jax.random.key(1), at_once=k)[1]
    sides = [sum(np.abs(attribute(network, PARAMS, x, target=m, rules=EXACT)[1]) for m in range(4)) for x in (X, OTHER)]
    bound = np.einsum("bi,bj->bij", *sides)
    assert (np.abs(found - exact) < 2 * bound * np.sqrt(np.log(2e9) / (2 * k))).all()
    assert np.abs(found - exact).max() > 0
    with pytest.raises(ValueError, match="key is None"):
        bilrp(network, PARAMS, X, OTHER, projections=3)
    with pytest.raises(ValueError, match="expected embeddings"):
        bilrp(lambda p, x: network(p, x)[:, 0], PARAMS, X, OTHER)


def images(params, x):
    """Three channels at nine positions, then their means."""
    h = jax.nn.relu(jnp.einsum("bhwc,cd->bhwd", x, params["layer"]["kernel"]))
    return jnp.mean(h, (1, 2)) @ params["head"]["kernel"]


def test_samples_that_excite_a_channel_by_brute_force():
    params = {"layer": {"kernel": DRAW.normal(size=(2, 3))}, "head": {"kernel": DRAW.normal(size=(3, 4))}}
    x = DRAW.normal(size=(12, 3, 3, 2))
    z = np.asarray(x @ params["layer"]["kernel"])
    best = {
        by: relevance_maximisation(images, params, np.split(x, 3), at="layer", n=5, by=by) for by in
        ("relevance", "activation")
    }  # fmt: skip
    relevance = np.asarray(attribute(images, params, x, target="argmax", rules="epsilon_plus", at="layer")[1])
    for by, measure, reduce in (("relevance", relevance, np.sum), ("activation", z, np.max)):
        scores = reduce(measure, (1, 2)).T  # [channels, samples]
        order = np.argsort(-scores, 1)[:, :5]
        np.testing.assert_array_equal(best[by].samples, order)
        np.testing.assert_allclose(best[by].scores, np.take_along_axis(scores, order, 1), atol=1e-12)
        for channel in range(3):
            for place, sample in enumerate(order[channel]):
                where = np.unravel_index(measure[sample, :, :, channel].argmax(), (3, 3))
                np.testing.assert_array_equal(best[by].positions[channel, place], where)
    one = relevance_maximisation(images, params, np.split(x, 3), at="layer", n=5, channel=-1)
    np.testing.assert_array_equal(one.samples, best["relevance"].samples[2])
    for options, message in (
        ({"n": 13}, "12 samples: expected at least n=13"), ({"channel": 3}, "channel=3"), ({"by": "size"}, "by='size'"),
        ({"target": [0] * 12}, "target is an array"), ({"n": 0}, "n=0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            relevance_maximisation(images, params, np.split(x, 3), **{"at": "layer", "n": 2, **options})
