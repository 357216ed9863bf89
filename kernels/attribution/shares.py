"""Shares of relevance: divided without a NaN, and summed over the copies of what was broadcast."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..array_types import Array, Float


def fitted(relevance, x) -> jax.Array:
    """Returns relevance of an operand that was broadcast: the sum over its copies."""
    if relevance.ndim > x.ndim:
        relevance = jnp.sum(relevance, axis=tuple(range(relevance.ndim - x.ndim)))
    axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1 and relevance.shape[axis] != 1)
    relevance = jnp.sum(relevance, axis=axes, keepdims=True) if axes else relevance
    if relevance.shape != x.shape:
        raise ValueError(
            f"relevance of shape {relevance.shape} cannot pass to shape {x.shape}: Pass is for entrywise functions."
        )
    return relevance.astype(x.dtype)


def divided(relevance: Float[Array, ...], denominator: Float[Array, ...]) -> Float[Array, ...]:
    """Returns R / denominator, zero where the denominator is exactly zero, with a gradient that is never NaN."""
    safe = jnp.where(denominator == 0, jnp.ones((), denominator.dtype), denominator)
    return jnp.where(denominator == 0, jnp.zeros((), denominator.dtype), relevance / safe)
