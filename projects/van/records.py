"""What a run says of its estimates, from `result.json` alone (kernels/autoregressive/record): tables, a line, a status.

An error that is not known is null in the file and a dash on the page, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.publishing import verdicts
from common.publishing.numbers import UNKNOWN, decimals, error_text, formatted, with_error
from common.publishing.verdicts import marked
from kernels.autoregressive import Status
from kernels.autoregressive.record import NOT_RECORDED, pair, sigmas_off, status_of
from kernels.autoregressive.reliability import light_tail

NAMES = {
    "ln_z": "ln Z", "free_energy": "F/N", "u": "U/N", "entropy": "S/N", "c_v": "c_v", "abs_m_site": "|M|/N",
    "m_squared_site": "M^2/N^2", "chi": "chi", "binder": "Binder",
}  # fmt: skip


def count_statuses(rows: Iterable[Mapping]) -> str:
    """Returns how many of the results have which status: "9 trusted, 2 doubtful"; of one its status."""
    statuses = [status_of(row) for row in rows]
    unrecorded = any(NOT_RECORDED in status["unchecked"] for status in statuses)
    return verdicts.count(statuses) + (" (k-hat not recorded)" if unrecorded else "")


def off_text(values: Mapping, method: str) -> str:
    """Returns "+0.4", how many errors a method is off the truth; nothing where that is not known."""
    off = sigmas_off(values, method)
    return "" if off is None else f"{off:+.1f}" if abs(off) < 10 else f"{off:+.0f}"


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
            row["beta"], row["status"], formatted(row["ess"], ".2g"), formatted(row["k_hat"], ".2g"),
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
    has_weights = None not in (row["k_hat"], row["largest_share"])
    light = light_tail(row["samples"], row["k_hat"], row["largest_share"]) if has_weights else ""
    text = f"{row['samples']:,} samples, ESS {formatted(row['ess'], '.3f')}, k-hat {formatted(row['k_hat'])}"
    text += f"{light and f' ({light})'}, acceptance {row['acceptance']:.3f}, "
    text += f"integrated time of |M| {formatted(row['integrated_time'], '.1f')} steps."
    if row["forbidden_samples"]:
        text += f" {row['forbidden_samples']:,} samples lie in forbidden states: they have no weight, and count."
    text += reverse_text(row, f" ({row.get('reverse_status')})")
    if "reference" in reference and reference["reference_error"] != 0:
        text += f" |M|/N by Swendsen-Wang: {with_error(*pair(reference, 'reference'))} (as exact above)."
    if row["status"]["unchecked"]:
        text += f" Could not be looked at: {', '.join(row['status']['unchecked'])}."
    text += f" {UNKNOWN}: cannot be known. The errors of the network alone are those of a law that it takes for true."
    return text


def reverse_text(row: Mapping[str, Any], status: str = "") -> str:
    """Returns a sentence with ln Z from samples of p, and their status; nothing where there are none."""
    if "reverse_ln_z" not in row:
        return ""
    return f" ln Z from Swendsen-Wang's samples (reverse): {with_error(*pair(row, 'reverse_ln_z'))}{status}."


def line(row: Mapping[str, Any]) -> str:
    """Returns one line to print of a result: ln Z, how sure it is and how far off, and why not."""
    ln_z, status = row["estimates"]["ln_z"], status_of(row)
    off, alone = sigmas_off(ln_z, "nis"), sigmas_off(ln_z, "raw")
    text = f"ln Z {with_error(*pair(ln_z, 'nis'))}" + ("" if off is None else f", {off:+.2f} sigma")
    text += "" if alone is None else f" (network alone {alone:+.1f})"
    text += f", ESS {formatted(row['ess'], '.3f')}, k-hat {formatted(row.get('k_hat'))}"
    return f"{text}: {Status(status['level'], tuple(status['reasons']))}"
