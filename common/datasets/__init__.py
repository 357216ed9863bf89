"""Data sets as NumPy arrays: `load(name)` finds, fetches, checks and describes them.

Order: `$DATA_DIR`, the user's cache (`$HAVEL_CACHE`, `$XDG_CACHE_HOME/havel`, `~/.cache/havel`), the official address
(or `$HAVEL_MIRROR`), else an error that says what to do. Nothing is unpickled, and `$DATA_DIR` is never written to.
"""

import dataclasses
import importlib
from typing import Any

from .dataset import (
    DamagedDataError,
    Dataset,
    DatasetNotFoundError,
    Split,
    split_validation,
    standardise,
)

NAMES = ("mnist", "fashion_mnist", "cifar10", "digits", "imagenet_samples", "fsdd")

__all__ = [
    "NAMES",
    "DamagedDataError",
    "Dataset",
    "DatasetNotFoundError",
    "Split",
    "load",
    "split_validation",
    "standardise",
]


def load(name: str, *, fallback: str | None = None, **options: Any) -> Dataset:
    """The data set `name`.

    Args:
      name: one of NAMES.
      fallback: "digits" to get scikit-learn's digits, enlarged to 28x28, when `name` is nowhere to be found or fetched.
        The result then says so in `notice` and `fallback_for`, which the caller prints. Damaged data still raises.
      **options: for every set but digits: data_dir, cache_dir (instead of the environment's), mirror,
        allow_download=True, progress(filename, bytes, total), policy (download.Policy).
        digits: size=8 (or 12 to 256). cifar10: form="auto" | "jpeg" | "binary", train_count, test_count.
        imagenet_samples: indices, crop.

    Raises:
      ValueError: unknown name or option value, or damaged data (DamagedDataError).
      DatasetNotFoundError: the data is nowhere, and the message says what to do.
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    if fallback not in (None, "", "digits"):
        raise ValueError(f"fallback={fallback!r}: only 'digits' is embedded and can stand in")
    module = importlib.import_module(f".{name}", __name__)
    try:
        return module.load(**options)
    except DatasetNotFoundError as error:
        if not fallback:
            raise
        from . import digits

        notice = f"{name} is not available, scikit-learn's digits (enlarged to 28x28) stand in for it: {error}"
        return dataclasses.replace(digits.load(size=28), notice=notice, fallback_for=name)
