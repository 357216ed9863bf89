"""Tables of the kernels' committed benchmarks (`kernels/*/bench.*.json`) and of what accelerators said of them
(`kernels/device.*.json`), as `kernels/bench.py` and `kernels/bench_device.py` write them.

`kernels/headlines.json` names for each kernel the rows that stand for it on the repository's front page.
"""

import pathlib
from collections.abc import Iterator, Mapping

from common import files
from common.publishing import markdown, origin

BENCH_COLUMNS = ("what", "ours", "beside", "times as fast")
DEVICE_COLUMNS = ("kernel", "what", "ours", "beside", "times as fast", "times the floor")
NOTHING = "No benchmark is published yet."


def headline_table(root: pathlib.Path) -> str:
    """Returns a Markdown table of the benchmarks that `headlines.json` names, beside their peers."""
    headlines = files.read_json(root / "kernels" / "headlines.json") or {}
    rows, benches = [], {}
    for room, bench in _benchmarks(root):
        cells = [
            [room, *cells] for row in bench["rows"] if row["name"] in headlines.get(room, ()) for cells in _cells(row)
        ]
        rows += cells
        if cells:
            benches[room] = bench
    if not rows:
        return NOTHING
    measured = "; ".join(dict.fromkeys(map(_measured, benches.values())))
    note = f"Medians of alternating runs on {measured}. {origin.changed_note(benches)}".strip()
    return f"{markdown.table(['kernel', *BENCH_COLUMNS], rows)}\n\n{note}"


def bench_tables(root: pathlib.Path) -> str:
    """Returns a Markdown section with a table for every committed benchmark; rows marked `page: false` are left out."""
    sections = []
    for room, bench in _benchmarks(root):
        rows = [cells for row in bench["rows"] if row.get("page", True) for cells in _cells(row)]
        note = f"Medians of alternating runs on {_measured(bench)}. {origin.changed_note({room: bench})}".strip()
        sections.append(f"### {room}\n\n{markdown.table(BENCH_COLUMNS, rows)}\n\n{note}")
    return "\n\n".join(sections) or NOTHING


def _benchmarks(root: pathlib.Path) -> Iterator[tuple[str, dict]]:
    for path in sorted(root.glob("kernels/*/bench.*.json")):
        yield path.parent.name, _read(path)


def _read(path: pathlib.Path) -> dict:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected the JSON object of a benchmark; restore it, or measure again")
    return content


def device_tables(root: pathlib.Path) -> str:
    """Returns a Markdown section for every accelerator that the kernels were run on."""
    sections = []
    for path in sorted(root.glob("kernels/device.*.json")):
        record = _read(path)
        timed = [
            [room, *cells, f"{row['times_floor']:.3g}" if "times_floor" in row else ""]
            for room, measured in record["rooms"].items()
            for row in measured["rows"]
            for cells in _cells(row)
        ]
        limits = record["ceilings"]
        bandwidth, exact, default = (
            f"{limits[name] / 1e12:.3g}" for name in ("bytes_per_s", "float32_exact_per_s", "float32_default_per_s")
        )
        note = (
            f"{_measured(record)}, JAX {record['versions']['jax']}. {origin.changed_note({path.stem: record})}".strip()
        )
        sections.append(
            f"### {record['device']}\n\n{markdown.table(DEVICE_COLUMNS, timed)}\n\nThe floor is bytes over {bandwidth} "
            f"TB/s or operations over {exact} TFLOP/s (float32; {default} in the device's shorter format), as measured "
            f"there. {note}\n\n" + "\n".join(f"- {line}" for line in _device_notes(record))
        )
    return "\n\n".join(sections) or "No accelerator has been measured yet."


def _device_notes(record: Mapping) -> list[str]:
    """What is to be said beside the times: failures, largest differences, what the time did not suffice for, tests."""
    lines = []
    for room, measured in record["rooms"].items():
        for row in measured["rows"]:
            if "failure" in row:
                lines.append(f"{row['name']} failed: {row['failure']}")
            if "of_the_largest" in row:
                lines.append(f"{row['name']}: {100 * row['of_the_largest']:.1f} % of the largest relevance")
        if not measured["complete"]:
            lines.append(f"{room} is not complete: the time was up, or it failed")
    lines += [f"{room} was not measured: the time was up" for room in record["unmeasured"]]
    return lines + _device_tests(record.get("tests"))


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
