"""The table of soft labels against exact soft labels, and its own consistency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import soft_entropy as entropy
from kernels.soft_entropy import table as soft_table

GRID = jnp.asarray(entropy.symmetric_grid(0.5, 9), jnp.float32)
GAP = 0.125
LATENT = jnp.asarray(np.random.default_rng(0).laplace(0, 0.1, (50, 40)), jnp.float32).clip(-0.5, 0.5)


def beta_of(sharpness):
    return 2 * sharpness / GAP**2


@pytest.mark.parametrize(("sharpness", "tolerance"), [(2, 1e-4), (10, 1e-3), (40, 1e-2)])
def test_moments_and_counts_are_those_of_soft_labels(sharpness, tolerance):
    soft = entropy.soft_assign(LATENT, GRID, beta_of(sharpness))
    mean, variance = entropy.moments(soft, GRID)
    table = soft_table.tabulate(GRID, beta_of(sharpness), 2048)
    place = soft_table.locate(table, LATENT)
    found_mean, found_variance = soft_table.lookup_moments(table, place)
    np.testing.assert_allclose(found_mean, mean, rtol=0, atol=tolerance * GAP)
    np.testing.assert_allclose(found_variance, variance, rtol=0, atol=tolerance * GAP**2)
    counts = soft_table.expected_counts(table, place)
    np.testing.assert_allclose(counts, soft.reshape(-1, 9).sum(axis=0), rtol=0, atol=tolerance * LATENT.size)
    np.testing.assert_allclose(counts.sum(), LATENT.size, rtol=1e-5)
    zeros = soft_table.lookup(table.probabilities[:, 4], place)
    np.testing.assert_allclose(zeros, soft[..., 4], rtol=0, atol=3 * tolerance)


def test_moments_belong_to_the_interpolated_probabilities():
    table = soft_table.tabulate(GRID, beta_of(40), 64)  # so coarse that interpolation shows
    place = soft_table.locate(table, LATENT)
    columns = [soft_table.lookup(table.probabilities[:, k], place) for k in range(9)]
    soft = jnp.stack(columns, axis=-1)
    np.testing.assert_allclose(soft.sum(axis=-1), 1, rtol=1e-5)
    mean, variance = entropy.moments(soft, GRID)
    actual = soft_table.lookup_moments(table, place)
    np.testing.assert_allclose(actual[0], mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(actual[1], variance, rtol=0, atol=1e-6)
    assert (actual[1] >= 0).all()
    np.testing.assert_allclose(soft_table.expected_counts(table, place), soft.reshape(-1, 9).sum(axis=0), rtol=1e-4)
    half = soft_table.expected_counts(table, place, jnp.full(LATENT.shape, 0.5))
    np.testing.assert_allclose(half, soft.reshape(-1, 9).sum(axis=0) / 2, rtol=1e-4)


def test_gradients_are_those_of_soft_labels():
    weights = jnp.asarray(np.random.default_rng(1).normal(size=LATENT.shape), jnp.float32)

    def exact(v, grid, beta):
        soft = entropy.soft_assign(v, grid, beta)
        mean, variance = entropy.moments(soft, grid)
        return 1e-3 * entropy.relaxed_bits(soft) + jnp.sum(weights * mean) + jnp.sum(variance)

    def tabulated(v, grid, beta):
        table = soft_table.tabulate(grid, beta, 4096)
        place = soft_table.locate(table, v)
        mean, variance = soft_table.lookup_moments(table, place)
        bits = entropy.bits_of_counts(soft_table.expected_counts(table, place))
        return 1e-3 * bits + jnp.sum(weights * mean) + jnp.sum(variance)

    inside = LATENT.clip(-0.49, 0.49)
    arguments = (inside, GRID, jnp.float32(beta_of(3)))
    expected = jax.grad(exact, argnums=(0, 1, 2))(*arguments)
    actual = jax.grad(tabulated, argnums=(0, 1, 2))(*arguments)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-3 * float(jnp.abs(other).max()))


def test_weights_beyond_the_grid_count_as_its_end():
    table = soft_table.tabulate(GRID, beta_of(40))
    place = soft_table.locate(table, jnp.asarray([-3.0, 3.0, 0.0]))
    np.testing.assert_allclose(soft_table.lookup_moments(table, place)[0], [-0.5, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(soft_table.expected_counts(table, place)[jnp.asarray([0, 4, 8])], 1, atol=1e-5)
