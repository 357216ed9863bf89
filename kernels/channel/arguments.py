"""The doors of the room: bits, complex numbers, powers of noise, frequencies and times, named where one will not do.

What is concrete and wrong is a ValueError. A traced one (under `jit`, `vmap`, `grad`) has no value yet: where it turns
out to be wrong, the result is NaN.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array

ORDERS = (1, 2, 4, 6, 8)  # bits a symbol
METHODS = ("exact", "max_log")
OF_ORDERS = "1, 2, 4, 6 or 8, the bits of a symbol (BPSK, QPSK, 16-, 64- and 256-QAM)"


def checked_order(order: Any) -> int:
    """Bits a symbol."""
    if isinstance(order, str) or not scalars.is_number(order) or order not in ORDERS:
        raise scalars.refusal("order", order, OF_ORDERS)
    return int(order)


def checked_choice(name: str, value: Any, names: tuple[str, ...]) -> str:
    """One of several names; ValueError for another."""
    if not isinstance(value, str) or value not in names:
        raise scalars.refusal(name, value, f"one of {', '.join(names)}")
    return value


def checked_noise(n0: Any) -> Any:
    """Powers of noise above 0, as they are; traced ones pass."""
    expected = "a finite power of noise above 0, E|n|^2 a symbol"
    scalars.reals("n0", n0, expected, lambda value: (value > 0) & (value < np.inf))
    return n0


def checked_complex(name: str, value: Any) -> Array:
    """Numbers, real or complex, as an array of JAX of complex64 or complex128; ValueError for others, or if not finite.

    What has 64 bits in NumPy is rounded to 32 where JAX has no 64 bits.
    """
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused
            array = jnp.asarray(value)
        is_number = array.dtype.kind == "c" or scalars.is_real(array.dtype)
    except (TypeError, ValueError):  # a text, a ragged list
        is_number = False
    if not is_number:
        raise scalars.refusal(name, value, "complex or real numbers")
    array = array.astype(jnp.promote_types(array.dtype, jnp.complex64))
    check_holds(jnp.isfinite(array), name, array, "finite numbers: mend them, or leave this block out")
    return array


def check_holds(holds: AnyArray, name: str, array: AnyArray, expected: str) -> None:
    """ValueError with the first value of an array for which a condition does not hold; traced ones pass."""
    everywhere = jnp.all(holds)
    if scalars.is_traced(everywhere) or bool(everywhere):
        return
    wrong = np.asarray(array)[~np.asarray(holds)]
    raise ValueError(f"{name} holds {scalars.shown(wrong[0])} ({wrong.size} of {array.size}): expected {expected}")


def float_types(dtype: Any) -> tuple[np.dtype, np.dtype]:
    """(real, complex) dtype of a result; None: those of JAX's default, of 64 bits a number in 64-bit mode, else 32.

    Raises:
      ValueError: neither complex64 nor complex128, or the latter without 64-bit mode.
    """
    has_64_bits = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    if dtype is None:
        dtype = np.complex128 if has_64_bits else np.complex64
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        wanted = None
    if wanted not in (np.complex64, np.complex128):
        raise scalars.refusal("dtype", dtype, "complex64 or complex128")
    if wanted == np.complex128 and not has_64_bits:
        raise ValueError("dtype=complex128 needs JAX's 64-bit mode (jax_enable_x64): enable it, or take complex64")
    return np.dtype(np.float64 if wanted == np.complex128 else np.float32), wanted


def checked_places(name: str, values: Any, unit: str, *, traced: bool = False) -> Any:
    """Finite real numbers [n], n at least 1: frequencies or times, in float64 of NumPy; a traced array as it is."""
    expected = f"finite numbers [n] in {unit}, at least one"
    if not (traced and scalars.is_traced(values)):
        if scalars.is_traced(values):
            raise scalars.refusal(name, values, f"{expected}, known before compilation")
        scalars.reals(name, values, expected)
        values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} has shape {values.shape}: expected {expected}")
    return values
