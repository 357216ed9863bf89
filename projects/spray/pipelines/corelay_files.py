"""Opens the cache files that CoRelAy 1.0.0 wrote: `HashedHDF5` (a group a result) and `HDF5Storage` (a name a result).

A group of HashedHDF5 is named by a hash and holds `data` (arrays; tuples as groups 000, 001, …), `meta` (JSON: the
processor's name and those parameters that it counts), `input` and `output` (JSON: hashes). That hash rounds numbers to
two decimals and leaves out parameters such as the bins of a histogram, so that an entry does not prove what made it:
these readers return what is there, and nothing is looked up by a hash. Pickle files are not opened.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

PARTS = ("data", "meta", "input", "output")


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A result in a HashedHDF5.

    Attributes:
      key: the peer's hash.
      processor: the name of what made it.
      parameters: those that the peer counts.
      inputs, outputs: the peer's hashes, nested like the data.
      data: arrays, nested in tuples.
    """

    key: str
    processor: str
    parameters: Mapping[str, Any]
    inputs: Any
    outputs: Any
    data: Any


def read_hashed(path: str | os.PathLike, group: str = "/", processor: str | None = None) -> list[Entry]:
    """Returns the results in a HashedHDF5.

    Args:
      path: of the HDF5 file.
      group: in which they lie.
      processor: results of this one only, such as "EigenDecomposition"; None: all.

    Raises:
      ValueError: an entry is incomplete, as one is whose writer was stopped: the text names the file, the entry and
        what it lacks. A file without entries.
      KeyError: no such group.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if group not in file:
            raise KeyError(f"{path} has no group {group!r}: it has {', '.join(sorted(file)) or 'nothing'}")
        entries = [_entry(path, key, node) for key, node in file[group].items()]
    if not entries:
        raise ValueError(f"{path}: no entries in {group!r}")
    return [entry for entry in entries if processor in (None, entry.processor)]


def read_storage(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what is in an HDF5Storage by its `data_key`s: arrays, texts, tuples (keys 0, 1, …) and dicts of them."""
    import h5py

    with h5py.File(path, "r") as file:
        return {key: _unpacked(node) for key, node in file.items()}


def _entry(path, key: str, node) -> Entry:
    missing = [part for part in PARTS if not hasattr(node, "keys") or part not in node]
    if missing:
        raise ValueError(f"{path}: entry {key} lacks {', '.join(missing)}: unfinished, or no HashedHDF5")
    try:
        meta, inputs, outputs = (json.loads(node[part][()]) for part in PARTS[1:])
        name = meta.pop("name")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: entry {key} has no readable meta ({type(error).__name__}: {error})") from error
    return Entry(key, name, meta, inputs, outputs, _nested(node["data"]))


def _nested(node) -> Any:
    if hasattr(node, "keys"):
        return tuple(_nested(node[key]) for key in sorted(node, key=int))  # as texts, 1000 would stand before 999
    return node[()]


def _unpacked(node) -> Any:
    if hasattr(node, "keys"):
        keys = list(node)
        if keys and all(key.isdigit() for key in keys) and sorted(map(int, keys)) == list(range(len(keys))):
            return tuple(_unpacked(node[str(number)]) for number in range(len(keys)))
        return {key: _unpacked(node[key]) for key in keys}
    value = node[()]
    return value.decode() if isinstance(value, bytes) else np.asarray(value) if node.shape else value
