"""Bits to symbols: BPSK, QPSK, 16-, 64- and 256-QAM with Gray labels.

Source: 3GPP TS 38.211, section 5.1.3 to 5.1.6: with s_k = 1 - 2 b_k, the real part of a symbol of 256-QAM is
s_0 (8 - s_2 (4 - s_4 (2 - s_6))) / sqrt(170), the imaginary part the same of odd bits; smaller ones leave out the first
factors. The mean energy is 1.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Bool, Complex, Count, DTypeLike, Integer
from ..scalars import refusal
from .arguments import check_holds, checked_order, float_types


def amplitude(signs):
    """The odd integer that the signs +1 or -1 of one real dimension stand for, the first sign being the outermost."""
    *others, inner = signs
    for power, sign in enumerate(reversed(others), 1):
        inner = sign * (2**power - inner)
    return inner


def unit(order: int) -> float:
    """What the odd integers of a dimension are multiplied with for unit mean energy; 1 for BPSK."""
    return 1.0 if order == 1 else math.sqrt(1.5 / (2**order - 1))


@functools.cache
def levels(order: int) -> tuple[tuple[float, ...], np.ndarray]:
    """(amplitudes [2^bits] of one real dimension, its labels [2^bits, bits]), amplitude i with the bits of i."""
    bits = max(order // 2, 1)
    labels = np.arange(2**bits)[:, None] >> np.arange(bits)[::-1] & 1
    return tuple(float(amplitude(1 - 2 * label)) * unit(order) for label in labels), labels


def modulate(
    bits: Integer[AnyArray, "*batch e"] | Bool[AnyArray, "*batch e"], order: Count, dtype: DTypeLike | None = None
) -> Complex[Array, "*batch symbols"]:
    """Symbols of unit mean energy, labelled as in TS 38.211; bit 0 is the positive sign.

    Args:
      bits: 0 or 1 in a type of integers or bool, along the last axis; bit 0 of a symbol first.
      order: bits a symbol: 2 QPSK, 4, 6, 8 for 16-, 64-, 256-QAM; 1 for BPSK as +1 and -1, with an imaginary part of 0
        (not the standard's BPSK, which is turned by 45 degrees).
      dtype: complex64 or complex128; None: complex128 in JAX's 64-bit mode, else complex64.

    Returns:
      complex [..., e / order]. Where a traced bit is neither 0 nor 1 the symbol is NaN.

    Raises:
      ValueError: an order or dtype that is none, bits that are not 0 or 1, e is no multiple of the order.

    Source: 3GPP TS 38.211, section 5.1.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import channel
      >>> np.round(channel.modulate(np.array([0, 0, 1, 0]), 2), 4).tolist()
      [(0.707099974155426+0.707099974155426j), (-0.707099974155426+0.707099974155426j)]
    """
    order = checked_order(order)
    _, complex_type = float_types(dtype)
    kind = getattr(getattr(bits, "dtype", None), "kind", "")
    if kind not in ("i", "u", "b"):
        raise refusal("bits", bits, "an array of integers or bool; convert it, such as by .astype('uint8')")
    if bits.ndim == 0 or bits.shape[-1] % order:
        raise ValueError(
            f"bits has shape {bits.shape}: expected a multiple of order={order} along the last axis; pad or rate-match"
        )
    array = jnp.asarray(bits)
    check_holds((array == 0) | (array == 1), "bits", array, "0 or 1")
    return _modulate(array, order, complex_type)


@functools.partial(jax.jit, static_argnames=("order", "dtype"))
def _modulate(bits, order: int, dtype):
    real_type = jnp.finfo(dtype).dtype
    signs = jnp.where(bits == 0, 1.0, jnp.where(bits == 1, -1.0, jnp.nan)).astype(real_type)
    signs = signs.reshape(*bits.shape[:-1], bits.shape[-1] // order, order)
    real = amplitude([signs[..., k] for k in range(0, order, 2)])
    imaginary = amplitude([signs[..., k] for k in range(1, order, 2)]) if order > 1 else jnp.zeros_like(real)
    return jax.lax.complex(real, imaginary) * jnp.asarray(unit(order), real_type)
