"""Where data may lie on this machine: `$DATA_DIR`, then the user's cache.

The layout is the same in both: one folder a data set. Nothing here writes; files in `$DATA_DIR` are never changed.
"""

import os
from pathlib import Path


def data_dir(explicit: str | os.PathLike | None = None) -> Path | None:
    """The user's data folder: `explicit`, else `$DATA_DIR`, else None. It need not exist."""
    value = os.fspath(explicit) if explicit is not None else os.environ.get("DATA_DIR", "")
    return Path(value).expanduser() if value else None


def cache_dir(explicit: str | os.PathLike | None = None) -> Path:
    """The cache of data sets: `explicit`, else `$HAVEL_CACHE`, `$XDG_CACHE_HOME/havel` or `~/.cache/havel`, each `/datasets`."""
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


def first_file(folders, names) -> Path | None:
    """The first existing file among `names` in the first of `folders` that has one."""
    for folder in folders:
        for name in names:
            if (path := folder / name).is_file():
                return path
    return None
