"""What README.md and the front page show of the published results: two kinds of studies, and the peers.

Results of `mlp`, `mnist_cnn`, ... compare directions at a victim's full budget; those of `effort_...` compare lengths
and first steps over queries.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.publishing import Headline, Page, markdown, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results
from common.publishing.page import select
from projects.levy_attack.arms import STEPS_CONTROL, Arm
from projects.levy_attack.config import TITLES

MARKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 25_000)  # queries in the tables
EARLY, LAST = 1000, 10_000
EFFORT = ("effort_mnist_cnn", "effort_cifar_cnn")
KINDS = {
    "paired": "paired over images",
    "of_medians": "of the medians",
    "same_steps": "paired, to alpha = 2 with the same first steps",
}
NORMS = {"l2": "L2", "l1": "L1", "linf": "Linf", "squared_l2_per_pixel": "L2²/pixel"}
MAIN_RATIOS = (("paired", "l2"), ("same_steps", "l2"), ("of_medians", "squared_l2_per_pixel"))
ALL_RATIOS = tuple((kind, norm) for kind in KINDS for norm in NORMS)
CONTROLS = (  # words, the arm, and the kind of its ratios
    ("lengths as drawn, alpha 1", Arm("length", 1.0), "paired"),
    ("lengths as drawn, alpha 1.5", Arm("length", 1.5), "paired"),
    ("every step rescaled, alpha 1", Arm("coordinatewise", 1.0), "paired"),
    ("Gaussian directions with heavy-tailed lengths", Arm("radius", 1.0), "paired"),
    ("alpha = 2 itself with first steps 0.05 and 0.002", STEPS_CONTROL, "paired"),
    (
        "lengths as drawn, alpha 1, beside alpha = 2 when both have these first steps",
        Arm("length", 1.0, True),
        "same_steps",
    ),
)
SECTIONS = {
    "At equal effort, over queries": ("effort_*",),
    "Every step rescaled, each victim's full budget": tuple(TITLES),
}
COUNTS = (
    "Test images that the victims get right.",
    "Images and seeds for which no start was found: infinitely far in the medians, and equal to each other in the "
    "comparisons.",
    "Not run yet:",
)
COMPARISON = (
    "Paired over images, at the full budget; beside it the Boundary Attack's own metric, whose ratio can differ:"
)


def title(result: Mapping) -> str:
    """Returns the victim of a study as tables name it."""
    return result.get("title", TITLES[result["victim"]])


def arms(result: Mapping) -> list[dict]:
    """Returns the rows of a study.

    Those of before 2026-11-28 are "laws", have medians of other norms than L2 at the end only, and ratios in L2.
    """
    if "arms" in result:
        return result["arms"]
    rows = []
    for law in result["laws"]:
        median = {norm: [value] for norm, value in law["median"].items()} | {"l2": law["median_l2"]}
        row = law | {"median": median, "title": Arm(law["noise"], law["alpha"]).title, "has_short_steps": False}
        if ratio := law.get("ratio"):
            row["paired"] = {"l2": {"ratio": ratio["median"], "low": ratio["low"], "high": ratio["high"]}}
        rows.append(row)
    return rows


def row_of(result: Mapping, arm: Arm) -> dict | None:
    """Returns the row of an arm; None without its ratios."""
    keys = {Arm(row["noise"], float(row["alpha"]), row["has_short_steps"]): row for row in arms(result)}
    return keys[arm] if "paired" in keys.get(arm, {}) else None


def number(value: float) -> str:
    """Returns three digits, or what a failure is."""
    return f"{float(value):.3g}" if np.isfinite(float(value)) else "none"


def place(result: Mapping, queries: int) -> int | None:
    """Returns where a number of queries stands in the grid, if it does."""
    grid = [int(mark) for mark in result["grid"]]
    return grid.index(queries) if queries in grid else None


def ratio_at(result: Mapping, row: Mapping, kind: str, norm: str, queries: int) -> tuple[float, float, float] | None:
    """Returns (ratio, low, high) of an arm after so many queries, if they are in the grid."""
    index = place(result, queries)
    return index if index is None else tuple(float(row[kind][norm][name][index]) for name in ("ratio", "low", "high"))


def interval(values: tuple[float, float, float] | None) -> str:
    """Returns "0.50 (0.40 to 0.60)", "" for None."""
    if values is None:
        return ""
    ratio, low, high = (f"{value:.2f}" if np.isfinite(value) else "none" for value in values)
    return f"{ratio} ({low} to {high})"


def marks_of(results: Results) -> dict[str, int]:
    """Returns the queries that tables of these studies show, by their columns."""
    budget = max(result["budget"] for result in results.values())
    return {f"{mark:,}": mark for mark in MARKS if mark <= budget}


def distance_table(results: Results) -> Table:
    """Returns the median L2 distance over queries, other norms at the end, and how much of its steps the box left."""
    marks, rows = marks_of(results), []
    for result in results.values():
        places = [place(result, mark) for mark in marks.values()]
        for row in arms(result):
            cells = ["" if index is None else number(row["median"]["l2"][index]) for index in places]
            cells += [number(row["median"][norm][-1]) for norm in ("l1", "linf", "squared_l2_per_pixel")]
            length = f"{float(row['realised']):.3f}" if "realised" in row else ""
            rows.append([title(result), row["title"], len(row["seeds"]), *cells, length])
    return ["victim", "noise", "seeds", *marks, "L1", "Linf", "L2²/pixel", "realised steps"], rows


def comparison_table(results: Results) -> Table:
    """Returns the paired comparison with alpha = 2 at the full budget."""
    columns = ["victim", "noise", "queries", "L2 ratio to alpha = 2", "95 % interval", "nearer on", "p", "p (Holm)"]
    rows = []
    for result in results.values():
        baseline = arms(result)[0]["median"]["squared_l2_per_pixel"][-1]
        for row in arms(result):
            if test := row.get("comparison"):
                per_pixel = float(row["median"]["squared_l2_per_pixel"][-1]), float(baseline)
                rows.append([
                    title(result), row["title"], f"{result['budget']:,}", f"{float(test['ratio']):.3f}",
                    f"{float(test['low']):.3f} to {float(test['high']):.3f}", f"{test['nearer']} of {test['images']}",
                    f"{float(test['p_value']):.2g}", f"{float(test['p_holm']):.2g}" if "p_holm" in test else "",
                    f"{per_pixel[0] / per_pixel[1]:.3f}" if np.isfinite(per_pixel).all() else "",
                ])  # fmt: skip
    return [*columns, "ratio of median L2²/pixel"], rows


def ratio_table(results: Results, ratios: Sequence[tuple[str, str]] = ALL_RATIOS) -> Table:
    """Returns the ratios over queries: a row for each of some pairs (kind, norm), each study and each arm."""
    marks = marks_of(results)
    rows = [
        [
            title(result), f"{NORMS[norm]}, {KINDS[kind]}", row["title"], len(row["compared_seeds"]),
            *(interval(ratio_at(result, row, kind, norm, mark)) for mark in marks.values()),
        ]
        for kind, norm in ratios
        for result in results.values()
        for row in arms(result)
        if norm in row.get(kind, ())
    ]  # fmt: skip
    return ["victim", "ratio", "noise", "seeds", *marks], rows


def finding_text(name: str, result: Mapping) -> str:
    """Returns what a study shows, in sentences that follow from its numbers alone."""
    if not name.startswith("effort_"):
        return f"- {direction_finding(result)}"
    heading = f"{title(result)}, {result['images']} images, paired L2 ratios to alpha = 2 in first steps of 0.01:"
    return "\n".join([heading, "", *(f"- {sentence}" for sentence in effort_findings(result))])


def effort_findings(result: Mapping) -> list[str]:
    """Returns early and last ratios of each arm: nearer or farther where their interval leaves 1 out."""

    def words(values: tuple[float, float, float]) -> str:
        _, low, high = values
        return f"{'nearer' if high < 1 else 'farther' if low > 1 else 'no difference shown'}, {interval(values)}"

    sentences = []
    for name, arm, kind in CONTROLS:
        row = row_of(result, arm)
        if row is not None and kind in row:
            early, last = (words(ratio_at(result, row, kind, "l2", mark)) for mark in (EARLY, LAST))
            sentences.append(f"{name}: {early} at {EARLY:,} queries; {last} at {LAST:,}.")
    return sentences


def direction_finding(result: Mapping) -> str:
    """Returns which alphas come nearer than alpha = 2 at the full budget, by tests at 5 % after Holm."""
    rows = [row for row in arms(result) if "p_holm" in row.get("comparison", {})]
    if not rows:
        return f"{title(result)}, {result['images']} images, {result['budget']:,} queries: nothing to compare yet."
    groups = {"nearer than alpha = 2 with": [], "farther than alpha = 2 with": [], "no difference shown for": []}
    for row in sorted(rows, key=lambda row: row["alpha"]):
        ratio, low, high, p_value = (float(row["comparison"][key]) for key in ("ratio", "low", "high", "p_holm"))
        group = list(groups)[2 if p_value >= 0.05 else 0 if ratio < 1 else 1]
        groups[group].append(f"{row['alpha']:g} (ratio {ratio:.3f}, {low:.3f} to {high:.3f})")
    text = "; ".join(f"{group} alpha {', '.join(alphas)}" for group, alphas in groups.items() if alphas)
    count = spread([len(row["compared_seeds"]) for row in rows])
    seeds = f"{count} {'seed' if count == '1' else 'seeds'}"
    return f"{title(result)}, {result['images']} images, {seeds}, {result['budget']:,} queries: {text} (Holm, 5 %)."


def spread(values: Sequence[int]) -> str:
    """Returns the value, or the smallest and the largest."""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def headline(results: Results) -> Headline:
    """Returns the front page's row: early and late ratios of lengths as drawn, and the control of the first steps."""
    lines = []
    for result in (results[name] for name in EFFORT if name in results):
        row, control = row_of(result, Arm("length", 1.0)), row_of(result, STEPS_CONTROL)
        if row and control:
            early, last = (interval(ratio_at(result, row, "paired", "l2", mark)) for mark in (EARLY, LAST))
            longer = ratio_at(result, control, "paired", "l2", EARLY)[0]
            lines.append(
                f"{title(result)}: {early} at {EARLY:,} queries, {last} at {LAST:,} (alpha = 2 with longer first "
                f"steps: {longer:.2f} at {EARLY:,})"
            )
    what = "L2 distance with alpha 1, lengths as drawn, of that with alpha = 2 at equal queries, paired"
    return Headline(what, "; ".join(lines), EFFORT)


def tables(results: Results) -> list:
    """Returns everything between the markers."""
    parts = []
    for heading, names in SECTIONS.items():
        if studies := select(results, *names):
            parts += [f"### {heading}", *study_text(studies)]
    return parts + (["### Beside other attacks", *bench_text(results["bench"])] if "bench" in results else [])


def study_text(results: Results) -> list[str | Table]:
    """Returns findings, tables and pictures of some studies."""
    others = [pair for pair in ALL_RATIOS if pair not in MAIN_RATIOS]
    comparison, ratios = comparison_table(results), ratio_table(results, others)
    details = f"<details><summary>The other norms, paired and of the medians</summary>\n\n{markdown.table(*ratios)}"
    return [
        *(finding_text(name, result) for name, result in results.items()),
        *counts_text(results),
        "Median L2 distance after so many queries, other norms at the end, and the share of their steps along the "
        "boundary that the box left:",
        distance_table(results),
        "Ratios to alpha = 2 after so many queries, with 95 % intervals over images:",
        ratio_table(results, MAIN_RATIOS),
        f"{details}\n\n</details>" if ratios[1] else "",
        *([COMPARISON, comparison] if comparison[1] else []),
        origin.measured_on(results),
        *(page.picture(name, f"{title(one)}: over queries, beside alpha = 2") for name, one in results.items()),
    ]


def counts_text(results: Results) -> list[str]:
    """Returns how often victims are right, where no start was found, and which attacks have not run."""
    right, failures, missing = [], [], []
    for result in results.values():
        rows = arms(result)
        commits = f" (attacks at {', '.join(result['attacked_at'])})" if "attacked_at" in result else ""
        if "accuracy" in result:
            share = f"{100 * result['accuracy']:.2f} % of {result['test_images']:,}"
            right.append(f"{title(result)}: {share}{commits}")
        if any(row["failures"] for row in rows):
            total = result["images"] * max(len(row["seeds"]) for row in rows)
            failures.append(f"{title(result)}: {spread([row['failures'] for row in rows])} of {total} with every law")
        if result["missing"]:
            missing.append(f"{title(result)}: {', '.join(result['missing'])}")
    return [
        f"{text} {'; '.join(parts)}." for text, parts in zip(COUNTS, (right, failures, missing), strict=True) if parts
    ]


def bench_text(bench: Mapping) -> list[str | Table]:
    """Returns speed and distances beside the peers."""
    parts: list[str | Table] = []
    if speeds := bench.get("steps_per_s"):
        ours = next(iter(speeds.values()))
        rows = [[who, f"{speed:,.0f}", f"{ours / speed:.2f}"] for who, speed in speeds.items()]
        parts += [
            f"Speed at batch {bench['batch']} on the MLP with adaptation, medians of {bench['repeats']} runs in turn:",
            (["attack", "steps of the batch a second", "ours is times as fast"], rows),
        ]
    if times := bench.get("parts_ms"):
        text = ", ".join(f"{name} {milliseconds:.3f}" for name, milliseconds in times.items())
        parts.append(f"Milliseconds for a query of the batch, alone on all cores: {text}.")
    if quality := bench.get("quality"):
        parts += [
            "Distances from the same starts at equal queries, alpha = 2:",
            quality_table(quality.values()),
            "The first row of a pair has the peers' first steps (delta = eps = 0.01), the second has delta = 0.05, "
            "eps = 0.002; a paired ratio is the median over images, of the means over runs.",
        ]
    names = ("foolbox", "adversarial-robustness-toolbox", "jax", "torch")
    versions = ", ".join(f"{name} {bench['versions'][name]}" for name in names)
    return [*parts, f"Beside {versions} on {bench['provenance']['device']}, {bench['provenance']['date'][:10]}."]


def quality_table(comparisons: Iterable[Mapping]) -> Table:
    """Returns our distances beside a peer's: a row for each comparison and each of our settings."""
    columns = "victim, peer, ours, images, runs, queries, our median L2, theirs, ratio, paired ratio".split(", ")
    rows = [
        [
            one["victim"], one["beside"], who, one["images"], one["runs"], f"{one['queries']:,}",
            number(one["median_l2"][who]), number(one["median_l2"][one["beside"]]), f"{ratio:.3f}",
            f"{one['paired_ratio'][who]:.3f}",
        ]
        for one in comparisons
        for who, ratio in one["ratio"].items()
    ]  # fmt: skip
    return columns, rows


page = Page(
    pathlib.Path(__file__).parent, "EUSIPCO 2019, arXiv:1712.04248", {"results": tables}, headline, order=tuple(TITLES)
)
