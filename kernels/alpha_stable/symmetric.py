"""Symmetric alpha-stable, positive stable and isotropic (sub-Gaussian) draws.

Chambers, Mallows and Stuck (JASA 1976) and Kanter (Ann. Probab. 1975), rearranged so that nothing cancels: with
v in (0, 1/2], u = 1/2 - v, angle pi u, exponential W and k = 1/alpha - 1,
    |X| = (s / p) (c / (W p))^k,   s = sin(pi alpha u),  p = sin(pi v) = cos(pi u),  c = cos(pi (1 - alpha) u),
each the sine of an angle that keeps its relative precision. k vanishes at alpha = 1, where s / p is the tangent: no
special case, and a traced alpha works.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import Array, DTypeLike, Float, Int32, Numbers, RandomKey, Shape
from ..scalars import whole
from . import elementary, random_bits
from .checks import check_alpha, check_ranges, float_types, or_nan
from .random_bits import HALF_TURN, UNIT, angle_and_exponential


def _sas_parts(key, alpha, shape, dtype):
    """Sign bit, s / p, c / (W p) and k of the module's formula."""
    (alpha,) = elementary.opaque(key, alpha, dtype=dtype)
    angle, exponential = angle_and_exponential(key, shape, dtype)
    v, u = angle.v, angle.u
    p = elementary.sin_pi(v * UNIT)
    c = elementary.sin_pi((v + jnp.minimum(alpha, 2 - alpha) * u) * UNIT)
    s = elementary.sin_pi(jnp.minimum(alpha * u, 2 * v + (2 - alpha) * u) * UNIT)
    # Times a reciprocal, which XLA makes of a division anyway where vmap batches s and not p.
    # NaN goes in by k, which is of alpha's shape: the operations of the draws, and their last bits, stay as they are.
    return angle.sign, s * (1 / p), c * (1 / (exponential * p)), or_nan(1 / alpha - 1, alpha=alpha)


def _signed(sign: jax.Array, size: jax.Array) -> jax.Array:
    return jnp.where(sign, size, -size)


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _sas_log(key, alpha, shape, dtype):
    sign, tangent, ratio, power = _sas_parts(key, alpha, shape, dtype)
    log_abs = elementary.log(tangent) + power * elementary.log(ratio)
    return or_nan(_signed(sign, jnp.ones((), dtype)), alpha=alpha), log_abs


@partial(jax.jit, static_argnames=("shape", "compute", "dtype"))
def _sas(key, alpha, shape, compute, dtype):
    sign, tangent, ratio, power = _sas_parts(key, alpha, shape, compute)
    size = elementary.times_exp(tangent, power * elementary.log(ratio))
    return _signed(sign, size).astype(dtype)


def sas_parts(
    key: RandomKey, alpha: Numbers, shape: tuple[Any, ...], dtype: DTypeLike
) -> tuple[Float[Array, "..."], Int32[Array, "..."]]:
    """Returns (m, e), X = m 2^e: the draws of `sas`, in a form that no alpha takes out of the range of the dtype.

    Cheaper than a logarithm, and rows are brought to a common scale by whole exponents, exactly.

    Args:
      key, alpha: as in `sas_log`; alpha a scalar.
      shape: of the result.
      dtype: float32 or float64.

    Returns:
      m: [*shape], sizes within 2^-34 and 2^34.
      e: int32 [*shape].

    Raises:
      ValueError: alpha outside (0, 2].

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from havel.kernels import alpha_stable
      >>> factor, exponent = alpha_stable.sas_parts(jax.random.key(0), 0.1, (5,), jnp.float32)
      >>> factor.shape, exponent.dtype.name
      ((5,), 'int32')
    """
    check_alpha(alpha)
    sign, tangent, ratio, power = _sas_parts(key, alpha, shape, dtype)
    part, exponent = elementary.exp_parts(power * elementary.log(ratio))
    return _signed(sign, tangent * part), exponent


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _positive_stable_log(key, c, shape, dtype):
    """Kanter's ln A = ln(s / p) + (1/c - 1) ln(r / (W p)), s = sin(cV), r = sin((1-c)V), V = pi v or pi (1 - v)."""
    (c,) = elementary.opaque(key, c, dtype=dtype)
    (v, u, above), exponential = angle_and_exponential(key, shape, dtype)
    turn, complement = 2 * HALF_TURN, 1 - c

    def sine(factor, rest):  # of factor * V, where factor + rest = 1; beyond a right angle from the other side
        folded = jnp.minimum(factor * (u + HALF_TURN), rest * turn + factor * v)
        return elementary.sin_pi(jnp.where(above, folded, factor * v) * UNIT)

    one_over_p = 1 / elementary.sin_pi(v * UNIT)
    # At c = 1 A is 1: s = p, and ln r would be -inf.
    r = jnp.maximum(sine(complement, c), jnp.finfo(dtype).tiny)
    power = or_nan(jnp.where(c < 1, 1 / c - 1, 0), c=c)
    ratio = jnp.where(c < 1, r * (1 / exponential) * one_over_p, 1)
    return elementary.log(sine(c, complement) * one_over_p) + power * elementary.log(ratio)


@partial(jax.jit, static_argnames=("shape", "dim", "compute", "dtype"))
def _sub_gaussian(key, alpha, shape, dim, compute, dtype):
    radius_key, direction_key = jax.random.split(key)
    half = jnp.asarray(alpha, compute) * 0.5
    log_scale = _positive_stable_log(radius_key, half, shape, compute)[..., None] * 0.5
    (_, u, sign), exponential = angle_and_exponential(direction_key, (*shape, dim), compute)
    normal = 2 * elementary.sin_pi(u * UNIT) * jnp.sqrt(exponential)  # |N(0, 2)|, never 0: an infinite scale stays one
    return _signed(sign, elementary.times_exp(normal, log_scale)).astype(dtype)


def sas_log(
    key: RandomKey, alpha: Numbers, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Returns (sign, log_abs) of symmetric alpha-stable draws X = sign exp(log_abs), which never leave the range.

    E exp(i t X) = exp(-|t|^alpha): alpha = 2 is N(0, 2), of variance 2; alpha = 1 is Cauchy.

    Args:
      key: of `jax.random.key`; the same stream eager, compiled, batched by vmap and sharded.
      alpha: in (0, 2], a number or an array that broadcasts to `shape`. May be traced: where it is
        outside then, the draws are NaN.
      shape: of the result; None for alpha's shape.
      dtype: float32 or float64 (for half types the logarithm is float32, cast last); None for JAX's default.

    Returns:
      sign: [*shape], -1 or 1.
      log_abs: [*shape], finite.

    Raises:
      ValueError: alpha outside (0, 2], float64 without 64-bit mode, shapes that do not fit.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from havel.kernels import alpha_stable
      >>> sign, log_abs = alpha_stable.sas_log(jax.random.key(0), 0.01, (100,))
      >>> bool(jnp.isfinite(log_abs).all())
      True
    """
    dtype, compute = float_types(dtype)
    check_alpha(alpha)
    shape = random_bits.joined_shape(shape, alpha=alpha)
    sign, log_abs = _sas_log(random_bits.typed_key(key), alpha, shape, compute)
    return sign.astype(dtype), log_abs.astype(dtype)


def sas(
    key: RandomKey, alpha: Numbers, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Float[Array, "..."]:
    """Returns symmetric alpha-stable draws [*shape] of scale 1, E exp(i t X) = exp(-|t|^alpha).

    Draws beyond the range of the dtype are infinite, in float32 with probability 1.3e-4 at alpha = 0.1 and 2e-8 at 0.2;
    `sas_log` has them all. Half types are computed in float32 and cast last. The same key gives the same draws in
    float32 and float64 up to rounding.

    Args:
      key, alpha, shape, dtype: as in `sas_log`.

    Raises:
      ValueError: alpha outside (0, 2], float64 without 64-bit mode, shapes that do not fit.

    Source: Chambers, Mallows, Stuck, JASA 71 (1976).

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from havel.kernels import alpha_stable
      >>> x = alpha_stable.sas(jax.random.key(0), jnp.array([0.5, 1.0, 2.0]), (1000, 3))  # a column an alpha
      >>> x.shape, x.dtype.name
      ((1000, 3), 'float32')
    """
    dtype, compute = float_types(dtype)
    check_alpha(alpha)
    return _sas(random_bits.typed_key(key), alpha, random_bits.joined_shape(shape, alpha=alpha), compute, dtype)


def positive_stable_log(
    key: RandomKey, c: Numbers, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Float[Array, "..."]:
    """Returns ln A [*shape] of positive stable draws A of index c, E exp(-s A) = exp(-s^c) for s >= 0.

    Args:
      key: of `jax.random.key`.
      c: in (0, 1], a number or an array that broadcasts to `shape`; A = 1 at c = 1. Where it is traced and
        outside, the draws are NaN.
      shape: of the result; None for the shape of c.
      dtype: as in `sas_log`.

    Raises:
      ValueError: c outside (0, 1], float64 without 64-bit mode, shapes that do not fit.

    Source: Kanter, Ann. Probab. 3 (1975).

    Example:
      >>> import jax
      >>> from havel.kernels import alpha_stable
      >>> alpha_stable.positive_stable_log(jax.random.key(0), 0.5, (4,)).shape
      (4,)
    """
    dtype, compute = float_types(dtype)
    check_ranges(c=c)
    common = random_bits.joined_shape(shape, c=c)
    return _positive_stable_log(random_bits.typed_key(key), c, common, compute).astype(dtype)


def sub_gaussian(
    key: RandomKey, alpha: Numbers, shape: Shape | None = None, dim: Any = 1, dtype: DTypeLike | None = None
) -> Float[Array, "... dim"]:
    """Returns isotropic alpha-stable vectors [*shape, dim], E exp(i t.X) = exp(-||t||_2^alpha).

    X = sqrt(A) G with one positive stable A of index alpha/2 for each vector and G ~ N(0, 2 I); every component is
    symmetric alpha-stable of scale 1, the components of a vector depend on each other.

    Args:
      key: of `jax.random.key`.
      alpha: in (0, 2], a number or an array that broadcasts to `shape`. Where it is traced and outside, the draws are
        NaN.
      shape: of the array of vectors; None for alpha's shape.
      dim: length of a vector, 1 or more.
      dtype: as in `sas`.

    Raises:
      ValueError: alpha outside (0, 2], dim below 1, float64 without 64-bit mode, shapes that do not fit.

    Source: Samorodnitsky, Taqqu, Stable Non-Gaussian Random Processes (1994), section 2.5.

    Example:
      >>> import jax
      >>> from havel.kernels import alpha_stable
      >>> alpha_stable.sub_gaussian(jax.random.key(0), 1.5, (10,), dim=3).shape
      (10, 3)
    """
    dtype, compute = float_types(dtype)
    check_alpha(alpha)
    shape = random_bits.joined_shape(shape, alpha=alpha)
    dim = whole("dim", dim, 1, why=", values of a vector")
    *_, dim = random_bits.checked_shape((*shape, dim))
    return _sub_gaussian(random_bits.typed_key(key), alpha, shape, dim, compute, dtype)
