"""The doors of the room: arrays of floating-point numbers, how many entries are selected, and what is not finite."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array


def checked_entries(name: str, x: AnyArray) -> Array:
    """Floating-point numbers [..., n] as an array of JAX, n at least 1; ValueError for others.

    NumPy's float64 is rounded to float32 where JAX has no 64 bits; what is too large for that is refused.
    """
    with np.errstate(over="ignore"):  # said below
        array = jnp.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and array.dtype.itemsize < x.dtype.itemsize:
        if len(beyond := x[np.isfinite(x) & ~np.isfinite(np.asarray(array))]):
            raise ValueError(
                f"{name} holds {beyond[0]:.6g}, beyond {array.dtype}: enable JAX's 64-bit mode (jax_enable_x64), or "
                "scale it"
            )
    if not jnp.issubdtype(array.dtype, jnp.floating) or jnp.finfo(array.dtype).bits < 16:
        raise ValueError(f"{name} has dtype {array.dtype}: expected floating-point numbers of 16 bits or more")
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected at least one entry along a last axis")
    return array


def checked_size(k, n: int) -> int:
    """The number of entries to select from each row of n."""
    return scalars.whole("k", k, 1, n, why=f", as a row has {n} entries")


def check_finite(is_finite: Array, what: str, x: Callable[[], AnyArray]) -> None:
    """ValueError where a computed flag says that what it was computed from is not finite; a traced one passes.

    The flags come with the result, so that nothing is read twice; x: of the values, for the message.
    """
    if scalars.is_traced(is_finite) or bool(np.all(np.asarray(is_finite))):
        return
    values = np.asarray(x())
    number = int(np.count_nonzero(~np.isfinite(values.astype(np.float64))))
    raise ValueError(
        f"{what} holds {number} NaN or infinite values of {values.size}, of which no entry is the largest: mend them, "
        "or leave this update out"
    )
