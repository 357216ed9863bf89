"""Results of a pipeline as a file: what the viewer shows of each category."""

import jax.numpy as jnp
import numpy as np
import pytest

from common import explorer_files
from kernels import spectral
from projects.spray import pipelines


def results(seed: int, count: int = 5) -> dict:
    draw = np.random.default_rng(seed)
    vectors = jnp.asarray(draw.normal(size=(count, 3)), jnp.float32)
    embedding = spectral.Embedding(jnp.array([0.0, 0.1, 0.4]), vectors, jnp.zeros(3), jnp.ones(3, bool), jnp.array(1))
    clusterings = {"kmeans_03": draw.integers(0, 3, count), "hdbscan": draw.integers(-1, 2, count)}
    return {"embedding": embedding, "clustering": clusterings, "views": {"tsne": draw.normal(size=(count, 2))}}


def test_categories_of_runs_are_a_file(tmp_path):
    items = {
        explorer_files.category_name(label): pipelines.analysis_of(results(label), np.arange(5) + 10 * label)
        for label in (3, 8)
    }
    explorer_files.write_analyses(tmp_path / "a.h5", items)
    read = explorer_files.read_analysis(tmp_path / "a.h5", "00000008")
    np.testing.assert_array_equal(read.index, [80, 81, 82, 83, 84])
    np.testing.assert_allclose(np.linalg.norm(read.embeddings["spectral"].values, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(read.embeddings["spectral"].eigenvalues, [0, 0.1, 0.4])
    assert read.embeddings["tsne"].base == "spectral"
    assert read.clusterings["kmeans_03"].k == 3 and read.clusterings["hdbscan"].k is None
    np.testing.assert_array_equal(read.clusterings["hdbscan"].labels, results(8)["clustering"]["hdbscan"])


def test_what_is_missing_is_named():
    few = results(0)
    del few["clustering"]
    with pytest.raises(KeyError, match="no 'clustering': they have embedding, views"):
        pipelines.analysis_of(few, np.arange(5))
    with pytest.raises(ValueError, match="'spectral' is an embedding and a view"):
        pipelines.analysis_of(results(0) | {"views": {"spectral": np.zeros((5, 2))}}, np.arange(5))
