"""Every scalar argument of the public functions of the kernels, with a call that is good but for it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from kernels import (
    alpha_stable,
    attribution,
    autoregressive,
    boundary_attack,
    channel,
    entropy_coding,
    golomb,
    ising,
    ldpc,
    soft_entropy,
    sparse_ternary,
    spectral,
)
from kernels.attribution import composites, evaluation, innvestigate, rules
from kernels.attribution.stabilize import ZeroGuard
from kernels.autoregressive import accumulate, stream
from kernels.ising import energies, inverse, symmetries, systems
from kernels.soft_entropy import table

NO_NUMBERS = ("a", None, 1j, True, b"1", [0.5, "a"])
NOT_FINITE = (math.nan, math.inf, -math.inf)
BAD = {
    "real": (*NO_NUMBERS, *NOT_FINITE),
    "positive": (*NO_NUMBERS, *NOT_FINITE, 0.0, -1.0),
    "at least 0": (*NO_NUMBERS, *NOT_FINITE, -1.0),
    "count": (*NO_NUMBERS, *NOT_FINITE, 1.5, 0, -1),
    "count from 0": (*NO_NUMBERS, *NOT_FINITE, 1.5, -1),
    "integer": (*NO_NUMBERS, *NOT_FINITE, 1.5),
}
BAD["limit"] = (*NO_NUMBERS, math.nan, -1, -math.inf)  # infinity: none
BAD["time"] = (*NO_NUMBERS, math.nan, 0.0, -1.0)  # infinite where nothing moves
BAD["cap"] = (*NO_NUMBERS, math.nan, 0.0, -1.0)  # infinity: no cap
BAD["share"] = (*NO_NUMBERS, *NOT_FINITE, 0.0, -0.1, 1.1)  # in (0, 1]
BAD["size of 4"] = (*NO_NUMBERS, *NOT_FINITE, 1.5, 0, -1, 5)  # of rows of four entries
BAD["bit"] = (*NO_NUMBERS, *NOT_FINITE, 1.5, -1, 2)
BAD["low bits"] = (*NO_NUMBERS, *NOT_FINITE, 1.5, -1, 32)
BAD["seed"] = (*NO_NUMBERS, *NOT_FINITE, 1.5, 2**70)
BAD["level"] = (*NO_NUMBERS, *NOT_FINITE, 0.0, 1.0, -0.1)
BAD["order"] = (*NO_NUMBERS, *NOT_FINITE, 1.5, 0, -2, 3, 10)  # bits a symbol
BAD["quantile"] = (*NO_NUMBERS, *NOT_FINITE, -0.1, 1.1)
BAD["end"] = (*NO_NUMBERS, math.nan)  # of a box, which may be infinite
BAD |= {f"{kind}, or None": tuple(v for v in values if v is not None) for kind, values in BAD.items()}

W = np.linspace(-1, 1, 12).astype("f").reshape(3, 4)
Q = np.arange(12).reshape(3, 4) - 6
KEY = jax.random.key(0)
SPINS = np.ones((3, 3), np.int8)
MADE = autoregressive.MADE(2)
PARAMS = autoregressive.init(MADE, KEY)
CENTROIDS = np.linspace(-1, 1, 3).astype("f")
SOFT = jnp.full((4, 3), 1 / 3)
LOG_W = np.linspace(0, 1, 60)
X = np.linspace(0, 1, 24).astype("f").reshape(2, 12)


def linear(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params)


EXPLAINED = {"fn": linear, "params": np.ones((12, 2), "f"), "x": X, "target": 0}
NAMED = {"fn": lambda params, x: linear(params["layer"]["kernel"], x), "x": X,
         "params": {"layer": {"kernel": np.ones((12, 2), "f")}}}  # fmt: skip
CODER = {"n_unary": "count", "scan": "count from 0", "profile": "count from 0"}


def law(*, beta=0.4, J=1.0, **more):
    return {"beta": beta, "J": J, **more}


def quantized(step):
    return entropy_coding.compress({"w": entropy_coding.Quantized(Q, step)})


def entropy_coding_cases():
    yield entropy_coding.quantize_uniform, {"w": W, "step": 0.1}, {"step": "positive"}
    for quantize in (entropy_coding.quantize_rdo, entropy_coding.quantize_trellis):
        scalars = {"step": "positive", "rate_weight": "at least 0", "jobs": "count, or None", **CODER}
        yield quantize, {"w": W, "step": 0.1, "rate_weight": 0.1}, scalars
        yield quantize, {"w": W, "step": 0.1, "rate_weight": 0.1, "implementation": "xla"}, scalars
        yield quantize, {"w": [W, W], "step": [0.1, 0.1], "rate_weight": 0.1}, {"rate_weight": "at least 0"}
    yield entropy_coding.dequantize, {"q": Q, "step": 0.1}, {"step": "positive"}
    yield entropy_coding.fitted_step, {"w": W, "q": Q, "step": 0.1}, {"step": "positive"}
    yield entropy_coding.qp_to_step, {"qp": 0}, {"qp": "integer", "density": "count from 0"}
    yield entropy_coding.encode_tensor, {"q": Q}, CODER
    yield entropy_coding.stream_length, {"q": Q}, CODER
    data = entropy_coding.encode_tensor(Q)
    yield entropy_coding.decode_tensor, {"data": data, "shape": Q.shape}, CODER
    yield entropy_coding.rate_exact, {"q": Q}, {**CODER, "jobs": "count, or None"}
    xla = {"q": Q, "presets": False, "implementation": "xla"}
    yield entropy_coding.rate_exact, xla, {"n_unary": "count", "max_level": "count from 0, or None"}
    yield entropy_coding.rate_static, {"q": Q}, {"n_unary": "count"}
    yield entropy_coding.rate_static_soft, {"probabilities": SOFT, "levels": (-1, 0, 1)}, {"n_unary": "count"}
    tree = {"w": W}
    scalars = {
        "step": "positive, or None", "small_step": "positive, or None", "rate_weight": "at least 0",
        "n_unary": "count, or None", "scan": "count from 0", "jobs": "count, or None", "qp": "integer, or None",
        "small_qp": "integer, or None",
    }  # fmt: skip
    yield functools.partial(entropy_coding.compress, tree), {}, scalars
    yield functools.partial(entropy_coding.compress_many, tree, [{}]), {}, {"jobs": "count, or None"}
    file = entropy_coding.compress(tree, step=0.1)
    scalars = {"max_output_bytes": "limit", "jobs": "count, or None"}
    yield entropy_coding.decompress, {"data": file}, scalars
    yield entropy_coding.inspect, {"data": file}, scalars
    yield entropy_coding.read_tensor, {"data": file, "name": "w"}, {"max_output_bytes": "limit"}
    yield quantized, {"step": 0.1}, {"step": "positive"}
    yield entropy_coding.Codebook, {"labels": Q, "values": W[0], "zero": 0}, {"zero": "count from 0, or None"}


def soft_entropy_cases():
    yield soft_entropy.beta_of, {"centroids": CENTROIDS, "sharpness": 1.0}, {"sharpness": "positive"}
    soft = {"latent": W, "centroids": CENTROIDS, "beta": 1.0}
    yield soft_entropy.soft_assign, soft, {"beta": "positive"}
    yield soft_entropy.relaxed_bits_chunked, soft, {"beta": "positive", "chunk": "count"}
    yield soft_entropy.symmetric_grid, {"largest": 1.0, "levels": 3}, {"largest": "at least 0", "levels": "count"}
    yield soft_entropy.with_prior, {"counts": np.ones((2, 3), "f"), "prior": 0.5}, {"prior": "at least 0"}
    yield soft_entropy.context_members, {"rate": "static", "levels": 3}, {"levels": "count"}
    yield soft_entropy.conditional_bits, {"probabilities": SOFT}, {"zero": "count from 0, or None"}
    scalars = {"levels": "count", "rate_weight": "at least 0", "iterations": "count from 0"}
    yield soft_entropy.ecsq, {"weights": W, "levels": 3}, scalars
    hard = {"weights": W, "centroids": CENTROIDS, "probabilities": np.full(3, 1 / 3), "rate_weight": 0.1}
    yield soft_entropy.assign, hard, {"rate_weight": "at least 0"}
    yield soft_entropy.empirical_bits, {"labels": np.array([0, 1])}, {"levels": "count, or None"}
    yield soft_entropy.gap_bits, {"nonzero": W > 0, "symbols": 3}, {"symbols": "count from 0"}
    yield table.tabulate, {"centroids": CENTROIDS, "beta": 1.0, "points": 8}, {"beta": "positive", "points": "count"}


def alpha_stable_cases():
    alpha = {"alpha": "positive"}
    for draw in (alpha_stable.sas, alpha_stable.sas_log):
        yield draw, {"key": KEY, "alpha": 1.5}, alpha
    yield alpha_stable.sas_parts, {"key": KEY, "alpha": 1.5, "shape": (2,), "dtype": jnp.float32}, alpha
    yield alpha_stable.positive_stable_log, {"key": KEY, "c": 0.5}, {"c": "positive"}
    yield alpha_stable.sub_gaussian, {"key": KEY, "alpha": 1.5, "dim": 2}, {**alpha, "dim": "count"}
    scale = {"scale": "positive", "loc": "real"}
    yield alpha_stable.stable, {"key": KEY, "alpha": 1.5, "beta": 0.5}, {**alpha, "beta": "real", **scale}
    for density in ("sas_pdf", "sas_log_pdf", "sas_cdf", "sas_log_survival"):
        yield getattr(alpha_stable, density), {"x": 0.5, "alpha": 1.5}, {**alpha, **scale}
    yield (
        alpha_stable.characteristic_function, {"t": 0.5, "alpha": 1.5, "beta": 0.5}, {**alpha, "beta": "real", **scale}
    )  # fmt: skip
    yield alpha_stable.log_moments, {"alpha": 1.5}, alpha
    yield alpha_stable.tail_constant, {"alpha": 1.5}, alpha
    yield alpha_stable.abs_moment, {"alpha": 1.5, "p": 0.5}, {**alpha, "p": "real"}
    yield alpha_stable.fit_sas, {"x": W.ravel()}, {"loc": "real, or None"}
    yield alpha_stable.fit_log_moments, {"x": W.ravel()}, {"loc": "real"}
    yield alpha_stable.log_median_length, {"alpha": 2.0, "dim": 3}, {**alpha, "dim": "count"}
    yield alpha_stable.length_table, {"dim": 3}, {"dim": "count"}


def ising_cases():
    sides = {"L": "count", "M": "count"}
    scalars = {"beta": "at least 0", "J": "real"}
    for solve in (ising.kaufman_torus, ising.triangular_torus, ising.transfer_torus, ising.transfer_open):
        yield solve, law(L=3, M=3), {**sides, **scalars}
    yield ising.magnetisation_law, law(L=3, M=3), {**sides, **scalars}
    yield ising.onsager_bulk, law(), scalars
    yield ising.hopfield_two_patterns, {"n": 4, "beta": 0.5}, {"n": "count", "beta": "at least 0"}

    def energy(s):
        return -s.sum(1).astype(float)

    yield ising.brute_force, {"energy_fn": energy, "n": 3}, {"n": "count", "beta": "at least 0"}
    means = {"energy_fn": energy, "n": 3, "observable": lambda s: s.sum(1)}
    yield ising.brute_force_means, means, {"n": "count", "beta": "at least 0"}
    yield (lambda **both: next(ising.states(**both))), {"n": 3, "block": 4}, {"n": "count", "block": "count"}
    walk = law(key=KEY, spins=SPINS)
    yield ising.swendsen_wang, walk, {**scalars, "n_sweeps": "count from 0"}
    yield ising.wolff, walk, {**scalars, "n_steps": "count from 0"}
    rows = {"rows": "count", "columns": "count"}
    yield energies.lattice_energy, {"spins": SPINS}, {"J": "real"}
    yield energies.lattice_bonds, {"rows": 3, "columns": 3}, {**rows, "J": "real"}
    yield energies.lattice_couplings, {"rows": 3, "columns": 3}, {**rows, "J": "real"}
    for random in (energies.orthogonal_patterns, energies.sk_couplings, systems.hopfield, systems.sk):
        yield random, {"n": 4}, {"n": "count", "seed": "count from 0"}
    yield energies.sk, {"spins": np.ones(4)}, {"seed": "count from 0"}
    yield inverse.exact_correlations, {"J": np.zeros((3, 3)), "beta": 0.5}, {"beta": "at least 0"}
    yield inverse.expansions, {"C": np.eye(3), "beta": 0.5}, {"beta": "positive"}
    yield systems.lattice, {"kind": "square", "rows": 3, "columns": 3}, {**rows, "coupling": "real"}
    yield systems.of_energy, {"energy": lambda s: s.sum((1, 2)), "rows": 2, "columns": 2}, rows
    yield symmetries.images, {"rows": 3, "columns": 3, "count": 2, "sign": True}, {**rows, "count": "count"}
    yield symmetries.folded, {"length": 4}, {"length": "count"}
    yield symmetries.folded_sites, {"rows": 3, "columns": 3}, rows


def autoregressive_cases():
    sides = {"rows": "count", "columns": "count, or None", "depth": "count", "channels": "count", "epsilon": "positive"}
    yield autoregressive.MADE, {"rows": 2}, sides
    yield autoregressive.PixelCNN, {"rows": 2}, {**sides, "half_width": "count"}
    scalars = {"n": "count", "chunk": "count, or None", "first": "count from 0"}
    yield autoregressive.sample, {"params": PARAMS, "cfg": MADE, "key": KEY, "n": 2}, scalars
    yield autoregressive.log_weights, {"log_q": LOG_W, "energy": LOG_W, "beta": 1.0}, {"beta": "real"}
    yield autoregressive.integrated_time, {"x": np.sin(LOG_W * 99)}, {"window": "positive"}
    yield autoregressive.k_hat, {"log_w": LOG_W}, {"n": "count, or None"}
    yield autoregressive.reverse_ln_z, {"log_w": LOG_W}, {"time": "time"}
    samples = {"log_q": -LOG_W, "energy": LOG_W, "magnetisation": LOG_W, "sites": 4}
    yield autoregressive.thermodynamics, {**samples, "beta": 0.5}, {"beta": "real", "sites": "count"}
    yield autoregressive.window, {**samples, "betas": [0.5]}, {"sites": "count"}
    yield (
        (lambda beta, **more: autoregressive.window(betas=[0.5, beta], **more)),
        {**samples, "beta": 1.0},
        {"beta": "real"},
    )
    yield autoregressive.nmcmc, {"key": KEY, "log_w": LOG_W, "start": 0}, {"start": "count from 0"}
    yield stream.init, {"numbers": 2}, {"numbers": "count from 0", "blocks": "count"}
    sums = accumulate.init(np.zeros(5))
    chunk = {"sums": sums, "key": KEY, "log_q": -LOG_W, "energy": LOG_W, "magnetisation": LOG_W, "beta": 0.5}
    yield accumulate.update, chunk, {"beta": "real"}
    full = accumulate.update(**chunk)
    yield autoregressive.from_sums, {"sums": full, "beta": 0.5, "sites": 4}, {"beta": "real", "sites": "count"}
    proposal = autoregressive.Proposal([autoregressive.network_law(PARAMS, MADE)])
    whole = {"proposal": proposal, "system": systems.lattice("square", 2, 2, boundary="open"), "beta": 0.5, "n": 60}
    yield autoregressive.estimate, {**whole, "key": KEY}, {"beta": "real", "n": "count", "chunk": "count"}


def boundary_attack_cases():
    config = {
        "alpha": "positive", "cap": "positive", "budget": "count", "lo": "real", "hi": "real", "delta": "positive",
        "eps": "positive", "start_trials": "count from 0", "bisections": "count from 0", "check_every": "count",
        "batch_size": "count", "chunk": "count", "quantize": "count, or None",
    }  # fmt: skip
    yield boundary_attack.AttackConfig, {}, config
    attacked = {"predict": lambda x: np.zeros(len(x), int), "x0": X, "labels": np.zeros(2, int), "key": 0}
    yield boundary_attack.prepare, attacked, {"key": "seed"}
    yield boundary_attack.query_grid, {"budget": 10}, {"budget": "count"}
    yield boundary_attack.initial_pace, {"batch": 2}, {"batch": "count", "delta": "positive", "eps": "positive"}
    step = {"key": KEY, "x0": X, "x": X[::-1], "delta": 0.1, "eps": 0.1, "alpha": 1.5, "noise": "coordinatewise"}
    scalars = {"alpha": "positive", "delta": "at least 0", "eps": "at least 0", "lo": "end", "hi": "end", "cap": "cap"}
    yield boundary_attack.propose, {**step, "lo": 0.0, "hi": 1.0}, scalars
    noise = {"key": KEY, "alpha": 1.5, "noise": "radius", "size": 3, "dtype": jnp.float32}
    yield boundary_attack.draw_noise, noise, {"alpha": "positive", "size": "count", "cap": "cap"}
    yield boundary_attack.log_median, {"alpha": 1.5}, {"alpha": "positive"}
    yield boundary_attack.table_log_median_length, {"alpha": 1.5, "size": 3}, {"alpha": "positive", "size": "count"}


def sparse_ternary_cases():
    for select in (sparse_ternary.topk_threshold, sparse_ternary.topk_mask, sparse_ternary.ternarize):
        yield select, {"x": W, "k": 2}, {"k": "size of 4"}
    fed_back = {"update": W, "residual": W, "k": 2}
    yield sparse_ternary.compress_with_feedback, fed_back, {"k": "size of 4"}
    yield sparse_ternary.selection_size, {"n": 4, "p": 0.5}, {"n": "count", "p": "share"}


def channel_cases():
    yield channel.modulate, {"bits": W[0] > 0, "order": 2}, {"order": "order"}
    yield channel.llr, {"y": W, "h": 1.0, "n0": 0.5, "order": 2}, {"n0": "positive", "order": "order"}
    yield channel.awgn, {"key": KEY, "x": W, "n0": 0.5}, {"n0": "positive"}
    yield channel.doppler_frequency, {"speed": 1.0, "carrier": 1e9}, {"speed": "at least 0", "carrier": "positive"}
    yield channel.jakes_correlation, {"delay": 0.1, "doppler": 1.0}, {"delay": "real", "doppler": "at least 0"}
    one = {"name": "one", "delays": [0.0], "powers": [1.0]}
    yield channel.Profile, one, {"line_of_sight": "at least 0"}
    yield channel.tdl_taps, {"key": KEY, "profile": "A", "times": [0.0]}, {"doppler": "at least 0"}
    line = {"profile": "A", "delay_spread": 1e-7, "frequencies": X[0, :2]}
    scalars = {"delay_spread": "at least 0", "doppler": "at least 0"}
    yield channel.tdl_frequency_response, {"key": KEY, **line, "times": [0.0]}, scalars
    now = {"key": KEY, "response": X[:, :2], **line, "delay": 0.1, "doppler": 1.0}
    yield channel.later_response, now, {**scalars, "delay": "at least 0"}
    for of_line in (channel.frequency_covariance, channel.channel_modes):
        yield of_line, line, {"delay_spread": "at least 0"}
    modes = {"key": KEY, "modes": channel.channel_modes(**line)}
    yield channel.stratified_modes, modes, {"lower": "quantile", "upper": "quantile"}


def golomb_cases():
    mask = W[0] > 0
    yield golomb.golomb_parameter, {"p": 0.1}, {"p": "share"}
    yield golomb.expected_bits, {"p": 0.1}, {"p": "share", "b": "low bits, or None"}
    yield golomb.golomb_bits, {"mask": mask, "b": 1}, {"b": "low bits"}
    yield golomb.encode, {"mask": mask, "signs": np.sign(W[0]), "mu": 0.5}, {"mu": "at least 0"}
    message = {"data": golomb.encode(mask, np.sign(W[0]), 0.5), "n": 4}
    for read in (golomb.decode, golomb.account):
        yield read, message, {"n": "count from 0"}


def ldpc_cases():
    from_0 = "count from 0"
    description = {"lifting": 2, "columns": 2, "rows": (((0, 1), (1, 0)),)}
    yield ldpc.Code, description, {"lifting": "count", "columns": "count", "information": from_0, "punctured": from_0}
    yield ldpc.qc_code, {"base_graph": 2, "lifting": 2}, {"base_graph": "count", "lifting": "count"}
    yield ldpc.qc_code, {"base_graph": [[0, 1]], "lifting": 2}, {"lifting": "count"}
    code = ldpc.qc_code(2, 2)
    yield ldpc.subcode, {"code": code, "sent": 50}, {"sent": "count"}
    block = {"payload": "count", "rate": "share", "crc": from_0}
    yield ldpc.nr_block, {"payload": 100, "rate": 0.5}, block
    scalars = {"rv": from_0, "fillers": from_0, "modulation_order": "count", "buffer": "count, or None"}
    yield ldpc.rate_match, {"code": code, "word": np.arange(104), "e": 8}, {"e": "count", **scalars}
    yield ldpc.rate_recover, {"code": code, "llr": X[0]}, scalars


def attribution_cases():
    for rule in (rules.ZPlus, rules.WSquare, rules.Flat, rules.Norm, rules.SignalTakesAll):
        yield rule, {}, {"stabilizer": "at least 0"}
    yield rules.Epsilon, {}, {"epsilon": "at least 0"}
    yield rules.AlphaBeta, {}, {"alpha": "at least 0", "beta": "at least 0", "stabilizer": "at least 0"}
    yield innvestigate.Epsilon, {}, {"epsilon": "positive"}
    yield (
        innvestigate.AlphaBeta,
        {"alpha": 2.0, "beta": 1.0},
        {"alpha": "positive, or None", "beta": "at least 0, or None"},
    )
    yield innvestigate.Bounded, {}, {"low": "real", "high": "real"}
    yield ZeroGuard, {}, {"epsilon": "positive"}
    yield rules.Gamma, {}, {"gamma": "at least 0", "stabilizer": "at least 0"}
    yield rules.ZBox, {"low": 0.0, "high": 1.0}, {"low": "real", "high": "real", "stabilizer": "at least 0"}
    yield rules.ReLUBetaSmooth, {}, {"beta_smooth": "positive"}
    yield rules.Stabilizer, {}, {"epsilon": "at least 0"}
    yield attribution.stabilize, {"z": X}, {"epsilon": "at least 0"}
    yield composites.epsilon_plus, {}, {"epsilon": "at least 0", "stabilizer": "at least 0"}
    yield composites.beta_smooth, {}, {"beta_smooth": "positive"}
    yield composites.layer_map_base, {}, {"stabilizer": "at least 0"}
    yield attribution.attribute, {**EXPLAINED, "rules": rules.Epsilon()}, {"batch_size": "count, or None"}
    noise = {"n": "count", "sigma": "at least 0", "at_once": "count"}
    yield attribution.smoothgrad, {**EXPLAINED, "key": KEY, "n": 2}, noise
    yield attribution.integrated_gradients, {**EXPLAINED, "n": 2}, {"n": "count", "at_once": "count"}
    scalars = {"window": "count", "stride": "count", "at_once": "count", "fill": "real"}
    yield attribution.occlusion, {**EXPLAINED, "window": 4, "stride": 4}, scalars
    yield attribution.deeplift, EXPLAINED, {"at_once": "count"}
    drawn = {**EXPLAINED, "key": KEY}
    yield attribution.shapley_sampling, {**drawn, "permutations": 2}, {"permutations": "count", "at_once": "count"}
    yield attribution.kernel_shap, {**drawn, "n": 24}, {"n": "count", "at_once": "count"}
    of_lime = {"n": "count", "kernel_width": "positive", "alpha": "at least 0", "at_once": "count"}
    yield attribution.lime, {**drawn, "n": 24}, of_lime
    yield attribution.feature_ablation, EXPLAINED, {"at_once": "count"}
    noise = {"n": "count", "sigma": "at least 0", "at_once": "count"}
    yield attribution.gradient_shap, {**drawn, "baselines": X, "n": 2}, noise
    for along in (attribution.layer_conductance, attribution.internal_influence):
        yield along, {**NAMED, "target": 0, "at": "layer", "n": 2}, {"n": "count", "at_once": "count"}
    pairs = {"projections": "count, or None", "at_once": "count"}
    yield attribution.bilrp, {**NAMED, "other": X, "key": KEY}, pairs
    concepts = {**NAMED, "x": None, "batches": [X], "at": "layer", "n": 2}
    del concepts["x"]
    yield attribution.relevance_maximisation, concepts, {"n": "count", "channel": "integer, or None"}
    picture = {"values": X}
    yield attribution.imgify, picture, {"level": "real", "vmin": "real, or None", "vmax": "real, or None"}
    yield attribution.palette, {}, {"level": "real"}
    yield from evaluation_cases()


def evaluation_cases():
    """Of how good an explanation is."""
    measured = {**EXPLAINED, "relevance": X}
    flips = {**measured, "regions": 4, "steps": 1, "key": KEY}
    steps = {"regions_per_step": "count", "first": "count, or None", "steps": "count, or None", "at_once": "count",
             "batch_size": "count, or None", "sigma": "positive, or None"}  # fmt: skip
    yield evaluation.pixel_flipping, {**flips, "perturbation": "constant"}, {**steps, "value": "real"}
    yield evaluation.compare_to_random, flips, {"seeds": "count"}
    values = {"values": X, "level": 0.9}
    yield evaluation.mean_interval, values, {"level": "level"}
    yield evaluation.paired_interval, {"one": X, "other": X, "level": 0.9}, {"level": "level"}
    yield evaluation.effective_complexity, {"relevance": X, "threshold": 0.1}, {"threshold": "at least 0"}
    yield evaluation.top_k_intersection, {"relevance": X, "mask": X > 0.5, "k": 2}, {"k": "count"}
    noisy = {"explain": lambda params, x: x, "params": (), "x": X, "key": KEY, "n": 2}
    for measure in (evaluation.max_sensitivity, evaluation.avg_sensitivity, evaluation.local_lipschitz):
        yield measure, noisy, {"radius": "positive", "n": "count", "at_once": "count"}
    scalars = {"n": "count", "sigma": "positive", "at_once": "count"}
    yield evaluation.infidelity, {**measured, "key": KEY, "n": 2}, scalars
    scalars = {"n": "count", "size": "count, or None", "value": "real", "at_once": "count"}
    yield evaluation.faithfulness_correlation, {**measured, "key": KEY, "n": 2}, scalars
    scalars = {"value": "real", "entries_per_step": "count", "at_once": "count"}
    yield evaluation.monotonicity, measured, scalars


def spectral_cases():
    points = np.array([[0, 1], [2, 5], [9, 4], [3, 7], [8, 8], [1, 6]], "f")
    graph = spectral.affinity(spectral.knn(points, 2))
    embedding = spectral.spectral_embedding(graph, 2, KEY)
    maps = points.reshape(3, 2, 2)
    yield spectral.pool_maps, {"relevance": maps, "grid": 2}, {"grid": "count"}
    yield spectral.resize_maps, {"relevance": maps, "shape": 2}, {"shape": "count", "order": "bit"}
    yield spectral.histogram_maps, {"relevance": maps}, {"bins": "count"}
    yield spectral.pairwise_distance, {"x": points, "y": points, "metric": "ssim", "shape": (1, 2)}, {"shape": "count"}
    yield spectral.knn, {"x": points, "k": 2}, {"k": "count", "block": "count, or None"}
    yield spectral.knn_between, {"queries": points, "x": points, "k": 2}, {"k": "count", "block": "count, or None"}
    gaussian = {"neighbors": spectral.knn(points, 2), "weights": "gaussian"}
    yield spectral.affinity, gaussian, {"sigma": "positive, or None"}
    distances = spectral.pairwise_distance(points, points)
    yield spectral.dense_affinity, {"distances": distances, "sigma": 1.0}, {"sigma": "positive"}
    scalars = {"q": "count", "tolerance": "positive, or None"}
    yield spectral.spectral_embedding, {"graph": graph, "q": 2, "key": KEY}, scalars
    yield spectral.diffusion_scale, {"embedding": embedding, "t": 2}, {"t": "at least 0"}
    scalars = {"k_max": "count, or None", "components": "count, or None", "n": "count, or None"}
    yield spectral.eigengap, {"eigenvalues": np.array([0, 0.1, 0.9, 1.0], "f"), "k_max": 2}, scalars
    yield spectral.kmeans, {"x": points, "k": 2, "key": KEY, "restarts": 1}, {"k": "count", "restarts": "count"}
    labels = {"phi": points, "labels": np.array([0, 0, 0, 1, 1, 1]), "min_size": 1}
    scalars = {"ridge": "at least 0", "min_size": "count", "clusters": "count, or None"}
    yield spectral.fisher_separability, labels, scalars
    whole = {"x": points, "key": KEY, "k": 2, "q": 2, "clusters": (2,)}
    scalars = {"k": "count", "q": "count", "clusters": "count"}
    yield spectral.class_separability, whole, scalars
    yield spectral.separability_null, {**whole, "draws": 1}, {**scalars, "draws": "count"}


CASES = (
    entropy_coding_cases, soft_entropy_cases, alpha_stable_cases, ising_cases, autoregressive_cases,
    boundary_attack_cases, sparse_ternary_cases, golomb_cases, ldpc_cases, attribution_cases, spectral_cases,
    channel_cases,
)  # fmt: skip


def requests(cases):
    """Yields (label, function, good arguments, name, bad value) of every scalar argument."""
    for function, good, scalars in cases():
        label = getattr(function, "__name__", None) or getattr(function, "func", function).__name__
        for name, kind in scalars.items():
            for value in BAD[kind]:
                yield f"{label}({name}={value!r})", function, good, name, value
