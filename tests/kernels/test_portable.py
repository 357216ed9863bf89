"""Every jittable kernel lowers for a GPU and for a TPU on a machine that has neither.

Lowering decides what a platform gets: nothing below may hang on where it is traced. All public functions of the kernels
are in CALLS, or in ON_THE_HOST with what keeps them from being traced.
"""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import (
    alpha_stable,
    attribution,
    autoregressive,
    boundary_attack,
    entropy_coding,
    golomb,
    ising,
    soft_entropy,
    sparse_ternary,
    spectral,
)
from kernels.attribution import composites, evaluation
from kernels.ising import energies, inverse, systems
from kernels.soft_entropy import reparametrization, table
from tests.kernels.radio_calls import radio_calls

PLATFORMS = ("cuda", "tpu")
MODULES = (
    "alpha_stable", "attribution", "attribution.evaluation", "autoregressive",
    "autoregressive.accumulate", "autoregressive.chain_stream",
    "autoregressive.stream", "boundary_attack", "boundary_step", "channel", "entropy", "entropy_coding",
    "entropy_coding.layer_steps", "golomb", "ising",
    "ising.energies", "ising.inverse", "ising.symmetries", "ising.systems", "ldpc", "local_reparametrization",
    "soft_entropy", "soft_entropy.bits", "soft_entropy.hard_labels", "soft_entropy.labels",
    "soft_entropy.reparametrization", "soft_entropy.table", "soft_table", "sparse_ternary", "spectral",
)  # fmt: skip
HERE_AND_THERE = {"boundary_step": "boundary_attack", "entropy": "soft_entropy", "soft_table": "soft_entropy.table",
                  "local_reparametrization": "soft_entropy.reparametrization"}  # fmt: skip

ON_THE_HOST = {
    "NumPy in float64, of concrete values": {
        "alpha_stable": "length_table log_median_length",
        "autoregressive": "burn_in chain_estimate finalise from_sums importance integrated_time k_hat log_weights "
        "mirror_difference record reverse_ln_z thermodynamics window",
        "autoregressive.accumulate": "entropy init origin update",
        "autoregressive.chain_stream": "init means update",
        "autoregressive.stream": "distinct init log_weights merge update",
        "boundary_attack": "query_grid",
        "channel": "channel_modes doppler_frequency frequency_covariance jakes_correlation",
        "entropy_coding": "dequantize qp_to_step quantize_uniform",
        "entropy_coding.layer_steps": "dc_v1 equal_price inverse_variance scaled_importance weight_snr",
        "ising": "brute_force brute_force_means hopfield_two_patterns kaufman_torus magnetisation_law onsager_bulk "
        "states transfer_open transfer_torus triangular_torus",
        "ising.energies": "hopfield_couplings lattice_bonds lattice_couplings orthogonal_patterns sk_couplings",
        "ising.inverse": "exact_correlations expansions",
        "ising.symmetries": "folded folded_sites images",
        "ising.systems": "exact_abs_m exact_lattice",
        "ldpc": "dimension edges information_positions parity_check_matrix",
        "soft_entropy": "assign context_members ecsq empirical_bits gap_bits huffman_lengths labels_to_levels "
        "symmetric_grid",
        "spectral": "adjusted_rand_index distinct_rows",
    },
    "the compiled core: codewords and files are the host's": {
        "entropy_coding": "compress compress_many decode_tensor decompress encode_tensor fitted_step inspect "
        "read_tensor stream_length",
        "golomb": "account decode encode encode_values",
    },
    "settings and descriptions, without arrays": {
        "attribution": "colormap describe palette",
        "attribution.evaluation": "layers_from_top",
        "autoregressive": "layers network_law parameter_counts",
        "channel": "tdl_profile",
        "golomb": "expected_bits golomb_parameter",
        "ising.systems": "fold hopfield pairwise sk",
        "ldpc": "nr_block qc_code read_alist sparse_code subcode write_alist",
        "sparse_ternary": "selection_size",
    },
    "a loop on the host that calls what is jitted": {
        "attribution": "fit_patterns imgify relevance_maximisation",
        "autoregressive": "estimate",
        "boundary_attack": "attack prepare restore run snapshot summarise",
        "ising.systems": "check_energies of_energy",
    },
    "calls back to Python: the energy is one of NumPy": {"ising.systems": "from_numpy"},
}

X, KEY = np.linspace(0.1, 1.0, 6, dtype=np.float32), 7
ALPHA = np.float32(1.5)
NETWORK = autoregressive.PixelCNN(3, depth=2, channels=2, half_width=1, z2=True)
DENSE = autoregressive.MADE(3, depth=2, channels=2)
SPINS = np.where(np.arange(18).reshape(2, 3, 3) % 5 < 2, 1, -1).astype(np.int8)
IMAGES = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 1)
UPDATES = np.linspace(-1, 1, 400, dtype=np.float32).reshape(2, 200)
SIZES = np.full(2, 0.1, np.float32)
SOFT = np.full((6, 3), 1 / 3, np.float32)
CENTROIDS = np.array([-1.0, 0.0, 1.0], np.float32)
COUNTS = np.ones((3, 3), np.float32)
COUPLINGS = ising.energies.sk_couplings(9)
LEVELS = np.array([0, 1, -2, 0, 0, 30], np.int32)


def keyed(function, *arguments, **options):
    """A function of a number, from which the key comes."""
    return lambda seed, *traced: function(jax.random.key(seed), *traced, *arguments, **options)


@functools.cache
def parameters(cfg):
    return jax.tree.map(np.asarray, autoregressive.init(cfg, jax.random.key(0)))


def layer(params, x):
    """Images [n, 4, 4, 1] to two outputs."""
    return jax.nn.relu(x.reshape(len(x), -1) @ params["a"]) @ params["b"]


LAYERS = {"a": np.full((16, 3), 0.1, np.float32), "b": np.full((3, 2), 0.2, np.float32)}


KERNELS = {"c": {"kernel": np.full((3, 3, 1, 2), 0.1, np.float32)}}
HALVES = np.arange(16).reshape(4, 4, 1) // 8
PATTERNS = attribution.Patterns({"a": LAYERS["a"], "b": LAYERS["b"]})


def convolutional(params, x):
    """Images [n, 4, 4, 1] to two outputs."""
    numbers = ("NHWC", "HWIO", "NHWC")
    z = jax.lax.conv_general_dilated(x, params["c"]["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    return jnp.mean(jax.nn.relu(z), (1, 2))


def explained(attributor, fn=layer, **options):
    return lambda params, x: attributor(fn, params, x, target=0, **options)


def drawn(attributor, **options):
    return lambda params, x, seed: attributor(layer, params, x, key=jax.random.key(seed), target=0, **options)


def measured(measure, **options):
    return lambda params, x, r: measure(layer, params, x, r, target=0, **options)


def slope(params, x):
    return attribution.gradient(layer, params, x, target=0)[1]


POINTS = np.stack([np.arange(9.0) ** 2, np.arange(9.0) % 4], axis=1).astype(np.float32)


def of_graph(function, k=2):
    """A function of points, by the graph of their neighbours."""
    return lambda x: function(spectral.affinity(spectral.knn(x, k)))


def embedded(x, q=2):
    return spectral.spectral_embedding(spectral.affinity(spectral.knn(x, 2)), q, jax.random.key(0))


FLIPS = {"regions": (2, 2), "steps": 2}
MASKS = IMAGES > 0.4


def in_places(function):
    """A function of a table of soft labels and places in it."""

    def of_arrays(centroids, latent):
        labels = table.tabulate(centroids, jnp.float32(5.0), 16)
        return function(labels, table.locate(labels, latent), latent)

    return of_arrays


CALLS = {
    "alpha_stable": {
        "abs_moment": (lambda alpha: alpha_stable.abs_moment(alpha, 0.5), ALPHA),
        "characteristic_function": (lambda t: alpha_stable.characteristic_function(t, 1.5, 0.5), X),
        "fit_log_moments": (alpha_stable.fit_log_moments, X),
        "fit_sas": (alpha_stable.fit_sas, X),
        "log_moments": (alpha_stable.log_moments, ALPHA),
        "positive_stable_log": (keyed(alpha_stable.positive_stable_log, shape=(4,)), KEY, np.float32(0.7)),
        "sas": (keyed(alpha_stable.sas, shape=(4,)), KEY, ALPHA),
        "sas_cdf": (alpha_stable.sas_cdf, X, ALPHA),
        "sas_log": (keyed(alpha_stable.sas_log, shape=(4,)), KEY, ALPHA),
        "sas_log_pdf": (alpha_stable.sas_log_pdf, X, ALPHA),
        "sas_log_survival": (alpha_stable.sas_log_survival, X, ALPHA),
        "sas_parts": (keyed(alpha_stable.sas_parts, (4,), jnp.float32), KEY, ALPHA),
        "sas_pdf": (alpha_stable.sas_pdf, X, ALPHA),
        "stable": (keyed(alpha_stable.stable, shape=(4,)), KEY, ALPHA, np.float32(0.5)),
        "sub_gaussian": (keyed(alpha_stable.sub_gaussian, shape=(4,), dim=2), KEY, ALPHA),
        "tail_constant": (alpha_stable.tail_constant, ALPHA),
        "times_power_of_two": (alpha_stable.times_power_of_two, X, np.arange(6, dtype=np.int32)),
    },
    "attribution": {
        "attribute": (explained(attribution.attribute, rules=composites.epsilon_plus_flat()), LAYERS, IMAGES),
        "strip_softmax": (attribution.strip_softmax(lambda p, x: jax.nn.softmax(layer(p, x))), LAYERS, IMAGES),
        "analyzer": (explained(attribution.analyzer("lrp.alpha_2_beta_1")), LAYERS, IMAGES),
        "bilrp": (lambda params, x: attribution.bilrp(layer, params, x, x + 1), LAYERS, IMAGES),
        "contrastive": (explained(attribution.contrastive), LAYERS, IMAGES),
        "deeplift": (explained(attribution.deeplift), LAYERS, IMAGES),
        "feature_ablation": (explained(attribution.feature_ablation, segments=HALVES), LAYERS, IMAGES),
        "grad_cam": (explained(attribution.grad_cam, fn=convolutional, at="c"), KERNELS, IMAGES),
        "gradient": (explained(attribution.gradient), LAYERS, IMAGES),
        "gradient_shap": (drawn(attribution.gradient_shap, baselines=IMAGES), LAYERS, IMAGES, KEY),
        "guided_grad_cam": (explained(attribution.guided_grad_cam, fn=convolutional, at="c"), KERNELS, IMAGES),
        "integrated_gradients": (explained(attribution.integrated_gradients, n=2), LAYERS, IMAGES),
        "internal_influence": (explained(attribution.internal_influence, at="a", n=2), LAYERS, IMAGES),
        "kernel_shap": (drawn(attribution.kernel_shap, segments=HALVES, n=4), LAYERS, IMAGES, KEY),
        "layer_conductance": (explained(attribution.layer_conductance, at="a", n=2), LAYERS, IMAGES),
        "lime": (drawn(attribution.lime, segments=HALVES, n=4), LAYERS, IMAGES, KEY),
        "occlusion": (explained(attribution.occlusion, window=2, stride=2, axes=(1, 2)), LAYERS, IMAGES),
        "pattern_attribution": (explained(attribution.pattern_attribution, patterns=PATTERNS), LAYERS, IMAGES),
        "pattern_net": (explained(attribution.pattern_net, patterns=PATTERNS), LAYERS, IMAGES),
        "shapley_sampling": (
            drawn(attribution.shapley_sampling, segments=HALVES, permutations=2), LAYERS, IMAGES, KEY
        ),
        "smoothgrad": (drawn(attribution.smoothgrad, n=2), LAYERS, IMAGES, KEY),
        "stabilize": (attribution.stabilize, X),
    },
    "attribution.evaluation": {
        "aopc": (lambda p, x, r: evaluation.aopc(
            evaluation.pixel_flipping(layer, p, x, r, target=0, **FLIPS)), LAYERS, IMAGES, IMAGES),
        "area_between": (
            lambda p, x, r: evaluation.area_between(*(
                evaluation.pixel_flipping(layer, p, x, r, target=0, order=order, **FLIPS) for order in ("lerf", "morf")
            )), LAYERS, IMAGES, IMAGES,
        ),
        "attribution_localization": (evaluation.attribution_localization, IMAGES, MASKS),
        "avg_sensitivity": (
            lambda p, x, seed: evaluation.avg_sensitivity(slope, p, x, jax.random.key(seed), n=2), LAYERS, IMAGES, KEY
        ),
        "box_mask": (lambda boxes: evaluation.box_mask(boxes, (4, 4)), np.array([[0, 0, 2, 2]])),
        "compare_to_random": (
            lambda p, x, seed: evaluation.compare_to_random(
                layer, p, x, x, jax.random.key(seed), target=0, **FLIPS)[:-1], LAYERS, IMAGES, KEY,
        ),
        "complexity": (evaluation.complexity, IMAGES),
        "effective_complexity": (evaluation.effective_complexity, IMAGES),
        "faithfulness_correlation": (
            lambda p, x, r, seed: evaluation.faithfulness_correlation(
                layer, p, x, r, jax.random.key(seed), target=0, n=2), LAYERS, IMAGES, IMAGES, KEY,
        ),
        "gini": (evaluation.gini, IMAGES),
        "infidelity": (
            lambda p, x, r, seed: evaluation.infidelity(layer, p, x, r, jax.random.key(seed), target=0, n=2),
            LAYERS, IMAGES, IMAGES, KEY,
        ),
        "local_lipschitz": (
            lambda p, x, seed: evaluation.local_lipschitz(slope, p, x, jax.random.key(seed), n=2), LAYERS, IMAGES, KEY
        ),
        "map_correlation": (evaluation.map_correlation, IMAGES, IMAGES),
        "max_sensitivity": (
            lambda p, x, seed: evaluation.max_sensitivity(slope, p, x, jax.random.key(seed), n=2, at_once=2),
            LAYERS, IMAGES, KEY,
        ),
        "mean_interval": (lambda values: evaluation.mean_interval(values)[:3], UPDATES),
        "monotonicity": (measured(evaluation.monotonicity), LAYERS, IMAGES, IMAGES),
        "paired_interval": (lambda a, b: evaluation.paired_interval(a, b)[:3], UPDATES, UPDATES),
        "pixel_flipping": (
            lambda p, x, r, seed: evaluation.pixel_flipping(
                layer, p, x, r, target=0, perturbation="linear", key=jax.random.key(seed), **FLIPS
            ), LAYERS, IMAGES, IMAGES, KEY,
        ),
        "pointing_game": (evaluation.pointing_game, IMAGES, MASKS),
        "randomization_check": (
            lambda p, x, seed: evaluation.randomization_check(slope, p, x, ["b"], jax.random.key(seed))[1:],
            LAYERS, IMAGES, KEY,
        ),
        "randomize_top_layers": (
            lambda p, seed: evaluation.randomize_top_layers(p, ["b"], jax.random.key(seed)), LAYERS, KEY
        ),
        "rank_correlation": (evaluation.rank_correlation, IMAGES, IMAGES),
        "relevance_mass_accuracy": (evaluation.relevance_mass_accuracy, IMAGES, MASKS),
        "relevance_rank_accuracy": (evaluation.relevance_rank_accuracy, IMAGES, MASKS),
        "top_k_intersection": (lambda r, m: evaluation.top_k_intersection(r, m, 3), IMAGES, MASKS),
    },
    "autoregressive": {
        "conditionals": (lambda p, s: autoregressive.conditionals(p, NETWORK, s), parameters(NETWORK), SPINS),
        "init": (lambda seed: autoregressive.init(NETWORK, jax.random.key(seed)), KEY),
        "log_prob": (lambda p, s: autoregressive.log_prob(p, NETWORK, s), parameters(NETWORK), SPINS),
        "logits": (lambda p, s: autoregressive.logits(p, DENSE, s), parameters(DENSE), SPINS),
        "nmcmc": (keyed(autoregressive.nmcmc), KEY, X),
        "sample": (
            lambda p, seed: autoregressive.sample(p, NETWORK, jax.random.key(seed), 40, 20), parameters(NETWORK), KEY
        ),
    },
    "boundary_attack": {
        "adapt": (lambda delta: boundary_attack.adapt(boundary_attack.initial_pace(2)._replace(delta=delta)), SIZES),
        "draw_noise": (keyed(boundary_attack.draw_noise, "length", 8, jnp.float32), KEY, ALPHA),
        "image_keys": (lambda seed, ids: jax.random.key_data(
            boundary_attack.image_keys(jax.random.key(seed), ids)), KEY, np.arange(3)),
        "initial_pace": (lambda delta: boundary_attack.initial_pace(2, delta), np.float32(0.1)),
        "log_median": (boundary_attack.log_median, ALPHA),
        "norms": (boundary_attack.norms, SOFT),
        "points": (
            lambda a, b: boundary_attack.points(a, b, boundary_attack.norms(b - a), a + 1, SIZES, SIZES, (0.0, 1.0)),
            IMAGES[0].reshape(2, 8), IMAGES[1].reshape(2, 8),
        ),
        "propose": (
            lambda seed, a, b: boundary_attack.propose(
                jax.random.key(seed), a, b, SIZES, SIZES, 1.5, "coordinatewise", 0.0, 1.0, rescale=True
            ),
            KEY, IMAGES, IMAGES[::-1].copy(),
        ),
        "record": (
            lambda a, b: boundary_attack.record(boundary_attack.initial_pace(2), a, b, b), np.ones(2, bool),
            np.ones(2, bool),
        ),
        "step_keys": (lambda seeds, steps: jax.random.key_data(
            boundary_attack.step_keys(jax.vmap(jax.random.key)(seeds), steps)), np.arange(3), np.arange(3)),
        "table_log_median_length": (lambda alpha: boundary_attack.table_log_median_length(alpha, 8), ALPHA),
    },
    "entropy_coding": {
        "quantize_rdo": (lambda w, step: entropy_coding.quantize_rdo(w, step, 0.1), X, np.float32(0.1)),
        "quantize_trellis": (lambda w, step: entropy_coding.quantize_trellis(w, step, 0.1), X, np.float32(0.1)),
        "rate_exact": (lambda q: entropy_coding.rate_exact(q, presets=False), LEVELS),
        "rate_static": (entropy_coding.rate_static, LEVELS),
        "rate_static_soft": (lambda p: entropy_coding.rate_static_soft(p, (-1, 0, 1)), SOFT),
    },
    "golomb": {"golomb_bits": (lambda mask: golomb.golomb_bits(mask, 2), X > 0.5)},
    "ising": {
        "swendsen_wang": (keyed(ising.swendsen_wang, 0.4), KEY, SPINS),
        "wolff": (keyed(ising.wolff, 0.4), KEY, SPINS),
    },
    "ising.energies": {
        "hopfield": (lambda s: energies.hopfield(s, energies.orthogonal_patterns(8)), SPINS.reshape(2, 9)[:, :8]),
        "lattice_energy": (energies.lattice_energy, SPINS),
        "pairwise": (lambda s: energies.pairwise(s, COUPLINGS), SPINS.reshape(2, 9)),
        "sk": (energies.sk, SPINS),
        "square": (energies.square, SPINS),
        "triangular": (energies.triangular, SPINS),
    },
    "ising.inverse": {
        "pair_means": (
            lambda s, J: inverse.pair_means(s, J, 0.5), np.ones((4, 9), np.float32), COUPLINGS.astype(np.float32)
        ),
    },
    "ising.systems": {"lattice": (systems.lattice("triangular", 3, 3).energy, SPINS)},
    **radio_calls(keyed, KEY),
    "sparse_ternary": {
        "compress_with_feedback": (lambda x, r: sparse_ternary.compress_with_feedback(x, r, 3), UPDATES, UPDATES),
        "majority_vote": (
            lambda signs, seed: sparse_ternary.majority_vote(signs, jax.random.key(seed)), SPINS, KEY,
        ),
        "ternarize": (lambda x: sparse_ternary.ternarize(x, 3), UPDATES),
        "topk_mask": (lambda x: sparse_ternary.topk_mask(x, 150), UPDATES),
        "topk_threshold": (lambda x: sparse_ternary.topk_threshold(x, 3), UPDATES.astype(jnp.bfloat16)),
    },
    "spectral": {
        "affinity": (lambda x: spectral.affinity(spectral.knn(x, 3), "union", "self_tuning"), POINTS),
        "class_separability": (
            lambda x, seed: spectral.class_separability(x, jax.random.key(seed), 3, 3, (2, 3)), POINTS, KEY
        ),
        "connected_components": (of_graph(spectral.connected_components), POINTS),
        "degrees": (of_graph(spectral.degrees), POINTS),
        "dense_affinity": (lambda x: spectral.dense_affinity(spectral.pairwise_distance(x, x), 1.0), POINTS),
        "diffusion_scale": (lambda x: spectral.diffusion_scale(embedded(x), 2), POINTS),
        "eigengap": (lambda x: spectral.eigengap(embedded(x, 4).eigenvalues), POINTS),
        "fisher_separability": (lambda x, labels: spectral.fisher_separability(x, labels, clusters=2), POINTS,
                                np.arange(9) % 2),
        "histogram_maps": (lambda x: spectral.histogram_maps(x, 4), IMAGES),
        "kmeans": (lambda x, seed: spectral.kmeans(x, (2, 3), jax.random.key(seed), 2), POINTS, KEY),
        "knn": (lambda x: spectral.knn(x, 2, block=4), np.tile(POINTS, (3, 1))),
        "knn_between": (lambda x: spectral.knn_between(x + 1, x, 2, "cityblock"), POINTS),
        "laplacian": (of_graph(spectral.laplacian), POINTS),
        "laplacian_matvec": (lambda x: of_graph(lambda graph: spectral.laplacian_matvec(graph, x))(x), POINTS),
        "normalize_maps": (spectral.normalize_maps, IMAGES),
        "normalize_rows": (spectral.normalize_rows, POINTS),
        "normalized_matvec": (lambda x: of_graph(lambda graph: spectral.normalized_matvec(graph, x))(x), POINTS),
        "nystrom": (
            lambda x: spectral.nystrom(
                embedded(x), spectral.affinity(spectral.knn(x, 2)), spectral.knn_between(x + 1, x, 2)
            ), POINTS,
        ),
        "pairwise_distance": (lambda x: spectral.pairwise_distance(x, x + 1, "ssim", shape=(1, 2)), POINTS),
        "pool_maps": (lambda x: spectral.pool_maps(x, (2, 3)), IMAGES),
        "reduce_channels": (spectral.reduce_channels, IMAGES),
        "resize_maps": (lambda x: spectral.resize_maps(x, (2, 3), 1), IMAGES),
        "separability_null": (
            lambda x, seed: spectral.separability_null(x, jax.random.key(seed), 2, 3, 3, (2, 3)), POINTS, KEY
        ),
        "spectral_embedding": (lambda x: embedded(x), np.tile(POINTS, (30, 1))),
    },
    "soft_entropy": {
        "beta_of": (soft_entropy.beta_of, CENTROIDS, np.float32(2.0)),
        "bits_of_counts": (jax.grad(soft_entropy.bits_of_counts), COUNTS),
        "code_lengths": (soft_entropy.code_lengths, COUNTS),
        "conditional_bits": (soft_entropy.conditional_bits, SOFT),
        "context_bits": (lambda counts: soft_entropy.context_bits("static", counts), COUNTS),
        "context_counts": (lambda p: soft_entropy.context_counts(p, soft_entropy.context_members("static", 3)), SOFT),
        "moments": (soft_entropy.moments, SOFT, CENTROIDS),
        "relaxed_bits": (soft_entropy.relaxed_bits, SOFT),
        "relaxed_bits_chunked": (jax.grad(soft_entropy.relaxed_bits_chunked), X, CENTROIDS, np.float32(5.0)),
        "soft_assign": (soft_entropy.soft_assign, X, CENTROIDS, np.float32(5.0)),
        "static_bits": (soft_entropy.static_bits, COUNTS),
        "with_prior": (lambda counts: soft_entropy.with_prior(counts, 0.5), COUNTS),
    },
    "soft_entropy.reparametrization": {
        "convolution": (
            lambda x, m, seed: reparametrization.convolution(x, m, m * m, None, jax.random.key(seed), strides=(1, 1)),
            IMAGES, np.ones((3, 3, 1, 2), np.float32), KEY,
        ),
        "dense": (
            lambda x, m, seed: reparametrization.dense(x, m, m * m, None, jax.random.key(seed)), SOFT, COUNTS, KEY
        ),
        "draw_weights": (lambda m, seed: reparametrization.draw_weights(m, m * m, jax.random.key(seed)), COUNTS, KEY),
    },
    "soft_entropy.table": {
        "context_counts": (
            in_places(lambda t, p, x: table.context_counts(t, p, soft_entropy.context_members("static", 3))),
            CENTROIDS, X,
        ),
        "expected_counts": (in_places(lambda t, p, x: table.expected_counts(t, p)), CENTROIDS, X),
        "locate": (in_places(lambda t, p, x: p), CENTROIDS, X),
        "lookup": (in_places(lambda t, p, x: table.lookup(jnp.arange(16.0), p)), CENTROIDS, X),
        "lookup_moments": (in_places(lambda t, p, x: table.lookup_moments(t, p)), CENTROIDS, X),
        "straight_through": (in_places(lambda t, p, x: table.straight_through(t, p, x, CENTROIDS)), CENTROIDS, X),
        "tabulate": (lambda centroids: table.tabulate(centroids, jnp.float32(5.0), 16), CENTROIDS),
    },
}  # fmt: skip
WHERE_THEY_LIVE = {"soft_entropy.bits": "soft_entropy", "soft_entropy.labels": "soft_entropy",
                   "soft_entropy.hard_labels": "soft_entropy"}  # fmt: skip


def lowered(function, *arguments, platforms=PLATFORMS) -> jax.export.Exported:
    return jax.export.export(jax.jit(function), platforms=platforms)(*arguments)


@pytest.mark.parametrize("room, name", [(room, name) for room, calls in CALLS.items() for name in calls])
def test_it_lowers_for_a_gpu_and_a_tpu(room, name):
    exported = lowered(*CALLS[room][name])
    assert exported.platforms == PLATFORMS and len(exported.mlir_module_serialized) > 100


def functions_of(module: str) -> set[str]:
    """Names of the public functions of a module: of its `__all__`, or those that are defined there."""
    room = importlib.import_module(f"kernels.{module}")
    own = [name for name, value in vars(room).items() if getattr(value, "__module__", "") == room.__name__]
    names = getattr(room, "__all__", [name for name in own if not name.startswith("_")])
    return {name for name in names if callable(getattr(room, name)) and not inspect.isclass(getattr(room, name))}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_lowered_or_says_why_not(module):
    room = HERE_AND_THERE.get(module, module)
    places = [place for place in (room, WHERE_THEY_LIVE.get(room)) if place]
    names = functions_of(module) - {"Network"}  # a union of two settings
    lower = {name for place in places for name in CALLS.get(place, {})}
    host = {name for rooms in ON_THE_HOST.values() for place in places for name in rooms.get(place, "").split()}
    assert not (lower & host) and names <= lower | host
    if module == room and len(places) == 1:
        assert lower | host == names


def test_every_room_is_looked_at():
    """A room's own `__all__`, and the modules in it."""
    import kernels

    modules = set()
    for room in kernels.__all__:
        package = importlib.import_module(f"kernels.{room}")
        members = [name for name in package.__all__ if inspect.ismodule(getattr(package, name))]
        modules |= {room} | {f"{room}.{name}" for name in members}
    assert modules - set(MODULES) == {  # rules as data
        "attribution.composites", "attribution.innvestigate", "attribution.rules",
    }  # fmt: skip


def test_what_runs_is_chosen_where_it_is_lowered_for():
    """Traced on a CPU, sampling is row by row in the program for a CPU and the wavefront in that for a GPU."""

    def program(platform, implementation):
        def draw(params, seed):
            return autoregressive.sample(params, NETWORK, jax.random.key(seed), 8, implementation=implementation)

        return jax.jit(draw).trace(parameters(NETWORK), KEY).lower(lowering_platforms=(platform,)).as_text()

    for platform, implementation in (("cpu", "row_split"), ("cuda", "wavefront"), ("tpu", "wavefront")):
        plain, forced = program(platform, None), program(platform, implementation)
        assert plain.count("stablehlo.dot_general") == forced.count("stablehlo.dot_general")
        assert plain.count("stablehlo.while") == forced.count("stablehlo.while")
