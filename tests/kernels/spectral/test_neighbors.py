"""Neighbours are those of brute force in float64, with ties by index, for any block; distances to 1e-6."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import spectral
from kernels.spectral import neighbors
from tests.kernels.oracles import spectral as oracle
from tests.kernels.spectral.points import K, N, brute, samples


@functools.cache
def searched(block) -> tuple[np.ndarray, np.ndarray]:
    result = spectral.knn(samples(), K, block=block)
    return np.asarray(result.index), np.asarray(result.distance)


@pytest.mark.parametrize("block", [None, 77, 9])
def test_they_are_those_of_brute_force(block):
    """77 does not divide 500; 9 is less than the candidates."""
    index, distance = searched(block)
    expected, distances = brute()
    assert index.dtype == np.int32 and distance.dtype == np.float32
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, distances, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(distance, searched(None)[1])


def test_neither_is_a_sample_its_own_neighbour_nor_a_duplicate_forgotten():
    index, distance = searched(None)
    assert not (index == np.arange(N)[:, None]).any()
    assert (distance[0] == 0).all() and index[0].tolist() == [3, 10, 17, 24, 31, 38, 45, 52, 59, 66]


def test_clusters_far_narrower_than_the_whole():
    """Products lose all digits of distances here: differences decide."""
    rng = np.random.default_rng(1)
    x = (1000 * rng.standard_normal((3, 8))[np.arange(90) % 3] + 1e-2 * rng.standard_normal((90, 8))).astype(np.float32)
    result = spectral.knn(x, 4)
    distances = np.sqrt(oracle.squares(x, x))
    np.testing.assert_array_equal(result.index, oracle.nearest(distances, 4, is_own=True))
    np.testing.assert_allclose(result.distance, np.take_along_axis(distances, np.asarray(result.index), 1), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_squares_beyond_single_precision(scale):
    x = samples()[200:260, :3]
    plain, scaled = spectral.knn(x, 3), spectral.knn((x * np.float32(scale)).astype(np.float32), 3)
    np.testing.assert_array_equal(plain.index, scaled.index)
    np.testing.assert_allclose(scaled.distance, plain.distance * np.float32(scale), rtol=1e-5)


def test_all_samples_the_same():
    result = spectral.knn(np.ones((40, 5), np.float32), 3)
    assert not np.asarray(result.distance).any()
    assert np.asarray(result.index)[[0, 1, 5]].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 2]]


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "correlation", "cityblock", "chebyshev"])
def test_other_metrics(metric):
    x = samples()[280:330]
    result = spectral.knn(x, 5, metric, block=16)
    distances = np.array([[oracle.distance(a, b, metric) for b in x] for a in x])
    # Copies in float64 are not at 0 exactly; on a grid of 1e-9 they are.
    expected = oracle.nearest(np.round(distances, 9), 5, is_own=True)
    np.testing.assert_array_equal(result.index, expected)
    np.testing.assert_allclose(
        result.distance,
        np.take_along_axis(distances, expected, 1),
        rtol=2e-6,
        atol=1e-9 if metric != "cosine" else 1e-7,
    )


def test_structural_similarity_is_a_distance_here():
    """The most similar map is the nearest."""
    maps = np.random.default_rng(2).random((12, 9, 8)).astype(np.float32)
    maps[7] = maps[2] + 0.01
    rows = maps.reshape(12, -1)
    span = float(rows.max() - rows.min())
    expected = np.array([[1 - oracle.ssim(a, b, span) for b in maps] for a in maps])
    distances = spectral.pairwise_distance(rows, rows, "ssim", shape=(9, 8))
    np.testing.assert_allclose(distances, expected, atol=2e-5)
    result = spectral.knn(rows, 2, "ssim", block=5, shape=(9, 8))
    assert int(result.index[2, 0]) == 7 and int(result.index[7, 0]) == 2
    np.testing.assert_allclose(result.distance[:, 0], np.sort(expected + 9 * np.eye(12))[:, 0], atol=2e-5)


def test_a_function_of_two_blocks():
    def lengths(a, b):
        return jnp.abs(jnp.sum(a, 1)[:, None] - jnp.sum(b, 1)[None])

    x = samples()[100:140]
    result = spectral.knn(x, 3, lengths, block=7)
    sums = np.asarray(jnp.sum(x, 1)).astype(np.float64)
    distances = abs(sums[:, None] - sums)
    np.testing.assert_allclose(result.distance, np.sort(distances + 1e9 * np.eye(40))[:, :3], atol=1e-5)
    for wrong in (lambda a, b: -lengths(a, b), lambda a, b: lengths(a, b) * jnp.nan):
        with pytest.raises(ValueError, match="metric gives negative or NaN distances for .* samples of 40, numbers 0"):
            spectral.knn(x, 3, wrong)
        with pytest.raises(ValueError, match="metric gives negative or NaN distances"):
            spectral.pairwise_distance(x, x + 1, wrong)
    with pytest.raises(ValueError, match="metric returns shape"):
        spectral.knn(x, 3, lambda a, b: a)


def test_between_two_sets():
    x = samples()
    result = spectral.knn_between(x[:30], x[200:], 4, block=64)
    distances = np.sqrt(oracle.squares(x[:30], x[200:]))
    np.testing.assert_array_equal(result.index, oracle.nearest(distances, 4, is_own=False))
    assert int(spectral.knn_between(x[250:251], x[200:], 1).index[0, 0]) == 50


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "correlation", "cityblock", "chebyshev"])
def test_distances_of_all_pairs(metric):
    x = samples()[:7] * np.float32(1e-3) + np.float32(0.5)  # far from the origin, as maps that are all positive
    y = samples()[100:105] * np.float32(1e-3) + np.float32(0.5)
    expected = np.array([[oracle.distance(a, b, metric) for b in y] for a in x])
    result = spectral.pairwise_distance(x, y, metric)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=1e-7)
    assert (np.asarray(spectral.pairwise_distance(x, x, metric)) >= 0).all()


def test_selection_keeps_ties_by_column():
    values = np.random.default_rng(3).integers(0, 6, (20, 333)).astype(np.float32)
    least, columns = neighbors.smallest(jnp.asarray(values), 5)
    expected = np.argsort(values, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(least, np.take_along_axis(values, expected, 1))


def test_double_precision():
    with jax.enable_x64(True):
        x = samples()[:60].astype(np.float64) + 1e-9 * np.arange(60)[:, None]
        result = spectral.knn(x, 4)
        distances = np.sqrt(oracle.squares(x, x))
        assert result.distance.dtype == np.float64
        np.testing.assert_array_equal(result.index, oracle.nearest(distances, 4, is_own=True))
        np.testing.assert_allclose(
            result.distance, np.take_along_axis(distances, np.asarray(result.index), 1), rtol=1e-13
        )


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_gradients_are_finite_where_rows_are_the_same(metric):
    x, direction = np.random.default_rng(3).standard_normal((2, 12, 4))
    x[[3, 5]], direction[[3, 5]] = [1.0, 1.5, 1.0, 2.0], 0.0

    def of_all(x):
        return jnp.sum(spectral.pairwise_distance(x, x, metric))

    def of_nearest(x):
        return jnp.sum(spectral.knn(x, 3, metric).distance)

    for function in (of_all, of_nearest):
        assert np.isfinite(np.asarray(jax.grad(function)(x.astype(np.float32)))).all()
        with jax.enable_x64(True):
            gradient = np.asarray(jax.grad(function)(jnp.asarray(x)))
            slope = (function(x + 1e-5 * direction) - function(x - 1e-5 * direction)) / 2e-5
        assert np.isfinite(gradient).all()
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=2e-2)


def test_rows_of_zeros_have_a_gradient():
    gradient = jax.grad(lambda x: jnp.sum(spectral.normalize_rows(x)))(jnp.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(gradient[1], [0.2 * 16 / 25 - 12 / 125, 9 / 125 - 12 / 125], atol=1e-6)
    assert np.isfinite(np.asarray(gradient)).all()


def test_wide_blocks_are_those_of_any_other(monkeypatch):
    """Without a block: several of columns, of a width that is a multiple of its groups."""
    monkeypatch.setattr(neighbors, "WIDEST", 210)
    monkeypatch.setattr(neighbors, "BLOCK", 100)
    x = jnp.asarray(samples()[:431])
    wide = neighbors.search(x, x, 9, "euclidean", None, None, True)
    square = spectral.knn(x, 9, block=77)
    np.testing.assert_array_equal(wide.index, square.index)
    np.testing.assert_array_equal(wide.distance, square.distance)


def test_more_neighbours_than_there_are():
    with pytest.warns(UserWarning, match="k=9: 5 samples have 4 neighbours each"):
        result = spectral.knn(samples()[10:15], 9)
    assert result.index.shape == (5, 4)


def test_what_cannot_have_neighbours_is_refused(unchecked):
    x = samples()[:6].copy()
    x[[1, 4]] = 0
    with pytest.raises(ValueError, match="x is zero throughout in 2 samples of 6, numbers 1, 4: cosine"):
        spectral.knn(x, 2, "cosine")
    x[[1, 4]] = 3
    with pytest.raises(ValueError, match="x is of one value throughout in 2 samples of 6, numbers 1, 4: correlation"):
        spectral.knn(x, 2, "correlation")
    x[4, 2] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinite values in 1 samples of 6, numbers 4"):
        spectral.knn(x, 2)
    for empty in ([], np.zeros((0, 4), np.float32), np.zeros((4, 0), np.float32)):
        with pytest.raises(ValueError, match=r"x is empty, of shape \(.*\): expected at least 3 samples"):
            spectral.knn(empty, 1)
    for words in (["a", "b"], np.array([["a"], ["b"], ["c"]]), [[1.0], [2.0, 3.0]], None):
        with pytest.raises(ValueError, match="x is .*: expected an array of float32 or float64"):
            spectral.knn(words, 1)
    with pytest.raises(ValueError, match="x has 2 samples: expected at least 3"):
        spectral.knn(samples()[:2], 1)
    with pytest.raises(KeyError, match="metric='manhattan': expected one of euclidean, .*ssim, or a function"):
        spectral.knn(samples(), 1, "manhattan")
    with pytest.raises(ValueError, match=r"shape=None: metric=.ssim. needs the \(height, width\) of maps of 12"):
        spectral.knn(samples(), 1, "ssim")
    with pytest.raises(ValueError, match=r"shape=\(5, 2\): expected a height and a width with the product 12"):
        spectral.knn(samples(), 1, "ssim", shape=(5, 2))
    with pytest.raises(ValueError, match="y is .* expected rows of one length"):
        spectral.pairwise_distance(samples(), samples()[:, :3])
