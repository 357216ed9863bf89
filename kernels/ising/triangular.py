"""Exact thermodynamics of the triangular lattice on a torus, for either sign of J, in NumPy float64.

Bonds (i, j) - (i, j+1), (i+1, j), (i+1, j+1), indices modulo the lengths. ln Z is half the sum of four products over
momenta (periodic and antiperiodic in each direction), one of them with a sign that changes at the critical point.
The antiferromagnet has no transition; its entropy stays at 0.3230659 a site at beta = infinity (Wannier 1950).
"""

import math

import numpy as np

from ..array_types import Scalar, Whole
from .exact import Exact, Term, check_torus, checked, log_of_sum, of_coupling

RESIDUAL_ENTROPY = 0.32306594721945051  # of the antiferromagnet: (2/pi) int_0^(pi/3) ln(2 cos w) dw


def triangular_torus(L: Whole, M: Whole, beta: Scalar, J: Scalar = 1.0, *, double_bonds: bool = False) -> Exact:
    """Returns the exact (ln_z, u, s, c_v) of the triangular lattice on an L x M torus.

    Args:
      L, M: sites along the two directions, at least 3 each.
      beta: inverse temperature, at least 0.
      J: coupling, positive for the ferromagnet.
      double_bonds: allows 2, where bonds then count twice.

    Raises:
      ValueError: a torus that is too short, a bad beta or J.

    Example:
      >>> from havel.kernels import ising
      >>> round(ising.triangular_torus(6, 6, beta=50.0, J=-1.0).s, 2)  # antiferromagnet: order is impossible
      0.35
    """
    beta, J = checked(beta, J)
    L, M = check_torus(L, M, double_bonds)

    def logarithm(K):
        ln_sum, first, second = log_of_sum([_product(L, M, a, b, K) for a, b in ((0, 1), (1, 0), (1, 1), (0, 0))])
        # The products are of Gamma / Y, of order 1 for the ferromagnet; Y = exp(4K) a site comes back as 2K.
        return ln_sum - math.log(2) + L * M * K, first + L * M, second

    return of_coupling(logarithm, beta, J, L * M)


def _product(n: int, m: int, a: int, b: int, K: float) -> Term:
    """Returns Q = prod sqrt(Gamma / Y) at momenta shifted by a/2 and b/2.

    Gamma / Y = Y - 2 c3 + |1 + e^(i p) + e^(-i q)|^2 / Y. The factor of zero momenta, |Y - 3| / sqrt(Y), goes with its
    sign, so that it is smooth where it vanishes.
    """
    p = 2 * np.pi * (np.arange(n)[:, None] + a / 2) / n
    q = 2 * np.pi * (np.arange(m)[None, :] + b / 2) / m
    c3 = np.cos(p) + np.cos(q) + np.cos(p + q)
    # = 3 + 2 c3, without cancellation where it vanishes: there the antiferromagnet's entropy comes from.
    squared = np.square(1 + np.cos(p) + np.cos(q)) + np.square(np.sin(p) - np.sin(q))
    squared = np.where(squared < 1e-29, 0.0, squared)
    Y = math.exp(4 * K)
    if K < 0:  # Y is small: multiply by Y once more, and give back 4K a site
        gamma = Y * Y - 2 * Y * c3 + squared
        slope, bend = 8 * Y * (Y - c3), 64 * Y * Y - 32 * Y * c3
        shift, turn = -2.0 * K, -2.0
    else:
        gamma = Y - 2 * c3 + squared / Y
        slope, bend = 4 * (Y - squared / Y), 16 * (Y + squared / Y)
        shift, turn = 0.0, 0.0
    special = np.zeros(gamma.shape, bool)
    special[0, 0] = a == b == 0
    rate, curve = slope[~special] / gamma[~special], bend[~special] / gamma[~special]
    log = math.fsum(np.log(gamma[~special]) / 2) + n * m * shift
    first = math.fsum(rate / 2) + n * m * turn
    second = math.fsum((curve - rate * rate) / 2)
    if not special.any():
        return Term(log, first, second)
    if K < 0:  # sqrt(Gamma) with the sign that the sum wants
        factor = Y - 3, 4 * Y, 16 * Y
    else:
        root = math.sqrt(Y)
        factor = root - 3 / root, 2 * (root + 3 / root), 4 * (root - 3 / root)
    scale = max(abs(factor[0]), abs(factor[1]))
    return Term(log + math.log(scale), first, second, (factor[0] / scale, factor[1] / scale, factor[2] / scale))
