"""What every loader returns: arrays, and where they come from.

A data set is NumPy arrays with a name, a licence and a sentence that says which form was found where.
Images are uint8 [n, height, width, channels], labels int32 [n]; scaling to floats is the user's step (`standardise`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class DatasetNotFoundError(FileNotFoundError):
    """The data is in no folder that was searched and could not be fetched; the message says what to do."""


class DamagedDataError(ValueError):
    """A file was found, but its bytes are not what its format or its published checksum says."""


class Split(NamedTuple):
    """Images uint8 [n, height, width, channels] and their labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with labels, and their provenance.

    Attributes:
      name: as results should name it, e.g. "MNIST" or "CIFAR-10 (JPEG)".
      train_images, test_images: uint8 [n, height, width, channels].
      train_labels, test_labels: int32 [n], indices into `classes`.
      classes: the names of the classes, in the order of the labels.
      mean, std: per channel, of the training images scaled to [0, 1].
      licence: the licence or the terms, in words.
      source: where it was found and in which form: "JPEG, /data/cifar10/cifar10_jpeg.npz".
      description: one or two sentences: sizes, form, and what is unusual (a part, a differing checksum).
      notice: not empty when the user must be told something before trusting a result (printed by the caller).
      fallback_for: the name that was asked for, when another set stands in for it.
      wnids: WordNet identifiers of the classes, for sets drawn from ImageNet.
      owners: who made the examples, such as speakers, for sets that say so.
      train_owners, test_owners: int32 [n], indices into `owners`; None for the others.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    source: str
    description: str
    notice: str = ""
    fallback_for: str = ""
    wnids: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    train_owners: np.ndarray | None = None
    test_owners: np.ndarray | None = None

    def __repr__(self) -> str:
        height, width, channels = self.train_images.shape[1:]
        return (
            f"Dataset({self.name}: {len(self.train_images)} training and {len(self.test_images)} test images "
            f"{height}x{width}x{channels}, {len(self.classes)} classes, from {self.source})"
        )


def make(
    name: str,
    train: Split,
    test: Split,
    *,
    classes: Sequence[str],
    licence: str,
    source: str,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    details: str = "",
    **rest: Any,
) -> Dataset:
    """Returns a checked Dataset; mean and std are measured when not given, and the description is composed."""
    for split, part in (("training", train), ("test", test)):
        if part.images.dtype != np.uint8 or part.images.ndim != 4:
            raise DamagedDataError(
                f"{name}: {split} images are {part.images.dtype} {part.images.shape}, not uint8 [n,h,w,c]"
            )
        if part.labels.shape != (len(part.images),):
            raise DamagedDataError(f"{name}: {len(part.images)} {split} images but labels of shape {part.labels.shape}")
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < len(classes):
            raise DamagedDataError(
                f"{name}: a {split} label is {part.labels.max()}, but there are {len(classes)} classes"
            )
    if mean is None or std is None:
        mean, std = channel_statistics(train.images if len(train.images) else test.images)
    shape = "x".join(str(length) for length in train.images.shape[1:])
    description = f"{name}, {len(train.images)} training and {len(test.images)} test images of {shape}"
    return Dataset(
        name=name,
        train_images=train.images,
        train_labels=train.labels.astype(np.int32),
        test_images=test.images,
        test_labels=test.labels.astype(np.int32),
        classes=tuple(classes),
        mean=tuple(mean),
        std=tuple(std),
        licence=licence,
        source=source,
        description=f"{description}; {details}" if details else description,
        **rest,
    )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images [n, h, w, c], scaled to [0, 1].

    Counts the 256 values instead of converting, so memory stays at a fraction of the images'.
    """
    values = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), 5000):
            counts += np.bincount(images[start : start + 5000, ..., channel].ravel(), minlength=256)
        total = max(int(counts.sum()), 1)
        mean = float(counts @ values) / total
        means.append(round(mean, 4))
        deviations.append(round(float(counts @ (values - mean) ** 2 / total) ** 0.5, 4))
    return tuple(means), tuple(deviations)


def standardise(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """float32 images of the same shape: scaled to [0, 1], minus the mean, over the standard deviation, per channel."""
    mean = np.asarray(dataset.mean, np.float32) * 255
    std = np.maximum(np.asarray(dataset.std, np.float32), 1e-6) * 255
    return (images.astype(np.float32) - mean) / std


def split_validation(dataset: Dataset, count: int | None = None) -> tuple[Split, Split]:
    """Training images apart from the last `count` of them, which are kept for choosing settings.

    Args:
      dataset: any Dataset.
      count: images to keep apart. None: 5,000, or a fifth of the training images where that is less.

    Returns:
      (train, validation), two Splits that share memory with the data set.

    Raises:
      ValueError: when `count` leaves nothing to train on.
    """
    total = len(dataset.train_images)
    count = min(5000, total // 5) if count is None else count
    if not 0 <= count < total:
        raise ValueError(
            f"validation count {count} of {total} training images of {dataset.name}: choose 0 to {total - 1}"
        )
    cut = total - count
    return (
        Split(dataset.train_images[:cut], dataset.train_labels[:cut]),
        Split(dataset.train_images[cut:], dataset.train_labels[cut:]),
    )
