"""From flags to a system: its energy, the symmetry it has, and its exact solution where there is one."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common import weight_files
from kernels import ising
from kernels.ising import energies, transfer
from projects.van.config import TrainConfig

MOST_ENUMERATED = 20  # spins: a second
TRIED = 7  # random states that an energy of a user's own is tried on
LARGEST_LAW = 8  # sites a side, of the exact law of the magnetisation: a second


@dataclasses.dataclass(frozen=True)
class System:
    """What is to be solved.

    Attributes:
      title: for plots.
      energy: JAX spins [n, rows, columns] to energies [n].
      symmetric: whether turning all spins over leaves the energy.
      exact: beta to (ln_z, u, s, c_v), None where nothing is known.
      abs_m: beta to the exact <|sum of spins|>, None where that takes long.
      unfold: spins as the network has them to spins as they lie on the lattice.
      bonds: of the couplings, for cluster Monte Carlo; None where there are fields or a user's energy.
    """

    title: str
    energy: Callable[[jax.Array], jax.Array]
    symmetric: bool
    exact: Callable[[float], ising.Exact | None]
    abs_m: Callable[[float], float | None] = lambda beta: None
    bonds: Any = None
    unfold: Callable[[Any], Any] = lambda spins: spins


def create(settings: TrainConfig) -> System:
    """Returns the system of the flags.

    Raises:
      ValueError: a lattice that is too short, couplings or an energy that do not fit, z2 where a field breaks it.
    """
    rows, columns = settings.rows, settings.columns or settings.rows
    if settings.fold and (settings.system not in energies.LATTICES or settings.boundary != "torus"):
        raise ValueError("--fold is for a torus: square or triangular, --boundary=torus")
    if settings.system in energies.LATTICES:
        system = lattice(settings.system, rows, columns, settings.coupling, settings.boundary)
        return fold(system, rows, columns) if settings.fold else system
    n = rows * columns
    if settings.system == "hopfield":
        system = hopfield(n, settings.system_seed)
    elif settings.system == "sk":
        system = pairwise(energies.sk_couplings(n, settings.system_seed), None, f"SK, n = {n}")
    elif settings.system.endswith(".npz"):
        system = from_file(settings.system, n)
    else:
        system = from_function(settings.system, rows, columns)
    check_symmetry(settings, system)
    return system


def check_symmetry(settings: TrainConfig, system: System) -> None:
    """Raises a ValueError where z2 is asked for and the energy tells up from down."""
    if settings.z2 and not system.symmetric:
        raise ValueError(f"{system.title} has fields, which tell up from down: give --noz2 (z2=False)")


def lattice(kind: str, rows: int, columns: int, coupling: float, boundary: str) -> System:
    """Returns a square or triangular lattice."""
    bonds = energies.lattice_bonds(rows, columns, coupling, lattice=kind, boundary=boundary)
    name = "ferromagnet" if coupling > 0 else "antiferromagnet" if coupling < 0 else "lattice of free spins"
    return System(
        f"{kind} {name}, {rows} x {columns}",
        lambda spins: energies.lattice_energy(spins, coupling, lattice=kind, boundary=boundary),
        True,
        lambda beta: exact_lattice(kind, rows, columns, coupling, boundary, beta),
        lambda beta: exact_magnetisation(kind, rows, columns, coupling, boundary, beta),
        bonds,
    )


def folded(length: int) -> np.ndarray:
    """Returns the place of each row of a torus in the order 0, L-1, 1, L-2, ...: int [length]."""
    places = np.arange(length)
    return np.where(places < (length + 1) // 2, 2 * places, 2 * (length - 1 - places) + 1)


def fold(system: System, rows: int, columns: int) -> System:
    """Returns the same system with its sites numbered in folded order, along both directions."""
    down, right = folded(rows), folded(columns)
    place = (down[:, None] * columns + right[None, :]).reshape(-1).astype(np.int32)

    def unfold(spins):
        return spins[:, down][:, :, right]

    bonds = system.bonds._replace(first=place[system.bonds.first], second=place[system.bonds.second])
    return dataclasses.replace(system, energy=lambda spins: system.energy(unfold(spins)), bonds=bonds, unfold=unfold)


def exact_lattice(kind: str, rows: int, columns: int, coupling: float, boundary: str, beta: float):
    """Returns the exact solution of a lattice, or None where it would take too long."""
    short, long = sorted((rows, columns))
    if boundary == "torus" and kind == "triangular":
        return ising.triangular_torus(rows, columns, beta, coupling)
    if boundary == "torus" and (coupling >= 0 or (rows % 2 == 0 and columns % 2 == 0)):
        return ising.kaufman_torus(rows, columns, beta, coupling)
    if boundary == "torus":
        return ising.transfer_torus(short, long, beta, coupling) if short <= transfer.WIDEST_TORUS else None
    if short > transfer.WIDEST_OPEN:
        return None
    return ising.transfer_open(short, long, beta, coupling, lattice=kind)


def exact_magnetisation(kind: str, rows: int, columns: int, coupling: float, boundary: str, beta: float):
    """Returns the exact <|sum of spins|> of a small lattice, None of others."""
    short, long = sorted((rows, columns))
    if long > LARGEST_LAW:
        return None
    values, law = ising.magnetisation_law(short, long, beta, coupling, lattice=kind, boundary=boundary)
    return float(np.abs(values) @ law)


def hopfield(n: int, seed: int) -> System:
    """Returns two orthogonal patterns on n spins."""
    couplings = energies.hopfield_couplings(energies.orthogonal_patterns(n, seed))
    system = pairwise(couplings, None, f"Hopfield, n = {n}, two patterns")
    return dataclasses.replace(system, exact=lambda beta: ising.hopfield_two_patterns(n, beta))


def pairwise(J: np.ndarray, h: np.ndarray | None, title: str) -> System:
    """Returns the system of couplings J [n, n] and fields h [n] or None."""
    energies.check_couplings(J, h)
    n = len(J)
    symmetric = h is None or not np.any(h)

    def solved(beta: float):
        if n > MOST_ENUMERATED:
            return None
        return ising.brute_force(lambda spins: energies.pairwise(spins, J, h), n, beta, z2=symmetric)

    first, second = np.nonzero(np.triu(J))
    bonds = energies.Bonds(first.astype(np.int32), second.astype(np.int32), J[first, second]) if symmetric else None
    single = np.asarray(J, np.float32), None if symmetric else np.asarray(h, np.float32)
    return System(
        title, lambda spins: energies.pairwise(spins.reshape(len(spins), n), *single), symmetric, solved, bonds=bonds
    )  # fmt: skip


def from_file(path: str, n: int) -> System:
    """Returns the system of an .npz file with J [n, n] and perhaps h [n].

    Raises:
      ValueError: no such file, no J in it, or other sizes than the network's.
    """
    try:
        arrays = weight_files.load_npz(path)
    except FileNotFoundError:
        raise ValueError(f"--system={path}: there is no such file") from None
    if "J" not in arrays or set(arrays) - {"J", "h"}:
        raise ValueError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected J [n, n] and perhaps h [n]")
    energies.check_couplings(arrays["J"], arrays.get("h"))
    spins = len(arrays["J"])
    if spins != n:
        raise ValueError(f"{path} has couplings of {spins} spins, the network {n}: give --rows=1 --columns={spins}")
    return pairwise(arrays["J"].astype(np.float64), arrays.get("h"), path)


def from_function(name: str, rows: int, columns: int) -> System:
    """Returns the system of a user's energy, "module:function", spins [n, rows, columns] to [n].

    Raises:
      ValueError: it cannot be imported, or gives no energies.
    """
    module, _, function = name.partition(":")
    try:
        energy = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"--system={name}: expected MODULE:FUNCTION that can be imported from here ({error})"
        ) from None
    return of_energy(energy, rows, columns, name)


def of_energy(energy: Callable, rows: int, columns: int, title: str = "user's energy") -> System:
    """Returns the system of any function of JAX, spins [n, rows, columns] to energies [n].

    A few random states tell whether it gives finite energies, and whether they change when all spins turn over.

    Raises:
      ValueError: it is no function, or does not give one finite number a state.
    """
    if not callable(energy):
        raise ValueError(f"energy={energy!r} ({title}): expected a function of spins [n, {rows}, {columns}]")

    def of_spins(spins):
        return energy(jnp.asarray(spins, jnp.result_type(float)))

    spins = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (TRIED, rows, columns))
    found, mirrored = (np.asarray(of_spins(each)) for each in (spins, -spins))
    if found.shape != (TRIED,) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise ValueError(
            f"energy ({title}) of {TRIED} states is {found.dtype} of shape {list(found.shape)}"
            f"{' and not finite' if found.dtype.kind == 'f' else ''}: expected [{TRIED}], one finite number a state"
        )
    symmetric = np.allclose(found, mirrored, rtol=1e-5, atol=1e-5 * np.abs(found).max())
    return System(title, of_spins, symmetric, lambda beta: None)
