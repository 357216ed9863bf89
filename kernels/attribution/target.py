"""What of the output is explained: the relevance to start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Count, Float, Integer, Num

# A class, classes of each sample, "argmax", relevance of the outputs, a function of the outputs; None: all of them.
Target = Count | Integer[AnyArray, "*batch"] | str | Float[AnyArray, "*outputs"] | Sequence | Callable | None


def starting_relevance(y: Num[Array, "*outputs"], target: Target, one_value: bool = False) -> Float[Array, "*outputs"]:
    """Returns the relevance of the output; see `target` of `attribute`.

    Args:
        one_value: whether each sample has one output, so that y is `[batch]` and its last axis is no axis of classes.

    Raises:
        ValueError: for an index out of range, a shape that does not fit, or anything else. A traced index out of range
            cannot be seen: what is returned for its sample is NaN.
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(f"the output has dtype {y.dtype}; expected floating-point numbers, such as logits.")
    if target is None:
        return y
    if callable(target):
        start = _given(target(y), "the function of target gave")
        if start.shape != y.shape:
            raise ValueError(
                f"the function of target gave shape {start.shape}; expected that of the output, {y.shape}."
            )
        return jnp.asarray(start, y.dtype)
    if one_value or y.ndim == 0:
        return _of_one_value(y, target)
    if isinstance(target, str):
        if target != "argmax":
            raise ValueError(f"target is {target!r}; expected 'argmax', integers, an array, a function or None.")
        return _one_value(y, jnp.argmax(y, axis=-1))
    array = _given(target, "target is")
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
    array = None if isinstance(target, str) else _given(target, "target is")
    if array is not None and jnp.issubdtype(array.dtype, jnp.floating) and array.shape == y.shape:
        return jnp.asarray(array, y.dtype)
    if array is not None and not (jnp.issubdtype(array.dtype, jnp.integer) and array.shape in ((), y.shape)):
        raise ValueError(
            f"target has shape {array.shape} and dtype {array.dtype}; the output has one value a sample, shape "
            f"{y.shape}: expected None, 'argmax', 0, or floats of that shape."
        )
    if array is not None:
        index = jnp.broadcast_to(_checked_index(y[..., None], array), y.shape)
        return jnp.where(index == 0, y, jnp.nan) if isinstance(array, jax.core.Tracer) else y
    return y


def marked(relevance: Any, start: jax.Array, by_sample: bool) -> Any:
    """Returns relevance, or a pytree of it, that is NaN where what it starts from is: some rules would make it zero.

    A target out of range inside of a `jax.jit` starts from NaN, see `starting_relevance`. Concrete arrays come back as
    they are: for these a target is an error, and other NaN are named by `finite`.

    Args:
        start: of `starting_relevance`. by_sample: whether its first axis is that of the samples; an array with another
            first axis is NaN for all samples if it is for one.
    """
    if not isinstance(start, jax.core.Tracer):
        return relevance

    def of(array):
        alike = by_sample and array.shape[:1] == start.shape[:1]
        is_nan = jnp.isnan(start).any(tuple(range(1 if alike else 0, start.ndim)))
        is_nan = is_nan.reshape(is_nan.shape + (1,) * (array.ndim - is_nan.ndim))
        return jnp.where(is_nan, jnp.full((), jnp.nan, array.dtype), array)

    return jax.tree.map(of, relevance)


def _given(value: Any, who: str):
    """A target as an array; concrete numbers in it must be finite."""
    array = value
    if not isinstance(value, jax.Array):
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
        try:
            array = (jnp if is_traced else np).asarray(value)
        except (TypeError, ValueError):  # lists of unequal lengths, or of arrays beside other things
            array = np.asarray(None)
    if getattr(array.dtype, "kind", "O") in "OUSMm":
        raise ValueError(
            f"{who} {value!r:.60}, {type(value).__name__}; expected None, 'argmax', integers, floats of the output's "
            "shape, or a function of the output that returns such floats."
        )
    concrete = not isinstance(array, jax.core.Tracer)
    if concrete and jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(np.asarray(array, np.float64)).all():
        raise ValueError(f"{who} an array with NaN or infinite values; relevance can start from finite numbers only.")
    return array


def _checked_index(y, index):
    if y.ndim == 0 or index.shape not in ((), y.shape[:-1]):
        raise ValueError(f"target has shape {index.shape}; expected one integer or integers of shape {y.shape[:-1]}.")
    if not isinstance(index, jax.core.Tracer):
        low, high = int(np.asarray(index).min()), int(np.asarray(index).max())
        if low < -y.shape[-1] or high >= y.shape[-1]:
            raise ValueError(f"target is {low if low < -y.shape[-1] else high}; the output has {y.shape[-1]} values.")
    if index.dtype.itemsize < 4:  # of labels in a byte, to which a number of classes cannot be added
        index = index.astype(np.int32)
    return jnp.where(index < 0, index + y.shape[-1], index)


def _one_value(y, index):
    is_traced = isinstance(index, jax.core.Tracer)
    index = jnp.broadcast_to(index, y.shape[:-1])
    start = jnp.where(jnp.arange(y.shape[-1]) == index[..., None], y, jnp.zeros((), y.dtype))
    if not is_traced:
        return start
    # It could not be checked, and zeros would look like an explanation.
    is_valid = (index >= 0) & (index < y.shape[-1])
    return jnp.where(is_valid[..., None], start, jnp.full((), jnp.nan, y.dtype))
