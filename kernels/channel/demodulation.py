"""Log-likelihood ratios of the bits of a symbol, exact or by the nearest symbols, one real dimension at a time.

y = h s + n with E|n|^2 = n0 and h known: with z = h* y, ln p(y | s) is, up to what all symbols share, the sum over the
real and the imaginary part of u a - g a^2, where a is the part of s, u = 2 Re z / n0 or 2 Im z / n0, g = |h|^2 / n0.
A square constellation so costs two times 2^(order/2) terms a symbol, not 2^order, and nothing is divided by h.
"""

import functools
import math

import jax
import jax.numpy as jnp

from ..array_types import Array, ArrayLike, Count, Float, Numbers
from ..scalars import is_traced
from .arguments import METHODS, checked_choice, checked_complex, checked_noise, checked_order
from .modulation import levels


def llr(y: ArrayLike, h: ArrayLike, n0: Numbers, order: Count, method: str = "exact") -> Float[Array, "*batch e"]:
    """Log-likelihood ratios L = ln P(bit 0) / P(bit 1) of equiprobable bits, given y = h s + n.

    Finite for all finite arguments: logarithms of sums are taken from their largest terms, and LLRs beyond 1e37 of
    float32 saturate with their sign. h = 0 gives 0. For QPSK it is 2 sqrt(2) Re(h* y) / n0 and the same of Im, exact
    with either method; for BPSK 4 Re(h* y) / n0, so that real noise of variance v is n0 = 2 v.

    Differentiable in y, h and n0. The floor is the traffic of y, h and `order` LLRs a symbol; on a CPU exact LLRs
    from 16-QAM on are bound by their exponentials, 2^(order/2) for each.

    Args:
      y: complex (or real) [..., symbols], what came in.
      h: gains of the channel, which broadcast with y.
      n0: E|n|^2 of the complex noise a symbol, above 0; broadcasts with y, such as [batch, 1] for one a word.
      order: bits a symbol: 2, 4, 6, 8 of `modulate`; 1 for BPSK.
      method: "exact", or "max_log", by the nearest symbol with the bit 0 and the nearest with 1: off by no more than
        ln 2^(order/2 - 1).

    Returns:
      float [..., symbols * order] in the order of the bits of `modulate` and the precision of y: float64 where it has
      64 bits a number (in JAX's 64-bit mode), else float32. NaN for symbols whose traced y, h or n0 is, or n0 <= 0.

    Raises:
      ValueError: an order or method that is none, y or h that is not finite, n0 that is not above 0, shapes that do not
        broadcast.

    Source: TS 38.211, section 5.1, for the labels; Bayes' rule for the rest.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import channel
      >>> channel.llr(np.array([1 + 1j, 3 - 2j]), 1.0, 0.5, 2).astype(int).tolist()
      [5, 5, 16, -11]
    """
    order = checked_order(order)
    method = checked_choice("method", method, METHODS)
    power = checked_noise(n0)
    received, gain = checked_complex("y", y), checked_complex("h", h)
    if received.ndim == 0:
        raise ValueError("y is one number: expected an axis of symbols; y[None] is one of a single one")
    try:
        shape = jnp.broadcast_shapes(received.shape, gain.shape, jnp.shape(power))
    except ValueError:
        raise ValueError(
            f"y of shape {received.shape}, h of {gain.shape} and n0 of {jnp.shape(power)} do not broadcast: a number "
            "for each word of a batch needs a last axis of 1"
        ) from None
    dtype = jnp.finfo(received.dtype).dtype
    power = jnp.asarray(power, dtype)
    if not is_traced(n0):  # above 0 before it was rounded to the dtype, and then still
        power = jnp.maximum(power, jnp.finfo(dtype).tiny)
    return _llr(received, gain.astype(received.dtype), power, shape, order, method)


@functools.partial(jax.jit, static_argnames=("shape", "order", "method"))
def _llr(y, h, n0, shape, order: int, method: str):
    slopes, curvature = _slopes_and_curvature(y, h, n0)
    slopes = [jnp.broadcast_to(slope, shape) for slope in slopes]
    amplitudes, labels = levels(order)
    if order <= 2:
        parts = [2 * amplitudes[0] * slope for slope in slopes[:order]]
    else:
        reduced = _log_sum_exp if method == "exact" else _largest
        metrics = [[a * (slope - curvature * a) for a in amplitudes] for slope in slopes]
        parts = [
            reduced([m for m, bit in zip(dimension, label, strict=True) if not bit])
            - reduced([m for m, bit in zip(dimension, label, strict=True) if bit])
            for label in labels.T
            for dimension in metrics
        ]
    return jnp.stack(parts, axis=-1).reshape(*shape[:-1], shape[-1] * order)


def _slopes_and_curvature(y, h, n0):
    """((2 Re z / n0, 2 Im z / n0), |h|^2 / n0) of the module's formula, finite for all that is.

    Both are divided by sqrt(n0) first, and then hardly ever leave the range of products. Where h would, the noise is
    taken for as strong as it has to be; where y alone would, y for nearer: signs and decisions stay.
    """
    largest = float(jnp.finfo(n0.dtype).max)
    root = jnp.sqrt(jnp.where(n0 > 0, n0, jnp.nan))  # NaN of what is no power
    y, h = ([jnp.clip(part / root, -largest, largest) for part in (jnp.real(x), jnp.imag(x))] for x in (y, h))
    size, most = jnp.maximum(*map(jnp.abs, h)), math.sqrt(largest) / 32
    scale = most / jnp.maximum(size, most)
    y, h = ([part * scale for part in x] for x in (y, h))
    size, most = jnp.maximum(*map(jnp.abs, y)), largest / 64 / jnp.clip(size, 1, most)
    scale = most / jnp.maximum(size, most)
    real, imaginary = (part * scale for part in y)
    slopes = [2 * (h[0] * real + h[1] * imaginary), 2 * (h[0] * imaginary - h[1] * real)]
    return slopes, h[0] * h[0] + h[1] * h[1]


def _largest(terms):
    return functools.reduce(jnp.maximum, terms)


def _log_sum_exp(terms):
    top = jax.lax.stop_gradient(_largest(terms))
    return top + jnp.log(sum(jnp.exp(term - top) for term in terms))
