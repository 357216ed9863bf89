"""`python -m common.readme`: writes the measured tables of the front page from the committed result files.

Between its markers README.md shows the mean of every published result (`projects/*/results/*.json`: data set, points
with sizes and accuracies) and our time beside each peer's (`kernels/*/bench.*.json`). Nothing there is typed by hand;
a test compares.
"""

import pathlib
import sys
from collections.abc import Iterable, Sequence

from common import files

ROOT = pathlib.Path(__file__).resolve().parents[1]


def results_table(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown table: a row for every point of every published result that has sizes and accuracies."""
    rows, devices = [], {}
    for path in sorted(root.glob("projects/*/results/*.json")):
        result = files.read_json(path) or {}
        for point, found in result.get("points", {}).items():
            rows.append([
                f"[{path.parts[-3]}](projects/{path.parts[-3]}/README.md)",
                f"{result.get('title', path.stem)}, {result['dataset']}",
                point,
                f"{found['mean_percent']:.3g} %",
                f"{100 * found['mean_accuracy_before']:.2f} %",
                f"{100 * found['mean_accuracy']:.2f} %",
                str(len(found["seeds"])),
            ])  # fmt: skip
            devices[f"{result['provenance']['device']}, {result['provenance']['date'][:10]}"] = None
    if not rows:
        return "No results are published yet."
    columns = ["system", "network and images", "setting", "file, of float32", "accuracy before", "decoded", "seeds"]
    return f"{markdown(columns, rows)}\n\nWhole files, everything in them counted. Measured on {'; '.join(devices)}."


def bench_table(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown table: a row for every timing in every committed benchmark, but those marked `page: false`."""
    rows, devices = [], {}
    for path in sorted(root.glob("kernels/*/bench.*.json")):
        bench = files.read_json(path) or {}
        for row in bench.get("rows", []):
            speeds = row.get("millions_per_s")
            if speeds is None or not row.get("page", True):
                continue
            ours = f"{next(iter(speeds.values())):.1f}"
            beside = [(f"{peer}: {speeds[peer]:.1f}", f"{x:.2f}") for peer, x in row["times_faster_than"].items()]
            rows += [[path.parent.name, row["name"], ours, *pair] for pair in beside or [("", "")]]
            devices[f"{bench['device']}, {bench['date'][:10]}, commit {bench['commit'][:10]}"] = None
    if not rows:
        return "No benchmark is published yet."
    columns = ["kernel", "what", "ours, M/s", "beside, M/s", "times as fast"]
    where = "; ".join(devices)
    return f"{markdown(columns, rows)}\n\nMillions of weights a second, medians of alternating runs on {where}."


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rendered(text: str, root: pathlib.Path = ROOT) -> str:
    """Returns the page with fresh tables between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    for name, table in (("results", results_table(root)), ("bench", bench_table(root))):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in text or end not in text:
            raise ValueError(f"README.md has no place for the {name}: put {begin} and {end} on lines of their own")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"
    return text


def main() -> int:
    """Renders README.md in place."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rendered(old)
    if new != old:
        files.write_atomically(path, new)
    print("README.md " + ("written" if new != old else "is up to date"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
