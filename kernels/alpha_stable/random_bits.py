"""Random bits for the samplers, and the angle and the exponential made of them.

Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), written so that XLA fuses it. `jax.random.bits` throws half of
each block away and writes its rounds to memory; here one block of 64 bits serves one draw, 31 bits and a sign for the
angle and 32 for the exponential, and all of it stays in registers. Entry i of an array depends on the key and on i
alone, so the stream is the same however it is sharded. Keys of other kinds (`rbg`) go through `jax.random.bits`.
"""

import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..array_types import Array, Key
from . import elementary

THREEFRY = "threefry2x32"
PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
# First counter word of the second block of a draw, which only float64 needs; the first block has 0 there.
SECOND_BLOCK = 0x80000000
UNIT = 2.0**-32
HALF_TURN = 2.0**31  # 1/2 in units


def threefry(key: tuple[jax.Array, jax.Array], counter: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns one block, two uint32 arrays, for each counter.

    Args:
      key: two uint32 words.
      counter: two uint32 arrays.
    """
    words = (*key, key[0] ^ key[1] ^ jnp.uint32(PARITY))
    a, b = counter[0] + words[0], counter[1] + words[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << jnp.uint32(rotation)) | (b >> jnp.uint32(32 - rotation)))
        a = a + words[(group + 1) % 3]
        b = b + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def flat_index(shape: tuple[Any, ...]) -> jax.Array:
    """The C-order index uint32 of each entry of an array; made of iotas along the axes, which XLA can shard."""
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index = index + lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    return index


def draw(key: jax.Array, shape: tuple[Any, ...], blocks: int = 1) -> list[jax.Array]:
    """Returns 2 * blocks uint32 arrays [*shape]: of the first block of each draw, then of the second.

    Args:
      key: one typed key.
      shape: fewer than 2**32 entries.
      blocks: 1 or 2; the first block does not depend on it (for threefry keys).
    """
    if str(jax.random.key_impl(key)) != THREEFRY:
        return list(jax.random.bits(key, (2 * blocks, *shape), jnp.uint32))
    data = jax.random.key_data(key)
    index = flat_index(shape)
    bits: list[jax.Array] = []
    for first in (0, SECOND_BLOCK)[:blocks]:
        bits += threefry((data[0], data[1]), (jnp.full(shape, first, jnp.uint32), index))
    return bits


def typed_key(key: Any) -> Key[Array, ""]:
    """Returns a single typed key; a raw uint32 key is wrapped.

    Raises:
      ValueError: no key, or not one.
    """
    is_raw = getattr(key, "dtype", None) == jnp.uint32 and key.ndim >= 1
    if not is_raw and not jnp.issubdtype(getattr(key, "dtype", float), jax.dtypes.prng_key):
        raise ValueError(f"key={key!r} is no key; make one with jax.random.key(seed)")
    if is_raw:
        try:
            key = jax.random.wrap_key_data(key)
        except (TypeError, ValueError):
            raise ValueError(f"key has the raw shape {key.shape}; make one with jax.random.key(seed)") from None
    if key.shape:
        raise ValueError(f"key has shape {key.shape}; one key draws one array: use jax.vmap over several keys")
    return key


def checked_shape(shape) -> tuple[int, ...]:
    """Returns the shape as a tuple of integers.

    Raises:
      ValueError: no integers, a negative axis, or too many entries for the 32-bit counter.
    """
    try:
        sizes = (shape,) if not hasattr(shape, "__len__") else shape
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise ValueError(f"shape={shape!r} is no integer or tuple of integers") from None
    if any(size < 0 for size in shape):
        raise ValueError(f"shape={shape} has a negative axis")
    if math.prod(shape) >= 2**32:
        raise ValueError(f"shape={shape} has 2**32 entries or more; draw it in pieces, each with a key of its own")
    return shape


def joined_shape(shape, **parameters) -> tuple[int, ...]:
    """Returns the checked shape of a result; None stands for the joint shape of the parameters.

    Raises:
      ValueError: parameters that do not broadcast to the shape, or to each other.
    """
    shapes = {name: jnp.shape(value) for name, value in parameters.items()}
    if shape is not None:
        shape = checked_shape(shape)
    try:
        common = jnp.broadcast_shapes(*shapes.values(), *(() if shape is None else (shape,)))
    except ValueError:
        common = None
    if common is None or (shape is not None and common != shape):
        listing = ", ".join(f"{name} of shape {own}" for name, own in shapes.items() if own)
        raise ValueError(f"{listing}: does not broadcast {'together' if shape is None else f'to shape={shape}'}")
    return common


class Angle(NamedTuple):
    """A uniform v in (0, 1/2] that is precise at both ends, in units of 2^-32.

    The units spare a product: a sum of two products would be fused with the addition in one way or the other, and the
    last bit of the stream depend on the code around it.

    Attributes: v, u = 1/2 - v, both in (0, 2^31] units; sign, a fair bit.
    """

    v: jax.Array
    u: jax.Array
    sign: jax.Array


def angle(high: jax.Array, low: jax.Array | None, dtype) -> Angle:
    """v = k + 1/2 units of the upper 31 bits k, which `low` continues in float64; the last bit is the sign."""

    def units(k, tail):
        k = k.astype(jnp.int32).astype(dtype)  # 31 bits: signed is exact, and the faster conversion
        return k + 0.5 if tail is None else k + (tail.astype(dtype) + 0.5) * UNIT

    k = high >> 1
    u = units(k ^ jnp.uint32(0x7FFFFFFF), None if low is None else ~low)
    return Angle(units(k, low), u, (high & 1).astype(bool))


def angle_and_exponential(key: jax.Array, shape: tuple[Any, ...], dtype) -> tuple[Angle, jax.Array]:
    """The two variables that every stable draw is a function of: an angle and a standard exponential, [*shape]."""
    if dtype == jnp.float32:
        first, second = draw(key, shape)
        turned, other = angle(first, None, dtype), angle(second, None, dtype)
    else:
        first, second, first_tail, second_tail = draw(key, shape, blocks=2)
        turned, other = angle(first, first_tail, dtype), angle(second, second_tail, dtype)
    return turned, elementary.exponential(other.v * UNIT, other.u * UNIT, other.sign)
