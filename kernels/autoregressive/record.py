"""Estimates as plain numbers, ready for JSON: an error that is not known is None, never 0; statuses beside them."""

import math
from typing import Any

from ..ising import Exact
from . import reliability
from .estimates import SpinEstimates
from .importance import Estimates
from .reliability import Status
from .thermodynamics import QUANTITIES


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
        row = numbers(nis=value, nis_error=error, nis_jackknife_error=weighted.jackknife_err[name])
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


def status_record(status: Status) -> dict[str, Any]:
    """Returns a status as plain values."""
    return {"level": status.level, "reasons": list(status.reasons), "unchecked": list(status.unchecked)}
