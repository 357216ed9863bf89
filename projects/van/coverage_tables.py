"""The tables of `coverage`: how often a status is told, and how often the truth lies within one stated error."""

from collections.abc import Mapping

from common.publishing import markdown
from kernels.autoregressive.reliability import LEVELS
from projects.van.records import NAMES, UNKNOWN

METHODS = {"delta": "NIS, error by the delta method", "jackknife": "NIS, jackknife", "nmcmc": "NMCMC"}
STAGES = {
    "weights": "by weights alone", "mirror": "with the mirror image", "samples of p": "with samples of p",
    "exact": "with the exact value",
}  # fmt: skip
GOOD = ("ess_0.9", "ess_0.3")  # cases that should be trusted


def told(rows: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: the share of seeds that are not trusted, by what the status knows; not usable ones."""
    columns = [
        "case",
        "ESS",
        "k-hat, 5 to 95 %",
        *(f"told, {text}" for text in STAGES.values()),
        f"{LEVELS[2]} of these",
    ]
    cells = []
    for row in rows.values():
        k_hat = "bounded" if row["k_hat"] is None else f"{row['k_hat'][0]:.2f} to {row['k_hat'][2]:.2f}"
        cells.append([
            row["about"], f"{row['ess']:.2g}", k_hat,
            *(_percent(row["told"][stage]) for stage in STAGES), _percent(row["not_usable"]["exact"]),
        ])  # fmt: skip
    return columns, cells


def covered(rows: Mapping[str, Mapping], method: str) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: coverage of all seeds, and of those that are trusted (told without the truth)."""
    names = next(iter(rows.values()))["methods"][method]
    columns = ["case", *(NAMES[name].replace("|", "\\|") for name in names)]
    cells = []
    for row in rows.values():
        each = row["methods"][method].values()
        cells.append([row["about"], *(f"{_percent(one['all'])} / {_percent(one['trusted'])}" for one in each)])
    return columns, cells


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f} %".replace(".0 %", " %")


def parts(result: Mapping) -> list[str]:
    """Returns what the README shows of a published coverage."""
    rows, seeds = result["coverage"], result["seeds"]
    first = result["first_seed"]
    about = (
        f"**How honest the error bars are**: {seeds} seeds ({first} to {first + seeds - 1}) of {result['samples']:,} "
        "samples a case, all with exact values. Told: the share of seeds whose status is doubtful or not usable, by "
        "what it knows; bounded: the heaviest weights are equal, so that there is no tail to fit."
    )
    text = [about, markdown.table(*told(rows))]
    text.append(
        "One-sigma coverage, of all seeds / of those that are trusted without the exact value (a dash where fewer than "
        f"20 are). 68.3 % is right; with {seeds} seeds two standard deviations are {200 * (0.217 / seeds) ** 0.5:.0f} "
        "points."
    )
    for method, title in METHODS.items():
        text += [f"{title}:", markdown.table(*covered(rows, method))]
    return text


def front_page(result: Mapping) -> list[dict[str, str]]:
    """Returns the line of the repository's front page: coverage where it is trusted, silence where it should not be."""
    rows = result["coverage"]
    shares = [one["trusted"] for name in GOOD if name in rows for one in rows[name]["methods"]["delta"].values()]
    shares = [share for share in shares if share is not None]
    bad = [rows[name]["told"] for name in rows if name not in (*GOOD, "ess_0.02")]
    if not shares or not bad:
        return []
    alone, mirror = (min(one[evidence] for one in bad) for evidence in ("weights", "mirror"))
    false = max(rows[name]["told"]["samples of p"] for name in GOOD if name in rows)
    text = f"one-sigma bars of good networks hold {_percent(min(shares))} to {_percent(max(shares))}; false alarms "
    text += f"{_percent(false)}; unusable results are flagged in at least {_percent(mirror)} with a mirror image to "
    text += f"look at, in {_percent(alone)} by the weights alone"
    return [{"what": f"error bars, {result['seeds']} seeds a case", "result": text}]
