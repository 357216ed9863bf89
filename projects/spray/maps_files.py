"""Relevance maps as users have them: an attribution file as ViRelAy reads it, or NumPy arrays."""

import pathlib
from typing import NamedTuple

import numpy as np

from common import app, explorer_files


class Maps(NamedTuple):
    """Relevance maps and what they are of.

    Attributes:
      relevance: float `[n, height, width, channels]`.
      labels: class that each was explained for, int64 `[n]`; the attribute `target` of an .h5 file says whether that is
        the sample's label, the prediction or one class for all.
      index: numbers of the samples in their data set, int64 `[n]`.
      predictions: outputs `[n, classes]`, None where nobody says.
      is_wrong: bool `[n]`, whether the network took the sample for another class than its label says; none where nobody
        says.
      strategy: as ViRelAy names it, which class was explained.
    """

    relevance: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    predictions: np.ndarray | None
    is_wrong: np.ndarray
    strategy: str = "true_label"


def read(path: str, labels: str | None, run: app.Run | None = None) -> Maps:
    """Returns the maps of a file.

    Args:
      path: `.h5` with relevance and labels in ViRelAy's layout, or `.npy` with `[n, height, width]` or
        `[n, height, width, channels]`.
      labels: `.npy` with integers `[n]`, for maps from `.npy`; None: all maps are of one class, 0.
      run: whose inputs these become.

    Raises:
      ValueError: another file, shape or number of labels.
    """
    source = pathlib.Path(path)
    if not source.is_file():
        raise ValueError(f"--attribution={path}: no such file; expected .h5 from an explain verb, or .npy")
    if run is not None:
        run.inputs(source, *([labels] if labels else []))
    if source.suffix in (".h5", ".hdf5"):
        if labels:
            raise ValueError(f"--labels={labels}: {source.name} has labels of its own")
        return _read_hdf5(source)
    if source.suffix != ".npy":
        raise ValueError(f"--attribution={path}: expected .h5, .hdf5 or .npy")
    relevance = array(source)
    if relevance.ndim == 3:
        relevance = relevance[..., None]
    if relevance.ndim != 4 or not np.issubdtype(relevance.dtype, np.floating):
        raise ValueError(
            f"{source}: {relevance.dtype} {relevance.shape}; expected floats [n, height, width] or "
            "[n, height, width, channels]"
        )
    own = np.zeros(len(relevance), np.int64) if labels is None else array(pathlib.Path(labels))
    if own.shape != (len(relevance),) or not np.issubdtype(own.dtype, np.integer) or (own < 0).any():
        raise ValueError(
            f"--labels={labels}: {own.dtype} {own.shape}; expected {len(relevance)} class numbers from 0, as integers"
        )
    return Maps(relevance, own.astype(np.int64), np.arange(len(relevance)), None, np.zeros(len(relevance), bool))


def array(path: pathlib.Path) -> np.ndarray:
    """Returns the array of an .npy file.

    Raises:
      ValueError: it cannot be read as one.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an .npy file: {error}") from None


def _read_hdf5(path: pathlib.Path) -> Maps:
    attributions = explorer_files.read_attribution(path)
    if isinstance(attributions.relevance, list):
        sizes = sorted({one.shape[:2] for one in attributions.relevance})
        raise ValueError(f"{path}: maps of several sizes, such as {sizes[0]} and {sizes[-1]}: bring them to one first")
    if attributions.labels.ndim != 1:
        raise ValueError(f"{path}: samples with several labels: write the class that each map was made for")
    index = np.asarray(attributions.index, np.int64)
    labels, predicted = attributions.labels, attributions.predictions.argmax(-1)
    target, strategy = str(attributions.attributes.get("target", "label")), "true_label"
    explained = labels
    if target == "prediction":
        explained, strategy = predicted.astype(np.int64), "predicted_label"
    elif target.isdigit():
        explained = np.full(len(labels), int(target), np.int64)
    relevance, wrong = np.asarray(attributions.relevance), predicted != labels
    return Maps(relevance, explained, index, attributions.predictions, wrong, strategy)
