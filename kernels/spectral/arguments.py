"""The doors of the room: samples as rows or maps of floating-point numbers, named by number where one will not do."""

import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array

SHOWN = 10  # sample numbers in a message
LEAST = 3  # samples of a set that can have neighbours and clusters


def numbers_of(flags) -> str:
    """The numbers of the samples that a flag is set for, as they stand in messages."""
    where = np.flatnonzero(np.asarray(flags))
    more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
    return ", ".join(map(str, where[:SHOWN])) + more


def choice(name: str, value, names) -> str:
    """One of several names; ValueError for another."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}={scalars.shown(value)}: expected one of {', '.join(names)}")
    return value


def checked_samples(name: str, x: AnyArray, dims: tuple[int, ...], least: int = 1) -> Array:
    """float32 or float64 [n, ...] as an array of JAX, finite where it is concrete.

    Args:
      name, x: of the argument. NumPy's float64 is rounded to float32 where JAX has no 64 bits.
      dims: numbers of axes that will do.
      least: samples, at least.

    Raises:
      ValueError: another dtype or shape, too few samples, or NaN or infinite values, with the samples that have them.
    """
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused
            array = jnp.asarray(x)
    except (TypeError, ValueError) as error:  # strings, objects, lists of unequal lengths
        raise ValueError(
            f"{name} is {scalars.shown(x)}: expected an array of float32 or float64 with the samples first"
        ) from error
    if array.size == 0:
        raise ValueError(f"{name} is empty, of shape {array.shape}: expected at least {least} samples, and values")
    if array.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"{name} has dtype {array.dtype}: expected float32 or float64; convert it")
    if array.ndim not in dims or 0 in array.shape[1:]:
        axes = " or ".join(map(str, dims))
        raise ValueError(
            f"{name} has shape {array.shape}: expected {axes} axes, the samples first, and none of them empty"
        )
    if array.shape[0] < least:
        raise ValueError(f"{name} has {array.shape[0]} samples: expected at least {least}")
    check_finite(name, array)
    return array


def refuse_traced(name: str, value: AnyArray, function: str) -> None:
    """ValueError under `jit`, `vmap` or `grad`, of what is counted on the host."""
    if scalars.is_traced(value):
        raise ValueError(f"{name} is traced: {function} counts on the host; call it outside jit, vmap and grad")


def check_finite(name: str, array: Array) -> None:
    """ValueError with the numbers of the samples that hold NaN or infinite values; traced arrays pass."""
    if scalars.is_traced(array):
        return
    wrong = ~np.asarray(jnp.all(jnp.isfinite(array), axis=tuple(range(1, array.ndim))))
    if wrong.any():
        raise ValueError(
            f"{name} holds NaN or infinite values in {wrong.sum()} samples of {len(wrong)}, numbers "
            f"{numbers_of(wrong)}: mend these samples or leave them out (what is beyond float32 is infinite without "
            "JAX's 64-bit mode)"
        )


def checked_shape(name: str, value, least: int = 1) -> tuple[int, int]:
    """(height, width) of whole numbers; one number stands for both."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name}={scalars.shown(value)}: expected a height and a width")
    height, width = (scalars.whole(name, one, least) for one in pair)
    return height, width
