"""Estimates as plain numbers, ready for JSON, and back: an error that is not known is None, never 0; with statuses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..array_types import Count, RandomKey
from ..ising import Exact, System
from . import reliability, stream
from .estimates import SpinEstimates, reweighted
from .importance import Estimates
from .proposal import Proposal
from .reliability import Evidence, Status, Weights
from .reverse import ReverseEstimate
from .thermodynamics import QUANTITIES

NOT_RECORDED = "k-hat (not recorded)"


def number(value: float | None) -> float | None:
    """Returns a number as JSON has it: None where it is infinite or nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def numbers(**values: float | None) -> dict[str, float | None]:
    """Returns `number` of each value."""
    return {name: number(value) for name, value in values.items()}


def record(estimates: SpinEstimates) -> dict[str, Any]:
    """Returns all numbers of estimates with their statuses.

    "raw" is what the network says, "nis" its correction by importance weights, "nmcmc" that by the Markov chain;
    "network_" stands before what the first law of a mixture or mean gives alone; "kl" is KL(q||p) in nats.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> m = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 8)).sum(1)  # of eight free spins
      >>> log_q = np.full(4000, 8 * np.log(0.5))
      >>> sums = autoregressive.accumulate.init(np.zeros(5))
      >>> sums = autoregressive.accumulate.update(sums, jax.random.key(0), log_q, 0 * m, m, 1.0)
      >>> autoregressive.record(autoregressive.from_sums(sums, 1.0, 8))["status"]["level"]
      'trusted'
    """
    weighted, single, reverse = estimates.corrected, estimates.single, estimates.reverse
    values = {"status": status_record(estimates.status), "samples": weighted.n}
    values |= numbers(
        ess=weighted.ess, effective_samples=weighted.n * weighted.ess, k_hat=weighted.k_hat,
        largest_share=weighted.largest_share,
    )  # fmt: skip
    values |= {"forbidden_samples": weighted.zeros, "acceptance": estimates.acceptance}
    values |= numbers(integrated_time=estimates.time)
    if reverse is not None:
        values |= numbers(reverse_ln_z=reverse.ln_z, reverse_ln_z_error=reverse.error)
        values["reverse_status"] = reverse.status.level
    if estimates.exact is not None:
        values |= numbers(kl=estimates.exact.ln_z - estimates.raw["ln_z"][0])
    if single is not None:
        values |= numbers(
            network_ess=single.ess, network_nis_ln_z=single.ln_z, network_nis_ln_z_error=single.ln_z_err,
            network_raw_ln_z=single.raw_ln_z, network_k_hat=single.k_hat,
        )  # fmt: skip
        values["network_status"] = single.status.level
    return values | {"estimates": quantity_records(estimates)}


def quantity_records(estimates: SpinEstimates) -> dict[str, dict[str, Any]]:
    """Returns the numbers of each quantity, by every method: with "exact" or "reference"."""
    weighted, exact = estimates.corrected, exact_values(estimates)
    pairs = {"ln_z": (weighted.ln_z, weighted.ln_z_err)}
    pairs |= {name: (weighted.mean[name], weighted.err[name]) for name in QUANTITIES if name in weighted.mean}
    rows = {}
    for name, (value, error) in pairs.items():
        row: dict[str, Any] = numbers(nis=value, nis_error=error, nis_jackknife_error=weighted.jackknife_err[name])
        row["nis_status"] = reliability.NOT_USABLE if math.isnan(value) else weighted.statuses[name].level
        for method, of in (("raw", estimates.raw), ("nmcmc", estimates.chain)):
            if name in of:
                row |= numbers(**{method: of[name][0], f"{method}_error": of[name][1]})
        if name in estimates.chain:
            row["nmcmc_status"] = estimates.chain_statuses[name].level
        if name in exact:
            row["exact"] = exact[name]
        elif name == "abs_m_site" and estimates.reference is not None:
            row |= {"reference": estimates.reference[0], "reference_error": number(estimates.reference[1])}
        rows[name] = row
    return rows


def exact_values(estimates: SpinEstimates) -> dict[str, float]:
    """Returns name to the exact value, of what has one."""
    exact = estimates.exact
    if exact is None:
        return {}
    values = {"ln_z": exact.ln_z, "u": exact.u, "entropy": exact.s, "c_v": exact.c_v}
    if estimates.beta:
        values["free_energy"] = -exact.ln_z / estimates.beta / estimates.sites
    return values


def window_record(beta: float, weighted: Estimates, exact: Exact | None) -> dict[str, Any]:
    """Returns the numbers of estimates at another temperature of the same samples."""
    row = {"beta": beta, "status": weighted.status.level, "reasons": "; ".join(weighted.status.reasons)}
    row |= numbers(ess=weighted.ess, k_hat=weighted.k_hat, ln_z=weighted.ln_z, ln_z_error=weighted.ln_z_err)
    for name in ("u", "entropy", "c_v", "abs_m_site"):
        row |= numbers(**{name: weighted.mean[name], f"{name}_error": weighted.err[name]})
    return row if exact is None else row | {"exact_ln_z": exact.ln_z, "exact_u": exact.u}


def window_records(
    window: Sequence[stream.State],
    betas: Sequence[float],
    proposal: Proposal,
    system: System,
    *,
    key: RandomKey,
    count: Count,
    entropy: float | None = None,
) -> list[dict[str, Any]]:
    """Returns a `window_record` of each beta.

    Args:
      window: streams of `window_chunks`, one a beta.
      betas, proposal, system, key: those of `window_chunks`.
      count, entropy: as of `reweighted`.
    """
    options: dict[str, Any] = {"key": key, "count": count, "entropy": entropy}
    weighted = [reweighted(of, proposal, system, at, **options) for at, of in zip(betas, window, strict=True)]
    return [window_record(at, each, system.exact(at)) for at, each in zip(betas, weighted, strict=True)]


def pair(values: Mapping[str, Any], method: str) -> tuple[Any, Any]:
    """Returns (value, error) of a method in a row of `quantity_records`; None for what is not known."""
    return values.get(method), values.get(f"{method}_error")


def truth_of(values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns the exact value of a quantity with 0, or its reference with an error; None for what is not known."""
    return (values["exact"], 0.0) if "exact" in values else pair(values, "reference")


def sigmas_off(values: Mapping[str, Any], method: str) -> float | None:
    """Returns how many errors a method is off the exact value, or off the reference and its error; None where there is
    nothing to measure a distance in."""
    (value, error), (truth, spread) = pair(values, method), truth_of(values)
    if None in (value, error, truth, spread) or not (error or spread):
        return None
    return (value - truth) / math.hypot(error, spread)


def status_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the status in a record, or for one that was written without it what its numbers say; without k-hat."""
    if "status" in row:
        return row["status"]
    of = row["estimates"]
    n, ess = row["samples"], row["ess"]
    weights = Weights(n, n, n * ess, row["largest_share"], math.nan, False, int)
    values = {name: pair(each, "nis") for name, each in of.items()}
    exact = {name: each["exact"] for name, each in of.items() if "exact" in each and name != "free_energy"}
    if of.get("abs_m_site", {}).get("reference_error") == 0:
        exact["abs_m_site"] = of["abs_m_site"]["reference"]
    sites = round(-of["ln_z"]["nis"] / of["free_energy"]["nis"] / row["beta"])
    reverse = None
    if "reverse_ln_z" in row:
        reverse = ReverseEstimate(*pair(row, "reverse_ln_z"), Status(), math.nan, math.nan)
    evidence = Evidence(sites * of["entropy"]["raw"], 2.0**sites, exact, reverse)
    status = reliability.of_weights(weights, values, evidence)
    return status_record(status._replace(unchecked=(*status.unchecked, NOT_RECORDED)))


def status_record(status: Status) -> dict[str, Any]:
    """Returns a status as plain values."""
    return {"level": status.level, "reasons": list(status.reasons), "unchecked": list(status.unchecked)}
