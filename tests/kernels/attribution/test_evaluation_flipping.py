"""Perturbation analysis against loops over single samples in float64, its layouts, its repeats and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import evaluation
from kernels.attribution.evaluation import perturbations
from kernels.attribution.evaluation import regions as cut
from tests.kernels.oracles import evaluation as oracle

SIDES, CHANNELS, CLASSES, BATCH = (7, 6), 2, 3, 3
TARGET = np.array([2, 0, 1])
SIZES = (3, 2)  # one side is padded, the other is divided


def network(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params["w"] + params["b"])


def scores_of(params, target):
    return lambda x: float(np.tanh(x.reshape(-1) @ params["w"] + params["b"])[target])


@pytest.fixture(scope="module")
def problem():
    draw = np.random.default_rng(3)
    params = {"w": draw.normal(size=(84, CLASSES)) / 4, "b": draw.normal(size=CLASSES)}
    x = draw.uniform(-1, 1, size=(BATCH, *SIDES, CHANNELS))
    return params, x, np.round(draw.normal(size=x.shape), 1)  # rounded: some regions are equal


def flipped(problem, **options):
    with jax.enable_x64(True):
        params, x, relevance = problem
        options = {"target": TARGET, "regions": SIZES, "axes": (1, 2), "relevance": relevance} | options
        curve = evaluation.pixel_flipping(network, params, x, **options)
        return jax.tree.map(np.asarray, curve)


def expected(problem, fill, sizes=SIZES, **options):
    params, x, relevance = problem
    fills = [fill(sample) for sample in x] if callable(fill) else fill
    return np.stack([
        oracle.curve(scores_of(params, TARGET[i]), x[i], relevance[i], sizes, fills[i], **options) for i in range(BATCH)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("perturbation", "fill"),
    [
        ("zeros", np.zeros_like),
        ("invert", np.negative),
        ("mean", lambda x: oracle.region_mean_fill(x, SIZES)),
        ("blur", lambda x: oracle.blur_fill(x, (1.5, 1.0))),
        ("constant", lambda x: np.full_like(x, 0.25)),
    ],
)
def test_curves_are_those_of_a_loop(problem, perturbation, fill):
    curve = flipped(problem, perturbation=perturbation, value=0.25)
    np.testing.assert_allclose(curve.scores, expected(problem, fill), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(curve.perturbed, np.arange(10))
    assert curve.doubtful == 0 and curve.perturbation == perturbation


@pytest.mark.parametrize("reduce", ["mean", "sum", "abs", "max"])
def test_least_relevant_first_and_reductions(problem, reduce):
    curve = flipped(problem, order="lerf", reduce=reduce, at_once=4)
    np.testing.assert_allclose(
        curve.scores, expected(problem, np.zeros_like, order="lerf", reduce=reduce), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("per_step", "first"), [(2, None), (4, 1), (9, None), (20, None)])
def test_several_regions_at_a_step(problem, per_step, first):
    curve = flipped(problem, regions_per_step=per_step, first=first)
    one = expected(problem, np.zeros_like, per_step=per_step, first=first)
    np.testing.assert_allclose(curve.scores, one, rtol=1e-12, atol=1e-12)
    assert curve.perturbed[-1] == 9 and curve.perturbed[1] == min(9, first or per_step)


def test_donors_and_range(problem):
    _, x, _ = problem
    curve = flipped(problem, perturbation="donor")
    np.testing.assert_allclose(curve.scores, expected(problem, np.roll(x, -1, 0)), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(flipped(problem, perturbation="donor", batch_size=2).scores, curve.scores)
    curve = flipped(problem, perturbation="constant", value=7.0, value_range=(-1, 1))
    np.testing.assert_allclose(curve.scores, expected(problem, np.ones_like(x)), rtol=1e-12, atol=1e-12)


def test_neighbours_are_imputed(problem):
    params, x, relevance = problem
    curve = flipped(problem, perturbation="linear", sigma=1e-9, key=jax.random.key(0))
    for i in range(BATCH):
        imputed = functools.partial(oracle.linear_fill, x[i])
        one = oracle.curve(scores_of(params, TARGET[i]), x[i], relevance[i], SIZES, imputed)
        np.testing.assert_allclose(curve.scores[i], one, atol=1e-5)


def test_what_an_imputation_of_a_plane_is():
    """A linear ramp is its own weighted mean inside, so it comes back; whatever is masked, constants do."""
    ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None], (9, 9))[None, ..., None]
    plan = cut.layout(ramp.shape, (3, 3))
    mask = (jnp.arange(9)[None] == 4).reshape(1, 3, 3, 1).repeat(3, 1).repeat(3, 2)
    np.testing.assert_allclose(perturbations.interpolated(ramp * (1 - mask), mask, plan), ramp, atol=1e-3)
    everywhere = jnp.ones(mask.shape, bool)
    np.testing.assert_allclose(perturbations.interpolated(jnp.full_like(ramp, 3.0), everywhere, plan), 3.0)


def test_random_fills_have_their_law(problem):
    """Means of 10,000 draws: a standard error is 0.003 and less, seven of them are allowed (1e-11)."""
    x = jnp.zeros((1, 100, 100, 1))
    plan, keys = cut.layout(x.shape, (9, 9)), jax.random.split(jax.random.key(5), 1)
    fill = perturbations.filling("gaussian", x, plan, keys, None, None, None, None)
    assert abs(fill.mean()) < 0.021 and abs(fill.std() - 0.3) < 0.015
    fill = perturbations.filling("uniform", x, plan, keys, None, None, (jnp.full(1, 2.0), jnp.full(1, 3.0)), None)
    assert fill.min() >= 2 and fill.max() <= 3 and abs(fill.mean() - 2.5) < 0.021


def test_one_axis_three_axes_and_channels_first(problem):
    params, x, relevance = problem
    with jax.enable_x64(True):
        # As a sequence of entries, and as a volume whose channels are flipped, too.
        flat = evaluation.pixel_flipping(
            network, params, x.reshape(3, -1), relevance.reshape(3, -1), target=TARGET, regions=1, at_once=8
        )
        volume = evaluation.pixel_flipping(
            network, params, x, relevance, target=TARGET, regions=(1, 1, 1), axes=(1, 2, 3), at_once=8
        )
        first = evaluation.pixel_flipping(
            lambda params, x: network(params, x.transpose(0, 2, 3, 1)), params, x.transpose(0, 3, 1, 2),
            relevance.transpose(0, 3, 1, 2), target=TARGET, regions=SIZES, axes=(2, 3),
        )  # fmt: skip
    np.testing.assert_array_equal(flat.scores, volume.scores)
    assert flat.scores.shape == (3, 85)
    np.testing.assert_allclose(first.scores, flipped(problem).scores, rtol=1e-12)
    swapped = flipped(problem, regions=SIZES[::-1], axes=(2, 1))
    np.testing.assert_array_equal(swapped.scores, flipped(problem).scores)


@pytest.mark.parametrize(
    ("shape", "count", "axes"),
    [((2, 8, 8, 3), 2, (1, 2)), ((2, 3, 8, 8), 2, (2, 3)), ((2, 8, 8), 2, (1, 2)), ((2, 8), 1, (1,)),
     ((2, 8, 1), 1, (1,)), ((2, 4, 5, 6, 1), 3, (1, 2, 3))],
)  # fmt: skip
def test_axes_that_tell_themselves(shape, count, axes):
    assert cut.layout(shape, (2,) * count).axes == axes


def test_padding_is_halved_and_one_side_may_be_whole():
    plan = cut.layout((1, 10, 9, 1), (4, 3))
    assert plan.pads == ((1, 1), (0, 0)) and plan.counts == (3, 3)
    assert cut.layout((1, 9, 9, 1), (4, 4)).pads == ((1, 2), (1, 2))
    np.testing.assert_array_equal(cut.region_index(plan)[:, 0, 0], [0, 0, 0, 3, 3, 3, 3, 6, 6, 6])


def test_ties_are_in_the_order_of_their_numbers():
    scores = jnp.array([[1.0, 2.0, 2.0, -0.0, 0.0]])
    assert cut.ranks(scores, "morf").tolist() == [[2, 0, 1, 3, 4]]
    assert cut.ranks(scores, "lerf").tolist() == [[2, 3, 4, 0, 1]]


def test_scores_and_targets(problem):
    params, x, _ = problem
    probability = flipped(problem, score="probability").scores
    logits = np.tanh(x.reshape(3, -1) @ params["w"] + params["b"])
    soft = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probability[:, 0], soft[np.arange(3), TARGET], rtol=1e-12)
    own = flipped(problem, score=lambda y: 2 * y)
    np.testing.assert_allclose(own.scores, 2 * flipped(problem).scores, rtol=1e-12)
    assert own.score == "function"
    best = flipped(problem, target="argmax")
    np.testing.assert_array_equal(best.scores, flipped(problem, target=logits.argmax(1)).scores)
    chosen = flipped(problem, target=lambda y: y * jnp.array([0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(chosen.scores, flipped(problem, target=2).scores)


def test_however_it_is_run_the_curve_is_the_same(problem):
    params, x, relevance = jax.tree.map(lambda leaf: leaf.astype(np.float32), problem)
    options = {"target": TARGET, "regions": SIZES, "axes": (1, 2), "perturbation": "gaussian", "key": jax.random.key(1)}
    curve = evaluation.pixel_flipping(network, params, x, relevance, **options)
    whole = jax.jit(lambda p, x, r: evaluation.pixel_flipping(network, p, x, r, at_once=4, **options))
    traced = whole(params, x, relevance)
    np.testing.assert_allclose(traced.scores, curve.scores, rtol=1e-5, atol=1e-6)
    pieces = evaluation.pixel_flipping(network, params, x, relevance, batch_size=2, **options)
    np.testing.assert_allclose(pieces.scores, curve.scores, rtol=1e-5, atol=1e-6)
    one = evaluation.pixel_flipping(network, params, x[:1], relevance[:1], **options | {"target": 2})
    np.testing.assert_allclose(one.scores[0], curve.scores[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="expected low below high"):  # though x cannot be looked at
        jax.jit(lambda x: evaluation.pixel_flipping(network, params, x, x, value_range=(1, 0), **options))(x)
    broken = whole(params, x, jnp.asarray(relevance).at[1, 0, 0, 0].set(jnp.nan))
    assert np.isnan(broken.scores[1]).all() and np.isfinite(broken.scores[::2]).all()


def test_random_orders_are_permutations_of_the_key(problem):
    params, x, _ = problem
    keys = jax.random.split(jax.random.key(2), 3)
    curves = [flipped(problem, order="random", relevance=None, key=key) for key in (keys, keys, jax.random.key(3))]
    np.testing.assert_array_equal(curves[0].scores, curves[1].scores)
    assert (curves[0].scores != curves[2].scores).any()
    np.testing.assert_allclose(curves[0].scores[:, [0, -1]], flipped(problem).scores[:, [0, -1]], rtol=1e-12)
    ranks = cut.random_ranks(keys, 9)
    np.testing.assert_array_equal(np.sort(ranks, axis=-1), np.broadcast_to(np.arange(9), (3, 9)))
    assert len({tuple(row) for row in ranks.tolist()}) == 3  # two of them are equal once in 120,000 keys: this one not


def gradient_times_input(params, x, target):
    return attribution.gradient(network, params, x, target=target, times_input=True)[1]


def test_what_is_left_is_explained_again(problem):
    params, x, _ = problem
    with jax.enable_x64(True):
        relevance = np.asarray(gradient_times_input(params, x, TARGET))
    curve = flipped(problem, relevance=relevance, recompute=gradient_times_input, regions_per_step=4)
    numbers, all_scores = oracle.region_of(SIDES, SIZES), []
    for i in range(BATCH):
        now, done, score = x[i].copy(), [], scores_of(params, TARGET[i])
        scores = [score(now)]
        for _ in range(3):
            slope = params["w"][:, TARGET[i]] * (1 - score(now) ** 2)
            maps = oracle.region_scores((slope * now.reshape(-1)).reshape(now.shape), SIZES, "mean")
            done += [region for region in oracle.order_of(maps, "morf") if region not in done][:4]
            now = np.where(np.isin(numbers, done)[..., None], 0, x[i])
            scores.append(score(now))
        all_scores.append(scores)
    np.testing.assert_allclose(curve.scores, all_scores, rtol=1e-10, atol=1e-12)
    with jax.enable_x64(True):
        jitted = jax.jit(
            lambda p, x, r: evaluation.pixel_flipping(
                network, p, x, r, target=TARGET, regions=SIZES, axes=(1, 2), recompute=gradient_times_input,
                regions_per_step=4,
            )
        )(params, x, relevance)  # fmt: skip
    np.testing.assert_allclose(jitted.scores, all_scores, rtol=1e-10, atol=1e-12)


def test_constant_maps_and_perturbations_without_effect_are_counted(problem):
    _, x, relevance = problem
    curve = flipped(problem, relevance=np.where(np.arange(3)[:, None, None, None] == 1, 0.5, relevance))
    assert curve.constant.tolist() == [False, True, False] and curve.doubtful == 1
    params, _, _ = problem
    blank = flipped((params, np.where(np.arange(3)[:, None, None, None] == 2, 0, x), relevance))
    assert blank.unchanged.tolist() == [False, False, True] and blank.doubtful == 1
    assert np.ptp(blank.scores[2]) == 0


def test_an_explanation_beats_random_orders():
    """A linear network: no order has a larger area than that of the contributions."""
    draw = np.random.default_rng(4)
    w, x = draw.normal(size=(30, 1)).astype("f"), draw.uniform(1, 2, size=(20, 30)).astype("f")
    options = {"fn": lambda w, x: x @ w, "params": w, "x": x, "target": 0, "regions": 1, "at_once": 31}
    beside = evaluation.compare_to_random(relevance=x * w[:, 0], key=jax.random.key(0), **options)
    assert beside.better and beside.disjoint and beside.by_seed.shape == (5, 20) and beside.doubtful == 0
    assert (evaluation.aopc(evaluation.pixel_flipping(relevance=x * w[:, 0], **options)) >= beside.by_seed).all()
    np.testing.assert_allclose(beside.difference.mean, beside.explanation.mean - beside.random.mean, rtol=1e-5)
    other = evaluation.compare_to_random(relevance=-x * w[:, 0], key=jax.random.key(0), **options)
    assert not other.better and other.disjoint
    lerf = evaluation.compare_to_random(relevance=x * w[:, 0], key=jax.random.key(0), order="lerf", **options)
    assert lerf.better and lerf.difference.high < 0
    with pytest.raises(ValueError, match="seeds=4: expected an integer of at least 5"):
        evaluation.compare_to_random(relevance=x, key=jax.random.key(0), seeds=4, **options)


def test_areas(problem):
    morf, lerf = flipped(problem), flipped(problem, order="lerf")
    np.testing.assert_allclose(evaluation.aopc(morf), [oracle.aopc(row) for row in morf.scores], rtol=1e-5, atol=1e-7)
    between = np.mean([lerf.scores[:, point] - morf.scores[:, point] for point in range(10)], axis=0)
    np.testing.assert_allclose(evaluation.area_between(lerf, morf), between, rtol=1e-5, atol=1e-7)
    for other, message in (
        (flipped(problem, score="probability"), "score 'probability' and 'logit'"),
        (flipped(problem, perturbation="mean"), "perturbation 'mean' and 'zeros'"),
        (flipped(problem, regions_per_step=2, steps=5), "shapes"),
        (flipped(problem, regions_per_step=1, first=1, steps=8), "shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.area_between(other, morf)
    with pytest.raises(ValueError, match="orders 'morf' and 'lerf': expected 'lerf', then 'morf'"):
        evaluation.area_between(morf, lerf)
    with pytest.raises(ValueError, match="numbers of perturbed"):
        evaluation.area_between(flipped(problem, regions_per_step=2, steps=4), flipped(problem, steps=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "best"}, "order='best': expected one of morf, lerf, random"),
        ({"reduce": "l2"}, "reduce='l2'"),
        ({"perturbation": "black"}, "perturbation='black': expected one of zeros, mean"),
        ({"score": "loss"}, "score='loss'"),
        ({"regions": (9, 2)}, "one of 9 along axis 1 of x, whose length is 7"),
        ({"regions": (0, 2)}, "regions=0: expected an integer of at least 1"),
        ({"axes": None}, "which axes they lie along cannot be told"),
        ({"axes": (0, 1)}, "name an axis after the batch's"),
        ({"axes": (1, 1)}, "name an axis after the batch's"),
        ({"steps": 10}, "steps=10: 9 regions are perturbed after 9 of them"),
        ({"steps": 6, "regions_per_step": 2}, "9 regions are perturbed after 5 of them, 2 at a time"),
        ({"relevance": None}, "relevance=None: order='morf'"),
        ({"order": "random"}, "key=None: order='random'"),
        ({"perturbation": "gaussian"}, "key=None: order='morf' and perturbation='gaussian'"),
        ({"perturbation": "uniform", "key": 3}, "draws from value_range"),
        ({"order": "random", "key": jnp.zeros(3)}, "key is of shape"),
        ({"value_range": (1, -1)}, "expected low below high"),
        ({"value_range": (2, 2)}, "expected low below high"),
        ({"value_range": (0, 1)}, "x reaches from -0.9"),
        ({"value_range": 1}, r"expected \(low, high\)"),
        ({"perturbation": "constant", "value": np.ones(3)}, "value of shape"),
        ({"perturbation": "donor", "donors": np.ones((2, 7, 6, 2))}, "donors of shape"),
        ({"target": 3}, "target is 3"),
        ({"target": np.ones((3, 3))}, "array of floats, which scores every input alike"),
        ({"recompute": 1}, "recompute=1 with order='morf'"),
        ({"recompute": gradient_times_input, "order": "random", "key": jax.random.key(0)}, "with order='random'"),
    ],
)
def test_what_is_refused(problem, options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        flipped(problem, **options)


def test_relevance_and_donors_that_are_refused(problem, unchecked):
    params, x, relevance = problem
    for wrong, message in (
        (np.where(np.arange(3)[:, None, None, None] == 1, np.nan, relevance), "relevance of sample 1 has NaN"),
        (relevance[:2], "relevance has shape"),
        (relevance[..., 0], "relevance has shape"),
        (relevance.astype(int), "relevance is int"),
        ((1, relevance), r"attribute returns \(outputs, relevance\)"),
    ):
        with pytest.raises(ValueError, match=message):
            flipped(problem, relevance=wrong)
    same = (params, np.broadcast_to(x[:1], x.shape), relevance)
    with pytest.raises(ValueError, match="sample 0 and the next of the batch are the same"):
        flipped(same, perturbation="donor")
    with pytest.raises(ValueError, match="sample 2 and its donor are the same"):
        flipped(problem, perturbation="donor", donors=x[2:])
    one = (params, x[:1], relevance[:1])
    with pytest.raises(ValueError, match="of one sample: the next of the batch is itself"):
        flipped(one, perturbation="donor", target=0)
    with pytest.raises(ValueError, match="these are probabilities already"):
        evaluation.pixel_flipping(
            lambda p, x: jax.nn.softmax(network(p, x)), params, x, relevance, target=0, regions=SIZES, axes=(1, 2),
            score="probability",
        )  # fmt: skip
    for wrong, message in (({"a": x}, "x is dict: expected one array"), (x[0, 0, 0], "a single sample is x")):
        with pytest.raises(ValueError, match=message):
            flipped((params, wrong, relevance))
    heat = flipped(problem, relevance=relevance.sum(-1, keepdims=True))
    np.testing.assert_array_equal(heat.scores, flipped(problem, reduce="sum").scores)


def test_half_precision_keeps_its_dtype(problem):
    params, x, relevance = problem
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), (params, x, relevance))
    wide = flipped(problem, perturbation="blur")
    curve = evaluation.pixel_flipping(
        network, *half, target=TARGET, regions=SIZES, axes=(1, 2), perturbation="blur", reduce="sum"
    )
    assert curve.scores.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(curve.scores, np.float32)[:, 0], wide.scores[:, 0], atol=0.05)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_points(problem):
    params, x, relevance = jax.tree.map(lambda leaf: leaf.astype(np.float32), problem)

    def temporary_bytes(steps, at_once):
        options = {"target": 0, "regions": (1, 1), "axes": (1, 2), "steps": steps, "at_once": at_once}
        call = jax.jit(lambda p, x, r: evaluation.pixel_flipping(network, p, x, r, **options).scores)
        return call.lower(params, x, relevance).compile().memory_analysis().temp_size_in_bytes

    few, many, wide = temporary_bytes(4, 2), temporary_bytes(40, 2), temporary_bytes(40, 40)
    assert many < 1.2 * few + 4 * 3 * 40 and wide > 2 * many
