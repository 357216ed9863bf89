"""The page: published results, a JSON file and pictures each in `results/`, and what README.md shows of them."""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from common import files
from common.publishing import readme
from common.runs import provenance
from kernels.autoregressive.reliability import LEVELS
from projects.van import figures
from projects.van.config import TrainConfig
from projects.van.records import (
    NAMES,
    NOT_RECORDED,
    UNKNOWN,
    count_statuses,
    decimals,
    error_text,
    number_text,
    off_text,
    pair,
    short,
    sigmas_off,
    status_of,
    with_error,
)

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"
BEGIN, END = "<!-- results: made by `study --render_readme` -->", "<!-- end of results -->"
FULL_TABLES = ("2a", "2b")  # figures with a table for each of their systems
METHODS = {"delta": "NIS, error by the delta method", "jackknife": "NIS, jackknife", "nmcmc": "NMCMC"}
STAGES = {
    "weights": "by weights alone", "mirror": "with the mirror image", "samples of p": "with samples of p",
    "exact": "with the exact value",
}  # fmt: skip
GOOD, MEDIUM = ("ess_0.9", "ess_0.3"), ("ess_0.02",)  # cases that should be trusted, and that may be
BEFORE_STATUS = (
    "Statuses here are worked out from the result files: effective samples, the heaviest sample, distances from exact "
    "values and from ln Z by Swendsen-Wang. The files are older than k-hat, which is not recorded in them; new runs "
    "record it."
)


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns name -> result of every file there."""
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def write(name: str, result: Mapping[str, Any], pictures: Mapping[str, pathlib.Path], folder=RESULTS) -> None:
    """Publishes a result and its pictures, a file for each suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, path in pictures.items():
        shutil.copyfile(path, folder / f"{name}{suffix}.png")
    result = dict(result) | {"pictures": [f"{name}{suffix}.png" for suffix in pictures]}
    files.write_json(folder / f"{name}.json", result | {"front_page": front_page(result)})


def write_network(name: str, result: Mapping[str, Any], run) -> None:
    """Publishes the estimates of one network by `sample`, with the pictures of its run."""
    title = f"{result['system']}, beta {result['beta']:g}, {result['samples']:,} samples"
    pictures = {f"_{picture}": run.plots / f"{picture}.png" for picture in ("correction", "weights", "chain")}
    write(name, dict(result) | {"title": title, "provenance": provenance.stamp()}, pictures)


def network_text(settings: TrainConfig, images: int, mixture: int) -> str:
    """Returns the network of a training in words, and what it is averaged over: images, and networks of a mixture."""
    text = f"{figures.network_text(settings)}" + (", folded order" if settings.fold else "")
    text += f", mixture of {mixture} networks" if mixture > 1 else ""
    return text + (f", mean over {images} symmetries" if images > 1 else "")


def is_network(result: Mapping) -> bool:
    """Whether a result is that of one network at one temperature, by `sample`."""
    return "network" in result and isinstance(result.get("estimates"), Mapping)


def is_ladder(result: Mapping) -> bool:
    """Whether a result has rows over temperatures by system."""
    return isinstance(result.get("rows"), Mapping)


def front_page(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns what the repository's front page shows of a result: a line for a network or a ladder of temperatures."""
    if "coverage" in result:
        return coverage_line(result)
    if is_network(result) and "exact" in result["estimates"]["ln_z"]:
        z, off = result["estimates"]["ln_z"], sigmas_off(result["estimates"]["ln_z"], "raw")
        error = UNKNOWN if z["nis_error"] is None else f"{z['nis_error']:.1g}"
        text = f"ln Z {z['nis']:.4f} ± {error}, exact {z['exact']:.4f}"
        text += "" if off is None else f" (uncorrected {abs(off):.0f} sigma off)"
        text += f"; ESS {result['ess']:.2f}; {count_statuses([result])}"
        return [{"what": result["title"], "result": text}]
    if "panel" in result:
        ((name, (row,)),) = result["rows"].items()
        raw, nis = (sigmas_off(row["estimates"]["ln_z"], method) for method in ("raw", "nis"))
        raw, nis = (UNKNOWN if off is None else f"{abs(off):{form}}" for off, form in ((raw, ".0f"), (nis, ".1f")))
        text = f"ln Z {raw} sigma off uncorrected, {nis} corrected; ESS {row['ess']:.2g}; {count_statuses([row])}"
        return [{"what": f"the Comment's panel, {name}, beta {row['beta']:g}", "result": text}]
    if isinstance(result.get("rows"), list):
        row = min(result["rows"], key=lambda row: abs(row["beta"] - 1))
        best = min(error for name, error in row.items() if name not in ("beta", "network"))
        text = f"couplings at beta {row['beta']:g} to {row['network']:.2g} (root mean square), best baseline {best:.2g}"
        return [{"what": f"figure {result['figure']}, inverse Ising", "result": text}]
    return [
        {
            "what": f"figure {row[0]}, {row[1]}, {row[3]}",
            "result": f"ln Z within 1, 2, 3 sigma of exact: {row[5]} temperatures; {row[7]}",
        }
        for row in summary_table([result])[1]
    ]


def coverage_line(result: Mapping) -> list[dict[str, str]]:
    """Returns the line of the front page: coverage where it is trusted, silence where it should not be."""
    rows = result["coverage"]
    shares = [one["trusted"] for name in GOOD if name in rows for one in rows[name]["methods"]["delta"].values()]
    shares = [share for share in shares if share is not None]
    bad = [rows[name]["told"] for name in rows if name not in (*GOOD, *MEDIUM)]
    if not shares or not bad:
        return []
    alone, mirror = (min(one[evidence] for one in bad) for evidence in ("weights", "mirror"))
    false = max(rows[name]["told"]["samples of p"] for name in GOOD if name in rows)
    text = f"one-sigma bars of good networks hold {percent(min(shares))} to {percent(max(shares))}; false alarms "
    text += f"{percent(false)}; unusable results are flagged in at least {percent(mirror)} with a mirror image to "
    text += f"look at, in {percent(alone)} by the weights alone"
    return [{"what": f"error bars, {result['seeds']} seeds a case", "result": text}]


def summary_table(results: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: a row a ladder of temperatures."""
    columns = [
        "figure", "system", "network and training", "temperatures", "ESS", "ln Z within 1, 2, 3 sigma", "largest error",
        "status",
    ]  # fmt: skip
    rows = []
    for result in filter(is_ladder, results):
        for name, each in result["rows"].items():
            ln_z = [row["estimates"]["ln_z"] for row in each]
            off = [sigmas_off(z, "nis") for z in ln_z if "exact" in z]
            within = ", ".join(str(sum(d is not None and abs(d) <= k for d in off)) for k in (1, 2, 3))
            errors = [z["nis_error"] for z in ln_z]
            betas, ess = [row["beta"] for row in each], [row["ess"] for row in each]
            rows.append([
                result["figure"], name, result.get("networks", {}).get(name, ""),
                f"beta {min(betas):g} to {max(betas):g}" if len(betas) > 1 else f"beta {betas[0]:g}",
                f"{min(ess):.2f} to {max(ess):.2f}" if len(ess) > 1 else f"{ess[0]:.2f}", f"{within} of {len(off)}",
                UNKNOWN if None in errors else f"{max(errors):.2g}", count_statuses(each),
            ])  # fmt: skip
    return columns, rows


def network_parts(result: Mapping) -> list[str]:
    """Returns a paragraph and a table for a single network: every quantity before and after correction."""
    columns = [
        "quantity", "exact", "before weighting", "sigma off", "corrected (NIS)", "jackknife error", "sigma off",
        "NMCMC", "sigma off",
    ]  # fmt: skip
    rows = []
    for name, values in result["estimates"].items():
        texts = {method: with_error(*pair(values, method)) if method in values else "" for method in ("raw", "nmcmc")}
        rows.append([
            markdown_name(name), truth_text(values), texts["raw"], off_text(values, "raw"),
            with_error(*pair(values, "nis")), error_text(values["nis_jackknife_error"]), off_text(values, "nis"),
            texts["nmcmc"], off_text(values, "nmcmc"),
        ])  # fmt: skip
    return [described(result), readme.markdown(columns, rows)]


def markdown_name(name: str) -> str:
    """Returns the name of a quantity in a cell."""
    return NAMES[name].replace("|", "\\|")


def truth_text(values: Mapping) -> str:
    """Returns the exact value, or Swendsen-Wang's with its error; nothing where there is neither."""
    if "exact" in values:
        return f"{values['exact']:.{decimals(values['nis_error'])}f}"
    value, error = pair(values, "reference")
    if value is None:
        return ""
    return f"{value:.6g}" if error == 0 else f"{with_error(value, error)} (Swendsen-Wang)"


def described(result: Mapping) -> str:
    """Returns what is said of a network above its table."""
    ess = f"ESS {result['ess']:.3f}"
    if "network_ess" in result:
        ess += f" of the mean, {result['network_ess']:.3f} of the network alone"
    text = f"**{result['title'][0].upper()}{result['title'][1:]}**: {result['network']}. {ess}; acceptance "
    text += f"{result['acceptance']:.2f}, integrated time of \\|M\\| {short(result['integrated_time'], 1)} steps; "
    text += f"peak memory {result['peak_mebibytes']} MiB."
    if "reverse_ln_z" in result:
        text += f" ln Z from Swendsen-Wang's samples (reverse): {with_error(*pair(result, 'reverse_ln_z'))}."
    status = status_of(result)
    text += f" Status: **{status['level']}**" + (f" ({'; '.join(status['reasons'])})" if status["reasons"] else "")
    text += f", k-hat {short(result['k_hat'])}." if "k_hat" in result else ", k-hat not recorded."
    if "resumed" in result:
        resumed = result["resumed"]
        after = ", ".join(f"{count:,}" for count in resumed["resumed_after"])
        text += f" Killed and resumed after {after} samples: {resumed['unequal']} of {resumed['numbers']} numbers"
        text += " differ from the uninterrupted run's."
    return text


def temperature_table(rows: Sequence[Mapping], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: the corrected quantities of a ladder at every temperature."""
    columns = ["beta", "ESS", "of the network alone", "status"]
    for name in names:
        by = " by Swendsen-Wang" if name == "abs_m_site" else ", exact"
        columns += [markdown_name(name) + by, "corrected (sigma off)"]
    cells = []
    for row in sorted(rows, key=lambda row: row["beta"]):
        alone = row.get("network_ess", row["ess"])
        cells.append([f"{row['beta']:g}", short(row["ess"]), number_text(alone), status_of(row)["level"]])
        for values in (row["estimates"][name] for name in names):
            truth = truth_text(values).removesuffix(" (Swendsen-Wang)")
            cells[-1] += [truth, f"{with_error(*pair(values, 'nis'))} ({off_text(values, 'nis')})"]
    return columns, cells


def told_table(rows: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: the share of seeds that are not trusted, by what the status knows; not usable ones."""
    columns = ["case", "ESS", "k-hat, 5 to 95 %", *(f"told, {text}" for text in STAGES.values())]
    columns += [f"{LEVELS[2]} of these"]
    cells = []
    for row in rows.values():
        k_hat = "bounded" if row["k_hat"] is None else f"{row['k_hat'][0]:.2f} to {row['k_hat'][2]:.2f}"
        told = [percent(row["told"][stage]) for stage in STAGES]
        cells.append([row["about"], f"{row['ess']:.2g}", k_hat, *told, percent(row["not_usable"]["exact"])])
    return columns, cells


def coverage_table(rows: Mapping[str, Mapping], method: str) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: coverage of all seeds, and of those that are trusted (told without the truth)."""
    columns = ["case", *map(markdown_name, next(iter(rows.values()))["methods"][method])]
    cells = [
        [row["about"], *(f"{percent(s['all'])} / {percent(s['trusted'])}" for s in row["methods"][method].values())]
        for row in rows.values()
    ]
    return columns, cells


def percent(share: float | None) -> str:
    """Returns "68.3 %"; a dash for what is not known."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %".replace(".0 %", " %")


def coverage_parts(result: Mapping) -> list[str]:
    """Returns what the README shows of a published coverage."""
    rows, seeds, first = result["coverage"], result["seeds"], result["first_seed"]
    parts = [
        f"**How honest the error bars are**: {seeds} seeds ({first} to {first + seeds - 1}) of {result['samples']:,} "
        "samples a case, all with exact values. Told: the share of seeds whose status is doubtful or not usable, by "
        "what it knows; bounded: the heaviest weights are equal, so that there is no tail to fit.",
        readme.markdown(*told_table(rows)),
        "One-sigma coverage, of all seeds / of those that are trusted without the exact value (a dash where fewer than "
        f"20 are). 68.3 % is right; with {seeds} seeds two standard deviations are {200 * (0.217 / seeds) ** 0.5:.0f} "
        "points.",
    ]
    for method, title in METHODS.items():
        parts += [f"{title}:", readme.markdown(*coverage_table(rows, method))]
    return parts


def refresh_front_pages(folder: pathlib.Path = RESULTS) -> list[str]:
    """Writes anew what the front page shows of each result file, where that follows differently from its numbers now;
    returns their names."""
    changed = []
    for name, result in load(folder).items():
        fresh = front_page(result)
        if "front_page" in result and result["front_page"] != fresh:
            files.write_json(folder / f"{name}.json", result | {"front_page": fresh})
            changed.append(name)
    return changed


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results = load(folder)
    if not results:
        return "No results are published yet."
    networks, ladders = (list(filter(kind, results.values())) for kind in (is_network, is_ladder))
    parts = [part for result in networks for part in network_parts(result)]
    if networks:
        parts.append("Each ± is one standard error; all but ln Z, c_v, chi and Binder's ratio are per site.")
    rows = [*networks, *(row for result in ladders for each in result["rows"].values() for row in each)]
    if any(NOT_RECORDED in status_of(row)["unchecked"] for row in rows):
        parts.append(BEFORE_STATUS)
    if ladders:
        parts.append(readme.markdown(*summary_table(ladders)))
    for result in ladders:
        if (figure := result["figure"]) in FULL_TABLES:
            for name, each in result["rows"].items():
                parts.append(f"Figure {figure}, {name}: {result['networks'][name]}.")
                parts.append(readme.markdown(*temperature_table(each, figures.OVER_BETA[figure].columns)))
    if (inverse := results.get("figure_4b")) is not None:
        columns = list(inverse["rows"][0])
        cells = [[f"{row[name]:.3g}" for name in columns] for row in inverse["rows"]]
        parts += ["Inverse Ising problem, error of the couplings:", readme.markdown(columns, cells)]
    if "coverage" in results:
        parts += coverage_parts(results["coverage"])
    parts.append(readme.measured_on(results.values()))
    for result in results.values():
        pictures = result.get("pictures", [])[: 1 if result in networks[1:] else None]
        parts += [f"![{result['title']}](results/{picture})" for picture in pictures]
    return "\n\n".join(parts)


def render(page: pathlib.Path = ROOM / "README.md", folder: pathlib.Path = RESULTS) -> bool:
    """Writes the tables into the README; returns whether it changed.

    Raises:
      ValueError: the markers are not there.
    """
    return readme.fill(page, BEGIN, END, f"\n{rendered(folder)}\n")
