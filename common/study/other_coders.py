"""What other coders make of the same integers: entropy, Huffman, bz2, zstd-19, a static range coder, nncodec.

The integers are those that a compressed file holds; tensors that share a stream there are one sequence for every
coder, and each gets the better of two orders of axes, as ours does. Floats that the file keeps lossless count as they
are. The range coder (constriction) and nncodec run in environments that `make peers` makes.
"""

import bz2
import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zstandard

from kernels import entropy_coding, peers, soft_entropy
from kernels.entropy_coding import SHARED_SIZE, Quantized

FLOAT32, ENTROPY, HUFFMAN, BZ2, ZSTD = "float32", "zero-order entropy (bound)", "scalar Huffman", "bz2", "zstd-19"
RANGE, NNCODEC, STREAMS, FILE = "static range coder", "nncodec", "ours, streams", "ours, whole file"
MISSING, TOO_MANY = "make peers", "too many values"
LARGEST_ALPHABET = 1 << 20  # values beyond it a static coder's table makes no sense
LARGEST_DENSE = 1 << 20  # alphabets up to this wide list a length of code word for every value between the ends


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bytes by coder (None: its environment is not there, or it cannot), and what they were measured on.

    Attributes:
      bytes: coder -> size.
      values: how many weights there are.
      versions: of the coders that are not ours.
    """

    bytes: Mapping[str, int | None]
    values: int
    versions: Mapping[str, str]

    def report(self) -> tuple[list[str], list[list], str, str]:
        """Returns (columns, rows, title, note) for `run.table`."""
        columns = ["coder", "bytes", "% of float32", "bits a value", "against ours"]
        ours, float32 = self.bytes[FILE], self.bytes[FLOAT32]
        assert ours is not None and float32 is not None  # their size needs no environment
        rows: list[list] = []
        for name, size in self.bytes.items():
            if size is None:
                is_there = name == RANGE and "constriction" in self.versions
                rows.append([name, TOO_MANY if is_there else MISSING, None, None, None])
            else:
                rows.append([name, size, 100 * size / float32, 8 * size / self.values, round(size / ours, 4)])
        note = (
            "All coders get the same integers and no file header, but the last line, which is the whole file with "
            "names, shapes and check sums. Tables that a decoder needs are counted; the entropy is a bound without any."
        )
        return columns, rows, "The same integers by other coders", note


def measure(data: bytes, **limits) -> Sizes:
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
        HUFFMAN: sum(huffman_bytes(part) for part in parts) + lossless,
        BZ2: sum(_best_order(part, lambda q: len(bz2.compress(narrowest(q), 9))) for part in parts) + lossless,
        ZSTD: sum(_best_order(part, _zstd_bytes) for part in parts) + lossless,
        RANGE: None,
        NNCODEC: None,
        STREAMS: summary.total_bytes - summary.header_bytes,
        FILE: summary.total_bytes,
    }
    versions = {"zstandard": zstandard.__version__}
    for name, environment, size in ((RANGE, "coders", _range_bytes), (NNCODEC, "nncodec", _nncodec_bytes)):
        if peers.missing(environment) is None:
            with peers.start(environment) as peer:
                if name != RANGE or max(map(_alphabet, parts), default=0) <= LARGEST_ALPHABET:
                    sizes[name] = sum(size(peer, part) for part in parts) + lossless
                versions |= {key: value for key, value in peer.ask("version").items() if isinstance(value, str)}
    return Sizes({name: None if size is None else int(size) for name, size in sizes.items()}, values, versions)


def sequences(tree: Mapping) -> tuple[list[np.ndarray], int]:
    """Returns the integer tensors of a decoded tree, small ones end to end, and the bytes of the lossless rest."""
    large, small, lossless = [], [], 0
    for leaf in _leaves(tree):
        values = np.asarray(leaf.q if isinstance(leaf, Quantized) else leaf)
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


def huffman_bytes(q: np.ndarray) -> int:
    """Returns the bytes of a canonical Huffman code: code words, and a table from which a decoder can rebuild them.

    The table is the least value (4 bytes), the width of the alphabet (4) and a byte of code length for each value
    between, or the values and lengths that occur (5 bytes each); deflated where that is shorter.
    """
    if q.size == 0:
        return 0
    symbols, counts = np.unique(q, return_counts=True)
    lengths = soft_entropy.huffman_lengths(counts)
    pairs = np.concatenate([symbols.astype("<i4").view(np.uint8), lengths.astype(np.uint8)]).tobytes()
    tables = [pairs, zlib.compress(pairs, 9)]
    width = _alphabet(symbols)
    if width <= LARGEST_DENSE:
        dense = np.zeros(width, np.uint8)
        dense[symbols - symbols[0]] = np.maximum(lengths, 1)
        tables += [dense.tobytes(), zlib.compress(dense.tobytes(), 9)]
    return -(-int(counts @ lengths) // 8) + 8 + min(map(len, tables))


def narrowest(q: np.ndarray) -> bytes:
    """Returns the values as the smallest of int8, int16, int32 that holds them."""
    low, high = (int(q.min()), int(q.max())) if q.size else (0, 0)
    for dtype in (np.int8, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return q.astype(dtype).tobytes()
    return q.astype(np.int32).tobytes()


def _best_order(q: np.ndarray, size: Callable[[np.ndarray], int]) -> int:
    """The shorter of a tensor as it is stored and with its last axis first."""
    orders = [q] if q.ndim < 2 else [q, np.moveaxis(q, -1, 0)]
    return min(size(np.ascontiguousarray(order)) for order in orders)


def _zstd_bytes(q: np.ndarray) -> int:
    return len(zstandard.ZstdCompressor(level=19).compress(narrowest(q)))


def _alphabet(q: np.ndarray) -> int:
    return int(q.max()) - int(q.min()) + 1 if q.size else 0


def _range_bytes(peer: peers.Peer, q: np.ndarray) -> int:
    return peer.ask("sizes", tensor=q)["range_coder"]


def _nncodec_bytes(peer: peers.Peer, q: np.ndarray) -> int:
    def size(values: np.ndarray) -> int:
        matrix = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(1, -1)
        options: dict[str, Any] = {
            "tensor": peer.put("tensor", matrix),
            "stream": peer.folder / "stream",
            "presets": True,
        }
        lengths = [peer.ask("encode", **options)["length"]]
        if len(matrix) > 1 and matrix.shape[1] > 1 and not matrix.any(axis=1).all():
            lengths.append(peer.ask("encode", profile=1, row_skip=True, **options)["length"])
        return min(lengths)

    return _best_order(q, size)
