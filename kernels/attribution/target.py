"""What of the output is explained: the relevance to start from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def starting_relevance(y: jax.Array, target: Any, one_value: bool = False) -> jax.Array:
    """Returns the relevance of the output; see `target` of `attribute`.

    Args:
        one_value: whether each sample has one output, so that y is `[batch]` and its last axis is no axis of classes.

    Raises:
        ValueError: for an index out of range, a shape that does not fit, or anything else.
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(f"the output has dtype {y.dtype}; expected floating-point numbers, such as logits.")
    if target is None:
        return y
    if callable(target):
        start = jnp.asarray(target(y))
        if start.shape != y.shape:
            raise ValueError(
                f"the function of target gave shape {start.shape}; expected that of the output, {y.shape}."
            )
        return start.astype(y.dtype)
    if one_value or y.ndim == 0:
        return _of_one_value(y, target)
    if isinstance(target, str):
        if target != "argmax":
            raise ValueError(f"target is {target!r}; expected 'argmax', integers, an array, a function or None.")
        return _one_value(y, jnp.argmax(y, axis=-1))
    array = target if isinstance(target, jax.Array) else np.asarray(target)
    if jnp.issubdtype(array.dtype, jnp.integer):
        return _one_value(y, _checked_index(y, array))
    if jnp.issubdtype(array.dtype, jnp.floating) and array.shape == y.shape:
        return jnp.asarray(array, y.dtype)
    raise ValueError(
        f"target has shape {array.shape} and dtype {array.dtype}; expected integers of shape () or {y.shape[:-1]}, or "
        f"floats of the output's shape {y.shape}."
    )


def _of_one_value(y, target):
    """The relevance of outputs `[batch]`, or of a single one: there is one value to choose."""
    if isinstance(target, str) and target != "argmax":
        raise ValueError(f"target is {target!r}; expected 'argmax', integers, an array, a function or None.")
    array = None if isinstance(target, str) else target if isinstance(target, jax.Array) else np.asarray(target)
    if array is not None and jnp.issubdtype(array.dtype, jnp.floating) and array.shape == y.shape:
        return jnp.asarray(array, y.dtype)
    if array is not None and not (jnp.issubdtype(array.dtype, jnp.integer) and array.shape in ((), y.shape)):
        raise ValueError(
            f"target has shape {array.shape} and dtype {array.dtype}; the output has one value a sample, shape "
            f"{y.shape}: expected None, 'argmax', 0, or floats of that shape."
        )
    if array is not None:
        _checked_index(y[..., None], array)
    return y


def _checked_index(y, index):
    if y.ndim == 0 or index.shape not in ((), y.shape[:-1]):
        raise ValueError(f"target has shape {index.shape}; expected one integer or integers of shape {y.shape[:-1]}.")
    if not isinstance(index, jax.core.Tracer):
        low, high = int(np.asarray(index).min()), int(np.asarray(index).max())
        if low < -y.shape[-1] or high >= y.shape[-1]:
            raise ValueError(f"target is {low if low < -y.shape[-1] else high}; the output has {y.shape[-1]} values.")
    return jnp.where(index < 0, index + y.shape[-1], index)


def _one_value(y, index):
    index = jnp.broadcast_to(index, y.shape[:-1])
    return jnp.where(jnp.arange(y.shape[-1]) == index[..., None], y, jnp.zeros((), y.dtype))
