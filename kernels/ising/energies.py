"""Energies of Ising systems, and their couplings: lattices, Hopfield, Sherrington-Kirkpatrick, any (J, h).

Every energy takes NumPy arrays (float64 out) or JAX arrays (float32 out, float64 in 64-bit mode; inside jit, vmap and
grad too). Spins are +1 and -1, of any dtype; each bond counts once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Float, Float64, Int, Int32, Real, Scalar, Whole
from ..scalars import is_real
from .exact import check_coupling, even, whole

__all__ = [
    "BOUNDARIES",
    "LATTICES",
    "Bonds",
    "hopfield",
    "hopfield_couplings",
    "lattice_bonds",
    "lattice_couplings",
    "lattice_energy",
    "orthogonal_patterns",
    "pairwise",
    "sk",
    "sk_couplings",
    "square",
    "triangular",
]

LATTICES = ("square", "triangular")
BOUNDARIES = ("torus", "open")

Energy = Float[AnyArray, "*states"] | np.floating  # of a single state in NumPy it is a number


def lattice_energy(
    spins: Real[AnyArray, "*states rows columns"] | Sequence,
    J: Scalar = 1.0,
    *,
    lattice: str = "square",
    boundary: str = "torus",
    double_bonds: bool = False,
) -> Energy:
    """Returns E = -J sum of s s' over neighbours, [...] of spins [..., rows, columns].

    Args:
      spins: +1 and -1, [..., rows, columns].
      J: coupling, positive for a ferromagnet.
      lattice: "square", or "triangular" with the bonds (i, j) - (i+1, j+1) as well.
      boundary: "torus" or "open".
      double_bonds: allows a torus of length 2, where each bond around it counts twice.

    Raises:
      ValueError: an unknown name, spins of one axis, or a torus shorter than 3, whose bonds would count twice; a J that
        is not finite.
    """
    if np.ndim(spins) < 2:
        raise ValueError(f"spins of shape {list(np.shape(spins))}: expected [..., rows, columns]")
    rows, columns = np.shape(spins)[-2:]
    _check_lattice(rows, columns, lattice, boundary, double_bonds)
    check_coupling(J)
    xp, s = _numbers(spins, np.int32)  # bonds are counted in integers: exact
    if boundary == "torus":
        neighbours = xp.roll(s, -1, -1) + xp.roll(s, -1, -2)
        if lattice == "triangular":
            neighbours = neighbours + xp.roll(s, (-1, -1), (-2, -1))
        total = (s * neighbours).sum((-2, -1))
    else:
        total = (s[..., 1:, :] * s[..., :-1, :]).sum((-2, -1)) + (s[..., 1:] * s[..., :-1]).sum((-2, -1))
        if lattice == "triangular":
            total = total + (s[..., 1:, 1:] * s[..., :-1, :-1]).sum((-2, -1))
    return -J * total.astype(_real(xp))


def square(
    spins: Real[AnyArray, "*states rows columns"] | Sequence, J: Scalar = 1.0, *, boundary: str = "torus"
) -> Energy:
    """Returns the energy on the square lattice; see `lattice_energy`."""
    return lattice_energy(spins, J, boundary=boundary)


def triangular(
    spins: Real[AnyArray, "*states rows columns"] | Sequence, J: Scalar = 1.0, *, boundary: str = "torus"
) -> Energy:
    """Returns the energy on the triangular lattice; see `lattice_energy`."""
    return lattice_energy(spins, J, lattice="triangular", boundary=boundary)


def pairwise(
    spins: Real[AnyArray, "*states n"] | Sequence,
    J: Real[AnyArray, "n n"] | Sequence,
    h: Real[AnyArray, " n"] | Sequence | None = None,
) -> Energy:
    """Returns E = -1/2 s^T J s - h . s, [...] of spins [..., n].

    Args:
      spins: +1 and -1, [..., n].
      J: symmetric couplings [n, n] with a diagonal of 0.
      h: fields [n]; None for none.

    Raises:
      ValueError: a J that is not symmetric or has a diagonal, or fields of another length.
    """
    if not np.ndim(spins):
        raise ValueError("spins of shape []: expected [..., n]")
    check_couplings(J, h, np.shape(spins)[-1])
    xp, s = _numbers(spins, None, J, h)
    energy = -0.5 * ((s @ xp.asarray(J, s.dtype)) * s).sum(-1)
    return energy if h is None else energy - s @ xp.asarray(h, s.dtype)


def check_spins(spins: Any) -> None:
    """Raises a ValueError unless all spins are +1 or -1; traced values pass."""
    if not isinstance(spins, jax.core.Tracer):
        values = np.asarray(spins)
        if not is_real(values.dtype):
            raise ValueError(f"spins of dtype {values.dtype}: every spin must be the number +1 or -1")
        if (wrong := values[np.abs(values) != 1]).size:
            raise ValueError(f"spins hold {wrong.flat[0]}: every spin must be +1 or -1")


def check_couplings(J: Any, h: Any = None, n: int | None = None) -> None:
    """Raises a ValueError unless J [n, n] is symmetric with a diagonal of 0, and h [n]; traced values pass."""
    shape = np.shape(J)
    if len(shape) != 2 or shape[0] != shape[1] or (n is not None and shape[0] != n):
        raise ValueError(f"J of shape {list(shape)}: expected [{n or 'n'}, {n or 'n'}], a row for each spin")
    if not isinstance(J, jax.core.Tracer):
        values = _real_values("J", J)
        if not np.isfinite(values).all():
            raise ValueError("J holds values that are not finite: give numbers")
        scale = np.abs(values).max(initial=0)
        if np.abs(values - values.T).max(initial=0) > 1e-6 * scale:
            i, j = np.unravel_index(np.argmax(np.abs(values - values.T)), shape)
            raise ValueError(
                f"J is not symmetric: J[{i},{j}]={values[i, j]}, J[{j},{i}]={values[j, i]}; each pair stands in "
                "it twice, E = -1/2 s J s: give J + J.T where each stood in it once, (J + J.T)/2 against rounding"
            )
        if np.diagonal(values).any():
            raise ValueError(f"J has a diagonal ({np.diagonal(values)[np.diagonal(values) != 0][0]}): set it to 0")
    if h is not None:
        if np.shape(h) != (shape[0],):
            raise ValueError(f"h of shape {list(np.shape(h))}: expected [{shape[0]}], a field for each spin")
        if not isinstance(h, jax.core.Tracer) and not np.isfinite(_real_values("h", h)).all():
            raise ValueError("h holds values that are not finite: give numbers")


def _real_values(name: str, values) -> np.ndarray:
    values = np.asarray(values)
    if not is_real(values.dtype):
        raise ValueError(f"{name} of dtype {values.dtype}: expected real numbers")
    return values.astype(np.float64)


class Bonds(NamedTuple):
    """A graph of couplings. Attributes: first, second: sites of each bond, int32 [bonds]; strength: J of it [bonds]."""

    first: Int32[np.ndarray, " bonds"]
    second: Int32[np.ndarray, " bonds"]
    strength: Real[AnyArray, " bonds"]


def check_bonds(bonds: Bonds, n: int) -> None:
    """Raises a ValueError unless bonds join two of n sites each, with finite strengths; traced strengths pass."""
    first, second = np.asarray(bonds.first), np.asarray(bonds.second)
    if not first.shape == second.shape == np.shape(bonds.strength) or first.ndim != 1:
        shapes = ", ".join(str(list(np.shape(part))) for part in bonds)
        raise ValueError(f"bonds of shapes {shapes}: expected first, second and strength [bonds] each")
    wrong = (np.minimum(first, second) < 0) | (np.maximum(first, second) >= n) | (first == second)
    if wrong.any():
        k = np.argmax(wrong)
        raise ValueError(f"bond {k} joins sites {first[k]} and {second[k]}: expected two of 0 to {n - 1}")
    if not isinstance(bonds.strength, jax.core.Tracer) and not np.isfinite(_real_values("J", bonds.strength)).all():
        raise ValueError("J of bonds holds values that are not finite: give numbers")


def lattice_bonds(
    rows: Whole,
    columns: Whole,
    J: Scalar = 1.0,
    *,
    lattice: str = "square",
    boundary: str = "torus",
    double_bonds: bool = False,
) -> Bonds:
    """Returns every bond of a lattice once (as `lattice_energy` counts them); sites are numbered row by row.

    Raises:
      ValueError: an unknown name, a torus shorter than 3, a J that is not finite.
    """
    rows, columns = whole("rows", rows, 1), whole("columns", columns, 1)
    check_coupling(J)
    _check_lattice(rows, columns, lattice, boundary, double_bonds)
    numbers = np.arange(rows * columns).reshape(rows, columns)
    pairs = []
    for down, right in ((0, 1), (1, 0), (1, 1))[: 3 if lattice == "triangular" else 2]:
        if boundary == "torus":
            pairs.append((numbers, np.roll(numbers, (-down, -right), (0, 1))))
        else:
            pairs.append((numbers[: rows - down, : columns - right], numbers[down:, right:]))
    first, second = (np.concatenate([pair[k].reshape(-1) for pair in pairs]).astype(np.int32) for k in (0, 1))
    return Bonds(first, second, np.full(len(first), float(J)))


def lattice_couplings(
    rows: int, columns: int, J: Scalar = 1.0, *, lattice: str = "square", boundary: str = "torus"
) -> Float64[np.ndarray, "n n"]:
    """Returns the symmetric couplings [n, n] for which `pairwise` is the energy; see `lattice_bonds`."""
    bonds = lattice_bonds(rows, columns, J, lattice=lattice, boundary=boundary)
    couplings = np.zeros((rows * columns,) * 2)
    np.add.at(couplings, (bonds.first, bonds.second), bonds.strength)
    return couplings + couplings.T


def orthogonal_patterns(n: Whole, seed: Whole = 0) -> Int[np.ndarray, "2 n"]:
    """Returns two patterns [2, n] of +1 and -1 with overlap 0, the first one balanced; n even.

    Raises:
      ValueError: an odd n, a negative seed.
    """
    n, seed = even("n", n), whole("seed", seed, 0)
    first = np.repeat([1, -1], n // 2)
    second = first * np.resize([1, -1], n)  # agree and differ in turn, n/2 times each
    return np.stack([first, second])[:, np.random.default_rng(seed).permutation(n)]


def hopfield_couplings(patterns: Real[AnyArray, "patterns n"] | Sequence) -> Float64[np.ndarray, "n n"]:
    """Returns J = (1/n) sum_mu xi_mu xi_mu^T without its diagonal, [n, n], of patterns [P, n] of +1 and -1.

    Raises:
      ValueError: patterns of another shape or of other values.
    """
    patterns = np.asarray(patterns)
    if patterns.ndim != 2 or not patterns.size or not (np.abs(patterns) == 1).all():
        raise ValueError(f"patterns of shape {list(patterns.shape)}: expected [P, n] of +1 and -1")
    couplings = patterns.T.astype(np.float64) @ patterns / patterns.shape[1]
    np.fill_diagonal(couplings, 0)
    return couplings


def sk_couplings(n: Whole, seed: Whole = 0) -> Float64[np.ndarray, "n n"]:
    """Returns Sherrington-Kirkpatrick couplings [n, n]: J_ij ~ N(0, 1/n) for i < j, symmetric, diagonal 0.

    Raises:
      ValueError: n below 2, a negative seed.
    """
    n, seed = whole("n", n, 2, advice="spins"), whole("seed", seed, 0)
    upper = np.triu(np.random.default_rng(seed).normal(0, 1 / np.sqrt(n), (n, n)), 1)
    return upper + upper.T


def hopfield(
    spins: Real[AnyArray, "*states n"] | Sequence, patterns: Real[AnyArray, "patterns n"] | Sequence
) -> Energy:
    """Returns the energy of the Hopfield model with patterns [P, n], [...] of spins [..., n]."""
    return pairwise(spins, hopfield_couplings(patterns))


def sk(spins: Real[AnyArray, "*states n"] | Sequence, seed: Whole = 0) -> Energy:
    """Returns the energy of the Sherrington-Kirkpatrick model of a seed, [...] of spins [..., n]."""
    return pairwise(spins, sk_couplings(np.shape(spins)[-1], seed))


def _check_lattice(rows: int, columns: int, lattice: str, boundary: str, double_bonds: bool) -> None:
    for name, value, known in (("lattice", lattice, LATTICES), ("boundary", boundary, BOUNDARIES)):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
    if boundary == "torus" and min(rows, columns) < (2 if double_bonds else 3):
        raise ValueError(
            f"rows={rows}, columns={columns}: a torus of {rows} x {columns} counts bonds twice; "
            "take at least 3 x 3, boundary='open', or (for 2) double_bonds=True"
        )


def _numbers(spins, dtype, *others):
    """Returns (numpy or jax.numpy, spins in the dtype; None: its real numbers); JAX where anything else is traced."""
    check_spins(spins)
    traced = any(isinstance(other, jax.core.Tracer) for other in others)
    xp = jnp if traced or isinstance(spins, jax.Array) else np
    return xp, xp.asarray(spins).astype(dtype or _real(xp))


def _real(xp):
    return np.float64 if xp is np else jnp.result_type(float)
