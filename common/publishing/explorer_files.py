"""Data sets and attributions as HDF5 files in the layout that ViRelAy 1.0.0 opens (Anders et al., arXiv:2106.13200).

dataset: `data` [n, height, width, 3] uint8, `label` [n]; attribution: `attribution` [n, 3, height, width] float32,
`label`, `prediction` [n, outputs] float32, `index` [n] uint32. One channel is written as three: the reader sums the
channels of an attribution, so each gets a third. Files are written piece by piece and take their name when whole.
"""

import os
from collections.abc import Iterable, Mapping

import numpy as np

from common import files


def write_dataset(path: str | os.PathLike, images: np.ndarray, labels: np.ndarray, **attributes: str | float) -> None:
    """Writes images and labels.

    Args:
      path: of the file.
      images: uint8 `[n, height, width, 1 or 3]`.
      labels: class indices, integers `[n]`.
      **attributes: texts and numbers that are kept as attributes of the file.

    Raises:
      ValueError: another type or shape, or not one label an image.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images are {images.dtype} {images.shape}: expected uint8 [n, height, width, 1 or 3], n >= 1")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype} {labels.shape}: expected {len(images)} class indices")
    with files.beside(path) as temporary, _create(temporary, attributes) as file:
        file.create_dataset("data", data=np.repeat(images, 3 // images.shape[-1], axis=-1))
        file.create_dataset("label", data=labels.astype(np.int64))


def write_attribution(
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
      ValueError: a piece of another shape, or another number of samples.
    """
    attributes = {"channels": "three; of a single-channel relevance each holds a third", **attributes}
    with files.beside(path) as temporary, _create(temporary, attributes) as file:
        done = 0
        for piece in pieces:
            relevance = np.asarray(piece["relevance"], np.float32)
            if relevance.ndim != 4 or relevance.shape[-1] not in (1, 3):
                raise ValueError(f"relevance of shape {relevance.shape}: expected [n, height, width, 1 or 3]")
            copies = 3 // relevance.shape[-1]
            wide = np.repeat(relevance / np.float32(copies), copies, axis=-1).transpose(0, 3, 1, 2)
            columns = {
                "attribution": wide,
                "label": np.asarray(piece["label"], np.int64),
                "prediction": np.asarray(piece["prediction"], np.float32),
                "index": np.asarray(piece["index"], np.uint32),
            }
            if done + len(wide) > total:
                raise ValueError(f"more than the announced {total} samples")
            for name, values in columns.items():
                if len(values) != len(wide):
                    raise ValueError(f"{name} has {len(values)} entries for {len(wide)} samples")
                if name not in file:
                    file.create_dataset(name, (total, *values.shape[1:]), values.dtype)
                file[name][done : done + len(values)] = values
            done += len(wide)
        if done != total or not total:
            raise ValueError(f"{done} samples instead of the announced {total}")


def _create(path, attributes: Mapping):
    """Returns a new HDF5 file, open for writing."""
    import h5py  # where HDF5 is asked for

    file = h5py.File(path, "w")
    for name, value in attributes.items():
        file.attrs[name] = value
    return file
