"""Writes data sets and attributions as ViRelAy 1.0.0 reads them.

dataset: `data` [n, height, width, 3] uint8 (or a group, an image a key), `label` [n] integers or [n, classes] bool;
attribution: `attribution` [n, 3, height, width] float32, `label`, `prediction` [n, outputs] float32, `index` [n].
One channel is written as three: a picture of one cannot be encoded, and of an attribution most colour maps fail; the
reader sums the channels of an attribution, so each gets a third. The reader takes the smallest axis for the channels,
the first of equals, so that images need four rows or columns. Files are written piece by piece and take their name when
whole.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common import files

SMALLEST_SIDE = 4  # below it the reader takes rows for channels


def write_dataset(
    path: str | os.PathLike, images: np.ndarray | Sequence[np.ndarray], labels: np.ndarray, **attributes: str | float
) -> None:
    """Writes images and labels.

    Args:
      path: of the file.
      images: uint8 `[n, height, width, 1 or 3]`, or a list of such `[height, width, 1 or 3]` of different sizes.
      labels: class indices, integers `[n]`; or of several classes each, bool `[n, classes]`.
      **attributes: texts and numbers that are kept as attributes of the file.

    Raises:
      ValueError: another type or shape, or not one label an image.
    """
    labels = np.asarray(labels)
    single = isinstance(images, np.ndarray) or not isinstance(images, Sequence)
    pictures = np.asarray(images) if single else [np.asarray(image) for image in images]
    _check_images(pictures)
    labels = _labels(labels, len(pictures))
    with files.beside(path) as temporary, _create(temporary, attributes) as file:
        if isinstance(pictures, np.ndarray):
            file.create_dataset("data", data=np.repeat(pictures, 3 // pictures.shape[-1], axis=-1))
        else:
            for number, image in enumerate(pictures):
                file[f"data/{number:08d}"] = np.repeat(image, 3 // image.shape[-1], axis=-1)
        file.create_dataset("label", data=labels)


def write_attribution(
    path: str | os.PathLike,
    relevance: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    index: np.ndarray | None = None,
    **attributes: str | float,
) -> None:
    """Writes attributions of samples that are all in memory.

    Args:
      path: of the file.
      relevance: `[n, height, width, 1 or 3]`.
      labels: class indices, integers `[n]`; or bool `[n, classes]`.
      predictions: the network's outputs `[n, outputs]`.
      index: the samples' numbers in the data set `[n]`; by default 0 to n - 1.
      **attributes: kept as attributes of the file.

    Raises:
      ValueError: another shape, relevance that is not finite, or another number of labels, predictions, indices.
    """
    relevance = np.asarray(relevance)
    piece = {
        "relevance": relevance, "label": labels, "prediction": predictions,
        "index": np.arange(len(relevance)) if index is None else index,
    }  # fmt: skip
    write_attribution_pieces(path, [piece], len(relevance), **attributes)


def write_attribution_pieces(
    path: str | os.PathLike, pieces: Iterable[Mapping[str, np.ndarray]], total: int, **attributes: str | float
) -> None:
    """Writes attributions, one piece after another.

    Args:
      path: of the file.
      pieces: of samples in order, each with `relevance` `[m, height, width, 1 or 3]`, `label` `[m]`, `prediction`
          `[m, outputs]` and `index` `[m]`, the sample's number in the data set.
      total: number of samples in all pieces.
      **attributes: kept as attributes of the file.

    Raises:
      ValueError: a piece of another shape, relevance that is not finite, another number of samples, a sample twice.
    """
    attributes = {"channels": "three; of a single-channel relevance each holds a third", **attributes}
    with files.beside(path) as temporary, _create(temporary, attributes) as file:
        done = 0
        for piece in pieces:
            columns = _columns(piece)
            count = len(columns["attribution"])
            if done + count > total:
                raise ValueError(f"more than the announced {total} samples")
            for name, values in columns.items():
                if len(values) != count:
                    raise ValueError(f"{name} has {len(values)} entries for {count} samples")
                if name not in file:
                    file.create_dataset(name, (total, *values.shape[1:]), values.dtype)
                file[name][done : done + len(values)] = values
            done += count
        if done != total or not total:
            raise ValueError(f"{done} samples instead of the announced {total}")
        numbers = file["index"][:]
        values, counts = np.unique(numbers, return_counts=True)
        if len(values) < total:
            raise ValueError(f"index: samples {values[counts > 1][:8].tolist()} occur more than once; one row a sample")


def _columns(piece: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of a piece as they are written."""
    relevance = np.asarray(piece["relevance"], np.float32)
    if relevance.ndim != 4 or relevance.shape[-1] not in (1, 3):
        raise ValueError(f"relevance of shape {relevance.shape}: expected [n, height, width, 1 or 3]")
    if min(relevance.shape[1:3]) < 3:
        raise ValueError(
            f"relevance of shape {relevance.shape}: below 3 rows or columns the reader mistakes the channels"
        )
    numbers = np.asarray(piece["index"])
    bad = ~np.isfinite(relevance).all(axis=(1, 2, 3))
    if bad.any():
        rows = numbers[bad] if numbers.shape == bad.shape else np.flatnonzero(bad)
        raise ValueError(f"relevance of samples {rows[:8].tolist()} is not finite: leave them out or explain them anew")
    if np.any(numbers < 0) or np.any(numbers > np.iinfo(np.uint32).max):
        raise ValueError(f"index: {numbers.min()} to {numbers.max()}: expected numbers from 0 that 32 bits hold")
    copies = 3 // relevance.shape[-1]
    return {
        "attribution": np.repeat(relevance / np.float32(copies), copies, axis=-1).transpose(0, 3, 1, 2),
        "label": _labels(np.asarray(piece["label"]), None),
        "prediction": np.asarray(piece["prediction"], np.float32),
        "index": numbers.astype(np.uint32),
    }


def _check_images(images: np.ndarray | list[np.ndarray]) -> None:
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
            raise ValueError(
                f"images are {images.dtype} {images.shape}: expected uint8 [n, height, width, 1 or 3], n >= 1"
            )
        if min(images.shape[1:3]) < SMALLEST_SIDE:
            raise ValueError(f"images of {images.shape[1:3]}: expected {SMALLEST_SIDE} rows and columns or more")
        return
    if not images:
        raise ValueError("images: an empty list; expected one or more")
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise ValueError(f"image {number} is {image.dtype} {image.shape}: expected uint8 [height, width, 1 or 3]")
        if min(image.shape[:2]) < SMALLEST_SIDE:
            raise ValueError(f"image {number} of {image.shape[:2]}: expected {SMALLEST_SIDE} rows and columns or more")


def _labels(labels: np.ndarray, count: int | None) -> np.ndarray:
    """Returns labels as they are written: int64 `[n]` or bool `[n, classes]`."""
    if labels.dtype == bool and labels.ndim == 2 and count in (None, len(labels)):
        return labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and count in (None, len(labels)):
        return labels.astype(np.int64)
    number = "n" if count is None else count
    raise ValueError(
        f"labels are {labels.dtype} {labels.shape}: expected {number} class indices, or bool [{number}, classes]"
    )


def _create(path, attributes: Mapping):
    """Returns a new HDF5 file, open for writing."""
    import h5py  # where HDF5 is asked for

    file = h5py.File(path, "w")
    for name, value in attributes.items():
        file.attrs[name] = value
    return file
