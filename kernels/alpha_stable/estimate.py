"""Parameters of symmetric alpha-stable laws from data: by log-moments, and by maximum likelihood.

The log-moments give closed forms, 1/alpha^2 = 6 Var(ln|X|) / pi^2 - 1/2 (Ma and Nikias, IEEE Trans. Signal Processing
43, 1995). The likelihood is climbed from there by the method of Berndt, Hall, Hall and Hausman (1974): by the scores of
the observations, whose outer product is the information that also gives the standard errors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Array, Bool, Float, Numbers, Scalar
from .checks import are_traced, check, check_ranges, common_float, where_or_nan
from .distribution import sas_log_pdf

LOWEST, HIGHEST = 0.1, 1.9999  # of an estimated alpha; the density is made for no less, and 2 is the end of the scale
STEPS = 60
LEAST, LEAST_OF_CLIMB = 3, 2  # observations beside the location, which says nothing of the scale


class SasFit(NamedTuple):
    """Estimated symmetric alpha-stable law.

    Attributes:
      alpha, scale, loc: the estimates.
      errors: [3], their standard errors in this order; the last is 0 where loc was given.
      log_likelihood: in nats, of all observations; NaN for log-moments.
      converged: whether what was left to climb is below a tenth of the standard errors.
    """

    alpha: Float[Array, ""]
    scale: Float[Array, ""]
    loc: Float[Array, ""]
    errors: Float[Array, " 3"]
    log_likelihood: Float[Array, ""]
    converged: Bool[Array, ""]


def _observations(x, loc) -> tuple[jax.Array, jax.Array]:
    """Flat observations and their centre, both checked; half types as float32."""
    if np.ndim(loc) == 0:
        check_ranges(loc=loc)
    (x, loc), _ = common_float(x=x, loc=loc)
    x = x.reshape(-1)
    if x.size < LEAST:
        raise ValueError(f"x has {x.size} observations; an estimate needs at least {LEAST}")
    check("x", x, np.isfinite, "finite observations")
    if loc.ndim:
        raise ValueError(f"loc has shape {loc.shape}; expected one number, the centre of all observations")
    check_ranges(loc=loc)
    return x, loc


def _count_beside(x, centre, needs_sizes: bool) -> jax.Array:
    """How many observations are not at the centre; 0 where they all have one distance to it, and two are needed."""
    size = jnp.abs(x - centre)
    count = jnp.sum(size > 0)
    if needs_sizes:
        count = jnp.where(jnp.max(size) > jnp.min(jnp.where(size > 0, size, jnp.inf)), count, 0)
    return count


def _check_spread(x, centre, least, needs_sizes) -> None:
    if are_traced(x, centre):
        return
    if not jnp.any(x != centre):
        raise ValueError(f"x has the value {x[0]:g} everywhere, the location itself: its scale would be 0")
    count = int(_count_beside(x, centre, needs_sizes))
    if count == 0:
        raise ValueError(
            f"x has one distance to the location {centre:g} everywhere; an estimate of alpha needs several"
        )
    if count < least:
        raise ValueError(
            f"x has {count} observations beside the location {centre:g}; an estimate needs at least {least}"
        )


def _of_traced(fit: SasFit, x, centre, least, needs_sizes) -> SasFit:
    """The estimate, NaN and not converged where traced observations or their location would have been refused."""
    if not are_traced(x, centre):
        return fit
    holds = jnp.all(jnp.isfinite(x)) & jnp.isfinite(centre) & (_count_beside(x, centre, needs_sizes) >= least)
    numbers = [where_or_nan(holds, number) for number in fit[:-1]]
    return SasFit._make([*numbers, fit.converged & holds])


def fit_log_moments(x: Numbers, loc: Scalar = 0) -> SasFit:
    """Returns alpha and scale from mean and variance of ln|x - loc|: one pass over the data, jittable, for any alpha.

    Observations at loc exactly are left out of the moments.

    Args:
      x: observations, any shape. Where they or loc are traced and would be refused, all estimates are NaN.
      loc: the known centre of symmetry.

    Raises:
      ValueError: fewer than 3 observations that are not at loc, all as far from it, or some not finite; loc no finite
        number.

    Source: Ma, Nikias, IEEE Trans. Signal Processing 43 (1995).

    Example:
      >>> import jax
      >>> from havel.kernels import alpha_stable
      >>> x = alpha_stable.sas(jax.random.key(0), 1.5, (100_000,))
      >>> round(float(alpha_stable.fit_log_moments(x).alpha), 1)
      1.5
    """
    x, loc = _observations(x, loc)
    _check_spread(x, loc, LEAST, needs_sizes=True)
    return _of_traced(_log_moments(x, loc), x, loc, LEAST, needs_sizes=True)


def _log_moments(x, loc) -> SasFit:
    """The same, of flat observations that were checked."""
    size = jnp.abs(x - loc)
    is_apart = size > 0
    count = jnp.sum(is_apart)
    logs = jnp.log(jnp.where(is_apart, size, 1))
    mean = jnp.sum(logs) / count
    centred = jnp.where(is_apart, logs - mean, 0)
    second, third, fourth = (jnp.sum(centred**k) / count for k in (2, 3, 4))
    # An alpha above 2 would have no law; below 0.1 is no worse an answer than 0.1 here.
    alpha = 1 / jnp.sqrt(jnp.maximum(6 * second / np.pi**2 - 0.5, 0.25))
    scale = jnp.exp(mean - np.euler_gamma * (1 / alpha - 1))
    # Delta method: d alpha = -(3 alpha^3 / pi^2) d var, d ln scale = d mean + (gamma_E / alpha^2) d alpha.
    by_variance = -3 * alpha**3 / np.pi**2
    mixed = np.euler_gamma / alpha**2 * by_variance
    variance_of_variance = fourth - second**2
    alpha_error = jnp.abs(by_variance) * jnp.sqrt(variance_of_variance / count)
    log_scale_variance = (second + 2 * mixed * third + mixed**2 * variance_of_variance) / count
    errors = jnp.stack([alpha_error, scale * jnp.sqrt(log_scale_variance), jnp.zeros_like(alpha)])
    nothing = jnp.full_like(alpha, jnp.nan)
    return SasFit(alpha, scale, loc, errors, nothing, jnp.asarray(True))


def _law(parameters):
    """alpha, scale, loc of unconstrained parameters: logit of alpha in its range, ln scale, loc."""
    logit, log_scale, loc = parameters
    return LOWEST + (HIGHEST - LOWEST) * jax.nn.sigmoid(logit), jnp.exp(log_scale), loc


class _Climb(NamedTuple):
    """Where a climb stands: the best point so far, what was found there, and the step being tried from it."""

    parameters: jax.Array
    value: jax.Array
    information: jax.Array
    step: jax.Array
    length: jax.Array
    moved: jax.Array
    count: jax.Array  # type: ignore[assignment]  # a tuple has a method of this name


@jax.jit
def _climb(x, start, free):
    """Maximises the likelihood from the start [3]; parameters with 0 in `free` stay."""

    def evaluate(parameters):
        def likelihoods(parameters):
            values = sas_log_pdf(x, *_law(parameters))
            return values, values

        scores, values = jax.jacfwd(likelihoods, has_aux=True)(parameters)
        scores = scores * free
        return values.sum(), scores.sum(axis=0), scores.T @ scores + jnp.diag(1 - free)

    def advance(now: _Climb):
        candidate = now.parameters + now.length * now.step
        value, slope, information = evaluate(candidate)
        step = jnp.linalg.solve(information + 1e-6 * jnp.eye(3, dtype=x.dtype), slope)
        step = step * jnp.minimum(1, 2 / jnp.maximum(jnp.abs(step[:2]).max(), 1e-9))
        remaining = jnp.sqrt(jnp.maximum(step @ information @ step, 0))  # what is still to go, in standard errors
        one = jnp.ones_like(now.length)
        accepted = _Climb(candidate, value, information, step, one, remaining, now.count + 1)
        shorter = now._replace(length=now.length / 2, count=now.count + 1)
        better = value >= now.value
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), accepted, shorter)

    def unfinished(now: _Climb):
        return (now.moved > 0.01) & (now.length > 1e-3) & (now.count < STEPS)

    low, none = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros_like(start)
    first = _Climb(start, low, jnp.eye(3, dtype=x.dtype), none, jnp.ones_like(low), -low, jnp.asarray(0))
    return jax.lax.while_loop(unfinished, advance, first)


def fit_sas(x: Numbers, loc: Scalar | None = None) -> SasFit:
    """Returns the symmetric alpha-stable law of greatest likelihood, with standard errors; jittable.

    Args:
      x: observations, any shape, traced ones as in `fit_log_moments`; about 1 second for 1e4 on two CPU cores.
      loc: the centre of symmetry where it is known, None to estimate it, too.

    Returns:
      alpha within [0.1, 1.9999]; near these ends the standard error of alpha says little.

    Raises:
      ValueError: fewer than 3 observations, fewer than 2 that are not at loc (or the median), or some not finite; loc
        no finite number.

    Example:
      >>> import jax
      >>> from havel.kernels import alpha_stable
      >>> x = alpha_stable.sas(jax.random.key(0), 1.5, (10_000,))
      >>> fit = alpha_stable.fit_sas(x, loc=0)
      >>> round(float(fit.alpha), 1), bool(fit.converged)
      (1.5, True)
    """
    has_loc = loc is not None
    x, centre = _observations(x, loc if has_loc else 0)
    centre = centre if has_loc else jnp.median(x)
    _check_spread(x, centre, LEAST_OF_CLIMB, needs_sizes=False)
    # Quarters of the sample set the units: the likelihood is climbed at scale 1 and location 0.
    unit = jnp.median(jnp.abs(x - centre))
    unit = jnp.where(unit > 0, unit, 1)
    start = _log_moments((x - centre) / unit, jnp.zeros((), x.dtype))
    alpha = jnp.clip(start.alpha, LOWEST + 0.05, HIGHEST - 0.05)
    fraction = (alpha - LOWEST) / (HIGHEST - LOWEST)
    first = jnp.stack([jnp.log(fraction / (1 - fraction)), jnp.log(start.scale), jnp.zeros_like(alpha)])
    free = jnp.asarray([1, 1, 0 if has_loc else 1], x.dtype)
    optimum = _climb((x - centre) / unit, first, free)
    alpha, scale, shift = _law(optimum.parameters)
    covariance = jnp.linalg.inv(optimum.information)
    slopes = jnp.stack([(alpha - LOWEST) * (HIGHEST - alpha) / (HIGHEST - LOWEST), scale * unit, unit]) * free
    errors = slopes * jnp.sqrt(jnp.diag(covariance))
    log_likelihood = optimum.value - x.size * jnp.log(unit)
    fit = SasFit(alpha, scale * unit, centre + shift * unit, errors, log_likelihood, optimum.moved <= 0.1)
    return _of_traced(fit, x, centre, LEAST_OF_CLIMB, needs_sizes=False)
