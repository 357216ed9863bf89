"""From samples of a network to estimates: as it says, corrected by importance weights, and by neural MCMC.

Samples come in chunks and leave sums; memory does not grow with their number. A network that may have lost a part of
the law is sampled in a mixture with wider ones, in which lost parts show. Nicoli et al., PRE 101, 023304.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from common.runs import metrics
from kernels import ising
from kernels.autoregressive import (
    Estimates,
    Evidence,
    ReverseEstimate,
    Status,
    finalise,
    log_weights,
    markov_chain,
    mirror_difference,
    reliability,
    reverse_ln_z,
)
from kernels.autoregressive.thermodynamics import SPINS, spin_derived, spin_numbers
from kernels.ising.exact import Exact
from projects.van.proposal import Images, Proposal
from projects.van.sums import KEPT, RAW, ChainMeans, Gathered, add, chain_means, empty
from projects.van.systems import System

REVERSE_CHAINS, REVERSE_BURN_IN, REVERSE_SKIP = 100, 200, 40  # of Swendsen-Wang
MIRRORED = 2000  # samples whose mirror images are looked at


@dataclasses.dataclass(frozen=True)
class Found:
    """All estimates of one network at one temperature.

    Attributes:
      beta, sites: of the system.
      raw: what the network says by itself, name to (value, standard error), per site; nan where it is infinite.
      corrected: Estimates, with their status.
      chain: of neural MCMC: name to (value, error), per site; and acceptance, time.
      chain_statuses: name to status of the chain's estimates: its own, and that of the weights it walks by.
      status: of all that stands here: of `corrected`, and doubtful where only the chain is worse.
      reverse: ln Z from samples of Swendsen-Wang, None where that does not apply.
      exact: (ln_z, u, s, c_v) or None.
      reference: |m| and its error: exact with 0, by Swendsen-Wang (infinite where it cannot be known), or None.
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
    reverse: ReverseEstimate | None
    reference: tuple[float, float] | None
    exact: Exact | None
    kept: np.ndarray
    series: np.ndarray
    chain_statuses: dict[str, Status]
    status: Status
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

    Warns:
      UserWarning: the status is not "trusted".
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
        return finish(alone, single, system, beta, seed=seed, chunk=chunk)
    mixture = Proposal(network, [parameters, *defence], images)
    gathered = gathered_from(mixture, "samples of the mixture")
    return finish(gathered, mixture, system, beta, seed=seed, chunk=chunk, alone=alone)


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
    of_samples, of_chain = _keys(seed)
    measure = make_measure(system)
    start = 0 if gathered is None else int(gathered.raw.n)
    for first in range(start, n, chunk):
        count = min(chunk, n - first)
        spins, log_q = proposal.draw(of_samples, first, chunk)
        energy, m = measure(spins)
        log_q, energy, m = (np.asarray(x, np.float64)[:count] for x in (log_q, energy, m))
        if gathered is None:
            allowed = np.where(np.isposinf(energy), 0.0, energy)
            gathered = empty(spin_numbers(allowed, m).mean(axis=1))
        gathered = add(gathered, jax.random.fold_in(of_chain, first), log_q, energy, m, beta)
        yield gathered, (log_q, energy, m)


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns the keys of the samples and of the chain."""
    of_samples, of_chain = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31))
    return of_samples, of_chain


def make_measure(system: System) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Returns the compiled `spins -> (energy [n], magnetisation [n])`."""
    return jax.jit(lambda spins: (system.energy(spins), jnp.sum(spins.astype(jnp.int32), (1, 2))))


def finish(
    gathered: Gathered,
    proposal: Proposal,
    system: System,
    beta: float,
    *,
    seed: int,
    chunk: int,
    alone: Gathered | None = None,
) -> Found:
    """Returns the estimates of all samples gathered, what they are compared with, and the status of each.

    `alone` are those of the network where the proposal is a mixture; `chunk` is that of the samples.

    Warns:
      UserWarning: the status is not "trusted".
    """
    sites = proposal.network.rows * proposal.network.columns
    n = int(gathered.raw.n)
    exact = system.exact(beta)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one at the end, of all that stands there
        entropy = entropy_of(gathered)
        plain = finalise((alone or gathered).raw, RAW, None, Evidence(entropy_of(alone or gathered), 2.0**sites))
        reverse, reference = reverse_estimate(proposal, system, beta, seed)
        if (abs_m := system.abs_m(beta)) is not None:
            reference = (abs_m / sites, 0.0)
        evidence = Evidence(
            entropy, 2.0**sites, truths(exact, reference, beta, sites), reverse,
            mirror_of(proposal, system, beta, seed, min(chunk, n)),
        )  # fmt: skip
        corrected = finalise(gathered.weighted, SPINS, spin_derived(beta, sites), evidence)
        single = None if alone is None else alone_of(alone, system, beta, sites, corrected)
        chain = chain_means(gathered.chain, n)
    status, chain_statuses = statuses_of(corrected.status, chain, sites, corrected, evidence.exact)
    reliability.warn(status, "look at `status`, and draw more samples, train longer or average over symmetries")
    of_chain = {
        name: (value, math.inf if chain_statuses[name].level == reliability.NOT_USABLE else error)
        for name, (value, error) in chain_values(chain, sites).items()
    }
    length = min(n, KEPT)
    return Found(
        beta, sites, raw_estimates(plain, beta, sites), corrected, of_chain,
        chain.acceptance, chain.time, reverse, reference, exact, gathered.kept[:, :length],
        gathered.chain.kept[:, : min(int(gathered.chain.steps), KEPT)], chain_statuses, status, single,
    )  # fmt: skip


CHAIN = ("u", "abs_m_site", "m_squared_site")
TOO_SURE = 0.5  # of the error by weights from the same samples, below which the chain has not met the heavy ones


def chain_values(chain: ChainMeans, sites: int) -> dict[str, tuple[float, float]]:
    """Returns name to (estimate, error) of the chain, per site."""
    scales = (sites, sites, sites**2)
    return {
        name: (each.mean / scale, each.error / scale)
        for name, each, scale in zip(CHAIN, chain.estimates, scales, strict=True)
    }


def entropy_of(gathered: Gathered) -> float | None:
    """Returns -mean ln q of the samples that are allowed; None where none is."""
    total = gathered.raw.first.sum(axis=0)
    return None if total[0] == 0 else -float(total[2] / total[0] + gathered.raw.origin[1])


def alone_of(alone: Gathered, system: System, beta: float, sites: int, better: Estimates) -> Estimates:
    """Returns the estimates of the network alone, which stand beside those of a mixture or mean over symmetries.

    What it lost does not show in its own weights: where `better`, those estimates, can be trusted and are far off, its
    status says so.
    """
    exact = truths(system.exact(beta), None, beta, sites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is what the mixture is for
        single = finalise(alone.weighted, SPINS, None, Evidence(entropy_of(alone), 2.0**sites, exact))
    if better.status.level != reliability.TRUSTED:
        return single
    pairs = (single.ln_z, single.ln_z_err), (better.ln_z, better.ln_z_err)
    lost = reliability.against_better(*pairs, "ln Z", "the mixture or mean over symmetries")
    status = reliability.worst(single.status, lost)
    error = math.inf if status.level == reliability.NOT_USABLE else single.ln_z_err
    return single._replace(status=status, ln_z_err=error, statuses=single.statuses | {"ln_z": status})


def statuses_of(
    weights: Status, chain: ChainMeans, sites: int, corrected: Estimates, exact: Mapping[str, float] | None = None
) -> tuple[Status, dict[str, Status]]:
    """Returns (status of a run, name to status of the chain's estimates).

    The chain walks by the weights, so that it knows no more than they do: an error far below theirs, which comes from
    the same samples, is of a chain that passed the heavy ones by. A run whose weights are trusted and whose chain is
    not is doubtful, with the chain's reasons.

    Args:
      weights: status of the estimates by weights.
      chain: what the chain says; sites: of the system.
      corrected: the estimates by weights.
      exact: name to true value, of what has one.
    """
    values = chain_values(chain, sites)
    own = {}
    for name, each in zip(CHAIN, chain.estimates, strict=True):
        findings = [each.status, chain.status, reliability.against_exact({name: values[name]}, exact or {})]
        by_weights = corrected.err[name]
        if values[name][1] < TOO_SURE * by_weights < math.inf:
            times = by_weights / values[name][1] if values[name][1] else math.inf
            text = f"its error is {times:.2g} times smaller than that by weights: it missed heavy samples"
            findings.append(Status(reliability.DOUBTFUL, (text,)))
        own[name] = reliability.worst(*findings)
    statuses = {name: reliability.worst(each, weights) for name, each in own.items()}
    # What all samples of q agree on and a chain that moves agrees on, too, speaks against no other number.
    moves = reliability.NOT_USABLE not in (chain.status.level, weights.level)
    others = {name: each for name, each in own.items() if not (moves and math.isinf(corrected.err[name]))} or {
        CHAIN[0]: chain.status
    }
    name, of_chain = max(others.items(), key=lambda pair: reliability.LEVELS.index(pair[1].level))
    reasons = tuple(
        f"NMCMC, {reason}" if reason.startswith(f"{name} ") else f"NMCMC, {name}: {reason}"
        for reason in of_chain.reasons
    )
    level = min(of_chain.level, reliability.DOUBTFUL, key=reliability.LEVELS.index)
    return reliability.worst(weights, Status(level, reasons)), statuses


def truths(exact: Exact | None, reference: tuple[float, float] | None, beta: float, sites: int) -> dict[str, float]:
    """Returns name to the true value of what has one."""
    values = {} if exact is None else {"ln_z": exact.ln_z, "u": exact.u, "entropy": exact.s, "c_v": exact.c_v}
    if reference is not None and reference[1] == 0:
        values["abs_m_site"] = reference[0]
    return values


def raw_estimates(plain: Estimates, beta: float, sites: int) -> dict[str, tuple[float, float]]:
    """Returns what the network says without correction, with the errors that would be given if it were right.

    Where samples are forbidden its energy is infinite and its bound of ln Z too: nan, and the rest is of the others.
    """
    mean, err = plain.mean, plain.err
    values = {
        "ln_z": (mean["log_w"], err["log_w"]),
        "u": (mean["energy"] / sites, err["energy"] / sites),
        "entropy": (-mean["log_q"] / sites, err["log_q"] / sites),
        "abs_m_site": (mean["abs_m"] / sites, err["abs_m"] / sites),
        "m_squared_site": (mean["m_squared"] / sites**2, err["m_squared"] / sites**2),
    }
    if beta:
        values["free_energy"] = (-mean["log_w"] / beta / sites, err["log_w"] / beta / sites)
    if plain.zeros:
        values |= {name: (math.nan, math.nan) for name in ("ln_z", "u", "free_energy") if name in values}
    return values


def has_mirror(proposal: Proposal, system: System) -> bool:
    """Returns whether turning all spins over leaves the energy and is not averaged over already."""
    averaged = proposal.images is not None and bool((proposal.images.sign < 0).any())
    return system.symmetric and not proposal.network.z2 and not averaged


def mirror_of(proposal: Proposal, system: System, beta: float, seed: int, chunk: int) -> tuple[float, float] | None:
    """Returns by how much the mean with its mirror image raises ln Z, of the first samples; None where q has it."""
    if not has_mirror(proposal, system) or chunk < 2:
        return None
    return mirror_of_samples(proposal, system, beta, *proposal.draw(_keys(seed)[0], 0, chunk))


def mirror_of_samples(proposal: Proposal, system: System, beta: float, spins, log_q) -> tuple[float, float] | None:
    """Returns `mirror_of` from samples of the proposal and their log-probabilities."""
    count = min(len(spins), MIRRORED)
    log_w = log_weights(log_q, system.energy(spins), beta)[:count]
    mirrored = proposal.log_q(-spins, len(spins))
    return mirror_difference(log_w, np.asarray(log_q, np.float64)[:count], mirrored[:count])


def reverse_estimate(
    proposal: Proposal, system: System, beta: float, seed: int, samples: int = 1000
) -> tuple[ReverseEstimate | None, tuple[float, float] | None]:
    """Returns (ln Z, (|m|, error)) from Swendsen-Wang, or (None, None) where clusters do not help."""
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
        log_w.append(log_weights(log_q, system.energy(square), beta))
        m.append(np.asarray(each, np.float64))
    series = np.concatenate(m).T / sites  # [chains, sweeps]
    by_chain = np.array(log_w).T
    time = markov_chain.integrated_time(np.exp(by_chain.min() - by_chain)).time
    mean, error, *_ = markov_chain.chain_estimate(series)
    return reverse_ln_z(by_chain.reshape(-1), max(time, 0.5) if math.isfinite(time) else 0.5), (mean, error)


def _abs_m(spins: jax.Array) -> jax.Array:
    return jnp.abs(spins.astype(jnp.int32).sum(-1))
