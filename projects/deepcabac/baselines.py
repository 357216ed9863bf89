"""What other coders make of the same integers: entropy, Huffman, bz2, zstd-19, a static range coder, nncodec.

The integers are those that a compressed file holds; tensors that share a stream there are one sequence for every
coder, and each gets the better of two orders of axes, as ours does. Floats that the file keeps lossless count as they
are. The range coder (constriction) and nncodec run in environments that `make peers` makes.
"""

import bz2
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import zstandard

from common.runs import provenance
from kernels import entropy_coding
from kernels.entropy_coding import SHARED_SIZE, Quantized
from projects.deepcabac import huffman

FLOAT32, ENTROPY, HUFFMAN, BZ2, ZSTD = "float32", "zero-order entropy (bound)", "scalar Huffman", "bz2", "zstd-19"
RANGE, NNCODEC, STREAMS, FILE = "static range coder", "nncodec", "ours, streams", "ours, whole file"
MISSING, TOO_MANY = "make peers", "too many values"
LARGEST_ALPHABET = 1 << 20  # values beyond it a static coder's table makes no sense


@dataclasses.dataclass(frozen=True)
class Table:
    """Bytes by coder (None: its environment is not there, or it cannot), and what they were measured on."""

    sizes: Mapping[str, int | None]
    values: int
    versions: Mapping[str, str]

    def report(self) -> tuple[list[str], list[list], str, str]:
        """Returns (columns, rows, title, note) for `run.table`."""
        columns = ["coder", "bytes", "% of float32", "bits a value", "against ours"]
        ours = self.sizes[FILE]
        rows = []
        for name, size in self.sizes.items():
            if size is None:
                rows.append(
                    [name, TOO_MANY if "constriction" in self.versions and name == RANGE else MISSING] + 3 * [None]
                )
            else:
                rows.append(
                    [name, size, 100 * size / self.sizes[FLOAT32], 8 * size / self.values, round(size / ours, 4)]
                )
        note = (
            "All coders get the same integers and no file header, but the last line, which is the whole file with "
            "names, shapes and check sums. Tables that a decoder needs are counted; the entropy is a bound without any."
        )
        return columns, rows, "The same integers by other coders", note


def measure(data: bytes, **limits) -> Table:
    """Returns the sizes for the integers of a compressed file.

    Args:
      data: what `entropy_coding.compress` returned.
      limits: jobs and max_output_bytes of the decoder.
    """
    summary = entropy_coding.inspect(data, **limits)
    parts, lossless = sequences(entropy_coding.decompress(data, quantized=True, **limits))
    values = sum(tensor.size for tensor in summary.tensors)
    sizes = {
        FLOAT32: 4 * values,
        ENTROPY: -(-sum(entropy_bits(part) for part in parts) // 8) + lossless,
        HUFFMAN: sum(huffman.encoded_bytes(part) for part in parts) + lossless,
        BZ2: sum(_best(part, lambda q: len(bz2.compress(narrowest(q).tobytes(), 9))) for part in parts) + lossless,
        ZSTD: sum(_best(part, _zstd_bytes) for part in parts) + lossless,
        RANGE: None,
        NNCODEC: None,
        STREAMS: summary.total_bytes - summary.header_bytes,
        FILE: summary.total_bytes,
    }
    versions = {"zstandard": zstandard.__version__}
    for name, environment, size in ((RANGE, "coders", _range_bytes), (NNCODEC, "nncodec", _nncodec_bytes)):
        with open_peer(environment) as ask:
            if ask is not None:
                if name != RANGE or max(map(_alphabet, parts), default=0) <= LARGEST_ALPHABET:
                    sizes[name] = sum(size(ask, part) for part in parts) + lossless
                versions |= {key: value for key, value in ask("version").items() if isinstance(value, str)}
    return Table({name: None if size is None else int(size) for name, size in sizes.items()}, values, versions)


def sequences(tree: Mapping) -> tuple[list[np.ndarray], int]:
    """Returns the integer tensors of a decoded tree, small ones end to end, and the bytes of the lossless rest."""
    large, small, lossless = [], [], 0
    for leaf in _leaves(tree):
        values = leaf.q if isinstance(leaf, Quantized) else leaf
        if not isinstance(leaf, Quantized) and (values.any() or values.dtype.kind in "iub"):
            lossless += values.nbytes
        elif values.size >= SHARED_SIZE and values.ndim > 1:
            large.append(values.astype(np.int32))
        elif values.any():  # an all-zero tensor is a mark in a header for every coder
            small.append(values.astype(np.int32).reshape(-1))
    large = [values for values in large if values.any()]
    return large + ([np.concatenate(small)] if small else []), lossless


def _leaves(tree) -> list:
    if isinstance(tree, Mapping):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for node in tree for leaf in _leaves(node)]
    return [] if tree is None else [tree]


def entropy_bits(q: np.ndarray) -> float:
    """Zero-order entropy of a tensor's own histogram times its size, in bits; no table is counted."""
    counts = np.unique(q, return_counts=True)[1]
    return abs(float(counts @ np.log2(counts / q.size))) if q.size else 0.0


def narrowest(q: np.ndarray) -> np.ndarray:
    """Returns the values in the smallest of int8, int16, int32 that holds them."""
    low, high = (int(q.min()), int(q.max())) if q.size else (0, 0)
    for dtype in (np.int8, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return q.astype(dtype)
    return q.astype(np.int32)


def _best(q: np.ndarray, size: Callable[[np.ndarray], int]) -> int:
    """The shorter of a tensor as it is stored and with its last axis first."""
    orders = [q] if q.ndim < 2 else [q, np.moveaxis(q, -1, 0)]
    return min(size(np.ascontiguousarray(order)) for order in orders)


def _zstd_bytes(q: np.ndarray) -> int:
    return len(zstandard.ZstdCompressor(level=19).compress(narrowest(q).tobytes()))


def _alphabet(q: np.ndarray) -> int:
    return int(q.max()) - int(q.min()) + 1 if q.size else 0


def _range_bytes(ask, q: np.ndarray) -> int:
    return ask("sizes", tensor=q)["range_coder"]


def _nncodec_bytes(ask, q: np.ndarray) -> int:
    def size(ordered: np.ndarray) -> int:
        matrix = ordered.reshape(len(ordered), -1) if ordered.ndim > 1 else ordered.reshape(1, -1)
        lengths = [ask("encode", tensor=matrix, stream=None, presets=True)["length"]]
        if len(matrix) > 1 and matrix.shape[1] > 1 and not matrix.any(axis=1).all():
            lengths.append(ask("encode", tensor=matrix, stream=None, presets=True, profile=1, row_skip=True)["length"])
        return min(lengths)

    return _best(q, size)


@contextlib.contextmanager
def open_peer(name: str):
    """Yields `ask(command, **arguments) -> dict` of a peer's server, or None where `make peers` has not built it.

    An array among the arguments is handed over as a file, and `stream=None` names a file that nobody keeps.
    """
    folder = provenance.ROOT / ".venv-peers" / name
    python, script = folder / "bin" / "python", provenance.ROOT / "tests" / "peers" / f"{name}_server.py"
    if not (python.is_file() and script.is_file() and any(folder.glob(".ready-*"))):
        yield None
        return
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with tempfile.TemporaryDirectory(prefix="havel-peer-") as exchange:
        process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            yield lambda command, **arguments: _ask(process, pathlib.Path(exchange), command, arguments)
        finally:
            process.stdin.close()
            process.stdout.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ask(process: subprocess.Popen, exchange: pathlib.Path, command: str, arguments: dict) -> dict:
    for key, value in arguments.items():
        if isinstance(value, np.ndarray):
            path = exchange / f"{key}.npy"
            np.save(path, value)
            arguments[key] = str(path)
        elif value is None:
            arguments[key] = str(exchange / key)
    process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    answer = json.loads(line) if line else {"ok": False, "error": f"ended with exit code {process.wait()}"}
    if not answer.pop("ok"):
        raise RuntimeError(f"the peer failed at {command!r}: {answer['error']}")
    return answer


def beaten(table: Table, names: Sequence[str] = (HUFFMAN, BZ2, ZSTD, RANGE, NNCODEC)) -> list[str]:
    """Returns the coders among `names` whose bytes are more than our whole file."""
    return [name for name in names if table.sizes[name] is not None and table.sizes[name] > table.sizes[FILE]]
