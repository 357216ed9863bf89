"""What a run says of its estimates, from `result.json` alone (kernels/autoregressive/record): tables, a line, a status.

An error that is not known is null in the file and a dash on the page, never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kernels.autoregressive import ReverseEstimate, Status, pareto, reliability
from kernels.autoregressive.record import status_record
from kernels.autoregressive.reliability import LEVELS

NAMES = {
    "ln_z": "ln Z", "free_energy": "F/N", "u": "U/N", "entropy": "S/N", "c_v": "c_v", "abs_m_site": "|M|/N",
    "m_squared_site": "M^2/N^2", "chi": "chi", "binder": "Binder",
}  # fmt: skip
UNKNOWN = "\u2014"
NOT_RECORDED = "k-hat (not recorded)"


def status_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the status in a result, or for one that was written without it what its numbers say; without k-hat."""
    if "status" in row:
        return row["status"]
    of = row["estimates"]
    n, ess = row["samples"], row["ess"]
    weights = reliability.Weights(n, n, n * ess, row["largest_share"], math.nan, False, int)
    values = {name: pair(each, "nis") for name, each in of.items()}
    exact = {name: each["exact"] for name, each in of.items() if "exact" in each and name != "free_energy"}
    if of.get("abs_m_site", {}).get("reference_error") == 0:
        exact["abs_m_site"] = of["abs_m_site"]["reference"]
    sites = round(-of["ln_z"]["nis"] / of["free_energy"]["nis"] / row["beta"])
    reverse = None
    if "reverse_ln_z" in row:
        reverse = ReverseEstimate(*pair(row, "reverse_ln_z"), Status(), math.nan, math.nan)
    evidence = reliability.Evidence(sites * of["entropy"]["raw"], 2.0**sites, exact, reverse)
    status = reliability.of_weights(weights, values, evidence)
    return status_record(status._replace(unchecked=(*status.unchecked, NOT_RECORDED)))


def count_statuses(rows: Iterable[Mapping]) -> str:
    """Returns how many of the results have which status: "9 trusted, 2 doubtful"; of one its status."""
    statuses = [status_of(row) for row in rows]
    levels = [status["level"] for status in statuses]
    text = ", ".join(f"{levels.count(level)} {level}" for level in LEVELS if level in levels)
    text = levels[0] if len(levels) == 1 else text
    return text + (" (k-hat not recorded)" if any(NOT_RECORDED in status["unchecked"] for status in statuses) else "")


def pair(values: Mapping, method: str) -> tuple[float | None, float | None]:
    """Returns (value, error) of a method in a row of estimates; None for what is not known."""
    return values.get(method), values.get(f"{method}_error")


def truth_of(values: Mapping) -> tuple[float | None, float | None]:
    """Returns the exact value of a quantity with 0, or its reference with an error; (None, 0) where there is none."""
    if "exact" in values:
        return values["exact"], 0.0
    return pair(values, "reference") if "reference" in values else (None, 0.0)


def sigmas_off(values: Mapping, method: str) -> float | None:
    """Returns how many errors a method is off the truth; None where there is nothing to measure a distance in."""
    (value, error), (truth, spread) = pair(values, method), truth_of(values)
    if None in (value, error, truth, spread) or not (error or spread):
        return None
    return (value - truth) / math.hypot(error, spread)


def decimals(error: float | None) -> int:
    """Returns how many decimals show two digits of an error."""
    return max(1 - math.floor(math.log10(error)), 0) if error else 6


def error_text(error: float | None) -> str:
    """Returns two digits that count, in powers of ten below a millionth; a dash where it is not known."""
    if not error:  # 0 in files from before there was a status: the same in all samples
        return UNKNOWN
    return f"{error:.{decimals(error)}f}" if error > 1e-6 else f"{error:.1e}"


def with_error(value: float | None, error: float | None) -> str:
    """Returns "238.3890 ± 0.0043": as many decimals as the error has; a dash for what is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.{decimals(error)}f} ± {error_text(error)}" if error else f"{value:.6g} ± {UNKNOWN}"


def short(value: float | None, digits: int = 2) -> str:
    """Returns a number with so many decimals; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def number_text(value: float | None) -> str:
    """Returns two digits of a number; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.2g}"


def off_text(values: Mapping, method: str) -> str:
    """Returns "+0.4", how many errors a method is off the truth; nothing where that is not known."""
    off = sigmas_off(values, method)
    return "" if off is None else f"{off:+.1f}" if abs(off) < 10 else f"{off:+.0f}"


def marked(value: Any, level: str | None) -> Any:
    """Returns a cell of a table in the colour of a status."""
    value = UNKNOWN if value is None else value
    return value if level is None else {"value": value, "status": level}


def truth_text(values: Mapping) -> str:
    """Returns the exact value, or Swendsen-Wang's with its error; nothing where there is neither."""
    if "exact" in values:
        return f"{values['exact']:.{decimals(values['nis_error'])}f}"
    value, error = pair(values, "reference")
    if value is None:
        return ""
    return f"{value:.6g}" if error == 0 else f"{with_error(value, error)} (Swendsen-Wang)"


def quantity_table(row: Mapping[str, Any]) -> tuple[list[str], list[list]]:
    """Returns columns and rows: every quantity by every method, with errors and how many of them it is off."""
    columns = [
        "quantity", "exact", "before weighting", "sigma off", "corrected (NIS)", "jackknife error", "sigma off",
        "NMCMC", "sigma off",
    ]  # fmt: skip
    cells = []
    for name, values in row["estimates"].items():
        texts = {method: with_error(*pair(values, method)) if method in values else "" for method in ("raw", "nmcmc")}
        cells.append([
            NAMES[name], truth_text(values), texts["raw"], off_text(values, "raw"), with_error(*pair(values, "nis")),
            error_text(values["nis_jackknife_error"]), off_text(values, "nis"), texts["nmcmc"],
            off_text(values, "nmcmc"),
        ])  # fmt: skip
    return columns, cells


def table(row: Mapping[str, Any], title: str) -> tuple[list[str], list[list], str, str]:
    """Returns (columns, rows, title, note) for `run.table`: that of all quantities, with statuses and their colours."""
    columns, rows = quantity_table(row)
    for cells, values in zip(rows, row["estimates"].values(), strict=True):
        level = None if values["nis"] is None else values["nis_status"]  # F at beta = 0 does not exist
        of_chain = values.get("nmcmc_status")
        cells[4:6] = (marked(cell, level) for cell in cells[4:6])
        cells[7] = marked(cells[7], of_chain)
        cells += [level and marked(level, level), of_chain and marked(of_chain, of_chain)]
    return [*columns, "status", "status of NMCMC"], rows, title, note(row)


def window_table(rows: Sequence[Mapping[str, Any]], title: str) -> tuple[list[str], list[list], str, str]:
    """Returns the same of estimates that were reweighted to other beta, a row each; reasons stand below."""
    names = [name for name in ("ln_z", "u", "entropy", "c_v", "abs_m_site") if name in rows[0]]
    exact = ["ln_z"] if "exact_ln_z" in rows[0] else []
    cells = [
        [
            row["beta"], row["status"], number_text(row["ess"]), number_text(row["k_hat"]),
            *(marked(with_error(*pair(row, name)), row["status"]) for name in names),
            *(row[f"exact_{name}"] for name in exact),
        ]
        for row in rows
    ]  # fmt: skip
    columns = ["beta", "status", "ESS", "k-hat", *(NAMES[name] for name in names)]
    columns += [f"{NAMES[name]}, exact" for name in exact]
    reasons = [f"beta {row['beta']:g}: {row['reasons']}." for row in rows if row["reasons"]]
    return columns, cells, title, " ".join(reasons)


def note(row: Mapping[str, Any]) -> str:
    """Returns what stands below the table of a result."""
    reference = row["estimates"]["abs_m_site"]
    text = f"{row['samples']:,} samples, ESS {short(row['ess'], 3)}, k-hat {short(row['k_hat'])}{light_tail(row)}, "
    text += f"acceptance {row['acceptance']:.3f}, integrated time of |M| {short(row['integrated_time'], 1)} steps."
    if row["forbidden_samples"]:
        text += f" {row['forbidden_samples']:,} samples lie in forbidden states: they have no weight, and count."
    if "reverse_ln_z" in row:
        text += f" ln Z from Swendsen-Wang's samples (reverse): {with_error(*pair(row, 'reverse_ln_z'))}"
        text += f" ({row['reverse_status']})."
    if "reference" in reference and reference["reference_error"] != 0:
        text += f" |M|/N by Swendsen-Wang: {with_error(*pair(reference, 'reference'))} (as exact above)."
    if row["status"]["unchecked"]:
        text += f" Could not be looked at: {', '.join(row['status']['unchecked'])}."
    text += f" {UNKNOWN}: cannot be known. The errors of the network alone are those of a law that it takes for true."
    return text


def light_tail(row: Mapping[str, Any]) -> str:
    """Returns why a large k-hat leaves a status as it is, where it does."""
    if row["k_hat"] is None or row["largest_share"] is None:
        return ""
    heaviest = row["samples"] * row["largest_share"]
    if not (row["k_hat"] > pareto.largest_shape(row["samples"]) and heaviest <= reliability.HEAVY):
        return ""
    return f" (large, but the heaviest sample has {heaviest:.2g} mean weights, too few for a tail to matter)"


def line(row: Mapping[str, Any]) -> str:
    """Returns one line to print of a result: ln Z, how sure it is and how far off, and why not."""
    ln_z, status = row["estimates"]["ln_z"], status_of(row)
    off, alone = sigmas_off(ln_z, "nis"), sigmas_off(ln_z, "raw")
    text = f"ln Z {with_error(*pair(ln_z, 'nis'))}" + ("" if off is None else f", {off:+.2f} sigma")
    text += "" if alone is None else f" (network alone {alone:+.1f})"
    text += f", ESS {short(row['ess'], 3)}, k-hat {short(row.get('k_hat'))}"
    return f"{text}: {Status(status['level'], tuple(status['reasons']))}"
