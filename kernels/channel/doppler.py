"""How fading changes in time: the Doppler frequency of a speed, and Jakes' correlation J0(2 pi f_D t).

Source: R. H. Clarke, Bell System Technical Journal 47 (1968): waves from all sides of a plane, equally strong, in 3GPP
TR 38.901, section 7.7.2, for each tap of a delay line. On the host, in float64: times and speeds are known before
compilation.
"""

import functools
import math

import numpy as np

from .. import scalars
from ..array_types import ArrayLike, Float64, Scalar
from .arguments import checked_places

SPEED_OF_LIGHT = 299_792_458.0  # m/s
LINE_OF_SIGHT = 0.7  # Doppler shift of the line of sight over f_D, as TR 38.901 has it
_FAR = 30.0  # from where on J0 is that of its asymptotic series
_TERMS = 20  # of it; the last is below 1e-17 there
_NODES = 28  # of a quarter of a turn; four times as many are beyond the order from which on the rest is below 1e-16
_LEAST = 1e-14  # of the largest eigenvalue of a correlation: smaller ones are rounding


def doppler_frequency(speed: Scalar, carrier: Scalar) -> float:
    """The largest Doppler shift f_D = v f_c / c in Hz.

    Args:
      speed: v in m/s, 0 or above; km/h / 3.6.
      carrier: f_c in Hz, above 0.

    Raises:
      ValueError: a speed or carrier out of range.

    Example:
      >>> from havel.kernels import channel
      >>> round(channel.doppler_frequency(3 / 3.6, 2.9e9), 2)
      8.06
    """
    velocity = scalars.real("speed", speed, "a speed in m/s, finite and 0 or above", scalars.not_negative)
    frequency = scalars.real("carrier", carrier, "a frequency in Hz above 0", scalars.positive)
    return velocity * frequency / SPEED_OF_LIGHT


def jakes_correlation(delay: ArrayLike, doppler: Scalar) -> Float64[np.ndarray, "*shape"]:
    """Correlation E[a(t + delay) a*(t)] / E|a|^2 = J0(2 pi doppler delay) of a Rayleigh tap, float64.

    Args:
      delay: s, of either sign; a number or an array.
      doppler: f_D in Hz, 0 or above.

    Raises:
      ValueError: values that are not finite, a negative Doppler frequency, traced values.

    Example:
      >>> from havel.kernels import channel
      >>> channel.jakes_correlation([0.0, 0.004], 8.06).round(4).tolist()
      [1.0, 0.9898]
    """
    if scalars.is_traced(delay):
        raise scalars.refusal("delay", delay, "times in s, known before compilation")
    scalars.reals("delay", delay, "finite times in s")
    doppler = checked_doppler(doppler)
    return _bessel_j0(np.abs(np.asarray(2 * math.pi * doppler * np.asarray(delay, np.float64))))


def checked_doppler(doppler) -> float:
    """A Doppler frequency."""
    return scalars.real("doppler", doppler, "a Doppler frequency in Hz, finite and 0 or above", scalars.not_negative)


def _bessel_j0(x) -> np.ndarray:
    """J0 of numbers of 0 or above: the mean of cos(x sin t) over a turn, far out Hankel's series."""
    near = np.minimum(x, _FAR)
    nodes = (np.arange(_NODES) + 0.5) * (math.pi / 2 / _NODES)
    mean = sum(np.cos(near * math.sin(node)) for node in nodes) / _NODES
    far = np.maximum(x, _FAR)
    even, odd, term = np.zeros_like(far), np.zeros_like(far), np.ones_like(far)
    for k in range(_TERMS):  # term: prod (2j - 1)^2 / (k! (8x)^k), of signs + + - - ...
        sign = -1.0 if k // 2 % 2 else 1.0
        even, odd = (even + sign * term, odd) if k % 2 == 0 else (even, odd + sign * term)
        term = term * (2 * k + 1) ** 2 / (8 * (k + 1) * far)
    phase = far - math.pi / 4
    series = np.sqrt(2 / (math.pi * far)) * (even * np.cos(phase) + odd * np.sin(phase))
    return np.where(x < _FAR, mean, series)


def time_factor(times: ArrayLike, doppler: float) -> Float64[np.ndarray, "times rank"]:
    """F with F F^T the correlation of a tap at several times: F w has it where w is white. Checks the times.

    Its rank is about 2 f_D times the span of the times, and a few more, not their number.
    """
    return _time_factor(tuple(checked_places("times", times, "s").tolist()), doppler)


@functools.lru_cache(maxsize=16)
def _time_factor(times: tuple[float, ...], doppler: float) -> np.ndarray:
    instants = np.array(times)
    values, vectors = np.linalg.eigh(jakes_correlation(instants[:, None] - instants, doppler))
    strong = values > _LEAST * values[-1]
    return vectors[:, strong] * np.sqrt(values[strong])
