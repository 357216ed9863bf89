"""The k largest magnitudes of each row: how many, from which value on, and which; by bits, without sorting (order.py).

Source: the top-k selection of sparse ternary compression (arXiv:1903.02891, Algorithm 1), with a rule for ties.
"""

import fractions
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Bool, Count, Float, Scalar
from ..scalars import real, whole
from . import order
from .arguments import check_finite, checked_entries, checked_size

GUARD = 1e-9  # of an entry: 100 * 0.07 is above 7 as a float, and 7 is meant


def selection_size(n: Count, p: Scalar | fractions.Fraction) -> int:
    """The number of entries that a sparsity selects: max(1, ceil(n p)).

    Args:
      n: entries in all, at least 1.
      p: share of them in (0, 1]. As a float it may be above what is meant by 1e-9 entries, or by the precision of its
        type (a float32); a Fraction is exact.

    Raises:
      ValueError: n or p is out of range.

    Example:
      >>> from havel.kernels import sparse_ternary
      >>> sparse_ternary.selection_size(100, 0.07), sparse_ternary.selection_size(865_482, 1 / 400)
      (7, 2164)
    """
    n = whole("n", n, 1)
    expected = "a number in (0, 1], the share of the entries that are selected"
    if isinstance(p, fractions.Fraction):
        real("p", float(p), expected, lambda value: 0 < value <= 1)
        return max(1, math.ceil(n * p))
    share = real("p", p, expected, lambda value: 0 < value <= 1)
    dtype = getattr(p, "dtype", np.dtype(np.float64))
    rounding = float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    return max(1, math.ceil(n * share * (1 - rounding) - GUARD))


def topk_threshold(x: Float[AnyArray, "*batch n"], k: Count) -> Float[Array, "*batch"]:
    """The k-th largest magnitude of each row, exactly, in its dtype.

    It is 0 where fewer than k entries of a row are not 0: `x >= 0` would then select all; `topk_mask` does not.

    Args:
      x: floating-point numbers of 16 bits or more; leading axes are rows of their own.
      k: entries to select from each row, 1 to n; not traced.

    Raises:
      ValueError: k is out of range, or a concrete x is empty or not finite. A row of a traced one (under `jit`,
        `vmap`) that is not finite gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import sparse_ternary
      >>> float(sparse_ternary.topk_threshold(jnp.array([0.5, -3.0, 2.0, 0.0]), 2))
      2.0
    """
    entries = checked_entries("x", x)
    threshold = _threshold(entries, checked_size(k, entries.shape[-1]))
    check_finite(jnp.isfinite(threshold), "x", lambda: entries)
    return threshold


def topk_mask(x: Float[AnyArray, "*batch n"], k: Count) -> Bool[Array, "*batch n"]:
    """Which entries of each row are its k largest by magnitude: exactly k, but never a zero.

    All above the k-th largest magnitude are selected, then those equal to it in the order of their indices. Where
    fewer than k entries are not 0, these are selected.

    Args:
      x: floating-point numbers of 16 bits or more; leading axes are rows of their own.
      k: entries to select from each row, 1 to n; not traced.

    Raises:
      ValueError: k is out of range, or a concrete x is empty or not finite. In a traced one NaN counts as larger than
        infinity: `ternarize` marks such a row by its mu.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import sparse_ternary
      >>> sparse_ternary.topk_mask(jnp.array([[1.0, -2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 5.0]]), 2).astype(int).tolist()
      [[0, 1, 1, 0], [0, 0, 0, 1]]
    """
    entries = checked_entries("x", x)
    mask, is_finite = _mask(entries, checked_size(k, entries.shape[-1]))
    check_finite(is_finite, "x", lambda: entries)
    return mask


def selected(x: Float[Array, "*batch n"], k: int) -> tuple[Bool[Array, "*batch n"], Float[Array, "*batch 1"]]:
    """(the mask of `topk_mask`, the largest magnitude of each row), of arguments that have been checked."""
    u = order.patterns(x)
    threshold, largest = order.kth_largest(u, k)
    return order.highest(u, threshold, k, zeros=False), order.magnitudes(largest, x.dtype)


@functools.partial(jax.jit, static_argnames="k")
def _threshold(x, k: int):
    threshold, largest = (order.magnitudes(u, x.dtype) for u in order.kth_largest(order.patterns(x), k))
    return jnp.where(jnp.isfinite(largest), threshold, jnp.nan)[..., 0]


@functools.partial(jax.jit, static_argnames="k")
def _mask(x, k: int):
    mask, largest = selected(x, k)
    return mask, jnp.isfinite(largest)
