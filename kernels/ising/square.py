"""Exact thermodynamics of the square lattice in NumPy float64: on a torus (Kaufman), and infinite (Onsager).

With first and second derivatives in beta, also through the critical point and where couplings are weak or strong.
B. Kaufman, Phys. Rev. 76, 1232 (1949); L. Onsager, Phys. Rev. 65, 117 (1944).
"""

import math

import numpy as np

from ..array_types import Float64, Scalar, Whole
from .exact import Exact, Term, check_torus, checked, log_of_sum, of_coupling
from .transfer import transfer_torus

WEAKEST, WEAKEST_BULK = 3e-4, 0.01  # beta J, below which the four products, and the elliptic integrals, cancel
CRITICAL_BETA = math.log(1 + math.sqrt(2)) / 2  # of the infinite lattice, J = 1

Modes = Float64[np.ndarray, " modes"]
Jet = tuple[float, float, float]  # a function of K and its two derivatives


def kaufman_torus(L: Whole, M: Whole, beta: Scalar, J: Scalar = 1.0, *, double_bonds: bool = False) -> Exact:
    """Returns the exact (ln_z, u, s, c_v) of the square lattice on an L x M torus.

    Args:
      L, M: sites along the two directions, at least 3 each.
      beta: inverse temperature, at least 0.
      J: coupling; a negative one needs even L and M, where ln Z does not depend on its sign.
      double_bonds: allows 2, where each bond then counts twice.

    Raises:
      ValueError: a torus that is too short, an odd one with J < 0, a bad beta or J.

    Source: B. Kaufman (1949); derivatives by hand, accurate to 5e-15 (ln Z, u) and 3e-11 (c_v) for L up to 64.

    Example:
      >>> from havel.kernels import ising
      >>> round(ising.kaufman_torus(16, 16, beta=0.44).ln_z / 256, 4)
      0.9312
    """
    beta, J = checked(beta, J)
    L, M = check_torus(L, M, double_bonds)
    if J < 0 and (L % 2 or M % 2):
        raise ValueError(f"J={J} on an odd {L} x {M} torus is frustrated: Kaufman's formula needs even L and M there")
    if min(L, M) == 2 and beta * abs(J) < WEAKEST:  # double bonds have loops of two that the series does not
        return transfer_torus(2, max(L, M), beta, abs(J), double_bonds=True)

    def logarithm(K):
        return _hot_series(L, M, K) if K < WEAKEST else _kaufman_logarithm(L, M, K)

    return of_coupling(logarithm, beta, abs(J), L * M)


def _hot_series(n: int, m: int, K: float) -> tuple[float, float, float]:
    """Returns ln Z and its derivatives for small K, by closed loops of 3 and 4 bonds."""
    threes, fours = m * (n == 3) + n * (m == 3), n * m + m * (n == 4) + n * (m == 4)
    t = math.tanh(K)
    ln_z = n * m * (math.log(2) + 2 * math.log(math.cosh(K))) + threes * t**3 + fours * t**4
    slope = 1 - t * t
    first = 2 * n * m * t + slope * (3 * threes * t**2 + 4 * fours * t**3)
    second = 2 * n * m * slope + slope**2 * (6 * threes * t + 12 * fours * t**2)
    return ln_z, first, second


def _kaufman_logarithm(n: int, m: int, K: float) -> tuple[float, float, float]:
    """Returns ln Z and its derivatives in K: half the sum of four products, two of each parity of momenta."""
    sh, ch = math.sinh(2 * K), math.cosh(2 * K)
    odd = _product(*_modes(np.arange(1, 2 * n, 2), n, sh, ch), m)
    even_cosh, even_sinh = _product(*_modes(np.arange(2, 2 * n, 2), n, sh, ch), m)
    # The mode of momentum 0 has a sign: negative below the critical point, 0 there.
    gamma_0 = 2 * K + math.log(math.tanh(K)), 2 + 2 / sh, -4 * ch / sh**2
    g_0, slope_0, bend_0 = (np.array([value]) for value in gamma_0)
    cosh_0 = _product(g_0, slope_0, bend_0, m)[0]
    y, dy, ddy = (m * value / 2 for value in gamma_0)
    # P4 = q R with q = 2 sinh y_0; relative derivatives of q diverge at the critical point, where q' does not vanish.
    # They are scaled by exp(-|y|).
    scale = math.exp(-2 * abs(y))
    sinh_y, cosh_y = math.copysign(-math.expm1(-2 * abs(y)), y), 1 + scale
    log_r, dr, ddr = even_sinh
    fourth = Term(abs(y) + log_r, dr, ddr, (sinh_y, dy * cosh_y, ddy * cosh_y + dy * dy * sinh_y))
    third = Term(cosh_0[0] + even_cosh[0], cosh_0[1] + even_cosh[1], cosh_0[2] + even_cosh[2])
    ln_sum, first, second = log_of_sum([*(Term(*product) for product in odd), third, fourth])
    N = n * m
    ln_z = ln_sum - math.log(2) + N / 2 * math.log(2 * sh)
    return ln_z, N * ch / sh + first, -2 * N / sh**2 + second


def _modes(k: np.ndarray, n: int, sh: float, ch: float) -> tuple[Modes, Modes, Modes]:
    """Returns g_k and its derivatives in K, with cosh g_k = ch^2/sh - cos(pi k/n), g_k > 0."""
    x = (sh - 1) ** 2 / sh + 2 * np.sin(np.pi * k / (2 * n)) ** 2
    sinh_g, cosh_g = np.sqrt(x * (x + 2)), 1 + x
    # First and second derivative of cosh g over sinh g, as ratios that large K does not overflow.
    d1 = 2 * ch * (1 - 1 / sh) * (1 + 1 / sh) / sinh_g
    d2 = (4 * sh - 4 / sh + 8 * (ch / sh) ** 2 / sh) / sinh_g
    return np.log1p(x + sinh_g), d1, d2 - d1**2 * cosh_g / sinh_g


def _product(g: Modes, slope: Modes, bend: Modes, m: int) -> tuple[Jet, Jet]:
    """Returns ln P and its derivatives of P = prod 2 cosh(m g/2), and of prod 2 sinh(m g/2): nan unless all g > 0."""
    y, dy, ddy = m * g / 2, m * slope / 2, m * bend / 2
    decay = np.exp(-2 * np.abs(y))
    tanh = np.tanh(y)
    cosh = _collect(np.abs(y) + np.log1p(decay), dy * tanh, ddy * tanh + dy**2 * (1 - tanh**2))
    if (y <= 0).any():
        return cosh, (math.nan, math.nan, math.nan)
    coth = 1 / tanh
    sinh = _collect(y + np.log(-np.expm1(-2 * y)), dy * coth, ddy * coth - dy**2 * 4 * decay / (1 - decay) ** 2)
    return cosh, sinh


def _collect(log: Modes, slope: Modes, bend: Modes) -> Jet:
    """Returns sums over modes of ln of a factor and of its two derivatives."""
    return math.fsum(log), math.fsum(slope), math.fsum(bend)


def onsager_bulk(beta: Scalar, J: Scalar = 1.0) -> Exact:
    """Returns (ln_z, u, s, c_v) of a site of the infinite square lattice; c_v is inf at the critical point.

    Raises:
      ValueError: a bad beta or J.

    Source: L. Onsager (1944), with the elliptic integrals by the arithmetic-geometric mean.

    Example:
      >>> from havel.kernels import ising
      >>> round(ising.onsager_bulk(beta=0.44).ln_z, 4)
      0.9287
    """
    beta, J = checked(beta, J)
    return of_coupling(lambda K: _bulk_logarithm(K) if K > WEAKEST_BULK else _hot_bulk(K), beta, abs(J), 1)


def _hot_bulk(K: float) -> tuple[float, float, float]:
    """Returns ln Z of a site and its derivatives for small K, by closed loops of up to 8 bonds."""
    t = math.tanh(K)
    slope = 1 - t * t
    loops = {4: 1.0, 6: 2.0, 8: 4.5}
    ln_z = math.log(2) + 2 * math.log(math.cosh(K)) + sum(count * t**k for k, count in loops.items())
    of_t = 2 * t / slope + sum(k * count * t ** (k - 1) for k, count in loops.items())
    curve = 2 * (1 + t * t) / slope**2 + sum(k * (k - 1) * count * t ** (k - 2) for k, count in loops.items())
    return ln_z, of_t * slope, curve * slope**2 - 2 * t * slope * of_t


def _bulk_logarithm(K: float) -> tuple[float, float, float]:
    """Returns ln Z of a site and its derivatives in K."""
    kappa = 2 * math.sinh(2 * K) / math.cosh(2 * K) ** 2
    rest = 2 * math.tanh(2 * K) ** 2 - 1  # kappa^2 + rest^2 = 1
    first, second = _elliptic(abs(rest) if abs(rest) > 4e-16 else 0.0)  # beta as a float misses the critical point
    critical = math.isinf(first)
    slope = (1 + (0.0 if critical else 2 / math.pi * rest * first)) / math.tanh(2 * K)
    curve = first if critical else 2 * first - 2 * second - (1 - rest) * (math.pi / 2 + rest * first)
    ln_z = math.log(2 * math.cosh(2 * K)) + _bulk_integral(kappa, abs(rest)) / math.pi
    return ln_z, slope, 2 / math.pi / math.tanh(2 * K) ** 2 * curve


def _elliptic(complement: float) -> tuple[float, float]:
    """Returns the complete elliptic integrals K and E of the modulus sqrt(1 - complement^2)."""
    if complement == 0:
        return math.inf, 1.0
    a, g, power = 1.0, complement, 0.5
    total = power * (1 - complement) * (1 + complement)
    while abs(a - g) > 4e-16 * a:
        a, g, c = (a + g) / 2, math.sqrt(a * g), (a - g) / 2
        power *= 2
        total += power * c * c
    first = math.pi / (2 * a)
    return first, first * (1 - total)


def _bulk_integral(kappa: float, complement: float, steps: int = 400) -> float:
    """Returns int_0^(pi/2) ln[(1 + sqrt(1 - kappa^2 sin^2 w))/2] dw by the tanh-sinh rule towards w = pi/2.

    With w = pi/2 - v the root is sqrt(complement^2 cos^2 v + sin^2 v): no cancellation near the critical point.
    """
    t = np.linspace(-3.6, 3.6, 2 * steps + 1)
    inner = np.pi / 2 * np.sinh(t)
    v = (np.pi / 2) / (1 + np.exp(-2 * inner))
    weight = (np.pi / 2) * (np.pi / 2) * np.cosh(t) / (2 * np.cosh(inner) ** 2)
    root = np.sqrt(np.square(complement * np.cos(v)) + np.square(np.sin(v)))
    return float(np.sum(weight * np.log1p((root - 1) / 2)) * (t[1] - t[0]))
