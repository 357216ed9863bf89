"""The gradient of maximum pooling as maxima of slices: XLA's select_and_scatter is ten times slower on a CPU.

The first of equal entries of a window, in row-major order, takes all, as with XLA and PyTorch.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from .tracing.jaxpr import Equation

# Windows with more entries go through XLA: a slice an entry is then no gain.
LARGEST_WINDOW = 32


def is_plain_pooling(equation: Equation) -> bool:
    """Whether an equation is a maximum over undilated windows that are small enough."""
    params = equation.params
    return (
        equation.primitive == "reduce_window_max"
        and math.prod(params["window_dimensions"]) <= LARGEST_WINDOW
        and set(params["base_dilation"]) == set(params["window_dilation"]) == {1}
    )


def pooling_gradient(equation: Equation, x: jax.Array, y: jax.Array, relevance: jax.Array) -> jax.Array:
    """Returns the relevance of the entries of `x` that won their windows.

    Args:
        equation: `is_plain_pooling`.
        x, y: its operand and its result. relevance: of the result.
    """
    window, stride, padding = (equation.params[key] for key in ("window_dimensions", "window_strides", "padding"))
    padded = lax.pad(x, jnp.array(-jnp.inf, x.dtype), [(low, high, 0) for low, high in padding])
    zero = jnp.zeros((), relevance.dtype)
    tiles = window == stride and all(s == n * k for s, n, k in zip(padded.shape, y.shape, window, strict=True))
    has_winner = jnp.zeros(y.shape, bool)
    total, parts = zero, []
    for tap in itertools.product(*(range(n) for n in window)):
        limits = [start + (n - 1) * step + 1 for start, n, step in zip(tap, y.shape, stride, strict=True)]
        first = (lax.slice(padded, tap, limits, stride) == y) & ~has_winner
        has_winner = has_winner | first
        part = jnp.where(first, relevance, zero)
        if tiles:
            parts.append(part)
            continue
        config = [
            (start, size - limit, step - 1)
            for start, size, limit, step in zip(tap, padded.shape, limits, stride, strict=True)
        ]
        total = total + lax.pad(part, zero, config)
    if tiles:
        total = _interleaved(parts, window, y.shape)
    return lax.slice(
        total,
        [low for low, _ in padding],
        [size - high for size, (_, high) in zip(total.shape, padding, strict=True)],
    )


def _interleaved(parts, window, shape):
    """Entry `tap` of every window from `parts[tap]`."""
    ndim = len(shape)
    stack = jnp.stack(parts).reshape(*window, *shape)
    order = [axis for pair in zip(range(ndim, 2 * ndim), range(ndim), strict=True) for axis in pair]
    return stack.transpose(order).reshape([n * k for n, k in zip(shape, window, strict=True)])
