"""Analyses by category: what was written comes back, names agree, and what does not fit leaves the file as it was."""

import h5py
import numpy as np
import pytest

from common import explorer_files as ef

DRAW = np.random.default_rng(0)
INDEX = np.array([4, 1, 9])
SPECTRAL = ef.Embedding(DRAW.normal(size=(3, 4)), np.array([0.0, 0.1, 0.2, 0.3]))
VIEW = ef.Embedding(DRAW.normal(size=(3, 2)), base="spectral", columns=np.array([0, 1]))
KMEANS = ef.Clustering(np.array([0, -1, 1]), "spectral", 2, np.arange(4))


def analysis(**changes) -> ef.Analysis:
    content = {"index": INDEX, "embeddings": {"spectral": SPECTRAL, "tsne": VIEW}, "clusterings": {"kmeans-02": KMEANS}}
    return ef.Analysis(**(content | changes))


def test_what_was_written_comes_back(tmp_path):
    ef.write_analyses(
        tmp_path / "a.h5", {"00000003": analysis(), "00000008": analysis(index=INDEX + 1)}, method="spray"
    )
    read = ef.read_analyses(tmp_path / "a.h5")
    assert list(read) == ["00000003", "00000008"]
    item = ef.read_analysis(tmp_path / "a.h5", "00000008")
    np.testing.assert_array_equal(item.index, INDEX + 1)
    np.testing.assert_allclose(item.embeddings["spectral"].values, SPECTRAL.values, rtol=1e-6)
    np.testing.assert_allclose(item.embeddings["spectral"].eigenvalues, SPECTRAL.eigenvalues, rtol=1e-6)
    assert item.embeddings["spectral"].base is None and item.embeddings["tsne"].base == "spectral"
    np.testing.assert_array_equal(item.embeddings["tsne"].columns, [0, 1])
    np.testing.assert_array_equal(item.clusterings["kmeans-02"].labels, [0, -1, 1])
    assert item.clusterings["kmeans-02"].k == 2 and item.clusterings["kmeans-02"].embedding == "spectral"
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["00000003/index"].dtype == np.uint32
        assert file["00000003/embedding/spectral"].dtype == np.float32
        assert set(file["00000003/cluster"]) == {"kmeans-02"}  # everything there is offered as a clustering


def test_a_category_is_added_and_replaced(tmp_path):
    path = tmp_path / "a.h5"
    for category, shift in (("a", 0), ("b", 1), ("a", 2)):
        ef.write_analysis(path, category, INDEX + shift, {"e": SPECTRAL.values}, {"c": KMEANS.labels})
    assert {name: item.index[0] for name, item in ef.read_analyses(path).items()} == {"a": 6, "b": 5}


def test_every_category_has_the_same_names(tmp_path):
    """The viewer takes those of the first for all."""
    path = tmp_path / "a.h5"
    other = analysis(embeddings={"spectral": SPECTRAL, "umap": VIEW})
    with pytest.raises(
        ValueError, match=r"embeddings of the category 'b' are not those of 'a' \(lacking: tsne; more: umap"
    ):
        ef.write_analyses(path, {"a": analysis(), "b": other})
    assert not path.exists()
    ef.write_analyses(path, {"a": analysis()})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="clusterings of the category 'b'"):
        ef.write_analysis(path, "b", INDEX, analysis().embeddings, {"other": KMEANS})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": np.array([1, 1, 2])}, "twice"),
        ({"index": np.array([-1, 1, 2])}, "expected numbers from 0"),
        ({"embeddings": {"e": SPECTRAL.values[:, :1]}}, r"'e' is \(3, 1\): expected \[3, q\]"),
        ({"embeddings": {"e": SPECTRAL.values[:2]}}, r"\(2, 4\)"),
        ({"embeddings": {"e": np.where([[0], [1], [0]], np.nan, SPECTRAL.values)}}, r"not finite in rows \[1\]"),
        ({"embeddings": {"e": ef.Embedding(SPECTRAL.values, np.zeros(3))}}, "eigenvalues"),
        ({"embeddings": {"e": VIEW}}, "base 'spectral', which is not there"),
        ({"embeddings": {}}, "one embedding and one clustering"),
        ({"clusterings": {"c": np.array([0.0, 1, 2])}}, "'c' is float64"),
        ({"clusterings": {"c": np.array([0, -2, 1])}}, "expected -1 or more"),
        ({"clusterings": {"a/b": KMEANS.labels}}, "without a slash"),
        ({"clusterings": {"c": ef.Clustering(KMEANS.labels, "umap")}}, "is of 'umap'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        ef.write_analyses(tmp_path / "a.h5", {"00000003": analysis(**changes)})
    assert not list(tmp_path.iterdir())


def test_an_unknown_category_names_those_there_are(tmp_path):
    ef.write_analyses(tmp_path / "a.h5", {"00000003": analysis()})
    with pytest.raises(KeyError, match="expected one of 00000003"):
        ef.read_analysis(tmp_path / "a.h5", "3")
