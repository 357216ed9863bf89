"""What steps give: of the kind that they say, with as many samples as they got; and which steps made it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels import spectral
from projects.spray.pipelines import digests
from projects.spray.pipelines.operations import Laplacian, Selection

EXPECTED = {
    "maps": "an array [n, height, width] or [n, height, width, channels]", "rows": "an array [n, d]",
    "neighbors": "kernels.spectral.Neighbors", "distances": "an array [n, n]",
    "graph": "kernels.spectral.Graph, or an array [n, n]", "laplacian": "operations.Laplacian",
    "embedding": "kernels.spectral.Embedding", "selection": "pipelines.Selection",
    "labels": "whole numbers [n]", "coordinates": "an array [n, 2] or with more columns",
}  # fmt: skip
CLASSES = {
    "neighbors": spectral.Neighbors, "graph": spectral.Graph, "laplacian": Laplacian, "embedding": spectral.Embedding,
    "selection": Selection,
}  # fmt: skip
AXES = {"maps": (3, 4), "rows": (2,), "distances": (2,), "graph": (2,), "labels": (1,), "coordinates": (2,)}


def count_of(value: Any) -> int | None:
    """Returns the number of samples of a value of any kind; None where it is not seen."""
    if isinstance(value, spectral.Neighbors):
        return len(value.index)  # a tuple's `index` is a method
    if isinstance(value, spectral.Graph):
        return len(value.degree)
    if isinstance(value, Laplacian):
        return count_of(value.graph)
    if isinstance(value, spectral.Embedding):
        return len(value.vectors)
    if isinstance(value, Selection):
        return len(value.rows)
    shape = getattr(value, "shape", None)
    return shape[0] if shape else None


def check(where: str, kind: str, before: Any, value: Any) -> None:
    """Raises errors where a function of one's own does not give what it says, for every sample.

    Raises:
      TypeError: a value of another kind. ValueError: for another number of samples than it got.
    """
    if not _is_of(kind, value):
        shape = getattr(value, "shape", None)
        form = f" {value.dtype} of shape {tuple(shape)}" if shape is not None and hasattr(value, "dtype") else ""
        raise TypeError(f"{where}: gives {type(value).__name__}{form}: expected {kind}, {EXPECTED[kind]}")
    samples, count = count_of(before), count_of(value)
    if samples is not None and count != samples:
        raise ValueError(
            f"{where}: gives {count} samples for {samples}: expected one for each; leave samples out of the input of "
            "the pipeline instead"
        )


def _is_of(kind: str, value: Any) -> bool:
    if kind in CLASSES and isinstance(value, CLASSES[kind]):
        return True
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if kind not in AXES or shape is None or dtype is None or len(shape) not in AXES[kind]:
        return False
    if kind in ("distances", "graph") and shape[0] != shape[1]:
        return False
    return np.dtype(dtype).kind in ("iu" if kind == "labels" else "biuf") or "float" in str(dtype) and kind != "labels"


def maker(slot: str, chains: dict[str, Sequence], parameters) -> str | None:
    """Returns a digest of the steps of a slot; None of steps that have none, such as a callable without code."""
    parts = {}
    try:
        for child, chain in chains.items():
            parts[child] = [
                (
                    item.function if isinstance(item.function, str) else digests.function_version(item.function),
                    item.source, dict(parameters(slot, item)),
                )
                for item in chain
            ]  # fmt: skip
        return digests.digest((slot, parts))
    except TypeError:
        return None
