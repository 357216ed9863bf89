"""Denominators that can be divided by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Scalar
from ..scalars import not_negative, positive, real, reals
from .tracing.axes import BATCH


def stabilize(
    z: Float[AnyArray, "*shape"],
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

    Raises:
        ValueError: an epsilon that is no finite number >= 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> attribution.stabilize(jnp.array([-1.0, 0.0, 1.0]), 0.25).tolist()
        [-1.25, 0.25, 1.25]
    """
    check_epsilon(epsilon)
    z = jnp.asarray(z)
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

    def __post_init__(self):
        check_epsilon(self.epsilon)

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


@dataclasses.dataclass(frozen=True)
class ZeroGuard:
    """Denominators that are exactly zero become epsilon, all others stay as they are: iNNvestigate's division."""

    epsilon: float = 1e-7

    def __post_init__(self):
        real("epsilon", self.epsilon, "a finite number > 0", positive)

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Returns z without zeros."""
        return jnp.where(z == 0, jnp.asarray(self.epsilon, z.dtype), z)


def check_epsilon(epsilon) -> None:
    """Raises ValueError for what stabilises nothing; traced values and arrays of numbers pass."""
    reals("epsilon", epsilon, "a finite number >= 0", lambda e: (e >= 0) & (e < np.inf))


def as_stabilizer(value: float | Callable, name: str = "stabilizer") -> Callable[[jax.Array], jax.Array]:
    """Returns a function from a number (epsilon) or a function; zero divides nothing by zero to zero.

    Raises:
        ValueError: it is neither; the message has the name of the argument.
    """
    if callable(value):
        return value
    return Stabilizer(real(name, value, "an epsilon >= 0 and finite, a Stabilizer or a function of z", not_negative))
