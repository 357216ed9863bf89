"""Exact thermodynamics of Ising systems: enumeration, the square torus, two Hopfield patterns, the infinite lattice.

All in NumPy float64, with first and second derivatives in beta. Units: k_B = 1, nats; p(s) = exp(-beta E(s)) / Z.
Per site are u = <E>/N, s = (beta <E> + ln Z)/N and c_v = beta^2 Var(E)/N; ln Z is of the whole system.
B. Kaufman, Phys. Rev. 76, 1232 (1949); L. Onsager, Phys. Rev. 65, 117 (1944).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

MOST_SPINS = 24  # of an enumeration: 16.8 million states
BLOCK = 1 << 16  # states at a time
STRONGEST, WEAKEST = 150.0, 3e-4  # |beta J|: beyond float64; where four products cancel
CRITICAL_BETA = math.log(1 + math.sqrt(2)) / 2  # of the infinite square lattice, J = 1


class Exact(NamedTuple):
    """ln Z of the system (of a site, where it is infinite); energy, entropy and heat capacity of a site."""

    ln_z: float
    u: float
    s: float
    c_v: float


def from_derivatives(ln_z: float, first: float, second: float, beta: float, sites: int) -> Exact:
    """Returns what follows from ln Z(beta) and its two derivatives: U = -(ln Z)', Var(E) = (ln Z)''."""
    u = -first / sites
    return Exact(float(ln_z), float(u), float(ln_z / sites + beta * u), float(beta * beta * second / sites))


def states(n: int, block: int = BLOCK) -> Iterator[np.ndarray]:
    """Yields all 2^n states in blocks: int8 [up to `block`, n] of +1 and -1, the first spin changing slowest.

    Raises:
      ValueError: n is not 1 to 24.
    """
    if not 1 <= n <= MOST_SPINS:
        raise ValueError(f"n={n} spins: enumeration takes 1 to {MOST_SPINS}; use a transfer matrix or a closed form")
    places = np.arange(n - 1, -1, -1)
    for start in range(0, 1 << n, block):
        numbers = np.arange(start, min(start + block, 1 << n))
        yield (1 - 2 * ((numbers[:, None] >> places) & 1)).astype(np.int8)


def brute_force(energy_fn: Callable[[np.ndarray], np.ndarray], n: int, beta: float = 1.0, *, z2: bool = False) -> Exact:
    """Returns the thermodynamics of any system of up to 24 spins by going through all states.

    Args:
      energy_fn: spins int8 [batch, n] of +1 and -1 to energies [batch].
      n: number of spins.
      beta: inverse temperature, at least 0.
      z2: the energy does not change when all spins turn over: half of the states are enough.

    Raises:
      ValueError: more than 24 spins, a beta that is negative or not finite, or energies that are not finite.
    """
    beta, _ = checked(beta)
    energies = _energies(energy_fn, n, z2)
    weights, log_sum = _boltzmann(energies, beta)
    u = float(weights @ energies)
    variance = float(weights @ np.square(energies - u))
    return from_derivatives(log_sum + (math.log(2) if z2 else 0.0), -u, variance, beta, n)


def brute_force_means(
    energy_fn: Callable[[np.ndarray], np.ndarray],
    n: int,
    observable: Callable[[np.ndarray], np.ndarray],
    beta: float = 1.0,
) -> np.ndarray:
    """Returns <observable> [...] over all states of up to 24 spins; arguments and errors as of `brute_force`.

    Args:
      observable: spins int8 [batch, n] to [batch, ...].
    """
    beta, _ = checked(beta)
    weights, _ = _boltzmann(_energies(energy_fn, n, False), beta)
    total, start = 0.0, 0
    for block in states(n):
        values = np.asarray(observable(block), np.float64)
        total = total + np.tensordot(weights[start : start + len(block)], values, 1)
        start += len(block)
    return np.asarray(total)


def _energies(energy_fn, n: int, z2: bool) -> np.ndarray:
    parts, wanted, start = [], (1 << n) >> z2, 0
    for block in states(n):
        parts.append(np.asarray(energy_fn(block[: wanted - start]), np.float64).reshape(-1))
        start += len(block)
        if start >= wanted:
            break
    energies = np.concatenate(parts)
    if len(energies) != wanted or not np.isfinite(energies).all():
        raise ValueError(f"energy_fn must give one finite number a state: it gave {len(energies)} for {wanted} states")
    return energies


def _boltzmann(energies: np.ndarray, beta: float) -> tuple[np.ndarray, float]:
    """Returns normalised weights and the logarithm of their sum before."""
    exponents = -beta * energies
    highest = exponents.max()
    weights = np.exp(exponents - highest)
    total = weights.sum()
    return weights / total, float(highest + np.log(total))


def check_beta(beta: float) -> None:
    """Raises a ValueError for an inverse temperature that is negative or not finite."""
    if not (np.ndim(beta) == 0 and np.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta={beta!r}: expected one finite number of at least 0 (turn the sign of J instead)")


def checked(beta: float, J: float = 1.0) -> tuple[float, float]:
    """Returns (beta, J) in double, whatever they came in. Raises ValueError as `check_beta`, and for an infinite J."""
    check_beta(beta)
    if not (np.ndim(J) == 0 and np.isfinite(J)):
        raise ValueError(f"J={J!r}: expected one finite coupling")
    return float(beta), float(J)


def check_strength(K: float) -> None:
    """Raises a ValueError where exp(4 K) leaves float64."""
    if not abs(K) <= STRONGEST:
        raise ValueError(f"beta J = {K}: beyond {STRONGEST} the ground states are all that float64 can see")


def check_torus(L: int, M: int, double_bonds: bool = False) -> None:
    """Raises a ValueError for a torus whose bonds would count twice."""
    least = 2 if double_bonds else 3
    for name, value in (("L", L), ("M", M)):
        if value != int(value) or value < least:
            advice = "" if value == 2 else f"; give a whole number of at least {least}"
            doubled = "; its bonds would count twice: double_bonds=True asks for that" if value == 2 else ""
            raise ValueError(f"{name}={value!r} on a torus{doubled}{advice}")


def kaufman_torus(L: int, M: int, beta: float, J: float = 1.0, *, double_bonds: bool = False) -> Exact:
    """Returns the exact (ln_z, u, s, c_v) of the square lattice on an L x M torus.

    Args:
      L, M: sites along the two directions, at least 3 each.
      beta: inverse temperature, at least 0.
      J: coupling; a negative one needs even L and M, where ln Z does not depend on its sign.
      double_bonds: allows 2, where each bond then counts twice.

    Raises:
      ValueError: a torus that is too short, an odd one with J < 0, a bad beta or J, |beta J| over 150.

    Source: B. Kaufman (1949); derivatives by hand, accurate to 5e-15 (ln Z, u) and 3e-11 (c_v) for L up to 64.
    """
    beta, J = checked(beta, J)
    check_torus(L, M, double_bonds)
    sites = L * M
    if J < 0 and (L % 2 or M % 2):
        raise ValueError(f"J={J} on an odd {L} x {M} torus is frustrated: Kaufman's formula needs even L and M there")
    K = beta * abs(J)
    check_strength(K)
    if K == 0:
        return Exact(sites * math.log(2), 0.0, math.log(2), 0.0)
    series = K < WEAKEST and min(L, M) > 2
    ln_z, first, second = _hot_series(L, M, K) if series else _kaufman_logarithm(L, M, K)
    return from_derivatives(ln_z, first * abs(J), second * J * J, beta, sites)


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
    gamma, slope, bend = _modes(np.arange(2, 2 * n, 2), n, sh, ch)
    # The mode of momentum 0 has a sign: negative below the critical point, 0 there.
    gamma_0 = 2 * K + math.log(math.tanh(K)), 2 + 2 / sh, -4 * ch / sh**2
    cosh_0 = _product(*(np.array([value]) for value in gamma_0), m)[0]
    even_cosh, even_sinh = _product(gamma, slope, bend, m)
    y, dy, ddy = (m * value / 2 for value in gamma_0)
    # P4 = q R with q = 2 sinh y_0; relative derivatives of q diverge at the critical point, where q' does not vanish.
    # Everything is scaled by exp(-|y|).
    scale = math.exp(-2 * abs(y))
    sinh_y, cosh_y = math.copysign(-math.expm1(-2 * abs(y)), y), 1 + scale
    q, dq, ddq = sinh_y, dy * cosh_y, ddy * cosh_y + dy * dy * sinh_y
    log_r, dr, ddr = even_sinh
    fourth = abs(y) + log_r, q, dq + q * dr, ddq + 2 * dq * dr + q * ddr
    terms = [(log, 1.0, first, second) for log, first, second in (*odd, _times(cosh_0, even_cosh))] + [fourth]
    highest = max(term[0] for term in terms)
    value, first, second = (sum(math.exp(t[0] - highest) * t[i] for t in terms) for i in (1, 2, 3))
    first, second = first / value, second / value
    N = n * m
    ln_z = -math.log(2) + N / 2 * math.log(2 * sh) + highest + math.log(value)
    return ln_z, N * ch / sh + first, -2 * N / sh**2 + second - first * first


def _modes(k: np.ndarray, n: int, sh: float, ch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns g_k and its derivatives in K, with cosh g_k = ch^2/sh - cos(pi k/n), g_k > 0."""
    x = (sh - 1) ** 2 / sh + 2 * np.sin(np.pi * k / (2 * n)) ** 2
    sinh_g, cosh_g = np.sqrt(x * (x + 2)), 1 + x
    # First and second derivative of cosh g over sinh g, as ratios that large K does not overflow.
    d1 = 2 * ch * (1 - 1 / sh) * (1 + 1 / sh) / sinh_g
    d2 = (4 * sh - 4 / sh + 8 * (ch / sh) ** 2 / sh) / sinh_g
    return np.log1p(x + sinh_g), d1, d2 - d1**2 * cosh_g / sinh_g


def _product(g: np.ndarray, slope: np.ndarray, bend: np.ndarray, m: int) -> tuple[tuple, tuple]:
    """Returns (ln P, P'/P, P''/P) of prod 2 cosh(m g/2), and of prod 2 sinh(m g/2) for g > 0."""
    y, dy, ddy = m * g / 2, m * slope / 2, m * bend / 2
    decay = np.exp(-2 * np.abs(y))
    tanh = np.tanh(y)
    cosh = _collect(np.abs(y) + np.log1p(decay), dy * tanh, ddy * tanh + dy**2 * (1 - tanh**2))
    if (y <= 0).any():
        return cosh, None
    coth = 1 / tanh
    sinh = _collect(y + np.log(-np.expm1(-2 * y)), dy * coth, ddy * coth - dy**2 * 4 * decay / (1 - decay) ** 2)
    return cosh, sinh


def _collect(logs: np.ndarray, t: np.ndarray, dt: np.ndarray) -> tuple[float, float, float]:
    first = math.fsum(t)
    return math.fsum(logs), first, first * first + math.fsum(dt)


def _times(a: tuple, b: tuple) -> tuple[float, float, float]:
    """Returns (ln, '/, ''/) of a product of two."""
    return a[0] + b[0], a[1] + b[1], a[2] + 2 * a[1] * b[1] + b[2]


def hopfield_two_patterns(n: int, beta: float) -> Exact:
    """Returns (ln_z, u, s, c_v) of the Hopfield model with two orthogonal patterns, one of them balanced.

    E = 1 - (a^2 + b^2)/n with a, b the overlaps on the sites where the patterns agree and differ, n/2 each.

    Args:
      n: number of spins, even, at least 2.
      beta: inverse temperature, at least 0.

    Raises:
      ValueError: an odd n, a bad beta.
    """
    beta, _ = checked(beta)
    if n != int(n) or n < 2 or n % 2:
        raise ValueError(f"n={n!r}: two orthogonal patterns need an even number of at least 2 spins")
    k = np.arange(n // 2 + 1)
    log_binomial = np.array([math.lgamma(n // 2 + 1) - math.lgamma(i + 1) - math.lgamma(n // 2 - i + 1) for i in k])
    square = (n / 2 - 2.0 * k) ** 2 / n
    exponents = log_binomial + beta * square
    highest = exponents.max()
    weights = np.exp(exponents - highest)
    total = weights.sum()
    mean = float(weights @ square / total)
    variance = float(weights @ np.square(square - mean) / total)
    ln_z = -beta + 2 * (highest + math.log(total))
    return from_derivatives(ln_z, 2 * mean - 1, 2 * variance, beta, int(n))


def onsager_bulk(beta: float, J: float = 1.0) -> Exact:
    """Returns (ln_z, u, s, c_v) of a site of the infinite square lattice; c_v is inf at the critical point.

    Raises:
      ValueError: a bad beta or J, |beta J| over 150.

    Source: L. Onsager (1944), with the elliptic integrals by the arithmetic-geometric mean.
    """
    beta, J = checked(beta, J)
    K = beta * abs(J)
    check_strength(K)
    if K == 0:
        return Exact(math.log(2), 0.0, math.log(2), 0.0)
    kappa = 2 * math.sinh(2 * K) / math.cosh(2 * K) ** 2
    rest = 2 * math.tanh(2 * K) ** 2 - 1  # kappa^2 + rest^2 = 1
    first, second = _elliptic(abs(rest) if abs(rest) > 4e-16 else 0.0)  # beta as a float misses the critical point
    critical = math.isinf(first)
    u = -(1 + (0.0 if critical else 2 / math.pi * rest * first)) / math.tanh(2 * K)
    slope = first if critical else 2 * first - 2 * second - (1 - rest) * (math.pi / 2 + rest * first)
    c_v = 2 / math.pi * (K / math.tanh(2 * K)) ** 2 * slope
    ln_z = math.log(2 * math.cosh(2 * K)) + _bulk_integral(kappa, abs(rest)) / math.pi
    return Exact(ln_z, u * abs(J), ln_z + beta * u * abs(J), c_v)


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
