"""Measures of maps alone: sparseness, localisation, likeness, statistics; and layers that are randomised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import evaluation
from tests.kernels.oracles import evaluation as oracle


@pytest.fixture(scope="module")
def maps():
    """Signed maps `[4, 5, 6, 2]` with ties and zeros, and masks `[4, 5, 6, 1]`, one of them of a single entry."""
    draw = np.random.default_rng(8)
    relevance = np.round(draw.normal(size=(4, 5, 6, 2)), 1)
    relevance[1] = np.maximum(relevance[1], 0)
    mask = draw.random((4, 5, 6, 1)) < 0.4
    mask[3], mask[3, 2, 2] = False, True
    return relevance, mask


def in_double(function, *arguments, **options):
    with jax.enable_x64(True):
        return np.asarray(function(*map(jnp.asarray, arguments), **options))


@pytest.mark.parametrize(
    ("name", "other", "options"),
    [("gini", "gini", ()), ("complexity", "complexity", ()), ("effective_complexity", "effective_complexity", (0.3,))],
)
def test_sparseness(maps, name, other, options):
    relevance, _ = maps
    values = in_double(lambda r: getattr(evaluation, name)(r, *options), relevance)
    np.testing.assert_allclose(values, [getattr(oracle, other)(one, *options) for one in relevance], rtol=1e-12)
    scaled = in_double(lambda r: getattr(evaluation, name)(-7 * r, *options), relevance)
    np.testing.assert_allclose(scaled, values, rtol=1e-12)  # sign and scale do not matter
    single = getattr(evaluation, name)(relevance.astype(np.float32), *options)
    np.testing.assert_allclose(single, values, rtol=1e-5)


def test_ends_of_sparseness():
    one, even, nothing = np.eye(8)[:1], np.ones((1, 8)), np.zeros((1, 8))
    assert evaluation.gini(one) == 7 / 8 and evaluation.gini(even) == 0 and np.isnan(evaluation.gini(nothing))
    np.testing.assert_allclose(evaluation.complexity(even), np.log(8), rtol=1e-6)
    assert evaluation.complexity(one) == 0 and np.isnan(evaluation.complexity(nothing))
    assert [int(evaluation.effective_complexity(part)[0]) for part in (one, even, nothing)] == [1, 8, 0]


@pytest.mark.parametrize("values", ["signed", "positive", "absolute"])
def test_localisation(maps, values):
    relevance, mask = maps
    inside = np.broadcast_to(mask, relevance.shape)
    for name, other, options in (
        ("pointing_game", oracle.pointing_game, ()),
        ("relevance_mass_accuracy", oracle.mass_accuracy, ()),
        ("relevance_rank_accuracy", oracle.rank_accuracy, ()),
        ("top_k_intersection", oracle.top_k, (7,)),
    ):
        measure = getattr(evaluation, name)
        shares = in_double(lambda r, m, measure=measure, options=options: measure(r, m, *options, values=values), *maps)
        expected = [other(r, m, *options, values) for r, m in zip(relevance, inside, strict=True)]
        np.testing.assert_allclose(shares, expected, rtol=1e-12, err_msg=name)
    if values != "signed":
        shares = in_double(lambda r, m: evaluation.attribution_localization(r, m, values=values), *maps)
        expected = np.array([oracle.mass_accuracy(r, m, values) for r, m in zip(relevance, inside, strict=True)])
        np.testing.assert_allclose(shares, expected, rtol=1e-12)
        weighted = in_double(
            lambda r, m: evaluation.attribution_localization(r, m, values=values, weighted=True), *maps
        )
        np.testing.assert_allclose(weighted, expected * 60 / inside.reshape(4, -1).sum(1), rtol=1e-12)


def test_an_even_map_has_the_share_of_chance(maps):
    _, mask = maps
    even = np.ones((4, 5, 6, 1))
    share = np.broadcast_to(mask, even.shape).reshape(4, -1).mean(1)
    np.testing.assert_allclose(evaluation.pointing_game(even, mask), share, rtol=1e-6)
    assert (evaluation.pointing_game(even, mask, ties="any") == 1).all()
    two = np.zeros((1, 4))
    two[0, 1:3] = 5  # one of two largest lies in the mask
    inside = np.array([[False, True, False, True]])
    assert [float(evaluation.pointing_game(two, inside, ties=ties)[0]) for ties in ("expected", "any")] == [0.5, 1.0]
    with pytest.raises(ValueError, match="ties='first'"):
        evaluation.pointing_game(even, mask, ties="first")
    np.testing.assert_allclose(evaluation.attribution_localization(even, mask, weighted=True), 1.0, rtol=1e-6)
    every = evaluation.top_k_intersection(even, mask, 30, concept_influence=True)
    np.testing.assert_allclose(every, 1.0, rtol=1e-6)


def test_empty_masks_and_totals_say_nothing(maps):
    relevance, mask = maps
    empty = np.where(np.arange(4)[:, None, None, None] == 2, False, mask)
    for measure in (
        evaluation.pointing_game, evaluation.relevance_mass_accuracy, evaluation.relevance_rank_accuracy,
        evaluation.attribution_localization, lambda r, m: evaluation.top_k_intersection(r, m, 3),
    ):  # fmt: skip
        assert np.isnan(measure(np.abs(relevance), empty)).tolist() == [False, False, True, False]
    assert np.isnan(evaluation.relevance_mass_accuracy(-np.abs(relevance), mask)).all()
    assert np.isnan(evaluation.attribution_localization(-np.abs(relevance), mask)).all()


def test_boxes():
    mask = np.asarray(evaluation.box_mask(np.array([[1, 2, 3, 6], [0, 0, 5, 6]]), (5, 6)))
    expected = np.zeros((5, 6), bool)
    expected[1:3, 2:6] = True
    np.testing.assert_array_equal(mask, [expected, np.ones((5, 6), bool)])
    traced = jax.jit(lambda boxes: evaluation.box_mask(boxes, (5, 6)))(jnp.array([[1, 2, 3, 6], [3, 3, 3, 4]]))
    assert traced.sum((1, 2)).tolist() == [8, 0]  # an empty one cannot be seen: its measures are NaN
    assert evaluation.box_mask([[1, 4]], (5,)).tolist() == [[False, True, True, True, False]]
    for boxes, message in (
        ([[1, 2, 1, 3]], "box 0 is .*: expected one with beginnings below ends"),
        ([[0, 0, 1, 1], [0, 0, 6, 6]], "box 1 is"),
        ([[-1, 0, 1, 1]], "box 0 is"),
        ([[0, 1]], r"expected integers \[batch, 4\]"),
        ([[0.0, 0.0, 1.0, 1.0]], r"expected integers \[batch, 4\]"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.box_mask(boxes, (5, 6))


def test_likeness_of_maps(maps):
    relevance, _ = maps
    other = relevance[::-1]
    for name, expectation in (("map_correlation", oracle.pearson), ("rank_correlation", oracle.spearman)):
        measure = getattr(evaluation, name)
        expected = [expectation(a, b) for a, b in zip(relevance, other, strict=True)]
        np.testing.assert_allclose(in_double(measure, relevance, other), expected, atol=1e-12)
        np.testing.assert_allclose(measure(relevance, relevance), 1, atol=1e-6)
        np.testing.assert_allclose(measure(relevance, -relevance), -1, atol=1e-6)
        assert np.isnan(measure(relevance, np.ones_like(relevance))).all()
    monotone = np.exp(relevance)
    np.testing.assert_allclose(evaluation.rank_correlation(relevance, monotone), 1, atol=1e-6)
    small = relevance.astype(np.float32)
    np.testing.assert_allclose(evaluation.map_correlation(1e-30 * small, small), 1, atol=1e-5)  # squares underflow


def test_what_measures_of_maps_refuse(maps, unchecked):
    relevance, mask = maps
    broken = np.where(np.arange(4)[:, None, None, None] == 2, np.nan, relevance)
    for measure in (evaluation.gini, evaluation.complexity, evaluation.effective_complexity):
        for wrong, message in ((broken, "sample 2 has NaN"), (relevance[:0], "is empty"), (np.ones(3), "has shape")):
            with pytest.raises(ValueError, match=message):
                measure(wrong)
    for wrong, message in (
        (mask.astype(float), "mask is float64: expected an array of bool"),
        (None, "mask is NoneType"),
        (mask[:2], "mask has shape"),
        (mask[..., 0], "mask has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.pointing_game(relevance, wrong)
    with pytest.raises(ValueError, match="values='signed': expected one of positive, absolute"):
        evaluation.attribution_localization(relevance, mask, values="signed")
    with pytest.raises(ValueError, match="k=61: expected an integer from 1 to 60"):
        evaluation.top_k_intersection(relevance, mask, 61)
    with pytest.raises(ValueError, match="expected the same"):
        evaluation.rank_correlation(relevance, relevance[:2])


def test_intervals():
    values = np.random.default_rng(2).normal(size=(7, 2))
    estimate = evaluation.mean_interval(values)
    for column in range(2):
        expected = oracle.t_interval(values[:, column])
        np.testing.assert_allclose([part[column] for part in estimate[:3]], expected, rtol=1e-5)
    assert estimate.samples == 7
    wide, narrow = (evaluation.mean_interval(values, level) for level in (0.99, 0.5))
    assert (wide.low < estimate.low).all() and (narrow.low > estimate.low).all()
    single = evaluation.mean_interval(values[:1])
    assert np.isnan(single.low).all() and not single.is_apart(estimate).any()
    shifted = evaluation.mean_interval(values + 100)
    assert shifted.is_apart(estimate).all() and not estimate.is_apart(estimate).any()
    paired = evaluation.paired_interval(values + 1, values)
    np.testing.assert_allclose(paired.low, 1, atol=1e-6)


def test_what_intervals_refuse(unchecked):
    values = np.ones((7, 2))
    with pytest.raises(ValueError, match="at least one sample"):
        evaluation.mean_interval(values[:0])
    with pytest.raises(ValueError, match="same samples"):
        evaluation.paired_interval(values, values[:3])


@pytest.mark.slow
def test_intervals_cover():
    """95 % of 20,000 intervals of 5 normal samples: seven standard errors, 1e-11, are 1.1 %."""
    values = np.random.default_rng(3).normal(size=(5, 20_000))
    estimate = evaluation.mean_interval(values)
    assert abs(np.mean((estimate.low <= 0) & (estimate.high >= 0)) - 0.95) < 0.011


def network(params, x):
    hidden = jax.nn.relu(x @ params["a"]["kernel"] + params["a"]["bias"])
    hidden = jax.nn.relu(hidden @ params["b"]["kernel"] * params["norm"]["scale"])
    return hidden @ params["top"]["kernel"]


@pytest.fixture(scope="module")
def layers():
    draw = np.random.default_rng(5)
    sizes = {"a": (12, 16), "b": (16, 16), "top": (16, 3)}
    params = {name: {"kernel": draw.normal(size=size).astype("f")} for name, size in sizes.items()}
    params["a"]["bias"] = draw.normal(size=16).astype("f")
    params["norm"] = {"scale": draw.uniform(0.5, 2, 16).astype("f")}
    return params, draw.normal(size=(4, 12)).astype("f")


def are_equal(one, other) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_layers_are_randomised_from_the_top(layers):
    params, x = layers
    names = evaluation.layers_from_top(network, params, x)
    assert names == ["top", "norm", "b", "a"]
    key = jax.random.key(3)
    cascade = evaluation.randomize_top_layers(params, names, key)
    alone = evaluation.randomize_top_layers(params, names, key, mode="independent")
    for count, name in enumerate(names, 1):
        for layer in params:
            assert are_equal(cascade[name][layer], params[layer]) == (layer not in names[:count]), (name, layer)
            assert are_equal(alone[name][layer], params[layer]) == (layer != name), (name, layer)
        np.testing.assert_array_equal(alone[name][name].popitem()[1], cascade[name][name].popitem()[1])
    assert cascade["top"]["a"]["kernel"] is params["a"]["kernel"]  # shared
    shuffled = evaluation.randomize_top_layers(params, ["b"], key, draw="permutation")["b"]["b"]["kernel"]
    np.testing.assert_array_equal(np.sort(shuffled, None), np.sort(params["b"]["kernel"], None))
    assert not np.array_equal(shuffled, params["b"]["kernel"])


def test_a_random_layer_has_the_law_of_its_own():
    """Of 40,000 entries: five per cent are more than ten standard errors of mean and deviation."""
    params = {"w": np.random.default_rng(0).normal(2.0, 3.0, size=(200, 200)).astype("f"), "steps": np.arange(3)}
    drawn = evaluation.randomize_top_layers(params, ["w"], jax.random.key(0))["w"]
    weights = np.asarray(drawn["w"])
    assert abs(weights.mean() - 2) < 0.15 and abs(weights.std() - 3) < 0.15 and drawn["steps"] is params["steps"]


def test_what_is_never_negative_stays_so():
    """The variances of batch normalisation: a negative one would make every output NaN."""
    params = {"norm": {"variance": np.random.default_rng(0).gamma(0.5, size=300).astype("f"), "bias": np.zeros(3, "f")}}
    drawn = evaluation.randomize_top_layers(params, ["norm"], jax.random.key(0))["norm"]["norm"]
    np.testing.assert_array_equal(np.sort(drawn["variance"]), np.sort(params["norm"]["variance"]))
    assert not are_equal(drawn, params["norm"]) and not drawn["bias"].any()


def test_maps_that_hang_on_layers_change_and_others_do_not(layers):
    params, x = layers
    target = np.argmax(network(params, x), -1)
    names = ["top", "norm", "b", "a"]

    @jax.jit
    def by_rules(params, x):
        return attribution.attribute(network, params, x, target=target, rules="epsilon_plus")[1]

    check = evaluation.randomization_check(by_rules, params, x, names, jax.random.key(1))
    assert check.names == tuple(names) and check.rank_correlation.shape == (4, 4)
    assert np.mean(check.rank_correlation[-1]) < 0.9
    clean = by_rules(params, x)
    last = by_rules(evaluation.randomize_top_layers(params, names, jax.random.key(1))["a"], x)
    np.testing.assert_allclose(
        check.rank_correlation[-1], evaluation.rank_correlation(jnp.abs(clean), jnp.abs(last)), atol=1e-5
    )
    input_alone = evaluation.randomization_check(lambda params, x: np.asarray(x), params, x, names, jax.random.key(1))
    np.testing.assert_allclose(input_alone.rank_correlation, 1, atol=1e-6)
    for wrong, message in (
        (["head"], "'head', which is no layer; there are a, b, norm, top"),
        (["a", "a"], "each once"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.randomize_top_layers(params, wrong, jax.random.key(0))
    with pytest.raises(ValueError, match="mode='both'"):
        evaluation.randomize_top_layers(params, ["a"], jax.random.key(0), mode="both")
