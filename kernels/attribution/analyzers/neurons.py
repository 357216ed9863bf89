"""Which output an analyzer explains: the largest, all, or one by its number, as iNNvestigate selects neurons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MODES = ("max_activation", "index", "all")
HEADS = ("value", "one", "positive")


@dataclasses.dataclass(frozen=True)
class Selection:
    """A function of the outputs that gives what an explanation starts from; several axes of outputs count as one.

    Attributes:
        mode: "max_activation": the largest output, what several share split evenly; "all".
        head: "value": the outputs themselves; "one": 1, as a gradient starts; "positive": what is above 0 of them.
    """

    mode: str = "max_activation"
    head: str = "value"

    def __call__(self, y: jax.Array) -> jax.Array:
        """Returns the start, like the outputs `[batch, ...]`."""
        start = _headed(y, self.head)
        if self.mode == "all" or y.ndim < 2:
            return start
        among = jnp.maximum(y, 0) if self.head == "positive" else y
        flat = among.reshape(y.shape[0], -1)
        largest = flat == jnp.max(flat, axis=-1, keepdims=True)
        share = largest / jnp.sum(largest, axis=-1, keepdims=True)
        return start * share.reshape(y.shape).astype(y.dtype)


def target_of(
    target: Any,
    mode: str | None,
    head: str,
    shape: Callable[[], jax.ShapeDtypeStruct],
    outputs: Callable[[], jax.Array] | None = None,
) -> Any:
    """Returns the target of `attribute`, or of the attributors, for a selection.

    Args:
        target: of the call: None, "max_activation" or "argmax", "all", numbers of outputs, or anything that `attribute`
            takes as a target.
        mode: of the analyzer, one of MODES, or None for "max_activation" unless the call has a target.
        head: one of HEADS.
        shape: gives shape and dtype of the outputs.
        outputs: gives the outputs of the input itself, in which the largest is looked for once; None: in those of each
            draw or point.

    Raises:
        ValueError: for a target that does not fit the mode, or a number out of range.
    """
    if isinstance(target, str):
        if target not in ("max_activation", "argmax", "all"):
            raise ValueError(f"target={target!r}: expected 'max_activation', 'all', numbers of outputs, or an array")
        named = "all" if target == "all" else "max_activation"
        if mode is not None and named != mode:
            raise ValueError(f"target={target!r}, but neuron_selection={mode!r}: leave one of them out.")
        return _by_mode(named, head, shape, outputs)
    if target is None:
        if mode == "index":
            raise ValueError("neuron_selection='index' needs the number of an output: give target=NUMBER to the call.")
        return _by_mode(mode or "max_activation", head, shape, outputs)
    if mode not in (None, "index"):
        raise ValueError(f"neuron_selection={mode!r} selects outputs itself: leave target out, or take 'index'.")
    return _by_number(target, head, shape)


def _by_mode(mode, head, shape, outputs):
    if mode == "all" or outputs is None:
        return Selection(mode, head)
    if len(shape().shape) <= 2:
        return "argmax"
    y = outputs()
    return _one_of(y, jnp.argmax(y.reshape(y.shape[0], -1), axis=-1), head)


def _by_number(target, head, shape):
    """Numbers of outputs as `attribute` has them; several axes of outputs are counted as one."""
    if callable(target) or not jnp.issubdtype(jnp.result_type(target), jnp.integer):
        return target
    y = shape()
    if len(y.shape) <= 2 and head != "positive":
        return target
    if len(y.shape) < 2:
        return Selection("all", head)
    size = int(np.prod(y.shape[1:]))
    if jnp.shape(target) not in ((), (y.shape[0],)):
        raise ValueError(f"target has shape {jnp.shape(target)}; expected one integer, or one for each of {y.shape[0]}")
    if not isinstance(target, jax.core.Tracer) and (np.min(target) < -size or np.max(target) >= size):
        raise ValueError(f"target is {target}; the output has {size} values a sample.")
    index = jnp.broadcast_to(jnp.asarray(target), (y.shape[0],))
    return _one_of(y, jnp.where(index < 0, index + size, index), head)


def _one_of(y, index, head):
    """The start at outputs of these numbers, NaN for a sample whose number is out of range."""
    size = int(np.prod(y.shape[1:]))
    one = (jnp.arange(size) == index[:, None]).reshape(y.shape).astype(y.dtype)
    valid = ((index >= 0) & (index < size)).reshape((-1,) + (1,) * (len(y.shape) - 1))
    one = jnp.where(valid, one, jnp.full((), jnp.nan, y.dtype))
    return one if head == "one" else lambda y: _headed(y, head) * one


def _headed(y, head):
    return {"value": lambda: y, "one": lambda: jnp.ones_like(y), "positive": lambda: jnp.maximum(y, 0)}[head]()
