"""From flags to a system of kernels/ising: its energy, its symmetries, its exact solution where there is one."""

import dataclasses

import numpy as np

from common import config, weight_files
from kernels.ising import System, energies, systems
from projects.van.config import TrainConfig


def create(settings: TrainConfig) -> System:
    """Returns the system of the flags, on their lattice.

    Raises:
      ValueError: a lattice that is too short, couplings or an energy that do not fit, z2 where a field breaks it.
    """
    rows, columns = settings.rows, settings.columns or settings.rows
    if settings.fold and (settings.system not in energies.LATTICES or settings.boundary != "torus"):
        raise ValueError("--fold is for a torus: square or triangular, --boundary=torus")
    n = rows * columns
    if settings.system in energies.LATTICES:
        check_length(settings, rows, columns)
        system = systems.lattice(
            settings.system, rows, columns, settings.coupling, settings.boundary, double_bonds=settings.double_bonds
        )
        return systems.fold(system) if settings.fold else system
    if settings.system == "hopfield":
        system = systems.hopfield(n, settings.system_seed)
    elif settings.system == "sk":
        system = systems.sk(n, settings.system_seed)
    elif settings.system.endswith(".npz"):
        system = from_file(settings.system, n)
    else:
        energy = config.imported("system", settings.system)
        system = systems.of_energy(energy, rows, columns, settings.system)
    check_symmetry(settings, system)
    return dataclasses.replace(system, rows=rows, columns=columns)


def check_length(settings: TrainConfig, rows: int, columns: int) -> None:
    """Raises a ValueError for a torus so short that its bonds would count twice, unless the flags want that."""
    shortest = min(rows, columns)
    if settings.boundary != "torus" or shortest >= (2 if settings.double_bonds else 3):
        return
    remedy = "--boundary=open, or --double_bonds to count them so" if shortest == 2 else "--boundary=open"
    raise ValueError(
        f"--rows={rows} --columns={columns}: a torus of {rows} x {columns} counts bonds twice; take at least 3 x 3, "
        f"or give {remedy}"
    )


def check_symmetry(settings: TrainConfig, system: System) -> None:
    """Raises a ValueError where z2 is on and the energy tells up from down."""
    if settings.z2 and not system.symmetric:
        raise ValueError(
            f"{system.title} changes when all spins turn over, as fields and constraints do that tell up from down: "
            "give --noz2 (z2=False)"
        )


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
    return systems.pairwise(arrays["J"].astype(np.float64), arrays.get("h"), path)
