"""The median length of vectors of independent symmetric alpha-stable values, on the host in float64.

S = sum of X_i^2 over d values has the Laplace transform phi(s)^d: with G a standard normal number,
    phi(s) = E exp(-s X^2) = E exp(i sqrt(2s) G X) = E exp(-(2s)^(alpha/2) |G|^alpha),
an integral over ln|G| that the trapezoid rule does to rounding, |G| turned in the complex plane until nothing
oscillates. The distribution function of S is its inverse by the Fourier series of Abate and Whitt (ORSA J. Computing 7,
1995), whose sum is averaged at its end (Euler); the median by Newton's steps. No draws, no seed: exact to 1e-8.
"""

import functools
import logging
import math

import numpy as np

from ..scalars import real, whole

DECAY = 23.0  # A of the Fourier series: its error is exp(-A), and rounding grows by exp(A / 2)
BLOCK, TERMS, NOTHING = 64, 256, 1e-13  # terms at a time, in all (and 4 sqrt(dim)), and a transform that is nothing
SPACING, HIGHEST_LOG, DIGITS = 0.08, 2.4, 38.0  # of ln|G|, its upper end, and ln of the share below its lower end
NEWTON_STEPS, ENOUGH = 60, 1e-7  # a step of so little is followed by less than rounding
LENGTH_ALPHAS = LOWEST, HIGHEST = 0.05, 2.0  # of the medians
NODES = 32  # of their table
LONG = 5_000  # values from which on making it is logged, as it takes more than a few seconds
LOG = logging.getLogger(__name__)
EULER = np.cumsum([math.comb(12, k) for k in range(13)][::-1])[::-1] / 2**12  # weights of the last terms


def log_median_length(alpha: float, dim: int) -> float:
    """Returns ln median ||X||_2 of dim independent symmetric alpha-stable values of scale 1; to 1e-8.

    Args:
      alpha: in [0.05, 2], a number.
      dim: 1 or more.

    Raises:
      ValueError: another alpha or dim.

    Example:
      >>> from havel.kernels import alpha_stable
      >>> round(float(alpha_stable.log_median_length(2.0, 3)), 3)  # of vectors of 3 values of N(0, 2)
      0.777
    """
    dim = whole("dim", dim, 1, why=", values of a vector")
    return _log_median(real("alpha", alpha, f"a number in [{LOWEST}, {HIGHEST:g}]", _is_in_range), dim)


def _is_in_range(alpha: float) -> bool:
    return LOWEST <= alpha <= HIGHEST


@functools.lru_cache(maxsize=1024)
def _log_median(alpha: float, dim: int, start: float | None = None) -> float:
    """The same; `start` of the climb, ln median from nearby."""
    log_x = 2 * (math.log(2 * dim) / alpha if start is None else start)  # of the squared length
    step = 4.0
    low, high = -math.inf, math.inf
    for _ in range(NEWTON_STEPS):
        below, slope = _distribution(math.exp(log_x), alpha, dim)
        low, high = (log_x, high) if below < 0.5 else (low, log_x)
        move = (0.5 - below) / slope if slope > 1e-6 else math.copysign(step, 0.5 - below)
        if abs(move) < ENOUGH:
            return (log_x + move) / 2
        following = log_x + max(-step, min(step, move))
        log_x = following if low < following < high else (low + high) / 2
    return log_x / 2


def _distribution(x: float, alpha: float, dim: int) -> tuple[float, float]:
    """P(S <= x) and its derivative in ln x."""
    first = _power(np.array([DECAY / (2 * x)]), alpha, dim).real[0]
    at, blocks = [], []
    for begin in range(1, TERMS + 4 * math.isqrt(dim), BLOCK):
        s = (DECAY + 2j * math.pi * np.arange(begin, begin + BLOCK)) / (2 * x)
        at.append(s)
        blocks.append(_power(s, alpha, dim))
        if abs(blocks[-1][-1]) < NOTHING * max(abs(first), 1e-300):
            break
    s, terms = np.concatenate(at), np.concatenate(blocks)
    weights = np.where(np.arange(len(s)) % 2 == 0, -1.0, 1.0)
    weights[-len(EULER) :] *= EULER
    growth = math.exp(DECAY / 2) / x
    below = growth * (first * x / DECAY + np.sum(weights * (terms / s).real))
    density = growth * (first / 2 + np.sum(weights * terms.real))
    return below, x * density


def _power(s: np.ndarray, alpha: float, dim: int) -> np.ndarray:
    """phi(s)^dim for complex s with a positive real part."""
    if alpha == 2:
        return np.exp(-dim / 2 * np.log1p(4 * s))
    turn = np.angle(s)[:, None] / 4  # then ln of either exponential lies within pi / 4 of the negative axis
    t = np.arange(HIGHEST_LOG, -DIGITS / (1 + alpha), -SPACING)
    g = np.exp(-1j * turn) * np.exp(t)
    weights = 2 / math.sqrt(2 * math.pi) * SPACING * g * np.exp(-g * g / 2)
    c = np.exp(alpha / 2 * np.log(2 * s)[:, None] - 1j * alpha * turn)
    less = np.sum(weights * np.expm1(-c * np.exp(alpha * t)), axis=1)
    return np.exp(dim * np.log1p(less))


def length_table(dim: int) -> np.ndarray:
    """Returns the coefficients of Chebyshev's polynomials for alpha ln median ||X|| in alpha over [LOWEST, HIGHEST].

    Made once for each dim, in two seconds for 784 values and a minute for 150,528, which is logged from LONG values on;
    within 1e-4 of `log_median_length`.

    Raises:
      ValueError: dim is no integer of 1 or more.

    Example:
      >>> from havel.kernels import alpha_stable
      >>> alpha_stable.length_table(3).shape
      (32,)
    """
    return _length_table(whole("dim", dim, 1, why=", values of a vector"))


@functools.lru_cache(maxsize=16)
def _length_table(dim: int) -> np.ndarray:
    if dim >= LONG:
        seconds = 2 * (dim / 784) ** 0.65
        LOG.warning("a table of lengths of vectors of %d values is made, once: about %.0f seconds", dim, seconds)
    angles = math.pi * (np.arange(NODES) + 0.5) / NODES
    nodes = (LOWEST + HIGHEST) / 2 + (HIGHEST - LOWEST) / 2 * np.cos(angles)
    values, start = np.empty(NODES), None
    for index, alpha in enumerate(nodes):  # downwards from 2, each from the one before
        guess = None if start is None else start / alpha
        values[index] = start = alpha * _log_median(float(alpha), dim, guess)
    orders = np.arange(NODES)
    coefficients = 2 / NODES * np.cos(np.outer(orders, angles)) @ values
    coefficients[0] /= 2
    return coefficients
