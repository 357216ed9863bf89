"""Multipath fading by tapped delay lines: gains of the taps, the response over frequency, both also over time.

Source: 3GPP TR 38.901, section 7.7.2. a_l ~ CN(0, power of tap l), independent; H(f) = sum_l a_l e^(-j 2 pi f tau_l)
with tau_l = delay of the tap times the delay spread, so that E|H|^2 = 1. In time every a_l has Jakes' correlation.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..alpha_stable.random_bits import checked_shape, typed_key
from ..array_types import AnyArray, Array, ArrayLike, Complex, DTypeLike, RandomKey, Scalar, Shape
from .arguments import checked_complex, checked_places, float_types
from .doppler import LINE_OF_SIGHT, checked_doppler, jakes_correlation, time_factor
from .profiles import Profile, checked_profile


def tdl_taps(
    key: RandomKey,
    profile: str | Profile,
    shape: Shape = (),
    *,
    times: ArrayLike | None = None,
    doppler: Scalar = 0.0,
    dtype: DTypeLike | None = None,
) -> Complex[Array, "..."]:
    """Complex gains of the taps of a delay line, of total mean power 1.

    A Rayleigh tap is CN(0, power). The line of sight of D and E has a fixed size and a uniform phase, and is added to
    the first tap. Exact in time, too: gains at several times are jointly Gaussian with the correlation
    `jakes_correlation`, and the line of sight turns by 0.7 doppler; taps are independent of each other.

    Args:
      key: of `jax.random.key`.
      profile: "A" to "E", or a Profile.
      shape: of the batch, a draw of its own for each.
      times: [times] in s, known before compilation; None: one gain a tap, that of a block in which nothing changes. The
        cost is that of times x times products once, then times x rank a tap, where the rank is about 2 doppler times
        the span of the times.
      doppler: f_D in Hz of `doppler_frequency`, for `times`.
      dtype: complex64 or complex128; None: complex128 in JAX's 64-bit mode, else complex64.

    Returns:
      complex [*shape, taps], with times [*shape, times, taps].

    Raises:
      ValueError: an unknown profile, times that are not finite numbers [times], a negative Doppler frequency, a bad
        shape or dtype, no key.

    Source: 3GPP TR 38.901, section 7.7.2.

    Example:
      >>> import jax
      >>> from havel.kernels import channel
      >>> channel.tdl_taps(jax.random.key(0), "A", (10,)).shape
      (10, 23)
      >>> channel.tdl_taps(jax.random.key(0), "A", (10,), times=[0.0, 0.004], doppler=8.06).shape
      (10, 2, 23)
    """
    line = checked_profile(profile)
    factor, turns = _in_time(times, doppler)
    _, complex_type = float_types(dtype)
    taps = _taps(typed_key(key), factor, turns, line, checked_shape(shape), complex_type)
    return taps[..., 0, :] if times is None else taps


def tdl_frequency_response(
    key: RandomKey,
    profile: str | Profile,
    delay_spread: Scalar,
    frequencies: ArrayLike,
    shape: Shape = (),
    *,
    times: ArrayLike | None = None,
    doppler: Scalar = 0.0,
    dtype: DTypeLike | None = None,
) -> Complex[Array, "..."]:
    """The response H(f) of a tapped delay line at given frequencies, E|H|^2 = 1.

    A product of [*shape, taps] and [taps, F], in full precision on every device: 8 taps F operations a block.

    Args:
      key, profile, shape, times, doppler, dtype: as in `tdl_taps`.
      delay_spread: rms, in s, 0 or above.
      frequencies: [F] in Hz, relative to any frequency, such as 15e3 * arange(72) of 72 subcarriers. Phases are those
        of float64 where neither they nor the delay spread are traced.

    Returns:
      complex [*shape, F], with times [*shape, times, F]. NaN where a traced delay spread is negative.

    Raises:
      ValueError: as `tdl_taps`; a negative delay spread, frequencies that are not finite numbers [F].

    Source: 3GPP TR 38.901, section 7.7.2.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import channel
      >>> h = channel.tdl_frequency_response(jax.random.key(0), "C", 100e-9, 15e3 * np.arange(72), (1000,))
      >>> h.shape, bool(abs((abs(h) ** 2).mean() - 1) < 0.2)
      ((1000, 72), True)
    """
    line = checked_profile(profile)
    factor, turns = _in_time(times, doppler)
    _, complex_type = float_types(dtype)
    phasors = jnp.asarray(steering(line, delay_spread, frequencies), complex_type)
    response = _response(typed_key(key), factor, turns, phasors, line, checked_shape(shape), complex_type)
    return response[..., 0, :] if times is None else response


def later_response(
    key: RandomKey,
    response: ArrayLike,
    profile: str | Profile,
    delay_spread: Scalar,
    frequencies: ArrayLike,
    delay: Scalar,
    doppler: Scalar,
) -> Complex[Array, "*batch F"]:
    """The response `delay` later, as a retransmission meets it, given the response now: r H + sqrt(1 - r^2) H'.

    r = J0(2 pi doppler delay) and H' a draw of its own. With any law of H now, such as that of a stratum of
    `stratified_modes`, what comes is of the exact conditional law: the two are jointly Gaussian.

    Args:
      key: of `jax.random.key`, another than that of the response.
      response: complex [..., F], of the same profile, delay spread and frequencies.
      profile: without a line of sight: for one with, draw both times at once, by `times` of `tdl_frequency_response`.
      delay_spread, frequencies: as in `tdl_frequency_response`.
      delay: in s, 0 or above, known before compilation.
      doppler: f_D in Hz.

    Returns:
      complex [..., F], in the precision of the response.

    Raises:
      ValueError: a profile with a line of sight or unknown, a response that is not finite or not of F frequencies,
        numbers out of range.

    Source: the conditional law of Gaussian vectors, with the correlation of `jakes_correlation`.

    Example:
      >>> import jax
      >>> from havel.kernels import channel
      >>> key, later = jax.random.split(jax.random.key(0))
      >>> h = channel.tdl_frequency_response(key, "A", 1e-7, [0.0, 15e3], (5,))
      >>> channel.later_response(later, h, "A", 1e-7, [0.0, 15e3], 0.004, 8.06).shape
      (5, 2)
    """
    line = checked_rayleigh(profile, "later_response", "draw both times at once, by times= of tdl_frequency_response")
    delay = scalars.real("delay", delay, "a time in s, finite and 0 or above", scalars.not_negative)
    correlation = float(jakes_correlation(delay, checked_doppler(doppler)))
    now = checked_complex("response", response)
    places = checked_places("frequencies", frequencies, "Hz", traced=True)
    if now.ndim == 0 or now.shape[-1] != places.size:
        raise ValueError(f"response has shape {now.shape}: expected a last axis of the {places.size} frequencies")
    other = tdl_frequency_response(key, line, delay_spread, places, now.shape[:-1], dtype=now.dtype)
    return correlation * now + math.sqrt(max(1 - correlation**2, 0.0)) * other


def checked_rayleigh(profile: str | Profile, function: str, instead: str) -> Profile:
    """A profile without a line of sight."""
    line = checked_profile(profile)
    if line.line_of_sight:
        raise ValueError(
            f"profile={line.name!r} has a line of sight and is not Gaussian: expected one without for {function}, "
            f"such as A, B or C; {instead}"
        )
    return line


def steering(profile: Profile, delay_spread: Any, frequencies: Any) -> AnyArray:
    """e^(-j 2 pi f tau) [taps, F]: complex128 of NumPy, or in JAX's default precision where something is traced."""
    expected = "a delay spread in s, finite and 0 or above"
    spread = scalars.real("delay_spread", delay_spread, expected, scalars.not_negative, traced=True)
    places = checked_places("frequencies", frequencies, "Hz", traced=True)
    delays = np.array(profile.delays)
    if not (scalars.is_traced(spread) or scalars.is_traced(places)):
        return np.exp(-2j * math.pi * np.outer(delays * spread, places))
    spread = jnp.where(jnp.asarray(spread) >= 0, spread, jnp.nan)
    turns = jnp.outer(delays * spread, jnp.asarray(places))
    phase = -2 * math.pi * (turns - jnp.round(turns))  # a small phase, whose sine keeps its precision
    return jax.lax.complex(jnp.cos(phase), jnp.sin(phase))


def _in_time(times, doppler) -> tuple[np.ndarray, np.ndarray]:
    """(factor [times, rank] of the correlation, turns [times] of the line of sight); of one time without any."""
    doppler = checked_doppler(doppler)
    if times is None:
        return np.ones((1, 1)), np.zeros(1)
    factor = time_factor(times, doppler)
    return factor, np.asarray(times, np.float64) * (LINE_OF_SIGHT * doppler) % 1.0


@functools.partial(jax.jit, static_argnames=("profile", "shape", "dtype"))
def _taps(key, factor, turns, profile: Profile, shape, dtype):
    """[*shape, times, taps]."""
    real_type = jnp.finfo(dtype).dtype
    scattered_key, phase_key = jax.random.split(key)
    white = jax.random.normal(scattered_key, (*shape, factor.shape[1], len(profile.powers)), dtype)
    taps = white * jnp.sqrt(jnp.asarray(profile.powers, real_type))
    if factor.shape != (1, 1):
        taps = jnp.matmul(jnp.asarray(factor, dtype), taps, precision="highest")
    if profile.line_of_sight:
        turn = jax.random.uniform(phase_key, (*shape, 1), real_type) + jnp.asarray(turns, real_type)
        phase = 2 * math.pi * turn
        direct = math.sqrt(profile.line_of_sight) * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
        taps = taps.at[..., 0].add(direct)
    return taps


@functools.partial(jax.jit, static_argnames=("profile", "shape", "dtype"))
def _response(key, factor, turns, phasors, profile: Profile, shape, dtype):
    """[*shape, times, F]."""
    return jnp.matmul(_taps(key, factor, turns, profile, shape, dtype), phasors, precision="highest")
