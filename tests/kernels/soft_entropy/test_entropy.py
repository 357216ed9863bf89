"""Entropy of soft and hard labels against float64 oracles, finite differences, limits, and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import soft_entropy as entropy
from tests.kernels.oracles import entropy as oracle

GRID = entropy.symmetric_grid(0.5, 9)
LATENT = np.random.default_rng(0).laplace(0, 0.1, (6, 8))
BETA = 2 * 3.0 / (GRID[1] - GRID[0]) ** 2


@pytest.fixture
def wide():
    """64-bit mode for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def numerical(function, x, epsilon=1e-6):
    """Central differences of a scalar function of an array."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        shift = np.zeros(x.shape)
        shift[index] = epsilon
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * epsilon)
    return gradient


def test_soft_labels_and_their_size_in_float64(wide):
    soft = entropy.soft_assign(LATENT, GRID, BETA)
    expected = oracle.soft_assign(LATENT, GRID, BETA)
    assert soft.shape == (6, 8, 9) and soft.dtype == jnp.float64
    np.testing.assert_allclose(soft.reshape(-1, 9), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(entropy.relaxed_bits(soft), oracle.relaxed_bits(expected), rtol=1e-12)
    flat = soft.reshape(-1, 9)
    np.testing.assert_allclose(entropy.conditional_bits(flat), oracle.conditional_bits(expected, 4), rtol=1e-12)
    mean, variance = entropy.moments(soft, jnp.asarray(GRID))
    np.testing.assert_allclose(mean.reshape(-1), expected @ GRID, rtol=1e-10, atol=1e-14)
    second = expected @ GRID**2 - (expected @ GRID) ** 2
    np.testing.assert_allclose(variance.reshape(-1), second, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-6), pytest.param(np.float32, 1e-4, marks=pytest.mark.slow)]
)
def test_gradients_are_the_formulas_and_the_differences(wide, dtype, tolerance):
    latent, grid = LATENT.astype(dtype), GRID.astype(dtype)

    def bits(v):
        return entropy.relaxed_bits(entropy.soft_assign(v, jnp.asarray(grid), dtype(BETA)))

    actual = jax.grad(bits)(jnp.asarray(latent))
    assert actual.dtype == dtype
    formula = oracle.gradient_by_latent(LATENT, GRID, BETA)
    differences = numerical(lambda v: oracle.relaxed_bits(oracle.soft_assign(v, GRID, BETA)), LATENT)
    scale = np.abs(formula).max()
    np.testing.assert_allclose(formula, differences, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(actual, formula, rtol=0, atol=tolerance * scale)

    logits = np.random.default_rng(1).normal(size=(20, 5))
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_logits = jax.grad(lambda t: entropy.relaxed_bits(jax.nn.softmax(t)))(jnp.asarray(logits, dtype))
    expected = oracle.gradient_by_logits(soft)
    np.testing.assert_allclose(by_logits, expected, rtol=0, atol=tolerance * np.abs(expected).max())

    def of_logits(t):
        powers = np.exp(t)
        return oracle.relaxed_bits(powers / powers.sum(axis=1, keepdims=True))

    np.testing.assert_allclose(expected, numerical(of_logits, logits), rtol=0, atol=1e-6 * np.abs(expected).max())


def test_gradient_by_probability_up_to_a_constant(wide):
    soft = oracle.soft_assign(LATENT, GRID, BETA)
    actual = np.asarray(jax.grad(entropy.relaxed_bits)(jnp.asarray(soft)))
    expected = oracle.gradient_by_probability(soft)
    np.testing.assert_allclose(actual - actual.mean(), np.tile(expected - expected.mean(), (len(soft), 1)), rtol=1e-9)


@pytest.mark.parametrize("chunk", [7, 16, pytest.param(1000, marks=pytest.mark.slow)])
def test_chunks_change_nothing(wide, chunk):
    v, w = jnp.asarray(LATENT), jnp.asarray(GRID)
    whole = jax.value_and_grad(lambda *a: entropy.relaxed_bits(entropy.soft_assign(*a)), argnums=(0, 1, 2))
    pieces = jax.value_and_grad(lambda *a: entropy.relaxed_bits_chunked(*a, chunk), argnums=(0, 1, 2))
    expected, gradients = whole(v, w, jnp.float64(BETA))
    actual, by_chunks = pieces(v, w, jnp.float64(BETA))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    for one, other in zip(by_chunks, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * float(jnp.abs(other).max()))


def test_chunked_memory():
    n, levels, chunk = 1 << 20, 33, 1 << 13
    gradient = jax.jit(jax.grad(lambda v, w, b: entropy.relaxed_bits_chunked(v, w, b, chunk)))
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((n,), (levels,), ())]
    used = gradient.lower(*shapes).compile().memory_analysis()
    # One chunk x K, forwards and backwards, and no more than 3 n beside it.
    assert used.temp_size_in_bytes + used.output_size_in_bytes <= 4 * (3 * n + 4 * chunk * levels)
    assert used.temp_size_in_bytes < 4 * n * levels / 10


def test_limits(wide):
    hard = oracle.soft_assign(LATENT, GRID, 1e6).argmax(axis=1)
    sharp = entropy.relaxed_bits(entropy.soft_assign(LATENT, GRID, 1e6))
    np.testing.assert_allclose(sharp, entropy.empirical_bits(hard), rtol=1e-6)
    assert entropy.relaxed_bits(jnp.ones((10, 1))) == 0
    np.testing.assert_allclose(entropy.relaxed_bits(jnp.full((10, 7), 1 / 7)), 10 * np.log2(7))
    for beta in (0.1, 10, 1000):
        soft = entropy.soft_assign(LATENT, GRID, beta).reshape(-1, 9)
        bits = float(entropy.relaxed_bits(soft))
        assert 0 <= bits <= len(soft) * np.log2(9)
        order = np.random.default_rng(2).permutation(len(soft))
        np.testing.assert_allclose(entropy.relaxed_bits(soft[order]), bits)
        np.testing.assert_allclose(entropy.relaxed_bits(soft[:, ::-1]), bits)
        np.testing.assert_allclose(entropy.relaxed_bits(jnp.concatenate([soft, soft])), 2 * bits)
        assert entropy.conditional_bits(soft) <= bits + 1e-9


def test_unused_centroids_keep_a_finite_price():
    soft = jnp.asarray(np.eye(3, dtype=np.float32)[[0, 0, 0, 1]])
    gradient = np.asarray(jax.grad(entropy.relaxed_bits)(soft))
    np.testing.assert_allclose(gradient[0], [-np.log2(3 / 4), 2, 3], rtol=1e-6)  # the last: half a weight of four
    assert np.isfinite(
        jax.grad(lambda v: entropy.relaxed_bits(entropy.soft_assign(v, jnp.asarray(GRID), 1e6)))(LATENT)
    ).all()


def test_sampled_labels_cost_no_more_than_the_relaxation():
    soft = oracle.soft_assign(np.random.default_rng(3).laplace(0, 0.1, 400), GRID, BETA)
    generator = np.random.default_rng(4)
    steps = soft.cumsum(axis=1)
    draws = [(generator.random((len(soft), 1)) < steps).argmax(axis=1) for _ in range(300)]
    bits = np.array([entropy.empirical_bits(labels) for labels in draws])
    assert bits.mean() <= oracle.relaxed_bits(soft) + 3 * bits.std() / np.sqrt(len(bits))
    assert bits.mean() > 0.8 * oracle.relaxed_bits(soft)


@pytest.mark.parametrize("rate_weight", [0, 1e-4, 1e-3, 1e-2, 0.1])
def test_ecsq_never_rises(rate_weight):
    w = np.random.default_rng(5).laplace(0, 0.1, 3000)
    before = np.inf
    for iterations in range(1, 31):
        labels, centroids, shares = entropy.ecsq(w, 33, rate_weight, iterations)
        cost = np.mean((w - centroids[labels]) ** 2) + rate_weight * entropy.empirical_bits(labels) / w.size
        assert cost <= before * (1 + 1e-12)
        before = cost
        np.testing.assert_allclose(shares, np.bincount(labels, minlength=33) / w.size)
    assert centroids[16] == 0


def test_ecsq_without_a_price_is_lloyd():
    w = np.random.default_rng(6).normal(0, 1, 500)
    labels, centroids, _ = entropy.ecsq(w, 9, 0.0, 200)
    np.testing.assert_array_equal(labels, np.abs(w[:, None] - centroids).argmin(axis=1))
    for k in set(range(9)) - {4}:
        np.testing.assert_allclose(centroids[k], w[labels == k].mean())


def test_the_rule_is_the_exact_minimiser():
    generator = np.random.default_rng(7)
    for trial in range(20):
        w, centroids = generator.normal(0, 1, 8), np.array([-1.0, 0.0, 0.8])
        shares = generator.dirichlet([1, 3, 1]) if trial % 4 else np.array([0.0, 0.7, 0.3])
        price = float(generator.uniform(0.01, 1))
        labels = entropy.assign(w, centroids, shares, price)
        actual = oracle.cost(w, labels, centroids, shares, price)
        np.testing.assert_allclose(actual, oracle.best_labels_cost(w, centroids, shares, price), rtol=1e-12)


def test_ties_go_to_the_smaller_magnitude_then_the_lower_index():
    centroids, shares = np.array([-1.0, 0.0, 1.0, 1.0]), np.ones(4) / 4
    np.testing.assert_array_equal(entropy.assign([-0.5, 0.5, 1.0], centroids, shares, 0.0), [1, 1, 2])
    assert entropy.assign([0.0], np.array([-1.0, 1.0]), [0.5, 0.5], 0.0)[0] == 0


def test_huffman_lengths():
    np.testing.assert_array_equal(entropy.huffman_lengths([5, 2, 1, 0, 1]), [1, 2, 3, 0, 3])
    np.testing.assert_array_equal(entropy.huffman_lengths([0, 7, 0]), [0, 0, 0])
    for counts in np.random.default_rng(8).integers(0, 50, (30, 6)):
        lengths, used = entropy.huffman_lengths(counts), counts > 0
        bits = entropy.empirical_bits(np.repeat(np.arange(6), counts))
        assert bits <= counts @ lengths + 1e-9 and (counts @ lengths < bits + counts.sum() or used.sum() < 2)
        assert used.sum() < 2 or np.sum(2.0 ** -lengths[used]) == 1
    every = itertools.product(range(1, 5), repeat=4)  # no prefix code of four symbols is shorter
    shapes = [(1, 2, 3, 3), (2, 2, 2, 2)]
    for counts in itertools.islice(every, 0, None, 17):
        best = min(np.dot(sorted(counts, reverse=True), shape) for shape in shapes)
        assert np.dot(counts, entropy.huffman_lengths(counts)) == best


def test_empirical_bits():
    assert entropy.empirical_bits([3, 3, 3]) == 0 and entropy.empirical_bits(np.zeros(0, int)) == 0
    assert entropy.empirical_bits([0, 1, 2, 3], 4) == 8
    assert entropy.empirical_bits([-2, 5, -2, 5]) == 4


def test_levels_are_signed_ranks():
    centroids = np.array([0.3, -0.2, 0.0, 0.7, -0.9, 0.1], np.float32)
    labels = np.array([[2, 0, 4], [2, 5, 0]])  # 0.7 and -0.2 are not used
    levels, values = entropy.labels_to_levels(labels, centroids)
    np.testing.assert_array_equal(levels, [[0, 2, -1], [0, 1, 2]])
    np.testing.assert_array_equal(values, np.float32([-0.9, 0, 0.1, 0.3]))
    np.testing.assert_array_equal(values[levels - levels.min()], centroids[labels])
    levels, values = entropy.labels_to_levels(np.full(4, 2), centroids)
    assert not levels.any() and values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy.symmetric_grid(1.0, 8), "levels=8: expected an odd number of 3"),
        (lambda: entropy.symmetric_grid(1.0, 1), "levels=1: expected an integer of at least 3"),
        (lambda: entropy.ecsq([1.0], 4, name="fc1"), "'fc1': levels=4: expected an odd number"),
        (lambda: entropy.ecsq([np.nan], 3, name="fc1"), "'fc1' holds weights that are NaN"),
        (lambda: entropy.ecsq([], 3, name="fc1"), "'fc1' has no weights"),
        (lambda: entropy.ecsq([1.0], 3, -1.0, name="fc1"), "'fc1': rate_weight=-1.0"),
        (lambda: entropy.ecsq([1.0], centroids=[1.0, 2.0], name="fc1"), "'fc1': none of its 2"),
        (lambda: entropy.soft_assign(jnp.zeros(3), jnp.zeros(3), 0.0), "beta=0.0"),
        (lambda: entropy.soft_assign(jnp.zeros(0), jnp.zeros(3), 1.0), "needs weights"),
        (lambda: entropy.labels_to_levels([3], np.zeros(3)), "labels reach from 3"),
        (lambda: entropy.labels_to_levels([0], np.ones(3)), "exactly 0"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_assigning_to_nothing():
    with pytest.raises(ValueError, match="none of 2 centroids may be used"):
        entropy.assign(np.ones(2), [0.0, 1.0], [0.0, 0.0], 0.1)
    with pytest.raises(ValueError, match=r"shape \(2,\) need one probability each, not \(3,\)"):
        entropy.assign(np.ones(2), [0.0, 1.0], [0.2, 0.3, 0.5], 0.1)


def test_counts_beyond_half_precision():
    assert float(entropy.bits_of_counts(jnp.array([6e4, 6e4], jnp.float16))) == pytest.approx(1.2e5, rel=1e-3)
