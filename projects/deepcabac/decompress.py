"""Turns a compressed network back into weights: `--input=model.dcb --output=Y`.

Y is `NAME.npz`, `NAME.safetensors`, or a name without suffix: an Orbax directory. It is written whole or not at all.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from common import app, config, weight_files
from kernels import entropy_coding
from projects.deepcabac.config import FileConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecompressConfig(FileConfig):
    """One decompression."""

    output: str = config.field(help="the weights: NAME.npz, NAME.safetensors, or NAME for an Orbax directory")


def main(settings: DecompressConfig, run: app.Run) -> dict:
    """Decodes the file and writes the weights; returns their count and size."""
    if not weight_files.is_weights_path(settings.output):
        raise ValueError(f"--output={settings.output}: expected NAME.npz, NAME.safetensors, or no suffix (Orbax)")
    run.inputs(settings.input)
    tree, size = read(entropy_coding.decompress, settings)
    if not isinstance(tree, dict):
        tree = {"tensor": tree} if hasattr(tree, "dtype") else dict(enumerate(tree))
    weight_files.save_tree(settings.output, tree)
    run.outputs(settings.output)
    arrays = weight_files.flatten(tree).values()
    return {
        "output": settings.output,
        "tensors": len(arrays),
        "values": sum(array.size for array in arrays),
        "bytes": sum(array.nbytes for array in arrays),
        "input_bytes": size,
    }


def read(reader: Callable[..., Any], settings: FileConfig) -> tuple[Any, int]:
    """Returns what `entropy_coding.decompress` or `inspect` makes of a file, and the file's bytes.

    Raises:
      ValueError: it is a directory, damaged or too large; the message begins with its name.
    """
    path = pathlib.Path(settings.input)
    if path.is_dir():
        raise ValueError(f"{path} is a directory; expected a file that compress wrote")
    data = path.read_bytes()
    try:
        return reader(data, max_output_bytes=settings.max_output_bytes, jobs=settings.jobs), len(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    app.run(main, DecompressConfig)
