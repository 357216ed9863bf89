"""Density and distribution function of symmetric alpha-stable laws, to rounding in the tails as at the centre.

Zolotarev's integral over the angle theta of a draw, with g(theta; x) the exponential that would make it x (Nolan,
Commun. Statist. Stoch. Models 13, 1997),
    f(x) = alpha / (pi |1 - alpha| x) int g exp(-g) dtheta,     P(X > x) = (1/pi) int (pi/2 - theta) exp(-g) |dg|,
has no sign to cancel. In s = logit(2 theta / pi) ln g is nearly linear on both sides, so the integrand is analytic and
falls like exp(-exp(s)) and exp(-s): the trapezoid rule on a window around g = 1 converges geometrically. Far out the
series in x^-alpha takes over; near alpha = 1, where g jumps from 0 to infinity, the logarithms are interpolated in
alpha through the exact Cauchy law. Derivatives in x and alpha are those of the sums, nodes held fixed.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln

from . import elementary


class Precision(NamedTuple):
    """What a floating type needs.

    Attributes:
      nodes: of the trapezoid rule.
      terms: of the tail series.
      largest_g: beyond it exp(-g) is nothing.
      decay: ln of the ratio at which the slow side is cut off.
      near_one: |1 - alpha| below which to interpolate, from points at once and twice that.
      flat: relative change of the density that is nothing.
      furthest, lowest: s beyond which the angle has no size, or the integrals nothing.
    """

    nodes: int
    terms: int
    largest_g: float
    decay: float
    near_one: float
    flat: float
    furthest: float
    lowest: float


SINGLE = Precision(128, 16, 45.0, 18.0, 0.06, 1e-8, 40.0, -60.0)
DOUBLE = Precision(320, 32, 90.0, 37.0, 0.002, 1e-16, 62.0, -600.0)
SERIES_BELOW_ONE, SERIES_ABOVE_ONE = 0.3, 1e-3  # largest x^-alpha that the series is used for
NODES = (-2, -1, 1, 2)  # of the interpolation, in units of near_one, beside 0
HALVINGS, NEWTON_STEPS = 10, 3
FAR_LOG = 20.0  # ln x beyond which P(X > x) of the Cauchy law is 1 / (pi x)


def precision_of(dtype) -> Precision:
    """The constants of a floating type."""
    return DOUBLE if dtype == jnp.float64 else SINGLE


class Sines(NamedTuple):
    """At theta = pi u, u + v = 1/2, the angles v, a, b in [0, 1/2] half turns and their sines.

    p = sin(pi v) = cos(theta), s = sin(pi a) = sin(alpha theta), c = sin(pi b) = cos((1 - alpha) theta).
    """

    u: jax.Array
    v: jax.Array
    a: jax.Array
    b: jax.Array
    p: jax.Array
    s: jax.Array
    c: jax.Array


def _sines(place: jax.Array, alpha: jax.Array) -> Sines:
    u, v = jax.nn.sigmoid(place) / 2, jax.nn.sigmoid(-place) / 2
    a = jnp.minimum(alpha * u, 2 * v + (2 - alpha) * u)
    b = v + jnp.minimum(alpha, 2 - alpha) * u
    return Sines(u, v, a, b, *(elementary.sin_pi(angle) for angle in (v, a, b)))


def _level(log_x, alpha, place):
    """(alpha - 1) ln g, which decreases in the place s for every alpha."""
    at = _sines(place, alpha)
    return alpha * (log_x - jnp.log(at.s)) + jnp.log(at.p) + (alpha - 1) * jnp.log(at.c)


def _slope(at: Sines, alpha):
    """d ln g / ds, from the cotangents of the three angles."""
    cot_v, cot_a, cot_b = (elementary.sin_pi(0.5 - x) / y for x, y in ((at.v, at.p), (at.a, at.s), (at.b, at.c)))
    cot_a = jnp.where(alpha * at.u > 0.5, -cot_a, cot_a)
    bracket = -(cot_v + alpha**2 * cot_a) / (alpha - 1)
    return 2 * math.pi * at.u * at.v * (bracket - jnp.abs(1 - alpha) * cot_b)


def _window(log_x, alpha, constants: Precision, survival: bool):
    """The place where g = 1, and the window [left, right] outside which the integrand is nothing."""
    # Near 0 the density of a small alpha has its mass at g = 1 / alpha.
    highest = (alpha - 1) * jnp.log(constants.largest_g + 2 / alpha)
    targets = jnp.stack([jnp.zeros_like(highest), highest])
    low = jnp.maximum(jnp.minimum(log_x, 0) - 10, constants.lowest)
    low = jnp.broadcast_to(low, (2, *jnp.broadcast_shapes(log_x.shape, alpha.shape)))
    targets = targets.reshape(2, *(1,) * (low.ndim - targets.ndim), *alpha.shape)
    high = jnp.full_like(low, constants.furthest)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = _level(log_x, alpha, middle) > targets
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = lax.fori_loop(0, HALVINGS, halve, (low, high))
    place = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        slope = (alpha - 1) * _slope(_sines(place, alpha), alpha)
        step = (_level(log_x, alpha, place) - targets) / jnp.minimum(slope, -1e-3)
        place = jnp.clip(place - step, low, high)
    centre, steep = place
    width = constants.decay * jnp.abs(alpha - 1)
    # Above 1 the slow side is the right one, where the integrands fall like exp(-(s - centre) / (alpha - 1)) or faster.
    # Below 1 it is the left one: exp(s / (1 - alpha)), but for the density exp(alpha s / (1 - alpha)) down to s = 0.
    left = centre - width
    if not survival:
        to_zero = jnp.maximum(centre, 0)
        left = centre - jnp.where(width > alpha * to_zero, width + (1 - alpha) * to_zero, width / alpha)
    right = jnp.where(alpha > 1, centre + width, steep)
    left = jnp.where(alpha > 1, steep, left)
    return centre, jnp.minimum(jnp.maximum(left, constants.lowest), right), right


@partial(jax.jit, static_argnames=("constants", "survival"))
def _integral(log_x, alpha, constants: Precision, survival: bool):
    """ln f, or ln P(X > x), by the trapezoid rule; [n] each, alpha away from 1 and 2."""
    centre, left, right = lax.stop_gradient(_window(*lax.stop_gradient((log_x, alpha)), constants, survival))
    step = (right - left) / constants.nodes
    # Towards alpha = 2 the centre moves to where the logarithms are large and cancel; another place serves as well.
    here = _sines(jnp.where(alpha < 1.5, centre, jnp.minimum(centre, 1)), alpha)
    level = (alpha * (log_x - jnp.log(here.s)) + jnp.log(here.p)) / (alpha - 1) + jnp.log(here.c)
    # Below alpha = 1 as what is left of 1/2, of which it is a good part: far out there is the series.
    upper = alpha > 1

    # Only ratios to the sines there are divided by alpha - 1: rounding does not grow where g is near 1.
    @jax.checkpoint
    def add(total, index):
        at = _sines(left + (index + 0.5) * step, alpha)
        log_g = level + jnp.log(at.c / here.c)
        log_g = log_g + (jnp.log(at.p / here.p) - alpha * jnp.log(at.s / here.s)) / (alpha - 1)
        kernel = jnp.exp(log_g - jnp.exp(jnp.minimum(log_g, 10)))
        if survival:
            weight = jnp.abs(_slope(at, alpha)) * jnp.where(upper, at.v, at.u)
        else:
            weight = 2 * at.u * at.v
        return total + kernel * weight, None

    total, _ = lax.scan(add, jnp.zeros_like(step), jnp.arange(constants.nodes, dtype=step.dtype))
    total = total * step
    if not survival:
        return jnp.log(alpha / jnp.abs(alpha - 1)) - log_x + jnp.log(total)
    return jnp.log(jnp.where(upper, total, 0.5 - total))


@partial(jax.jit, static_argnames=("constants", "survival"))
def _series(log_x, alpha, constants: Precision, survival: bool):
    """The same by the series in y = x^-alpha, whose ratios to the first term stay finite towards alpha = 2."""
    offset = 0 if survival else 1
    k = jnp.arange(2, constants.terms + 1, dtype=alpha.dtype).reshape(-1, *(1,) * alpha.ndim)
    first = gammaln(alpha + offset)
    gamma_ratio = jnp.exp(gammaln(alpha * k + offset) - first - gammaln(k + 1))
    cosine = jnp.cos(math.pi / 2 * alpha)
    sine_ratio, previous = 2 * cosine, jnp.ones_like(alpha)  # sin(k pi alpha / 2) / sin(pi alpha / 2)
    coefficients = []
    for ratio in gamma_ratio:
        coefficients.append(ratio * sine_ratio)
        sine_ratio, previous = 2 * cosine * sine_ratio - previous, sine_ratio
    minus_y = -jnp.exp(-alpha * log_x)
    total = 0
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * minus_y
    total = 1 + total
    leading = first + jnp.log(elementary.sin_pi(jnp.minimum(alpha, 2 - alpha) / 2) / math.pi)
    return leading - (alpha + offset) * log_x + jnp.log(total)


def _away_from_one(log_x, alpha, constants: Precision, survival: bool):
    """ln f or ln P(X > x) for alpha neither 1 nor 2."""
    limit = jnp.where(alpha < 1, math.log(SERIES_BELOW_ONE), math.log(SERIES_ABOVE_ONE))
    far = -alpha * log_x < limit
    near = _integral(jnp.where(far, 0, log_x), alpha, constants, survival)
    return jnp.where(far, _series(jnp.where(far, log_x, 10 / alpha), alpha, constants, survival), near)


@partial(jax.jit, static_argnames="survival")
def log_upper(x: jax.Array, log_x: jax.Array, alpha: jax.Array, survival: bool) -> jax.Array:
    """ln f(x) or ln P(X > x), scale 1, x >= 0; in float32 or float64, broadcast.

    Args:
      x: finite or infinite, not negative.
      log_x: ln x, finite also where x has left the range of its type.
      alpha: in (0, 2].
      survival: which of the two.
    """
    constants = precision_of(x.dtype)
    limits = jnp.finfo(x.dtype)
    is_infinite = log_x == jnp.inf
    gaussian = alpha >= 2
    alpha = jnp.where(gaussian, 1.5, alpha)
    # So near 0 that the next term of f(0) (1 - (x bend)^2 / 2 + ...), or of 1/2 - x f(0) + ..., is nothing.
    log_centre = gammaln(1 + 1 / alpha) - math.log(math.pi)
    log_bend = 0.5 * (gammaln(3 / alpha) - gammaln(1 / alpha))
    least = math.log(constants.flat) - log_centre if survival else 0.5 * math.log(2 * constants.flat) - log_bend
    if survival:  # with a third term, x f(0) (x bend)^2 / 6; of small alpha the series is of no use
        least = jnp.where(alpha > 0.9, (math.log(6 * constants.flat) - log_centre - 2 * log_bend) / 3, least)
    least = lax.stop_gradient(least)
    is_flat = log_x <= least
    is_formula = is_flat & (survival | (least < constants.lowest))
    log_x = jnp.clip(log_x, least, 2 * math.log(limits.max))
    log_x = jnp.where(is_formula, 0, log_x)
    close = jnp.abs(alpha - 1) < constants.near_one
    direct = _away_from_one(log_x, jnp.where(close, 0.9, alpha), constants, survival)

    def interpolated():
        t = (alpha - 1) / constants.near_one
        if survival:
            angle = jnp.arctan2(1.0, jnp.minimum(x, math.exp(FAR_LOG)))  # far out it is 1 / x
            cauchy = jnp.where(log_x < FAR_LOG, jnp.log(angle), -log_x) - math.log(math.pi)
        else:
            cauchy = -math.log(math.pi) - jnp.logaddexp(0.0, 2 * log_x)
        at = jnp.asarray(NODES, alpha.dtype).reshape(-1, *(1,) * log_x.ndim)
        value = _away_from_one(log_x[None], 1 + at * constants.near_one, constants, survival)
        # Lagrange's polynomial of degree 4 through the nodes and 0.
        total = cauchy * (t**2 - 1) * (t**2 - 4) / 4
        for i, node in enumerate(NODES):
            others = [other for other in (0, *NODES) if other != node]
            total = total + value[i] * math.prod([(t - other) / (node - other) for other in others])
        return total

    between = lax.cond(jnp.any(close), interpolated, lambda: jnp.zeros_like(log_x))
    normal_x = jnp.where(gaussian, x, 1)  # elsewhere its square may leave the range, and derivatives with it
    if survival:
        normal = jax.scipy.stats.norm.logsf(normal_x * math.sqrt(0.5))
    else:
        normal = -(normal_x**2) / 4 - 0.5 * math.log(4 * math.pi)
    upper = jnp.where(close, between, direct)
    upper = jnp.where(is_formula, -math.log(2) if survival else log_centre, upper)
    # That term, for the sake of derivatives.
    term = jnp.where(is_flat, x, 0) * jnp.exp(
        jnp.minimum(log_centre if survival else log_bend, 0.4 * math.log(limits.max))
    )
    if survival:
        third = jnp.where(is_flat & (alpha > 0.9), x, 0) ** 2 * jnp.exp(2 * jnp.minimum(log_bend, 5)) / 6
        term = term * (1 - third)
    upper = jnp.where(gaussian, normal, upper + (jnp.log1p(-2 * term) if survival else -0.5 * term**2))
    return jnp.where(is_infinite, -jnp.inf, upper)
