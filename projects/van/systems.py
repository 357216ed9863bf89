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
TRIED = 8  # states that an energy of a user's own is tried on
MANY = 4096  # random states that it is looked at where a training has failed
MOST_ENUMERATED_FUNCTION = 16  # spins, of a function of one's own: 65,536 states
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
        check_length(settings, rows, columns)
        system = lattice(
            settings.system, rows, columns, settings.coupling, settings.boundary, double_bonds=settings.double_bonds
        )
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


def check_length(settings: TrainConfig, rows: int, columns: int) -> None:
    """Raises a ValueError for a torus so short that its bonds would count twice, unless that is asked for."""
    shortest = min(rows, columns)
    if settings.boundary != "torus" or shortest >= (2 if settings.double_bonds else 3):
        return
    remedy = "--boundary=open, or --double_bonds to count them so" if shortest == 2 else "--boundary=open"
    raise ValueError(
        f"--rows={rows} --columns={columns}: a torus of {rows} x {columns} counts bonds twice; take at least 3 x 3, "
        f"or give {remedy}"
    )


def check_symmetry(settings: TrainConfig, system: System) -> None:
    """Raises a ValueError where z2 is asked for and the energy tells up from down."""
    if settings.z2 and not system.symmetric:
        raise ValueError(
            f"{system.title} changes when all spins turn over, as fields and constraints do that tell up from down: "
            "give --noz2 (z2=False)"
        )


def lattice(
    kind: str, rows: int, columns: int, coupling: float, boundary: str, *, double_bonds: bool = False
) -> System:
    """Returns a square or triangular lattice."""
    doubled = {"double_bonds": double_bonds and boundary == "torus" and min(rows, columns) == 2}
    bonds = energies.lattice_bonds(rows, columns, coupling, lattice=kind, boundary=boundary, **doubled)
    name = "ferromagnet" if coupling > 0 else "antiferromagnet" if coupling < 0 else "lattice of free spins"
    return System(
        f"{kind} {name}, {rows} x {columns}",
        lambda spins: energies.lattice_energy(spins, coupling, lattice=kind, boundary=boundary, **doubled),
        True,
        lambda beta: exact_lattice(kind, rows, columns, coupling, boundary, beta, **doubled),
        lambda beta: None if any(doubled.values())
        else exact_magnetisation(kind, rows, columns, coupling, boundary, beta),
        bonds,
    )  # fmt: skip


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


def exact_lattice(
    kind: str, rows: int, columns: int, coupling: float, boundary: str, beta: float, *, double_bonds: bool = False
):
    """Returns the exact solution of a lattice, or None where it would take too long."""
    short, long = sorted((rows, columns))
    if boundary == "torus" and kind == "triangular":
        return ising.triangular_torus(rows, columns, beta, coupling, double_bonds=double_bonds)
    if boundary == "torus" and (coupling >= 0 or (rows % 2 == 0 and columns % 2 == 0)):
        return ising.kaufman_torus(rows, columns, beta, coupling, double_bonds=double_bonds)
    if boundary == "torus":
        if short > transfer.WIDEST_TORUS:
            return None
        return ising.transfer_torus(short, long, beta, coupling, double_bonds=double_bonds)
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

    It is tried on a few states: whether it can be traced, gives a number each, and changes when all spins turn over.
    Energies of +inf forbid states; where all that are tried are forbidden it counts as not symmetric. Up to
    MOST_ENUMERATED_FUNCTION spins the exact solution goes through all states.

    Raises:
      ValueError: it is no function of JAX, or does not give one number, or +inf, a state.
    """
    if not callable(energy):
        raise ValueError(f"energy={energy!r} ({title}): expected a function of spins [n, {rows}, {columns}]")

    def of_spins(spins):
        return energy(jnp.asarray(spins, jnp.result_type(float)))

    spins = tried_states(rows, columns)
    try:
        jax.eval_shape(of_spins, jax.ShapeDtypeStruct(spins.shape, spins.dtype))
    except (
        jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError, jax.errors.NonConcreteBooleanIndexError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"energy ({title}) cannot be traced ({type(error).__name__}): it needs the values of its spins, as NumPy, "
            "float() and `if` do; write it with jax.numpy, or give projects.van.systems.from_numpy of it, slower"
        ) from None
    plain, mirrored = (of_spins(each) for each in (spins, -spins))
    if np.shape(plain) == (TRIED,) and np.asarray(plain).dtype.kind not in "iuf":
        raise ValueError(f"energy ({title}) is {np.asarray(plain).dtype}: return float32, .astype(jnp.float32) of it")
    if np.shape(plain) != (TRIED,):
        raise ValueError(
            f"energy ({title}) of {TRIED} states is {np.asarray(plain).dtype} of shape {list(np.shape(plain))}: "
            f"expected [{TRIED}], one number a state"
        )
    plain, mirrored = (np.asarray(each, np.float64) for each in (plain, mirrored))
    if (wrong := np.isnan(plain) | np.isneginf(plain)).any():
        raise ValueError(
            f"energy ({title}) is {plain[wrong][0]} of one of {TRIED} states: expected finite numbers, or +inf where "
            "a state is forbidden"
        )
    symmetric = is_symmetric(plain, mirrored)

    def solved(beta: float):
        if rows * columns > MOST_ENUMERATED_FUNCTION:
            return None
        try:
            return ising.brute_force(lambda spins: of_spins(spins.reshape(-1, rows, columns)), rows * columns, beta)
        except ValueError as error:
            raise ValueError(f"energy ({title}): {error}") from None

    return System(title, of_spins, symmetric, solved)


def from_numpy(energy: Callable[[np.ndarray], np.ndarray]) -> Callable[[jax.Array], jax.Array]:
    """Returns an energy written in NumPy, spins [n, rows, columns] to [n], as one of JAX, which calls back for it."""

    def of_spins(spins):
        result = jax.ShapeDtypeStruct(spins.shape[:1], spins.dtype)
        return jax.pure_callback(lambda values: np.asarray(energy(np.asarray(values)), spins.dtype), result, spins)

    return of_spins


def tried_states(rows: int, columns: int) -> np.ndarray:
    """Returns int8 [TRIED, rows, columns]: all up, all down, one turned over, and random states."""
    spins = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (TRIED, rows, columns))
    spins[0], spins[1], spins[2] = 1, -1, -1
    spins[2, 0, 0] = 1
    return spins


def why_diverged(system: System, spins: jax.Array) -> str:
    """Returns why a training has come to numbers that are not finite: its rate, or an energy that is nan or -inf.

    Args:
      spins: the last samples [n, rows, columns]; random states are looked at, too.
    """
    random = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (MANY, *spins.shape[1:]))
    energy = np.concatenate([np.asarray(system.energy(jnp.asarray(each)), np.float64) for each in (spins, random)])
    wrong = energy[np.isnan(energy) | np.isneginf(energy)]
    if len(wrong):
        return (
            f"the energy ({system.title}) is {wrong[0]} in {len(wrong)} of {len(energy)} states: expected finite "
            "numbers, or +inf where a state is forbidden"
        )
    return "training diverged: log-probabilities are not finite; lower --learning_rate"


def is_symmetric(plain: np.ndarray, mirrored: np.ndarray) -> bool:
    """Returns whether energies [n] and those of the states turned over agree, and any of them is finite."""
    finite = np.isfinite(plain)
    if not finite.any() or not np.array_equal(finite, np.isfinite(mirrored)):
        return False
    scale = np.abs(plain[finite]).max()
    return bool(np.allclose(plain[finite], mirrored[finite], rtol=1e-5, atol=1e-5 * scale))
