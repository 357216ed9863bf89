"""Delay lines are those of 3GPP; their draws have the powers, correlations and laws that are said.

Draws have fixed seeds. Bounds are 7 standard errors of n draws, which the normal law crosses with 3e-12 and a mean of
products of Gaussians, whose tails are exponential, below 1e-9; what has an exact law is bounded by its quantiles.
"""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from kernels import channel
from kernels.channel.doppler import time_factor
from tests.kernels.oracles import channel as oracle

N = 20_000
ERROR = 7 / np.sqrt(N)  # of a mean of products of two Gaussians of variance 1
FOLDER = pathlib.Path(os.environ.get("DATA_DIR", "nowhere")) / "nr_ldpc"
FREQUENCIES = np.array([0.0, 15e3, 1e6, 5e6])
SPREAD = 100e-9
KEY = jax.random.key(0)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the tables of the delay lines are not in $DATA_DIR/nr_ldpc")
@pytest.mark.parametrize("name", channel.PROFILES)
def test_profiles_are_those_of_the_tables(name):
    table = json.loads((FOLDER / f"TDL-{name}.json").read_text())
    powers, delays = 10 ** (np.array(table["powers"]) / 10), np.array(table["delays"])
    powers /= powers.sum()
    profile = channel.tdl_profile(name)
    assert (profile.line_of_sight > 0) == bool(table["los"])
    if table["los"]:
        np.testing.assert_allclose(profile.line_of_sight, powers[0], rtol=1e-12)
        assert delays[0] == delays[1] == 0
        powers, delays = powers[1:], delays[1:]
    np.testing.assert_allclose(profile.powers, powers, rtol=1e-12)
    np.testing.assert_array_equal(profile.delays, delays)


def test_what_is_known_of_the_profiles():
    """Delay spreads and Rice factors as TR 38.901 has them, and D a little below 1."""
    spreads = [round(channel.tdl_profile(name).rms_delay_spread, 3) for name in channel.PROFILES]
    assert spreads == [1.0, 1.0, 1.0, 0.994, 1.0]
    factors = [channel.tdl_profile(name).rice_factor for name in channel.PROFILES]
    assert factors[:3] == [0, 0, 0]
    np.testing.assert_allclose(10 * np.log10(factors[3:]), [13.3, 22.0])
    assert [len(channel.tdl_profile(name).powers) for name in channel.PROFILES] == [23, 23, 24, 13, 14]


@pytest.mark.parametrize("name", ["C", "E"])
def test_taps_have_their_powers(name):
    """n |a|^2 / power is a gamma variable of n; each of 23 bounds is crossed with 2e-8."""
    profile = channel.tdl_profile(name)
    taps = np.asarray(channel.tdl_taps(KEY, name, (N,)), complex)
    assert taps.shape == (N, len(profile.powers))
    power, law = np.mean(np.abs(taps) ** 2, axis=0), scipy.stats.gamma(N, scale=1 / N)
    low, high = law.ppf(1e-8), law.isf(1e-8)
    rayleigh = slice(1 if profile.line_of_sight else 0, None)
    assert np.all(
        (low < power[rayleigh] / profile.powers[rayleigh]) & (power[rayleigh] / profile.powers[rayleigh] < high)
    )
    across = np.abs(np.corrcoef(taps[:, :6].T) - np.eye(6))
    assert across.max() < ERROR


@pytest.mark.parametrize("name", ["D", "E"])
def test_the_first_tap_with_a_line_of_sight_is_ricean(name):
    """Its size against the noncentral chi-squared law, its phase against the uniform one; p below 1e-8 fails."""
    profile = channel.tdl_profile(name)
    first = np.asarray(channel.tdl_taps(KEY, profile, (N,)), complex)[:, 0]
    law = scipy.stats.ncx2(2, 2 * profile.rice_factor)
    assert scipy.stats.kstest(2 * np.abs(first) ** 2 / profile.powers[0], law.cdf).pvalue > 1e-8
    assert scipy.stats.kstest(np.angle(first) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-8


@pytest.mark.parametrize("name", ["A", "D"])
def test_the_response_is_the_transform_of_the_taps(name):
    profile, times = channel.tdl_profile(name), [0.0, 0.01]
    for options in ({}, {"times": times, "doppler": 8.0}):
        taps = np.asarray(channel.tdl_taps(KEY, name, (5,), **options), complex)
        response = channel.tdl_frequency_response(KEY, name, SPREAD, FREQUENCIES, (5,), **options)
        turns = np.outer(np.array(profile.delays) * SPREAD, FREQUENCIES)
        assert response.shape == (5, *([2] if options else []), 4) and response.dtype == np.complex64
        np.testing.assert_allclose(response, taps @ np.exp(-2j * np.pi * turns), atol=3e-6)


@pytest.mark.parametrize("name", ["B", "C", "D"])
def test_the_response_has_its_covariance(name):
    profile = channel.tdl_profile(name)
    response = np.asarray(channel.tdl_frequency_response(KEY, name, SPREAD, FREQUENCIES, (N,)), complex)
    expected = oracle.covariance(profile, SPREAD, FREQUENCIES)
    np.testing.assert_allclose(channel.frequency_covariance(name, SPREAD, FREQUENCIES), expected, atol=1e-13)
    assert np.abs(response.T @ response.conj() / N - expected).max() < ERROR
    assert np.abs(response.T @ response / N).max() < 1.5 * ERROR  # circular; its variance is up to twice that
    assert np.abs(expected[0, 2:]).max() < 0.99  # not all the same


def test_precisions_and_traced_arguments():
    draw = jax.jit(lambda key, spread, f: channel.tdl_frequency_response(key, "D", spread, f, (3,)))
    concrete = channel.tdl_frequency_response(KEY, "D", SPREAD, FREQUENCIES, (3,))
    np.testing.assert_allclose(draw(KEY, SPREAD, FREQUENCIES), concrete, atol=1e-4)
    assert np.isnan(draw(KEY, -SPREAD, FREQUENCIES)).all()
    np.testing.assert_allclose(channel.tdl_frequency_response(KEY, "A", 0.0, [0.0, 1e9])[1:].imag.shape, (1,))
    keys = jax.random.split(KEY, 3)
    mapped = jax.vmap(lambda key: channel.tdl_taps(key, "A"))(keys)
    np.testing.assert_allclose(mapped[1], channel.tdl_taps(keys[1], "A"), rtol=1e-5)
    with jax.enable_x64(True):
        double = channel.tdl_frequency_response(KEY, "D", SPREAD, FREQUENCIES, (3,))
        assert double.dtype == np.complex128
        np.testing.assert_allclose(draw(KEY, SPREAD, FREQUENCIES), double, atol=1e-12)
        assert channel.tdl_taps(KEY, "A", dtype=np.complex64).dtype == np.complex64


def test_jakes_correlation_is_the_bessel_function():
    x = np.concatenate([np.linspace(0, 60, 5000), np.geomspace(60, 1e5, 500), [30.0, np.nextafter(30, 0)]])
    ours = channel.jakes_correlation(-x / (2 * np.pi), 1.0)
    np.testing.assert_allclose(ours, scipy.special.j0(x), atol=1e-13)
    assert channel.jakes_correlation(0.004, 0.0) == 1 and channel.jakes_correlation(0.0, 100.0).shape == ()
    assert channel.doppler_frequency(30.0, 1e9) == pytest.approx(30e9 / 299_792_458)


def test_the_factor_of_many_times_is_exact_and_thin():
    times = np.arange(400) * 1e-3
    factor = time_factor(times, 10.0)
    correlation = scipy.special.j0(2 * np.pi * 10 * (times[:, None] - times))
    np.testing.assert_allclose(factor @ factor.T, correlation, atol=1e-12)
    assert factor.shape[1] < 40


@pytest.mark.parametrize("name", ["A", "E"])
def test_taps_over_time_have_jakes_correlation(name):
    """The line of sight turns by 0.7 of the Doppler frequency."""
    profile, doppler, times = channel.tdl_profile(name), 50.0, np.array([0.0, 0.002, 0.005, 0.012])
    taps = np.asarray(channel.tdl_taps(KEY, name, (N,), times=times, doppler=doppler), complex)
    assert taps.shape == (N, 4, len(profile.powers))
    apart = times[:, None] - times
    jakes = scipy.special.j0(2 * np.pi * doppler * apart)
    direct = np.exp(2j * np.pi * 0.7 * doppler * apart)
    for tap in (0, 1):
        power, sight = profile.powers[tap], profile.line_of_sight * (tap == 0)
        a = taps[:, :, tap]
        expected = power * jakes + sight * direct
        assert np.abs(a.T @ a.conj() / N - expected).max() < ERROR * (power + 2 * np.sqrt(sight * power))
    assert jakes.min() < -0.1 and (jakes[0, 1:] < 0.95).all()


def test_a_later_response_is_jointly_gaussian_with_the_first():
    now_key, later_key = jax.random.split(KEY)
    now = channel.tdl_frequency_response(now_key, "C", SPREAD, FREQUENCIES, (N,))
    later = channel.later_response(later_key, now, "C", SPREAD, FREQUENCIES, 0.01, 30.0)
    assert later.shape == now.shape and later.dtype == now.dtype
    covariance = oracle.covariance(channel.tdl_profile("C"), SPREAD, FREQUENCIES)
    now, later = np.asarray(now, complex), np.asarray(later, complex)
    correlation = scipy.special.j0(2 * np.pi * 30 * 0.01)
    assert abs(correlation) > 5 * ERROR
    assert np.abs(later.T @ later.conj() / N - covariance).max() < ERROR
    assert np.abs(later.T @ now.conj() / N - correlation * covariance).max() < ERROR
    same = channel.later_response(later_key, now[:3], "C", SPREAD, FREQUENCIES, 0.0, 30.0)
    np.testing.assert_allclose(same, now[:3], rtol=1e-6)


def test_one_s_own_profile():
    own = channel.Profile("two rays", (0.0, 2.0), (0.5, 0.5))
    assert own.rms_delay_spread == 1 and own.rice_factor == 0
    same = channel.Profile("two rays", (0, 2), (0.5, 0.5))
    assert own == same and hash(own) == hash(same)
    response = channel.tdl_frequency_response(KEY, own, 1.0, [0.0, 0.5], (4,))
    np.testing.assert_allclose(response[:, 0], response[:, 1], rtol=1e-5)
    assert channel.Profile("bare", (0.0,), (0.0,), 1 - 1e-12).rice_factor == np.inf


LINE = {"key": KEY, "profile": "A", "delay_spread": SPREAD, "frequencies": FREQUENCIES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "F"}, "profile='F': expected one of A, B, C, D, E, or a Profile"),
        ({"profile": None}, "profile=None"),
        ({"delay_spread": -1e-9}, "delay_spread=-1e-09: expected a delay spread in s, finite and 0 or above"),
        ({"delay_spread": np.nan}, "delay_spread=nan"),
        ({"frequencies": np.array([0.0, np.inf])}, "frequencies=inf"),
        ({"frequencies": 1.0}, r"frequencies has shape \(\)"),
        ({"frequencies": []}, r"frequencies has shape \(0,\)"),
        ({"shape": (-1,)}, "negative axis"),
        ({"key": 1}, "key=1 is no key"),
        ({"dtype": np.float32}, "dtype=.*: expected complex64 or complex128"),
        ({"doppler": -1.0}, "doppler=-1.0"),
        ({"times": [[0.0]]}, r"times has shape \(1, 1\)"),
        ({"times": [0.0, np.nan]}, "times=nan"),
    ],
)
def test_bad_arguments(changes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        channel.tdl_frequency_response(**{**LINE, **changes})


def test_bad_profiles_names_and_responses(unchecked):
    with pytest.raises(ValueError, match="name='TDL': expected one of A, B, C, D, E"):
        channel.tdl_profile("TDL")
    for delays, powers, message in (
        ((0.0,), (0.5, 0.5), "1 delays and 2 powers"),
        ((0.0,), (0.5,), "add up to 0.5: expected 1"),
        ((-1.0,), (1.0,), "delays=-1.0"),
        ((0.0,), (np.nan,), "powers=nan"),
    ):
        with pytest.raises(ValueError, match=message):
            channel.Profile("own", delays, powers)
    late = {**LINE, "response": jnp.ones((2, 4)), "delay": 0.1, "doppler": 1.0}
    with pytest.raises(ValueError, match="profile='D' has a line of sight"):
        channel.later_response(**{**late, "profile": "D"})
    with pytest.raises(ValueError, match=r"response has shape \(3,\): expected a last axis of the 4"):
        channel.later_response(**{**late, "response": jnp.ones(3)})
    with pytest.raises(ValueError, match="times=a traced value: .* known before compilation"):
        jax.jit(lambda t: channel.tdl_taps(KEY, "A", times=t))(jnp.zeros(2))
