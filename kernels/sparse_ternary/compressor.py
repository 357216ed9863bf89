"""The ternary compressor with error feedback, and the vote that aggregates signs.

An update T becomes C = mu sign(T) on its k largest entries and 0 elsewhere, where mu is their mean magnitude: the scale
of the least error, so that |T - C|^2 = |T|^2 - k mu^2.
Source: F. Sattler et al., arXiv:1903.02891, Algorithms 1 and 2; J. Bernstein et al., arXiv:1810.05291 (the vote).
"""

import functools

import jax
import jax.numpy as jnp

from ..array_types import AnyArray, Array, Bool, Count, Float, Int8, Integer, RandomKey
from . import order
from .arguments import check_finite, checked_entries, checked_size
from .threshold import selected


def ternarize(
    x: Float[AnyArray, "*batch n"], k: Count
) -> tuple[Bool[Array, "*batch n"], Float[Array, "*batch"], Int8[Array, "*batch n"]]:
    """(mask, mu, signs) of each row: its k largest entries by magnitude, their mean magnitude, and their signs.

    Their ternary form is mu * signs.

    Args:
      x: floating-point numbers of 16 bits or more; leading axes are rows of their own.
      k: entries to select from each row, 1 to n; not traced. Zeros never are: see `topk_mask`.

    Returns:
      mask; mu in the dtype of x, summed in float32 or wider, 0 of a row of zeros; signs +1 and -1 where the mask is
      True, else 0. Where all that is selected is subnormal, mu may be 0, too, on processors that flush such numbers.

    Raises:
      ValueError: k is out of range, or a concrete x is empty or not finite. A row of a traced one (under `jit`,
        `vmap`) that is not finite has a mu of NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import sparse_ternary
      >>> mask, mu, signs = sparse_ternary.ternarize(jnp.array([0.5, -3.0, 2.0, 0.0]), 2)
      >>> (mu * signs).tolist()
      [0.0, -2.5, 2.5, 0.0]
    """
    entries = checked_entries("x", x)
    mask, mu, signs = _ternary(entries, checked_size(k, entries.shape[-1]))
    check_finite(jnp.isfinite(mu), "x", lambda: entries)
    return mask, mu, signs


def compress_with_feedback(
    update: Float[AnyArray, "*batch n"], residual: Float[AnyArray, "*batch n"], k: Count
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """(sent, residual): the ternary form of update + residual, and what it leaves to be sent later.

    Where nothing is sent, the new residual is update + residual to the bit; where something is, sent + residual is,
    to a rounding. Its norm is never above that of update + residual, but for rounding.

    Args:
      update, residual: of one shape and one dtype; leading axes (clients) are rows of their own.
      k: entries to send of each row, 1 to n; not traced.

    Raises:
      ValueError: shapes or dtypes differ, k is out of range, or concrete arrays or their sum are not finite. A row of
        traced ones that is not finite is NaN wherever it would be sent.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import sparse_ternary
      >>> sent, residual = sparse_ternary.compress_with_feedback(jnp.array([1.0, -0.5]), jnp.array([1.0, 0.25]), 1)
      >>> sent.tolist(), residual.tolist()
      ([2.0, 0.0], [0.0, -0.25])
    """
    fresh, left = checked_entries("update", update), checked_entries("residual", residual)
    if fresh.shape != left.shape or fresh.dtype != left.dtype:
        raise ValueError(
            f"residual is {left.dtype} of shape {left.shape}, update {fresh.dtype} of shape {fresh.shape}: expected "
            "one shape and dtype, those of the model"
        )
    sent, remainder, is_finite = _feedback(fresh, left, checked_size(k, fresh.shape[-1]))
    check_finite(is_finite, "update + residual", lambda: fresh + left)
    return sent, remainder


def majority_vote(signs: Integer[AnyArray, " m *shape"], key: RandomKey | None = None) -> Int8[Array, "*shape"]:
    """The sign of the sum of m votes at each place, int8: +1, -1, and 0 at a tie.

    Args:
      signs: signed integers, of which the sign counts, one; 0 abstains.
      key: from jax.random.key, new in each round; a tie is then +1 or -1 at random, so that the result has one bit a
        place. None: a tie is 0, which only an even number of votes or an abstention brings about.

    Raises:
      ValueError: signs that are no signed integers, or no votes.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import sparse_ternary
      >>> sparse_ternary.majority_vote(jnp.array([[1, -1, 1], [1, -1, -1], [1, 1, 0]], jnp.int8)).tolist()
      [1, -1, 0]
    """
    votes = jnp.asarray(signs)
    if not jnp.issubdtype(votes.dtype, jnp.signedinteger):
        raise ValueError(
            f"signs have dtype {votes.dtype}: expected signed integers, as of `jnp.sign(x).astype(jnp.int8)` for an x "
            "that is finite"
        )
    if votes.ndim == 0 or votes.shape[0] == 0:
        raise ValueError(f"signs have shape {votes.shape}: expected at least one vote along a first axis")
    total = jnp.sign(jnp.sum(jnp.sign(votes), axis=0, dtype=jnp.int32)).astype(jnp.int8)
    if key is None:
        return total
    return jnp.where(total == 0, jax.random.rademacher(key, total.shape, jnp.int8), total)


def _compressed(x, k: int):
    """(mask, mu [..., 1], signs) of arguments that have been checked; mu is NaN of a row that is not finite."""
    mask, largest = selected(x, k)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    # Sums of many numbers near the largest that there are: scaled by a power of two, which rounds nothing that counts.
    limit = float(jnp.finfo(wide).maxexp)
    scale = jnp.where(largest.astype(wide) > 2.0 ** (limit - 32), 2.0**-32, 1.0).astype(wide)
    total = order.folded(jnp.sum, jnp.where(mask, jnp.abs(x).astype(wide) * scale, 0))
    mu = total / jnp.maximum(order.count(mask), 1).astype(wide) / scale
    mu = jnp.where(jnp.isfinite(largest), mu, jnp.nan).astype(x.dtype)
    signs = jnp.where(mask, jnp.where(jnp.signbit(x), -1, 1), 0).astype(jnp.int8)
    return mask, mu, signs


@functools.partial(jax.jit, static_argnames="k")
def _ternary(x, k: int):
    mask, mu, signs = _compressed(x, k)
    return mask, mu[..., 0], signs


@functools.partial(jax.jit, static_argnames="k")
def _feedback(update, residual, k: int):
    carried = update + residual
    _, mu, signs = _compressed(carried, k)
    values = jnp.where(signs == 0, 0, mu * signs.astype(carried.dtype))
    return values, carried - values, jnp.isfinite(mu)
