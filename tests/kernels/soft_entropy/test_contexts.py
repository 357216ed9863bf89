"""Bits in contexts against the coder's own rate, counts from soft labels and from the table, and the small helpers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import entropy_coding, soft_entropy
from kernels.soft_entropy import reparametrization, table

GRID = jnp.asarray(soft_entropy.symmetric_grid(0.4, 7), jnp.float32)
LATENT = jnp.asarray(np.random.default_rng(0).laplace(0, 0.1, 60), jnp.float32).clip(
    -0.4, 0.4
)  # the range of the table
SOFT = soft_entropy.soft_assign(LATENT, GRID, 300.0)


def counts_of(rate, soft=SOFT):
    return soft_entropy.context_counts(soft, jnp.asarray(soft_entropy.context_members(rate, soft.shape[1])))


@pytest.mark.parametrize("rate", soft_entropy.CONTEXTS)
def test_contexts_cover_every_label_once(rate):
    members = soft_entropy.context_members(rate, 9)
    assert members.shape == (soft_entropy.CONTEXTS[rate], 9)
    assert (members.sum(axis=0) == 1).all()
    np.testing.assert_allclose(counts_of(rate).sum(), len(LATENT), rtol=1e-6)


def test_entropy_and_conditional_bits():
    bits = {rate: soft_entropy.context_bits(rate, counts_of(rate)) for rate in soft_entropy.CONTEXTS}
    np.testing.assert_allclose(bits["entropy"], soft_entropy.relaxed_bits(SOFT), rtol=1e-5)
    np.testing.assert_allclose(bits["conditional"], soft_entropy.conditional_bits(SOFT), rtol=1e-5)


def test_static_bits_are_the_rate_of_the_coder():
    levels = list(range(-3, 4))
    expected = entropy_coding.rate_static_soft(SOFT, levels)
    np.testing.assert_allclose(soft_entropy.static_bits(counts_of("static")), expected, rtol=1e-5)
    q = np.random.default_rng(1).integers(-3, 4, 200)
    hard = jnp.asarray(np.eye(7, dtype=np.float32)[q + 3])
    bits = soft_entropy.static_bits(counts_of("static", hard))
    np.testing.assert_allclose(bits, entropy_coding.rate_static(q), rtol=1e-5)


@pytest.mark.parametrize("rate", soft_entropy.CONTEXTS)
def test_counts_by_the_table(rate):
    labels = table.tabulate(GRID, 300.0)
    counts = table.context_counts(labels, table.locate(labels, LATENT), soft_entropy.context_members(rate, 7))
    np.testing.assert_allclose(counts, counts_of(rate), rtol=0, atol=1e-3 * len(LATENT))


def test_a_prior_makes_zeros_cheaper():
    counts = jnp.asarray([[2.0, 5.0, 1.0]])
    assert soft_entropy.with_prior(counts, 0.0) is counts
    np.testing.assert_allclose(soft_entropy.with_prior(counts, 0.5), [[2.0, 9.0, 1.0]])


def test_straight_through_takes_the_nearest_centroid_and_passes_the_gradient():
    labels = table.tabulate(GRID, soft_entropy.beta_of(GRID, 20.0))

    def hard(latent):
        return table.straight_through(labels, table.locate(labels, latent), latent, GRID)

    nearest = GRID[jnp.argmin(jnp.abs(LATENT[:, None] - GRID), axis=1)]
    np.testing.assert_allclose(hard(LATENT), nearest, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda v: hard(v).sum())(LATENT), np.ones(len(LATENT)))


def test_sharpness_is_beta_times_half_a_gap_squared():
    gap = 0.8 / 6
    np.testing.assert_allclose(soft_entropy.beta_of(GRID, 3.0) * gap**2 / 2, 3.0, rtol=1e-5)
    assert not jax.grad(lambda grid: soft_entropy.beta_of(grid, 3.0))(GRID).any()


def test_drawn_weights_have_the_mean_and_the_variance():
    """Bounds of six standard errors: a false alarm in 5e8 draws of the key."""
    mean, variance = jnp.full(100_000, 0.3), jnp.full(100_000, 0.04)
    draw = np.asarray(reparametrization.draw_weights(mean, variance, jax.random.key(0)), np.float64)
    error = 0.2 / np.sqrt(draw.size)
    assert abs(draw.mean() - 0.3) < 6 * error
    assert abs(draw.var() / 0.04 - 1) < 6 * np.sqrt(2 / draw.size)


def test_the_older_names_are_still_there():
    from kernels import entropy, local_reparametrization, soft_table

    assert entropy.soft_assign is soft_entropy.soft_assign and entropy.ecsq is soft_entropy.ecsq
    assert soft_table.tabulate is table.tabulate
    assert local_reparametrization.dense is reparametrization.dense
