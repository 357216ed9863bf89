"""What stops at the door of the alpha-stable functions: a concrete parameter outside its range is a `ValueError`.

A traced one has no value yet: where it turns out to be outside, the result is NaN (`or_nan`), never a plausible number.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..scalars import reals
from .random_bits import joined_shape

PARAMETRIZATIONS = ("S0", "S1")
SMALLEST_E = 1e-12  # stands for 1 - alpha = 0; far below what float64 notices
HALF_TYPES = (jnp.bfloat16, jnp.float16)


def check(name: str, value, holds, expected: str) -> None:
    """Raises a ValueError that names the argument where a concrete value breaks the condition.

    Args:
      name, value: of the argument; a traced value passes.
      holds: function of a float64 array to booleans; NaN has to fail it.
      expected: what was expected, for the message.
    """
    reals(name, value, expected, holds)


# Functions of an array, of NumPy or JAX; NaN fails each of them.
RANGES = {
    "alpha": (lambda value: (value > 0) & (value <= 2), "a stability index in (0, 2]"),
    "beta": (lambda value: (value >= -1) & (value <= 1), "a skewness in [-1, 1]"),
    "scale": (lambda value: (value > 0) & (value < np.inf), "a scale above 0"),
    "loc": (lambda value: (value > -np.inf) & (value < np.inf), "a finite location"),
    "p": (lambda value: (value > -1) & (value < np.inf), "a power in (-1, alpha)"),
    "c": (lambda value: (value > 0) & (value <= 1), "an index in (0, 1]"),
}


def check_ranges(**parameters) -> None:
    """Checks parameters against RANGES, by name."""
    for name, value in parameters.items():
        check(name, value, *RANGES[name])


def check_alpha(alpha) -> None:
    """Checks a stability index in (0, 2]."""
    check_ranges(alpha=alpha)


def check_law(alpha, beta=0, scale=1, loc=0, parametrization: str = "S0") -> None:
    """Checks the parameters of a stable law."""
    check_ranges(alpha=alpha, beta=beta, scale=scale, loc=loc)
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(f"parametrization={parametrization!r} is unknown; choose one of {', '.join(PARAMETRIZATIONS)}")


def are_traced(*values) -> bool:
    """Whether some of the values are unknown yet."""
    return any(isinstance(value, jax.core.Tracer) for value in values)


def or_nan(result: jax.Array, **parameters) -> jax.Array:
    """Returns the result, NaN where a traced parameter is outside its range.

    Concrete parameters were checked at the door and cost nothing here.

    Args:
      result: floating-point or complex.
      parameters: by their names in RANGES.
    """
    for name, value in parameters.items():
        if are_traced(value):
            result = where_or_nan(RANGES[name][0](jnp.asarray(value)), result)
    return result


def where_or_nan(holds, result: jax.Array) -> jax.Array:
    """The result where the condition holds, else NaN."""
    return jnp.where(holds, result, jnp.asarray(jnp.nan, result.dtype))


def float_types(dtype) -> tuple[np.dtype, np.dtype]:
    """Returns the dtype of the result and the dtype to compute in (float32 for half types).

    Args:
      dtype: None for JAX's default, float64 in 64-bit mode and float32 otherwise.

    Raises:
      ValueError: no floating-point type, or float64 without 64-bit mode.
    """
    if dtype is None:
        dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32  # type: ignore[attr-defined]
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise ValueError(f"dtype={dtype!r} is none of float64, float32, bfloat16, float16") from None
    if dtype in HALF_TYPES:
        return dtype, jnp.dtype(jnp.float32)
    if dtype == jnp.float64 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError("dtype=float64 needs jax.config.update('jax_enable_x64', True); or ask for float32")
    if dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"dtype={dtype} is none of float64, float32, bfloat16, float16")
    return dtype, dtype


def common_float(**values) -> tuple[list[jax.Array], np.dtype]:
    """The values as arrays of the type to compute in, and the type of the result.

    The result has their common floating type, JAX's default where all are numbers of Python or NumPy; half types are
    computed in float32.

    Raises:
      ValueError: a value that is no real number or array of them; shapes that do not broadcast together.
    """
    dtyped = [value for value in values.values() if isinstance(value, jax.Array)]
    dtyped = [value for value in dtyped if jnp.issubdtype(value.dtype, jnp.inexact)]
    dtype, compute = float_types(jnp.result_type(*dtyped) if dtyped else None)
    arrays = []
    for name, value in values.items():
        try:
            if jnp.iscomplexobj(value):
                raise TypeError
            arrays.append(jnp.asarray(value, compute))
        except (TypeError, ValueError):
            raise ValueError(f"{name}={value!r} is no real number or array of such") from None
    joined_shape(None, **dict(zip(values, arrays, strict=True)))
    return arrays, dtype
