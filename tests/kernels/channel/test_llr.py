"""LLRs are those of an enumeration of all symbols, in both precisions, and finite whatever comes in."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import channel
from tests.kernels.oracles import channel as oracle

SYMBOLS = 60


def received(order: int, seed: int = 0):
    """(y, h, n0) over 40 dB of noise and gains, in complex128; every fourth y is far from all symbols."""
    rng = np.random.default_rng(seed)
    x = oracle.modulate(rng.integers(0, 2, SYMBOLS * order), order)
    h = (rng.standard_normal(SYMBOLS) + 1j * rng.standard_normal(SYMBOLS)) / np.sqrt(2)
    n0 = 10 ** rng.uniform(-3, 1, SYMBOLS)
    y = h * x + np.sqrt(n0 / 2) * (rng.standard_normal(SYMBOLS) + 1j * rng.standard_normal(SYMBOLS))
    y[::4] *= 10
    return y, h, n0


@pytest.mark.parametrize(("order", "method"), itertools.product(channel.ORDERS, channel.METHODS))
def test_llrs_are_those_of_an_enumeration(order, method):
    """Relative to the terms that are subtracted, of which no difference can be more precise."""
    y, h, n0 = received(order)
    expected = oracle.llr(y, h, n0, order, method).reshape(SYMBOLS, order)
    size = 1 + ((np.abs(y) * np.abs(h) + np.abs(h) ** 2) / n0)[:, None]
    single = np.asarray(channel.llr(y.astype(np.complex64), h, n0, order, method)).reshape(SYMBOLS, order)
    assert single.dtype == np.float32
    with jax.enable_x64(True):
        double = np.asarray(channel.llr(y, h, n0, order, method)).reshape(SYMBOLS, order)
        assert double.dtype == np.float64
        assert channel.llr(y.astype(np.complex64), h, n0, order, method).dtype == np.float32
    assert np.max(np.abs(double - expected) / size) < 1e-9
    assert np.max(np.abs(single - expected) / size) < 1e-5
    moderate = np.abs(expected) > 0.1 * size
    assert moderate.mean() > 0.2 and np.max(np.abs(single / expected - 1)[moderate]) < 1e-4


def test_qpsk_is_the_closed_form():
    y, h, n0 = received(2)
    z = 2 * math.sqrt(2) * np.conj(h) * y / n0
    expected = np.stack([z.real, z.imag], axis=-1).reshape(-1)
    for method in channel.METHODS:
        np.testing.assert_allclose(channel.llr(y, h, n0, 2, method), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [4, 6, 8])
def test_max_log_is_off_by_no_more_than_its_bound(order):
    y, h, n0 = received(order, seed=1)
    exact, max_log = (np.asarray(channel.llr(y, h, n0, order, method)) for method in channel.METHODS)
    difference = np.abs(exact - max_log)
    size = np.repeat((np.abs(y) * np.abs(h) + np.abs(h) ** 2) / n0, order)
    assert np.all(difference <= (order / 2 - 1) * math.log(2) + 1e-6 * (1 + size))
    assert difference.max() > 0.1
    at_high_snr = [np.asarray(channel.llr(y, 1.0, 1e-4, order, method)) for method in channel.METHODS]
    np.testing.assert_allclose(*at_high_snr, rtol=1e-2)


@pytest.mark.parametrize("order", channel.ORDERS)
def test_bits_come_back_with_their_sign(order):
    """Positive where bit 0 was sent, through a channel that turns and shrinks."""
    bits = np.random.default_rng(2).integers(0, 2, (3, 40 * order)).astype(np.uint8)
    h = 0.3 * np.exp(2j * np.arange(40))
    y = channel.awgn(jax.random.key(1), h * channel.modulate(bits, order), 1e-6)
    for method in channel.METHODS:
        np.testing.assert_array_equal(channel.llr(y, h, 1e-6, order, method) < 0, bits)


@pytest.mark.parametrize("order", [2, 8])
def test_llrs_say_how_often_they_are_wrong(order):
    """Errors are as many as 1 / (1 + e^|L|) adds up to; with over 1000 expected, 7 deviations happen below 1e-10.

    Bits of one symbol depend on each other: its errors count `order` times at most, and so does the variance.
    """
    n = 20_000
    bits = np.random.default_rng(3).integers(0, 2, n * order).astype(np.uint8)
    y = channel.awgn(jax.random.key(2), channel.modulate(bits, order), 0.3)
    values = np.asarray(channel.llr(y, 1.0, 0.3, order), np.float64)
    errors, wrong = np.sum((values < 0) != bits), 1 / (1 + np.exp(np.abs(values)))
    deviation = math.sqrt(order * np.sum(wrong * (1 - wrong)))
    assert wrong.sum() > 1000 and abs(errors - wrong.sum()) < 7 * deviation


SIZES = (0.0, 1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e30, 3e38)


@pytest.mark.parametrize(("order", "method"), itertools.product(channel.ORDERS, channel.METHODS))
def test_nothing_overflows(order, method):
    """The sign of the first bit is that of Re(h* y), or the LLR is 0, and gradients are finite where it is moderate."""
    y, h, n0 = np.meshgrid(SIZES, SIZES, (1e-45, 1e-38, 1e-10, 1.0, 1e38), indexing="ij")
    y, h = (y * (1 - 0.5j)).astype(np.complex64), (h * (0.9 - 0.5j)).astype(np.complex64)
    values = np.asarray(channel.llr(y.reshape(-1), h.reshape(-1), n0.reshape(-1), order, method)).reshape(-1, order)
    assert np.all(np.isfinite(values)) and np.all(values[:, 0] >= 0)
    certain = (np.abs(y) > 1e-10) & (np.abs(h) > 1e-10) & (n0 < 1)
    assert np.all(values[certain.reshape(-1), 0] > 0)
    assert np.all(channel.llr(np.array([1 + 1j, 0]), 0.0, 1.0, order, method) == 0)


@pytest.mark.parametrize(("order", "method"), itertools.product((2, 4, 8), channel.METHODS))
def test_gradients_are_those_of_differences(order, method):
    y, h, n0 = received(order, seed=4)
    weights = np.random.default_rng(5).standard_normal(SYMBOLS * order)
    with jax.enable_x64(True):

        @jax.jit
        def total(y_real, h_real, n0):
            values = channel.llr(y_real + 1j * y.imag, h_real + 1j * h.imag, n0, order, method)
            return jnp.sum(weights * values)

        point = (y.real, h.real, n0)
        slopes = jax.jit(jax.grad(total, (0, 1, 2)))(*point)
        for k, slope in enumerate(slopes):
            direction = np.random.default_rng(k).standard_normal(SYMBOLS) * (n0 if k == 2 else 1)
            ends = [total(*(p + sign * 1e-7 * direction * (i == k) for i, p in enumerate(point))) for sign in (1, -1)]
            np.testing.assert_allclose((ends[0] - ends[1]) / 2e-7, np.sum(slope * direction), rtol=1e-4)


def test_gradients_are_finite_where_nothing_comes_through():
    def total(h, n0):
        return jnp.sum(channel.llr(jnp.array([0.0, 1.0 - 1j]), h * (1 + 0j), n0, 8))

    for slope in jax.grad(total, (0, 1))(0.0, 1.0):
        assert np.isfinite(slope)


def test_batches():
    y, h, n0 = (array.reshape(4, 15) for array in received(4))
    y = y.astype(np.complex64)
    whole = channel.llr(y, h, n0[:, :1], 4)
    assert whole.shape == (4, 60)
    np.testing.assert_allclose(whole[2], oracle.llr(y[2], h[2], n0[2, :1], 4), rtol=1e-3, atol=1e-3)
    mapped = jax.jit(jax.vmap(functools.partial(channel.llr, order=4)))(y, h, n0[:, 0])
    np.testing.assert_allclose(mapped, whole, rtol=1e-6)
    assert channel.llr(y, h[0], n0[:, None, :1], 4).shape == (4, 4, 60)
    assert channel.llr(y[:, :0], 1.0, 1.0, 4).shape == (4, 0)
    np.testing.assert_allclose(channel.llr(y.real, 1, 1, 1), 4 * y.real, rtol=1e-6)


def test_what_is_traced_and_wrong_marks_its_own_symbols():
    run = jax.jit(lambda y, h, n0: channel.llr(y, h, n0, 4))
    y = np.array([1, np.nan, 1, 1, 1, 1], np.complex64)
    n0 = np.array([1, 1, 0, -1, np.nan, 1], np.float32)
    h = np.array([1, 1, 1, 1, 1, np.nan], np.complex64)
    assert np.isnan(run(y, h, n0)).reshape(6, 4).all(1).tolist() == [False] + 5 * [True]
    assert np.isfinite(run(y, h, n0)[:4]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": 5}, "order=5: expected 1, 2, 4, 6 or 8"),
        ({"method": "min"}, "method='min': expected one of exact, max_log"),
        ({"n0": -1.0}, "n0=-1.0"),
        ({"n0": np.array([1.0, 0.0])}, "n0=0.0"),
        ({"y": np.array([1.0, np.nan])}, r"y holds \(?nan.*1 of 2\): expected finite"),
        ({"h": np.array([np.inf, 1])}, r"h holds \(?inf.*1 of 2"),
        ({"y": "a"}, "y='a': expected complex or real numbers"),
        ({"y": 1.0}, "y is one number"),
        ({"h": np.ones(3)}, r"y of shape \(2,\), h of \(3,\) and n0 of \(\) do not broadcast"),
    ],
)
def test_bad_arguments(changes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        channel.llr(**{"y": np.ones(2), "h": 1.0, "n0": 1.0, "order": 2, **changes})
