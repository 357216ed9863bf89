"""General-purpose coders on request: .venv-peers/coders/bin/python tests/peers/coders_server.py

One command, `sizes`: what bz2, zstd-19 and a static range coder make of a tensor of integers, with everything that a
decoder needs counted except the shape. Integers enter bz2 and zstd in the narrowest type that holds them.
"""

import bz2
import importlib.metadata
import zlib

import constriction
import line_server
import numpy as np
import zstandard

LARGEST_ALPHABET = 1 << 20


def narrowest(q: np.ndarray) -> np.ndarray:
    """Returns the values in the smallest of int8, int16, int32 that holds them."""
    low, high = (int(q.min()), int(q.max())) if q.size else (0, 0)
    for dtype in (np.int8, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return q.astype(dtype)
    return q.astype(np.int32)


def varints(values: np.ndarray) -> bytes:
    """Returns non-negative integers as LEB128 bytes."""
    out = bytearray()
    for value in values.tolist():
        while value >= 128:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)


def range_coder(q: np.ndarray, repeats: int) -> dict:
    """Returns the bytes of constriction's range coder under the tensor's own histogram, and of that histogram.

    The table is the smallest symbol (4 bytes), the alphabet's size (4) and the counts as variable-length integers,
    deflated where that is shorter.
    """
    low, high = int(q.min()), int(q.max())
    alphabet = high - low + 1
    if alphabet > LARGEST_ALPHABET:
        raise ValueError(f"values from {low} to {high}: a table of more than {LARGEST_ALPHABET} counts makes no sense")
    symbols = (q.reshape(-1).astype(np.int64) - low).astype(np.int32)
    counts = np.bincount(symbols, minlength=alphabet)
    raw = varints(counts)
    table = 8 + min(len(raw), len(zlib.compress(raw, 9)))
    if alphabet == 1:
        return {"payload": 0, "table": table, "encode_seconds": [0.0] * repeats, "decode_seconds": [0.0] * repeats}
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=alphabet <= 4096)

    def write():
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, model)
        return encoder.get_compressed()

    words, encode_seconds = line_server.timed(write, repeats)
    back, decode_seconds = line_server.timed(
        lambda: constriction.stream.queue.RangeDecoder(words).decode(model, symbols.size), repeats
    )
    if not np.array_equal(back, symbols):
        raise ValueError("constriction's decoder did not return what its encoder was given")
    return {
        "payload": words.size * words.itemsize,
        "table": table,
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
    }


def sizes(tensor: str, repeats: int = 1) -> dict:
    """Returns bytes of the int32 .npy file `tensor` by coder, its zero-order entropy in bytes, and seconds.

    Keys: `entropy` (a float: the bound without any table), `bz2`, `zstd19`, `range_coder` (payload and table together)
    and `range_coder_parts`, which holds both and the seconds of encoding and decoding.
    """
    q = np.load(tensor, allow_pickle=False)
    if q.size == 0:
        return {"entropy": 0.0, "bz2": 0, "zstd19": 0, "range_coder": 0, "range_coder_parts": None}
    counts = np.unique(q, return_counts=True)[1] / q.size
    data = narrowest(q).tobytes()
    parts = range_coder(q, repeats)
    return {
        "entropy": abs(float((counts * np.log2(counts)).sum() * q.size / 8)),
        "bz2": len(bz2.compress(data, 9)),
        "zstd19": len(zstandard.ZstdCompressor(level=19).compress(data)),
        "range_coder": parts["payload"] + parts["table"],
        "range_coder_parts": parts,
    }


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("constriction", "zstandard", "numpy")}


if __name__ == "__main__":
    line_server.serve({"sizes": sizes, "version": version})
