"""The ternary form is that of float64, loses what the identity says, and what is not sent stays in the residual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import sparse_ternary
from tests.kernels.oracles import sparse_ternary as oracle
from tests.kernels.sparse_ternary.rows import ROWS, compressed

SMALLEST_NORMAL = 2.0**-126  # a mean below it may be flushed to 0


@pytest.mark.parametrize("k", [7, 350])
def test_it_is_that_of_double_precision(k):
    mask, _, mu, signs = compressed(k)
    assert (mu.dtype, signs.dtype) == (np.float32, np.int8)
    for i, row in enumerate(ROWS):
        expected_mask, expected_mu, expected_signs = oracle.ternarize(row, k)
        assert np.array_equal(mask[i], expected_mask) and np.array_equal(signs[i], expected_signs)
        assert abs(float(mu[i]) - expected_mu) <= max(1e-6 * expected_mu, SMALLEST_NORMAL * (expected_mu > 0)), i


@pytest.mark.parametrize("k", [7, 350])
def test_the_error_is_what_mu_leaves(k):
    """|T - C|^2 = |T|^2 - k mu^2."""
    mask, _, mu, signs = compressed(k)
    x, mu = ROWS.astype(np.float64), mu.astype(np.float64)
    square = (x**2).sum(-1)
    error = ((x - mu[:, None] * signs) ** 2).sum(-1)
    assert (abs(error - (square - mask.sum(-1) * mu**2)) <= 1e-5 * square).all()


def test_the_mean_of_many():
    x = np.random.default_rng(0).standard_normal(300_001).astype(np.float32) + np.float32(3)
    _, mu, _ = sparse_ternary.ternarize(x, x.size)
    assert abs(float(mu) / np.abs(x.astype(np.float64)).mean() - 1) < 1e-6


def feedback(update, residual) -> tuple[np.ndarray, np.ndarray]:
    """With k = 7, for arrays [rows, N] of the two tests below."""
    sent, left = sparse_ternary.compress_with_feedback(update, residual, 7)
    return np.asarray(sent), np.asarray(left)


def test_what_is_not_sent_stays():
    # Sums of subnormal numbers may be flushed; those of -3e38 overflow.
    update = ROWS[[i for i, row in enumerate(ROWS) if (abs(row[row != 0]) > 1e-30).all() and abs(row).max() < 1e38]]
    residual = np.roll(update, 1, axis=0)
    carried = update + residual
    sent, left = feedback(update, residual)
    for i, row in enumerate(carried):
        mask, mu, signs = oracle.ternarize(row, 7)
        np.testing.assert_array_equal(sent[i] != 0, mask)
        np.testing.assert_allclose(sent[i], mu * signs, rtol=1e-6)
        np.testing.assert_array_equal(left[i][~mask].view(np.uint32), row[~mask].view(np.uint32))
        off = np.abs(sent[i].astype(np.float64) + left[i] - row)[mask]
        assert (off <= np.spacing(np.maximum(abs(row), np.float32(mu)))[mask]).all()
        norms = [np.linalg.norm(one.astype(np.float64)) for one in (left[i], row)]
        assert norms[0] <= norms[1] * (1 + 1e-6)


def test_everything_is_sent_in_the_end():
    """Over rounds, what was sent and the last residual are the sum of the updates."""
    updates = np.random.default_rng(2).standard_normal((20, 2, 50)).astype(np.float32)
    residual, total = np.zeros((2, 50), np.float32), np.zeros((2, 50))
    for update in updates:
        sent, residual = feedback(update, residual)
        assert (np.count_nonzero(sent, axis=-1) == 7).all()
        total += sent
    np.testing.assert_allclose(total + residual, updates.astype(np.float64).sum(0), atol=1e-5)


def test_nothing_to_send():
    mask, threshold, mu, signs = (one[-6:-4] for one in compressed(7))
    assert not ROWS[-6:-4].any()
    assert not (mask.any() or threshold.any() or mu.any() or signs.any())


def test_a_row_that_is_not_finite_marks_itself_under_jit():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x[1, 2], x[2, 1] = np.inf, np.nan

    def both(x):
        return sparse_ternary.ternarize(x, 2)[1], *sparse_ternary.compress_with_feedback(x, 0 * x, 2)

    mu, sent, left = jax.jit(both)(x)
    assert np.isnan(mu).tolist() == [False, True, True]
    for one in (sent, left):
        assert np.isnan(one).any(-1).tolist() == [False, True, True]


def test_arrays_that_do_not_belong_together_are_refused(unchecked):
    x = jnp.ones((2, 3))
    for residual in (jnp.ones((2, 4)), jnp.ones(3), jnp.ones((2, 3), jnp.bfloat16)):
        with pytest.raises(ValueError, match="residual is .* of shape .*, update float32 of shape"):
            sparse_ternary.compress_with_feedback(x, residual, 1)
    with pytest.raises(ValueError, match="update . residual holds 6 NaN or infinite values of 6"):
        sparse_ternary.compress_with_feedback(x * 3e38, x * 3e38, 1)


def test_the_vote_is_the_more_frequent_sign():
    signs = np.random.default_rng(3).integers(-1, 2, (7, 500)).astype(np.int8)
    vote = sparse_ternary.majority_vote(signs)
    assert vote.dtype == jnp.int8 and {-1, 0, 1} == set(np.unique(vote).tolist())
    np.testing.assert_array_equal(vote, oracle.majority_vote(signs))
    np.testing.assert_array_equal(sparse_ternary.majority_vote(signs.astype(np.int32) * 100), vote)
    many = np.tile(signs, (60, 1))  # sums beyond int8
    np.testing.assert_array_equal(sparse_ternary.majority_vote(many), vote)


def test_ties_are_drawn_where_a_key_is_passed():
    """4000 ties: a mean beyond 0.1 is 6.3 deviations away, below 1e-9 by chance."""
    signs = np.concatenate([np.tile([[1], [-1]], (1, 4000)), np.ones((2, 50))], axis=1).astype(np.int8)
    vote = np.asarray(sparse_ternary.majority_vote(signs, jax.random.key(0)))
    assert set(np.unique(vote)) == {-1, 1} and abs(vote[:4000].mean()) < 0.1 and (vote[4000:] == 1).all()
    np.testing.assert_array_equal(vote, sparse_ternary.majority_vote(signs, jax.random.key(0)))
    assert (vote != np.asarray(sparse_ternary.majority_vote(signs, jax.random.key(1)))).any()


@pytest.mark.parametrize(
    "signs", [np.ones((2, 3)), np.ones((2, 3), bool), np.ones((2, 3), np.uint8), np.ones((0, 3), int)]
)
def test_what_is_no_vote_is_refused(signs, unchecked):
    with pytest.raises(ValueError, match="signs have (dtype|shape) .*: expected"):
        sparse_ternary.majority_vote(signs)
