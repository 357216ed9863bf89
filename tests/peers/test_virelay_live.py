"""Projects written here, opened by ViRelAy itself: `make peers-spray` builds it, `make peers` runs this."""

import numpy as np
import pytest

from common import explorer_files as ef
from kernels import spectral
from projects.spray import pipelines
from tests.common.explorer_files import peer_files

PEER = "virelay"

NAMES = ["zero", "one", "two"]
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 2])
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 255, (8, 6, 9, 1), np.uint8)
RELEVANCE = DRAW.normal(size=(8, 6, 9, 1)).astype(np.float32)
PREDICTIONS = DRAW.normal(size=(8, 3)).astype(np.float32)
INDEX = np.array([7, 2, 1, 0, 3, 6, 5, 4])
EMBEDDINGS = {name: DRAW.normal(size=(8, q)).astype(np.float32) for name, q in (("spectral", 4), ("tsne", 2))}
EIGENVALUES = np.array([0, 0.125, 0.25, 0.5], np.float32)
CLUSTERS = {"kmeans-02": np.arange(8) % 2, "hdbscan": np.arange(8) % 3 - 1}
COLOR_MAPS = 8


def write(folder):
    """A project of 8 samples, analysed by class; returns its file."""
    ef.write_dataset(folder / "d.h5", IMAGES, LABELS)
    ef.write_attribution(folder / "a.h5", RELEVANCE, LABELS[INDEX], PREDICTIONS, INDEX)
    for label in range(3):
        rows = np.flatnonzero(LABELS == label)
        embeddings = {
            "spectral": ef.Embedding(EMBEDDINGS["spectral"][rows], EIGENVALUES),
            "tsne": ef.Embedding(EMBEDDINGS["tsne"][rows], base="spectral", columns=np.arange(4)),
        }
        clusterings = {name: ef.Clustering(values[rows], "spectral") for name, values in CLUSTERS.items()}
        ef.write_analysis(folder / "s.h5", ef.category_name(label), rows, embeddings, clusterings)
    dataset = ef.Dataset("noise", folder / "d.h5", input_width=9, input_height=6)
    analyses = {"spray": [folder / "s.h5"]}
    ef.write_project(folder / "p.yaml", "Toy", "none", NAMES, dataset, [folder / "a.h5"], analyses)
    assert ef.validate(folder / "p.yaml") == []
    return folder / "p.yaml"


@pytest.fixture(scope="module")
def project(peer, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("project"))
    return path, peer.ask("open_project", path=path)


def test_the_project_shows_what_was_written(project):
    _, seen = project
    assert (seen["name"], seen["model"], seen["samples"]) == ("Toy", "none", 8)
    method = seen["methods"]["spray"]
    assert method["categories"] == {"00000000": "zero", "00000001": "one", "00000002": "two"}
    assert method["clusterings"] == ["hdbscan", "kmeans-02"] and method["embeddings"] == ["spectral", "tsne"]


def test_every_sample_is_the_picture(peer, project):
    for index in range(8):
        answer = peer.ask("sample", project=project[1]["project"], index=index, answer=peer.folder / "s.npy")
        np.testing.assert_array_equal(peer.get("s.npy"), IMAGES[index].repeat(3, -1))
        assert answer["labels"] == [NAMES[LABELS[index]]]


def test_every_attribution_is_found_by_its_number_and_drawn(peer, project):
    for row, index in enumerate(INDEX):
        answer = peer.ask(
            "attribution", project=project[1]["project"], index=int(index), answer=peer.folder / "a.npz"
        )  # fmt: skip
        seen = peer.get("a.npz")
        np.testing.assert_allclose(seen["relevance"].sum(-1), RELEVANCE[row, ..., 0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(seen["prediction"], PREDICTIONS[row])
        assert answer["labels"] == [NAMES[LABELS[index]]]
        drawn = {name: picture for name, picture in seen.items() if "/" in name}
        assert len(drawn) == 2 * COLOR_MAPS
        assert all(picture.dtype == np.uint8 and picture.shape[:2] == (6, 9) for picture in drawn.values())


def test_every_pair_of_embedding_and_clustering_opens(peer, project):
    for label, name in enumerate(NAMES):
        rows = np.flatnonzero(LABELS == label)
        for embedding in EMBEDDINGS:
            for clustering in CLUSTERS:
                answer = peer.ask(
                    "analysis", project=project[1]["project"], method="spray", category=ef.category_name(label),
                    clustering=clustering, embedding=embedding, answer=peer.folder / "n.npz",
                )  # fmt: skip
                seen = peer.get("n.npz")
                assert answer["name"] == name
                np.testing.assert_array_equal(seen["index"], rows)
                np.testing.assert_array_equal(seen["labels"], CLUSTERS[clustering][rows])
                np.testing.assert_array_equal(seen["embedding"], EMBEDDINGS[embedding][rows])
                np.testing.assert_array_equal(seen["eigenvalues"], EIGENVALUES if embedding == "spectral" else [])


def test_its_web_application_answers(peer, project):
    query = "category=00000002&clustering=kmeans-02&embedding=spectral"
    paths = [
        "/api/projects", "/api/projects/0", "/api/projects/0/dataset/3", "/api/projects/0/dataset/3/image",
        "/api/projects/0/attributions/3?imageMode=overlay", "/api/projects/0/attributions?indices=1,2&imageMode=input",
        "/api/projects/0/attributions/3/heatmap?colorMap=jet&superimpose=true",
        f"/api/projects/0/analyses/spray?{query}",
    ]  # fmt: skip
    assert peer.ask("get", paths=paths, project_files=[str(project[0])])["status"] == [200] * len(paths)


def test_results_of_a_pipeline_open(peer, project, tmp_path):
    """As `pipelines.run` gives them, by class."""
    vectors = EMBEDDINGS["spectral"]
    for label in range(3):
        rows = np.flatnonzero(LABELS == label)
        embedding = spectral.Embedding(EIGENVALUES, vectors[rows], EIGENVALUES, EIGENVALUES > -1, np.array(1))
        clusterings = {"kmeans_02": CLUSTERS["kmeans-02"][rows]}
        results = {"embedding": embedding, "clustering": clusterings, "views": {"tsne": EMBEDDINGS["tsne"][rows]}}
        item = pipelines.analysis_of(results, rows)
        ef.write_analysis(tmp_path / "s.h5", ef.category_name(label), item.index, item.embeddings, item.clusterings)
    path, folder = tmp_path / "p.yaml", project[0].parent
    ef.write_project(path, "Run", "none", NAMES, folder / "d.h5", [folder / "a.h5"], {"spray": [tmp_path / "s.h5"]})
    assert ef.validate(path) == []
    seen = peer.ask("open_project", path=path)
    assert seen["methods"]["spray"]["embeddings"] == ["spectral", "tsne"]
    peer.ask(
        "analysis", project=seen["project"], method="spray", category="00000002", clustering="kmeans_02",
        embedding="spectral", answer=peer.folder / "n.npz",
    )  # fmt: skip
    expected = vectors[LABELS == 2] / np.linalg.norm(vectors[LABELS == 2], axis=1, keepdims=True)
    np.testing.assert_allclose(peer.get("n.npz")["embedding"], expected, rtol=1e-6)
    np.testing.assert_array_equal(peer.get("n.npz")["eigenvalues"], EIGENVALUES)


def test_several_labels_and_sizes(peer, tmp_path):
    """n-hot labels and images of different sizes, written here and by h5py alone, look the same to it."""
    images = [DRAW.integers(0, 255, (5 + i, 8, 3), np.uint8) for i in range(3)]
    labels = np.array([[True, False, True], [False, True, False], [True, True, True]])
    ef.write_dataset(tmp_path / "own.h5", images, labels)
    peer_files.write_grouped_dataset(tmp_path / "other.h5", images, labels)
    for name in ("own", "other"):
        ef.write_project(tmp_path / f"{name}.yaml", name, "none", NAMES, tmp_path / f"{name}.h5")
        assert ef.validate(tmp_path / f"{name}.yaml") == []
        number = peer.ask("open_project", path=tmp_path / f"{name}.yaml")["project"]
        for index, image in enumerate(images):
            answer = peer.ask("sample", project=number, index=index, answer=peer.folder / "s.npy")
            np.testing.assert_array_equal(peer.get("s.npy"), image)
            assert answer["labels"] == [NAMES[i] for i in np.flatnonzero(labels[index])]
