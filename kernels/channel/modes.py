"""Modes of a fading channel: its response as independent Gaussian coefficients, the first of them drawn by strata.

The response at F frequencies is a Gaussian vector of covariance R = U diag(lambda) U^H: H = U (sqrt(lambda) c) with
c iid CN(0, 1) (Karhunen and Loeve). |c_1|^2 is exponential: where it is small, the block is in a fade. Draws from parts
of its law, of known probability, make rare errors frequent, and sums weighted by that probability stay unbiased.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..alpha_stable.random_bits import joined_shape, typed_key
from ..array_types import AnyArray, Array, ArrayLike, Complex, DTypeLike, Float, Numbers, RandomKey, Scalar, Shape
from .arguments import checked_complex, float_types
from .fading import checked_rayleigh, steering
from .profiles import Profile, checked_profile


class Modes(NamedTuple):
    """Eigenvalues and eigenvectors of the covariance of a response; a pytree, and so an argument of jitted functions.

    Attributes:
      eigenvalues: [modes], falling, of sum F.
      eigenvectors: [F, modes], orthonormal columns, each with its first entry real and positive.
    """

    eigenvalues: Float[AnyArray, " modes"]
    eigenvectors: Complex[AnyArray, "F modes"]


def frequency_covariance(
    profile: str | Profile, delay_spread: Scalar, frequencies: ArrayLike
) -> Complex[np.ndarray, "F F"]:
    """Covariance E[H(f) H*(g)] = sum_l power_l e^(-j 2 pi (f - g) tau_l) of a response, on the host.

    Args:
      profile, delay_spread, frequencies: as in `tdl_frequency_response`, none of them traced.

    Returns:
      complex128 of NumPy [F, F], 1 on its diagonal. A line of sight is counted, with its uniform phase.

    Raises:
      ValueError: an unknown profile, a negative delay spread, frequencies that are not finite, something traced.

    Source: 3GPP TR 38.901, section 7.7.2.

    Example:
      >>> from havel.kernels import channel
      >>> channel.frequency_covariance("C", 100e-9, [0.0, 1e6]).round(3).tolist()
      [[(1+0j), (0.847+0.312j)], [(0.847-0.312j), (1+0j)]]
    """
    line = checked_profile(profile)
    rows = _rows(line, delay_spread, frequencies)
    powers = np.array(line.powers)
    powers[0] += line.line_of_sight
    return (rows.T * powers) @ rows.conj()


def channel_modes(profile: str | Profile, delay_spread: Scalar, frequencies: ArrayLike) -> Modes:
    """Eigenvalues and eigenvectors of the covariance of a response over given frequencies, on the host in float64.

    From the singular values of [F, taps], no matrix of F squared: min(F, taps) modes, beyond which there are none.

    Args:
      profile: without a line of sight: "A", "B", "C" or a Profile.
      delay_spread, frequencies: as in `tdl_frequency_response`, not traced.

    Returns:
      Modes, of arrays of NumPy.

    Raises:
      ValueError: a profile with a line of sight, whose response is not Gaussian, or unknown; a negative delay spread,
        frequencies that are not finite, something traced.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import channel
      >>> modes = channel.channel_modes("C", 100e-9, 15e3 * np.arange(72))
      >>> (modes.eigenvalues[:3] / 72).round(3).tolist()  # shares of the power
      [0.972, 0.027, 0.001]
    """
    line = checked_rayleigh(profile, "channel_modes", "for D and E draw from tdl_frequency_response as they are")
    rows = _rows(line, delay_spread, frequencies)
    vectors, sizes, _ = np.linalg.svd(rows.T * np.sqrt(line.powers), full_matrices=False)
    first = vectors[0]
    size = np.abs(first)
    turn = np.where(size > 0, first.conj() / np.where(size > 0, size, 1), 1)
    return Modes(sizes**2, vectors * turn)


def _rows(line: Profile, delay_spread, frequencies) -> np.ndarray:
    for name, value in (("delay_spread", delay_spread), ("frequencies", frequencies)):
        if scalars.is_traced(value):
            raise scalars.refusal(name, value, "what is known before compilation: modes are computed on the host")
    return np.asarray(steering(line, delay_spread, frequencies))


def stratified_modes(
    key: RandomKey,
    modes: Modes,
    lower: Numbers = 0.0,
    upper: Numbers = 1.0,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
) -> Complex[Array, "*shape modes"]:
    """Coefficients c of modes, iid CN(0, 1) but for the gain |c_1|^2 of the first, which lies in a stratum of its law.

    |c_1|^2 = -ln(1 - u) with u uniform in [lower, upper): P(stratum) = upper - lower, exactly. Its phase and all other
    coefficients are as they are without. Strata that cover [0, 1), each weighted by its probability, give the means of
    the plain law. 0 and 1 are the plain law.

    Args:
      key: of `jax.random.key`.
      modes: of `channel_modes`; its number of modes is what counts here. May be traced.
      lower, upper: 0 <= lower < upper <= 1, quantiles; they broadcast to `shape`: lower [strata, 1] and shape
        (strata, n) draw n of each. May be traced: where they are out of order then, the coefficients are NaN. Concrete
        ones are taken in float64: strata near 1 keep their width.
      shape: of the batch; None: that of lower and upper.
      dtype: complex64 or complex128; None: complex128 in JAX's 64-bit mode, else complex64.

    Returns:
      complex [*shape, modes]; `modes_response` makes the response of them. u has a resolution of upper - lower times
      2^-32, 2^-64 in complex128, and lies in the stratum up to the rounding of the dtype.

    Raises:
      ValueError: quantiles out of range or order, shapes that do not fit, modes that are none, no key.

    Example:
      >>> import jax
      >>> from havel.kernels import channel
      >>> modes = channel.channel_modes("C", 100e-9, [0.0, 15e3, 30e3])
      >>> c = channel.stratified_modes(jax.random.key(0), modes, 0.0, 1e-3, (1000,))  # the deepest thousandth of fades
      >>> h = channel.modes_response(modes, c)
      >>> h.shape, bool((abs(c[:, 0]) ** 2).max() < 0.0010006)
      ((1000, 3), True)
    """
    if not isinstance(modes, Modes):
        raise scalars.refusal("modes", modes, "Modes, of channel_modes")
    real_type, complex_type = float_types(dtype)
    for name, value in (("lower", lower), ("upper", upper)):
        scalars.reals(name, value, "a quantile in [0, 1]", lambda share: (share >= 0) & (share <= 1))
    joined = joined_shape(shape, lower=lower, upper=upper)
    bounds = [jnp.asarray(part, real_type) for part in _widths(lower, upper)]
    return _stratified(typed_key(key), *bounds, len(modes.eigenvalues), joined, complex_type)


def _widths(lower: Any, upper: Any) -> tuple[Any, Any, Any]:
    """(lower, upper - lower, 1 - upper), of concrete quantiles in float64."""
    if not (scalars.is_traced(lower) or scalars.is_traced(upper)):
        lower, upper = np.broadcast_arrays(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
        if not np.all(lower < upper):
            first = np.flatnonzero(~(lower < upper).reshape(-1))[0]
            raise ValueError(
                f"lower={lower.flat[first]:.9g} and upper={upper.flat[first]:.9g}: expected lower < upper, a stratum "
                "of some probability"
            )
    return lower, upper - lower, 1 - upper


@functools.partial(jax.jit, static_argnames=("count", "shape", "dtype"))
def _stratified(key, lower, width, beyond, count: int, shape, dtype):
    real_type = jnp.finfo(dtype).dtype
    gain_key, phase_key, rest_key = jax.random.split(key, 3)
    below, above = _both_sides(gain_key, shape, real_type)
    holds = (lower >= 0) & (width > 0) & (beyond >= 0)
    u, survival = lower + width * below, jnp.where(holds, beyond + width * above, jnp.nan)
    gain = jnp.where(u < 0.5, -jnp.log1p(-jnp.minimum(u, 0.5)), -jnp.log(survival))
    gain = jnp.where(holds, gain, jnp.nan)
    phase = 2 * math.pi * jax.random.uniform(phase_key, shape, real_type)
    first = jnp.sqrt(gain) * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
    rest = jax.random.normal(rest_key, (*shape, count - 1), dtype)
    return jnp.concatenate([first[..., None], rest], axis=-1)


def _both_sides(key, shape, dtype):
    """(v, 1 - v), uniform in (0, 1), each as precise near 0 as the dtype."""
    bits = jnp.finfo(dtype).bits
    whole = jax.random.bits(key, shape, jnp.uint32 if bits == 32 else jnp.uint64)
    return tuple((side.astype(dtype) + 0.5) * 2.0**-bits for side in (whole, ~whole))


def modes_response(modes: Modes, coefficients: ArrayLike) -> Complex[Array, "*batch F"]:
    """The response H = U (sqrt(lambda) c) of coefficients of modes.

    Args:
      modes: of `channel_modes`.
      coefficients: complex [..., modes], of `stratified_modes` or any.

    Returns:
      complex [..., F], in the precision of the coefficients.

    Raises:
      ValueError: coefficients that are not finite, or not of as many modes.

    Example:
      >>> from havel.kernels import channel
      >>> modes = channel.channel_modes("A", 1e-7, [0.0])
      >>> abs(channel.modes_response(modes, [1.0])).round(3).tolist()
      [1.0]
    """
    if not isinstance(modes, Modes):
        raise scalars.refusal("modes", modes, "Modes, of channel_modes")
    array = checked_complex("coefficients", coefficients)
    count = len(modes.eigenvalues)
    if array.ndim == 0 or array.shape[-1] != count:
        raise ValueError(f"coefficients have shape {array.shape}: expected a last axis of the {count} modes")
    return _of_modes(jnp.asarray(modes.eigenvalues), jnp.asarray(modes.eigenvectors), array)


@jax.jit
def _of_modes(eigenvalues, eigenvectors, coefficients):
    columns = (jnp.sqrt(eigenvalues) * eigenvectors).astype(coefficients.dtype)
    return jnp.matmul(coefficients, columns.T, precision="highest")
