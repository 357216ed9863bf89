"""The gap of a spectrum, k-means beside scikit-learn, agreement of labels, and the whole way to two strategies."""

import functools

import jax
import numpy as np
import pytest
import sklearn.cluster
import sklearn.metrics

from kernels import spectral
from tests.kernels.oracles import spectral as oracle
from tests.kernels.spectral.points import blobs

KEY = jax.random.key(0)


def test_the_largest_gap():
    rng = np.random.default_rng(0)
    for _ in range(5):
        values = np.sort(rng.random(20)).astype(np.float32)
        gap = spectral.eigengap(values, k_max=12)
        assert int(gap.k) == oracle.eigengap(values, 12) == int(gap.largest[0])
        np.testing.assert_allclose(gap.gaps, np.diff(values)[:12], atol=1e-6)
        assert (np.diff(np.asarray(gap.gaps)[np.asarray(gap.largest) - 1]) <= 0).all() and gap.largest.shape == (3,)


def test_relative_gaps_and_the_default_end():
    values = np.array([0, 0.001, 0.2, 0.3, 0.31], np.float32)
    gap = spectral.eigengap(values, n=100)
    np.testing.assert_allclose(gap.relative, np.diff(values) / np.maximum(values[:-1], 0.01), rtol=1e-4)
    assert int(gap.k) == 2 and int(gap.components) == -1 and not bool(gap.is_cut)
    assert spectral.eigengap(np.linspace(0, 1, 40, dtype=np.float32) ** 0.5).gaps.shape == (16,)


def test_one_strategy_is_an_answer():
    assert int(spectral.eigengap(np.array([0, 0.5, 0.6, 0.65], np.float32), components=1).k) == 1


def test_a_gap_at_the_cut_is_said():
    with pytest.warns(UserWarning, match="K=3 is read at the cut of a spectrum of 4 eigenvalues: larger gaps may lie"):
        gap = spectral.eigengap(np.array([0, 0.01, 0.02, 0.9], np.float32))
    assert bool(gap.is_cut)
    with pytest.warns(UserWarning, match="of 4 eigenvalues, and there are 7 components: .*compute more"):
        gap = spectral.eigengap(np.zeros(4, np.float32), components=7)
    assert bool(gap.is_cut) and int(gap.components) == 7


def test_rounding_among_the_zeros_is_no_gap():
    values = np.array([-1e-6, 1e-6, 3e-6, 3.1e-6, 3.2e-6], np.float32)
    assert int(spectral.eigengap(values, k_max=3, components=3).k) == 3


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([0.0, np.nan, 1.0], "eigenvalues hold 1 NaN"),
        ([1.0, 0.5, 0.2], "eigenvalues fall from 1 to 0.5 at number 1: .*ascending"),
        ([1.0], "expected at least two"),
    ],
)
def test_what_is_no_spectrum_is_refused(values, match):
    with pytest.raises(ValueError, match=match):
        spectral.eigengap(np.array(values, np.float32))


@functools.cache
def cloud() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.standard_normal((600, 3)) + 2.5 * rng.standard_normal((9, 3))[rng.integers(0, 9, 600)]).astype(
        np.float32
    )


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_inertia_is_that_of_scikit_learn(seed):
    clusters = spectral.kmeans(cloud(), (3, 6, 8), jax.random.key(seed))
    for number, inertia, labels, centers, sizes in zip((3, 6, 8), *[np.asarray(one) for one in (
        clusters.inertia, clusters.labels, clusters.centers, clusters.sizes)], strict=True):  # fmt: skip
        best = sklearn.cluster.KMeans(number, n_init=10, random_state=seed).fit(cloud()).inertia_
        assert inertia <= 1.001 * best
        squares = oracle.squares(cloud(), centers[:number])
        np.testing.assert_array_equal(labels, squares.argmin(1))
        np.testing.assert_allclose(inertia, squares.min(1).sum(), rtol=1e-4)
        np.testing.assert_array_equal(sizes, np.bincount(labels, minlength=8))
        assert (np.diff(sizes) <= 0).all() and not centers[number:].any()


def test_one_k_is_one_of_several():
    one = spectral.kmeans(cloud(), 3, KEY)
    assert one.labels.shape == (600,) and one.centers.shape == (3, 3) and one.inertia.shape == ()
    assert spectral.kmeans(cloud(), (3,), KEY, 2).labels.shape == (1, 600)


@pytest.mark.parametrize("k", [4, 7])
def test_a_cluster_that_empties_is_seeded_again(k):
    """Of k distinct samples, many times each, every one has its cluster."""
    x = np.repeat(np.random.default_rng(0).standard_normal((k, 2)).astype(np.float32) * [[1, 100]], 20, axis=0)
    clusters = spectral.kmeans(x.astype(np.float32), k, KEY)
    assert (np.asarray(clusters.sizes) == 20).all() and float(clusters.inertia) < 1e-3
    np.testing.assert_array_equal(clusters.labels, np.repeat(np.arange(k), 20))  # of one size: by first sample


def test_fewer_distinct_samples_than_clusters():
    with pytest.warns(UserWarning, match="k=3: 1 clusters are empty, as x has fewer distinct samples"):
        clusters = spectral.kmeans(np.array([[1.0], [2.0], [1.0], [1.0]], np.float32), 3, KEY)
    assert np.asarray(clusters.sizes).tolist() == [3, 1, 0] and np.isfinite(np.asarray(clusters.centers)).all()
    assert not np.asarray(spectral.kmeans(np.zeros((5, 2), np.float32), 1, KEY).labels).any()


def test_bad_numbers_of_clusters():
    for k, match in ((601, "k=601: expected an integer from 1 to 600"), ((), "at least one"), ((2, 0), "k=0")):
        with pytest.raises(ValueError, match=match):
            spectral.kmeans(cloud(), k, KEY)
    with pytest.raises(ValueError, match="x holds NaN or infinite values in 1 samples of 3, numbers 2"):
        spectral.kmeans(np.array([[1], [2], [np.nan]], np.float32), 2, KEY)


def test_agreement(unchecked):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 40), rng.integers(-1, 3, 40)
    assert spectral.adjusted_rand_index(a, b) == pytest.approx(oracle.rand_index(a, b), abs=1e-12)
    large = rng.integers(0, 9, 5000), rng.integers(0, 5, 5000)
    assert spectral.adjusted_rand_index(*large) == pytest.approx(sklearn.metrics.adjusted_rand_score(*large), abs=1e-12)
    assert spectral.adjusted_rand_index(a, 7 - a) == 1.0 == spectral.adjusted_rand_index(a * 0, a * 0)
    for wrong in (a[:3], a.astype(float), a[:0]):
        with pytest.raises(ValueError, match="expected integers"):
            spectral.adjusted_rand_index(a, wrong)
    with pytest.raises(ValueError, match="a has 0 labels, b 0"):
        spectral.adjusted_rand_index(a[:0], [])
    with pytest.raises(ValueError, match="a is traced: adjusted_rand_index counts on the host; call it outside jit"):
        jax.jit(spectral.adjusted_rand_index)(a, b)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_strategies_come_out(seed):
    """Far apart: as components. Nearer: by the gap."""
    for spread in (20.0, 8.0):
        x, labels = blobs(90, 2, seed=seed, spread=spread)
        embedding = spectral.spectral_embedding(spectral.affinity(spectral.knn(x, 10)), 8, KEY)
        k = int(spectral.eigengap(embedding.eigenvalues, components=embedding.components).k)
        clusters = spectral.kmeans(spectral.normalize_rows(embedding.vectors[:, :2]), 2, KEY)
        assert k == 2 and spectral.adjusted_rand_index(clusters.labels, labels) >= 0.99
