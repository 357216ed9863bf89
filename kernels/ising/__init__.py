"""Ising systems: energies, symmetries, exact solutions in NumPy float64, cluster Monte Carlo in JAX.

kaufman_torus(16, 16, 0.44).ln_z, triangular_torus(16, 16, 1.0, -1.0).s, brute_force(energy, 12, beta=0.5),
swendsen_wang(jax.random.key(0), spins, 0.44, 1.0, n_sweeps=100)
"""

from . import energies, inverse, symmetries, systems
from .cluster import swendsen_wang, wolff
from .exact import Exact, brute_force, brute_force_means, hopfield_two_patterns, states
from .square import CRITICAL_BETA, kaufman_torus, onsager_bulk
from .systems import System
from .transfer import magnetisation_law, transfer_open, transfer_torus
from .triangular import RESIDUAL_ENTROPY, triangular_torus

__all__ = [
    "CRITICAL_BETA",
    "RESIDUAL_ENTROPY",
    "Exact",
    "System",
    "brute_force",
    "brute_force_means",
    "energies",
    "hopfield_two_patterns",
    "inverse",
    "kaufman_torus",
    "magnetisation_law",
    "onsager_bulk",
    "states",
    "swendsen_wang",
    "symmetries",
    "systems",
    "transfer_open",
    "transfer_torus",
    "triangular_torus",
    "wolff",
]
