"""How a vector travels: a compressor is a triple of pure functions, encode, decode and count."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

Bits = int | jax.Array


@dataclasses.dataclass(frozen=True)
class Compressor:
    """How a vector travels; three pure functions that jit and vmap take, and one for the host.

    Attributes:
      encode: (float32 [n], key) -> message, a pytree of arrays.
      decode: message -> float32 [n], what the receiver has.
      count: message -> bits of its real stream, a number below 2^32.
      write: message, of NumPy -> that stream; None: its length follows from its format, and none is written.
    """

    encode: Callable[[jax.Array, jax.Array], Any]
    decode: Callable[[Any], jax.Array]
    count: Callable[[Any], Bits]
    write: Callable[[Any], bytes] | None = None


FLOATS = Compressor(lambda values, key: values, lambda message: message, lambda message: 32 * message.size)
