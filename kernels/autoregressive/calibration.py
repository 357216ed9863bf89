"""How often error bars hold what they promise, and how often they say that they do not know: many seeds of one law.

Of each seed: statuses as they are without the truth (from weights alone, with the mirror image, with samples of p) and
with it, and the distance from the truth by the delta method, the jackknife and neural MCMC. Of all: one-sigma coverage,
of every seed and of those that are trusted. For laws whose ln Z, U, S, c_v and |M| are known.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..array_types import Array, Float, Float64, Int8, RandomKey
from ..ising import System
from . import accumulate, chain_stream, reliability
from . import evidence as evidence_of
from .estimates import chain_values, statuses_of
from .importance import Estimates, by_formula, finalise
from .proposal import Proposal
from .reliability import Evidence
from .thermodynamics import SPINS, spin_derived

QUANTITIES = ("ln_z", "u", "entropy", "c_v", "abs_m_site")
OF_CHAIN = ("u", "abs_m_site")
STAGES = ("weights", "mirror", "samples of p", "exact")  # what a status knows, one after the other
METHODS = ("delta", "jackknife", "nmcmc")
FEW = 20  # seeds, of which no coverage is stated


class Draw(NamedTuple):
    """One seed of a case. Attributes: log_q, energy, magnetisation [n]; mirror: of its samples, or None."""

    log_q: Float64[np.ndarray, " n"]
    energy: Float64[np.ndarray, " n"]
    magnetisation: Float64[np.ndarray, " n"]
    mirror: tuple[float, float] | None = None


class Case(NamedTuple):
    """A law with exact values. Attributes: about: in words; draw: (seed, n) to Draw; truth: name to exact value; beta;
    sites; reverse: seed to ln Z from samples of p, None where there are none; samples: a seed, None for any number."""

    about: str
    draw: Callable[[int, int], Draw]
    truth: Mapping[str, float]
    beta: float
    sites: int
    reverse: Callable[[int], Any] | None = None
    samples: int | None = None


def system_case(
    about: str,
    sample: Callable[[RandomKey, int], tuple[Int8[Array, "n rows columns"], Float[Array, " n"]]],
    proposal: Proposal,
    system: System,
    beta: float,
) -> Case:
    """Returns the case of a proposal for a system that is solved exactly, |M| included.

    Args:
      about: in words.
      sample: (key, n) to (spins int8 [n, rows, columns], ln q [n]) of the proposal.
      proposal, system, beta: of the case.

    Raises:
      ValueError: ln Z or |M| of the system is not known exactly.
    """
    exact, abs_m, measure = system.exact(beta), system.abs_m(beta), evidence_of.make_measure(system)
    if exact is None or abs_m is None:
        raise ValueError(f"{system.title}: a calibration needs exact values of ln Z and |M|; take a smaller system")

    def draw(seed: int, n: int) -> Draw:
        spins, log_probability = sample(jax.random.key(seed), n)
        measured = (log_probability, *measure(spins))
        first = spins[: evidence_of.MIRRORED], log_probability[: evidence_of.MIRRORED]
        mirror = evidence_of.mirror_image(proposal, system, beta, *first)
        log_q, energy, m = (np.asarray(each, np.float64) for each in measured)
        return Draw(log_q, energy, m, mirror)

    def reverse(seed: int) -> Any:
        return evidence_of.clusters(proposal, system, beta, jax.random.fold_in(jax.random.key(seed), 2**31 + 1))[0]

    truth = evidence_of.truths(exact, (abs_m / system.sites, 0.0))
    return Case(about, draw, truth, beta, system.sites, reverse)


def log_normal_case(deviation: float, beta: float, sites: int, log_q: float = 0.0) -> Case:
    """Returns the case of log-weights that are normal: M is normal under q, shifted by their deviation under p."""

    def draw(seed: int, n: int) -> Draw:
        z = np.random.default_rng(seed).normal(size=n)
        return Draw(np.full(n, log_q), -(deviation * z + log_q) / beta, z)

    u = -(deviation**2 + log_q) / beta
    ln_z = deviation**2 / 2
    folded = math.sqrt(2 / math.pi) * math.exp(-(deviation**2) / 2) + deviation * math.erf(deviation / math.sqrt(2))
    truth = {
        "ln_z": ln_z, "u": u / sites, "entropy": (beta * u + ln_z) / sites, "c_v": deviation**2 / sites,
        "abs_m_site": folded / sites,
    }  # fmt: skip
    return Case(f"log-normal weights of deviation {deviation:g}", draw, truth, beta, sites)


def calibration(case: Case, seeds: Iterable[int], n: int) -> dict[str, Any]:
    """Returns what many seeds of n samples say: shares of seeds that are told, coverage by method and quantity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are counted
        trials = [of_seed(case, seed, n) for seed in seeds]
    levels = {stage: [trial["levels"][stage] for trial in trials] for stage in STAGES}
    return {
        "about": case.about,
        "ess": float(np.median([trial["ess"] for trial in trials])),
        "k_hat": quantiles([trial["k_hat"] for trial in trials]),
        "told": {stage: float(np.mean([level != reliability.TRUSTED for level in of])) for stage, of in levels.items()},
        "not_usable": {
            stage: float(np.mean([level == reliability.NOT_USABLE for level in of])) for stage, of in levels.items()
        },
        "silent": levels["samples of p"].count(reliability.TRUSTED),
        "methods": {method: coverage([trial[method] for trial in trials]) for method in METHODS},
    }


def quantiles(values: Sequence[float]) -> list[float] | None:
    """Returns the quantiles of 5, 50 and 95 % of those that are numbers; None where there are none."""
    numbers = [value for value in values if not np.isnan(value)]
    return [float(np.quantile(numbers, share)) for share in (0.05, 0.5, 0.95)] if numbers else None


def coverage(trials: Sequence[Mapping[str, tuple[float, float, str]]]) -> dict[str, dict[str, float | None]]:
    """Returns name to coverage of all seeds and of the trusted ones (None where fewer than 20 are).

    Args:
      trials: of each seed name to (distance from the truth, error, level).
    """
    shares = {}
    for name in trials[0]:
        within = np.array([abs(trial[name][0]) < trial[name][1] for trial in trials])
        trusted = np.array([trial[name][2] == reliability.TRUSTED for trial in trials])
        shares[name] = {
            "all": float(within.mean()),
            "trusted": float(within[trusted].mean()) if trusted.sum() >= FEW else None,
            "told": float(1 - trusted.mean()),
        }
    return shares


def of_seed(case: Case, seed: int, n: int) -> dict[str, Any]:
    """Returns, of one seed, statuses by what they know, and name to (distance from the truth, error, level) by method.

    Errors are those of the formula, whatever the status says of them; levels those without the truth.
    """
    draw = case.draw(seed, n)
    samples = draw.log_q, draw.energy, draw.magnetisation
    sums = accumulate.init(accumulate.origin(*samples[1:]))
    sums = accumulate.update(sums, jax.random.key(seed), *samples, case.beta)
    derived = spin_derived(case.beta, case.sites)
    levels, without_truth = _levels(case, seed, draw, sums, derived)
    plain = by_formula(sums.weighted, SPINS, derived)
    delta = {"ln_z": (plain.ln_z, plain.ln_z_err)} | {name: (plain.mean[name], plain.err[name]) for name in derived}
    jackknife = {name: (plain.jackknife[name], plain.jackknife_err[name]) for name in QUANTITIES}
    chain = chain_stream.means(sums.chain)
    _, of_chain = statuses_of(without_truth.status, chain, case.sites, without_truth)

    def off(pairs, statuses, names):
        return {name: (pairs[name][0] - case.truth[name], pairs[name][1], statuses[name].level) for name in names}

    return {
        "ess": plain.ess,
        "k_hat": plain.k_hat,
        "levels": levels,
        "delta": off(delta, without_truth.statuses, QUANTITIES),
        "jackknife": off(jackknife, without_truth.statuses, QUANTITIES),
        "nmcmc": off(chain_values(chain, case.sites), of_chain, OF_CHAIN),
    }


def _levels(case: Case, seed: int, draw: Draw, sums, derived) -> tuple[dict[str, str], Estimates]:
    """Returns stage to level of the status with all evidence up to it, and the estimates before the truth."""
    evidence = Evidence(-float(np.mean(draw.log_q)), 2.0**case.sites)
    levels: dict[str, str] = {}
    without_truth: Estimates
    for stage in STAGES:
        if stage == "mirror":
            evidence = dataclasses.replace(evidence, mirror=draw.mirror)
        if stage == "samples of p" and case.reverse is not None:
            evidence = dataclasses.replace(evidence, reverse=case.reverse(seed))
        if stage == "exact":
            evidence = dataclasses.replace(evidence, exact=case.truth)
        estimates = finalise(sums.weighted, SPINS, derived, evidence)
        levels[stage] = estimates.status.level
        if stage == "samples of p":
            without_truth = estimates
    return levels, without_truth
