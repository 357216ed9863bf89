"""What is sent: a compressor is three functions, a method is one for each direction and the number of local steps.

common/federated/README.md shows a compressor of one's own. Methods compare by their functions: make one once, and
simulations with other seeds share its compiled program.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from common.federated import sparse
from common.federated.compressor import FLOATS, Bits, Compressor
from common.federated.sparse import Share
from kernels import scalars


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
      name: as tables show it; a run is resumed by a method of the same name only, so it has all settings.
      up: of a client's change of the weights.
      down: of the server's mean of what came up.
      local_steps: gradient steps of a client in a round.
      up_feedback, down_feedback: whether what a compressor leaves out is added to the next input: residuals of clients,
        which rest while these are away, and of the server.
      weighted: whether the mean weighs clients by their sizes.
      grid: what all weights are multiples of, see `on_grid`; None: floats of any kind.
      merged_bits: (number of weights, rounds) -> bits of the sum of so many updates in one message; None: there is no
        such message. Only on a grid is a sum the same as its parts in turn.
    """

    name: str
    up: Compressor
    down: Compressor
    local_steps: int = 1
    up_feedback: bool = False
    down_feedback: bool = False
    weighted: bool = False
    grid: float | None = None
    merged_bits: Callable[[int, int], int] | None = None

    def __post_init__(self) -> None:
        scalars.whole("local_steps", self.local_steps, 1)


@functools.cache
def fed_sgd() -> Method:
    """Returns distributed gradient descent: one local step, floats both ways."""
    return Method("FedSGD", FLOATS, FLOATS)


@functools.cache
def fed_avg(local_steps: int) -> Method:
    """Returns federated averaging: changes after `local_steps`, weighed by the clients' sizes, floats both ways.

    Source: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, arXiv:1602.05629.
    """
    return Method(f"FedAvg-{local_steps}", FLOATS, FLOATS, local_steps=local_steps, weighted=True)


@functools.cache
def sign_sgd(step: float, zeros: str = "zero") -> Method:
    """Returns signSGD with majority vote: signs go up, and `step` times the sign of their sum comes down.

    Source: Bernstein, Wang, Azizzadenesheli, Anandkumar, arXiv:1802.04434.

    Args:
      step: what a weight moves in a round, above 0.
      zeros: what a zero or a tie becomes, see `signs`.
    """
    step = scalars.real("step", step, "a finite number above 0", scalars.positive)
    levels = 2 if zeros == "zero" else 1  # a sum of r signs has r + 1 values, with zeros among them 2 r + 1

    def merged_bits(weights: int, rounds: int) -> int:
        return weights * (levels * rounds).bit_length()

    return Method(f"signSGD {step:g}", signs(1.0, zeros), signs(step, zeros), merged_bits=merged_bits)


@functools.cache
def signs(step: float, zeros: str = "zero") -> Compressor:
    """Returns the compressor to `step` times the sign.

    Args:
      step: above 0.
      zeros: "zero": a zero stays one. A first bit says whether there are any; if so five signs take a byte, else a sign
        takes a bit. "random": a zero becomes either sign with equal probability, and a sign always takes a bit.
    """
    if zeros not in ("zero", "random"):
        raise scalars.refusal("zeros", zeros, "'zero' or 'random'")

    def encode(values: jax.Array, key: jax.Array) -> jax.Array:
        sign = jnp.sign(values)
        if zeros == "random":
            sign = jnp.where(sign == 0, jax.random.rademacher(key, values.shape, values.dtype), sign)
        return sign.astype(jnp.int8)

    def count(message: jax.Array) -> Bits:
        if zeros == "random":
            return message.size
        fives = 8 * -(-message.size // 5)
        return 1 + jnp.where(jnp.any(message == 0), fives, message.size)

    return Compressor(encode, lambda message: message * jnp.float32(step), count)


def top_k(p: Share, p_down: Share | None = None) -> Method:
    """Returns sparse changes with residuals both ways: the largest of all weights, as floats.

    Source: Aji, Heafield, arXiv:1704.05021; Lin, Han, Mao, Wang, Dally, arXiv:1712.01887, without its additions.

    Args:
      p: share of the weights that a client sends, in (0, 1], a float or an exact Fraction.
      p_down: that the server sends; None: the same.
    """
    return _sparse("top-k", sparse.top_k, p, p_down)


def stc(p: Share, p_down: Share | None = None) -> Method:
    """Returns sparse ternary compression with residuals both ways; arguments as those of `top_k`.

    Source: algorithm 2 of Sattler, Wiedemann, Mueller, Samek, arXiv:1903.02891, on the whole vector of weights.
    """
    return _sparse("STC", sparse.ternary, p, p_down)


@functools.cache
def _sparse(kind: str, make: Callable[[Share], Compressor], p: Share, p_down: Share | None) -> Method:
    up, down = make(p), make(p if p_down is None else p_down)
    name = f"{kind} {_share_text(p)}" + ("" if p_down is None else f", {_share_text(p_down)} down")
    return Method(name, up, down, up_feedback=True, down_feedback=True)


def _share_text(p: Share) -> str:
    """Returns 1/400 for what is that, as tables have it."""
    inverse = 1 / p
    return f"1/{round(inverse)}" if abs(inverse - round(inverse)) < 1e-9 else f"{float(p):g}"


@functools.cache
def on_grid(method: Method, step: float = 2.0**-20) -> Method:
    """Returns a method whose weights are multiples of a power of two: its updates add up exactly, in whatever order.

    Both sides round what they decode; with `down_feedback` the rest stays in the server's residual. Of float32 weights
    none may reach 2^24 steps: a simulation says so and stops.

    Args:
      method: any.
      step: a power of two from 2^-60 to 1.
    """
    expected = "a power of two from 2^-60 to 1"
    step = scalars.real("step", step, expected, lambda value: 2.0**-60 <= value <= 1 and math.frexp(value)[0] == 0.5)
    decode = method.down.decode
    down = dataclasses.replace(method.down, decode=lambda message: to_grid(decode(message), step))
    return dataclasses.replace(method, name=f"{method.name} on a grid", down=down, grid=step)


def to_grid(values: jax.Array, step: float) -> jax.Array:
    """Returns values rounded to multiples of a power of two; dividing and multiplying by it is exact."""
    return jnp.round(values / step) * step
