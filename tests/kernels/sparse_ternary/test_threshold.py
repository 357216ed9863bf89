"""The threshold and the mask are those of a sort, with ties by index and without zeros."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import sparse_ternary
from tests.kernels.oracles import sparse_ternary as oracle
from tests.kernels.sparse_ternary.rows import ROWS, SIZES, N, compressed, neighbours, rows


@pytest.mark.parametrize("k", SIZES)
def test_the_mask_is_that_of_a_sort(k):
    masks = compressed(k)[0]
    wrong = [i for i, row in enumerate(ROWS) if not np.array_equal(masks[i], oracle.mask(row, k))]
    assert masks.dtype == bool and not wrong


@pytest.mark.parametrize("k", SIZES)
def test_the_threshold_is_that_of_a_sort(k):
    expected = np.array([oracle.threshold(row, k) for row in ROWS]).astype(np.float32)
    threshold = compressed(k)[1]
    assert threshold.dtype == np.float32
    np.testing.assert_array_equal(threshold.view(np.uint32), expected.view(np.uint32))  # to the bit, subnormal or not


@pytest.mark.parametrize("n", [1, 2, 33])
def test_short_rows(n):
    x = rows(n, seed=n, repeats=1)
    for k in {1, n}:
        masks = np.asarray(sparse_ternary.topk_mask(x, k))
        assert all(np.array_equal(mask, oracle.mask(row, k)) for mask, row in zip(masks, x, strict=True))


def test_ties_are_selected_in_the_order_of_their_indices():
    x = jnp.array([2.0, -1.0, 1.0, 0.0, 1.0, -1.0, -3.0])
    assert np.flatnonzero(sparse_ternary.topk_mask(x, 4)).tolist() == [0, 1, 2, 6]


def test_zeros_are_never_selected():
    x = jnp.array([0.0, -0.0, 1e-45, 0.0, -2.0])
    assert np.flatnonzero(sparse_ternary.topk_mask(x, 4)).tolist() == [2, 4]
    assert sparse_ternary.topk_threshold(x, 4) == 0


@pytest.mark.parametrize(("dtype", "k"), [(jnp.bfloat16, 7), (jnp.float16, 43)])
def test_half_precision(dtype, k):
    """By blocks and from all entries."""
    x = np.asarray(jnp.asarray(ROWS[:12]).astype(dtype))
    x = np.where(np.isfinite(x), x, 1).astype(dtype)
    for i in range(4, 12):
        x[i] = neighbours(N + i, np.random.default_rng(i), np.asarray(0.5, dtype))[:N]
    mask, mu, _ = sparse_ternary.ternarize(x, k)
    threshold = sparse_ternary.topk_threshold(x, k)
    assert mu.dtype == threshold.dtype == dtype
    assert threshold.astype(np.float32).tolist() == [oracle.threshold(row, k) for row in x.astype(np.float64)]
    for i, row in enumerate(x.astype(np.float64)):
        expected, mean, _ = oracle.ternarize(row, k)
        assert np.array_equal(mask[i], expected) and abs(float(mu[i]) - mean) <= float(jnp.finfo(dtype).eps) * mean


def test_double_precision():
    with jax.enable_x64(True):
        x = np.random.default_rng(1).standard_normal((3, N)) * 1e-200
        x[1] = np.round(x[1] * 1e200)
        mask, mu, _ = sparse_ternary.ternarize(x, 43)
        assert mu.dtype == np.float64
        for i, row in enumerate(x):
            expected, mean, _ = oracle.ternarize(row, 43)
            assert np.array_equal(mask[i], expected) and abs(float(mu[i]) / mean - 1) < 1e-13


def test_rows_of_any_batch_are_the_same_rows():
    """Also where some rows have ties to resolve and others do not."""
    mapped = jax.jit(jax.vmap(jax.vmap(lambda row: sparse_ternary.topk_mask(row, 7))))(ROWS[:60].reshape(2, 30, N))
    np.testing.assert_array_equal(mapped.reshape(60, N), compressed(7)[0][:60])


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_or_marked(value):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x[1, 2] = value
    for function in (sparse_ternary.topk_threshold, sparse_ternary.topk_mask, sparse_ternary.ternarize):
        with pytest.raises(ValueError, match="x holds 1 NaN or infinite values of 12"):
            function(x, 2)
    threshold = jax.jit(lambda x: sparse_ternary.topk_threshold(x, 2))(x)
    assert np.isnan(threshold).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "x", [np.ones(3, np.int32), np.ones((2, 0), np.float32), np.float32(1), np.ones(3, complex)], ids=str
)
def test_what_has_no_entries_to_rank_is_refused(x, unchecked):
    with pytest.raises(ValueError, match="x has (dtype|shape).*: expected"):
        sparse_ternary.topk_mask(x, 1)


def test_more_than_all_is_refused():
    with pytest.raises(ValueError, match="k=8: expected an integer from 1 to 7, as a row has 7 entries"):
        sparse_ternary.topk_mask(np.ones(7, np.float32), 8)


def test_selection_sizes():
    size = sparse_ternary.selection_size
    assert 100 * 0.07 > 7 and size(100, 0.07) == 7
    assert size(865_482, 1 / 400) == 2164 and size(7850, fractions.Fraction(1, 25)) == 314
    assert size(10, 1.0) == 10 and size(10, 0.11) == 2 and size(3, 1e-9) == 1
    # A Fraction needs no guard: one entry more from the smallest excess on.
    assert size(100, fractions.Fraction(7, 100) + fractions.Fraction(1, 10**15)) == 8
    for n in (1, 3, 7, 49, 400, 865_482):
        assert all(size(n, k / n) == k == size(n, fractions.Fraction(k, n)) for k in range(1, min(n, 300) + 1))
    with pytest.raises(ValueError, match=r"p=Fraction\(3, 2\): expected a number in|p=1.5: expected a number in"):
        size(3, fractions.Fraction(3, 2))


def test_shares_of_narrow_floats_are_what_they_mean():
    size = sparse_ternary.selection_size
    assert size(100, np.float32(0.07)) == 7 and size(1000, np.float32(0.1)) == 100 and size(8, np.float16(0.1)) == 1
    assert size(865_482, np.float32(1 / 400)) == 2164


def test_double_precision_that_single_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"x holds 1e\+300, beyond float32: enable JAX's 64-bit mode"):
        sparse_ternary.ternarize(np.array([1.0, 1e300]), 1)
