"""What README.md shows of the published results."""

import math
import pathlib
from collections.abc import Mapping, Sequence

from common import files
from common.publishing import Headline, Page, Section, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results

FOLDER = pathlib.Path(__file__).parent
BENCH = FOLDER.parents[1] / "kernels" / "spectral"
COLUMNS = {
    "taken_with_artifact": "other classes taken for it with the artifact",
    "best_f1": "F1 of the best cluster",
    "best_auroc": "its AUROC",
    "suspicious_f1": "F1 of what the suspicious clusters separate",
    "place": "place by tau",
    "tau": "tau",
    "above_null": "tau - null",
    "accused": "accused",
    "others_accused": "networks with another accused",
}
COUNTED = ("accused", "others_accused")

BARS = (
    ("the class with the artifact is the first by tau", "place", lambda mean: mean == 1),
    ("it is accused at 5 %", "accused", lambda mean: mean == 1),
    ("F1 of the best cluster at least 0.95", "best_f1", lambda mean: mean >= 0.95),
    ("F1 of the suspicious clusters at least 0.95", "suspicious_f1", lambda mean: mean >= 0.95),
)
QUIET = 0.9


def cell(name: str, row: Mapping | None) -> str:
    """Returns a mean with its interval, which ends where the quantity does; of yes or no how many said yes."""
    if row is None or name not in COUNTED:
        least, most = (1, math.inf) if name == "place" else (-1 if name == "above_null" else 0, 1)
        return interval(row, least, most)
    return f"{round(row['mean'] * row['count'])} of {row['count']}"


def interval(row: Mapping | None, least: float = -math.inf, most: float = math.inf) -> str:
    """Returns "0.95 (0.93 to 0.97)", without the interval where there is one seed."""
    if row is None or row.get("mean") is None:
        return ""
    text = f"{row['mean']:.3g}"
    if row.get("low") is None:
        return text
    return f"{text} ({max(row['low'], least):.3g} to {min(row['high'], most):.3g})"


def planted_table(results: Results) -> Table:
    """Returns a row a share: is the artifact used, found, and the class accused."""
    rows = [
        [f"{result['dataset']}, class {result['planted_class']}", f"{100 * float(share):g} %", row["seeds"]]
        + [cell(name, row[name]) for name in COLUMNS]
        for result in results.values()
        for share, row in result["shares"].items()
    ]
    return ["images", "share", "seeds", *COLUMNS.values()], rows


def bars_table(results: Results) -> Table:
    """Returns our bars with what was measured: a row for each data set and share, and one for the clean runs."""
    rows = []
    for result in results.values():
        for share, row in result["shares"].items():
            where = f"{result['dataset']}, {100 * float(share):g} %"
            for bar, name, holds in BARS:
                mean = row[name]["mean"]
                rows.append([bar, where, f"{mean:.3g}", "holds" if holds(mean) else "missed"])
        clean = result["clean"]
        if clean["runs"]:
            quiet = 1 - clean["runs_with_an_alarm"] / clean["runs"]
            verdict = "holds" if quiet >= QUIET else "missed"
            bar = f"no class accused in {100 * QUIET:.0f} % of networks without an artifact"
            rows.append([bar, f"{result['dataset']}, {clean['runs']} networks", f"{100 * quiet:.0f} %", verdict])
    return ["bar", "where", "mean over seeds", "verdict"], rows


def clean_lines(results: Results) -> str:
    """Says how often a network without an artifact was accused."""
    lines = []
    for result in results.values():
        clean = result["clean"]
        if not clean["runs"]:
            continue
        low, high = clean["interval"]
        lines.append(
            f"- {result['dataset']}: {clean['runs_with_an_alarm']} of {clean['runs']} networks without an artifact "
            f"had a class that stands out at 5 % (95 % interval {100 * low:.0f} to {100 * high:.0f} %); against the "
            f"null {clean['classes_beyond_their_null']} of {clean['classes']} classes did."
        )
    return "\n".join(lines) or "No clean runs are published yet."


def pictures(results: Results) -> str:
    """Returns the pictures of the class with the artifact."""
    captions = {
        "clusters": "two clusters of the class with the artifact: a mean map, then maps and images near its centre",
        "points": "eigenvalues with their gap, and its maps as points; rings: images that carry the artifact",
        "ranking": "the most separable class first; a red diamond stands out from the others",
    }
    texts = [
        page.picture(f"{name}_{suffix}", f"{result['dataset']}: {caption}")
        for name, result in results.items()
        for suffix, caption in captions.items()
    ]
    return "\n\n".join(text for text in texts if text) or "No pictures are published yet."


def headline(results: Results) -> Headline:
    """Returns the row of the front page: how well a planted artifact is found, and the false alarms."""
    result = next(iter(results.values()))
    share = max(result["shares"], key=float)
    row, clean = result["shares"][share], result["clean"]
    return Headline(
        f"an artifact in {100 * float(share):g} % of one class of {result['dataset']}, {row['seeds']} networks",
        f"best cluster's F1 {row['best_f1']['mean']:.2f}, place by tau {row['place']['mean']:.2g} of 10; "
        f"{clean['runs_with_an_alarm']} of {clean['runs']} networks without an artifact accused",
    )


def bench_tables(_: Results) -> list[Table | str]:
    """Returns the kernel's committed benchmarks beside CoRelAy, a table a device."""
    parts: list = []
    for path in sorted(BENCH.glob("bench.*.json")):
        bench = files.read_json(path)
        parts += [
            speed_table(bench["rows"]),
            memory_table(bench["rows"]),
            f"Medians of alternating runs on {bench['device']}, {bench['date'][:10]}, commit {bench['commit'][:10]}.",
            origin.changed_note({path.name: bench}),
        ]
    return parts or ["No benchmark is published yet."]


def speed_table(rows: Sequence[Mapping]) -> Table:
    """Returns seconds of ours and of each peer, and how many times as fast as the fastest form of CoRelAy."""
    peers = ("CoRelAy", "CoRelAy, product", "scikit-learn")
    body = []
    for row in rows:
        seconds = row.get("median_s", {})
        if "CoRelAy" in seconds:
            fastest = min(seconds[name] for name in peers[:2] if name in seconds)
            texts = [f"{seconds[name]:.3g} s" if name in seconds else "" for name in ("ours", *peers)]
            body.append([row["name"], *texts, f"{fastest / seconds['ours']:.1f}"])
    columns = ["what", "ours", "CoRelAy as shipped", "CoRelAy with a product's distances", "scikit-learn's search"]
    return [*columns, "times as fast as CoRelAy's faster form"], body


def memory_table(rows: Sequence[Mapping]) -> Table:
    """Returns seconds and the peak of a process of ours by the number of maps."""
    body = [
        [f"{row['n']:,}", f"{row['seconds'][-1]:.3g} s", f"{row['peak_bytes'] / 2**30:.2f} GiB"]
        for row in rows
        if "peak_bytes" in row
    ]
    return ["maps to clusters, maps", "second time", "peak of the process"], body


page = Page(
    FOLDER,
    "arXiv:1902.10178",
    {
        "planted": Section(planted_table, "*"),
        "bars": Section(bars_table, "*"),
        "pictures": Section(pictures, "*"),
        "clean": Section(lambda results: clean_lines(results), "*"),
        "bench": Section(bench_tables, sources=None),
    },
    headline,
)
