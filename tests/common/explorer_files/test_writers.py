"""Files in ViRelAy's layout: pieces, channels, whole or absent, and what is refused."""

import h5py
import numpy as np
import pytest

from common import explorer_files


def piece(count, start=0, channels=1):
    draw = np.random.default_rng(start)
    return {
        "relevance": draw.normal(size=(count, 4, 5, channels)), "label": np.arange(count),
        "prediction": draw.normal(size=(count, 3)), "index": np.arange(start, start + count),
    }  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_sum_to_the_relevance(tmp_path, channels):
    pieces = [piece(2, 0, channels), piece(3, 2, channels)]
    explorer_files.write_attribution_pieces(tmp_path / "a.h5", iter(pieces), 5, method="m")
    expected = np.concatenate([item["relevance"] for item in pieces])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["attribution"].shape == (5, 3, 4, 5)
        np.testing.assert_allclose(file["attribution"][:].sum(1), expected.sum(-1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(file["index"], np.arange(5))
        assert file.attrs["method"] == "m"


def test_images_have_three_channels(tmp_path):
    images = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5, 1)
    explorer_files.write_dataset(tmp_path / "d.h5", images, np.array([3, 1]))
    with h5py.File(tmp_path / "d.h5") as file:
        np.testing.assert_array_equal(file["data"], images.repeat(3, -1))
        np.testing.assert_array_equal(file["label"], [3, 1])


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([piece(2)], "2 samples instead"),
        ([piece(2), piece(2)], "more than the announced 3"),
        ([piece(3, channels=2)], "relevance of shape"),
        ([piece(3) | {"label": np.zeros(2, int)}], "label has 2"),
    ],
)
def test_what_does_not_fit_leaves_no_file(tmp_path, pieces, words):
    with pytest.raises(ValueError, match=words):
        explorer_files.write_attribution_pieces(tmp_path / "a.h5", pieces, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 4, 4, 1)), [0, 1]),
        (np.zeros((2, 4, 4), np.uint8), [0, 1]),
        (np.zeros((2, 4, 4, 1), np.uint8), [0]),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path, images, labels):
    with pytest.raises(ValueError, match="expected"):
        explorer_files.write_dataset(tmp_path / "d.h5", images, labels)
