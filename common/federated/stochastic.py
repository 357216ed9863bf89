"""Compressors that round at random, without bias and without residuals: TernGrad and QSGD.

Sources: W. Wen et al., arXiv:1705.07878 (TernGrad); D. Alistarh et al., arXiv:1610.02132 (QSGD and its code).
"""

import functools
import itertools
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.federated import messages
from common.federated.compressor import Bits, Compressor
from common.federated.dense import FRAME_BITS
from common.federated.sparse import MAGNITUDE, PARAMETER, message_bits, position_bits
from kernels import golomb, scalars

LARGEST_LEVEL = 2**20


@functools.cache
def ternary_gradient(clip: float | None = 2.5) -> Compressor:
    """Returns TernGrad: each weight is 0 or the largest magnitude of its tensor with its sign, right in the mean.

    The message is that of `sparse.ternary`, (mask, magnitudes [tensors], signs), and takes the same stream.

    Args:
      clip: values are cut to so many standard deviations of their tensor first, as the authors do; None: they are not.
    """
    if clip is not None:
        clip = scalars.real("clip", clip, "a finite number above 0, or None", scalars.positive)
    return _ternary_gradient(clip, None, lambda sizes: _ternary_gradient(clip, sizes))


@functools.cache
def _ternary_gradient(clip: float | None, sizes: tuple[int, ...] | None, of_tensors: Any = None) -> Compressor:
    def encode(values: jax.Array, key: jax.Array) -> Any:
        lengths = sizes or (values.size,)
        parts = [values[end - size : end] for end, size in zip(itertools.accumulate(lengths), lengths, strict=True)]
        if clip is not None:
            parts = [_clipped(part, clip) for part in parts]
        magnitudes = jnp.stack([jnp.max(jnp.abs(part)) for part in parts])
        values = jnp.concatenate(parts)
        chance = jnp.abs(values) / _of_weights(jnp.where(magnitudes > 0, magnitudes, 1), lengths)
        mask = jax.random.uniform(key, values.shape) < chance
        return mask, magnitudes, jnp.where(mask, jnp.sign(values), 0).astype(jnp.int8)

    def decode(message: Any) -> jax.Array:
        mask, magnitudes, signs = message
        return jnp.where(mask, _of_weights(magnitudes, sizes or (mask.size,)) * signs, 0)

    def count(message: Any) -> Bits:
        mask, magnitudes, _ = message
        selected, payload = position_bits(mask, mask.size)
        return message_bits(mask.size, selected, payload + selected, PARAMETER + MAGNITUDE * magnitudes.size, False)

    def write(message: Any) -> bytes:
        mask, magnitudes, signs = message
        return golomb.encode(mask, signs, np.asarray(magnitudes) if sizes else magnitudes[0], sizes)

    return Compressor(encode, decode, count, write, lambda data, n: golomb.decode(data, n, sizes), of_tensors)


def _clipped(values: jax.Array, clip: float) -> jax.Array:
    limit = clip * jnp.std(values)
    return jnp.clip(values, -limit, limit)


def _of_weights(magnitudes: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """Returns the magnitude of the tensor that each weight is in: [n]."""
    return jnp.concatenate([jnp.full(size, magnitude) for size, magnitude in zip(sizes, magnitudes, strict=True)])


@functools.cache
def quantized(levels: int, bucket: int = 512) -> Compressor:
    """Returns QSGD: multiples of 1 / levels of the norm of a bucket, rounded at random to be right in the mean.

    The message is (levels int32 [n], norms float32 [buckets]); its stream has the norms, then in Elias' recursive code
    either every level and a sign where it is not 0, or the gaps between these, signs and levels: the shorter.

    Args:
      levels: number of levels above 0, 1 to 2^20.
      bucket: weights that share a norm; the last ones may be fewer.
    """
    levels = scalars.whole("levels", levels, 1, LARGEST_LEVEL)
    bucket = scalars.whole("bucket", bucket, 1)

    def encode(values: jax.Array, key: jax.Array) -> Any:
        norms = jax.vmap(_norm)(jnp.pad(values, (0, -values.size % bucket)).reshape(-1, bucket))
        of_weights = jnp.repeat(norms, bucket)[: values.size]
        scaled = jnp.abs(values) / jnp.where(of_weights > 0, of_weights, 1) * levels
        whole = jnp.floor(scaled)
        level = whole + (jax.random.uniform(key, values.shape) < scaled - whole)
        return (jnp.sign(values) * level).astype(jnp.int32), norms

    def decode(message: Any) -> jax.Array:
        level, norms = message
        return jnp.repeat(norms / levels, bucket)[: level.size] * level

    def count(message: Any) -> Bits:
        level, norms = message
        payload = jnp.minimum(_dense_bits(level), _sparse_bits(level))
        return Bits(payload, 32 * norms.size + 8, FRAME_BITS + (8 - payload % 8) % 8, payload)

    def read(data: bytes, n: int) -> np.ndarray:
        level, norms = _read_levels(data, n, -(-n // bucket), levels)
        return np.repeat((norms / np.float32(levels)).astype(np.float32), bucket)[:n] * level.astype(np.float32)

    return Compressor(encode, decode, count, _write_levels, read)


def _norm(values: jax.Array) -> jax.Array:
    """The Euclidean norm, also of numbers whose squares vanish."""
    largest = jnp.max(jnp.abs(values))
    return largest * jnp.sqrt(jnp.sum((values / jnp.where(largest > 0, largest, 1)) ** 2))


def _elias_length(numbers: jax.Array) -> jax.Array:
    """Returns the bits of int32 numbers of at least 1 in Elias' recursive (omega) code."""
    length, rest = jnp.ones_like(numbers), numbers
    for _ in range(5):  # at most 2^31 - 1, 30, 4, 2, 1
        log2 = 31 - jax.lax.clz(rest)
        length += jnp.where(rest > 1, log2 + 1, 0)
        rest = jnp.maximum(log2, 1)
    return length


def _dense_bits(level: jax.Array) -> jax.Array:
    return jnp.sum(_elias_length(jnp.abs(level) + 1) + (level != 0), dtype=jnp.uint32)


def _sparse_bits(level: jax.Array) -> jax.Array:
    place, is_set = jnp.arange(level.size, dtype=jnp.int32), level != 0
    last = jax.lax.cummax(jnp.where(is_set, place, -1))
    before = jnp.concatenate([jnp.full(1, -1, jnp.int32), last[:-1]])
    bits = _elias_length(jnp.maximum(place - before, 1)) + 1 + _elias_length(jnp.maximum(jnp.abs(level), 1))
    end = _elias_length(level.size - last[-1:])[0]  # a gap beyond the end says that there are no more
    return jnp.sum(jnp.where(is_set, bits, 0), dtype=jnp.uint32) + end.astype(jnp.uint32)


def _write_levels(message: Any) -> bytes:
    level, norms = (np.asarray(part) for part in message)
    code, size = _elias(np.stack([np.abs(level) + 1, np.ones_like(level)], axis=1))  # a level, a sign
    code[:, 1], size[:, 1] = level < 0, level != 0
    places = np.flatnonzero(level)
    gaps = np.ones((places.size + 1, 3), np.int64)  # a gap, a sign, a level
    gaps[:, 0], gaps[:-1, 2] = np.diff(np.append(places, level.size), prepend=-1), np.abs(level[places])
    sparse_code, sparse_size = _elias(gaps)
    sparse_code[:-1, 1], sparse_size[-1, 1:] = level[places] < 0, 0
    is_sparse = bool(sparse_size.sum() < size.sum())
    if is_sparse:
        code, size = sparse_code, sparse_size
    body = struct.pack("B", is_sparse) + norms.astype("<f4").tobytes() + _packed(code.ravel(), size.ravel())
    return messages.seal(messages.LEVELS, level.size, body)


def _elias(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codewords and their bits, int64."""
    code, size, rest = np.zeros_like(numbers, np.int64), np.ones_like(numbers, np.int64), numbers.astype(np.int64)
    while (rest > 1).any():
        width = np.where(rest > 1, np.frexp(rest.astype(float))[1], 0)
        code |= np.where(rest > 1, rest, 0) << size
        size += width
        rest = np.maximum(width - 1, 1)
    return code, size


def _packed(code: np.ndarray, size: np.ndarray) -> bytes:
    """Codewords one after the other, the highest bit first; the last byte is filled with zeros."""
    last = np.repeat(np.cumsum(size), size) - 1
    return np.packbits(np.repeat(code, size) >> (last - np.arange(size.sum())) & 1).tobytes()


def _read_levels(data: bytes, n: int, buckets: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (levels int32 [n], norms float32 [buckets]); ValueError for what is no message of `_write_levels`."""
    body = messages.unseal(data, n, messages.LEVELS)[1]
    first = 1 + 4 * buckets
    if len(body) < first or body[0] > 1:
        raise ValueError("the message ends within its norms, or has another form than dense and sparse")
    norms = np.frombuffer(body, "<f4", buckets, 1)
    if not (np.isfinite(norms).all() and (norms >= 0).all()):
        raise ValueError("the message holds norms that are negative, NaN or infinite")
    bits = (np.unpackbits(np.frombuffer(body, np.uint8)[first:]) + ord("0")).tobytes().decode()
    level = np.zeros(n, np.int32)
    end = (_read_sparse if body[0] else _read_dense)(bits, level)
    if len(bits) != end + -end % 8 or "1" in bits[end:]:
        raise ValueError("the message does not end with its levels")
    if (abs(level) > largest).any():
        raise ValueError(f"the message has level {abs(level).max()}: expected {largest} at most")
    return level, norms


def _read_dense(bits: str, level: np.ndarray) -> int:
    at = 0
    for place in range(level.size):
        number, at = _read_elias(bits, at)
        if number > 1:
            level[place] = 1 - number if bits[at : at + 1] == "1" else number - 1
            at += 1
    return at


def _read_sparse(bits: str, level: np.ndarray) -> int:
    place, at = -1, 0
    while True:
        gap, at = _read_elias(bits, at)
        place += gap
        if place == level.size:
            return at
        if place > level.size:
            raise ValueError("the message has a level beyond its end")
        number, after = _read_elias(bits, at + 1)
        level[place] = -number if bits[at] == "1" else number
        at = after


def _read_elias(bits: str, at: int) -> tuple[int, int]:
    """Returns a number, and where the next one begins."""
    number = 1
    while bits[at : at + 1] == "1":
        width = number + 1
        if width > 31 or at + width > len(bits):
            raise ValueError("the message ends within a number, or has one of more than 31 bits")
        number, at = int(bits[at : at + width], 2), at + width
    if at >= len(bits):
        raise ValueError("the message ends within a number")
    return number, at + 1
