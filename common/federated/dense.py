"""Compressors that send something of every weight: floats, signs, levels of the arithmetic coder."""

import functools
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.federated import messages
from common.federated.compressor import Bits, Compressor
from kernels import entropy_coding, scalars

FRAME_BITS = 8 * messages.FRAME_BYTES


def float_bits(n: int) -> Bits:
    """Returns the bits of a message of n floats."""
    return Bits(32 * n, 0, FRAME_BITS, 32 * n)


FLOATS = Compressor(
    lambda values, key: values,
    lambda message: message,
    lambda message: float_bits(message.size),
    messages.write_floats,
    messages.read_floats,
)


@functools.cache
def signs(step: float, zeros: str = "zero") -> Compressor:
    """Returns the compressor to `step` times the sign.

    Args:
      step: above 0.
      zeros: "zero": a zero stays one. Where there are any, five signs take a byte, else a sign takes a bit; the kind of
        the message says which. "random": a zero becomes either sign with equal probability: always a bit.
    """
    if zeros not in ("zero", "random"):
        raise scalars.refusal("zeros", zeros, "'zero' or 'random'")

    def encode(values: jax.Array, key: jax.Array) -> jax.Array:
        sign = jnp.sign(values)
        if zeros == "random":
            sign = jnp.where(sign == 0, jax.random.rademacher(key, values.shape, values.dtype), sign)
        return sign.astype(jnp.int8)

    def count(message: jax.Array) -> Bits:
        n = message.size
        has_zeros = jnp.any(message == 0)
        payload = jnp.where(has_zeros, 8 * -(-n // 5), n)
        return Bits(payload, 0, FRAME_BITS + jnp.where(has_zeros, 0, -n % 8), payload)

    def read(data: bytes, n: int) -> np.ndarray:
        return messages.read_signs(data, n) * np.float32(step)

    return Compressor(encode, lambda message: message * jnp.float32(step), count, messages.write_signs, read)


@functools.cache
def coded(step: float) -> Compressor:
    """Returns the compressor to whole multiples of a step, written by the arithmetic coder of `kernels.entropy_coding`.

    The message is (levels int32 [n], the step, float32). Its length is that of the stream itself: while a simulation
    runs, the host encodes every message.

    Args:
      step: over the root mean square of the values, above 0: about 1 for a bit a weight, 0.1 for four or five.
    """
    step = scalars.real("step", step, "a finite number of at least 2^-16", lambda value: 2.0**-16 <= value < 2.0**16)

    def encode(values: jax.Array, key: jax.Array) -> Any:
        largest = jnp.max(jnp.abs(values))
        scaled = values / jnp.where(largest > 0, largest, 1)  # squares of small changes vanish
        width = jnp.float32(step) * largest * jnp.sqrt(jnp.mean(scaled**2))
        return jnp.round(values / jnp.where(width > 0, width, 1)).astype(jnp.int32), width

    def decode(message: Any) -> jax.Array:
        levels, width = message
        return levels * width

    def count(message: Any) -> Bits:
        levels, _ = message
        shape = jax.ShapeDtypeStruct((), jnp.uint32)
        payload = jax.pure_callback(_stream_bits, shape, levels, vmap_method="broadcast_all")
        return Bits(payload, 32, FRAME_BITS, payload)

    return Compressor(encode, decode, count, _write_coded, _read_coded)


def _stream_bits(levels: Any) -> np.ndarray:
    """Bits of the streams of levels [..., n]."""
    levels = np.asarray(levels)
    rows = [8 * len(entropy_coding.encode_tensor(row)) for row in levels.reshape(-1, levels.shape[-1])]
    return np.array(rows, np.uint32).reshape(levels.shape[:-1])


def _write_coded(message: Any) -> bytes:
    levels, width = message
    levels = np.asarray(levels)
    return messages.seal(messages.CODED, levels.size, struct.pack("<f", width) + entropy_coding.encode_tensor(levels))


def _read_coded(data: bytes, n: int) -> np.ndarray:
    body = messages.unseal(data, n, messages.CODED)[1]
    if len(body) < 4:
        raise ValueError("the message ends within its step")
    return entropy_coding.decode_tensor(body[4:], (n,)).astype(np.float32) * np.frombuffer(body, "<f4", 1)[0]
