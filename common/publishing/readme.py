"""`python -m common.publishing.readme`: writes the measured tables of the front page and of kernels/README.md.

Between its markers README.md shows a line or two of every published result (`projects/*/results/*.json`: points with
sizes and accuracies, or lines under "front_page") and the benchmarks that stand for their kernel; kernels/README.md
shows every benchmark (`kernels/*/bench.*.json`). Nothing there is typed by hand; a test compares.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

from common import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
POINT = "half a point"  # of a compressed network, where there are several

TITLES = {  # of results that have none
    "efficientnet_lite0": "EfficientNet-Lite0",
    "lenet5": "LeNet5",
    "lenet_300_100": "LeNet-300-100",
    "small_vgg16": "Small-VGG16",
    "resnet20": "ResNet-20",
}

# Benchmarks that stand for their kernel on the front page, by the names of their rows.
HEADLINES = {
    "alpha_stable": ("sas, alpha 1.5", "sas, alpha 1.0"),
    "attribution": ("epsilon_plus_flat, batch 32", "epsilon_gamma_box, batch 8"),
    "autoregressive": ("sample 16 x 16, D6 C64 h3, batch 100", "sample 16 x 16, D6 C64 h3, batch 1000"),
    "entropy_coding": (
        "encode, 5 M weights, 90 % zeros",
        "decode, 5 M weights, 90 % zeros",
        "encode with presets, 5 M weights, 90 % zeros",
        "trellis with rate, 90 % zeros",
        "rate_exact, compiled, 2 threads, 90 % zeros",
        "EfficientNet-Lite0 encode, trellis qp -32, without the start",
        "EfficientNet-Lite0 decode, trellis qp -32, without the start",
    ),
}


def results_table(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown table: what every published result has to show."""
    rows, devices = [], {}
    for path in sorted(root.glob("projects/*/results/*.json")):
        result = files.read_json(path) or {}
        project = path.parts[-3]
        lines = [(line["what"], line["result"]) for line in result.get("front_page", ())]
        points = result.get("points", {})
        if points:
            name = POINT if POINT in points else next(iter(points))
            lines.append((network_of(result, path.stem), _point_text(points[name])))
        for what, text in lines:
            rows.append([f"[{project}](projects/{project}/README.md)", what, text])
            provenance = result["provenance"]
            devices[f"{provenance['device']}, {provenance['date'][:10]}"] = None
    if not rows:
        return "No results are published yet."
    return f"{markdown(['system', 'what', 'result'], rows)}\n\nMeasured on {'; '.join(devices)}."


def network_of(result: Mapping, stem: str) -> str:
    """Returns "LeNet5, MNIST" of a published result, the images named once."""
    title, dataset = result.get("title", TITLES.get(stem, stem)), result["dataset"]
    return title if dataset in title else f"{title}, {dataset}"


def _point_text(found: Mapping) -> str:
    seeds = len(found["seeds"])
    before, decoded = 100 * found["mean_accuracy_before"], 100 * found["mean_accuracy"]
    of = f", {seeds} seeds" if seeds > 1 else ""
    return f"whole file {found['mean_percent']:.3g} % of float32; accuracy {before:.2f} → {decoded:.2f} %{of}"


def headline_table(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown table of the benchmarks under HEADLINES, beside their peers."""
    rows, devices = [], {}
    for room, bench in _benchmarks(root):
        chosen = [row for row in bench["rows"] if row["name"] in HEADLINES.get(room, ())]
        rows += [[room, *cells] for row in chosen for cells in _cells(row)]
        if chosen:
            devices[_measured(bench)] = None
    if not rows:
        return "No benchmark is published yet."
    return f"{markdown(['kernel', *BENCH_COLUMNS], rows)}\n\nMedians of alternating runs on {'; '.join(devices)}."


def bench_tables(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown section with a table for every committed benchmark; rows marked `page: false` are left out."""
    sections = []
    for room, bench in _benchmarks(root):
        rows = [cells for row in bench["rows"] if row.get("page", True) for cells in _cells(row)]
        sections.append(
            f"### {room}\n\n{markdown(BENCH_COLUMNS, rows)}\n\nMedians of alternating runs on {_measured(bench)}."
        )
    return "\n\n".join(sections) or "No benchmark is published yet."


BENCH_COLUMNS = ("what", "ours", "beside", "times as fast")


def _benchmarks(root: pathlib.Path) -> Iterable[tuple[str, dict]]:
    for path in sorted(root.glob("kernels/*/bench.*.json")):
        yield path.parent.name, files.read_json(path) or {"rows": []}


DEVICE_COLUMNS = ("kernel", "what", "ours", "beside", "times as fast", "times the floor")


def device_tables(root: pathlib.Path = ROOT) -> str:
    """Returns a Markdown section for every accelerator that the kernels were run on (`kernels/device.*.json`)."""
    sections = []
    for path in sorted(root.glob("kernels/device.*.json")):
        run = files.read_json(path) or {}
        timed, lines = [], []
        for room, found in run["rooms"].items():
            for row in found["rows"]:
                floor = f"{row['times_floor']:.3g}" if "times_floor" in row else ""
                timed += [[room, *cells, floor] for cells in _cells(row)]
                if "failure" in row:
                    lines.append(f"{row['name']} failed: {row['failure']}")
                if "of_the_largest" in row:
                    lines.append(f"{row['name']}: {100 * row['of_the_largest']:.1f} % of the largest relevance")
            if not found["complete"]:
                lines.append(f"{room} is not complete: the time was up, or it failed")
        lines += [f"{room} was not measured: the time was up" for room in run["unmeasured"]]
        lines += _device_tests(run.get("tests"))
        limits = run["ceilings"]
        bandwidth, exact, default = (
            f"{limits[name] / 1e12:.3g}" for name in ("bytes_per_s", "float32_exact_per_s", "float32_default_per_s")
        )
        sections.append(
            f"### {run['device']}\n\n{markdown(DEVICE_COLUMNS, timed)}\n\nThe floor is bytes over {bandwidth} TB/s or "
            f"operations over {exact} TFLOP/s (float32; {default} in the device's shorter format), as measured there. "
            f"{_measured(run)}, JAX {run['versions']['jax']}.\n\n" + "\n".join(f"- {line}" for line in lines)
        )
    return "\n\n".join(sections) or "No accelerator has been measured yet."


def _device_tests(tests: Mapping | None) -> list[str]:
    """What the kernels' tests said on the device: counts, whether they came to their end, and each that failed."""
    if tests is None:
        return ["the kernels' tests were not run"]
    stopped = ", stopped when the time was up" if tests.get("status") is None else ""
    counts = f"{tests.get('passed', 0)} passed, {tests.get('failed', 0)} failed"
    return [
        f"the kernels' tests on the device, in full precision: {counts}{stopped}",
        *(f"failed: `{name}`" for name in tests["failures"]),
    ]


def _cells(row: Mapping) -> list[list[str]]:
    """A row of the table for each peer of a timing; none where nothing was timed."""
    speeds = row.get("millions_per_s")
    if speeds is None:
        return []
    unit = row.get("unit", "")
    ours = _rate(next(iter(speeds.values())), unit)
    beside = [(f"{peer}: {_rate(speeds[peer], unit)}", f"{x:.3g}") for peer, x in row["times_faster_than"].items()]
    return [[row["name"], ours, *pair] for pair in beside or [("", "")]]


def _rate(millions: float, unit: str) -> str:
    """ "110 Mw/s", "3.2 images/s"."""
    scales = (
        (1e6, 1e-6, "T"),
        (1e3, 1e-3, "G"),
        (0.1, 1, "M"),
        (1e-4, 1e3, "k"),
        (0, 1e6, ""),
    )  # from so many millions on
    factor, prefix = next((factor, prefix) for least, factor, prefix in scales if millions >= least)
    value = factor * millions
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {prefix}{unit}/s"


def _measured(bench: Mapping) -> str:
    return f"{bench['device']}, {bench['date'][:10]}, commit {bench['commit'][:10]}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


PAGES = {
    "README.md": {"results": results_table, "bench": headline_table},
    "kernels/README.md": {"bench": bench_tables, "device": device_tables},
}


def rendered(page: str, text: str, root: pathlib.Path = ROOT) -> str:
    """Returns the text of a page of PAGES with fresh tables between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    for name, table in PAGES[page].items():
        text = replaced(page, text, f"<!-- {name}:begin -->", f"<!-- {name}:end -->", table(root))
    return text


def replaced(page: str | pathlib.Path, text: str, begin: str, end: str, fresh: str) -> str:
    """Returns the text of a page with `fresh` between two markers.

    Raises:
        ValueError: a marker is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no place for results: put {begin!r} and {end!r} on lines of their own")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{fresh}\n{end}{rest.split(end, 1)[1]}"


def fill(page: pathlib.Path, begin: str, end: str, fresh: str) -> bool:
    """Writes `fresh` between two markers of a page; returns whether it changed.

    Raises:
        ValueError: a marker is missing.
    """
    old = page.read_text(encoding="utf-8")
    new = replaced(page, old, begin, end, fresh)
    if new != old:
        files.write_atomically(page, new)
    return new != old


def measured_on(results: Iterable[Mapping]) -> str:
    """Returns the sentence that names devices and days of published results."""
    devices = dict.fromkeys(f"{r['provenance']['device']}, {r['provenance']['date'][:10]}" for r in results)
    return f"Measured on {'; '.join(devices)}; commits stand in `results/*.json`."


def main(arguments: Sequence[str] | None = None) -> int:
    """Renders the pages in place, or with `--check` only says which are out of date; returns 1 where one was then."""
    parser = argparse.ArgumentParser(
        prog="python -m common.publishing.readme",
        description=f"Writes the measured tables of {' and '.join(PAGES)} anew, from the committed result files.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing: exit code 1 where a page is out of date")
    options = parser.parse_args(arguments)
    stale = 0
    for page in PAGES:
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = rendered(page, old)
        if new != old and not options.check:
            files.write_atomically(path, new)
        stale += new != old and options.check
        print(f"{page} " + ("is up to date" if new == old else "is out of date" if options.check else "written"))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
