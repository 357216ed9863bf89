"""Where data may lie on this machine: `$DATA_DIR`, then the user's cache.

The layout is the same in both: one folder a data set. Nothing here writes; files in `$DATA_DIR` are never changed.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from .dataset import DatasetNotFoundError


def data_dir(explicit: str | os.PathLike | None = None) -> Path | None:
    """The user's data folder: `explicit`, else `$DATA_DIR`, else None. It need not exist."""
    value = os.fspath(explicit) if explicit is not None else os.environ.get("DATA_DIR", "")
    return Path(value).expanduser() if value else None


def cache_dir(explicit: str | os.PathLike | None = None) -> Path:
    """Folder `datasets` of the first of: `explicit`, `$HAVEL_CACHE`, `$XDG_CACHE_HOME/havel` or `~/.cache/havel`."""
    if explicit is not None:
        return Path(explicit).expanduser() / "datasets"
    if own := os.environ.get("HAVEL_CACHE"):
        return Path(own).expanduser() / "datasets"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "havel" / "datasets"


def describe_data_dir(folder: Path | None) -> str:
    """`folder` in words, for an error: unset, missing, or its path."""
    if folder is None:
        return "$DATA_DIR (not set)"
    return f"DATA_DIR={folder}" + ("" if folder.is_dir() else " (no such folder)")


def first_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first existing file among `names` in the first of `folders` that has one."""
    for folder in folders:
        for name in names:
            if (path := folder / name).is_file():
                return path
    return None


def not_found(
    name: str, root: Path | None, cached: Path, missing: str, address: str, reason: object
) -> DatasetNotFoundError:
    """The error for a set that is nowhere.

    Args:
      name: of the set.
      root: the data folder that was searched, or None.
      cached: the folder of the set in the cache; its name is also that of the folder to make.
      missing: the files to provide, in words.
      address: where they can be had, or "" when no public address has them.
      reason: why fetching them failed.
    """
    remedy = f" (from {address})" if address else ""
    return DatasetNotFoundError(
        f"{name} was not found in {describe_data_dir(root)} nor in the cache {cached}, and could not be downloaded "
        f"({reason}). Missing: {missing}{remedy}. Put this into a folder <somewhere>/{cached.name} and set "
        f"DATA_DIR=<somewhere>, or name a mirror in HAVEL_MIRROR"
    )
