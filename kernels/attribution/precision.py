"""Relevance of half-precision networks is computed in float32: epsilon is below what float16 and bfloat16 can add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .tracing.jaxpr import Equation, applier

HALF = (jnp.dtype(jnp.float16), jnp.dtype(jnp.bfloat16))


def is_half(dtype) -> bool:
    """Whether a dtype is a half precision."""
    return dtype is not None and dtype in HALF


def widened(array: Any) -> Any:
    """Returns float32 for a half-precision array (of JAX, NumPy or a traced program's literals), any other as it is."""
    return array.astype(jnp.float32) if is_half(getattr(array, "dtype", None)) else array


def applied(equation: Equation, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the results of an equation, in float32 where it was traced in a half precision."""
    if not any(is_half(value.dtype) for value in (*equation.inputs, *equation.outputs)):
        return equation.apply(*arrays)
    arrays = [widened(array) for array in arrays]
    if equation.primitive == "convert_element_type":
        dtype = equation.params["new_dtype"]
        return (jnp.asarray(arrays[0], jnp.float32 if is_half(dtype) else dtype),)
    if equation.call:  # its body is typed
        arrays = [array.astype(value.dtype) for array, value in zip(arrays, equation.inputs, strict=True)]
        return tuple(widened(result) for result in equation.apply(*arrays))
    if is_half(equation.params.get("preferred_element_type")):
        changes = equation.changes | {"preferred_element_type": jnp.dtype(jnp.float32)}
        return applier(equation.original, **changes)(*arrays)
    return equation.apply(*arrays)
