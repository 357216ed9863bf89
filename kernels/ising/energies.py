"""Energies of Ising systems, and their couplings: lattices, Hopfield, Sherrington-Kirkpatrick, any (J, h).

Every energy takes NumPy arrays (float64 out) or JAX arrays (float32 out, float64 in 64-bit mode; inside jit, vmap and
grad too). Spins are +1 and -1, of any dtype; each bond counts once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LATTICES = ("square", "triangular")
BOUNDARIES = ("torus", "open")


def lattice_energy(spins, J: float = 1.0, *, lattice: str = "square", boundary: str = "torus"):
    """Returns E = -J sum of s s' over neighbours, [...] of spins [..., rows, columns].

    Args:
      spins: +1 and -1, [..., rows, columns].
      J: coupling, positive for a ferromagnet.
      lattice: "square", or "triangular" with the bonds (i, j) - (i+1, j+1) as well.
      boundary: "torus" or "open".

    Raises:
      ValueError: an unknown name, spins of one axis, or a torus shorter than 3, whose bonds would count twice.
    """
    if np.ndim(spins) < 2:
        raise ValueError(f"spins of shape {list(np.shape(spins))}: expected [..., rows, columns]")
    rows, columns = np.shape(spins)[-2:]
    _check_lattice(rows, columns, lattice, boundary)
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


def square(spins, J: float = 1.0, *, boundary: str = "torus"):
    """Returns the energy on the square lattice; see `lattice_energy`."""
    return lattice_energy(spins, J, boundary=boundary)


def triangular(spins, J: float = 1.0, *, boundary: str = "torus"):
    """Returns the energy on the triangular lattice; see `lattice_energy`."""
    return lattice_energy(spins, J, lattice="triangular", boundary=boundary)


def pairwise(spins, J, h=None):
    """Returns E = -1/2 s^T J s - h . s, [...] of spins [..., n].

    Args:
      spins: +1 and -1, [..., n].
      J: symmetric couplings [n, n] with a diagonal of 0.
      h: fields [n]; None for none.

    Raises:
      ValueError: a J that is not symmetric or has a diagonal, or fields of another length.
    """
    check_couplings(J, h, np.shape(spins)[-1])
    xp, s = _numbers(spins, None)
    energy = -0.5 * ((s @ xp.asarray(J, s.dtype)) * s).sum(-1)
    return energy if h is None else energy - s @ xp.asarray(h, s.dtype)


def check_spins(spins) -> None:
    """Raises a ValueError unless all spins are +1 or -1; traced values pass."""
    if not isinstance(spins, jax.core.Tracer):
        values = np.asarray(spins)
        if (wrong := values[np.abs(values) != 1]).size:
            raise ValueError(f"spins hold {wrong.flat[0]}: every spin must be +1 or -1")


def check_couplings(J, h=None, n: int | None = None) -> None:
    """Raises a ValueError unless J [n, n] is symmetric with a diagonal of 0, and h [n]; traced values pass."""
    shape = np.shape(J)
    if len(shape) != 2 or shape[0] != shape[1] or (n is not None and shape[0] != n):
        raise ValueError(f"J of shape {list(shape)}: expected [{n or 'n'}, {n or 'n'}], a row for each spin")
    if not isinstance(J, jax.core.Tracer):
        values = np.asarray(J, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("J holds values that are not finite: give numbers")
        scale = np.abs(values).max(initial=0)
        if np.abs(values - values.T).max(initial=0) > 1e-6 * scale:
            i, j = np.unravel_index(np.argmax(np.abs(values - values.T)), shape)
            raise ValueError(
                f"J is not symmetric: J[{i},{j}]={values[i, j]}, J[{j},{i}]={values[j, i]}; use (J + J.T)/2"
            )
        if np.diagonal(values).any():
            raise ValueError(f"J has a diagonal ({np.diagonal(values)[np.diagonal(values) != 0][0]}): set it to 0")
    if h is not None:
        if np.shape(h) != (shape[0],):
            raise ValueError(f"h of shape {list(np.shape(h))}: expected [{shape[0]}], a field for each spin")
        if not isinstance(h, jax.core.Tracer) and not np.isfinite(np.asarray(h, np.float64)).all():
            raise ValueError("h holds values that are not finite: give numbers")


class Bonds(NamedTuple):
    """A graph of couplings. Attributes: first, second: sites of each bond, int32 [bonds]; strength: J of it [bonds]."""

    first: np.ndarray
    second: np.ndarray
    strength: np.ndarray


def lattice_bonds(rows: int, columns: int, J: float = 1.0, *, lattice="square", boundary="torus") -> Bonds:
    """Returns every bond of a lattice once; sites are numbered row by row."""
    _check_lattice(rows, columns, lattice, boundary)
    numbers = np.arange(rows * columns).reshape(rows, columns)
    pairs = []
    for down, right in ((0, 1), (1, 0), (1, 1))[: 3 if lattice == "triangular" else 2]:
        if boundary == "torus":
            pairs.append((numbers, np.roll(numbers, (-down, -right), (0, 1))))
        else:
            pairs.append((numbers[: rows - down, : columns - right], numbers[down:, right:]))
    first, second = (np.concatenate([pair[k].reshape(-1) for pair in pairs]).astype(np.int32) for k in (0, 1))
    return Bonds(first, second, np.full(len(first), float(J)))


def lattice_couplings(rows: int, columns: int, J: float = 1.0, *, lattice="square", boundary="torus") -> np.ndarray:
    """Returns the symmetric couplings [n, n] for which `pairwise` is the energy of the lattice."""
    bonds = lattice_bonds(rows, columns, J, lattice=lattice, boundary=boundary)
    couplings = np.zeros((rows * columns,) * 2)
    np.add.at(couplings, (bonds.first, bonds.second), bonds.strength)
    return couplings + couplings.T


def orthogonal_patterns(n: int, seed: int = 0) -> np.ndarray:
    """Returns two patterns [2, n] of +1 and -1 with overlap 0, the first one balanced; n even.

    Raises:
      ValueError: an odd n.
    """
    if n != int(n) or n < 2 or n % 2:
        raise ValueError(f"n={n!r}: two orthogonal patterns need an even number of at least 2 spins")
    first = np.repeat([1, -1], n // 2)
    second = first * np.resize([1, -1], n)  # agree and differ in turn, n/2 times each
    return np.stack([first, second])[:, np.random.default_rng(seed).permutation(n)]


def hopfield_couplings(patterns) -> np.ndarray:
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


def sk_couplings(n: int, seed: int = 0) -> np.ndarray:
    """Returns Sherrington-Kirkpatrick couplings [n, n]: J_ij ~ N(0, 1/n) for i < j, symmetric, diagonal 0.

    Raises:
      ValueError: n below 2.
    """
    if n != int(n) or n < 2:
        raise ValueError(f"n={n!r}: expected at least 2 spins")
    upper = np.triu(np.random.default_rng(seed).normal(0, 1 / np.sqrt(n), (n, n)), 1)
    return upper + upper.T


def hopfield(spins, patterns):
    """Returns the energy of the Hopfield model with patterns [P, n], [...] of spins [..., n]."""
    return pairwise(spins, hopfield_couplings(patterns))


def sk(spins, seed: int = 0):
    """Returns the energy of the Sherrington-Kirkpatrick model of a seed, [...] of spins [..., n]."""
    return pairwise(spins, sk_couplings(np.shape(spins)[-1], seed))


def _check_lattice(rows: int, columns: int, lattice: str, boundary: str) -> None:
    for name, value, known in (("lattice", lattice, LATTICES), ("boundary", boundary, BOUNDARIES)):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
    if boundary == "torus" and min(rows, columns) < 3:
        raise ValueError(f"a torus of {rows} x {columns} counts bonds twice: take at least 3 x 3, or boundary='open'")


def _numbers(spins, dtype):
    """Returns (numpy or jax.numpy, spins in the dtype; None: its real numbers)."""
    check_spins(spins)
    xp = jnp if isinstance(spins, jax.Array) else np
    return xp, xp.asarray(spins).astype(dtype or _real(xp))


def _real(xp):
    return np.float64 if xp is np else jnp.result_type(float)
