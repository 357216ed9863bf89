"""Graphs are symmetric as their formulas say, products are those of matrices, components are counted exactly."""

import functools

import jax
import numpy as np
import pytest
import scipy.sparse

from kernels import spectral
from kernels.spectral import row_sums
from tests.kernels.oracles import spectral as oracle
from tests.kernels.spectral.points import cliques, graph_of, path, samples


@functools.cache
def neighbors() -> spectral.Neighbors:
    """Of 80 samples with hubs: a centre that all others are near to, and some copies."""
    x = samples()[100:180].copy()
    x[:3] = x.mean(0)
    return spectral.knn(x, 8)


def dense(graph) -> np.ndarray:
    return scipy.sparse.coo_matrix(
        (np.asarray(graph.weight, np.float64), (np.asarray(graph.row), np.asarray(graph.column))),
        shape=(len(graph.degree),) * 2,
    ).toarray()


@pytest.mark.parametrize("weights", ["binary", "gaussian", "self_tuning"])
@pytest.mark.parametrize("symmetrize", ["mean", "union", "mutual"])
def test_weights_are_those_of_the_formula(symmetrize, weights):
    sigma = 2.0 if weights == "gaussian" else None
    graph = spectral.affinity(neighbors(), symmetrize, weights, sigma)
    index, distance = (np.asarray(one) for one in neighbors())
    expected = oracle.affinity(index, distance, symmetrize, weights, sigma)
    np.testing.assert_allclose(dense(graph), expected, rtol=2e-5, atol=1e-12)
    np.testing.assert_allclose(graph.degree, expected.sum(1), rtol=1e-5)
    np.testing.assert_allclose(spectral.degrees(graph), expected.sum(1), rtol=1e-5)
    place = np.asarray(graph.row).astype(np.int64) * 80 + np.asarray(graph.column)
    assert (np.diff(place) >= 0).all() and graph.row.dtype == np.int32
    edges = place[np.asarray(graph.weight) > 0]
    assert len(set(edges)) == len(edges) == np.count_nonzero(expected)


def test_a_width_of_its_own():
    """Without a sigma, the median distance to the last neighbour."""
    sigma = float(np.median(np.asarray(neighbors().distance)[:, -1]))
    one = spectral.affinity(neighbors(), weights="gaussian")
    np.testing.assert_allclose(one.weight, spectral.affinity(neighbors(), "mean", "gaussian", sigma).weight, rtol=1e-5)


def test_copies_have_weight_one_among_them():
    """Where the scale is 0: no 0/0."""
    x = np.ones((12, 3), np.float32)
    x[11] = 5
    for weights in ("gaussian", "self_tuning"):
        graph = spectral.affinity(spectral.knn(x, 3), "union", weights)
        matrix = dense(graph)
        assert np.isfinite(matrix).all() and matrix[0, 1] == 1 and not matrix[11, :].any()


@pytest.mark.filterwarnings("ignore:all weights")
def test_weights_that_vanish_are_said():
    x = np.array([[0.0], [1.0], [2.0], [1000.0]], np.float32)
    with pytest.warns(UserWarning, match="all weights of 1 samples of 4 vanish, numbers 3: .*larger sigma"):
        graph = spectral.affinity(spectral.knn(x, 2), weights="gaussian", sigma=1.0)
    assert int(spectral.connected_components(graph).count) == 2


def test_all_pairs():
    distances = spectral.pairwise_distance(samples()[100:130], samples()[100:130])
    weights = np.asarray(spectral.dense_affinity(distances, 2.0))
    expected = np.exp(-(np.asarray(distances, np.float64) ** 2) / 8)
    np.testing.assert_allclose(weights, expected * (1 - np.eye(30)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["symmetric", "random_walk"])
@pytest.mark.parametrize("symmetrize", ["mean", "mutual"])
def test_laplacians(kind, symmetrize):
    graph = spectral.affinity(neighbors(), symmetrize)
    np.testing.assert_allclose(spectral.laplacian(graph, kind), oracle.laplacian(dense(graph), kind), atol=1e-6)


def test_products_are_those_of_the_matrix():
    x = np.random.default_rng(0).standard_normal((80, 3)).astype(np.float32)
    graph = spectral.affinity(neighbors(), "mutual")
    expected = oracle.laplacian(dense(graph)) @ x
    for form in (graph, dense(graph).astype(np.float32)):
        np.testing.assert_allclose(spectral.laplacian_matvec(form, x), expected, atol=1e-5)
        np.testing.assert_allclose(spectral.laplacian_matvec(form, x[:, 0]), expected[:, 0], atol=1e-5)
        has_edges = (np.asarray(graph.degree) > 0)[:, None]
        np.testing.assert_allclose(spectral.normalized_matvec(form, x), x * has_edges - expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [(0, 1, 8, 9, 33, 0), (300,), (1, 1, 1), (0, 0, 700, 2, 0)])
def test_sums_of_rows_of_any_length(sizes):
    """Levels of 8, then 4: also rows without entries, and one that holds nearly all."""
    row = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    values = np.random.default_rng(0).standard_normal((len(row), 2)).astype(np.float32)
    for levels in (row_sums.levels_for(max(sizes)), row_sums.levels_for(max(sizes)) + 1):
        plan = row_sums.plan(jax.numpy.asarray(row), len(sizes), levels)
        expected = np.zeros((len(sizes), 2))
        np.add.at(expected, row, values.astype(np.float64))
        np.testing.assert_allclose(row_sums.summed(plan, jax.numpy.asarray(values)), expected, atol=1e-4)


@pytest.mark.parametrize(
    "weights",
    [cliques((4, 9, 1, 6)), path(50), cliques((1,) * 5), path(40)[:, ::-1][::-1], np.roll(path(60), 13, (0, 1))],
    ids=["cliques", "path", "no edges", "backwards", "rolled"],
)
def test_components_are_those_of_a_search(weights):
    count, labels = oracle.components(weights)
    shuffled = np.random.default_rng(0).permutation(len(weights))
    for order in (np.arange(len(weights)), shuffled):
        one = weights[np.ix_(order, order)]
        expected_count, expected = oracle.components(one)
        for form in (graph_of(one), one.astype(np.float32)):
            result = spectral.connected_components(form)
            assert int(result.count) == expected_count == count
            np.testing.assert_array_equal(result.labels, expected)  # both by first vertex
    assert len(set(labels)) == count


def test_entries_without_weight_connect_nothing():
    graph = graph_of(cliques((3, 3)))
    row, column = np.append(graph.row, [2, 3]), np.append(graph.column, [3, 2])
    order = np.lexsort((column, row))
    weight = np.append(graph.weight, [0, 0])
    graph = spectral.Graph(*(jax.numpy.asarray(one[order]) for one in (row, column, weight)), graph.degree)
    assert int(spectral.connected_components(graph).count) == 2


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda n: spectral.affinity(n, "maximum"), "symmetrize='maximum': expected one of mean, union, mutual"),
        (lambda n: spectral.affinity(n, weights="cosine"), "weights='cosine': expected one of binary"),
        (lambda n: spectral.affinity(n, sigma=1.0), 'sigma=1.0: expected None with weights="binary"'),
        (
            lambda n: spectral.affinity(n._replace(distance=-n.distance)),
            "negative distances, or ones .*for samples 0, 1",
        ),
        (lambda n: spectral.affinity(n._replace(index=n.index + 40)), "neighbors lead beyond the 80 samples"),
        (lambda n: spectral.affinity(n._replace(index=n.index[:, :2])), "neighbors have indices of shape"),
        (lambda n: spectral.dense_affinity(-np.eye(4, dtype="f"), 1.0), "distances is negative for samples 0, 1, 2, 3"),
        (lambda n: spectral.dense_affinity(np.triu(np.ones((3, 3), "f")), 1.0), "distances is not symmetric"),
        (lambda n: spectral.dense_affinity(np.ones((3, 4), "f"), 1.0), "distances is float32 of shape"),
        (lambda n: spectral.laplacian(np.eye(3, dtype="f"), "unnormalised"), "kind='unnormalised': expected one of"),
    ],
)
def test_what_is_no_graph_is_refused(call, match, unchecked):
    with pytest.raises(ValueError, match=match):
        call(neighbors())
