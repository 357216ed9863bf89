"""A sparse ternary vector as one message: framing, side information, payload.

    b"HG", version, mode | k | b, mu | positions and signs | CRC-32
    2 bytes  1       1     varint  1, 4    bits              4         little-endian

k, b and mu stand in mode 0 only, b and mu only where k is not 0; mode 1 has all values as float32, where that is
shorter. The checksum covers n and all before it: a message read with another n is refused as a damaged one is. b is
`golomb_parameter(k / n)`, so that `golomb_bits` says how long the payload is.
"""

import dataclasses
import math
import struct
import zlib

import numpy as np

from ..array_types import ArrayLike, Buffer, Count, Float32, Int64, Scalar
from ..scalars import not_negative, real, whole
from .lengths import LARGEST_PARAMETER, bits_of_places, checked_mask, golomb_parameter

MAGIC, VERSION = b"HG", 1
TERNARY, DENSE = 0, 1
_HEAD = len(MAGIC) + 2  # bytes
_SUM = 4
_SIDE = struct.Struct("<Bf")  # b and mu
LONGEST = 2**31 - 1  # entries


@dataclasses.dataclass(frozen=True)
class Account:
    """What the bits of a message are; their sum is eight times its bytes.

    Attributes:
      payload_bits: of positions and signs, or of dense values; with none selected 0.
      side_bits: of k, b and mu.
      framing_bits: of magic, version, mode and checksum, and what fills the last byte of the payload.
    """

    payload_bits: int
    side_bits: int
    framing_bits: int


def encode(mask: ArrayLike, signs: ArrayLike, mu: Scalar) -> bytes:
    """The message of mu * signs on the mask, 0 elsewhere.

    Args:
      mask: bool [n], as of `sparse_ternary.ternarize`.
      signs: numbers [n], +1 or -1 where the mask is True; elsewhere they are not read.
      mu: the one magnitude, rounded to float32; finite and at least 0.

    Raises:
      ValueError: shapes differ, a sign is missing, or mu is out of range.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> data = golomb.encode(np.array([False, True, True, False]), np.array([0, -1, 1, 0]), 2.5)
      >>> golomb.decode(data, 4).tolist()
      [0.0, -2.5, 2.5, 0.0]
    """
    mask, signs = checked_mask(mask), np.asarray(signs)
    if mask.ndim != 1 or signs.shape != mask.shape:
        raise ValueError(
            f"mask has shape {mask.shape} and signs {signs.shape}: expected [n] of both, one vector a message"
        )
    whole("n", mask.size, 0, LONGEST)
    limit = float(np.finfo(np.float32).max)
    magnitude = real("mu", mu, "a finite float32 of at least 0", lambda value: not_negative(value) and value <= limit)
    places = np.flatnonzero(mask).astype(np.int64, copy=False)
    of_places = signs[places]
    if signs.dtype.kind not in "iufV" or not np.all(np.abs(of_places) == 1):
        raise ValueError("signs have other values than +1 and -1 where the mask is True: take those of `ternarize`")
    ternary = bytes([TERNARY]) + _ternary_body(places, (of_places < 0).astype(np.uint8), magnitude, mask.size)
    if len(ternary) > 1 + 4 * mask.size:
        dense = np.zeros(mask.size, "<f4")
        dense[places] = magnitude * of_places
        ternary = bytes([DENSE]) + dense.tobytes()
    message = MAGIC + bytes([VERSION]) + ternary
    return message + struct.pack("<I", _checksum(message, mask.size))


def decode(data: Buffer, n: Count) -> Float32[np.ndarray, " n"]:
    """The values of a message, float32 [n].

    Args:
      data: bytes-like, one whole message of `encode`.
      n: number of entries that the vector has.

    Raises:
      ValueError: the data are no such message, or cut off or altered, or of another n. Nothing of size n is made
        before the checksum holds.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> data = golomb.encode(np.ones(3, bool), np.array([1, -1, 1]), 0.5)
      >>> golomb.decode(data, 3).tolist()
      [0.5, -0.5, 0.5]
    """
    n = whole("n", n, 0, LONGEST)
    message, mode = _opened(data, n)
    if mode == DENSE:
        return _dense(message, n)
    k, b, mu, first = _side_information(message, n)
    values = np.zeros(n, np.float32)
    bits = _read_payload(message, first, k, b, mu, values) if k else 0
    _check_end(message, first, bits)
    return values


def account(data: Buffer, n: Count) -> Account:
    """What the bits of a message are spent on.

    Args:
      data, n: as for `decode`, which it also does: a damaged message is refused.

    Raises:
      ValueError: as `decode`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> mask = np.arange(100) % 25 == 0
      >>> golomb.account(golomb.encode(mask, mask.astype(int), 0.5), 100)
      Account(payload_bits=27, side_bits=48, framing_bits=69)
    """
    values = decode(data, n)
    message, mode = _opened(data, values.size)
    total = 8 * (len(message) + _SUM)
    if mode == DENSE:
        return Account(32 * values.size, 0, total - 32 * values.size)
    k, b, mu, first = _side_information(message, values.size)
    payload = _read_payload(message, first, k, b, mu, values) if k else 0
    side = 8 * (first - _HEAD)
    return Account(payload, side, total - payload - side)


def _ternary_body(places: Int64[np.ndarray, " k"], negative: np.ndarray, mu: float, n: int) -> bytes:
    k = places.size
    if k == 0:
        return _varint(0)
    from ..entropy_coding.core import golomb as core

    b = min(golomb_parameter(k / n), LARGEST_PARAMETER)
    payload = np.empty((bits_of_places(places, b) + 7) // 8, np.uint8)
    core.encode(places, negative, b, payload)
    return _varint(k) + _SIDE.pack(b, mu) + payload.tobytes()


def _checksum(message: bytes | memoryview, n: int) -> int:
    return zlib.crc32(message, zlib.crc32(struct.pack("<Q", n)))


def _opened(data: Buffer, n: int) -> tuple[bytes, int]:
    """(a message without its checksum, which holds, its mode)."""
    data = bytes(memoryview(data))
    if len(data) < _HEAD + _SUM or data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{len(data)} bytes that begin with {data[:4]!r} are no message of a sparse ternary vector")
    if data[len(MAGIC)] != VERSION:
        raise ValueError(f"the message has version {data[len(MAGIC)]}: this reader knows {VERSION}, or it is damaged")
    message = data[:-_SUM]
    if struct.unpack("<I", data[-_SUM:])[0] != _checksum(message, n):
        raise ValueError(f"the checksum of the message does not hold: it is cut off, altered, or not of n={n} entries")
    if message[_HEAD - 1] not in (TERNARY, DENSE):
        raise ValueError(f"the message has mode {message[_HEAD - 1]}: expected {TERNARY} or {DENSE}")
    return message, message[_HEAD - 1]


def _dense(message: bytes, n: int) -> np.ndarray:
    if len(message) != _HEAD + 4 * n:
        raise ValueError(f"{len(message) - _HEAD} bytes of dense values: expected {4 * n} of n={n} entries")
    values = np.frombuffer(message, "<f4", n, _HEAD).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the message holds values that are NaN or infinite, which no encoder writes")
    return values


def _side_information(message: bytes, n: int) -> tuple[int, int, float, int]:
    """(k, b, mu, the byte at which the payload begins)."""
    k, first = _read_varint(message, _HEAD)
    if k > n:
        raise ValueError(f"the message selects k={k} of n={n} entries")
    if k == 0:
        return 0, 0, 0.0, first
    if first + _SIDE.size > len(message):
        raise ValueError("the message ends within b and mu")
    b, mu = _SIDE.unpack_from(message, first)
    if b > LARGEST_PARAMETER or not (math.isfinite(mu) and mu >= 0):
        raise ValueError(
            f"the message has b={b} and mu={mu}: expected 0 to {LARGEST_PARAMETER}, and finite, 0 or above"
        )
    first += _SIDE.size
    if 8 * (len(message) - first) < k * (b + 2):
        raise ValueError(f"{len(message) - first} bytes cannot hold k={k} entries of {b + 2} bits or more")
    return k, b, mu, first


def _read_payload(message: bytes, first: int, k: int, b: int, mu: float, values: np.ndarray) -> int:
    """Fills values [n]; returns the bits that were read."""
    from ..entropy_coding.core import golomb as core

    bits = core.decode(np.frombuffer(message, np.uint8), first, k, b, float(mu), values)
    if bits < 0:
        wrong = {core.OVERRUN: "ends within an entry", core.BEYOND_THE_END: f"has an entry beyond n={values.size}"}
        raise ValueError(f"the payload of the message {wrong[bits]}")
    return bits


def _check_end(message: bytes, first: int, bits: int) -> None:
    """Nothing but zeros that fill the last byte comes after the payload."""
    if len(message) - first != (bits + 7) // 8 or (bits % 8 and message[-1] & ((1 << (8 - bits % 8)) - 1)):
        raise ValueError("the message does not end with its payload")


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more come."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _read_varint(message: bytes, first: int) -> tuple[int, int]:
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
