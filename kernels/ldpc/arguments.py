"""The doors of the room: bits and LLRs along the last axis of an array."""

import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import Array


def checked_bits(name: str, bits, length: int, what: str) -> Array:
    """uint8 [..., length]; ValueError for others."""
    array = with_length(name, bits, length, what)
    if not (array.dtype == np.bool_ or scalars.is_real(array.dtype)):
        raise ValueError(f"{name} has dtype {array.dtype}: expected integers or bool, {length} {what}")
    if not scalars.is_traced(array):
        wrong = array[(array != 0) & (array != 1)]
        if wrong.size:
            raise ValueError(f"{name} holds {scalars.shown(wrong.reshape(-1)[0])}: expected 0 or 1, the {what}")
    return jnp.asarray(array.astype(np.uint8))


def checked_llr(name: str, llr) -> Array:
    """Floating-point [..., any], finite where they are concrete; ValueError for others."""
    array = _as_array(name, llr)
    if array.ndim == 0 or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}: expected floating-point log P(bit 0) / P(bit 1) along "
            "the last axis"
        )
    if not scalars.is_traced(array) and not np.isfinite(array).all():
        wrong = array[~np.isfinite(array)][0]
        raise ValueError(
            f"{name} holds {wrong}: expected finite LLRs; clip infinite ones, and look where NaN come from"
        )
    return jnp.asarray(array)


def with_length(name: str, values, length: int, what: str):
    """An array of NumPy, or what is traced, with so many along its last axis; ValueError for others."""
    array = _as_array(name, values)
    if array.ndim == 0 or array.shape[-1] != length:
        raise ValueError(f"{name} has shape {array.shape}: expected {length} along the last axis, the {what}")
    return array


def _as_array(name: str, values):
    if scalars.is_traced(values):
        return values
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # a ragged list, a key of random numbers
        array = np.zeros(0, object)
    if array.dtype.kind in "OUSV" and not scalars.is_real(array.dtype):  # small floats of ml_dtypes are of kind V
        raise scalars.refusal(name, values, "an array of numbers")
    return array
