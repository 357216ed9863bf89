"""Symbols are those of the standard, with unit energy and Gray labels; noise has its power."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kernels import channel
from tests.kernels.oracles import channel as oracle

KEY = jax.random.key(0)


@pytest.mark.parametrize("order", channel.ORDERS)
def test_symbols_are_those_of_the_standard(order):
    bits = oracle.labels(order)
    single = channel.modulate(bits.reshape(-1), order)
    assert single.dtype == np.complex64
    np.testing.assert_allclose(single, oracle.constellation(order), atol=2e-7)
    with jax.enable_x64(True):
        double = channel.modulate(bits.reshape(-1), order)
        assert double.dtype == np.complex128
        np.testing.assert_allclose(double, oracle.constellation(order), atol=4e-16)
        assert channel.modulate(bits.reshape(-1), order, np.complex64).dtype == np.complex64


@pytest.mark.parametrize("order", channel.ORDERS)
def test_unit_energy_and_gray_labels(order):
    bits = oracle.labels(order)
    points = np.asarray(channel.modulate(bits, order))[:, 0].astype(complex)
    assert abs(np.mean(np.abs(points) ** 2) - 1) < 1e-6 and abs(points.mean()) < 1e-6
    distance = np.abs(points[:, None] - points)
    least = distance[distance > 1e-3].min()
    nearest = np.abs(distance - least) < 1e-3
    differences = (bits[:, None] != bits).sum(-1)
    assert nearest.sum() > 0 and set(differences[nearest]) == {1}


def test_batches_and_types_of_bits():
    bits = np.random.default_rng(0).integers(0, 2, (2, 3, 24))
    expected = np.stack([[oracle.modulate(word, 4) for word in batch] for batch in bits])
    for dtype in (np.uint8, np.int32, bool):
        np.testing.assert_allclose(channel.modulate(bits.astype(dtype), 4), expected, atol=2e-7)
    mapped = jax.jit(jax.vmap(lambda word: channel.modulate(word, 4)))(bits.reshape(6, 24))
    np.testing.assert_array_equal(mapped, channel.modulate(bits.reshape(6, 24), 4))
    assert channel.modulate(np.zeros((2, 0), np.uint8), 4).shape == (2, 0)


def test_a_traced_bit_that_is_none_marks_its_symbol():
    symbols = jax.jit(lambda bits: channel.modulate(bits, 2))(np.array([0, 1, 2, 0, 1, 1]))
    assert np.isnan(symbols).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array([0, 1]), 3), "order=3: expected 1, 2, 4, 6 or 8"),
        ((np.array([0, 1]), "2"), "order='2'"),
        ((np.array([0, 1, 1]), 2), r"bits has shape \(3,\): expected a multiple of order=2"),
        ((np.array([0, 2]), 2), r"bits holds 2 \(1 of 2\): expected 0 or 1"),
        ((np.array([0, -1]), 2), r"bits holds -1 \(1 of 2\)"),
        ((np.array([0.0, 1.0]), 2), "bits=.*: expected an array of integers or bool"),
        (([0, 1], 2), "bits=.*: expected an array of integers or bool"),
        ((np.array([0, 1]), 2, np.float32), "dtype=.*: expected complex64 or complex128"),
        ((np.array([0, 1]), 2, np.complex128), "64-bit mode"),
    ],
)
def test_bad_bits(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        channel.modulate(*arguments)


@pytest.mark.parametrize("n0", [0.25, 4.0])
def test_noise_has_its_power_in_both_dimensions(n0):
    """2 sum x^2 / n0 has the chi-squared law of n degrees; 4 bounds of 2e-8 each side are crossed with 2e-7."""
    n = 20_000
    noise = np.asarray(channel.awgn(KEY, jnp.zeros((4, n // 4)), n0)).reshape(-1)
    assert noise.dtype == np.complex64
    law = scipy.stats.chi2(n)
    for part in (noise.real, noise.imag):
        total = 2 * np.sum(part.astype(float) ** 2) / n0
        assert law.ppf(2e-8) < total < law.isf(2e-8)
    correlation = np.corrcoef(noise.real, noise.imag)[0, 1]
    assert abs(correlation) < 6.5 / np.sqrt(n)  # 1e-10


def test_noise_of_several_powers():
    x = jnp.ones((3, 8))
    y = channel.awgn(KEY, x, np.array([0.01, 1.0])[:, None, None])
    assert y.shape == (2, 3, 8)
    np.testing.assert_allclose(
        channel.awgn(KEY, jnp.zeros(8), 4.0), 2 * channel.awgn(KEY, jnp.zeros(8), 1.0), rtol=1e-6
    )
    mapped = jax.vmap(lambda x, n0: channel.awgn(KEY, x, n0))(x, jnp.ones(3))
    np.testing.assert_allclose(mapped[1], channel.awgn(KEY, x[0], 1.0), rtol=1e-6)
    with jax.enable_x64(True):
        assert channel.awgn(KEY, np.ones(2), 1.0).dtype == np.complex128
        assert channel.awgn(KEY, np.ones(2, np.complex64), np.ones(2)).dtype == np.complex64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n0": 0.0}, "n0=0.0: expected a finite power of noise above 0"),
        ({"n0": np.array([1.0, np.nan])}, "n0=nan"),
        ({"x": np.array([1.0, np.nan])}, r"x holds \(?nan.*1 of 2"),
        ({"x": "a"}, "x='a': expected complex or real numbers"),
        ({"n0": np.ones(3)}, r"x of shape \(2,\) and n0 of \(3,\) do not broadcast"),
        ({"key": 3}, "key=3 is no key"),
    ],
)
def test_bad_noise(changes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        channel.awgn(**{"key": KEY, "x": np.ones(2), "n0": 1.0, **changes})
