"""One number at the door: what stops it names the argument, its value and what was expected.

A bool is no number, nor is a text, a complex number or an array of several. Traced values of JAX have none yet: they
pass where `reals` or `real(..., traced=True)` is asked. JAX is not imported for it.
"""

import fractions
import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def finite(value) -> bool:
    """Whether all of one number or an array are finite."""
    return bool(np.all(np.isfinite(value)))


def positive(value) -> bool:
    """Whether all of one number or an array are finite and above 0."""
    return bool(np.all((value > 0) & (value < np.inf)))


def not_negative(value) -> bool:
    """Whether all of one number or an array are finite and 0 or above."""
    return bool(np.all((value >= 0) & (value < np.inf)))


def is_traced(value) -> bool:
    """Whether a value is a tracer of JAX."""
    return "jax" in sys.modules and isinstance(value, sys.modules["jax"].core.Tracer)


def is_real(dtype) -> bool:
    """Whether numbers of a dtype are whole or real; those of half precision and 8 bits, too."""
    dtype = np.dtype(dtype)
    return dtype.kind in "iuf" or dtype.name.startswith(("bfloat", "float"))


def is_number(value) -> bool:
    """Whether a value is one real number, of Python, NumPy or JAX; NaN is one."""
    if isinstance(value, int | float | fractions.Fraction):
        return not isinstance(value, bool)
    try:
        return np.ndim(value) == 0 and is_real(np.asarray(value).dtype)
    except (TypeError, ValueError):  # a ragged list, a key of random numbers
        return False


def refusal(name: str, value: Any, expected: str) -> ValueError:
    """Returns the error of an argument that will not do."""
    return ValueError(f"{name}={shown(value)}: expected {expected}")


def shown(value: Any) -> str:
    """Returns a value as it stands in messages: short, and numbers of NumPy like those of Python."""
    if is_traced(value):
        return "a traced value"
    return " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())[:100]


def real(name: str, value: Any, expected: str, holds: Callable[[float], bool] = finite, *, traced: bool = False) -> Any:
    """Returns one real number as a float; with `traced`, a traced value as it is.

    Args:
      name, value: of the argument.
      expected: what the message says was expected.
      holds: of a float, whether it will do.

    Raises:
      ValueError: it is no real number, or `holds` does not.
    """
    if traced and is_traced(value):
        return value
    if is_traced(value) or not is_number(value):
        raise refusal(name, value, expected)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if not holds(number):
        raise refusal(name, value, expected)
    return number


def reals(name: str, values: Any, expected: str, holds: Callable[[np.ndarray], Any] = np.isfinite) -> None:
    """Checks one real number or an array of them; traced values pass.

    Args:
      name, values: of the argument.
      expected: what the message says was expected.
      holds: of a float64 array [n], which of them will do; NaN has to fail it unless it will do.

    Raises:
      ValueError: they are no real numbers, or one of them will not do, which the message then names.
    """
    if is_traced(values):
        return
    try:
        array = np.asarray(values)
        if not is_real(array.dtype):
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise refusal(name, values, expected) from None
    flat = array.reshape(-1)
    wrong = flat[~holds(flat)]
    if wrong.size:
        raise refusal(name, wrong[0] if array.ndim else values, expected)


def whole(
    name: str, value: Any, least: int | None, most: int | None = None, why: str = "", *, floats: bool = False
) -> int:
    """Returns an integer as int.

    Args:
      name, value: of the argument.
      least, most: its bounds, None: none.
      why: ends the message.
      floats: whether a float without a fraction is one.

    Raises:
      ValueError: it is no integer, or beyond its bounds.
    """
    good = not is_traced(value) and is_number(value)
    if good and hasattr(value, "__index__") and np.asarray(value).dtype.kind in "iuO":
        number = operator.index(value)
    else:
        good = good and floats and math.isfinite(value) and value == int(value)
        number = int(value) if good else 0
    if not good or (least is not None and number < least) or (most is not None and number > most):
        bounds = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        raise refusal(name, value, f"an integer{bounds}{why}")
    return number
