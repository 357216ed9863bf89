"""Exact thermodynamics of Ising systems: enumeration, two Hopfield patterns, and what all closed forms share.

All in NumPy float64, with first and second derivatives in beta. Units: k_B = 1, nats; p(s) = exp(-beta E(s)) / Z.
Per site are u = <E>/N, s = (beta <E> + ln Z)/N and c_v = beta^2 Var(E)/N; ln Z is of the whole system.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import scalars
from ..array_types import ArrayLike, Float64, Int8, Scalar, Whole
from ..scalars import not_negative, real

MOST_SPINS = 24  # of an enumeration: 16.8 million states
LARGER = "spins of an enumeration; larger systems have a transfer matrix or a closed form"
BLOCK = 1 << 16  # states at a time
STRONGEST = 50.0  # |beta J|, beyond which ground states are all that float64 sees


class Exact(NamedTuple):
    """ln Z of the system (of a site, where it is infinite); energy, entropy and heat capacity of a site."""

    ln_z: float
    u: float
    s: float
    c_v: float


def from_derivatives(ln_z: float, first: float, second: float, beta: float, sites: int) -> Exact:
    """Returns what follows from ln Z(beta) and its two derivatives: U = -(ln Z)', Var(E) = (ln Z)''."""
    u, variance = -first / sites, max(second, 0.0)  # rounding must not make it negative
    return Exact(float(ln_z), float(u), float(ln_z / sites + beta * u), float(beta * beta * variance / sites))


def of_coupling(logarithm: Callable[[float], tuple], beta: float, J: float, sites: int) -> Exact:
    """Returns what follows from ln Z and its two derivatives as a function of K = beta J.

    Beyond |K| = 50 only ground states are left, whose energy is a whole number times J: nothing overflows.
    """
    K = beta * J
    if not math.isfinite(K):
        raise ValueError(f"beta={beta}, J={J}: their product leaves float64")
    if K == 0:
        return Exact(sites * math.log(2), 0.0, math.log(2), 0.0)
    if abs(K) <= STRONGEST:
        ln_z, first, second = logarithm(K)
        return from_derivatives(ln_z, first * J, second * J * J, beta, sites)
    edge = math.copysign(STRONGEST, K)
    ln_z, first, _ = logarithm(edge)
    slope = round(first)
    return Exact(float(ln_z + (K - edge) * slope), -slope * J / sites, float(ln_z - edge * slope) / sites, 0.0)


def states(n: Whole, block: int = BLOCK) -> Iterator[Int8[np.ndarray, "block n"]]:
    """Yields all 2^n states in blocks: int8 [up to `block`, n] of +1 and -1, the first spin changing slowest.

    Raises:
      ValueError: n is not 1 to 24.

    Example:
      >>> from havel.kernels import ising
      >>> next(ising.states(2)).tolist()
      [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    n, block = whole("n", n, 1, MOST_SPINS, LARGER), whole("block", block, 1)
    places = np.arange(n - 1, -1, -1)
    for start in range(0, 1 << n, block):
        numbers = np.arange(start, min(start + block, 1 << n))
        yield (1 - 2 * ((numbers[:, None] >> places) & 1)).astype(np.int8)


def brute_force(
    energy_fn: Callable[[Int8[np.ndarray, "batch n"]], ArrayLike], n: Whole, beta: Scalar = 1.0, *, z2: bool = False
) -> Exact:
    """Returns the thermodynamics of any system of up to 24 spins by going through all states.

    Args:
      energy_fn: spins int8 [batch, n] of +1 and -1 to energies [batch]; +inf forbids a state, at any beta.
      n: number of spins.
      beta: inverse temperature, at least 0.
      z2: the energy does not change when all spins turn over: half of the states are enough, and only their mirror
        images in the first block are looked at, to check it.

    Raises:
      ValueError: more than 24 spins, a beta that is negative or not finite, energies of nan or -inf, no state
        that is allowed, or z2 where they do change.

    Example:
      >>> from havel.kernels import ising
      >>> exact = ising.brute_force(lambda spins: -spins[:, 0] * spins[:, 1], 2, beta=1.0)
      >>> round(exact.ln_z, 4)  # ln(2 e + 2 / e)
      1.8201
    """
    beta, _ = checked(beta)
    n = whole("n", n, 1, MOST_SPINS, LARGER)
    energies = _energies(energy_fn, n, z2)
    energies = energies[energies < math.inf]
    lowest = float(energies.min())
    above = energies - lowest  # from the ground states: neither overflows nor cancels, however large beta is
    weights, log_sum = _boltzmann(above, beta)
    log_sum += math.log(2) if z2 else 0.0
    u = float(weights @ above)
    variance = float(weights @ np.square(above - u))
    return from_ground(lowest, log_sum, u, variance, beta, n)


def from_ground(lowest: float, ln_z: float, u: float, variance: float, beta: float, sites: int) -> Exact:
    """Returns what follows from ln Z, <E> and Var(E) of energies counted from the ground state's, `lowest`."""
    entropy = (ln_z + beta * u) / sites
    return Exact(ln_z - beta * lowest, (lowest + u) / sites, entropy, beta * beta * variance / sites)


def brute_force_means(
    energy_fn: Callable[[Int8[np.ndarray, "batch n"]], ArrayLike],
    n: Whole,
    observable: Callable[[Int8[np.ndarray, "batch n"]], ArrayLike],
    beta: Scalar = 1.0,
) -> Float64[np.ndarray, "..."]:
    """Returns <observable> [...] over all states of up to 24 spins; arguments and errors as of `brute_force`.

    Args:
      observable: spins int8 [batch, n] to [batch, ...].

    Example:
      >>> from havel.kernels import ising
      >>> energy = lambda spins: -spins[:, 0] * spins[:, 1]
      >>> mean = ising.brute_force_means(energy, 2, lambda spins: spins[:, 0] * spins[:, 1], beta=1.0)
      >>> round(float(mean), 4)  # tanh 1
      0.7616
    """
    beta, _ = checked(beta)
    n = whole("n", n, 1, MOST_SPINS, LARGER)
    weights, _ = _boltzmann(_energies(energy_fn, n, False), beta)
    total: np.ndarray | float = 0.0
    start = 0
    for block in states(n):
        values = np.asarray(observable(block), np.float64)
        total = total + np.tensordot(weights[start : start + len(block)], values, 1)
        start += len(block)
    return np.asarray(total)


def _energies(energy_fn, n: int, z2: bool) -> np.ndarray:
    parts, count, start = [], (1 << n) >> z2, 0
    for block in states(n):
        block = block[: count - start]
        parts.append(np.asarray(energy_fn(block), np.float64).reshape(-1))
        if z2 and not start:
            mirrored = np.asarray(energy_fn(-block), np.float64).reshape(-1)
            size = np.abs(parts[0][parts[0] < math.inf]).max(initial=0)
            if not np.allclose(parts[0], mirrored, rtol=1e-5, atol=1e-5 * size):
                raise ValueError("z2=True: energy_fn changes when all spins turn over, as it does with fields; drop z2")
        start += len(block)
        if start >= count:
            break
    energies = np.concatenate(parts)
    if len(energies) != count or not (energies > -math.inf).all():
        raise ValueError(
            f"energy_fn must give one finite number a state, or +inf for one that is forbidden: it gave "
            f"{len(energies)} for {count} states, {int(np.count_nonzero(~(energies > -math.inf)))} of them nan or -inf"
        )
    if np.isinf(energies).all():
        raise ValueError("energy_fn forbids every state: its energies are all +inf")
    return energies


def _boltzmann(energies: np.ndarray, beta: float) -> tuple[np.ndarray, float]:
    """Returns normalised weights and the logarithm of their sum before."""
    exponents = np.where(energies < math.inf, -beta * np.where(energies < math.inf, energies, 0), -math.inf)
    highest = exponents.max()
    weights = np.exp(exponents - highest)
    total = weights.sum()
    return weights / total, float(highest + np.log(total))


def check_beta(beta: Any) -> None:
    """Raises a ValueError for an inverse temperature that is negative or not finite."""
    real("beta", beta, "one finite number of at least 0 (turn the sign of J instead)", not_negative)


def checked(beta: Scalar, J: Scalar = 1.0) -> tuple[float, float]:
    """Returns (beta, J) in double, whatever they came in. Raises ValueError as `check_beta`, and for an infinite J."""
    check_beta(beta)
    check_coupling(J)
    return float(beta), float(J)


def check_coupling(J: Any) -> None:
    """Raises a ValueError for what is not one finite coupling; traced values pass."""
    real("J", J, "one finite coupling", traced=True)


def whole(name: str, value: Any, least: int, most: int | None = None, advice: str = "") -> int:
    """Returns a whole number as int; raises a ValueError with its name for any other, and beyond its bounds."""
    return scalars.whole(name, value, least, most, advice and " " + advice, floats=True)


def check_torus(L: Whole, M: Whole, double_bonds: bool = False) -> tuple[int, int]:
    """Returns the lengths of a torus; raises a ValueError where its bonds would count twice."""
    sides = []
    for name, value in (("L", L), ("M", M)):
        if scalars.is_number(value) and value == 2 and not double_bonds:
            raise ValueError(f"{name}=2 on a torus: its bonds would count twice; double_bonds=True asks for that")
        sides.append(whole(name, value, 2 if double_bonds else 3, advice="sites around a torus"))
    return sides[0], sides[1]


class Term(NamedTuple):
    """A product q R of a partition function. Attributes: log, first, second: ln R and its derivatives; factor: q, which
    may vanish or be negative, and its derivatives."""

    log: float
    first: float
    second: float
    factor: tuple[float, float, float] = (1.0, 0.0, 0.0)


def log_of_sum(terms: list[Term]) -> tuple[float, float, float]:
    """Returns the logarithm of the sum of terms and its two derivatives, the second about the mean of the first."""
    highest = max(term.log for term in terms)
    weights = [math.exp(term.log - highest) for term in terms]
    total = math.fsum(w * term.factor[0] for w, term in zip(weights, terms, strict=True))
    first = math.fsum(
        w * (term.factor[1] + term.factor[0] * term.first) for w, term in zip(weights, terms, strict=True)
    )
    first /= total
    second = math.fsum(
        w * (ddq + 2 * dq * (term.first - first) + q * ((term.first - first) ** 2 + term.second))
        for w, term in zip(weights, terms, strict=True)
        for q, dq, ddq in (term.factor,)
    )
    return highest + math.log(total), first, second / total


def hopfield_two_patterns(n: Whole, beta: Scalar) -> Exact:
    """Returns (ln_z, u, s, c_v) of the Hopfield model with two orthogonal patterns, one of them balanced.

    E = 1 - (a^2 + b^2)/n with a, b the overlaps on the sites where the patterns agree and differ, n/2 each.

    Args:
      n: number of spins, even, at least 2.
      beta: inverse temperature, at least 0.

    Raises:
      ValueError: an odd n, a bad beta.

    Example:
      >>> from havel.kernels import ising
      >>> round(float(ising.hopfield_two_patterns(4, beta=0.0).ln_z), 4)  # 4 ln 2
      2.7726
    """
    beta, _ = checked(beta)
    n = even("n", n)
    k = np.arange(n // 2 + 1)
    log_binomial = np.array([math.lgamma(n // 2 + 1) - math.lgamma(i + 1) - math.lgamma(n // 2 - i + 1) for i in k])
    square = (n / 2 - 2.0 * k) ** 2 / n
    lowest = 1 - 2 * float(square.max())
    square -= square.max()  # counted from the ground states
    exponents = log_binomial + beta * square
    highest = exponents.max()
    weights = np.exp(exponents - highest)
    total = weights.sum()
    mean = float(weights @ square / total)
    variance = float(weights @ np.square(square - mean) / total)
    return from_ground(lowest, 2 * (highest + math.log(total)), -2 * mean, 2 * variance, beta, n)


def even(name: str, value: Whole) -> int:
    """Returns an even number of spins as int; raises a ValueError for any other."""
    value = whole(name, value, 2)
    if value % 2:
        raise ValueError(f"{name}={value}: two orthogonal patterns need an even number of spins")
    return value
