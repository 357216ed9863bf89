"""Eigenpairs are those of the whole matrix, zeros are as many as components, copies are not missed."""

import functools

import jax
import numpy as np
import pytest

from kernels import spectral
from kernels.spectral import embedding as module
from tests.kernels.oracles import spectral as oracle
from tests.kernels.spectral.points import blobs, cliques, graph_of, path, samples

KEY = jax.random.key(0)


@functools.cache
def large() -> spectral.Graph:
    """400 samples in four clusters, beyond the size up to which the whole spectrum is computed."""
    return spectral.affinity(spectral.knn(blobs(400, 4, spread=4.0)[0], 8))


def spectrum(graph) -> tuple[np.ndarray, np.ndarray]:
    return np.linalg.eigh(oracle.laplacian(np.asarray(module.laplacians.matrix_of(graph), np.float64)))


@pytest.mark.parametrize("form", ["sparse", "dense", "whole"])
def test_it_is_that_of_the_whole_matrix(form):
    graph = large()
    if form == "dense":
        graph = module.laplacians.matrix_of(graph)
    if form == "whole":
        graph = spectral.affinity(spectral.knn(blobs(200, 4, spread=4.0)[0], 8))
    values, vectors = spectrum(graph)
    result = spectral.spectral_embedding(graph, 12, KEY)
    np.testing.assert_allclose(result.eigenvalues, values[:12], atol=1e-5)
    assert (np.asarray(result.residuals) <= 1e-5).all() and np.asarray(result.converged).all()
    np.testing.assert_allclose(np.asarray(result.vectors).T @ np.asarray(result.vectors), np.eye(12), atol=1e-4)
    for end in np.flatnonzero(np.diff(values[:13]) >= 1e-2) + 1:
        assert oracle.angle(result.vectors[:, :end], vectors[:, :end]) <= 1e-3
    largest = np.take_along_axis(np.asarray(result.vectors), abs(np.asarray(result.vectors)).argmax(0)[None], 0)
    assert (largest > 0).all()


def test_residuals_are_what_they_say():
    result = spectral.spectral_embedding(large(), 12, KEY)
    vectors, values = np.asarray(result.vectors, np.float64), np.asarray(result.eigenvalues, np.float64)
    matrix = oracle.laplacian(np.asarray(module.laplacians.matrix_of(large()), np.float64))
    actual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    np.testing.assert_allclose(result.residuals, actual, atol=2e-6)


def test_double_precision():
    with jax.enable_x64(True):
        graph = spectral.affinity(spectral.knn(blobs(400, 4, spread=4.0)[0].astype(np.float64), 8))
        values, _ = spectrum(graph)
        result = spectral.spectral_embedding(graph, 12, KEY)
        assert result.eigenvalues.dtype == np.float64
        np.testing.assert_allclose(result.eigenvalues, values[:12], atol=1e-6)
        assert (np.asarray(result.residuals) <= 1e-8).all()


@pytest.mark.parametrize("n", [30, 300])
def test_disjoint_cliques_have_a_zero_each(n):
    sizes = (n // 2, n // 3, n - n // 2 - n // 3)
    result = spectral.spectral_embedding(graph_of(cliques(sizes)), 5, KEY)
    values = np.asarray(result.eigenvalues)
    assert int(result.components) == 3 and not values[:3].any()
    np.testing.assert_allclose(values[3:], sizes[0] / (sizes[0] - 1), atol=1e-4)  # many times: the least of all
    assert int(spectral.eigengap(values, components=result.components).k) == 3
    # Rows of a clique are the same, and of different ones orthogonal.
    rows = np.asarray(spectral.normalize_rows(result.vectors[:, :3]))
    labels = np.repeat(np.arange(3), sizes)
    np.testing.assert_allclose(rows @ rows.T, labels[:, None] == labels, atol=1e-5)


@pytest.mark.parametrize("n", [20, 300])
def test_a_path(n):
    """1 - cos(pi j / (n - 1))."""
    with jax.enable_x64(n == 300):
        graph = graph_of(path(n))
        graph = graph._replace(weight=graph.weight.astype(float), degree=graph.degree.astype(float))
        q = 6 if n == 300 else 19
        result = spectral.spectral_embedding(graph, q, KEY)
        expected = 1 - np.cos(np.pi * np.arange(q) / (n - 1))
        np.testing.assert_allclose(result.eigenvalues, expected, atol=1e-6 if n == 300 else 1e-5)


@pytest.mark.parametrize("n", [10, 280])
def test_a_complete_graph_has_one_value_many_times(n):
    """0 and n/(n - 1): more copies than a block of the solver has columns."""
    result = spectral.spectral_embedding(cliques((n,)).astype(np.float32), 9 if n == 10 else 20, KEY)
    np.testing.assert_allclose(result.eigenvalues[1:], n / (n - 1), atol=1e-4)
    vectors = np.asarray(result.vectors)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(vectors.shape[1]), atol=1e-4)


@pytest.mark.slow
def test_copies_of_a_value_are_not_missed():
    """Twelve equal rings in one graph: each value below the bulk comes twelve times, or twice that."""
    ring = np.roll(np.eye(30), 1, axis=1)
    weights = np.kron(np.eye(12), ring + ring.T)
    hub = np.arange(12) * 30
    weights[np.ix_(hub, hub)] += 1e-3 * (1 - np.eye(12))  # one component
    values, _ = spectrum(weights)
    result = spectral.spectral_embedding(weights.astype(np.float32), 30, KEY)
    assert int(result.components) == 1
    np.testing.assert_allclose(result.eigenvalues, values[:30], atol=1e-4)


@pytest.mark.parametrize("n", [12, 300])
def test_vertices_without_edges(n):
    """A component each, with an eigenvalue 0 and a row of zeros."""
    weights = cliques((n - 2, 1, 1)).astype(np.float32)
    weights = weights[np.ix_(np.r_[n - 1, 0 : n - 1], np.r_[n - 1, 0 : n - 1])]
    result = spectral.spectral_embedding(weights, 5, KEY)
    values, vectors = np.asarray(result.eigenvalues), np.asarray(result.vectors)
    assert (
        int(result.components) == 3 and not values[:3].any() and np.allclose(values[3:], (n - 2) / (n - 3), atol=1e-4)
    )
    assert not vectors[[0, n - 1]].any() and np.isfinite(vectors).all()
    rows = np.asarray(spectral.normalize_rows(vectors))
    assert not rows[[0, n - 1]].any() and np.allclose(np.linalg.norm(rows[1 : n - 1], axis=1), 1, atol=1e-5)


def test_more_components_than_eigenvalues():
    result = spectral.spectral_embedding(graph_of(cliques((3,) * 100)), 8, KEY)
    assert int(result.components) == 100 and not np.asarray(result.eigenvalues).any()
    assert np.isfinite(np.asarray(result.vectors)).all() and np.asarray(result.converged).all()


def test_the_random_walk_has_the_same_values():
    graph = large()
    result = spectral.spectral_embedding(graph, 5, KEY, kind="random_walk")
    matrix = oracle.laplacian(np.asarray(module.laplacians.matrix_of(graph), np.float64), "random_walk")
    vectors, values = np.asarray(result.vectors, np.float64), np.asarray(result.eigenvalues, np.float64)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1, atol=1e-5)


def test_what_has_not_converged_says_so(monkeypatch):
    monkeypatch.setattr(module, "RESTARTS", 1)
    with pytest.warns(UserWarning, match="of 12 eigenpairs have not converged to tolerance=1e-07, from number"):
        result = spectral.spectral_embedding(large(), 12, KEY, tolerance=1e-7)
    assert not np.asarray(result.converged).all()
    np.testing.assert_array_equal(result.converged, np.asarray(result.residuals) <= 1e-7)


def test_diffusion_times():
    result = spectral.spectral_embedding(large(), 5, KEY)
    expected = np.asarray(result.vectors) * (1 - np.asarray(result.eigenvalues)) ** 3
    np.testing.assert_allclose(spectral.diffusion_scale(result, 3), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(spectral.diffusion_scale(result, 0), result.vectors)
    above = spectral.spectral_embedding(cliques((5,)).astype(np.float32), 3, KEY)  # eigenvalues of 1.25
    np.testing.assert_allclose(
        spectral.diffusion_scale(above, 3)[:, 1], np.asarray(above.vectors)[:, 1] * (-0.25) ** 3, rtol=1e-4
    )
    with pytest.raises(ValueError, match="t=0.5: expected a whole number, as eigenvalues above 1"):
        spectral.diffusion_scale(above, 0.5)


def test_an_old_sample_is_extended_to_its_own_row():
    graph = large()
    result = spectral.spectral_embedding(graph, 4, KEY)
    weights = np.asarray(module.laplacians.matrix_of(graph))
    index = np.tile(np.arange(400, dtype=np.int32), (5, 1))
    neighbors = spectral.Neighbors(jax.numpy.asarray(index), jax.numpy.asarray(weights[:5]))
    extended = spectral.nystrom(result, graph, neighbors, weights[:5])
    np.testing.assert_allclose(extended, result.vectors[:5], atol=1e-5)
    # A new one lies where its neighbours are: near the middle of a cluster they are that cluster's.
    x, labels = blobs(400, 4, spread=4.0)
    expected = np.arange(20) % 4
    fresh = (4 * np.eye(4, 6)[expected] + 0.3 * np.random.default_rng(9).standard_normal((20, 6))).astype(np.float32)
    rows = spectral.normalize_rows(spectral.nystrom(result, graph, spectral.knn_between(fresh, x, 8)))
    means = np.array([np.asarray(spectral.normalize_rows(result.vectors))[labels == one].mean(0) for one in range(4)])
    nearest = oracle.squares(rows, means).argmin(1)
    assert (nearest == expected).all()
    with pytest.raises(ValueError, match="weight has shape .*expected one shape"):
        spectral.nystrom(result, graph, neighbors, np.ones((5, 2), np.float32))
    bad = result._replace(eigenvalues=result.eigenvalues.at[3].set(1.5))
    with pytest.raises(ValueError, match="embedding has eigenvalues up to 1.5: expected them below 1"):
        spectral.nystrom(bad, graph, neighbors, weights[:5])


def test_what_cannot_be_embedded_is_refused(unchecked):
    graph = graph_of(cliques((5,)))
    with pytest.raises(ValueError, match="q=5: expected an integer from 1 to 4: a graph of 5 vertices"):
        spectral.spectral_embedding(graph, 5, KEY)
    with pytest.raises(ValueError, match="graph has 2 (vertices|samples): expected at least 3"):
        spectral.spectral_embedding(np.ones((2, 2), np.float32), 1, KEY)
    with pytest.raises(ValueError, match="graph is negative for samples"):
        spectral.spectral_embedding(-np.ones((4, 4), np.float32), 1, KEY)
    with pytest.raises(ValueError, match="graph holds NaN or infinite values in 5 samples"):
        spectral.spectral_embedding(graph._replace(degree=graph.degree * np.nan), 1, KEY)
    with pytest.raises(ValueError, match="kind='rw': expected one of symmetric, random_walk"):
        spectral.spectral_embedding(graph, 1, KEY, kind="rw")


def test_the_same_key_the_same_numbers():
    one, other = (spectral.spectral_embedding(large(), 6, KEY) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert samples().shape == (500, 12)
