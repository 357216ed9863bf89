"""Turns a compressed network back into weights: `--input=model.dcb --output=Y`.

Y is `NAME.npz`, `NAME.safetensors`, or a name without suffix: an Orbax directory. It is written whole or not at all.
"""

import dataclasses
import pathlib

from common import app, config, weight_files
from common.training import checkpoint
from kernels import entropy_coding
from kernels.entropy_coding import DEFAULT_MAX_OUTPUT_BYTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecompressConfig:
    """One decompression."""

    input: str = config.field(help="a file that compress wrote")
    output: str = config.field(help="the weights: NAME.npz, NAME.safetensors, or NAME for an Orbax directory")
    max_output_bytes: int = config.field(
        DEFAULT_MAX_OUTPUT_BYTES, "refuse a file that declares more bytes of weights than this", minimum=0
    )
    jobs: int | None = config.field(None, "threads (none: one a core)", minimum=1, identity=False)


def main(config: DecompressConfig, run: app.Run) -> dict:
    """Decodes the file and writes the weights; returns their count and size."""
    if not checkpoint.is_weights_path(config.output):
        raise ValueError(f"--output={config.output}: expected NAME.npz, NAME.safetensors, or no suffix (Orbax)")
    run.inputs(config.input)
    data = read(config.input)
    try:
        tree = entropy_coding.decompress(data, max_output_bytes=config.max_output_bytes, jobs=config.jobs)
    except ValueError as error:
        raise ValueError(f"{config.input}: {error}") from None
    if not isinstance(tree, dict):
        tree = {"tensor": tree} if hasattr(tree, "dtype") else dict(enumerate(tree))
    checkpoint.save_tree(config.output, tree)
    run.outputs(config.output)
    arrays = weight_files.flatten(tree)
    return {
        "output": config.output,
        "tensors": len(arrays),
        "values": sum(array.size for array in arrays.values()),
        "bytes": sum(array.nbytes for array in arrays.values()),
        "input_bytes": len(data),
    }


def read(path: str) -> bytes:
    """Returns the bytes of a file.

    Raises:
      ValueError: it is a directory.
    """
    if pathlib.Path(path).is_dir():
        raise ValueError(f"{path} is a directory; expected a file that compress wrote")
    return pathlib.Path(path).read_bytes()


if __name__ == "__main__":
    app.run(main, DecompressConfig)
