"""The published results in `results/` and the tables that README.md shows of them."""

import pathlib
import shutil

import numpy as np

from common import files
from common.publishing import markdown, origin
from projects.levy_attack import effort_page, victims
from projects.levy_attack.study import MARKS, Law

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"


def write(name: str, result: dict, picture: pathlib.Path) -> None:
    """Puts a study and its picture into the project's results."""
    files.write_json(RESULTS / f"{name}.json", result | front_page(name, result))
    with files.beside(RESULTS / f"{name}.png") as temporary:
        shutil.copyfile(picture, temporary)


def front_page(name: str, result: dict) -> dict:
    """Returns what the repository's front page shows of a study: the law that came nearest, whatever it is."""
    tested = [row for row in result["laws"] if "p_holm" in row.get("comparison", {})]
    if not tested:
        return {"front_page": []}
    best = min(tested, key=lambda row: float(row["comparison"]["ratio"]))
    found = best["comparison"]
    seeds = _seeds([best])
    interval = f"{float(found['low']):.3f} to {float(found['high']):.3f}"
    return {
        "front_page": [
            {
                "what": f"{victims.TITLES[name]}, {result['images']} images, {seeds}{result['budget']:,} queries",
                "result": f"alpha {best['alpha']:g} comes to {float(found['ratio']):.3f} of the distance of alpha = 2 "
                f"({interval})",
            }
        ]
    }


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns the published studies by name, in the order of the victims."""
    found = {name: files.read_json(folder / f"{name}.json") for name in victims.NAMES}
    return {name: result for name, result in found.items() if result}


def number(value: float) -> str:
    """Three digits, or what a failure is."""
    return f"{float(value):.3g}" if np.isfinite(float(value)) else "none"


def query_rows(results: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Median L2 distance over queries, and the other norms at the end."""
    marks = [mark for mark in MARKS if any(mark <= result["budget"] for result in results.values())]
    columns = ["victim", "noise", "seeds", *(f"{mark:,}" for mark in marks), "L1", "Linf", "L2²/pixel"]
    rows = []
    for name, result in results.items():
        at = {int(queries): index for index, queries in enumerate(result["grid"])}
        for row in result["laws"]:
            cells = [number(row["median_l2"][at[mark]]) if mark in at else "" for mark in marks]
            norms = [number(row["median"][norm]) for norm in ("l1", "linf", "squared_l2_per_pixel")]
            law = Law(row["noise"], row["alpha"]).title()
            rows.append([victims.TITLES[name], law, str(len(row["seeds"])), *cells, *norms])
    return columns, rows


def alpha_rows(results: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """The paired comparison with alpha = 2 at the full budget."""
    columns = ["victim", "noise", "queries", "L2 ratio to alpha = 2", "95 % interval", "nearer on", "p", "p (Holm)"]
    columns.append("ratio of median L2²/pixel")
    rows = []
    for name, result in results.items():
        for row in result["laws"]:
            if "comparison" not in row:
                continue
            found = row["comparison"]
            rows.append([
                victims.TITLES[name], Law(row["noise"], row["alpha"]).title(), f"{result['budget']:,}",
                f"{float(found['ratio']):.3f}", f"{float(found['low']):.3f} to {float(found['high']):.3f}",
                f"{found['nearer']} of {found['images']}", f"{float(found['p_value']):.2g}",
                f"{float(found['p_holm']):.2g}" if "p_holm" in found else "", _ratio_of_medians(row, result),
            ])  # fmt: skip
    return columns, rows


def _ratio_of_medians(row: dict, result: dict) -> str:
    """In the Boundary Attack's own metric; without an interval, as the file has no images."""
    ours, theirs = (float(one["median"]["squared_l2_per_pixel"]) for one in (row, result["laws"][0]))
    return f"{ours / theirs:.3f}" if np.isfinite(ours) and np.isfinite(theirs) else ""


def curve_rows(results: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """The same ratios over queries, with their intervals: the end is one point of a curve."""
    marks = [mark for mark in MARKS if any(mark <= result["budget"] for result in results.values())]
    rows = []
    for name, result in results.items():
        at = {int(queries): index for index, queries in enumerate(result["grid"])}
        for row in result["laws"]:
            if "ratio" not in row:
                continue
            cells = [
                effort_page.cell(tuple(float(row["ratio"][kind][at[mark]]) for kind in ("median", "low", "high")))
                if mark in at
                else ""
                for mark in marks
            ]
            rows.append([victims.TITLES[name], Law(row["noise"], row["alpha"]).title(), *cells])
    return ["victim", "noise", *(f"{mark:,}" for mark in marks)], rows


def _seeds(rows: list[dict]) -> str:
    """How many seeds the comparisons of laws have."""
    counts = sorted({len(row["compared_seeds"]) for row in rows})
    if not counts:
        return ""
    shown = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{shown} {'seed' if counts == [1] else 'seeds'}, "


def finding(name: str, result: dict) -> str:
    """What a study found, in a sentence that follows from its numbers alone."""
    tested = [row for row in result["laws"] if "p_holm" in row.get("comparison", {})]
    clear = [row for row in tested if float(row["comparison"]["p_holm"]) < 0.05]
    where = f"{victims.TITLES[name]}, {result['images']} images, {_seeds(tested)}{result['budget']:,} queries"
    if not tested:
        return f"{where}: nothing to compare yet."

    def said(rows):
        return ", ".join(
            f"{row['alpha']:g} (ratio {float(row['comparison']['ratio']):.3f}, "
            f"{float(row['comparison']['low']):.3f} to {float(row['comparison']['high']):.3f})"
            for row in sorted(rows, key=lambda row: row["alpha"])
        )

    nearer = [row for row in clear if float(row["comparison"]["ratio"]) < 1]
    farther = [row for row in clear if float(row["comparison"]["ratio"]) >= 1]
    parts = []
    if nearer:
        parts.append(f"nearer than alpha = 2 with alpha {said(nearer)}")
    if farther:
        parts.append(f"farther than alpha = 2 with alpha {said(farther)}")
    others = [row for row in tested if row not in clear]
    if others:
        parts.append(f"no difference shown for alpha {said(others)}")
    return f"{where}: {'; '.join(parts)} (Holm, 5 %)."


def bench_text(bench: dict) -> str:
    """Speed and distances beside the peers."""
    parts = []
    if "steps_per_s" in bench:
        ours = next(iter(bench["steps_per_s"].values()))
        rows = [[who, f"{value:,.0f}", f"{ours / value:.2f}"] for who, value in bench["steps_per_s"].items()]
        parts += [
            f"Speed at batch {bench['batch']} on the MLP with adaptation, medians of {bench['repeats']} runs in turn:",
            markdown.table(["attack", "steps of the batch a second", "ours is times as fast"], rows),
        ]
    if "parts_ms" in bench:
        taken = ", ".join(f"{name} {value:.3f}" for name, value in bench["parts_ms"].items())
        parts.append(f"Milliseconds for a query of the batch, alone on all cores: {taken}.")
    rows = []
    for found in bench.get("quality", {}).values():
        theirs = found["beside"]
        for who, ratio in found["ratio"].items():
            rows.append([
                found["victim"], theirs, who, str(found["images"]), str(found["runs"]), f"{found['queries']:,}",
                number(found["median_l2"][who]), number(found["median_l2"][theirs]), f"{ratio:.3f}",
                f"{found['paired_ratio'][who]:.3f}",
            ])  # fmt: skip
    if rows:
        columns = [
            "victim",
            "peer",
            "ours",
            "images",
            "runs",
            "queries",
            "our median L2",
            "theirs",
            "ratio",
            "paired ratio",
        ]
        parts += ["Distances from the same starts at equal queries, alpha = 2:", markdown.table(columns, rows)]
        parts.append(
            "The first row of a pair has the peers' first steps (delta = eps = 0.01), the second has delta = 0.05, "
            "eps = 0.002; a paired ratio is the median over images, of the means over runs."
        )
    versions = bench["versions"]
    names = ("foolbox", "adversarial-robustness-toolbox", "jax", "torch")
    parts.append(
        f"Beside {', '.join(f'{name} {versions[name]}' for name in names)} on {bench['provenance']['device']}, "
        f"{bench['provenance']['date'][:10]}."
    )
    return "\n\n".join(parts)


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results, bench, effort = load(folder), files.read_json(folder / "bench.json"), effort_page.load(folder)
    parts = ["### At equal effort, over queries", *effort_page.text(effort)] if effort else []
    parts += ["### Every step rescaled, each victim's full budget", *study_text(results)] if results else []
    parts += ["### Beside other attacks", bench_text(bench)] if bench else []
    return "\n\n".join(parts) if parts else "No results are published yet."


def grouped(missing: list[str]) -> str:
    """Attacks that have not run, a law after the other with its seeds."""
    seeds: dict[str, list[str]] = {}
    for text in missing:
        law, seed = text.rsplit(", seed ", 1)
        seeds.setdefault(law, []).append(seed)
    return ", ".join(f"{law} (seed{'s' if len(found) > 1 else ''} {', '.join(found)})" for law, found in seeds.items())


def _span(values: list[int]) -> str:
    """The value, or the smallest and the largest."""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def study_text(results: dict[str, dict]) -> list[str]:
    """Findings, tables and pictures of the alpha study."""
    parts = ["\n".join(f"- {finding(name, result)}" for name, result in results.items())]
    right = [
        f"{victims.TITLES[name]}: {100 * result['accuracy']:.2f} % of {result['test_images']:,}"
        for name, result in results.items()
        if "accuracy" in result
    ]
    parts += [f"Test images that the victims get right. {'; '.join(right)}."] if right else []
    failed = [
        f"{victims.TITLES[name]}: {_span([row['failures'] for row in result['laws']])} of "
        f"{result['images'] * max(len(row['seeds']) for row in result['laws'])} with every law"
        for name, result in results.items()
        if any(row["failures"] for row in result["laws"])
    ]
    if failed:
        parts.append(
            "Images and seeds for which no start was found: infinitely far in the medians, and equal to each other in "
            f"the comparisons. {'; '.join(failed)}."
        )
    parts += ["Median L2 distance after so many queries, and other norms at the end:"]
    parts += [markdown.table(*query_rows(results))]
    parts += [
        "Paired over images, at the full budget; beside it the Boundary Attack's own metric, whose ratio can differ:",
        markdown.table(*alpha_rows(results)),
    ]
    parts += ["Paired L2 ratio to alpha = 2 after so many queries:", markdown.table(*curve_rows(results))]
    missing = [
        f"{victims.TITLES[name]}: {grouped(result['missing'])}" for name, result in results.items() if result["missing"]
    ]
    if missing:
        parts.append("Not run yet: " + "; ".join(missing) + ".")
    parts.append(origin.measured_on(results))
    for name in results:
        parts.append(f"![{victims.TITLES[name]}: distances over queries, ratios to alpha = 2](results/{name}.png)")
    return parts
