"""How a vector travels: a compressor is a triple of pure functions, encode, decode and count."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Number = int | jax.Array


class Bits(NamedTuple):
    """What the bits of a message are.

    Attributes:
      payload: of positions, signs and values.
      side: of what the receiver needs to read these: how many there are, parameters of the code, magnitudes.
      framing: of what names and protects a message, and of what fills its last byte.
      reference: as the published code of sparse ternary compression counts: the payload alone, with a bit more for the
        position of each weight that was selected; for other messages the payload, as which None counts.
    """

    payload: Number = 0
    side: Number = 0
    framing: Number = 0
    reference: Number | None = None

    @property
    def total(self) -> Any:
        """The bits of the stream; those of `reference` are no part of it."""
        return self.payload + self.side + self.framing

    def plus(self, other: "Bits", sign: int = 1) -> "Bits":
        """Returns the sum, or with a sign of -1 the difference, part by part."""
        return Bits(*(own + sign * more for own, more in zip(self.whole(), other.whole(), strict=True)))

    def whole(self) -> "tuple[Number, Number, Number, Number]":
        """Returns the four numbers."""
        return (*self[:3], self.payload if self.reference is None else self.reference)


NOTHING = Bits(0, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Compressor:
    """How a vector travels; three pure functions that jit and vmap take, and two for the host.

    Attributes:
      encode: (float32 [n], key) -> message, a pytree of arrays.
      decode: message -> float32 [n], what the receiver has.
      count: message -> `Bits` of its real stream, each below 2^32, or their number alone where all are payload.
      write: message, of NumPy -> that stream; None: its length follows from its format, and none is written.
      read: (the stream, n) -> float32 [n], what `decode` gives.
      of_tensors: (sizes of the model's tensors) -> the compressor that treats each of them by itself; None: there is
        none, or the model's weights are one vector.
    """

    encode: Callable[[jax.Array, jax.Array], Any]
    decode: Callable[[Any], jax.Array]
    count: Callable[[Any], Bits | Number]
    write: Callable[[Any], bytes] | None = None
    read: Callable[[bytes, int], Any] | None = None
    of_tensors: Callable[[tuple[int, ...]], "Compressor"] | None = None

    def bits(self, message: Any) -> Bits:
        """Returns what `count` does, by parts."""
        count = self.count(message)
        return Bits(*(count if isinstance(count, Bits) else Bits(count)).whole())
