"""Project files: what was written is read, and `validate` tells everything that is wrong at once."""

import numpy as np
import pytest
import yaml

from common import explorer_files as ef
from tests.common.explorer_files import peer_files

NAMES = ["zero", "one", "two"]


@pytest.fixture
def project(tmp_path):
    """A whole project of six samples and three classes."""
    draw = np.random.default_rng(0)
    labels = np.arange(6) % 3
    ef.write_dataset(tmp_path / "data" / "images.h5", draw.integers(0, 255, (6, 6, 7, 1), np.uint8), labels)
    ef.write_attribution(tmp_path / "lrp.h5", draw.normal(size=(6, 6, 7, 1)), labels, draw.normal(size=(6, 3)))
    for label in range(3):
        rows = np.flatnonzero(labels == label)
        ef.write_analysis(
            tmp_path / "spray.h5",
            ef.category_name(label),
            rows,
            {"spectral": draw.normal(size=(2, 2))},
            {"k": rows % 2},
        )
    ef.write_project(
        tmp_path / "project.yaml", "Toy", "none", NAMES, tmp_path / "data" / "images.h5", [tmp_path / "lrp.h5"],
        {"spray_k2": [tmp_path / "spray.h5"]},
    )  # fmt: skip
    return tmp_path / "project.yaml"


def change(path, **entries):
    content = yaml.safe_load(path.read_text())
    content["project"] |= entries
    path.write_text(yaml.safe_dump(content))


def test_what_was_written_is_read(project):
    assert ef.validate(project) == []
    read = ef.read_project(project)
    assert (read.name, read.model) == ("Toy", "none")
    assert [label.name for label in read.labels] == NAMES and read.labels[2].word_net_id == "00000002"
    assert read.dataset.path.is_file() and read.analyses == {"spray_k2": (project.parent / "spray.h5",)}
    assert yaml.safe_load(project.read_text())["project"]["dataset"]["path"] == "data/images.h5"


def test_all_that_is_wrong_is_told_at_once(project):
    change(
        project,
        analyses=[{"analysis_method": "a-b", "sources": []}],
        attributions={"sources": "x"},
        label_map="no.json",
    )
    texts = [str(problem) for problem in ef.validate(project)]
    assert len(texts) == 3
    for words in ("could never be opened", "a list of sources", "no.json"):
        assert any(words in text for text in texts), words
    with pytest.raises(ValueError, match="(?s)never be opened.*no.json|no.json.*never be opened"):
        ef.read_project(project)


def test_files_are_looked_into(project):
    folder = project.parent
    peer_files.write_attribution(
        folder / "lrp.h5", np.zeros((2, 4, 5, 3)), np.array([0, 7]), np.zeros((3, 3)), index=[0, 11]
    )
    values, labels = np.zeros((2, 2), np.float32), np.zeros(2, np.int32)
    peer_files.write_analysis(
        folder / "spray.h5",
        {"00000000": ([0, 3], {"e": values}, {"c": labels}), "horse": ([0], {"f": values}, {"c": labels})},
    )
    (folder / "data" / "images.h5").write_bytes(b"no HDF5")
    texts = "\n".join(map(str, ef.validate(project)))
    for words in (
        "images.h5: file: no HDF5 file", "prediction: 3 entries of 2", "classes [7] are not in the label map",
        "horse: no word_net_id", "horse/embedding/f: 2 rows, index has 1",
        "horse/embedding: other names than in '00000000'",
        "00000000/index: samples [3] have no attribution",
    ):  # fmt: skip
        assert words in texts, (words, texts)


@pytest.mark.parametrize("text", ["a: [", "project: 3", "- 1"])
def test_a_file_that_is_no_project_is_one_problem(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    assert len(ef.validate(tmp_path / "p.yaml")) == 1
    assert len(ef.validate(tmp_path / "absent.yaml")) == 1


def test_what_the_reader_could_not_open_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'a_b'"):
        ef.write_project(tmp_path / "p.yaml", "n", "m", NAMES, "d.h5", analyses={"a-b": []})
    with pytest.raises(ValueError, match="attribution_strategy 'true'"):
        ef.write_project(tmp_path / "p.yaml", "n", "m", NAMES, "d.h5", attribution_strategy="true")
    with pytest.raises(ValueError, match="and not both"):
        ef.write_project(tmp_path / "p.yaml", "n", "m", NAMES, ef.Dataset("d", tmp_path, "image_directory"))
    assert not list(tmp_path.iterdir())
