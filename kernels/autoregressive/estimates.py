"""All estimates of a network at one temperature: as it says, corrected by importance weights, and by neural MCMC.

    system = ising.systems.of_energy(energy, rows, columns)
    result = estimate(Proposal([Law(my_sample, my_log_prob)]), system, beta, 1_000_000, key=jax.random.key(0))
    print(result.corrected.ln_z, result.corrected.ln_z_err, result.status)

Samples come in chunks and leave sums; memory does not grow with their number. A network that may have lost a part of
the law is sampled in a mixture with wider ones, in which lost parts show. Nicoli et al., PRE 101, 023304.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from ..array_types import Count, Float64, RandomKey, Scalar
from ..ising import Exact, System
from . import accumulate, chain_stream, evidence, reliability, stream
from .accumulate import Sums
from .arguments import check_beta, check_integer, check_sites
from .chain_stream import ChainMeans
from .importance import Estimates, finalise
from .proposal import Proposal
from .reliability import Evidence, Status
from .reverse import ReverseEstimate
from .thermodynamics import SPINS, spin_derived, spin_numbers

Window = tuple[Sums, tuple[stream.State, ...]]
# Of the samples of a chunk: ln q, energy, sum of spins.
Chunk = tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]

CHAIN = {
    "u": 1,
    "abs_m_site": 1,
    "m_squared_site": 2,
}  # the chain's numbers, and the power of N that they are divided by
TOO_SURE = 0.5  # of the error by weights from the same samples, below which the chain has not met the heavy ones
ADVICE = "look at `status`, and draw more samples, train longer or average over symmetries"


@dataclasses.dataclass(frozen=True)
class SpinEstimates:
    """All estimates of one proposal at one temperature.

    Attributes:
      beta, sites: of the system.
      raw: what the network says by itself, name to (value, standard error), per site; nan where it is infinite.
      corrected: by importance weights, with their status.
      chain: by neural MCMC, name to (value, error), per site.
      acceptance, time: of the chain; its integrated time of |M|, in steps.
      reverse: ln Z from samples of Swendsen-Wang, None where that does not apply.
      reference: |M|/N and its error: exact with 0, by Swendsen-Wang (infinite where it cannot be known), or None.
      exact: (ln_z, u, s, c_v) or None.
      head: log_q, energy, magnetisation of the first samples [3, at most chain_stream.HEAD].
      series: energy, |M|, M^2 of the first steps of the chain, of the same size.
      chain_statuses: name to status of the chain's estimates: its own, and that of the weights it walks by.
      status: of all that stands here: of `corrected`, and doubtful where only the chain is worse.
      single: estimates of the first law alone, where `corrected` is of a mixture or of a mean over symmetries.
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
    head: Float64[np.ndarray, "3 first"]
    series: Float64[np.ndarray, "3 steps"]
    chain_statuses: dict[str, Status]
    status: Status
    single: Estimates | None = None


def estimate(
    proposal: Proposal,
    system: System,
    beta: Scalar,
    n: Count,
    *,
    key: RandomKey,
    chunk: Count = 1000,
    progress: Callable[[int], None] = lambda count: None,
) -> SpinEstimates:
    """Returns estimates from n fresh samples of a proposal, corrected to the law of a system at beta.

    Of a mixture, or a mean over symmetries, n samples more are drawn of the first law alone, for `raw` and `single`.

    Args:
      proposal: what samples come from.
      system: with the shape of the samples.
      beta: inverse temperature.
      n: samples, at least 2.
      key: from jax.random.key.
      chunk: samples at a time, which bounds memory.
      progress: called with the number of samples of each chunk.

    Raises:
      ValueError: n below 2, a chunk below 1 or too small for a mixture, either of them no integer; something else than
        a proposal; energies of nan or -inf.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import jax
      >>> from havel.kernels import autoregressive, ising
      >>> cfg, system = autoregressive.MADE(2), ising.systems.lattice("square", 2, 2, boundary="open")
      >>> law = autoregressive.network_law(autoregressive.init(cfg, jax.random.key(0)), cfg)
      >>> result = autoregressive.estimate(autoregressive.Proposal([law]), system, 0.3, 2000, key=jax.random.key(1))
      >>> abs(result.corrected.ln_z - result.exact.ln_z) < 0.1
      True
    """
    _check(proposal, n, chunk, 2, ": errors need so many samples")
    check_beta(beta)
    chunk = min(n, chunk)

    def sums_of(proposal: Proposal) -> Sums:
        for sums, (log_q, *_) in sample_chunks(proposal, system, beta, n, key=key, chunk=chunk):  # noqa: B007
            progress(len(log_q))
        return sums

    first = sums_of(Proposal(proposal.laws[:1]))
    if proposal.is_single:
        return finish(first, proposal, system, beta, key=key, chunk=chunk)
    return finish(sums_of(proposal), proposal, system, beta, key=key, chunk=chunk, single=first)


def sample_chunks(
    proposal: Proposal,
    system: System,
    beta: Scalar,
    n: Count,
    *,
    key: RandomKey,
    chunk: Count,
    sums: Sums | None = None,
) -> Iterator[tuple[Sums, Chunk]]:
    """Yields (sums, the chunk's (log_q, energy, magnetisation)) after each chunk, going on from `sums`, up to n."""
    _check(proposal, n, chunk, 1)
    of_samples, of_chain = _keys(key)
    measure = evidence.make_measure(system)
    for first in range(0 if sums is None else sums.n, n, chunk):
        spins, log_probability = proposal.sample(of_samples, chunk, first)
        measured = (log_probability, *measure(spins))
        log_q, energy, m = (np.asarray(values, np.float64)[: n - first] for values in measured)
        if sums is None:
            sums = accumulate.init(accumulate.origin(energy, m))
        sums = accumulate.update(sums, jax.random.fold_in(of_chain, first), log_q, energy, m, beta)
        yield sums, (log_q, energy, m)


def begin_window(
    proposal: Proposal, system: System, beta: Scalar, *, key: RandomKey, chunk: Count, betas: Sequence[float]
) -> Window:
    """Returns the sums before the first chunk of `window_chunks`, whose origin is that of the first samples."""
    first, _ = next(sample_chunks(proposal, system, beta, chunk, key=key, chunk=chunk))
    origin = first.weighted.origin
    return accumulate.init(origin), tuple(stream.init(len(origin), origin) for _ in betas)


def window_chunks(
    proposal: Proposal,
    system: System,
    beta: Scalar,
    n: Count,
    *,
    key: RandomKey,
    chunk: Count,
    betas: Sequence[float],
    window: Window,
) -> Iterator[Window]:
    """Yields the sums of `sample_chunks` and, of the same samples, a stream with the weights of each of other betas,
    for `reweighted`, after each chunk, going on from `window`, up to n."""
    sums, others = window
    for latest, (log_q, energy, m) in sample_chunks(proposal, system, beta, n, key=key, chunk=chunk, sums=sums):
        numbers = spin_numbers(energy, m)
        others = tuple(
            stream.update(other, stream.log_weights(log_q, energy, at), numbers)
            for at, other in zip(betas, others, strict=True)
        )
        yield latest, others


def _check(proposal: Proposal, n: Count, chunk: Count, least: int, why: str = "") -> None:
    if not isinstance(proposal, Proposal):
        raise ValueError(
            f"proposal is {type(proposal).__name__}; expected a Proposal: of a single law, Proposal([law])"
        )
    check_integer("n", n, least, why)
    check_integer("chunk", chunk, 1)


def _keys(key: RandomKey) -> tuple[jax.Array, jax.Array]:
    """Returns the keys of the samples and of the chain."""
    of_samples, of_chain = jax.random.split(jax.random.fold_in(key, 2**31))
    return of_samples, of_chain


def finish(
    sums: Sums,
    proposal: Proposal,
    system: System,
    beta: Scalar,
    *,
    key: RandomKey,
    chunk: Count,
    single: Sums | None = None,
) -> SpinEstimates:
    """Returns the estimates of all samples of `sample_chunks`, with all evidence that system and proposal give.

    Args:
      sums: of the samples; single: of as many of the first law alone, where the proposal is more than that.
      proposal, system, beta, key, chunk: those of `sample_chunks`.

    Warns:
      UserWarning: the status is not "trusted".
    """
    _check(proposal, sums.n, chunk, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one at the end, of all that stands there
        reverse, reference = evidence.clusters(proposal, system, beta, jax.random.fold_in(key, 2**31 + 1))
        if (abs_m := system.abs_m(beta)) is not None:
            reference = (abs_m / system.sites, 0.0)
        mirror = first_mirror_image(proposal, system, beta, key, min(chunk, sums.n))
    exact = system.exact(beta)
    return from_sums(
        sums, beta, system.sites, exact=exact, reference=reference, reverse=reverse, mirror=mirror, single=single
    )


def first_mirror_image(
    proposal: Proposal, system: System, beta: Scalar, key: RandomKey, count: Count
) -> tuple[float, float] | None:
    """Returns `evidence.mirror_image` of the first samples of `sample_chunks`; None where q has it."""
    if not evidence.has_mirror(proposal, system) or count < 2:
        return None
    return evidence.mirror_image(proposal, system, beta, *proposal.sample(_keys(key)[0], count))


def from_sums(
    sums: Sums,
    beta: Scalar,
    sites: Count,
    *,
    exact: Exact | None = None,
    reference: tuple[float, float] | None = None,
    reverse: ReverseEstimate | None = None,
    mirror: tuple[float, float] | None = None,
    single: Sums | None = None,
) -> SpinEstimates:
    """Returns the estimates of all samples that were summed up, and the status of each by what is known beside them.

    Args:
      sums: of `accumulate.update` at this beta.
      beta: inverse temperature.
      sites: number of spins.
      exact: solution of the system; None for none.
      reference: |M|/N and its error, 0 where it is exact; None for none.
      reverse: ln Z from samples of p; None for none.
      mirror: `mirror_difference`; None for none.
      single: of the first law alone, where the samples are of a mixture or a mean over symmetries.

    Raises:
      ValueError: beta is no finite number, sites no integer of 1 or more.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> m = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 8)).sum(1)  # of eight free spins
      >>> log_q = np.full(4000, 8 * np.log(0.5))
      >>> sums = autoregressive.accumulate.init(np.zeros(5))
      >>> sums = autoregressive.accumulate.update(sums, jax.random.key(0), log_q, 0 * m, m, 1.0)
      >>> round(autoregressive.from_sums(sums, 1.0, 8).corrected.ln_z, 3)  # 8 ln 2
      5.545
    """
    check_beta(beta)
    check_sites(sites)
    beta, sites = float(beta), int(sites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one at the end, of all that stands there
        beside = Evidence(accumulate.entropy(sums), 2.0**sites, evidence.truths(exact, reference), reverse, mirror)
        corrected = finalise(sums.weighted, SPINS, spin_derived(beta, sites), beside)
        chain = chain_stream.means(sums.chain)
        alone = None if single is None else of_single(single, beta, sites, exact, corrected)
        raw = raw_estimates(sums if single is None else single, beta, sites)
    status, chain_statuses = statuses_of(corrected.status, chain, sites, corrected, beside.exact)
    reliability.warn(status, ADVICE)
    of_chain = {
        name: (value, math.inf if chain_statuses[name].level == reliability.NOT_USABLE else error)
        for name, (value, error) in chain_values(chain, sites).items()
    }
    head, steps = (min(count, chain_stream.HEAD) for count in (sums.n, int(sums.chain.steps)))
    return SpinEstimates(
        beta, sites, raw, corrected, of_chain, chain.acceptance, chain.time, reverse, reference, exact,
        sums.head[:, :head], sums.chain.head[:, :steps], chain_statuses, status, alone,
    )  # fmt: skip


def reweighted(
    weighted: stream.State,
    proposal: Proposal,
    system: System,
    beta: Scalar,
    *,
    key: RandomKey,
    count: Count,
    entropy: float | None = None,
) -> Estimates:
    """Returns the estimates at another beta of samples that were summed up with the weights of that beta.

    What the proposal lost is lost at each beta, so that the mirror image is looked at here, too. The estimates have
    their status; no warning repeats it.

    Args:
      weighted: sums of `thermodynamics.spin_numbers` over the samples.
      proposal, system, key: those of `sample_chunks`; beta: of the weights.
      count: of the first samples, drawn together, whose mirror images are looked at.
      entropy: -mean ln q over the samples, nats; None where it is not known.
    """
    mirror = first_mirror_image(proposal, system, beta, key, count)
    beside = Evidence(entropy, 2.0**system.sites, evidence.truths(system.exact(beta)), mirror=mirror)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return finalise(weighted, SPINS, spin_derived(beta, system.sites), beside)


def raw_estimates(sums: Sums, beta: float, sites: int) -> dict[str, tuple[float, float]]:
    """Returns what the network says without correction, with the errors that would be given if it were right.

    Where samples are forbidden its energy is infinite and its bound of ln Z too: nan, and the rest is of the others.
    """
    plain = finalise(sums.raw, accumulate.RAW, None, Evidence(accumulate.entropy(sums), 2.0**sites))
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


def of_single(single: Sums, beta: float, sites: int, exact: Exact | None, better: Estimates) -> Estimates:
    """Returns the estimates of the first law alone, which stand beside those of a mixture or mean over symmetries.

    What it lost does not show in its own weights: where `better`, those estimates, can be trusted and are far off, its
    status says so.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is what the mixture is for
        beside = Evidence(accumulate.entropy(single), 2.0**sites, evidence.truths(exact))
        alone = finalise(single.weighted, SPINS, None, beside)
    if better.status.level != reliability.TRUSTED:
        return alone
    pairs = (alone.ln_z, alone.ln_z_err), (better.ln_z, better.ln_z_err)
    lost = reliability.against_better(*pairs, "ln Z", "the mixture or mean over symmetries")
    status = reliability.worst(alone.status, lost)
    error = math.inf if status.level == reliability.NOT_USABLE else alone.ln_z_err
    return alone._replace(status=status, ln_z_err=error, statuses=alone.statuses | {"ln_z": status})


def with_first_law(
    estimates: SpinEstimates, proposal: Proposal, system: System, *, key: RandomKey, chunk: Count, n: Count
) -> SpinEstimates:
    """Returns estimates of a mixture or mean over symmetries with those of n samples of its first law beside them.

    Args:
      estimates: of the proposal; they are returned as they are where it is one law.
      proposal, system, key, chunk: those of `sample_chunks`.
      n: samples of the first law.
    """
    if proposal.is_single:
        return estimates
    first, beta = Proposal(proposal.laws[:1]), estimates.beta
    *_, (sums, _) = sample_chunks(first, system, beta, n, key=key, chunk=min(chunk, n))
    single = of_single(sums, beta, system.sites, estimates.exact, estimates.corrected)
    return dataclasses.replace(estimates, single=single)


def chain_values(chain: ChainMeans, sites: int) -> dict[str, tuple[float, float]]:
    """Returns name to (estimate, error) of the chain, per site."""
    return {
        name: (each.mean / sites**power, each.error / sites**power)
        for (name, power), each in zip(CHAIN.items(), chain.estimates, strict=True)
    }


def statuses_of(
    weights: Status, chain: ChainMeans, sites: int, corrected: Estimates, exact: Mapping[str, float] | None = None
) -> tuple[Status, dict[str, Status]]:
    """Returns (status of all estimates, name to status of the chain's).

    The chain walks by the weights, so that it knows no more than they do: an error far below theirs, which comes from
    the same samples, is of a chain that passed the heavy ones by. Estimates whose weights are trusted and whose chain
    is not are doubtful, with the chain's reasons.

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
    others = {name: each for name, each in own.items() if not (moves and math.isinf(corrected.err[name]))}
    others = others or {next(iter(CHAIN)): chain.status}
    name, of_chain = max(others.items(), key=lambda pair: reliability.LEVELS.index(pair[1].level))
    reasons = tuple(
        f"NMCMC, {reason}" if reason.startswith(f"{name} ") else f"NMCMC, {name}: {reason}"
        for reason in of_chain.reasons
    )
    level = min(of_chain.level, reliability.DOUBTFUL, key=reliability.LEVELS.index)
    return reliability.worst(weights, Status(level, reasons)), statuses
