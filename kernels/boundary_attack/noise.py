"""Noise of a step: Gaussian or alpha-stable directions and lengths, each image with keys of its own.

Srinivasan et al., EUSIPCO 2019, draw independent symmetric alpha-stable values ("coordinatewise"); the other laws tell
apart what heavy-tailed directions and heavy-tailed lengths do.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .. import alpha_stable
from ..array_types import AnyArray, Array, Float, Integer, Key, RandomKey, Real, Scalar, UInt32
from ..scalars import reals, whole

NOISES = ("coordinatewise", "isotropic", "radius", "length")
RADIUS_CAP = 10.0  # of "radius" and "length": the longest tangent step, in units of delta
LIGHT_SHIFT = 40  # for alpha of at least 0.5 sizes stay below 2^98: in float32 their squares do, 2^40 times smaller

Keys = Key[Array, " batch"] | UInt32[Array, "batch words"]  # of images or steps, or their raw words


def image_keys(key: RandomKey, ids: Integer[AnyArray, " batch"] | Sequence) -> Keys:
    """Returns a key for each image: `key` folded with its number [batch], whatever batch it is in.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> boundary_attack.image_keys(jax.random.key(0), np.arange(3)).shape
      (3,)
    """
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.asarray(ids, jnp.uint32))


def step_keys(keys: Keys, steps: Integer[AnyArray, " batch"]) -> Keys:
    """Returns keys [batch] of one step: those of the images [batch] folded with the number of the step [batch].

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> keys = boundary_attack.image_keys(jax.random.key(0), np.arange(3))
      >>> boundary_attack.step_keys(keys, jnp.zeros(3, jnp.int32)).shape
      (3,)
    """
    return jax.vmap(jax.random.fold_in)(keys, steps)


def draw_noise(
    key: Key[Array, "*steps"],
    alpha: Scalar | Real[AnyArray, "..."],
    noise: str,
    size: int,
    dtype: DTypeLike,
    is_heavy: bool = True,
    cap: Scalar = RADIUS_CAP,
) -> tuple[Float[Array, "*steps size"], Float[Array, "*steps"]]:
    """Returns the noise of steps [..., size], each vector up to a scale of its own, and factors of delta [...].

    Args:
      key: of image and step, [...].
      alpha: in (0, 2], broadcast to [...]; may be traced.
      noise: "coordinatewise": independent symmetric alpha-stable values. "isotropic": one Gaussian vector times
        the root of a positive alpha/2-stable number; after the rescaling of a step that is the law of the Gaussian
        attack for every alpha, a null control. "radius": a Gaussian vector, and a factor min(|X| / median |X|, cap) of
        delta, X symmetric alpha-stable. "length": the vector X of "coordinatewise", and a factor
        min(||X|| / median ||X||, cap) of delta, its own length over the median of that law in `size` dimensions.
      size: values of an image.
      dtype: of the result.
      is_heavy: whether alphas below 0.5 can occur, whose squares leave float32 unless each vector is scaled by its
        largest exponent. The scales are powers of two: what is made of the noise does not depend on this.
      cap: of the factors, above 0; may be traced.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from havel.kernels import boundary_attack
      >>> eta, factor = boundary_attack.draw_noise(jax.random.key(0), 1.5, "radius", 5, jnp.float32)
      >>> eta.shape, factor.shape
      ((5,), ())
    """
    if noise not in NOISES:
        raise ValueError(f"noise is {noise!r}; choose one of {', '.join(NOISES)}")
    check_alpha(alpha)
    size = whole("size", size, 1, why=", values of an image")
    reals("cap", cap, "a number above 0, in units of the median step", lambda longest: longest > 0)

    def one(key, alpha):
        factor = jnp.ones((), dtype)
        if noise in ("coordinatewise", "length"):
            values, exponent = alpha_stable.sas_parts(key, alpha, (size,), dtype)
        else:
            direction_key, scale_key = jax.random.split(key)
            values, exponent = alpha_stable.sas_parts(direction_key, 2.0, (size,), dtype)
        if noise == "isotropic":
            # Only the mantissa of the factor: its exponent is the same for the whole vector.
            power = 0.5 * alpha_stable.positive_stable_log(scale_key, alpha / 2, (), dtype) / math.log(2)
            values = values * jnp.exp2(power - jnp.floor(power))
        if noise == "radius":
            _, log_abs = alpha_stable.sas_log(jax.random.fold_in(key, 1), alpha, (), dtype)
            factor = jnp.exp(jnp.minimum(log_abs - log_median(alpha), jnp.log(jnp.asarray(cap, dtype)))).astype(dtype)
        shift = jnp.max(exponent) if is_heavy else LIGHT_SHIFT
        eta = alpha_stable.times_power_of_two(values, exponent - shift)
        if noise == "length":
            # The scale goes back as a power of two: the factor does not depend on it either.
            power = table_log_median_length(alpha, size) / math.log(2)
            whole = jnp.floor(power)
            part = jnp.sqrt(jnp.sum(eta * eta)) * jnp.exp2(whole - power)
            length = alpha_stable.times_power_of_two(part, shift - whole.astype(jnp.int32))
            factor = jnp.minimum(length, cap).astype(dtype)
        return eta, factor

    for _ in jnp.shape(key):
        one = jax.vmap(one)
    return one(key, jnp.broadcast_to(jnp.asarray(alpha, dtype), jnp.shape(key)))


def table_log_median_length(alpha: Scalar | Real[AnyArray, "*shape"], size: int) -> Float[Array, "*shape"]:
    """Returns ln median ||X||_2 of `size` independent symmetric alpha-stable values, for alpha in [0.05, 2] (below: of
    0.05, scaled); within 1e-4, from a table that is made once for each size (`alpha_stable.length_table`), in a minute
    for 150,528 values. Exactly, but on the host: `alpha_stable.log_median_length`.

    Example:
      >>> from havel.kernels import boundary_attack
      >>> round(float(boundary_attack.table_log_median_length(2.0, 3)), 3)
      0.777
    """
    check_alpha(alpha)
    size = whole("size", size, 1, why=", values of a vector")
    lowest, highest = alpha_stable.LENGTH_ALPHAS
    alpha = jnp.asarray(alpha)
    place = (2 * jnp.clip(alpha, lowest, highest) - lowest - highest) / (highest - lowest)
    twice, after, later = 2 * place, jnp.zeros_like(place), jnp.zeros_like(place)
    coefficients = alpha_stable.length_table(size)
    for coefficient in coefficients[:0:-1]:  # Clenshaw's recursion
        after, later = twice * after - later + coefficient.astype(place.dtype), after
    value = (place * after - later + coefficients[0].astype(place.dtype)) / alpha
    return jnp.where((alpha > 0) & (alpha <= highest), value, jnp.nan)


def check_alpha(alpha) -> None:
    """Raises ValueError for concrete stability indices outside (0, 2]."""
    reals("alpha", alpha, "a stability index in (0, 2]", lambda index: (index > 0) & (index <= 2))


def log_median(alpha: Scalar | Real[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Returns ln median |X| of symmetric alpha-stable X, for alpha in [0.05, 2] (below: of 0.05, scaled); within 1e-3.

    A traced alpha outside (0, 2] gives NaN, a concrete one is a ValueError.

    alpha times it is smooth in alpha, and interpolated.

    Example:
      >>> from havel.kernels import boundary_attack
      >>> round(float(boundary_attack.log_median(1.0)), 2)  # |X| of the Cauchy law has the median 1
      0.0
    """
    check_alpha(alpha)
    # One dtype for all: with weak ones jnp.interp warns of float64 where 64 bits were enabled before and are not now.
    dtype = jnp.result_type(float)
    grid, values = (jnp.asarray(one, dtype) for one in _median_table())
    value = jnp.interp(jnp.asarray(alpha, dtype), grid, values) / alpha
    return jnp.where((jnp.asarray(alpha) > 0) & (jnp.asarray(alpha) <= 2), value, jnp.nan)


@functools.cache
def _median_table() -> tuple[np.ndarray, np.ndarray]:
    """A grid of alpha, and alpha ln median |X| there: the distribution function of |X| is an integral over the angle.

    With the variables of `alpha_stable.symmetric`, |X| <= x means W >= (c/p) (s/(p x))^(1/k) for k > 0, <= for k < 0.
    """
    grid = np.concatenate([np.linspace(0.05, 0.995, 64), np.linspace(1.005, 2.0, 64)])
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u, weights = (nodes + 1) / 4, weights / 2
    alpha = grid[:, None]
    s, p, c = np.sin(np.pi * alpha * u), np.cos(np.pi * u), np.cos(np.pi * (1 - alpha) * u)
    power = alpha / (1 - alpha)

    def below(log_x):
        exponent = np.log(c / p) + power * (np.log(s / p) - log_x)
        survival = np.exp(-np.exp(np.minimum(exponent, 50)))
        return np.sum(np.where(power > 0, survival, 1 - survival) * weights, 1)

    low, high = np.full(len(grid), -20.0), np.full(len(grid), 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        is_below = below(middle[:, None]) < 0.5
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return grid, grid * low
