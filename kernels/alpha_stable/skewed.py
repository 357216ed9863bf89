"""Alpha-stable draws of any skewness in Nolan's parametrisations S0 and S1, one form for all alpha.

With e = 1 - alpha, zeta = beta tan(pi alpha / 2) = beta / tan(pi e / 2), angle U and exponential W,
    G = cos(eU) + zeta sin(eU),   z = (e / alpha) ln(G / (W cos U)),
    d = tan U G - sin(eU) - 2 zeta sin^2(eU / 2),   X0 = (d + zeta) expm1(z) + d,   X1 = X0 + zeta = (d + zeta) exp(z).
X0 is continuous through alpha = 1, where zeta is infinite and z vanishes. All is written for U >= 0 with the skewness
b = +-beta (X(-U, beta) = -X(U, -beta)), in sines of angles precise at both ends, so that G > 0 does not cancel:
    G = [(1 + b) sin(e (pi/2 + U)) + (1 - b) sin(e (pi/2 - U))] / (2 sin(pi e / 2)).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Array, DTypeLike, Float, Numbers, RandomKey, Shape
from . import elementary, random_bits
from .checks import SMALLEST_E, check_law, float_types, or_nan
from .random_bits import HALF_TURN, UNIT, angle_and_exponential

LARGE_Z = 0.5


def _separate(product: jax.Array) -> jax.Array:
    """A product >= 0 that is never fused with the sum it goes into: the last bit would depend on the context."""
    return jnp.abs(product)


def _standard(key, alpha, beta, shape, dtype):
    """X0 and X1 of scale 1 [*shape]."""
    (v, u, sign), exponential = angle_and_exponential(key, shape, dtype)
    e = 1 - alpha
    e = jnp.where(jnp.abs(e) < SMALLEST_E, SMALLEST_E, e)
    size, direction = jnp.abs(e), jnp.sign(e)
    half_sine, half_cosine = elementary.sin_pi(size / 2), elementary.sin_pi((1 - size) / 2)
    zeta = _separate(half_cosine / half_sine) * direction * beta  # for U > 0; its sign turns with U
    zeta = jnp.where(sign, zeta, -zeta)
    skewness = jnp.where(sign, beta, -beta)

    def sine(units):
        return _separate(elementary.sin_pi(units * UNIT))

    p = sine(v)
    near = sine(size * v)  # of e (pi/2 - U), and of e (pi/2 + U), beyond a right angle from the other side
    far = sine(jnp.minimum(size * (u + HALF_TURN), (1 - size) * (2 * HALF_TURN) + size * v))
    g = (near + _separate((1 + skewness) * 0.5 * (far - near))) * (1 / half_sine)
    z = e * (1 / alpha) * elementary.log(g * (1 / (exponential * p)))
    half = sine(size * u * 0.5)
    bend = _separate(2 * zeta * (half * half))
    d = (_separate(sine(u) * (1 / p) * g) - direction * sine(size * u)) - jnp.where(zeta > 0, bend, -bend)
    small_z = jnp.where(jnp.abs(z) < LARGE_Z, z, 0)
    largest = jnp.finfo(dtype).max
    grown = jnp.clip((d + zeta) * jnp.expm1(small_z), -largest, largest)  # separate from the sum, whatever its sign
    x0 = jnp.where(jnp.abs(z) < LARGE_Z, grown + d, elementary.times_exp(d + zeta, z) - zeta)

    # Below alpha = 1 X1 is far from cancelling: d + zeta = [(1+b) sin(alpha (pi/2+U)) - (1-b) sin(alpha (pi/2-U))]
    # / (2 cos(pi alpha / 2) cos U), of one sign where |beta| = 1.
    low = jnp.minimum(alpha, 1)
    ahead = sine(jnp.minimum(low * (u + HALF_TURN), (1 - low) * (2 * HALF_TURN) + low * v))
    behind = sine(low * v)
    numerator = _separate((1 + skewness) * 0.5 * ahead) - _separate((1 - skewness) * 0.5 * behind)
    below = elementary.times_exp(numerator * (1 / (p * half_sine)), z)
    x1 = jnp.where(alpha < 1, below, jnp.where(alpha == 1, x0, x0 + zeta))
    return jnp.where(sign, x0, -x0), jnp.where(sign, x1, -x1)


@partial(jax.jit, static_argnames=("shape", "parametrization", "compute", "dtype"))
def _stable(key, alpha, beta, scale, loc, shape, parametrization, compute, dtype):
    alpha, beta, scale, loc = elementary.opaque(key, alpha, beta, scale, loc, dtype=compute)
    scale = or_nan(scale, alpha=alpha, beta=beta, scale=scale, loc=loc)  # of which all draws become NaN
    x0, x1 = _standard(key, alpha, beta, shape, compute)
    if parametrization == "S0":
        return (x0 * scale + loc).astype(dtype)
    loc = loc + jnp.where(alpha == 1, beta * (2 / np.pi) * scale * jnp.log(scale), 0)
    return (x1 * scale + loc).astype(dtype)


def stable(
    key: RandomKey,
    alpha: Numbers,
    beta: Numbers,
    shape: Shape | None = None,
    scale: Numbers = 1,
    loc: Numbers = 0,
    parametrization: str = "S0",
    dtype: DTypeLike | None = None,
) -> Float[Array, "..."]:
    """Returns alpha-stable draws [*shape] of any skewness.

    The characteristic functions of scale 1 and location 0 are, in Nolan's notation,
      S0: exp(-|t|^alpha [1 + i beta tan(pi alpha/2) sgn(t) (|t|^(1-alpha) - 1)]), continuous in alpha;
      S1: exp(-|t|^alpha [1 - i beta tan(pi alpha/2) sgn(t)]), at alpha = 1 exp(-|t| [1 + i beta (2/pi) sgn(t) ln|t|]).
    A scale g and a location d give g X + d; in S1 at alpha = 1 g X + d + beta (2/pi) g ln g. alpha = 2 is N(0, 2).

    Args:
      key: of `jax.random.key`; the same stream eager, compiled, batched by vmap and sharded.
      alpha: in (0, 2].
      beta: in [-1, 1]; 1 leans to the right.
      shape: of the result; None for the joint shape of the parameters.
      scale: above 0.
      loc: finite.
      parametrization: "S0" or "S1". S1 jumps at alpha = 1: compare and fit in S0.
      dtype: as in `sas`; draws beyond its range are infinite.
      All four parameters are numbers or arrays that broadcast to `shape`, and may be traced: where one is outside its
      range then, the draws are NaN.

    Raises:
      ValueError: a parameter outside its range, an unknown parametrization, float64 without 64-bit mode, shapes that
        do not fit.

    Source: Nolan, Univariate Stable Distributions (2020), sections 1.3 and 1.7; the form above was derived for this
      kernel.

    Example:
      >>> import jax
      >>> from havel.kernels import alpha_stable
      >>> x = alpha_stable.stable(jax.random.key(0), 1.5, 0.7, (4,))
      >>> x.shape
      (4,)
    """
    dtype, compute = float_types(dtype)
    check_law(alpha, beta, scale, loc, parametrization)
    shape = random_bits.joined_shape(shape, alpha=alpha, beta=beta, scale=scale, loc=loc)
    return _stable(random_bits.typed_key(key), alpha, beta, scale, loc, shape, parametrization, compute, dtype)
