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
import numpy as np

from common.federated import dense, sparse, stochastic
from common.federated.compressor import Bits, Compressor
from common.federated.dense import FLOATS
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
      merged_bits: (number of weights, rounds) -> `Bits` of the sum of so many updates in one message; None: there is no
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
    merged_bits: Callable[[int, int], Bits] | None = None

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
      zeros: what a zero or a tie becomes, see `dense.signs`.
    """
    step = scalars.real("step", step, "a finite number above 0", scalars.positive)
    levels = 2 if zeros == "zero" else 1  # a sum of r signs has r + 1 values, with zeros among them 2 r + 1

    def merged_bits(weights: int, rounds: int) -> Bits:
        payload = weights * (levels * rounds).bit_length()
        return Bits(payload, 0, dense.FRAME_BITS + -payload % 8, payload)

    return Method(f"signSGD {step:g}", dense.signs(1.0, zeros), dense.signs(step, zeros), merged_bits=merged_bits)


@functools.cache
def top_k(p: Share, p_down: Share | None = None, *, down: str = "same", residuals: bool = True) -> Method:
    """Returns sparse changes with residuals both ways: the largest of all weights, as floats.

    Source: Aji, Heafield, arXiv:1704.05021; Lin, Han, Mao, Wang, Dally, arXiv:1712.01887, without its additions.

    Args:
      p: share of the weights that a client sends, in (0, 1], a float or an exact Fraction.
      p_down: that the server sends; None: the same.
      down: "same": the server sends as clients do; "floats": its update as it is.
      residuals: whether what is not sent is added to what comes next; without, it is lost, which shows what they do.
    """
    return _sparse("top-k", sparse.top_k, p, p_down, down, residuals)


@functools.cache
def stc(
    p: Share, p_down: Share | None = None, *, scope: str = "global", down: str = "same", residuals: bool = True
) -> Method:
    """Returns sparse ternary compression with residuals both ways; arguments as those of `top_k`.

    Source: algorithm 2 of Sattler, Wiedemann, Mueller, Samek, arXiv:1903.02891.

    Args:
      scope: "global": the largest of all weights, one magnitude; "per_tensor": of each tensor, as the authors' code.
    """
    kind = "STC" if scope == "global" else f"STC {scope.replace('_', ' ')}"
    return _sparse(kind, functools.partial(sparse.ternary, scope=scope), p, p_down, down, residuals)


def _sparse(
    kind: str, make: Callable[[Share], Compressor], p: Share, p_down: Share | None, down: str, residuals: bool
) -> Method:
    if down not in ("same", "floats"):
        raise scalars.refusal("down", down, "'same' or 'floats'")
    if down == "floats" and p_down is not None:
        raise ValueError(f"p_down={p_down} with down='floats': expected one of them")
    server = FLOATS if down == "floats" else make(p if p_down is None else p_down)
    name = f"{kind} {_share_text(p)}" + ("" if p_down is None else f", {_share_text(p_down)} down")
    name += (", floats down" if down == "floats" else "") + ("" if residuals else ", no residuals")
    return Method(name, make(p), server, up_feedback=residuals, down_feedback=residuals and down == "same")


@functools.cache
def tern_grad(clip: float | None = 2.5) -> Method:
    """Returns TernGrad: ternary changes that are right in the mean go up, one magnitude a tensor; floats come down.

    Source: Wen, Xu, Yan, Wu, Wang, Chen, Li, arXiv:1705.07878.

    Args:
      clip: changes are cut to so many standard deviations of their tensor; None: they are not.
    """
    name = "TernGrad" + ("" if clip == 2.5 else ", not clipped" if clip is None else f", clipped at {clip:g}")
    return Method(name, stochastic.ternary_gradient(clip), FLOATS)


@functools.cache
def qsgd(levels: int, bucket: int = 512) -> Method:
    """Returns QSGD: changes as multiples of a part of their norm, right in the mean, go up; floats come down.

    Source: Alistarh, Grubic, Li, Tomioka, Vojnovic, arXiv:1610.02132.

    Args:
      levels: above 0, of a weight.
      bucket: weights that share a norm.
    """
    name = f"QSGD {levels}" + ("" if bucket == 512 else f", buckets of {bucket}")
    return Method(name, stochastic.quantized(levels, bucket), FLOATS)


@functools.cache
def coded(step: float, down: str = "same") -> Method:
    """Returns changes as multiples of a step, written by the arithmetic coder, with residuals both ways.

    Args:
      step: over the root mean square of what is sent, see `dense.coded`.
      down: "same", or "floats": the server's update as it is.
    """
    if down not in ("same", "floats"):
        raise scalars.refusal("down", down, "'same' or 'floats'")
    compressor, is_same = dense.coded(step), down == "same"
    name = f"coded {step:g}" + ("" if is_same else ", floats down")
    return Method(name, compressor, compressor if is_same else FLOATS, up_feedback=True, down_feedback=is_same)


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
    down = _rounded(method.down, step)
    return dataclasses.replace(method, name=f"{method.name} on a grid", down=down, grid=step)


def _rounded(compressor: Compressor, step: float) -> Compressor:
    """Returns a compressor whose receivers round to a grid."""
    decode, read, of_tensors = compressor.decode, compressor.read, compressor.of_tensors
    return dataclasses.replace(
        compressor,
        decode=lambda message: to_grid(decode(message), step),
        read=None if read is None else lambda data, n: np.asarray(to_grid(read(data, n), step)),
        of_tensors=None if of_tensors is None else functools.cache(lambda sizes: _rounded(of_tensors(sizes), step)),
    )


def to_grid(values: jax.Array, step: float) -> jax.Array:
    """Returns values rounded to multiples of a power of two; dividing and multiplying by it is exact."""
    return jnp.round(values / step) * step
