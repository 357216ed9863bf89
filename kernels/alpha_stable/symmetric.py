"""Symmetric alpha-stable, positive stable and isotropic (sub-Gaussian) draws.

Chambers, Mallows and Stuck (JASA 1976) and Kanter (Ann. Probab. 1975), rearranged so that nothing cancels: with
v in (0, 1/2], u = 1/2 - v, angle pi u, exponential W and k = 1/alpha - 1,
    |X| = (s / p) (c / (W p))^k,   s = sin(pi alpha u),  p = sin(pi v) = cos(pi u),  c = cos(pi (1 - alpha) u),
each sine of an argument that keeps its relative precision. k vanishes at alpha = 1, where s / p is the tangent: no
special case, and a traced alpha works. Each draw takes 64 random bits: 31 and a sign for the angle, 32 for W.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import elementary, words
from .checks import check_alpha, float_types


class Angle(NamedTuple):
    """A uniform that is precise at both ends. Attributes: near_zero, v in (0, 1/2]; rest, 1/2 - v; sign, a fair bit."""

    near_zero: jax.Array
    rest: jax.Array
    sign: jax.Array


def _angle(high: jax.Array, low: jax.Array | None, dtype) -> Angle:
    """v = (k + 1/2) 2^-32 of the upper 31 bits k, which `low` continues in float64; the last bit is the sign."""
    flip = jnp.uint32(0x7FFFFFFF)

    def scaled(k, tail):
        k = k.astype(jnp.int32).astype(dtype)  # 31 bits: signed is exact, and the faster conversion
        return (k + 0.5) * 2.0**-32 if tail is None else k * 2.0**-32 + (tail.astype(dtype) + 0.5) * 2.0**-64

    k = high >> 1
    rest = scaled(k ^ flip, None if low is None else ~low)
    return Angle(scaled(k, low), rest, (high & 1).astype(bool))


def angle_and_exponential(key: jax.Array, shape: tuple[int, ...], dtype) -> tuple[Angle, jax.Array]:
    """The two variables that every stable draw is a function of: an angle and a standard exponential, [*shape]."""
    if dtype == jnp.float32:
        first, second = words.draw(key, shape)
        angle, other = _angle(first, None, dtype), _angle(second, None, dtype)
    else:
        first, second, first_tail, second_tail = words.draw(key, shape, blocks=2)
        angle, other = _angle(first, first_tail, dtype), _angle(second, second_tail, dtype)
    return angle, elementary.exponential(*other)


def _sas_parts(key, alpha, shape, dtype):
    """Sign bit, s / p, c / (W p) and k of the module's formula."""
    alpha = jnp.asarray(alpha, dtype)
    angle, exponential = angle_and_exponential(key, shape, dtype)
    v, u = angle.near_zero, angle.rest
    turned = jnp.minimum(alpha, 2 - alpha)  # cos(pi (1 - alpha) u) = sin(pi (turned / 2 + (1 - turned) v))
    p = elementary.sin_pi(v)
    c = elementary.sin_pi(turned * 0.5 + (1 - turned) * v)
    s = elementary.sin_pi(jnp.minimum(alpha * u, (2 - alpha) * 0.5 + alpha * v))
    return angle.sign, s / p, c / (exponential * p), 1 / alpha - 1


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _sas_log(key, alpha, shape, dtype):
    sign, tangent, ratio, power = _sas_parts(key, alpha, shape, dtype)
    one = jnp.ones((), dtype)
    return jnp.where(sign, one, -one), elementary.log(tangent) + power * elementary.log(ratio)


@partial(jax.jit, static_argnames=("shape", "compute", "dtype"))
def _sas(key, alpha, shape, compute, dtype):
    sign, tangent, ratio, power = _sas_parts(key, alpha, shape, compute)
    size = elementary.times_exp(tangent, power * elementary.log(ratio))
    return jnp.where(sign, size, -size).astype(dtype)


def _arguments(key, alpha, shape, highest=2, name="alpha"):
    """The checked key and shape; a shape of None is alpha's own."""
    check_alpha(alpha, highest, name)
    own = jnp.shape(alpha)
    shape = own if shape is None else words.checked_shape(shape)
    try:
        fits = jnp.broadcast_shapes(shape, own) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {own}, which does not broadcast to shape={shape}")
    return words.typed_key(key), shape


def sas_log(key: jax.Array, alpha, shape=None, dtype=None) -> tuple[jax.Array, jax.Array]:
    """Returns (sign, log_abs) of symmetric alpha-stable draws X = sign exp(log_abs), which never leave the range.

    E exp(i t X) = exp(-|t|^alpha): alpha = 2 is N(0, 2), of variance 2; alpha = 1 is Cauchy.

    Args:
      key: of `jax.random.key`; the same stream eager, compiled, batched by vmap and sharded.
      alpha: in (0, 2], a number or an array that broadcasts to `shape`. May be traced, then it is not checked.
      shape: of the result; None for alpha's shape.
      dtype: float32 or float64 (for half types the logarithm is float32, cast last); None for JAX's default.

    Returns:
      sign: [*shape], -1 or 1.
      log_abs: [*shape], finite.

    Raises:
      ValueError: alpha outside (0, 2], float64 without 64-bit mode, shapes that do not fit.
    """
    dtype, compute = float_types(dtype)
    key, shape = _arguments(key, alpha, shape)
    sign, log_abs = _sas_log(key, alpha, shape, compute)
    return sign.astype(dtype), log_abs.astype(dtype)


def sas(key: jax.Array, alpha, shape=None, dtype=None) -> jax.Array:
    """Returns symmetric alpha-stable draws [*shape] of scale 1, E exp(i t X) = exp(-|t|^alpha).

    Draws beyond the range of the dtype are infinite, in float32 with probability 1.3e-4 at alpha = 0.1 and 2e-8 at 0.2;
    `sas_log` has them all. Half types are computed in float32 and cast last. The same key gives the same draws in
    float32 and float64 up to rounding.

    Args:
      key, alpha, shape, dtype: as in `sas_log`.

    Raises:
      ValueError: alpha outside (0, 2], float64 without 64-bit mode, shapes that do not fit.

    Source: Chambers, Mallows, Stuck, JASA 71 (1976).
    """
    dtype, compute = float_types(dtype)
    key, shape = _arguments(key, alpha, shape)
    return _sas(key, alpha, shape, compute, dtype)
