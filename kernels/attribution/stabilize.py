"""Denominators that can be divided by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import Array, Float, Scalar
from .tracing.axes import BATCH


def stabilize(
    z: Float[Array, "*shape"],
    epsilon: Scalar = 1e-6,
    clip: bool = False,
    norm_scale: bool = False,
    axis: int | tuple[int, ...] | None = None,
) -> Float[Array, "*shape"]:
    """Returns z moved away from zero by epsilon, zero itself upwards.

    Args:
        z: denominators.
        epsilon: added with the sign of z; with `clip` the least absolute value instead.
        clip: leave what is larger than epsilon as it is.
        norm_scale: epsilon counts in units of the root mean square of z over `axis`.
        axis: of `norm_scale`; all but the first when None.
    """
    sign = jnp.where(z >= 0, jnp.ones((), z.dtype), -jnp.ones((), z.dtype))
    least: jax.Array | Scalar = epsilon
    if norm_scale:
        axis = tuple(range(1, z.ndim)) if axis is None else axis
        least = epsilon * jnp.sqrt(jnp.mean(jnp.square(z), axis=axis, keepdims=True))
    if clip:
        return sign * jnp.maximum(jnp.abs(z), least)
    return z + sign * jnp.asarray(least, z.dtype)


@dataclasses.dataclass(frozen=True)
class Stabilizer:
    """`stabilize` with its options set, for the `stabilizer` of a rule.

    With `norm_scale` and no `axis` the units are those of each sample, wherever an operation has the samples; an `axis`
    is one of the operation's own result. `parts` is for the engine, which says there where the samples are.
    """

    epsilon: float = 1e-6
    clip: bool = False
    norm_scale: bool = False
    axis: int | tuple[int, ...] | None = None
    parts: Any = dataclasses.field(default=None, repr=False)

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Returns the stabilised z."""
        if self.parts is None:
            return stabilize(z, self.epsilon, self.clip, self.norm_scale, self.axis)
        # An axis that samples share with other things is taken apart; z of one sample has none.
        parts = [axis if size != 1 else () for axis, size in zip(self.parts, z.shape, strict=True)]
        apart = z.reshape([part.size for axis in parts for part in axis])
        labels = [part.label for axis in parts for part in axis]
        own = tuple(number for number, label in enumerate(labels) if label != BATCH)
        return stabilize(apart, self.epsilon, self.clip, self.norm_scale, own).reshape(z.shape)


def as_stabilizer(value: float | Callable) -> Callable[[jax.Array], jax.Array]:
    """Returns a function from a number (epsilon) or a function; zero divides nothing by zero to zero."""
    if callable(value):
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise ValueError(f"the stabiliser is {value!r}; expected epsilon >= 0, a Stabilizer or a function of z.")
    return Stabilizer(float(value))
