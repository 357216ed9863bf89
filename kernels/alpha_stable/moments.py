"""Closed forms: moments and tail of symmetric alpha-stable variables, characteristic functions for any skewness."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .checks import SMALLEST_E, check, check_alpha, check_law, common_float
from .elementary import gamma


def log_moments(alpha) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance of ln|X|, X symmetric alpha-stable of scale 1; a scale g adds ln g to the mean.

    They exist for every alpha: the mean is gamma_E (1/alpha - 1), the variance (pi^2/6) (1/alpha^2 + 1/2).

    Args:
      alpha: in (0, 2], number or array; not checked where traced.

    Raises:
      ValueError: alpha outside (0, 2].
    """
    check_alpha(alpha)
    (alpha,), dtype = common_float(alpha=alpha)
    mean, variance = np.euler_gamma * (1 / alpha - 1), np.pi**2 / 6 * (1 / alpha**2 + 0.5)
    return mean.astype(dtype), variance.astype(dtype)


def abs_moment(alpha, p) -> jax.Array:
    """Returns E|X|^p of a symmetric alpha-stable X of scale 1, finite for -1 < p < alpha (any p > -1 at alpha = 2).

        2^p Gamma((1+p)/2) Gamma(1-p/alpha) / (sqrt(pi) Gamma(1-p/2))

    Args:
      alpha: in (0, 2].
      p: in (-1, alpha). Numbers or arrays that broadcast; not checked where traced.

    Raises:
      ValueError: alpha outside (0, 2], p outside (-1, alpha).
    """
    check_alpha(alpha)
    check("p", p, lambda value: (value > -1) & np.isfinite(value), "a power in (-1, alpha)")
    (indices, powers), dtype = common_float(alpha=alpha, p=p)
    if not isinstance(alpha, jax.core.Tracer) and not isinstance(p, jax.core.Tracer):
        index, power = np.broadcast_arrays(np.asarray(alpha, np.float64), np.asarray(p, np.float64))
        infinite = (power >= index) & (index < 2)
        if infinite.any():
            where = tuple(np.argwhere(infinite)[0])
            raise ValueError(f"p={power[where]:g}: E|X|^p is infinite at alpha={index[where]:g}; expected p < alpha")
    alpha, p = indices, powers
    gaussian = alpha == 2
    safe = jnp.where(gaussian, 0, p)
    # Not 1 - p / alpha: the difference is exact where it is small.
    ratio = gamma((alpha - safe) / alpha) / gamma((2 - safe) / 2)
    return (jnp.exp2(p) * gamma((1 + p) / 2) * jnp.where(gaussian, 1, ratio) / math.sqrt(math.pi)).astype(dtype)


def tail_constant(alpha) -> jax.Array:
    """Returns C of the tail P(|X| > x) ~ C x^-alpha, X symmetric alpha-stable of scale 1; 0 at alpha = 2.

        C = 2 sin(pi alpha/2) Gamma(alpha) / pi

    Args:
      alpha: in (0, 2]; not checked where traced.

    Raises:
      ValueError: alpha outside (0, 2].
    """
    check_alpha(alpha)
    (alpha,), dtype = common_float(alpha=alpha)
    sine = jnp.sin(0.5 * np.pi * jnp.minimum(alpha, 2 - alpha))
    return (2 / np.pi * sine * gamma(alpha)).astype(dtype)


def characteristic_function(t, alpha, beta=0, parametrization: str = "S0", scale=1, loc=0) -> jax.Array:
    """Returns E exp(i t X) of a stable law, complex64 or complex128; the formulas stand at `stable`.

    Args:
      t: real; the value at infinity is 0.
      alpha, beta, parametrization, scale, loc: as in `stable`; all broadcast and may be traced.

    Raises:
      ValueError: a parameter outside its range, an unknown parametrization.

    Source: Nolan, Univariate Stable Distributions (2020), section 1.3.
    """
    check_law(alpha, beta, scale, loc, parametrization)
    (t, alpha, beta, scale, loc), _ = common_float(t=t, alpha=alpha, beta=beta, scale=scale, loc=loc)
    size = jnp.abs(scale * t)
    positive = size > 0
    log_size = jnp.log(jnp.where(positive, size, 1))
    power = jnp.where(positive, jnp.exp(alpha * log_size), 0)
    e = 1 - alpha
    e = jnp.where(jnp.abs(e) < SMALLEST_E, SMALLEST_E, e)
    cotangent = jnp.sin(0.5 * np.pi * (1 - jnp.abs(e))) / jnp.sin(0.5 * np.pi * e)  # of pi e / 2, 0 at alpha = 2
    shift = jnp.expm1(e * log_size) * cotangent  # tan(pi alpha/2) (|t|^(1-alpha) - 1)
    if parametrization == "S1":
        shift = jnp.where(alpha == 1, (2 / np.pi) * jnp.log(jnp.where(t == 0, 1, jnp.abs(t))), -cotangent)
    phase = loc * t - power * beta * jnp.sign(t) * shift
    modulus = jnp.exp(-power)
    phase = jnp.where(modulus == 0, 0, phase)  # far out it may be infinite, or of no value
    return modulus * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
