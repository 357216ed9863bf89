"""Systems to be solved: an energy together with its symmetries, its couplings and its exact solution, if it has one.

systems.lattice("square", 16, 16).exact(0.44), systems.of_energy(lambda spins: -spins.sum((1, 2)) ** 2 / 12, 3, 4)
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, ArrayLike, Float, Int8, Real, Scalar, Whole
from ..scalars import real
from . import energies, symmetries
from .energies import Bonds, Energy
from .exact import Exact, brute_force, hopfield_two_patterns, whole
from .square import kaufman_torus
from .transfer import WIDEST_OPEN, WIDEST_TORUS, magnetisation_law, transfer_open, transfer_torus
from .triangular import triangular_torus

__all__ = [
    "System",
    "check_energies",
    "exact_abs_m",
    "exact_lattice",
    "fold",
    "from_numpy",
    "hopfield",
    "lattice",
    "of_energy",
    "pairwise",
    "sk",
]

MOST_ENUMERATED = 20  # spins with couplings: a second
MOST_ENUMERATED_FUNCTION = 16  # spins, of any function: 65,536 states
LARGEST_LAW = 8  # sites a side, of the exact law of the magnetisation: a second
TRIALS = 8  # states on which a function is tried


@dataclasses.dataclass(frozen=True)
class System:
    """What is to be solved.

    Attributes:
      title: for plots and messages.
      energy: JAX spins [n, rows, columns] to energies [n].
      rows, columns: of the lattice.
      symmetric: whether turning all spins over leaves the energy.
      exact: beta to (ln_z, u, s, c_v), None where nothing is known.
      abs_m: beta to the exact <|sum of spins|>, None where that takes long.
      bonds: of the couplings, for cluster Monte Carlo; None where there are fields or any other energy.
      torus: "square" or "triangular", where shifts and reflections leave the energy.
      folded: whether sites are numbered in folded order.
    """

    title: str
    energy: Callable[[Real[AnyArray, "n rows columns"]], Energy]
    rows: int
    columns: int
    symmetric: bool
    exact: Callable[[Scalar], Exact | None]
    abs_m: Callable[[Scalar], float | None] = lambda beta: None
    bonds: Bonds | None = None
    torus: str | None = None
    folded: bool = False

    @property
    def sites(self) -> int:
        """The number of spins."""
        return self.rows * self.columns

    def unfold(self, spins: Real[AnyArray, "n rows columns"]) -> Real[AnyArray, "n rows columns"]:
        """Returns spins [n, rows, columns] as they lie on the lattice."""
        if not self.folded:
            return spins
        return spins[:, symmetries.folded(self.rows)][:, :, symmetries.folded(self.columns)]

    def images(self, count: int) -> symmetries.Images | None:
        """Returns `count` symmetries, the identity among them; see `symmetries.images`."""
        return symmetries.images(
            self.rows, self.columns, count, sign=self.symmetric, torus=self.torus, folded=self.folded
        )


def lattice(
    kind: str, rows: int, columns: int, coupling: Scalar = 1.0, boundary: str = "torus", *, double_bonds: bool = False
) -> System:
    """Returns a square or triangular lattice; arguments and errors as of `energies.lattice_energy`."""
    doubled = {"double_bonds": double_bonds and boundary == "torus" and min(rows, columns) == 2}
    real("coupling", coupling, "one finite coupling")
    name = "ferromagnet" if coupling > 0 else "antiferromagnet" if coupling < 0 else "lattice of free spins"
    return System(
        f"{kind} {name}, {rows} x {columns}",
        lambda spins: energies.lattice_energy(spins, coupling, lattice=kind, boundary=boundary, **doubled),
        rows,
        columns,
        True,
        lambda beta: exact_lattice(kind, rows, columns, coupling, boundary, beta, **doubled),
        lambda beta: None if any(doubled.values()) else exact_abs_m(kind, rows, columns, coupling, boundary, beta),
        energies.lattice_bonds(rows, columns, coupling, lattice=kind, boundary=boundary, **doubled),
        kind if boundary == "torus" else None,
    )


def fold(system: System) -> System:
    """Returns a torus with its sites numbered in folded order, along both directions."""
    sites = symmetries.folded_sites(system.rows, system.columns).astype(np.int32)
    bonds = system.bonds
    if bonds is not None:  # an energy of another form has none
        bonds = bonds._replace(first=sites[bonds.first], second=sites[bonds.second])
    down, right = symmetries.folded(system.rows), symmetries.folded(system.columns)
    return dataclasses.replace(
        system, energy=lambda spins: system.energy(spins[:, down][:, :, right]), bonds=bonds, folded=True
    )


def exact_lattice(
    kind: str, rows: int, columns: int, coupling: Scalar, boundary: str, beta: Scalar, *, double_bonds: bool = False
) -> Exact | None:
    """Returns the exact solution of a lattice, or None where it would take too long."""
    short, long = sorted((rows, columns))
    if boundary == "torus" and kind == "triangular":
        return triangular_torus(rows, columns, beta, coupling, double_bonds=double_bonds)
    if boundary == "torus" and (coupling >= 0 or (rows % 2 == 0 and columns % 2 == 0)):
        return kaufman_torus(rows, columns, beta, coupling, double_bonds=double_bonds)
    if boundary == "torus":
        return None if short > WIDEST_TORUS else transfer_torus(short, long, beta, coupling, double_bonds=double_bonds)
    return None if short > WIDEST_OPEN else transfer_open(short, long, beta, coupling, lattice=kind)


def exact_abs_m(kind: str, rows: int, columns: int, coupling: Scalar, boundary: str, beta: Scalar) -> float | None:
    """Returns the exact <|sum of spins|> of a small lattice, None of others."""
    short, long = sorted((rows, columns))
    if long > LARGEST_LAW:
        return None
    values, law = magnetisation_law(short, long, beta, coupling, lattice=kind, boundary=boundary)
    return float(np.abs(values) @ law)


def hopfield(n: int, seed: Whole = 0) -> System:
    """Returns the Hopfield model of two orthogonal patterns on n spins, n even."""
    couplings = energies.hopfield_couplings(energies.orthogonal_patterns(n, seed))
    system = pairwise(couplings, None, f"Hopfield, n = {n}, two patterns")
    return dataclasses.replace(system, exact=lambda beta: hopfield_two_patterns(n, beta))


def sk(n: int, seed: Whole = 0) -> System:
    """Returns the Sherrington-Kirkpatrick model of a seed on n spins."""
    return pairwise(energies.sk_couplings(n, seed), None, f"SK, n = {n}")


def pairwise(
    J: Real[AnyArray, "n n"], h: Real[AnyArray, " n"] | Sequence | None = None, title: str = "couplings"
) -> System:
    """Returns the system of couplings J [n, n] and fields h [n] or None, in one row; errors as of `energies.pairwise`.

    Up to MOST_ENUMERATED spins it is solved exactly.
    """
    energies.check_couplings(J, h)
    n = len(J)
    symmetric = h is None or not np.any(h)

    def exact(beta: Scalar) -> Exact | None:
        if n > MOST_ENUMERATED:
            return None
        return brute_force(lambda spins: energies.pairwise(spins, J, h), n, beta, z2=symmetric)

    first, second = np.nonzero(np.triu(J))
    bonds = Bonds(first.astype(np.int32), second.astype(np.int32), J[first, second]) if symmetric else None
    single = np.asarray(J, np.float32), None if symmetric else np.asarray(h, np.float32)
    return System(
        title,
        lambda spins: energies.pairwise(spins.reshape(len(spins), n), *single),
        1,
        n,
        symmetric,
        exact,
        bonds=bonds,
    )


def of_energy(
    energy: Callable[[Float[Array, "n rows columns"]], Real[Array, " n"]],
    rows: int,
    columns: int,
    title: str = "user's energy",
) -> System:
    """Returns the system of any function of JAX, spins [n, rows, columns] to energies [n].

    It is tried on a few states: whether it can be traced, gives a number each, and changes when all spins turn over.
    Energies of +inf forbid states; where all trials are forbidden it counts as not symmetric. Up to
    MOST_ENUMERATED_FUNCTION spins the exact solution goes through all states.

    Args:
      energy: spins of +1 and -1, float32 (float64 in 64-bit mode) whatever the system is given.
      rows, columns: of the lattice.
      title: for messages.

    Raises:
      ValueError: it is no function of JAX, or does not give one number, or +inf, a state.
    """
    rows, columns = whole("rows", rows, 1), whole("columns", columns, 1)
    if not callable(energy):
        raise ValueError(f"energy={energy!r} ({title}): expected a function of spins [n, {rows}, {columns}]")

    def of_spins(spins):
        return energy(jnp.asarray(spins, jnp.result_type(float)))

    symmetric = _is_symmetric(*_trial_energies(of_spins, trial_states(rows, columns), title))

    def exact(beta: Scalar) -> Exact | None:
        if rows * columns > MOST_ENUMERATED_FUNCTION:
            return None
        try:
            return brute_force(lambda spins: of_spins(spins.reshape(-1, rows, columns)), rows * columns, beta)
        except ValueError as error:
            raise ValueError(f"energy ({title}): {error}") from None

    return System(title, of_spins, rows, columns, symmetric, exact)


def _trial_energies(of_spins: Callable, spins: np.ndarray, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the energies float64 [TRIALS] of states and of the states turned over.

    Raises:
      ValueError: they cannot be traced, or are not one number, or +inf, a state.
    """
    try:
        jax.eval_shape(of_spins, jax.ShapeDtypeStruct(spins.shape, spins.dtype))
    except (
        jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError, jax.errors.NonConcreteBooleanIndexError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"energy ({title}) cannot be traced ({type(error).__name__}): it needs the values of its spins, as NumPy, "
            "float() and `if` do; write it with jax.numpy, or give ising.systems.from_numpy of it, slower"
        ) from None
    plain, mirrored = (of_spins(each) for each in (spins, -spins))
    if np.shape(plain) == (TRIALS,) and np.asarray(plain).dtype.kind not in "iuf":
        raise ValueError(f"energy ({title}) is {np.asarray(plain).dtype}: return float32, .astype(jnp.float32) of it")
    if np.shape(plain) != (TRIALS,):
        raise ValueError(
            f"energy ({title}) of {TRIALS} states is {np.asarray(plain).dtype} of shape {list(np.shape(plain))}: "
            f"expected [{TRIALS}], one number a state"
        )
    plain, mirrored = (np.asarray(each, np.float64) for each in (plain, mirrored))
    if (wrong := np.isnan(plain) | np.isneginf(plain)).any():
        raise ValueError(
            f"energy ({title}) is {plain[wrong][0]} of one of {TRIALS} states: expected finite numbers, or +inf where "
            "a state is forbidden"
        )
    return plain, mirrored


def check_energies(system: System, spins: Real[AnyArray, "n rows columns"], random: int = 4096) -> None:
    """Raises a ValueError where an energy is nan or -inf, of these states [n, rows, columns] or so many random ones."""
    others = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (random, *spins.shape[1:]))
    energy = np.concatenate([np.asarray(system.energy(each), np.float64) for each in (spins, jnp.asarray(others))])
    wrong = energy[np.isnan(energy) | np.isneginf(energy)]
    if len(wrong):
        raise ValueError(
            f"the energy ({system.title}) is {wrong[0]} in {len(wrong)} of {len(energy)} states: expected finite "
            "numbers, or +inf where a state is forbidden"
        )


def from_numpy(
    energy: Callable[[Real[np.ndarray, "n rows columns"]], ArrayLike],
) -> Callable[[Float[Array, "n rows columns"]], Float[Array, " n"]]:
    """Returns an energy written in NumPy, spins [n, rows, columns] to [n], as one of JAX, which calls back for it."""

    def of_spins(spins):
        result = jax.ShapeDtypeStruct(spins.shape[:1], spins.dtype)
        return jax.pure_callback(lambda values: np.asarray(energy(np.asarray(values)), spins.dtype), result, spins)

    return of_spins


def trial_states(rows: int, columns: int) -> Int8[np.ndarray, "trials rows columns"]:
    """Returns int8 [TRIALS, rows, columns]: all up, all down, one turned over, and random states."""
    spins = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (TRIALS, rows, columns))
    spins[0], spins[1], spins[2] = 1, -1, -1
    spins[2, 0, 0] = 1
    return spins


def _is_symmetric(plain: np.ndarray, mirrored: np.ndarray) -> bool:
    """Returns whether energies [n] and those of the states turned over agree, and any of them is finite."""
    finite = np.isfinite(plain)
    if not finite.any() or not np.array_equal(finite, np.isfinite(mirrored)):
        return False
    scale = np.abs(plain[finite]).max()
    return bool(np.allclose(plain[finite], mirrored[finite], rtol=1e-5, atol=1e-5 * scale))
