"""What stops at the door of the alpha-stable functions. Traced parameters have no value yet and are not checked."""

import jax
import jax.numpy as jnp
import numpy as np

HALF_TYPES = (jnp.bfloat16, jnp.float16)


def check(name: str, value, holds, expected: str) -> None:
    """Raises a ValueError that names the argument where a concrete value breaks the condition.

    Args:
      name, value: of the argument; a traced value passes.
      holds: function of a float64 array to booleans; NaN has to fail it.
      expected: what was expected, for the message.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        given = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} is no number or array of numbers; expected {expected}") from None
    broken = given[~holds(given)] if given.ndim else given.reshape(1)[~holds(given.reshape(1))]
    if broken.size:
        raise ValueError(f"{name}={broken.flat[0]:g} is outside its range; expected {expected}")


def check_alpha(alpha, highest: float = 2, name: str = "alpha") -> None:
    """Checks a stability index in (0, highest]."""
    check(name, alpha, lambda a: (a > 0) & (a <= highest), f"a stability index in (0, {highest:g}]")


def float_types(dtype) -> tuple[np.dtype, np.dtype]:
    """Returns the dtype of the result and the dtype to compute in (float32 for half types).

    Args:
      dtype: None for JAX's default, float64 in 64-bit mode and float32 otherwise.

    Raises:
      ValueError: no floating-point type, or float64 without 64-bit mode.
    """
    if dtype is None:
        dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    dtype = jnp.dtype(dtype)
    if dtype in HALF_TYPES:
        return dtype, jnp.dtype(jnp.float32)
    if dtype == jnp.float64 and not jax.config.jax_enable_x64:
        raise ValueError("dtype=float64 needs jax.config.update('jax_enable_x64', True); or ask for float32")
    if dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"dtype={dtype} is none of float64, float32, bfloat16, float16")
    return dtype, dtype
