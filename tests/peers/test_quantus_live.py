"""Our measures of explanations against Quantus itself: `make peers-quantus` builds it, `make peers` runs this.

Where its definitions are others than its papers' the tests hold how: see the docstrings of `attribution.evaluation`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import evaluation
from kernels.attribution.bench import networks, plans
from kernels.attribution.evaluation import perturbations
from kernels.attribution.evaluation import regions as cut

PEER = "quantus"

SAMPLES, CHANNELS, SIDE, DRAWS = 4, 2, 8, 5
TARGET = np.array([0, 2, 1, 2])
ROUNDING = 2e-6  # Quantus hands single precision to and from a network in double precision
PLAN = [
    plans.conv("conv1", CHANNELS, 4, 3, padding=1), plans.RELU, plans.pool("max_pool", 2), plans.conv("conv2", 4, 6, 3),
    plans.RELU, plans.FLATTEN, plans.dense("fc1", 24, 8), plans.RELU, plans.dense("fc2", 8, 3),
]  # fmt: skip
NETWORK = networks.function(PLAN)
VALUES = plans.parameters(PLAN, seed=0)


@pytest.fixture(scope="module")
def images():
    """Multiples of 1/64: Quantus hands single precision to networks, which has to hold them exactly."""
    return np.round(np.random.default_rng(0).normal(size=(SAMPLES, CHANNELS, SIDE, SIDE)) * 64) / 64


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(1).normal(size=(SAMPLES, CHANNELS, SIDE, SIDE))


@pytest.fixture(scope="module")
def network(peer):
    return peer.ask("build", plan=PLAN, parameters=peer.put_many("parameters", VALUES))["network"]


def theirs(peer, network, name, x, *, target=TARGET, **settings) -> np.ndarray:
    """What a metric gives; attributions as they are, unless the settings say otherwise."""
    settings = {"normalise": False, "abs": False, "return_aggregate": False} | settings
    peer.ask(
        "measure", name=name, network=network, x=x, y=target.tolist(), answer=peer.folder / "answer.npy", **settings
    )
    return peer.get("answer.npy")


def ours(measure, images, *arguments, **options) -> np.ndarray:
    """A measure that scores again, in double precision."""
    with jax.enable_x64(True):
        x, params = networks.channels_last(images), networks.from_torch(VALUES)
        return np.asarray(
            measure(NETWORK, params, x, *map(networks.channels_last, arguments), target=TARGET, **options)
        )


def curve_of(*arguments, **options):
    return evaluation.pixel_flipping(*arguments, **options).scores


@pytest.mark.parametrize("softmax", [False, True])
def test_pixel_flipping_of_single_entries(peer, network, images, maps, softmax):
    """Their entries are in the order of channels, rows, columns, which matters for ties alone."""
    expected = theirs(
        peer, network, "PixelFlipping", images, a=maps, softmax=softmax, perturb_baseline=0.25, features_in_step=8
    )
    scores = ours(
        curve_of, images, maps, regions=(1, 1, 1), axes=(1, 2, 3), perturbation="constant", value=0.25,
        regions_per_step=8, at_once=4, score="probability" if softmax else "logit",
    )  # fmt: skip
    np.testing.assert_allclose(scores[:, 1:], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_region_perturbation(peer, network, images, maps, order):
    expected = theirs(
        peer, network, "RegionPerturbation", images, a=maps, order=order, patch_size=2, perturb_baseline=0.0,
        regions_evaluation=16,
    )  # fmt: skip
    scores = ours(curve_of, images, maps, order=order, reduce="sum", regions=(2, 2), axes=(1, 2))
    np.testing.assert_allclose((scores[:, :1] - scores)[:, 1:], expected, rtol=0, atol=ROUNDING)


def test_sparseness(peer, network, images, maps):
    relevance = jnp.asarray(maps, jnp.float32)
    own = evaluation.gini(relevance)
    np.testing.assert_allclose(own, theirs(peer, network, "Sparseness", images, a=maps, abs=True), atol=1e-6)
    own = evaluation.complexity(relevance)
    np.testing.assert_allclose(own, theirs(peer, network, "Complexity", images, a=maps, abs=True), atol=1e-5)
    own = evaluation.effective_complexity(maps, 0.2)
    for i in range(SAMPLES):  # one by one: it divides by the largest magnitude of the batch
        one = {"a": maps[i : i + 1], "abs": True, "normalise": True, "eps": 0.2, "target": TARGET[i : i + 1]}
        assert theirs(peer, network, "EffectiveComplexity", images[i : i + 1], **one) == own[i]


def test_localisation(peer, network, images, maps):
    mask = np.random.default_rng(2).random((SAMPLES, 1, SIDE, SIDE)) < 0.3
    heat = maps.mean(1, keepdims=True)
    heat[0] = np.abs(heat[0])
    for name, measure, settings, atol in (
        ("PointingGame", lambda r, m: evaluation.pointing_game(r, m, ties="any"), {}, 0),
        ("RelevanceRankAccuracy", evaluation.relevance_rank_accuracy, {}, 1e-6),
        ("TopKIntersection", lambda r, m: evaluation.top_k_intersection(r, m, 9), {"k": 9}, 1e-6),
        (
            "TopKIntersection", lambda r, m: evaluation.top_k_intersection(r, m, 9, concept_influence=True),
            {"k": 9, "concept_influence": True}, 1e-6,
        ),
        ("AttributionLocalisation", evaluation.attribution_localization, {"positive_attributions": True}, 1e-6),
        (
            "AttributionLocalisation", lambda r, m: evaluation.attribution_localization(r, m, values="absolute"),
            {"abs": True}, 1e-6,
        ),
    ):  # fmt: skip
        expected = theirs(peer, network, name, images, a=heat, masks=mask, **settings)
        np.testing.assert_allclose(measure(heat, mask), expected, atol=atol, err_msg=name)
    mass = theirs(peer, network, "RelevanceMassAccuracy", images, a=heat, masks=mask)
    own = np.asarray(evaluation.relevance_mass_accuracy(heat, mask))
    is_share = heat.sum((1, 2, 3)) > 0
    np.testing.assert_allclose(own[is_share], mass[is_share], atol=1e-5)
    assert np.isnan(own[~is_share]).all() and is_share.any()


def test_an_empty_mask_is_a_hit_there(peer, network, images, maps):
    mask = np.zeros((SAMPLES, 1, SIDE, SIDE), bool)
    assert theirs(peer, network, "PointingGame", images, a=maps[:, :1], masks=mask).all()
    assert np.isnan(evaluation.pointing_game(maps[:, :1], mask)).all()


def gradient_times_input(params, x):
    return attribution.gradient(NETWORK, params, x, target=TARGET, times_input=True)[1]


def test_sensitivity(peer, network, images):
    noise = np.round(np.random.default_rng(3).uniform(-0.2, 0.2, size=(DRAWS, *images.shape)) * 1024) / 1024
    with jax.enable_x64(True):
        options = {"params": networks.from_torch(VALUES), "x": networks.channels_last(images)}
        options |= {"noise": np.stack([networks.channels_last(one) for one in noise]), "at_once": 2}
        for name, measure in (
            ("MaxSensitivity", evaluation.max_sensitivity),
            ("AvgSensitivity", evaluation.avg_sensitivity),
            ("LocalLipschitzEstimate", evaluation.local_lipschitz),
        ):
            expected = theirs(peer, network, name, images, noise=noise, nr_samples=DRAWS)
            np.testing.assert_allclose(measure(gradient_times_input, **options), expected, rtol=ROUNDING, err_msg=name)


def test_faithfulness_correlation(peer, network, images, maps):
    size, entries = 20, CHANNELS * SIDE * SIDE
    expected = theirs(
        peer, network, "FaithfulnessCorrelation", images, a=maps, nr_runs=DRAWS, subset_size=size,
        perturb_baseline=0.125, seed=4,
    )  # fmt: skip
    peer.ask(
        "subsets", entries=entries, size=size, samples=SAMPLES, draws=DRAWS, seed=4, answer=peer.folder / "subsets.npy"
    )
    # Their entries are in the order of channels, rows, columns.
    numbers = networks.channels_last(np.arange(entries).reshape(1, CHANNELS, SIDE, SIDE)).reshape(-1)
    subsets = np.argsort(numbers)[peer.get("subsets.npy")]
    own = ours(evaluation.faithfulness_correlation, images, maps, subsets=subsets, value=0.125)
    np.testing.assert_allclose(own, expected, rtol=ROUNDING)


def test_infidelity_of_patches(peer, network, images, maps):
    """A baseline in one patch after the other, those before staying."""
    expected = theirs(
        peer, network, "Infidelity", images, a=maps, perturb_patch_sizes=[4], n_perturb_samples=1, perturb_baseline=0.25
    )
    now, changes = images.copy(), []
    for top in (0, 4):
        for left in (0, 4):
            now[:, :, top : top + 4, left : left + 4] = 0.25
            changes.append(networks.channels_last(images - now))
    own = ours(evaluation.infidelity, images, maps, perturbations=np.stack(changes))
    np.testing.assert_allclose(own, expected, rtol=ROUNDING)


def test_imputation_of_road(peer, images):
    """Noise aside. Their images are channels first, one at a time, with the places of the mask in a row."""
    plan = cut.layout(networks.channels_last(images).shape, (2, 2), axes=(1, 2))
    for i in range(SAMPLES):
        numbers = np.random.default_rng([6, i]).permutation(plan.regions)[: 4 * i + 2]
        mask = np.isin(cut.region_index(plan), numbers)
        peer.ask(
            "impute", image=images[i], places=np.flatnonzero(mask).tolist(), answer=peer.folder / "answer.npy"
        )  # fmt: skip
        own = perturbations.interpolated(
            jnp.asarray(networks.channels_last(images[i : i + 1])), jnp.asarray(mask[None]), plan
        )
        np.testing.assert_allclose(own[0].transpose(2, 0, 1), peer.get("answer.npy"), atol=2e-4)


def test_monotonicity_there_is_that_of_nothing(peer, network, images):
    """Baselines are replaced by baselines: an explanation and its opposite are both monotone."""
    relevance = np.random.default_rng(5).normal(size=images.shape)
    for sign in (1, -1):
        settings = {"features_in_step": 16, "perturb_baseline": 0.0}
        assert theirs(peer, network, "Monotonicity", images, a=sign * relevance, **settings).all()
    own = ours(evaluation.monotonicity, images, relevance, entries_per_step=16, absolute=False)
    assert (own < 1).all()


def test_correlations(peer, maps):
    one, other = np.round(maps, 1).reshape(SAMPLES, -1), np.round(maps[::-1], 1).reshape(SAMPLES, -1)
    for name, measure in (
        ("correlation_spearman", evaluation.rank_correlation),
        ("correlation_pearson", evaluation.map_correlation),
    ):
        peer.ask("similarity", name=name, one=one, other=other, answer=peer.folder / "answer.npy")
        np.testing.assert_allclose(measure(one, other), peer.get("answer.npy"), atol=1e-6)
    assert peer.ask("version")["quantus"] == "0.6.0"
