"""Reads data sets and attributions by the rules of ViRelAy 1.0.0's loader.

`data` and `attribution` are arrays, or groups with an image a key in the order of the keys as texts; labels are
integers, n-hot bool rows, or groups of scalars and rows; `index` may be missing: then it is the row. Of an image the
smallest axis, the first of equals, holds the channels; here they come last, always.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Images of a data set.

    Attributes:
      images: `[n, height, width, channels]` as stored, or a list of such where sizes differ.
      labels: integers `[n]`, or bool `[n, classes]`.
      attributes: of the file.
    """

    images: np.ndarray | list[np.ndarray]
    labels: np.ndarray
    attributes: dict


@dataclasses.dataclass(frozen=True, eq=False)
class Attributions:
    """Relevance of samples.

    Attributes:
      relevance: `[n, height, width, channels]`, or a list of such where sizes differ.
      labels: integers `[n]`, or bool `[n, classes]`.
      predictions: `[n, outputs]`.
      index: the samples' numbers in the data set `[n]`.
      attributes: of the file.
    """

    relevance: np.ndarray | list[np.ndarray]
    labels: np.ndarray
    predictions: np.ndarray
    index: np.ndarray
    attributes: dict


def read_dataset(path: str | os.PathLike, rows: Sequence[int] | None = None) -> Samples:
    """Returns images and labels.

    Args:
      path: of the file.
      rows: which samples, in any order; None: all of them.

    Raises:
      KeyError: `data` or `label` is missing.
      ValueError: another number of labels than of images, or a layout that the loader does not read.
      IndexError: a row that is not there.
    """
    import h5py

    with h5py.File(path, "r") as file:
        _require(path, file, "data", "label")
        _check_lengths(path, file, "data", "label")
        images = _images(path, "data", _rows(path, "data", file["data"], rows))
        return Samples(images, _labels(path, _rows(path, "label", file["label"], rows)), dict(file.attrs))


def read_attribution(path: str | os.PathLike, rows: Sequence[int] | None = None) -> Attributions:
    """Returns relevance, labels, predictions and sample numbers; see `read_dataset`.

    Args:
      path: of the file.
      rows: which rows of the file, in any order; None: all of them.
    """
    import h5py

    with h5py.File(path, "r") as file:
        _require(path, file, "attribution", "label", "prediction")
        count = _check_lengths(path, file, "attribution", "label", "prediction", "index")
        relevance = _images(path, "attribution", _rows(path, "attribution", file["attribution"], rows))
        predictions = np.stack(list(_rows(path, "prediction", file["prediction"], rows)))
        if "index" in file:
            index = np.asarray(_rows(path, "index", file["index"], rows)).astype(np.int64)
        else:
            index = np.arange(count) if rows is None else np.asarray(rows, np.int64)
        labels = _labels(path, _rows(path, "label", file["label"], rows))
        return Attributions(relevance, labels, predictions, index, dict(file.attrs))


def _require(path, file, *names: str) -> None:
    missing = [name for name in names if name not in file]
    if missing:
        raise KeyError(f"{path} has no {' and no '.join(missing)}: it has {', '.join(sorted(file)) or 'nothing'}")


def _check_lengths(path, file, *names: str) -> int:
    lengths = {name: len(file[name]) for name in names if name in file}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: numbers of rows differ: {', '.join(f'{k} {v}' for k, v in lengths.items())}")
    return next(iter(lengths.values()))


def _rows(path, name: str, node, rows: Sequence[int] | None) -> np.ndarray | list[np.ndarray]:
    """Returns rows of an array, or values of a group in the order of its keys."""
    count = len(node)
    numbers = None if rows is None else np.asarray(rows, np.int64)
    if numbers is not None and len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise IndexError(f"{path}: rows {numbers.min()} to {numbers.max()} of {name}: it has 0 to {count - 1}")
    if hasattr(node, "keys"):
        keys = sorted(node.keys())
        return [node[key][()] for key in (keys if numbers is None else [keys[number] for number in numbers])]
    if numbers is None:
        return node[()]
    distinct, places = np.unique(numbers, return_inverse=True)  # HDF5 reads rows in order, each once
    return node[distinct][places]


def _images(path, name: str, values: np.ndarray | list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """Returns images with channels last, as one array where sizes agree."""
    if isinstance(values, np.ndarray):
        if values.ndim != 4:
            raise ValueError(
                f"{path}: {name} is {values.shape}: expected [n, height, width, channels] or channels first"
            )
        return np.moveaxis(values, 1, -1) if np.argmin(values.shape[1:]) == 0 else values
    for number, image in enumerate(values):
        if image.ndim != 3:
            raise ValueError(f"{path}: {name} {number} is {image.shape}: expected [height, width, channels]")
    images = [np.moveaxis(image, 0, -1) if np.argmin(image.shape) == 0 else image for image in values]
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _labels(path, values: np.ndarray | list[np.ndarray]) -> np.ndarray:
    labels = np.asarray(values) if isinstance(values, np.ndarray) or not values else np.stack(values)
    if labels.dtype == bool and labels.ndim == 2:
        return labels
    if np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1:
        return labels.astype(np.int64)
    raise ValueError(f"{path}: labels are {labels.dtype} {labels.shape}: expected integers [n] or bool [n, classes]")
