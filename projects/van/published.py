"""Published results: a JSON file and pictures a figure in `results/`, and the tables that README.md shows of them."""

import math
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from common import files
from common.publishing import markdown, origin
from common.runs import provenance
from kernels.autoregressive.reliability import LEVELS
from projects.van import coverage_tables
from projects.van.records import NAMES, NOT_RECORDED, UNKNOWN, status_of

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"
WITHOUT = " (k-hat not recorded)"


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns name -> result of every file there."""
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def write(name: str, result: Mapping[str, Any], pictures: Mapping[str, pathlib.Path], folder=RESULTS) -> None:
    """Publishes a result and its pictures, a file for each suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, path in pictures.items():
        shutil.copyfile(path, folder / f"figure_{name}{suffix}.png")
    written = dict(result) | {"pictures": [f"figure_{name}{suffix}.png" for suffix in pictures]}
    files.write_json(folder / f"figure_{name}.json", written | front_page(written))


def write_network(
    name: str, result: Mapping[str, Any], run, trained, images: int, peak: float, mixture: int = 1
) -> None:
    """Publishes the estimates of one network, with its panel of corrections and histogram of weights.

    Args:
      result: of `sample`.
      run: its run, with the pictures.
      trained: flags of the training.
      images: symmetries that the network is averaged over.
      peak: memory of the process, MiB.
      mixture: networks that the samples come from.
    """
    pictures = {f"_{picture}": run.plots / f"{picture}.png" for picture in ("correction", "weights", "chain")}
    for suffix, path in pictures.items():
        shutil.copyfile(path, RESULTS / f"{name}{suffix}.png")
    network = f"{trained.network} D{trained.depth} C{trained.channels} h{trained.half_width}"
    network += ", folded order" if trained.fold else ""
    network += f", mixture of {mixture} networks" if mixture > 1 else ""
    network += f", mean over {images} symmetries" if images > 1 else ""
    title = f"{result['system']}, beta {result['beta']:g}, {result['samples']:,} samples"
    written = dict(result) | {
        "title": title, "network": network, "peak_mebibytes": round(peak),
        "pictures": [f"{name}{suffix}.png" for suffix in pictures], "provenance": provenance.stamp(),
    }  # fmt: skip
    files.write_json(RESULTS / f"{name}.json", written | front_page(written))


def front_page(result: Mapping[str, Any]) -> dict:
    """Returns what the repository's front page shows of a result: a line for a network or a ladder of temperatures."""
    if "coverage" in result:
        return {"front_page": coverage_tables.front_page(result)}
    lines = []
    estimates = result.get("estimates")
    if "network" in result and isinstance(estimates, Mapping) and "exact" in estimates["ln_z"]:
        z = estimates["ln_z"]
        error = UNKNOWN if z["nis_error"] is None else f"{z['nis_error']:.1g}"
        text = f"ln Z {z['nis']:.4f} ± {error}, exact {z['exact']:.4f}"
        text += f" (uncorrected {abs(z['raw'] - z['exact']) / z['raw_error']:.0f} sigma off)" if z["raw_error"] else ""
        text += f"; ESS {result['ess']:.2f}; {counted([result])}"
        lines.append({"what": result["title"], "result": text})
    elif "panel" in result:
        for name, (row,) in result["rows"].items():
            z = row["estimates"]["ln_z"]
            raw, nis = (_far(z, method, z["exact"]) for method in ("raw", "nis"))
            raw, nis = (UNKNOWN if far is None else f"{abs(far):{form}}" for far, form in ((raw, ".0f"), (nis, ".1f")))
            text = f"ln Z {raw} sigma off uncorrected, {nis} corrected; ESS {row['ess']:.2g}; {counted([row])}"
            lines.append({"what": f"the Comment's panel, {name}, beta {row['beta']:g}", "result": text})
    elif isinstance(result.get("rows"), list):
        row = min(result["rows"], key=lambda row: abs(row["beta"] - 1))
        best = min(error for name, error in row.items() if name not in ("beta", "network"))
        text = f"couplings at beta {row['beta']:g} to {row['network']:.2g} (root mean square), best baseline {best:.2g}"
        lines.append({"what": f"figure {result['figure']}, inverse Ising", "result": text})
    elif isinstance(result.get("rows"), Mapping):
        for row in summary_rows({"": result})[1]:
            text = f"ln Z within 1, 2, 3 sigma of exact: {row[5]} temperatures; {row[7]}"
            lines.append({"what": f"figure {row[0]}, {row[1]}, {row[3]}", "result": text})
    return {"front_page": lines}


def summary_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: a row a ladder of temperatures."""
    columns = [
        "figure", "system", "network and training", "temperatures", "ESS", "ln Z within 1, 2, 3 sigma", "largest error",
        "status",
    ]  # fmt: skip
    rows = []
    for result in results.values():
        if not isinstance(result.get("rows"), Mapping):
            continue
        for name, each in result["rows"].items():
            found = [row["estimates"]["ln_z"] for row in each]
            far = [_far(z, "nis", z["exact"]) for z in found if "exact" in z]
            within = ", ".join(str(sum(d is not None and abs(d) <= k for d in far)) for k in (1, 2, 3))
            within += f" of {len(far)}"
            errors = [z["nis_error"] for z in found]
            betas, ess = [row["beta"] for row in each], [row["ess"] for row in each]
            rows.append([
                result["figure"], name, result.get("networks", {}).get(name, ""),
                f"beta {min(betas):g} to {max(betas):g}" if len(betas) > 1 else f"beta {betas[0]:g}",
                f"{min(ess):.2f} to {max(ess):.2f}" if len(ess) > 1 else f"{ess[0]:.2f}", within,
                UNKNOWN if None in errors else f"{max(errors):.2g}", counted(each),
            ])  # fmt: skip
    return columns, rows


def counted(rows: list[Mapping]) -> str:
    """Returns how many of the results have which status: "9 trusted, 2 doubtful"; of one its status."""
    statuses = [status_of(row) for row in rows]
    levels = [status["level"] for status in statuses]
    text = ", ".join(f"{levels.count(level)} {level}" for level in LEVELS if level in levels)
    text = levels[0] if len(levels) == 1 else text
    return text + (WITHOUT if any(NOT_RECORDED in status["unchecked"] for status in statuses) else "")


def network_parts(results: Mapping[str, Mapping]) -> list[str]:
    """Returns a paragraph and a table for each single network: every quantity before and after correction."""
    parts = []
    for result in results.values():
        if "network" not in result or not isinstance(result.get("estimates"), Mapping):
            continue
        columns = [
            "quantity", "exact", "before weighting", "sigma off", "corrected (NIS)", "jackknife error", "sigma off",
            "NMCMC", "sigma off",
        ]  # fmt: skip
        rows = [quantity_row(name, values) for name, values in result["estimates"].items()]
        parts += [described(result), markdown.table(columns, rows)]
    return parts


def described(result: Mapping) -> str:
    """Returns what is said of a network above its table."""
    ess = f"ESS {result['ess']:.3f}"
    if "network_ess" in result:
        ess += f" of the mean, {result['network_ess']:.3f} of the network alone"
    text = f"**{result['title'][0].upper()}{result['title'][1:]}**: {result['network']}. {ess}; acceptance "
    text += f"{result['acceptance']:.2f}, integrated time of \\|M\\| {_short(result['integrated_time'])} steps; "
    text += f"peak memory {result['peak_mebibytes']} MiB."
    if "reverse_ln_z" in result:
        text += f" ln Z from Swendsen-Wang's samples (reverse): {_with_error(*_pair(result, 'reverse_ln_z'))}."
    text += f" Status: {described_status(result)}."
    if "resumed" in result:
        resumed = result["resumed"]
        after = ", ".join(f"{count:,}" for count in resumed["resumed_after"])
        text += f" Killed and resumed after {after} samples: {resumed['unequal']} of {resumed['numbers']} numbers"
        text += " differ from the uninterrupted run's."
    return text


def described_status(result: Mapping) -> str:
    """Returns a status in words: its level, the reasons, k-hat or that it was not recorded."""
    status = status_of(result)
    text = f"**{status['level']}**" + (f" ({'; '.join(status['reasons'])})" if status["reasons"] else "")
    return f"{text}, " + (f"k-hat {_short(result['k_hat'], 2)}" if "k_hat" in result else "k-hat not recorded")


def _short(value: float | None, digits: int = 1) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def quantity_row(name: str, values: Mapping[str, float]) -> list[str]:
    """Returns the cells of one quantity, each method with its distance from the exact value or Swendsen-Wang's."""
    if "exact" in values:
        truth, spread, shown = values["exact"], 0.0, f"{values['exact']:.{_decimals(values['nis_error'])}f}"
    elif "reference" in values:
        truth, spread = _pair(values, "reference")
        shown = f"{_with_error(truth, spread)} (Swendsen-Wang)" if spread != 0 else f"{truth:.6g}"
    else:
        truth, spread, shown = None, 0.0, ""
    cells = [NAMES[name].replace("|", "\\|"), shown]
    for method in ("raw", "nis", "nmcmc"):
        cells.append(_with_error(*_pair(values, method)) if method in values else "")
        if method == "nis":
            cells.append(_error(values["nis_jackknife_error"]))
        far = _far(values, method, truth, spread)
        cells.append("" if far is None else f"{far:+.1f}" if abs(far) < 10 else f"{far:+.0f}")
    return cells


def _far(values: Mapping, method: str, truth: float | None, spread: float | None = 0.0) -> float | None:
    """Returns how many errors a method is off; None where there is nothing to measure a distance in."""
    value, error = _pair(values, method)
    if value is None or truth is None or error is None or spread is None or not (error or spread):
        return None
    return (value - truth) / math.hypot(error, spread)


def figure_parts(result: Mapping) -> list[str]:
    """Returns a table for each ladder of figures 2a and 2b: the corrected quantities at every temperature."""
    parts = []
    for name, each in result["rows"].items():
        names = FIGURE_QUANTITIES[result["figure"]]
        columns = ["beta", "ESS", "of the network alone", "status"]
        for key in names:
            by = " by Swendsen-Wang" if key == "abs_m_site" else ", exact"
            columns += [NAMES[key].replace("|", "\\|") + by, "corrected (sigma off)"]
        rows = []
        for row in sorted(each, key=lambda row: row["beta"]):
            alone = row.get("network_ess", row["ess"])
            cells = [f"{row['beta']:g}", f"{row['ess']:.2f}", f"{alone:.2g}", status_of(row)["level"]]
            for key in names:
                _, shown, _, _, value, _, far, *_ = quantity_row(key, row["estimates"][key])
                cells += [shown.removesuffix(" (Swendsen-Wang)"), f"{value} ({far})"]
            rows.append(cells)
        parts += [f"Figure {result['figure']}, {name}: {result['networks'][name]}.", markdown.table(columns, rows)]
    return parts


FIGURE_QUANTITIES = {"2a": ("ln_z", "u", "entropy", "abs_m_site"), "2b": ("ln_z", "u", "entropy")}


def _pair(values: Mapping, name: str) -> tuple:
    return values.get(name), values.get(f"{name}_error")


def _error(error: float | None) -> str:
    """Two digits that count; in powers of ten only where an energy is known to a millionth; a dash where it is not."""
    if not error:  # 0 in files from before there was a status: the same in all samples
        return UNKNOWN
    return f"{error:.{_decimals(error)}f}" if error > 1e-6 else f"{error:.1e}"


def _decimals(error: float | None) -> int:
    return max(1 - math.floor(math.log10(error)), 0) if error else 6


def _with_error(value: float | None, error: float | None) -> str:
    """ "238.3890 ± 0.0043": as many decimals as the error has; a dash for what cannot be known."""
    if value is None:
        return UNKNOWN
    return f"{value:.{_decimals(error)}f} ± {_error(error)}" if error else f"{value:.6g} ± {UNKNOWN}"


def inverse_rows(result: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows of figure 4b."""
    columns = list(result["rows"][0])
    return columns, [[f"{row[name]:.3g}" for name in columns] for row in result["rows"]]


BEFORE_STATUS = (
    "Statuses here are worked out from the result files: effective samples, the heaviest sample, distances from exact "
    "values and from ln Z by Swendsen-Wang. The files are older than k-hat, which is not recorded in them; new runs "
    "record it."
)


def recorded(results: Mapping[str, Mapping]) -> list[Mapping]:
    """Returns every result of one network at one temperature."""
    rows = [result for result in results.values() if isinstance(result.get("estimates"), Mapping)]
    for result in results.values():
        if isinstance(result.get("rows"), Mapping):
            rows += [row for each in result["rows"].values() for row in each]
    return rows


def refresh_front_pages(folder: pathlib.Path = RESULTS) -> list[str]:
    """Writes anew what the front page shows of each result file, where that follows differently from its numbers now;
    returns their names."""
    changed = []
    for name, result in load(folder).items():
        fresh = front_page(result)
        if "front_page" in result and result["front_page"] != fresh["front_page"]:
            files.write_json(folder / f"{name}.json", result | fresh)
            changed.append(name)
    return changed


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results = load(folder)
    if not results:
        return "No results are published yet."
    parts = network_parts(results)
    if parts:
        parts.append("Each ± is one standard error; all but ln Z, c_v, chi and Binder's ratio are per site.")
    if any(NOT_RECORDED in status_of(row)["unchecked"] for row in recorded(results)):
        parts.append(BEFORE_STATUS)
    columns, rows = summary_rows(results)
    if rows:
        parts.append(markdown.table(columns, rows))
    for result in results.values():
        if result.get("figure") in FIGURE_QUANTITIES:
            parts += figure_parts(result)
    if "figure_4b" in results:
        parts += [
            "Inverse Ising problem, error of the couplings:",
            markdown.table(*inverse_rows(results["figure_4b"])),
        ]
    if "coverage" in results:
        parts += coverage_tables.parts(results["coverage"])
    parts.append(origin.measured_on(results))
    networks = [name for name in results if "network" in results[name]]
    for name, result in results.items():
        shown = result.get("pictures", [])[: 1 if name in networks[1:] else None]
        parts += [f"![{result['title']}](results/{picture})" for picture in shown]
    return "\n\n".join(parts)
