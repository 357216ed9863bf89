"""A sparse vector as one message: framing, side information, payload.

    b"HG", version, mode | k | b, magnitudes | positions and signs | CRC-32
    2 bytes  1       1     varint  1, 4 each   bits                  4         little-endian

Mode 0 has one magnitude mu; mode 2 one a tensor, for vectors that are tensors one after the other; mode 3 has 31 bits a
value after the positions and signs, the float without its sign. What follows k is there only where k is not 0. Mode 1
has all values as float32 and nothing else, where that is shorter. The checksum covers n, and the tensors' sizes in mode
2, and all before it: a message read with others is refused as a damaged one is. b is `golomb_parameter(k / n)`, so that
`golomb_bits` says how long positions and signs are.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..array_types import ArrayLike, Buffer, Count, Float, Float32, Int64, Scalar
from ..host_arrays import buffer, on_host
from ..scalars import not_negative, real, whole
from . import frame
from .lengths import LARGEST_PARAMETER, bits_of_places, checked_mask, golomb_parameter

LONGEST = 2**31 - 1  # entries
_FLOAT = 4  # bytes
_MAGNITUDE = 31  # bits of a float without its sign


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


def encode(mask: ArrayLike, signs: ArrayLike, mu: Scalar | ArrayLike, sizes: Sequence[Count] | None = None) -> bytes:
    """The message of mu * signs on the mask, 0 elsewhere.

    Args:
      mask: bool [n], as of `sparse_ternary.ternarize`.
      signs: numbers [n], +1 or -1 where the mask is True; elsewhere they are not read.
      mu: the one magnitude, rounded to float32; finite and at least 0. With `sizes`: one a tensor, [tensors].
      sizes: of the tensors that the vector is one after the other, at least 1 each; their sum is n.

    Raises:
      ValueError: shapes differ, a sign is missing, or a magnitude is out of range.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> data = golomb.encode(np.array([False, True, True, False]), np.array([0, -1, 1, 0]), 2.5)
      >>> golomb.decode(data, 4).tolist()
      [0.0, -2.5, 2.5, 0.0]
    """
    mask, signs = checked_mask(mask), on_host("signs", signs)
    if mask.ndim != 1 or signs.shape != mask.shape:
        raise ValueError(
            f"mask has shape {mask.shape} and signs {signs.shape}: expected [n] of both, one vector a message"
        )
    whole("n", mask.size, 0, LONGEST)
    lengths = _checked_sizes(sizes, mask.size)
    magnitudes = _magnitudes(mu, lengths)
    places = np.flatnonzero(mask).astype(np.int64, copy=False)
    of_places = signs[places]
    if signs.dtype.kind not in "iufV" or not np.all(np.abs(of_places) == 1):
        raise ValueError("signs have other values than +1 and -1 where the mask is True: take those of `ternarize`")
    side = magnitudes.tobytes()
    body = _sparse_body(places, of_places < 0, side, mask.size)
    if len(body) > _FLOAT * mask.size:
        dense = np.zeros(mask.size, np.float32)
        dense[places] = _at(places, magnitudes, lengths) * of_places
        return frame.sealed(frame.DENSE, dense.astype("<f4").tobytes(), mask.size)
    mode = frame.TERNARY if sizes is None else frame.TENSORS
    return frame.sealed(mode, body, mask.size, lengths if mode == frame.TENSORS else ())


def encode_values(values: Float[ArrayLike, " n"]) -> bytes:
    """The message of a vector as it is, for one that is mostly zeros: positions, and a float32 each.

    Args:
      values: floating-point numbers [n], rounded to float32; finite. All of them are written where that is shorter;
        -0 is then -0, otherwise 0.

    Raises:
      ValueError: values have another shape or type, or are not finite.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> golomb.decode(golomb.encode_values(np.array([0.0, -1.5, 0.0, 0.25])), 4).tolist()
      [0.0, -1.5, 0.0, 0.25]
    """
    vector = on_host("values", values)
    if vector.ndim != 1 or vector.dtype.kind not in "fV":
        raise ValueError(f"values are {vector.dtype} of shape {vector.shape}: expected floating-point numbers [n]")
    whole("n", vector.size, 0, LONGEST)
    with np.errstate(over="ignore"):  # said below
        vector = vector.astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("values are not finite as float32: expected finite numbers")
    places = np.flatnonzero(vector).astype(np.int64, copy=False)
    of_places = vector[places]
    bits = np.unpackbits(np.abs(of_places).astype(">f4").view(np.uint8)).reshape(-1, 32)[:, 1:]
    body = _sparse_body(places, np.signbit(of_places), b"", vector.size, bits.ravel())
    if len(body) >= _FLOAT * vector.size:
        return frame.sealed(frame.DENSE, vector.astype("<f4").tobytes(), vector.size)
    return frame.sealed(frame.VALUES, body, vector.size)


def decode(data: Buffer, n: Count, sizes: Sequence[Count] | None = None) -> Float32[np.ndarray, " n"]:
    """The values of a message, float32 [n].

    Args:
      data: bytes-like, one whole message of `encode` or `encode_values`.
      n: number of entries that the vector has.
      sizes: of its tensors, as `encode` had them.

    Raises:
      ValueError: the data are no such message, or cut off or altered, or of another n or other sizes. Nothing of size
        n is made before the checksum holds.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> data = golomb.encode(np.ones(3, bool), np.array([1, -1, 1]), 0.5)
      >>> golomb.decode(data, 3).tolist()
      [0.5, -0.5, 0.5]
    """
    return _read(bytes(buffer("data", data)), n, sizes)[0]


def account(data: Buffer, n: Count, sizes: Sequence[Count] | None = None) -> Account:
    """What the bits of a message are spent on.

    Args:
      data, n, sizes: as for `decode`, which it also does: a damaged message is refused.

    Raises:
      ValueError: as `decode`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> mask = np.arange(100) % 25 == 0
      >>> golomb.account(golomb.encode(mask, mask.astype(int), 0.5), 100)
      Account(payload_bits=27, side_bits=48, framing_bits=69)
    """
    data = bytes(buffer("data", data))
    _, payload, side = _read(data, n, sizes)
    return Account(payload, side, 8 * len(data) - payload - side)


def _read(data: bytes, n: Count, sizes: Sequence[Count] | None) -> tuple[Float32[np.ndarray, " n"], int, int]:
    """(values, bits of the payload, bits of what is beside it)."""
    n = whole("n", n, 0, LONGEST)
    lengths = _checked_sizes(sizes, n)
    message, mode = frame.opened(data, n, lengths if sizes is not None else ())
    if mode == frame.DENSE:
        return _dense(message, n), 32 * n, 0
    k, first = _entries(message, n)
    if k == 0:
        _check_end(message, first, 0)
        return np.zeros(n, np.float32), 0, 8 * (first - frame.HEAD)
    of_side = {frame.TERNARY: 1, frame.TENSORS: len(lengths), frame.VALUES: 0}[mode]
    b, magnitudes, first = _side_information(message, first, of_side)
    of_values = _MAGNITUDE * k if mode == frame.VALUES else 0
    if 8 * (len(message) - first) < k * (b + 2) + of_values:
        raise ValueError(f"{len(message) - first} bytes cannot hold k={k} entries of {b + 2} bits or more")
    values = np.zeros(n, np.float32)
    one = float(magnitudes[0]) if mode == frame.TERNARY else 1.0
    bits = _read_payload(message, first, k, b, one, values)
    _check_end(message, first, bits + of_values)
    if mode == frame.TENSORS:
        values *= np.repeat(magnitudes, lengths)
    elif mode == frame.VALUES:
        _put_magnitudes(np.frombuffer(message, np.uint8, offset=first), bits, values)
    return values, bits + of_values, 8 * (first - frame.HEAD)


def _checked_sizes(sizes: Sequence[Count] | None, n: int) -> Sequence[int]:
    """The sizes of tensors whose sum is n; of one where there are none."""
    if sizes is None:
        return (n,)
    lengths = [whole(f"sizes[{number}]", size, 1, n) for number, size in enumerate(sizes)]
    if sum(lengths) != n or not lengths:
        raise ValueError(f"sizes={lengths} add up to {sum(lengths)}: expected n={n}, at least one tensor")
    return lengths


def _magnitudes(mu, lengths: Sequence[int]) -> Float32[np.ndarray, " tensors"]:
    """One a tensor."""
    limit, count = float(np.finfo(np.float32).max), len(lengths)

    def holds(value: float) -> bool:
        return not_negative(value) and value <= limit

    def checked(name: str, value) -> float:
        return real(name, value, "a finite float32 of at least 0", holds)

    if count == 1 and np.ndim(mu) == 0:
        return np.array([checked("mu", mu)], "<f4")
    if np.ndim(mu) != 1 or len(mu) != count:
        if count == 1:
            checked("mu", mu)
        raise ValueError(f"mu has shape {np.shape(mu)}: expected ({count},), a magnitude a tensor")
    return np.array([checked(f"mu[{number}]", one) for number, one in enumerate(mu)], "<f4")


def _at(places: Int64[np.ndarray, " k"], magnitudes: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The magnitude of the tensor that each place is in."""
    ends = list(itertools.accumulate(lengths))
    return magnitudes[np.searchsorted(ends, places, side="right")]


def _sparse_body(places, negative, side: bytes, n: int, magnitude_bits=None) -> bytes:
    """k, b, the side information, and bits of positions, signs and, where there are some, magnitudes."""
    k = places.size
    if k == 0:
        return frame.varint(0)
    from ..entropy_coding.core import golomb as core

    b = min(golomb_parameter(k / n), LARGEST_PARAMETER)
    length = bits_of_places(places, b)
    payload = np.empty((length + 7) // 8, np.uint8)
    core.encode(places, negative.astype(np.uint8), b, payload)
    if magnitude_bits is not None:
        payload = np.packbits(np.concatenate([np.unpackbits(payload)[:length], magnitude_bits]))
    return frame.varint(k) + bytes([b]) + side + payload.tobytes()


def _dense(message: bytes, n: int) -> np.ndarray:
    if len(message) != frame.HEAD + _FLOAT * n:
        raise ValueError(f"{len(message) - frame.HEAD} bytes of dense values: expected {4 * n} of n={n} entries")
    values = np.frombuffer(message, "<f4", n, frame.HEAD).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the message holds values that are NaN or infinite, which no encoder writes")
    return values


def _entries(message: bytes, n: int) -> tuple[int, int]:
    """(k, the byte after it)."""
    k, first = frame.read_varint(message, frame.HEAD)
    if k > n:
        raise ValueError(f"the message selects k={k} of n={n} entries")
    return k, first


def _side_information(message: bytes, first: int, count: int) -> tuple[int, np.ndarray, int]:
    """(b, magnitudes, the byte at which the payload begins)."""
    end = first + 1 + _FLOAT * count
    if end > len(message):
        raise ValueError("the message ends within b and mu")
    b, magnitudes = message[first], np.frombuffer(message, "<f4", count, first + 1).astype(np.float32)
    if b > LARGEST_PARAMETER or not all(math.isfinite(mu) and mu >= 0 for mu in magnitudes):
        text = ", ".join(f"{mu}" for mu in magnitudes[:8])
        raise ValueError(
            f"the message has b={b} and mu={text}: expected 0 to {LARGEST_PARAMETER}, and finite, 0 or above"
        )
    return b, magnitudes, end


def _put_magnitudes(stream: np.ndarray, start: int, values: Float32[np.ndarray, " n"]) -> None:
    """Gives the signs in `values` the magnitudes whose bits begin at `start` of the stream."""
    places = np.flatnonzero(values)
    bits = np.unpackbits(stream[start // 8 :])[start % 8 :][: _MAGNITUDE * places.size]
    whole_floats = np.pad(bits.reshape(-1, _MAGNITUDE), ((0, 0), (1, 0)))
    magnitudes = np.packbits(whole_floats, axis=1).reshape(-1).view(">f4").astype(np.float32)
    if not (np.isfinite(magnitudes).all() and magnitudes.all()):
        raise ValueError("the message holds values that are 0, NaN or infinite, which no encoder writes")
    values[places] = np.copysign(magnitudes, values[places])


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
