"""What can be known beside the weights: the mean with a mirror image, samples of p from cluster Monte Carlo, truths.

Samples of q say nothing of what q misses. Each of these would show it; `Evidence` holds them for the status.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Int, Int8, RandomKey, Real, Scalar
from ..ising import Exact, System, swendsen_wang
from . import markov_chain
from .proposal import Proposal
from .reverse import ReverseEstimate, mirror_difference, reverse_ln_z
from .stream import log_weights

CHAINS, SWEEPS, BURN_IN, SKIP = 100, 1000, 200, 40  # of Swendsen-Wang: samples in all, sweeps before and between them
AT_A_TIME = 1000  # samples of a mixture, whose counts make its shares
MIRRORED = 2000  # samples whose mirror images are looked at, at most


def truths(exact: Exact | None, reference: tuple[float, float] | None = None) -> dict[str, float]:
    """Returns name to the true value of what has one.

    Args:
      exact: solution of the system, or None.
      reference: |M|/N and its error, of which 0 says that it is exact; None where it is not known.
    """
    values = {} if exact is None else {"ln_z": exact.ln_z, "u": exact.u, "entropy": exact.s, "c_v": exact.c_v}
    return values if reference is None or reference[1] != 0 else values | {"abs_m_site": reference[0]}


def has_mirror(proposal: Proposal, system: System) -> bool:
    """Returns whether turning all spins over leaves the energy, and not ln q anyway."""
    return system.symmetric and not proposal.symmetric


def mirror_image(
    proposal: Proposal,
    system: System,
    beta: Scalar,
    spins: Real[Array, "n rows columns"],
    log_q: Real[AnyArray, " n"],
) -> tuple[float, float] | None:
    """Returns by how much the mean with its mirror image raises ln Z, and the error; None where q has it.

    Args:
      proposal, system, beta: what is compared.
      spins, log_q: samples of the proposal drawn together [n, rows, columns], [n].
    """
    if not has_mirror(proposal, system) or len(spins) < 2:
        return None
    count = min(len(spins), MIRRORED)
    log_w = log_weights(log_q, system.energy(spins), beta)[:count]
    mirrored = proposal.log_prob(-spins, len(spins))
    return mirror_difference(log_w, np.asarray(log_q, np.float64)[:count], mirrored[:count])


def clusters(
    proposal: Proposal, system: System, beta: Scalar, key: RandomKey
) -> tuple[ReverseEstimate | None, tuple[float, float] | None]:
    """Returns (ln Z, (|M|/N, error)) from samples of Swendsen-Wang, or (None, None) where clusters do not help.

    Warns:
      UserWarning: one of them is not to be trusted.
    """
    bonds = system.bonds
    if bonds is None or not len(bonds.strength) or np.min(bonds.strength) < 0:
        return None, None
    spins = jnp.ones((CHAINS, system.sites), jnp.int8)
    spins = swendsen_wang(jax.random.fold_in(key, 0), spins, beta, bonds, BURN_IN)
    log_w, m = [], []
    for k in range(SWEEPS // CHAINS):
        spins, abs_m = swendsen_wang(jax.random.fold_in(key, k + 1), spins, beta, bonds, SKIP, observable=_abs_m)
        on_lattice = spins.reshape(-1, system.rows, system.columns)
        log_w.append(log_weights(proposal.log_prob(on_lattice, AT_A_TIME), system.energy(on_lattice), beta))
        m.append(np.asarray(abs_m, np.float64))
    series = np.concatenate(m).T / system.sites  # [chains, sweeps]
    by_chain = np.array(log_w).T
    time = markov_chain.integrated_time(np.exp(by_chain.min() - by_chain)).time
    mean, error, *_ = markov_chain.chain_estimate(series)
    return reverse_ln_z(by_chain.reshape(-1), max(time, 0.5) if math.isfinite(time) else 0.5), (mean, error)


def samples_of_p(system: System, beta: Scalar, n: int, key: RandomKey) -> Int8[Array, "n rows columns"]:
    """Returns n independent samples of a ferromagnet, int8 [n, rows, columns], by Swendsen-Wang."""
    if system.bonds is None:
        raise ValueError(f"{system.title}: clusters need couplings without fields, and it has none")
    spins = jnp.ones((n, system.sites), jnp.int8)
    return swendsen_wang(key, spins, beta, system.bonds, BURN_IN).reshape(n, system.rows, system.columns)


def _abs_m(spins: Int8[Array, "chains n"]) -> Int[Array, " chains"]:
    return jnp.abs(spins.astype(jnp.int32).sum(-1))


def make_measure(
    system: System,
) -> Callable[[Real[Array, "n rows columns"]], tuple[Float[Array, " n"], Int[Array, " n"]]]:
    """Returns the compiled `spins -> (energy [n], magnetisation [n])`."""
    return jax.jit(lambda spins: (system.energy(spins), jnp.sum(spins.astype(jnp.int32), (1, 2))))
