"""Samples: of the right law, with the log-probability that `log_prob` gives them, however they are grouped."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from kernels.autoregressive import MADE, PixelCNN, chunks, conditionals, init, log_prob, sample, sampling, wavefront
from tests.host_devices import xla_flags
from tests.kernels.autoregressive.networks import NETWORKS, PLAIN, every_network, parameters, resized
from tests.kernels.oracles import autoregressive as oracle

ROOT = pathlib.Path(__file__).resolve().parents[3]
BOTH = ("row_split", "wavefront")


def implementations(cfg):
    return BOTH if isinstance(cfg, PixelCNN) else BOTH[:1]


@every_network
def test_log_q_is_log_prob_and_implementations_agree(cfg):
    """In double, on a lattice that is not square: spins equal, log-probabilities to 1e-10."""
    cfg = resized(cfg, 4, 6)
    with jax.enable_x64(True):
        params = parameters(cfg, scale=1.0, dtype=np.float64)
        actual = [
            sample(params, cfg, jax.random.key(7), 40, implementation=implementation)
            for implementation in implementations(cfg)
        ]
        for spins, log_q in actual:
            assert spins.dtype == np.int8 and spins.shape == (40, 4, 6) and log_q.dtype == np.float64
            np.testing.assert_array_equal(spins, actual[0][0])
            np.testing.assert_allclose(log_q, log_prob(params, cfg, spins), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("cfg", "dtype", "tolerance"),
    [
        pytest.param(
            PixelCNN(16, depth=6, channels=16, half_width=3, residual=True, z2=True),
            np.float32,
            1e-4,
            marks=pytest.mark.slow,
        ),
        pytest.param(PixelCNN(16, depth=3, channels=16, half_width=6), np.float64, 1e-10, marks=pytest.mark.slow),
        (MADE(16, depth=3, channels=4), np.float32, 1e-4),
    ],
)
def test_long_sequences_agree_with_the_parallel_pass(cfg, dtype, tolerance):
    with jax.enable_x64(dtype is np.float64):
        params = init(cfg, jax.random.key(0), dtype)
        spins, log_q = sample(params, cfg, jax.random.key(1), 32)
        np.testing.assert_allclose(log_q, log_prob(params, cfg, spins), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "shape", "implementation"),
    [
        ("pixel_cnn", (3, 3), "row_split"),
        ("final", (2, 3), "wavefront"),
        ("made", (2, 3), "row_split"),
        pytest.param("residual_final_z2", (2, 3), "row_split", marks=pytest.mark.slow),
        pytest.param("z2", (2, 3), "wavefront", marks=pytest.mark.slow),
        pytest.param("one_layer", (3, 2), "row_split", marks=pytest.mark.slow),
        pytest.param("made_residual_z2", (3, 3), "row_split", marks=pytest.mark.slow),
    ],
)
def test_frequencies_are_those_of_the_law(name, shape, implementation):
    """Chi-square of 40,000 samples over all states, rare ones together: a false alarm once in 10^7 seeds."""
    cfg = resized(NETWORKS[name], *shape)
    params, n = parameters(cfg, seed=5, scale=0.7), 40_000
    states = oracle.all_states(*shape)
    law = np.exp(np.asarray(log_prob(params, cfg, states), np.float64))
    spins, _ = sample(params, cfg, jax.random.key(11), n, implementation=implementation)
    counts = np.bincount(oracle.state_index(spins), minlength=len(states))
    common = n * law >= 10
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(n * law[common], max(n * law[~common].sum(), 1e-9))
    if expected[-1] < 10:  # too few to be a cell of its own
        observed, expected = observed[:-1], expected[:-1]
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    # Wilson and Hilferty: the cube root of a chi-square is nearly normal; 5.3 sigma.
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    assert freedom >= 5 and z < 5.3, (statistic, freedom)


def test_rare_spins_are_drawn_as_often_as_they_should():
    """Saturated conditionals leave epsilon, which a uniform float32 could not resolve near 1; 5.3 sigma."""
    cfg = PixelCNN(1, 8, depth=1, half_width=1, epsilon=1e-3)
    params = {"layer_0": {"kernel": np.full((3, 3, 1, 1), 100, np.float32), "bias": np.zeros(1, np.float32)}}
    spins = np.asarray(sample(params, cfg, jax.random.key(0), 20_000)[0])[:, 0]
    changes = (spins[:, 1:] != spins[:, :-1]).sum()
    trials = 7 * 20_000
    assert abs(changes - trials * 1e-3) < 5.3 * np.sqrt(trials * 1e-3)


@pytest.mark.parametrize("name", [pytest.param("z2", marks=pytest.mark.slow), "made"])
def test_samples_do_not_depend_on_their_grouping(name):
    cfg, key = resized(NETWORKS[name], 4, 4), jax.random.key(3)
    params = parameters(cfg, scale=1.0)
    spins, log_q = sample(params, cfg, key, 90)
    groups = [
        sample(params, cfg, key, 90, chunk=7),
        jax.jit(lambda p, k: sample(p, cfg, k, 90, chunk=32))(params, key),
        jax.jit(lambda p, k: sample(p, cfg, k, 90))(params, key),
        [np.concatenate(x) for x in zip(*(sample(params, cfg, key, 30, first=f) for f in (0, 30, 60)), strict=True)],
    ]
    for other_spins, other_log_q in groups:
        np.testing.assert_array_equal(other_spins, spins)
        np.testing.assert_allclose(other_log_q, log_q, rtol=0, atol=1e-5)
    assert (np.asarray(sample(params, cfg, jax.random.key(4), 90)[0]) != np.asarray(spins)).any()


DEVICES = """
import jax, numpy as np
from kernels.autoregressive import PixelCNN, init, log_prob, sample
cfg = PixelCNN(4, depth=2, channels=4, half_width=1, z2=True)
params, key = init(cfg, jax.random.key(0)), jax.random.key(1)
devices = jax.devices()
assert len(devices) == 3
one = sample(params, cfg, key, 50, devices=devices[:1])
for other in (sample(params, cfg, key, 50), sample(params, cfg, key, 50, chunk=5, devices=devices[1:])):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=1e-5)
    params = jax.device_put(params, devices[0])  # committed there, while spins lie on all
    np.testing.assert_allclose(log_prob(params, cfg, other[0]), one[1], rtol=0, atol=1e-5)
print("same")
"""


def test_samples_do_not_depend_on_the_devices():
    environment = {**os.environ, "XLA_FLAGS": xla_flags(3), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stdout + done.stderr


def test_chunks_bound_what_is_held_at_a_time(monkeypatch):
    sizes = []
    real = sampling._sample_on
    monkeypatch.setattr(
        sampling, "_sample_on", lambda p, k, numbers, *rest: sizes.append(numbers.size) or real(p, k, numbers, *rest)
    )
    spins, _ = sample(parameters(PLAIN), PLAIN, jax.random.key(0), 25, chunk=4)
    assert max(sizes) <= 4 and sum(sizes) >= 25 and spins.shape == (25, 3, 3)


def test_the_usual_chunk_follows_the_size_of_the_network():
    params = init(PLAIN, jax.random.key(0))
    large = PixelCNN(16, depth=6, channels=64, half_width=3)
    for platform, middle in (("cpu", 1000), ("gpu", 100_000)):
        assert chunks.usual_size(params, PLAIN, platform) > middle > chunks.usual_size(params, large, platform) > 16


def test_the_wavefront_takes_the_steps_it_should():
    for half, expected in ((6, 121), (3, 76), (1, 46)):
        assert wavefront.steps(PixelCNN(16, half_width=half)) == expected
    assert wavefront.steps(PixelCNN(24, half_width=3)) == 116


def test_the_first_conditional_is_a_half_with_bias_and_without_z2():
    spins, _ = sample(parameters(PLAIN), PLAIN, jax.random.key(0), 5)
    assert (np.asarray(conditionals(parameters(PLAIN), PLAIN, spins))[:, 0, 0] == 0.5).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n": 0}, "n="),
        ({"n": 2.5}, "n=2.5"),
        ({"n": "5"}, "n='5'"),
        ({"n": 5, "chunk": 0}, "chunk="),
        ({"n": 5, "chunk": 2.5}, "chunk=2.5"),
        ({"n": 5, "devices": []}, "devices="),
        ({"n": 5, "first": -1}, "first="),
        ({"n": 5, "first": 2**32 - 4}, "first="),
        ({"n": 5, "implementation": "fast"}, "implementation="),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=name):
        sample(parameters(PLAIN), PLAIN, jax.random.key(0), **arguments)


def test_made_has_no_wavefront():
    cfg = dataclasses.replace(NETWORKS["made"])
    with pytest.raises(ValueError, match="MADE has row_split"):
        sample(parameters(cfg), cfg, jax.random.key(0), 5, implementation="wavefront")
