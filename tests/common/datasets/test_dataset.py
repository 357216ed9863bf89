"""The arrays, their statistics and splits; the embedded digits."""

import numpy as np
import pytest

from common import datasets
from common.datasets import dataset, digits, download
from common.datasets.__main__ import main
from common.datasets.dataset import DamagedDataError, Split


def toy(train=100, test=10, classes=5):
    random = np.random.default_rng(0)
    halves = [
        Split(random.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8), random.integers(0, classes, count))
        for count in (train, test)
    ]
    return dataset.make("toy", *halves, classes=[str(i) for i in range(classes)], licence="none", source="here")


def test_statistics_are_numpys():
    images = toy().train_images
    mean, std = dataset.channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)) / 255, atol=6e-5)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)) / 255, atol=6e-5)


def test_standardise_gives_mean_zero_and_deviation_one():
    data = toy()
    values = datasets.standardise(data.train_images, data)
    assert values.dtype == np.float32 and values.shape == data.train_images.shape
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_validation_is_the_end_of_the_training_images():
    data = toy()
    train, validation = datasets.split_validation(data, 30)
    assert len(train.images) == len(train.labels) == 70
    np.testing.assert_array_equal(validation.images, data.train_images[70:])
    np.testing.assert_array_equal(validation.labels, data.train_labels[70:])
    assert [len(split.labels) for split in datasets.split_validation(data)] == [80, 20]
    assert [len(split.labels) for split in datasets.split_validation(data, 0)] == [100, 0]
    assert [len(split.labels) for split in datasets.split_validation(toy(train=40000))] == [35000, 5000]


@pytest.mark.parametrize("count", [100, -1])
def test_validation_leaves_something_to_train_on(count):
    with pytest.raises(ValueError, match=f"validation count {count} of 100 .* choose 0 to 99"):
        datasets.split_validation(toy(), count)


def test_make_refuses_what_does_not_fit():
    good = Split(np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, np.int32))
    options = {"classes": ("a",), "licence": "", "source": ""}
    for bad, message in [
        (Split(good.images.astype(np.float32), good.labels), "float32"),
        (Split(good.images[..., 0], good.labels), "not uint8"),
        (Split(good.images, good.labels[:2]), "labels of shape"),
        (Split(good.images, good.labels + 1), "there are 1 classes"),
    ]:
        with pytest.raises(DamagedDataError, match=message):
            dataset.make("toy", good, bad, **options)


def test_digits_as_published():
    data = datasets.load("digits")
    assert data.train_images.shape == (1438, 8, 8, 1) and data.test_images.shape == (359, 8, 8, 1)
    assert data.train_images.min() == 0 and data.train_images.max() == 255
    assert sorted(np.unique(data.test_labels)) == list(range(10))
    assert set(np.bincount(data.test_labels)) <= {34, 35, 36, 37}
    assert "scikit-learn" in data.source


def test_digits_enlarged_stay_the_same_digits():
    small, large = datasets.load("digits"), datasets.load("digits", size=28)
    assert large.train_images.shape == (1438, 28, 28, 1)
    np.testing.assert_array_equal(small.train_labels, large.train_labels)
    inner = large.train_images[:, 4:24, 4:24]
    assert large.train_images.sum() == inner.sum()  # the border is empty
    # The mean of the values stays: linear interpolation at pixel centres weighs all but the border pixels equally.
    ratio = inner.mean(axis=(1, 2, 3)) / small.train_images.mean(axis=(1, 2, 3))
    assert abs(ratio.mean() - 1) < 0.02


def test_enlarging_by_hand():
    """A ramp 0..7 along the columns stays a ramp of slope 8 / 20 between the outer pixel centres."""
    ramp = np.broadcast_to(np.arange(8.0), (1, 8, 8))
    row = digits.enlarge(ramp, 28)[0, 14, 4:24]
    np.testing.assert_allclose(row, np.clip((np.arange(20) + 0.5) * 0.4 - 0.5, 0, 7))


def test_command_line_says_what_is_there_and_what_is_missing(capsys, monkeypatch):
    assert main(["digits"]) == 0
    assert "scikit-learn" in capsys.readouterr().out
    monkeypatch.setattr(download, "fetch", lambda *_, **__: pytest.fail("nobody said --fetch"))
    assert main(["digits", "mnist"]) == 1
    captured = capsys.readouterr()
    assert "digits: " in captured.out and "mnist: MNIST was not found" in captured.err


@pytest.mark.parametrize("size", [0, 9, 11, 257])
def test_digits_of_odd_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"size={size}"):
        datasets.load("digits", size=size)
