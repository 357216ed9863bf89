"""What every message of this room begins and ends with: magic, version, mode, and a checksum of what was agreed upon.

The checksum covers the number of entries, the sizes of tensors where there are some, and all bytes before it: a message
that is read with others is refused as a damaged one is.
"""

import struct
import zlib
from collections.abc import Sequence

MAGIC, VERSION = b"HG", 1
TERNARY, DENSE, TENSORS, VALUES = range(4)  # modes
HEAD = len(MAGIC) + 2  # bytes
SUM = 4


def sealed(mode: int, body: bytes, n: int, sizes: Sequence[int] = ()) -> bytes:
    """The message of a body."""
    message = MAGIC + bytes([VERSION, mode]) + body
    return message + struct.pack("<I", _checksum(message, n, sizes))


def opened(data: bytes, n: int, sizes: Sequence[int] = ()) -> tuple[bytes, int]:
    """(a message without its checksum, which holds, its mode); ValueError for anything else."""
    if len(data) < HEAD + SUM or data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{len(data)} bytes that begin with {data[:4]!r} are no message of a sparse vector")
    if data[len(MAGIC)] != VERSION:
        raise ValueError(f"the message has version {data[len(MAGIC)]}: this reader knows {VERSION}, or it is damaged")
    message, mode = data[:-SUM], data[HEAD - 1]
    if mode not in (TERNARY, DENSE, TENSORS, VALUES):
        raise ValueError(f"the message has mode {mode}: expected {TERNARY} to {VALUES}, or it is damaged")
    if mode == TENSORS and not len(sizes):
        raise ValueError("the message has a magnitude a tensor: read it with sizes=, those it was written with")
    if struct.unpack("<I", data[-SUM:])[0] != _checksum(message, n, sizes if mode == TENSORS else ()):
        of_sizes = f" in tensors of {list(sizes)}" if mode == TENSORS else ""
        raise ValueError(
            f"the checksum of the message does not hold: it is cut off, altered, or not of n={n} entries{of_sizes}"
        )
    return message, mode


def _checksum(message: bytes, n: int, sizes: Sequence[int]) -> int:
    return zlib.crc32(message, zlib.crc32(struct.pack(f"<{1 + len(sizes)}Q", n, *sizes)))


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more come."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def read_varint(message: bytes, first: int) -> tuple[int, int]:
    """(the number, the byte after it)."""
    number = 0
    for i in range(5):
        if first + i >= len(message):
            raise ValueError("the message ends within k")
        byte = message[first + i]
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            if i and byte == 0:
                raise ValueError("k is written with more bytes than it needs, as no encoder does")
            return number, first + i + 1
    raise ValueError("k has more than five bytes, as no encoder writes")
