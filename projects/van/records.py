"""What a run says of its estimates: `result.json`, the table of its page, the printed line; numbers with a status.

An error that is not known is null in the file and a dash on the page, never 0. Statuses are those of
kernels/autoregressive/reliability.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kernels.autoregressive import Estimates, ReverseEstimate, Status, pareto, reliability
from projects.van.estimates import Found

NAMES = {
    "ln_z": "ln Z", "free_energy": "F/N", "u": "U/N", "entropy": "S/N", "c_v": "c_v", "abs_m_site": "|M|/N",
    "m_squared_site": "M^2/N^2", "chi": "chi", "binder": "Binder",
}  # fmt: skip
UNKNOWN = "\u2014"
NOT_RECORDED = "k-hat (not recorded)"


def number(value: float | None) -> float | None:
    """Returns a number as JSON has it: None where it is infinite or nan."""
    return None if value is None or not math.isfinite(value) else float(value)


def exact_values(found: Found) -> dict[str, float]:
    """Returns name to the exact value, of what is known."""
    if found.exact is None:
        return {}
    values = {"ln_z": found.exact.ln_z, "u": found.exact.u, "entropy": found.exact.s, "c_v": found.exact.c_v}
    if found.beta:
        values["free_energy"] = -found.exact.ln_z / found.beta / found.sites
    return values


def corrected_values(found: Found) -> dict[str, tuple[float, float]]:
    """Returns name to (estimate, error) by importance weights."""
    est = found.corrected
    values = {"ln_z": (est.ln_z, est.ln_z_err)}
    return values | {name: (est.mean[name], est.err[name]) for name in NAMES if name in est.mean}


def table(found: Found, title: str) -> tuple[list[str], list[list], str, str]:
    """Returns (columns, rows, title, note) for `run.table`: every quantity by every method, with errors and status."""
    exact, corrected = exact_values(found), corrected_values(found)
    rows = []
    for name, label in NAMES.items():
        truth = exact.get(name)
        if truth is None and name == "abs_m_site" and found.reference is not None:
            truth = found.reference[0]
        value, error = corrected[name]
        level = level_of(value, found.corrected.statuses[name])
        jackknife = found.corrected.jackknife_err[name]
        chain = found.chain.get(name)
        level_of_chain = None if chain is None else level_of(chain[0], found.chain_statuses[name])
        rows.append([
            label, truth, None if name not in found.raw else with_error(*found.raw[name]).replace(" ", "\u00a0"),
            marked(with_error(value, error), level), marked(_short_error(jackknife), level),
            _far(value, error, truth), marked(level, level),
            None if chain is None else marked(with_error(*chain), level_of_chain),
            marked(level_of_chain, level_of_chain),
        ])  # fmt: skip
    columns = [
        "quantity", "exact", "network alone", "corrected (NIS)", "jackknife error", "sigmas off", "status", "NMCMC",
        "status",
    ]  # fmt: skip
    return columns, rows, title, note(found)


def window_table(rows: Sequence[Mapping[str, Any]], title: str) -> tuple[list[str], list[list], str, str]:
    """Returns the same of estimates that were reweighted to other beta, a row each; reasons stand below."""
    names = [name for name in ("ln_z", "u", "entropy", "c_v", "abs_m_site") if name in rows[0]]
    exact = ["ln_z"] if "exact_ln_z" in rows[0] else []
    cells = []
    for row in rows:
        pairs = [(row[name], row[f"{name}_error"]) for name in names]
        numbers = [UNKNOWN if row[name] is None else f"{row[name]:.2g}" for name in ("ess", "k_hat")]
        cells.append([
            row["beta"], row["status"], *numbers, *(marked(with_error(*pair), row["status"]) for pair in pairs),
            *(row[f"exact_{name}"] for name in exact),
        ])  # fmt: skip
    columns = ["beta", "status", "ESS", "k-hat", *(NAMES[name] for name in names)]
    columns += [f"{NAMES[name]}, exact" for name in exact]
    reasons = [f"beta {row['beta']:g}: {row['reasons']}." for row in rows if row["reasons"]]
    return columns, cells, title, " ".join(reasons)


def _far(value: float, error: float, truth: float | None) -> str | None:
    """Returns how many errors a value is off the truth; a dash where the error is not known, None without a truth."""
    if truth is None:
        return None
    return f"{(value - truth) / error:+.1f}" if 0 < error < math.inf else UNKNOWN


def level_of(value: float, status: Status) -> str | None:
    """Returns the level of a number; None of one that does not exist, such as F at beta = 0."""
    return None if math.isnan(value) else status.level


def marked(value: Any, level: str | None) -> Any:
    """Returns a cell of a table in the colour of a status."""
    value = _shown(value)
    return value if value is None or level is None else {"value": value, "status": level}


def _shown(value: Any) -> Any:
    return UNKNOWN if isinstance(value, float) and not math.isfinite(value) else value


def note(found: Found) -> str:
    """Returns what stands below the table."""
    est = found.corrected
    text = f"{est.n:,} samples, ESS {_short(est.ess, 3)}, k-hat {_short(est.k_hat)}{_light(est)}, acceptance "
    text += f"{found.acceptance:.3f}, integrated time of |M| {_short(found.time, 1)} steps."
    if est.zeros:
        text += f" {est.zeros:,} samples lie in forbidden states: they have no weight, and count."
    if found.reverse is not None:
        text += f" ln Z from Swendsen-Wang's samples (reverse): {with_error(found.reverse.ln_z, found.reverse.error)}"
        text += f" ({found.reverse.status.level})."
    if found.reference is not None and found.reference[1]:
        text += f" |M|/N by Swendsen-Wang: {with_error(*found.reference)} (as exact above)."
    if found.status.unchecked:
        text += f" Could not be looked at: {', '.join(found.status.unchecked)}."
    return (
        text
        + f" {UNKNOWN}: cannot be known. The errors of the network alone are those of a law that it takes for true."
    )


def _light(est: Estimates) -> str:
    """Returns why a large k-hat leaves a status as it is, where it does."""
    if not (est.k_hat > pareto.largest_shape(est.n) and est.n * est.largest_share <= reliability.HEAVY):
        return ""
    heaviest = f"{est.n * est.largest_share:.2g} mean weights"
    return f" (large, but the heaviest sample has {heaviest}, too few for a tail to matter)"


def _short(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else UNKNOWN


def _short_error(error: float) -> str:
    return f"{error:.2g}" if math.isfinite(error) else UNKNOWN


def with_error(value: float | None, error: float | None) -> str:
    """Returns "9.6902 ± 0.0031", the error with two digits; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if error is None or not math.isfinite(error):
        return f"{value:.6g} ± {UNKNOWN}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 12) if error > 0 else 6
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def line(found: Found) -> str:
    """Returns one line to print: ln Z, how sure it is, and why not."""
    text = f"ln Z {with_error(found.corrected.ln_z, found.corrected.ln_z_err)}, ESS {_short(found.corrected.ess, 3)}, "
    return text + f"k-hat {_short(found.corrected.k_hat)}: {found.status}"


def status_record(status: Status) -> dict[str, Any]:
    """Returns a status as `result.json` has it."""
    return {"level": status.level, "reasons": list(status.reasons), "unchecked": list(status.unchecked)}


def status_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the status in a result, or for one that was written without it what its numbers say; without k-hat."""
    if "status" in row:
        return row["status"]
    of = row["estimates"]
    n, ess = row["samples"], row["ess"]
    weights = reliability.Weights(n, n, n * ess, row["largest_share"], math.nan, False, int)
    values = {name: (each["nis"], each["nis_error"]) for name, each in of.items()}
    exact = {name: each["exact"] for name, each in of.items() if "exact" in each and name != "free_energy"}
    if of.get("abs_m_site", {}).get("reference_error") == 0:
        exact["abs_m_site"] = of["abs_m_site"]["reference"]
    sites = round(-of["ln_z"]["nis"] / of["free_energy"]["nis"] / row["beta"])
    reverse = None
    if "reverse_ln_z" in row:
        reverse = ReverseEstimate(row["reverse_ln_z"], row["reverse_ln_z_error"], Status(), math.nan, math.nan)
    evidence = reliability.Evidence(sites * of["entropy"]["raw"], 2.0**sites, exact, reverse)
    status = reliability.of_weights(weights, values, evidence)
    return status_record(status._replace(unchecked=(*status.unchecked, NOT_RECORDED)))


def result(found: Found) -> dict[str, Any]:
    """Returns the numbers for `result.json`."""
    est = found.corrected
    single = found.single
    of_single = {} if single is None else {
        "network_ess": number(single.ess), "network_nis_ln_z": number(single.ln_z),
        "network_nis_ln_z_error": number(single.ln_z_err), "network_raw_ln_z": number(single.raw_ln_z),
        "network_k_hat": number(single.k_hat), "network_status": single.status.level,
    }  # fmt: skip
    kl = {} if found.exact is None else {"kl": number(found.exact.ln_z - found.raw["ln_z"][0])}
    return {
        "status": status_record(found.status),
        "samples": est.n,
        "ess": number(est.ess),
        "effective_samples": number(est.n * est.ess),
        "k_hat": number(est.k_hat),
        "largest_share": number(est.largest_share),
        "forbidden_samples": est.zeros,
        "acceptance": found.acceptance,
        "integrated_time": number(found.time),
        **_reverse(found.reverse),
        **kl,
        **of_single,
        "estimates": {name: _row(found, name, *pair) for name, pair in corrected_values(found).items()},
    }


def _reverse(reverse: ReverseEstimate | None) -> dict[str, Any]:
    if reverse is None:
        return {}
    return {
        "reverse_ln_z": number(reverse.ln_z), "reverse_ln_z_error": number(reverse.error),
        "reverse_status": reverse.status.level,
    }  # fmt: skip


def _row(found: Found, name: str, value: float, error: float) -> dict[str, Any]:
    """Returns what `result.json` says of one quantity: errors that cannot be known are None."""
    est, exact = found.corrected, exact_values(found)
    row = {"nis": number(value), "nis_error": number(error), "nis_jackknife_error": number(est.jackknife_err[name])}
    row["nis_status"] = level_of(value, est.statuses[name]) or reliability.NOT_USABLE
    if name in found.raw:
        row |= {key: number(each) for key, each in zip(("raw", "raw_error"), found.raw[name], strict=True)}
    if name in found.chain:
        row |= {key: number(each) for key, each in zip(("nmcmc", "nmcmc_error"), found.chain[name], strict=True)}
        row["nmcmc_status"] = found.chain_statuses[name].level
    if name in exact:
        row["exact"] = exact[name]
    elif name == "abs_m_site" and found.reference is not None:
        row |= {"reference": found.reference[0], "reference_error": number(found.reference[1])}
    return row
