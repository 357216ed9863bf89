"""Closed forms: moments and tail of symmetric alpha-stable variables, characteristic functions for any skewness."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Array, Complex, Float, Numbers
from .checks import SMALLEST_E, are_traced, check_alpha, check_law, check_ranges, common_float, or_nan, where_or_nan
from .elementary import gamma


def log_moments(alpha: Numbers) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Returns mean and variance of ln|X|, X symmetric alpha-stable of scale 1; a scale g adds ln g to the mean.

    They exist for every alpha: the mean is gamma_E (1/alpha - 1), the variance (pi^2/6) (1/alpha^2 + 1/2).

    Args:
      alpha: in (0, 2], number or array; where it is traced and outside, the moments are NaN.

    Raises:
      ValueError: alpha outside (0, 2].

    Example:
      >>> from havel.kernels import alpha_stable
      >>> mean, variance = alpha_stable.log_moments(1.0)
      >>> round(float(variance), 3)  # of the Cauchy law: pi^2 / 4
      2.467
    """
    check_alpha(alpha)
    (index,), dtype = common_float(alpha=alpha)
    mean, variance = np.euler_gamma * (1 / index - 1), np.pi**2 / 6 * (1 / index**2 + 0.5)
    return or_nan(mean.astype(dtype), alpha=alpha), or_nan(variance.astype(dtype), alpha=alpha)


def abs_moment(alpha: Numbers, p: Numbers) -> Float[Array, "..."]:
    """Returns E|X|^p of a symmetric alpha-stable X of scale 1, finite for -1 < p < alpha (any p > -1 at alpha = 2).

        2^p Gamma((1+p)/2) Gamma(1-p/alpha) / (sqrt(pi) Gamma(1-p/2))

    Args:
      alpha: in (0, 2].
      p: in (-1, alpha). Numbers or arrays that broadcast; where they are traced and outside, the moment is NaN.

    Raises:
      ValueError: alpha outside (0, 2], p outside (-1, alpha).

    Example:
      >>> from havel.kernels import alpha_stable
      >>> round(float(alpha_stable.abs_moment(2.0, 2)), 3)  # N(0, 2): its variance
      2.0
    """
    check_ranges(alpha=alpha, p=p)
    (indices, powers), dtype = common_float(alpha=alpha, p=p)
    if not are_traced(alpha, p):
        index, power = np.broadcast_arrays(np.asarray(alpha, np.float64), np.asarray(p, np.float64))
        infinite = (power >= index) & (index < 2)
        if infinite.any():
            where = tuple(np.argwhere(infinite)[0])
            raise ValueError(f"p={power[where]:g}: E|X|^p is infinite at alpha={index[where]:g}; expected p < alpha")
    gaussian = indices == 2
    safe = jnp.where(gaussian, 0, powers)
    # Not 1 - p / alpha: the difference is exact where it is small.
    ratio = gamma((indices - safe) / indices) / gamma((2 - safe) / 2)
    moment = jnp.exp2(powers) * gamma((1 + powers) / 2) * jnp.where(gaussian, 1, ratio) / math.sqrt(math.pi)
    if are_traced(alpha, p):
        moment = where_or_nan(gaussian | (powers < indices), moment)
    return or_nan(moment.astype(dtype), alpha=alpha, p=p)


def tail_constant(alpha: Numbers) -> Float[Array, "..."]:
    """Returns C of the tail P(|X| > x) ~ C x^-alpha, X symmetric alpha-stable of scale 1; 0 at alpha = 2.

        C = 2 sin(pi alpha/2) Gamma(alpha) / pi

    Args:
      alpha: in (0, 2]; where it is traced and outside, the constant is NaN.

    Raises:
      ValueError: alpha outside (0, 2].

    Example:
      >>> from havel.kernels import alpha_stable
      >>> round(float(alpha_stable.tail_constant(1.0)), 4)  # P(|X| > x) of the Cauchy law: 2 / (pi x)
      0.6366
    """
    check_alpha(alpha)
    (index,), dtype = common_float(alpha=alpha)
    sine = jnp.sin(0.5 * np.pi * jnp.minimum(index, 2 - index))
    return or_nan((2 / np.pi * sine * gamma(index)).astype(dtype), alpha=alpha)


def characteristic_function(
    t: Numbers,
    alpha: Numbers,
    beta: Numbers = 0,
    parametrization: str = "S0",
    scale: Numbers = 1,
    loc: Numbers = 0,
) -> Complex[Array, "..."]:
    """Returns E exp(i t X) of a stable law, complex64 or complex128; the formulas stand at `stable`.

    Args:
      t: real; the value at infinity is 0.
      alpha, beta, parametrization, scale, loc: as in `stable`; all broadcast and may be traced: where one is outside
        its range then, the value is NaN.

    Raises:
      ValueError: a parameter outside its range, an unknown parametrization.

    Source: Nolan, Univariate Stable Distributions (2020), section 1.3.

    Example:
      >>> from havel.kernels import alpha_stable
      >>> complex(alpha_stable.characteristic_function(0.0, 1.5, 0.5))
      (1+0j)
    """
    check_law(alpha, beta, scale, loc, parametrization)
    parameters = {"alpha": alpha, "beta": beta, "scale": scale, "loc": loc}
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
    return or_nan(modulus * jax.lax.complex(jnp.cos(phase), jnp.sin(phase)), **parameters)
