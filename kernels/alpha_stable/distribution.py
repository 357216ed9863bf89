"""Density and distribution function of symmetric alpha-stable laws, with scale and location: doors to density.py."""

import jax
import jax.numpy as jnp

from .checks import HALF_TYPES, check_law, common_float
from .density import log_upper


def _standardised(x, alpha, scale, loc):
    """(x - loc) / scale, alpha and ln(scale) in a type to compute in, and the type of the result."""
    check_law(alpha, 0, scale, loc)
    x, alpha, scale, loc = common_float(x, alpha, scale, loc)
    dtype = x.dtype
    if dtype in HALF_TYPES:
        x, alpha, scale, loc = (value.astype(jnp.float32) for value in (x, alpha, scale, loc))
    z = (x - loc) / scale
    z = jnp.broadcast_to(z, jnp.broadcast_shapes(z.shape, alpha.shape))
    # alpha gets the rank of x and keeps its size: what depends on it alone is computed once.
    return z, alpha.reshape((1,) * (z.ndim - alpha.ndim) + alpha.shape), jnp.log(scale), dtype


def sas_log_pdf(x, alpha, scale=1, loc=0) -> jax.Array:
    """Returns ln of the density of a symmetric alpha-stable law; it does not underflow in the tails.

    E exp(i t X) = exp(i t loc - |scale t|^alpha): at alpha = 2 the variance is 2 scale^2. Measured against another
    integral for alpha in [0.1, 2] the density is good to 3e-6 relative in float32 and 1e-12 in float64 (5e-9 in the
    last 1e-3 below alpha = 2). Derivatives in all arguments, of any order; at alpha = 2 exactly the one in alpha is 0.

    Args:
      x: real numbers.
      alpha: in (0, 2], made for 0.1 and above.
      scale: above 0.
      loc: finite. All broadcast and may be traced, then they are not checked.

    Raises:
      ValueError: a parameter outside its range.

    Source: Zolotarev, One-dimensional Stable Distributions (1986); Nolan, Commun. Statist. Stoch. Models 13 (1997).
    """
    z, alpha, log_scale, dtype = _standardised(x, alpha, scale, loc)
    return (log_upper(jnp.abs(z), alpha, survival=False) - log_scale).astype(dtype)


def sas_pdf(x, alpha, scale=1, loc=0) -> jax.Array:
    """Returns the density of a symmetric alpha-stable law; arguments and accuracy as of `sas_log_pdf`."""
    return jnp.exp(sas_log_pdf(x, alpha, scale, loc))


def sas_log_survival(x, alpha, scale=1, loc=0) -> jax.Array:
    """Returns ln P(X > x) of a symmetric alpha-stable law, precise in the right tail.

    Arguments and accuracy as of `sas_log_pdf`; at x = loc exactly the derivative in x is left out (0).
    """
    z, alpha, _, dtype = _standardised(x, alpha, scale, loc)
    upper = log_upper(jnp.abs(z), alpha, survival=True)
    return jnp.where(z >= 0, upper, jnp.log1p(-jnp.exp(upper))).astype(dtype)


def sas_cdf(x, alpha, scale=1, loc=0) -> jax.Array:
    """Returns P(X <= x) of a symmetric alpha-stable law, precise in the left tail; see `sas_log_survival`.

    Arguments and accuracy as of `sas_log_pdf`; at x = loc exactly the derivative in x is left out (0).
    """
    z, alpha, _, dtype = _standardised(x, alpha, scale, loc)
    upper = jnp.exp(log_upper(jnp.abs(z), alpha, survival=True))
    return jnp.where(z > 0, 1 - upper, upper).astype(dtype)
