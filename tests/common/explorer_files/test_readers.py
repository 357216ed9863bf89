"""Files in the peer's forms, written by h5py alone, are read: groups, n-hot labels, a missing index, channels first."""

import numpy as np
import pytest

from common import explorer_files as ef
from tests.common.explorer_files import peer_files

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("order", ["first", "last"])
def test_channels_come_last(tmp_path, order):
    relevance = DRAW.normal(size=(3, 5, 6, 3)).astype(np.float32)
    stored = relevance if order == "last" else relevance.transpose(0, 3, 1, 2)
    peer_files.write_attribution(tmp_path / "a.h5", stored, np.array([2, 0, 1]), np.eye(3, dtype=np.float32))
    read = ef.read_attribution(tmp_path / "a.h5")
    np.testing.assert_array_equal(read.relevance, relevance)
    np.testing.assert_array_equal(read.index, [0, 1, 2])
    some = ef.read_attribution(tmp_path / "a.h5", rows=[2, 0, 2])
    np.testing.assert_array_equal(some.relevance, relevance[[2, 0, 2]])
    np.testing.assert_array_equal(some.index, [2, 0, 2])
    np.testing.assert_array_equal(some.labels, [1, 2, 1])


def test_groups_of_different_sizes_and_scalars(tmp_path):
    images = [DRAW.integers(0, 255, (4 + i, 6, 3), np.uint8) for i in range(3)]
    peer_files.write_grouped_dataset(tmp_path / "d.h5", images, [5, 0, 2])
    read = ef.read_dataset(tmp_path / "d.h5")
    assert all(np.array_equal(a, b) for a, b in zip(read.images, images, strict=True))
    np.testing.assert_array_equal(read.labels, [5, 0, 2])
    np.testing.assert_array_equal(ef.read_dataset(tmp_path / "d.h5", [2]).images[0], images[2])


def test_n_hot_labels(tmp_path):
    labels = np.array([[True, False, True], [False, True, False]])
    peer_files.write_grouped_dataset(tmp_path / "d.h5", DRAW.integers(0, 255, (2, 6, 6, 3), np.uint8), labels)
    np.testing.assert_array_equal(ef.read_dataset(tmp_path / "d.h5").labels, labels)
    ef.write_dataset(tmp_path / "own.h5", np.zeros((2, 6, 6, 1), np.uint8), labels)
    np.testing.assert_array_equal(ef.read_dataset(tmp_path / "own.h5").labels, labels)


def test_own_files_come_back(tmp_path):
    images = [DRAW.integers(0, 255, (5 + i, 7, 1), np.uint8) for i in range(2)]
    ef.write_dataset(tmp_path / "d.h5", images, np.array([1, 0]), name="two")
    read = ef.read_dataset(tmp_path / "d.h5")
    assert read.attributes["name"] == "two"
    assert all(np.array_equal(a, b.repeat(3, -1)) for a, b in zip(read.images, images, strict=True))
    relevance = DRAW.normal(size=(2, 5, 7, 1))
    ef.write_attribution(tmp_path / "a.h5", relevance, np.array([1, 0]), np.eye(2), index=np.array([7, 3]))
    maps = ef.read_attribution(tmp_path / "a.h5")
    np.testing.assert_allclose(maps.relevance.sum(-1), relevance[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(maps.index, [7, 3])


def test_what_is_wrong_is_named(tmp_path):
    peer_files.write_attribution(tmp_path / "a.h5", np.zeros((2, 4, 5, 3)), np.array([0, 1, 2]), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="attribution 2, label 3"):
        ef.read_attribution(tmp_path / "a.h5")
    with pytest.raises(KeyError, match="has no data: it has attribution, label, prediction"):
        ef.read_dataset(tmp_path / "a.h5")
    peer_files.write_attribution(tmp_path / "b.h5", np.zeros((2, 4, 5, 3)), np.zeros((2, 4), int), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"labels are int64 \(2, 4\)"):
        ef.read_attribution(tmp_path / "b.h5")
    peer_files.write_attribution(tmp_path / "c.h5", np.zeros((2, 4, 5, 3)), np.array([0, 1]), np.zeros((2, 3)))
    with pytest.raises(IndexError, match="rows 0 to 2"):
        ef.read_attribution(tmp_path / "c.h5", rows=[0, 2])
    with pytest.raises(ValueError, match=r"samples \[6\] is not finite"):
        maps = np.zeros((2, 4, 5, 1))
        maps[1, 2, 2] = np.nan
        ef.write_attribution(tmp_path / "d.h5", maps, np.array([0, 1]), np.zeros((2, 2)), index=np.array([5, 6]))
    with pytest.raises(ValueError, match=r"samples \[5\] occur more than once"):
        ef.write_attribution(
            tmp_path / "d.h5", np.zeros((2, 4, 5, 1)), np.array([0, 1]), np.zeros((2, 2)), index=np.array([5, 5])
        )
    assert not (tmp_path / "d.h5").exists()


def test_images_whose_rows_the_reader_takes_for_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected 4 rows"):
        ef.write_dataset(tmp_path / "d.h5", np.zeros((2, 3, 8, 3), np.uint8), np.array([0, 1]))
