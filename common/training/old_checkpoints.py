"""Checkpoints from before Orbax's manager wrote them: one tree with its own CRC-32. Read, never written."""

import pathlib
import zlib
from collections.abc import Mapping

import numpy as np

from common import orbax_files


def is_old(path: pathlib.Path) -> bool:
    """Returns whether a step's directory is of the former kind."""
    return (path / "_METADATA").is_file()


def load(path: pathlib.Path, step: int) -> dict[str, np.ndarray]:
    """Returns leaves by name.

    Raises:
      ValueError: a number has changed since it was written. Orbax raises others where it cannot read at all.
    """
    content = orbax_files.load(path)
    leaves = orbax_files.unmark_empty(content["leaves"])
    if int(content["checksum"]) != checksum(leaves) or int(content["step"]) != step:
        raise ValueError("its checksum does not fit its content")
    return leaves


def checksum(leaves: Mapping[str, np.ndarray]) -> int:
    """Returns a CRC-32 over names, types, shapes and bytes."""
    crc = 0
    for name in sorted(leaves):
        array = leaves[name]
        crc = zlib.crc32(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return crc
