"""The IDX format of MNIST: two zero bytes, a type, the number of axes, the axes' lengths, then the values, big-endian.

Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").
"""

import math
import struct
from pathlib import Path

import numpy as np

from . import content
from .dataset import DamagedDataError

TYPES: dict[int, np.dtype] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
LIMIT = 1 << 32  # bytes; the largest published relative (EMNIST by class) has 0.55e9


def parse(data: bytes, name: str) -> np.ndarray:
    """The array in `data`, in native byte order.

    Args:
      data: decompressed content of an IDX file.
      name: what to call it in an error, usually its path.

    Raises:
      DamagedDataError: wrong magic, unknown type, or a length that differs from what the header declares.
    """
    dtype, shape, start = header(data, name)
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        kind = "cut short" if len(data) < expected else "too long"
        raise DamagedDataError(
            f"{name}: {kind}: axes {'x'.join(map(str, shape))} need {expected:,} bytes, the file has {len(data):,}"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def header(data: bytes, name: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """Type (big-endian), shape, and offset of the first value, from the first bytes of a file; raises as `parse`."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or data[3] == 0:
        raise DamagedDataError(
            f"{name}: not an IDX file: it begins with {data[:4].hex(' ') or 'nothing'}, expected 00 00, a type of "
            f"{', '.join(f'{code:02x}' for code in TYPES)} and the number of axes"
        )
    dtype, axes = TYPES[data[2]], data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise DamagedDataError(f"{name}: cut short: the header alone needs {start} bytes, the file has {len(data)}")
    return dtype, struct.unpack(f">{axes}I", data[4:start]), start


def read_bytes(path: Path) -> bytes:
    """The decompressed bytes of an IDX file, gzipped or not: at most one more than its header declares."""
    with content.open_content(path) as stream:
        data = stream.read(4 + 4 * 255)
        dtype, shape, start = header(data, str(path))
        expected = start + math.prod(shape) * dtype.itemsize
        if expected > LIMIT:
            raise DamagedDataError(f"{path}: its header declares {expected:,} bytes, more than {LIMIT:,}")
        pieces = [data]
        remainder = expected + 1 - len(data)
        while remainder > 0 and (piece := stream.read(min(remainder, content.CHUNK))):
            pieces.append(piece)
            remainder -= len(piece)
    return b"".join(pieces)


def read(path: Path) -> np.ndarray:
    """The array in an IDX file, gzipped or not."""
    return parse(read_bytes(path), str(path))


def dump(array: np.ndarray) -> bytes:
    """The bytes of an IDX file that holds `array` (uint8, int8, int16, int32, float32 or float64; 1 to 255 axes)."""
    for code, dtype in TYPES.items():
        if array.dtype.newbyteorder("=") == dtype.newbyteorder("="):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
            return header + array.astype(dtype).tobytes()
    raise ValueError(f"IDX has no type for {array.dtype}: use uint8, int8, int16, int32, float32 or float64")
