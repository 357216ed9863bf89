"""Streams of messages that are not sparse vectors of floats or of one magnitude: floats, signs, levels.

    b"HF", version, kind | body | CRC-32, little-endian
    2 bytes  1        1             4

The checksum covers the number of weights and all before it: a message read with another number of weights, or as
another kind, is refused as a damaged one is. Sparse vectors have a frame of the same size (`kernels.golomb`).
"""

import struct
import zlib
from typing import Any

import numpy as np

MAGIC, VERSION = b"HF", 1
FLOATS, BINARY, TERNARY, LEVELS, CODED = range(5)
NAMES = ("floats", "signs", "signs and zeros", "levels in Elias' code", "levels of the arithmetic coder")
FRAME_BYTES = len(MAGIC) + 2 + 4
_POWERS = 3 ** np.arange(5, dtype=np.uint8)  # five signs and zeros a byte


def seal(kind: int, n: int, body: bytes) -> bytes:
    """Returns a message of n weights."""
    message = MAGIC + bytes([VERSION, kind]) + body
    return message + struct.pack("<I", _checksum(message, n))


def unseal(data: bytes, n: int, *kinds: int) -> tuple[int, bytes]:
    """Returns the kind of a message and its body.

    Raises:
      ValueError: the data are no message of n weights of one of these kinds, or cut off or altered.
    """
    data = bytes(memoryview(data))
    if len(data) < FRAME_BYTES or data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{len(data)} bytes that begin with {data[:4]!r} are no message of weights")
    message = data[:-4]
    if struct.unpack("<I", data[-4:])[0] != _checksum(message, n):
        raise ValueError(f"the checksum of the message does not hold: it is cut off, altered, or not of n={n} weights")
    if data[2] != VERSION:
        raise ValueError(f"the message has version {data[2]}: this reader knows {VERSION}")
    if data[3] not in kinds:
        name = NAMES[data[3]] if data[3] < len(NAMES) else f"kind {data[3]}"
        raise ValueError(f"the message has {name}: expected {' or '.join(NAMES[kind] for kind in kinds)}")
    return data[3], message[4:]


def write_floats(values: Any) -> bytes:
    """Returns the message of float32 [n]."""
    values = np.asarray(values, "<f4")
    return seal(FLOATS, values.size, values.tobytes())


def read_floats(data: bytes, n: int) -> np.ndarray:
    """Returns float32 [n]; ValueError for what is no message of `write_floats`."""
    body = unseal(data, n, FLOATS)[1]
    if len(body) != 4 * n:
        raise ValueError(f"the message has {len(body)} bytes of floats: expected {4 * n} of n={n}")
    values = np.frombuffer(body, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the message holds values that are NaN or infinite, which no simulation sends")
    return values


def write_signs(signs: Any) -> bytes:
    """Returns the message of -1, 0, 1, int8 [n]: a bit each, or five a byte where there are zeros."""
    signs = np.asarray(signs, np.int8)
    if signs.all():
        return seal(BINARY, signs.size, np.packbits(signs < 0).tobytes())
    digits = np.pad((signs + 1).astype(np.uint8), (0, -signs.size % 5)).reshape(-1, 5)
    return seal(TERNARY, signs.size, (digits * _POWERS).sum(axis=1, dtype=np.uint8).tobytes())


def read_signs(data: bytes, n: int) -> np.ndarray:
    """Returns int8 [n]; ValueError for what is no message of `write_signs`."""
    kind, body = unseal(data, n, BINARY, TERNARY)
    codes = np.frombuffer(body, np.uint8)
    digits = codes[:, None] // _POWERS % 3 if kind == TERNARY else 2 * (1 - np.unpackbits(codes))
    digits = digits.reshape(-1)
    group = 8 if kind == BINARY else 5
    fill = digits[n:] != (2 if kind == BINARY else 0)
    if codes.size != -(-n // group) or fill.any() or (kind == TERNARY and (codes >= 3**5).any()):
        raise ValueError(f"the message has {codes.size} bytes of {NAMES[kind]}, which are none of n={n}")
    return digits[:n].astype(np.int8) - 1


def _checksum(message: bytes, n: int) -> int:
    return zlib.crc32(message, zlib.crc32(struct.pack("<Q", n)))
