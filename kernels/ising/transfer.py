"""Exact thermodynamics by transfer matrices, and the full law of the magnetisation, in NumPy float64.

A torus is the trace of a power of the (2^L)^2 matrix of two neighbouring rows; an open lattice grows spin by spin on a
vector of 2^L. Derivatives in beta are carried along: a jet is (value, first, second derivative).
"""

import math

import numpy as np

from ..array_types import Float64, Int64, Scalar, Whole
from .exact import STRONGEST, Exact, check_torus, checked, of_coupling, whole

WIDEST_TORUS = 10  # matrices of 1024 x 1024
WIDEST_OPEN = 14  # vectors of 16384
LATTICES = ("square", "triangular")


def transfer_torus(
    L: Whole, M: Whole, beta: Scalar, J: Scalar = 1.0, *, lattice: str = "square", double_bonds: bool = False
) -> Exact:
    """Returns the exact (ln_z, u, s, c_v) on a torus of M rows of L sites.

    Args:
      L: sites of a row, 3 to 10 (time and memory grow as 8^L and 4^L).
      M: rows, at least 3.
      beta: inverse temperature, at least 0.
      J: coupling, of either sign.
      lattice: "square" or "triangular".
      double_bonds: allows lengths of 2, whose bonds then count twice.

    Raises:
      ValueError: a torus that is too short or too wide, an unknown lattice, a bad beta or J.

    Example:
      >>> from havel.kernels import ising
      >>> abs(ising.transfer_torus(4, 4, beta=0.4).ln_z - ising.kaufman_torus(4, 4, beta=0.4).ln_z) < 1e-9
      True
    """
    check_torus(L, M, double_bonds)
    L, M, beta, J = _check(L, M, beta, J, lattice, WIDEST_TORUS)

    def logarithm(K):
        weights, bonds, highest = _row_weights(L, lattice, K)
        value, first, second, log_scale = _trace_of_power((weights, bonds * weights, bonds * bonds * weights), M)
        first, second = first / value, second / value
        return math.log(value) + log_scale + K * M * highest, first + M * highest, second - first * first

    return of_coupling(logarithm, beta, J, L * M)


def transfer_open(L: Whole, M: Whole, beta: Scalar, J: Scalar = 1.0, *, lattice: str = "square") -> Exact:
    """Returns the exact (ln_z, u, s, c_v) of an open lattice of M rows of L sites, each bond once.

    Args:
      L: sites of a row, 1 to 14 (the shorter side, for speed).
      M: rows, at least 1.
      beta, J, lattice: as of `transfer_torus`.

    Raises:
      ValueError: a row too wide, an unknown lattice, a bad beta or J.

    Example:
      >>> from havel.kernels import ising
      >>> round(ising.transfer_open(2, 1, beta=1.0).ln_z, 4)  # two spins: ln(2 e + 2 / e)
      1.8201
    """
    L, M, beta, J = _check(L, M, beta, J, lattice, WIDEST_OPEN)

    def logarithm(K):
        (value, first, second), log_scale, highest = _open_jet(L, M, K, lattice, (1.0, 1.0))
        first, second = first / value, second / value
        return math.log(value) + log_scale + K * highest, first + highest, second - first * first

    return of_coupling(logarithm, beta, J, L * M)


def magnetisation_law(
    L: Whole, M: Whole, beta: Scalar, J: Scalar = 1.0, *, lattice: str = "square", boundary: str = "torus"
) -> tuple[Int64[np.ndarray, " values"], Float64[np.ndarray, " values"]]:
    """Returns the values [N+1] that the magnetisation sum_i s_i takes, N down to -N, and their exact probabilities.

    Probabilities come from a Fourier transform over imaginary fields: their absolute error is about 1e-15.

    Args:
      L, M, beta, J, lattice: as of `transfer_torus` (L up to 10; L = 8 takes seconds) and `transfer_open`.
      boundary: "torus" or "open".

    Raises:
      ValueError: a lattice too wide or too short, an unknown name, a bad beta or J.

    Example:
      >>> from havel.kernels import ising
      >>> values, law = ising.magnetisation_law(3, 3, beta=0.0)
      >>> values.tolist(), round(float(law[0]) * 2**9, 3)
      ([9, 7, 5, 3, 1, -1, -3, -5, -7, -9], 1.0)
    """
    if boundary not in ("torus", "open"):
        raise ValueError(f"boundary={boundary!r}: expected torus or open")
    if boundary == "torus":
        check_torus(L, M)
    L, M, beta, J = _check(L, M, beta, J, lattice, WIDEST_TORUS if boundary == "torus" else WIDEST_OPEN)
    sites, K = L * M, max(-STRONGEST, min(beta * J, STRONGEST))
    if boundary == "torus":
        weights = _row_weights(L, lattice, K)[0]
        down = (1 - _rows(L)).sum(axis=1) // 2

    def transform(k: int) -> tuple[complex, float]:
        """Returns sum over states of weight times exp(-2 pi i k (spins that are -1)/(N+1)), with a log scale."""
        turn = np.exp(-2j * np.pi * k / (sites + 1))
        if boundary == "open":
            jet, log_scale, _ = _open_jet(L, M, K, lattice, (1.0, turn))
            return jet[0], log_scale
        value, _, _, log_scale = _trace_of_power(((weights * turn**down).astype(np.complex128), None, None), M)
        return value, log_scale

    half = [transform(k) for k in range((sites + 1) // 2 + 1)]
    reference = half[0][1]
    terms = np.array([value * math.exp(log_scale - reference) for value, log_scale in half])
    spectrum = np.concatenate([terms, np.conj(terms[1 : sites + 1 - (sites + 1) // 2][::-1])])
    law = np.fft.ifft(spectrum / spectrum[0].real).real
    law = np.maximum((law + law[::-1]) / 2, 0)  # no field: both signs are alike
    return sites - 2 * np.arange(sites + 1), law / law.sum()


def _check(L: Whole, M: Whole, beta: Scalar, J: Scalar, lattice: str, widest: int) -> tuple[int, int, float, float]:
    """Returns (L, M, beta, J), whole and in double; raises ValueError for what does not fit."""
    if lattice not in LATTICES:
        raise ValueError(f"lattice={lattice!r}: expected one of {', '.join(LATTICES)}")
    L = whole("L", L, 1, widest, "sites of a row for a transfer matrix; let L be the shorter side")
    return L, whole("M", M, 1, advice="row"), *checked(beta, J)


def _rows(L: int) -> np.ndarray:
    """Returns all states of a row: int64 [2^L, L]."""
    return 1 - 2 * ((np.arange(1 << L)[:, None] >> np.arange(L - 1, -1, -1)) & 1)


def _row_bonds(L: int, lattice: str) -> np.ndarray:
    """Returns sum of s s' over bonds between a row and the next, and half of those inside both: [2^L, 2^L]."""
    rows = _rows(L).astype(np.float64)
    inside = (rows * np.roll(rows, -1, axis=1)).sum(axis=1)
    between = rows @ rows.T
    if lattice == "triangular":
        between += rows @ np.roll(rows, -1, axis=1).T
    return between + (inside[:, None] + inside[None, :]) / 2


def _row_weights(L: int, lattice: str, K: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns exp(K (b - b_0)), b - b_0 and b_0 of `_row_bonds` b: relative to the most likely pair of rows, so that
    neither weights overflow nor derivatives cancel where few states are left."""
    bonds = _row_bonds(L, lattice)
    highest = float(bonds.max() if K > 0 else bonds.min())
    return np.exp(K * (bonds - highest)), bonds - highest, highest


def _trace_of_power(jet: tuple, power: int) -> tuple:
    """Returns tr A^power as (value, first, second derivative, ln of the scale taken out); None stays None."""
    result: tuple = ()
    scale = 0.0
    base, base_scale = jet, 0.0
    while True:
        if power & 1:
            result, scale = _times(result, base, scale + base_scale) if result else (base, base_scale)
        power >>= 1
        if not power:
            break
        base, base_scale = _times(base, base, 2 * base_scale)
    traces = [None if part is None else np.trace(part) for part in result]
    return *traces, scale


def _times(a: tuple, b: tuple, scale: float) -> tuple[tuple, float]:
    """Returns the product of two jets of matrices, divided by its largest entry, and the ln of what was taken out."""
    value = a[0] @ b[0]
    largest = float(np.abs(value).max()) or 1.0
    parts = [value / largest]
    if a[1] is None:
        return (*parts, None, None), scale + math.log(largest)
    parts.append((a[1] @ b[0] + a[0] @ b[1]) / largest)
    parts.append((a[2] @ b[0] + 2 * (a[1] @ b[1]) + a[0] @ b[2]) / largest)
    return tuple(parts), scale + math.log(largest)


def _open_jet(
    L: int, M: int, K: float, lattice: str, factors: tuple[complex, complex]
) -> tuple[np.ndarray, float, float]:
    """Returns (sum of weights and its derivatives in K [3], ln of the scale taken out, bonds taken out) of an open
    lattice: of exp(K (b - b_0)), where b sums s s' over bonds and b_0 would satisfy all of them.

    The vector's axes are the last L spins, axis j that of column j; on a triangular lattice one more axis keeps the
    spin diagonally above. `factors` are the weights of a spin that is up and of one that is down.
    """
    spin = np.array([1.0, -1.0])
    weight = np.array(factors)
    diagonal = lattice == "triangular"
    # Axes: derivative, corner (the spin at (i-1, j-1) when (i, j) is added; length 1 where none), columns.
    jet = np.zeros((3, *(1,) * (L + 1)), weight.dtype)
    jet[0] = 1
    log_scale = offset = 0.0
    for row in range(M):
        for column in range(L):
            # New axis for the new spin at the end; bonds to the spins around it.
            shape = [1] * (L + 2)

            def along(axis, shape=shape):
                return spin.reshape([2 if place == axis else one for place, one in enumerate(shape)])

            bonds = np.zeros(shape)
            if row > 0:
                bonds = bonds + along(1 + column) * along(L + 1)
                if diagonal and column > 0:
                    bonds = bonds + along(0) * along(L + 1)
            if column > 0:
                bonds = bonds + along(column) * along(L + 1)
            highest = math.copysign(float(bonds.max()), K)
            bonds, offset = bonds - highest, offset + highest
            local = np.exp(K * bonds) * weight
            jet = jet[..., None]
            jet = np.stack([
                jet[0] * local,
                (jet[1] + bonds * jet[0]) * local,
                (jet[2] + 2 * bonds * jet[1] + bonds * bonds * jet[0]) * local,
            ])  # fmt: skip
            jet = jet.sum(axis=1)  # the old corner is done with; axes now: columns, new spin
            old = 1 + column
            if diagonal:
                # The spin above becomes the corner of the next column, or is done with at the end of the row.
                jet = np.moveaxis(jet, [old, L + 1], [1, 1 + old]) if L > 0 else jet
                if column == L - 1:
                    jet = jet.sum(axis=1, keepdims=True)
            else:
                jet = np.moveaxis(jet, L + 1, 1 + old).sum(axis=old)[:, None]
            largest = float(np.abs(jet[0]).max()) or 1.0  # imaginary fields may cancel to exactly 0
            jet, log_scale = jet / largest, log_scale + math.log(largest)
    return jet.reshape(3, -1).sum(axis=1), log_scale, offset
