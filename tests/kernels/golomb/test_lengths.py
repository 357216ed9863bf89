"""Lengths in closed form are those of sums over all gaps, of codes written bit by bit, and of the paper's table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import golomb
from tests.kernels.oracles import golomb as oracle

# Share of entries, b, position bits, bits for each of all entries: by the formulas of arXiv:1903.02891.
TABLE = [
    (1 / 25, 4, 6.0851, 0.283403),
    (1 / 50, 5, 7.1003, 0.162006),
    (1 / 100, 6, 8.1079, 0.091079),
    (1 / 200, 7, 9.1117, 0.050558),
    (1 / 400, 8, 10.1136, 0.027784),
]


@pytest.mark.parametrize(("p", "b", "position_bits", "bits"), TABLE)
def test_the_table(p, b, position_bits, bits):
    assert golomb.golomb_parameter(p) == b
    assert abs(golomb.expected_bits(p) - position_bits) < 5.1e-5
    assert abs(p * (golomb.expected_bits(p) + 1) - bits) < 5.1e-7


@pytest.mark.parametrize(("p", "b", "position_bits", "bits"), TABLE)
def test_random_masks_are_as_long_as_the_table_says(p, b, position_bits, bits):
    """Bits of an entry, of 10,000 and more: gaps are geometric, and 1 % is beyond 9 deviations."""
    mask = np.random.default_rng(0).random(int(10_000 / p)) < p
    assert abs(golomb.golomb_bits(mask, b) / mask.sum() / (bits / p) - 1) < 0.01


def test_the_parameter_is_the_best():
    """Of 150 shares, among them both sides of 2 - phi, from where on b is 0."""
    edge = (3 - 5**0.5) / 2
    shares = [*np.exp(np.random.default_rng(1).uniform(np.log(1e-3), np.log(0.99), 150)), edge - 1e-6, edge + 1e-6]
    for p in shares:
        best = oracle.mean_position_bits(p, oracle.best_parameter(p))
        assert oracle.mean_position_bits(p, golomb.golomb_parameter(p)) <= best * (1 + 1e-9), p
    assert [golomb.golomb_parameter(p) for p in (edge - 1e-6, edge + 1e-6, 1.0, 1)] == [1, 0, 0, 0]


@pytest.mark.parametrize("p", [0.003, 0.1, 0.5, 0.9])
def test_mean_bits_are_the_sum_over_all_gaps(p):
    for b in (0, 1, 5, 9):
        assert abs(golomb.expected_bits(p, b) / oracle.mean_position_bits(p, b) - 1) < 1e-9
    assert golomb.expected_bits(1, 3) == 4.0 and golomb.expected_bits(1.0) == 1.0


def test_tiny_shares_are_no_special_case():
    b = golomb.golomb_parameter(1e-9)
    assert b == 29 and 30 < golomb.expected_bits(1e-9) < 32
    assert golomb.golomb_parameter(1e-300) == 31  # as messages hold, of 2^31 entries at most


@pytest.mark.parametrize("b", [0, 2, 5])
def test_bits_of_masks_of_any_batch_also_traced(b):
    rng = np.random.default_rng(2)
    masks = rng.random((4, 30, 90)) < rng.random((4, 30, 1)) ** 3
    masks[0, 0], masks[0, 1], masks[1, 0, -1] = False, True, True
    expected = [[len(oracle.payload(mask, mask.astype(int), b)) for mask in row] for row in masks]
    bits = golomb.golomb_bits(masks, b)
    assert bits.dtype == np.int64 and bits.tolist() == expected
    assert golomb.golomb_bits(masks[1, 2], b) == expected[1][2]
    traced = jax.jit(lambda mask: golomb.golomb_bits(mask, b))(masks)
    assert traced.dtype == jnp.int32 and traced.tolist() == expected


def test_bits_of_long_traced_masks():
    """Windows of 64 are folded, and the last is short."""
    masks = np.random.default_rng(4).random((3, 5000)) < np.array([[0.002], [0.02], [0.3]])
    for b in (6, 31):
        traced = jax.jit(lambda mask, b=b: golomb.golomb_bits(mask, b))(masks)
        np.testing.assert_array_equal(traced, golomb.golomb_bits(masks, b))


def test_bits_of_nothing():
    assert golomb.golomb_bits(np.zeros(0, bool), 3) == 0
    assert golomb.golomb_bits(np.zeros((2, 0), bool), 3).tolist() == [0, 0]
    assert jax.jit(lambda mask: golomb.golomb_bits(mask, 3))(np.zeros((2, 0), bool)).tolist() == [0, 0]


def test_what_int32_may_not_hold_is_refused_where_it_is_traced():
    with pytest.raises(ValueError, match="mask has 100000000 entries of up to 34 bits, .* count it outside of `jit`"):
        jax.eval_shape(lambda mask: golomb.golomb_bits(mask, 31), jax.ShapeDtypeStruct((10**8,), bool))


@pytest.mark.parametrize("mask", [np.ones(3), np.bool_(True), np.ones(3, np.int8)], ids=str)
def test_what_is_no_mask_is_refused(mask, unchecked):
    for call in (lambda: golomb.golomb_bits(mask, 1), lambda: jax.jit(lambda x: golomb.golomb_bits(x, 1))(mask)):
        with pytest.raises(ValueError, match="mask is .* of shape .*: expected bool"):
            call()
