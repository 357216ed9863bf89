"""From samples of a network to estimates: as it says, corrected by importance weights, and by neural MCMC.

Samples come in chunks and leave sums; memory does not grow with their number. A network that may have lost a part of
the law is sampled in a mixture with wider ones, in which lost parts show. Nicoli et al., PRE 101, 023304.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common import metrics
from kernels import ising
from kernels.autoregressive import markov_chain
from kernels.autoregressive.importance import (
    SPINS,
    Estimates,
    finalise,
    reverse_ln_z,
    spin_derived,
    spin_numbers,
)
from kernels.ising.exact import Exact
from projects.van.proposal import Images, Proposal
from projects.van.sums import KEPT, RAW, Gathered, add, chain_means, empty
from projects.van.systems import System

REVERSE_CHAINS, REVERSE_BURN_IN, REVERSE_SKIP = 100, 200, 40  # of Swendsen-Wang


@dataclasses.dataclass(frozen=True)
class Found:
    """All estimates of one network at one temperature.

    Attributes:
      beta, sites: of the system.
      raw: what the network says by itself, name to (value, standard error), per site.
      corrected: Estimates.
      chain: of neural MCMC: name to (value, error), per site; and acceptance, time.
      reverse: (ln Z, error) from samples of Swendsen-Wang, None where that does not apply.
      exact: (ln_z, u, s, c_v) or None.
      reference: |m| and its error: exact with 0, by Swendsen-Wang, or None.
      kept: log_q, energy, magnetisation of the first samples, [3, at most KEPT]; series of the chain beside it.
      single: importance.Estimates of the network alone, where `corrected` is of a mixture or of a mean over symmetries.
    """

    beta: float
    sites: int
    raw: dict[str, tuple[float, float]]
    corrected: Estimates
    chain: dict[str, tuple[float, float]]
    acceptance: float
    time: float
    reverse: tuple[float, float] | None
    reference: tuple[float, float] | None
    exact: Exact | None
    kept: np.ndarray
    series: np.ndarray
    single: Estimates | None = None


def from_network(
    parameters: dict,
    network,
    system: System,
    beta: float,
    n: int,
    *,
    seed: int,
    chunk: int | None = None,
    defence: Sequence[dict] = (),
    images: Images | None = None,
    progress=None,
) -> Found:
    """Returns estimates from n fresh samples of a network, corrected to the law of a system at beta.

    Args:
      parameters, network: of the kernel.
      seed: of the samples.
      chunk: samples at a time.
      defence: parameters of wider networks, such as those of higher temperatures. Corrected estimates are then of the
        mixture of all, in which what the network has lost shows; `raw` stays the network's own, of n more samples.
      images: of symmetries, over which corrected estimates average the law; None for none.
      progress: a run, whose progress bar shows how far it is; None for none.
    """
    chunk = min(n, chunk or 1000)

    def gathered_from(proposal, text):
        last = None
        with metrics.progress(n, text, enabled=progress is not None and progress.is_main) as bar:
            for last, measured in gather(proposal, system, beta, n, seed=seed, chunk=chunk):  # noqa: B007
                bar.update(len(measured[0]))
        return last

    single = Proposal(network, [parameters])
    alone = gathered_from(single, "samples")
    if not defence and images is None:
        return finish(alone, single, system, beta, seed=seed)
    mixture = Proposal(network, [parameters, *defence], images)
    return finish(gathered_from(mixture, "samples of the mixture"), mixture, system, beta, seed=seed, alone=alone)


def gather(
    proposal: Proposal,
    system: System,
    beta: float,
    n: int,
    *,
    seed: int,
    chunk: int,
    gathered: Gathered | None = None,
) -> Iterator[tuple[Gathered, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Yields (sums, the chunk's (log_q, energy, magnetisation)) after each chunk, going on from `gathered`."""
    key = jax.random.fold_in(jax.random.key(seed), 2**31)
    of_samples, of_chain = jax.random.split(key)
    measure = make_measure(system)
    start = 0 if gathered is None else int(gathered.raw.n)
    for first in range(start, n, chunk):
        count = min(chunk, n - first)
        spins, log_q = proposal.draw(of_samples, first, chunk)
        energy, m = measure(spins)
        log_q, energy, m = (np.asarray(x, np.float64)[:count] for x in (log_q, energy, m))
        if gathered is None:
            gathered = empty(spin_numbers(energy, m).mean(axis=1))
        gathered = add(gathered, jax.random.fold_in(of_chain, first), log_q, energy, m, beta)
        yield gathered, (log_q, energy, m)


def make_measure(system: System) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Returns the compiled `spins -> (energy [n], magnetisation [n])`."""
    return jax.jit(lambda spins: (system.energy(spins), jnp.sum(spins.astype(jnp.int32), (1, 2))))


def finish(
    gathered: Gathered, proposal: Proposal, system: System, beta: float, *, seed: int, alone: Gathered | None = None
) -> Found:
    """Returns the estimates of all samples gathered, and what they are compared with.

    `alone` are those of the network where the proposal is a mixture.
    """
    sites = proposal.network.rows * proposal.network.columns
    n = int(gathered.raw.n)
    plain = finalise((alone or gathered).raw, RAW)
    single = None if alone is None else finalise(alone.weighted, SPINS)
    corrected = finalise(gathered.weighted, SPINS, spin_derived(beta, sites))
    reverse, reference = reverse_estimate(proposal, system, beta, seed)
    if (known := system.abs_m(beta)) is not None:
        reference = (known / sites, 0.0)
    values, errors, time = chain_means(gathered.chain)
    kept = min(n, KEPT)
    return Found(
        beta, sites, raw_estimates(plain, beta, sites), corrected,
        {
            "u": (values[0] / sites, errors[0] / sites),
            "abs_m_site": (values[1] / sites, errors[1] / sites),
            "m_squared_site": (values[2] / sites**2, errors[2] / sites**2),
        },
        int(gathered.chain.accepted) / n, time, reverse, reference, system.exact(beta), gathered.kept[:, :kept],
        gathered.chain.kept[:, :kept], single,
    )  # fmt: skip


def raw_estimates(plain: Estimates, beta: float, sites: int) -> dict[str, tuple[float, float]]:
    """Returns what the network says without correction, with the errors that would be given if it were right."""
    mean, err = plain.mean, plain.err
    found = {
        "ln_z": (mean["log_w"], err["log_w"]),
        "u": (mean["energy"] / sites, err["energy"] / sites),
        "entropy": (-mean["log_q"] / sites, err["log_q"] / sites),
        "abs_m_site": (mean["abs_m"] / sites, err["abs_m"] / sites),
        "m_squared_site": (mean["m_squared"] / sites**2, err["m_squared"] / sites**2),
    }
    if beta:
        found["free_energy"] = (-mean["log_w"] / beta / sites, err["log_w"] / beta / sites)
    return found


def reverse_estimate(proposal: Proposal, system: System, beta: float, seed: int, samples: int = 1000):
    """Returns ((ln Z, error), (|m|, error)) from Swendsen-Wang, or (None, None) where clusters do not help."""
    bonds = system.bonds
    if bonds is None or not len(bonds.strength) or np.min(bonds.strength) < 0:
        return None, None
    network = proposal.network
    sites = network.rows * network.columns
    spins = jnp.ones((REVERSE_CHAINS, sites), jnp.int8)
    key = jax.random.fold_in(jax.random.key(seed), 2**31 + 1)
    spins = ising.swendsen_wang(jax.random.fold_in(key, 0), spins, beta, bonds, REVERSE_BURN_IN)
    log_w, m = [], []
    for k in range(samples // REVERSE_CHAINS):
        spins, each = ising.swendsen_wang(
            jax.random.fold_in(key, k + 1), spins, beta, bonds, REVERSE_SKIP, observable=_abs_m
        )
        square = spins.reshape(-1, network.rows, network.columns)
        log_q = proposal.log_q(square, 1000)
        log_w.append(-beta * np.asarray(system.energy(square), np.float64) - log_q)
        m.append(np.asarray(each, np.float64))
    series = np.concatenate(m).T / sites  # [chains, sweeps]
    by_chain = np.array(log_w).T
    inverse = np.exp(by_chain.min() - by_chain)
    time = max(markov_chain.integrated_time(inverse), 0.5)
    mean, error, _ = markov_chain.chain_estimate(series)
    return reverse_ln_z(by_chain.reshape(-1), time), (mean, error)


def _abs_m(spins: jax.Array) -> jax.Array:
    return jnp.abs(spins.astype(jnp.int32).sum(-1))


NAMES = {
    "ln_z": "ln Z", "free_energy": "F/N", "u": "U/N", "entropy": "S/N", "c_v": "c_v", "abs_m_site": "|M|/N",
    "m_squared_site": "M^2/N^2", "chi": "chi", "binder": "Binder",
}  # fmt: skip


def exact_values(found: Found) -> dict[str, float]:
    """Returns name to the exact value, of what is known."""
    if found.exact is None:
        return {}
    known = {"ln_z": found.exact.ln_z, "u": found.exact.u, "entropy": found.exact.s, "c_v": found.exact.c_v}
    if found.beta:
        known["free_energy"] = -found.exact.ln_z / found.beta / found.sites
    return known


def corrected_values(found: Found) -> dict[str, tuple[float, float]]:
    """Returns name to (estimate, error) by importance weights."""
    est = found.corrected
    values = {"ln_z": (est.ln_z, est.ln_z_err)}
    return values | {name: (est.mean[name], est.err[name]) for name in NAMES if name in est.mean}


def table(found: Found, title: str) -> tuple[list[str], list[list], str, str]:
    """Returns (columns, rows, title, note) for `run.table`: every quantity by every method, with both errors."""
    exact, corrected = exact_values(found), corrected_values(found)
    rows = []
    for name, label in NAMES.items():
        known = exact.get(name)
        if known is None and name == "abs_m_site" and found.reference is not None:
            known = found.reference[0]
        value, error = corrected[name]
        far = (value - known) / error if known is not None and error > 0 else None
        rows.append([
            label, known, *found.raw.get(name, (None, None)), value, error, found.corrected.jackknife_err.get(name),
            far, *found.chain.get(name, (None, None)),
        ])  # fmt: skip
    columns = [
        "quantity", "exact", "network", "its error", "corrected (NIS)", "error (delta)", "error (jackknife)",
        "sigmas off", "NMCMC", "its error",
    ]  # fmt: skip
    note = f"{found.corrected.n:,} samples, ESS {found.corrected.ess:.3f}, acceptance {found.acceptance:.3f}, "
    note += f"integrated time of |M| {found.time:.1f} steps."
    if found.reverse is not None:
        note += f" ln Z from Swendsen-Wang's samples (reverse): {found.reverse[0]:.5f} +- {found.reverse[1]:.5f};"
    if found.reference is not None and found.reference[1]:
        note += f" |M|/N by Swendsen-Wang: {found.reference[0]:.5f} +- {found.reference[1]:.5f} (as exact above)."
    return columns, rows, title, note


def result(found: Found) -> dict[str, Any]:
    """Returns the numbers for `result.json`."""
    exact = exact_values(found)
    rows = {}
    for name, (value, error) in corrected_values(found).items():
        row = {"nis": value, "nis_error": error, "nis_jackknife_error": found.corrected.jackknife_err[name]}
        if name in found.raw:
            row |= {"raw": found.raw[name][0], "raw_error": found.raw[name][1]}
        if name in found.chain:
            row |= {"nmcmc": found.chain[name][0], "nmcmc_error": found.chain[name][1]}
        if name in exact:
            row["exact"] = exact[name]
        elif name == "abs_m_site" and found.reference is not None:
            row |= {"reference": found.reference[0], "reference_error": found.reference[1]}
        rows[name] = row
    found_exact = {} if found.exact is None else {"kl": found.exact.ln_z - found.raw["ln_z"][0]}
    single = found.single
    of_single = {} if single is None else {
        "network_ess": single.ess, "network_nis_ln_z": single.ln_z, "network_nis_ln_z_error": single.ln_z_err,
        "network_raw_ln_z": single.raw_ln_z,
    }  # fmt: skip
    reverse = (
        {} if found.reverse is None else {"reverse_ln_z": found.reverse[0], "reverse_ln_z_error": found.reverse[1]}
    )
    return {
        "samples": found.corrected.n,
        "ess": found.corrected.ess,
        "largest_share": found.corrected.largest_share,
        "acceptance": found.acceptance,
        "integrated_time": found.time if math.isfinite(found.time) else None,
        **reverse,
        **found_exact,
        **of_single,
        "estimates": rows,
    }
