"""What README.md and the front page show of the published results: networks, figures over temperatures, error bars."""

import pathlib
from collections.abc import Mapping, Sequence

from common.publishing import Headline, Page, origin
from common.publishing.markdown import Table, escaped
from common.publishing.numbers import UNKNOWN, formatted, percent, with_error
from common.publishing.origin import Results
from kernels.autoregressive.record import NOT_RECORDED, pair, sigmas_off, status_of
from kernels.autoregressive.reliability import LEVELS
from projects.van import figures
from projects.van.records import NAMES, count_statuses, off_text, quantity_table, reverse_text, truth_text

ROOM = pathlib.Path(__file__).parent
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


def headline(results: Results) -> Headline:
    """Returns the front page's row: the largest lattice, the Comment's panel, and how honest error bars are."""
    lines = {"square24": network_line, "figure_comment": panel_line, "coverage": coverage_line}
    return Headline(
        "ln Z of the largest lattice and of the Comment's panel; how honest error bars are",
        "; ".join(line(results[name]) for name, line in lines.items() if name in results),
        tuple(lines),
    )


def network_line(result: Mapping) -> str:
    """Returns ln Z of a network on a lattice with an exact solution, before and after correction."""
    z, off = result["estimates"]["ln_z"], sigmas_off(result["estimates"]["ln_z"], "raw")
    text = f"{result['title']}: ln Z {z['nis']:.4f} ± {formatted(z['nis_error'], '.1g')}, exact {z['exact']:.4f}"
    text += "" if off is None else f" (uncorrected {abs(off):.0f} sigma off)"
    return f"{text}; ESS {result['ess']:.2f}; {count_statuses([result])}"


def panel_line(result: Mapping) -> str:
    """Returns how far off the Comment's panel is before and after correction."""
    ((name, (row,)),) = result["rows"].items()
    raw, nis = (sigmas_off(row["estimates"]["ln_z"], method) for method in ("raw", "nis"))
    raw, nis = (formatted(off and abs(off), form) for off, form in ((raw, ".0f"), (nis, ".1f")))
    text = f"the Comment's panel, {name}, beta {row['beta']:g}: ln Z {raw} sigma off uncorrected, {nis} corrected"
    return f"{text}; ESS {row['ess']:.2g}; {count_statuses([row])}"


def coverage_line(result: Mapping) -> str:
    """Returns coverage where it is trusted, silence where it should not be; "" where cases are missing."""
    rows = result["coverage"]
    shares = [one["trusted"] for name in GOOD if name in rows for one in rows[name]["methods"]["delta"].values()]
    shares = [share for share in shares if share is not None]
    bad = [rows[name]["told"] for name in rows if name not in (*GOOD, *MEDIUM)]
    if not shares or not bad:
        return ""
    alone, mirror = (min(one[evidence] for one in bad) for evidence in ("weights", "mirror"))
    false = max(rows[name]["told"]["samples of p"] for name in GOOD if name in rows)
    return (
        f"error bars, {result['seeds']} seeds a case: one-sigma bars of good networks hold {percent(min(shares))} to "
        f"{percent(max(shares))}; false alarms {percent(false)}; unusable results are flagged in at least "
        f"{percent(mirror)} with a mirror image to look at, in {percent(alone)} by the weights alone"
    )


def summary_table(ladders: Sequence[Mapping]) -> Table:
    """Returns columns and rows: a row a ladder of temperatures."""
    columns = [
        "figure", "system", "network and training", "temperatures", "ESS", "ln Z within 1, 2, 3 sigma", "largest error",
        "status",
    ]  # fmt: skip
    rows = []
    for result in ladders:
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


def described(result: Mapping) -> str:
    """Returns what is said of a network above its table."""
    ess = f"ESS {result['ess']:.3f}"
    if "network_ess" in result:
        ess += f" of the mean, {result['network_ess']:.3f} of the network alone"
    text = f"**{result['title'][0].upper()}{result['title'][1:]}**: {result['network']}. {ess}; acceptance "
    time, status = formatted(result["integrated_time"], ".1f"), status_of(result)
    text += f"{result['acceptance']:.2f}, integrated time of \\|M\\| {time} steps; "
    text += f"peak memory {result['peak_mebibytes']} MiB." + reverse_text(result)
    text += f" Status: **{status['level']}**" + (f" ({'; '.join(status['reasons'])})" if status["reasons"] else "")
    text += f", k-hat {formatted(result['k_hat'])}." if "k_hat" in result else ", k-hat not recorded."
    if "resumed" in result:
        resumed = result["resumed"]
        after = ", ".join(f"{count:,}" for count in resumed["resumed_after"])
        text += f" Killed and resumed after {after} samples: {resumed['unequal']} of {resumed['numbers']} numbers"
        text += " differ from the uninterrupted run's."
    return text


def temperature_table(rows: Sequence[Mapping], names: Sequence[str]) -> Table:
    """Returns columns and rows: the corrected quantities of a ladder at every temperature."""
    columns = ["beta", "ESS", "of the network alone", "status"]
    for name in names:
        by = " by Swendsen-Wang" if name == "abs_m_site" else ", exact"
        columns += [escaped(NAMES[name]) + by, "corrected (sigma off)"]
    cells = []
    for row in sorted(rows, key=lambda row: row["beta"]):
        alone = formatted(row.get("network_ess", row["ess"]), ".2g")
        cells.append([f"{row['beta']:g}", formatted(row["ess"]), alone, status_of(row)["level"]])
        for values in (row["estimates"][name] for name in names):
            truth = truth_text(values).removesuffix(" (Swendsen-Wang)")
            cells[-1] += [truth, f"{with_error(*pair(values, 'nis'))} ({off_text(values, 'nis')})"]
    return columns, cells


def told_table(rows: Mapping[str, Mapping]) -> Table:
    """Returns columns and rows: the share of seeds that are not trusted, by what the status knows; not usable ones."""
    columns = ["case", "ESS", "k-hat, 5 to 95 %", *(f"told, {text}" for text in STAGES.values())]
    columns += [f"{LEVELS[2]} of these"]
    cells = []
    for row in rows.values():
        k_hat = "bounded" if row["k_hat"] is None else f"{row['k_hat'][0]:.2f} to {row['k_hat'][2]:.2f}"
        shares = [percent(row["told"][stage]) for stage in STAGES]
        cells.append([row["about"], f"{row['ess']:.2g}", k_hat, *shares, percent(row["not_usable"]["exact"])])
    return columns, cells


def coverage_table(rows: Mapping[str, Mapping], method: str) -> Table:
    """Returns columns and rows: coverage of all seeds, and of those that are trusted (told without the truth)."""
    columns = ["case", *(escaped(NAMES[name]) for name in next(iter(rows.values()))["methods"][method])]
    cells = [
        [row["about"], *(f"{percent(s['all'])} / {percent(s['trusted'])}" for s in row["methods"][method].values())]
        for row in rows.values()
    ]
    return columns, cells


def coverage_parts(result: Mapping) -> list[str | Table]:
    """Returns what the README shows of a published coverage."""
    rows, seeds, first = result["coverage"], result["seeds"], result["first_seed"]
    parts = [
        f"**How honest the error bars are**: {seeds} seeds ({first} to {first + seeds - 1}) of {result['samples']:,} "
        "samples a case, all with exact values. Told: the share of seeds whose status is doubtful or not usable, by "
        "what it knows; bounded: the heaviest weights are equal, so that there is no tail to fit.",
        told_table(rows),
        "One-sigma coverage, of all seeds / of those that are trusted without the exact value (a dash where fewer than "
        f"20 are). 68.3 % is right; with {seeds} seeds two standard deviations are {200 * (0.217 / seeds) ** 0.5:.0f} "
        "points.",
    ]
    for method, title in METHODS.items():
        parts += [f"{title}:", coverage_table(rows, method)]
    return parts


def sections(results: Results) -> list[str | Table]:
    """Returns what README.md shows of all results."""
    networks = [result for result in results.values() if "network" in result]
    ladders = [result for result in results.values() if isinstance(result.get("rows"), Mapping)]
    parts = []
    for result in networks:
        columns, rows = quantity_table(result)
        parts += [described(result), (columns, [[escaped(name), *cells] for name, *cells in rows])]
    if networks:
        parts.append("Each ± is one standard error; all but ln Z, c_v, chi and Binder's ratio are per site.")
    rows = [*networks, *(row for result in ladders for each in result["rows"].values() for row in each)]
    if any(NOT_RECORDED in status_of(row)["unchecked"] for row in rows):
        parts.append(BEFORE_STATUS)
    if ladders:
        parts.append(summary_table(ladders))
    for result in ladders:
        if (figure := result["figure"]) in FULL_TABLES:
            for name, each in result["rows"].items():
                parts.append(f"Figure {figure}, {name}: {result['networks'][name]}.")
                parts.append(temperature_table(each, figures.OVER_BETA[figure].columns))
    if (inverse := results.get("figure_4b")) is not None:
        columns = list(inverse["rows"][0])
        parts.append("Inverse Ising problem, error of the couplings:")
        parts.append((columns, [[f"{row[name]:.3g}" for name in columns] for row in inverse["rows"]]))
    if "coverage" in results:
        parts += coverage_parts(results["coverage"])
    parts.append(origin.measured_on(results))
    for result in results.values():
        pictures = result.get("pictures", [])[: 1 if result in networks[1:] else None]
        parts += [f"![{result['title']}](results/{picture})" for picture in pictures]
    return parts


page = Page(ROOM, "arXiv:1809.10606, arXiv:1903.11048", {"results": sections}, headline)
