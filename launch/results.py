"""A table over a sweep: `results.csv`, and `report.html` with the front of one result against another.

The table holds what the runs found and nothing of when or where they ran, so that the same sweep on another engine
gives the same file; times, devices and commits stand on the page.
"""

import csv
import dataclasses
import io
import itertools
import json
import math
import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

from common import files
from common.publishing import report_parts as parts
from common.runs import metrics
from launch import records, status
from launch.status import JobState
from launch.sweep import RUN_DIR, LaunchError, Sweep

CONSOLE_WIDTH = 150
LONGEST_CELL = 24
ONE_COLUMN = "max-width: 46rem; grid-template-columns: 1fr"


@dataclasses.dataclass(frozen=True)
class Table:
    """One row a job.

    Attributes:
      flags, results: names of the columns after "job" and "state".
      rows: job name, state, then flags (texts), then results (numbers, texts or None).
      front: names of the jobs on the front; None where none was asked for.
    """

    flags: tuple[str, ...]
    results: tuple[str, ...]
    rows: tuple[tuple, ...]
    front: frozenset[str] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns; a result with the name of a flag is marked."""
        return ("job", "state", *self.flags, *(f"result {n}" if n in self.flags else n for n in self.results))

    def column(self, name: str) -> list[Any]:
        """Returns the values of a result, one a row."""
        index = 2 + len(self.flags) + self.results.index(name)
        return [row[index] for row in self.rows]


def collect(states: Sequence[JobState]) -> Table:
    """Returns the table of a sweep, with the jobs that have not finished as rows without results."""
    results = {}
    for item in states:
        result = files.read_json(pathlib.Path(item.job.run_dir) / "result.json") if item.state == "finished" else None
        flat = files.flatten(result if isinstance(result, dict) else {})
        results[item.job.name] = {name: _placeless(value, item.job.run_dir) for name, value in flat.items()}
    flags = tuple(dict.fromkeys(name for item in states for name in item.job.flags))
    names = tuple(dict.fromkeys(name for result in results.values() for name in result))
    rows = []
    for item in states:
        result = results[item.job.name]
        own = [item.job.flags.get(name, "") for name in flags]
        rows.append((item.job.name, item.state, *own, *(result.get(name) for name in names)))
    return Table(flags, names, tuple(rows))


def _placeless(value: Any, run_dir: str) -> Any:
    return value.replace(run_dir, RUN_DIR) if isinstance(value, str) else value


def csv_text(table: Table) -> str:
    """Returns the table as CSV; numbers read back to the bit, lists are JSON."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    front = [] if table.front is None else ["front"]
    writer.writerow([*table.columns, *front])
    for row in table.rows:
        mark = [str(row[0] in table.front).lower()] if table.front is not None else []
        writer.writerow([_cell(value) for value in row] + mark)
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def text(table: Table) -> str:
    """Returns the table for a terminal: what differs between the jobs, as many columns as fit."""
    shown, same = split(table)
    columns = [[table.columns[i], *(parts.number(row[i]) for row in table.rows)] for i in shown if i != 0]
    lines, width_of_all = [""] * (1 + len(table.rows)), 0
    left_out = 0
    for column in columns:
        column = [cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 1] + "\u2026" for cell in column]
        width = max(map(len, column)) + 2
        if width_of_all + width > CONSOLE_WIDTH:
            left_out += 1
            continue
        width_of_all += width
        lines = [line + cell.rjust(width) for line, cell in zip(lines, column, strict=True)]
    if table.front is not None:
        marks = ["", *("  on the front" if row[0] in table.front else "" for row in table.rows)]
        lines = [line + mark for line, mark in zip(lines, marks, strict=True)]
    notes = [f"the same for all: {', '.join(f'{name} {parts.number(value)}' for name, value in same)}"] if same else []
    notes += [f"{left_out} more columns in results.csv"] if left_out else []
    return "\n".join([line.rstrip() for line in lines] + notes)


def split(table: Table) -> tuple[list[int], list[tuple[str, Any]]]:
    """Returns the indices of columns that differ between finished jobs, and (name, value) of results that do not.

    A result that only repeats a flag is in neither.
    """
    finished = [row for row in table.rows if row[1] == records.FINISHED]
    flags = range(2, 2 + len(table.flags))
    varying, same = [0, 1, *flags], []
    for index in range(2 + len(table.flags), len(table.columns)):
        values = [json.dumps(row[index]) for row in finished]
        if len(finished) > 1 and len(set(values)) == 1:
            same.append((table.columns[index], "none" if values[0] == "null" else finished[0][index]))
        elif not any(all(_same_number(row[flag], row[index]) for row in finished) for flag in flags):
            varying.append(index)
    return varying, same


def _same_number(flag: str, value: Any) -> bool:
    try:
        return _is_number(value) and float(flag) == value
    except ValueError:
        return False


def parse_pareto(text: str, table: Table) -> list[tuple[str, bool]]:
    """Returns (result, whether more of it is better) for both axes of "bytes:min,test_accuracy:max".

    Raises:
      LaunchError: another form, or a result that no job has as a number.
    """
    axes = [part.strip().rpartition(":") for part in text.split(",")]
    if len(axes) != 2 or any(way not in ("min", "max") for _, _, way in axes):
        raise LaunchError(f'--pareto={text!r}: expected two results as in "bytes:min,test_accuracy:max"')
    for name, _, _ in axes:
        if name not in table.results or not any(_is_number(value) for value in table.column(name)):
            numeric = [item for item in table.results if any(_is_number(value) for value in table.column(item))]
            others = ", ".join(numeric)
            raise LaunchError(f"--pareto={text!r}: {name!r} is no number of the results; there are {others}")
    return [(name, way == "max") for name, _, way in axes]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def front(table: Table, axes: Sequence[tuple[str, bool]]) -> list[tuple[float, float, str]]:
    """Returns (x, y, job) of the jobs that no other beats in both results, by x.

    Of jobs that are equal in both, all are kept.
    """
    (x_name, x_more), (y_name, y_more) = axes
    points = [
        (x, y, row[0])
        for x, y, row in zip(table.column(x_name), table.column(y_name), table.rows, strict=True)
        if _is_number(x) and _is_number(y)
    ]

    x_sign, y_sign = (1 if x_more else -1), (1 if y_more else -1)
    edge, best = [], -math.inf  # from the best x on: a point must be better in y than all before it
    for _, group in itertools.groupby(sorted(points, key=lambda p: -x_sign * p[0]), key=lambda p: p[0]):
        same = list(group)
        top = max(y_sign * y for _, y, _ in same)
        if top > best:
            edge += [point for point in same if y_sign * point[1] == top]
            best = top
    return sorted(edge)


def write(sweep: Sweep, states: Sequence[JobState], pareto: str | None = None) -> tuple[Table, pathlib.Path]:
    """Writes `results.csv`, `provenance.json` and `report.html` into a sweep's folder; returns table and page's path.

    Args:
      sweep: which.
      states: of its jobs.
      pareto: two results to draw against each other, see `parse_pareto`.

    Raises:
      LaunchError: `pareto` does not fit the results.
    """
    table = collect(states)
    picture = ""
    if pareto:
        axes = parse_pareto(pareto, table)
        edge = front(table, axes)
        table = dataclasses.replace(table, front=frozenset(name for _, _, name in edge))
        picture = parts.picture(draw(sweep.folder / "front.png", table, axes, edge))
    single = len(sweep.jobs) == 1 and pathlib.Path(sweep.jobs[0].run_dir) == sweep.folder
    page = sweep.folder / ("launch.html" if single else "report.html")  # a run has its own report there
    files.write_atomically(sweep.folder / "results.csv", csv_text(table))
    command = records.command_text((sweep.module, *sweep.arguments))
    files.write_json(sweep.folder / "provenance.json", {"command": command} | provenance(states))
    files.write_atomically(page, _page(sweep, states, table, picture))
    return table, page


def draw(path: pathlib.Path, table: Table, axes: Sequence[tuple[str, bool]], edge: Sequence[tuple]) -> pathlib.Path:
    """Draws one result against another, coloured by the swept flag with the fewest values, and the front as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    (x_name, _), (y_name, _) = axes
    xs, ys = table.column(x_name), table.column(y_name)
    kinds = {name: [row[2 + i] for row in table.rows] for i, name in enumerate(table.flags)}
    varied = {name: values for name, values in kinds.items() if 1 < len(set(values)) <= len(parts.COLOURS)}
    key = min(varied, key=lambda name: len(set(varied[name])), default=None)
    groups = dict.fromkeys(varied[key]) if key else {"": None}
    figure, axis = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for colour, group in zip(parts.COLOURS, groups, strict=False):
        points = [
            (x, y)
            for index, (x, y) in enumerate(zip(xs, ys, strict=True))
            if _is_number(x) and _is_number(y) and (key is None or varied[key][index] == group)
        ]
        if points:
            label = f"{key} {group}" if key else "jobs"
            axis.scatter(*zip(*points, strict=True), s=26, color=colour, linewidths=0, label=label, zorder=3)
    axis.plot([x for x, _, _ in edge], [y for _, y, _ in edge], color="#1c1e21", linewidth=1.2, label="front", zorder=2)
    numbers = [x for x in xs if _is_number(x)]
    if min(numbers) > 0 and max(numbers) > 5 * min(numbers):
        axis.set_xscale("log")
    axis.set(xlabel=x_name.replace("_", " "), ylabel=y_name.replace("_", " "))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#000000", alpha=0.08, linewidth=0.6)
    axis.legend(fontsize=8, frameon=False)
    with files.beside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=160)
    plt.close(figure)
    caption = f"{len(numbers)} jobs; {len(edge)} of them on the front, beaten by no other in both."
    files.write_atomically(path.with_suffix(".txt"), caption + "\n")
    return path


def provenance(states: Sequence[JobState]) -> dict[str, Any]:
    """Returns where the numbers of a table come from: devices, commits, days and the seconds of all jobs together."""
    metas = [files.read_json(pathlib.Path(item.job.run_dir) / "meta.json") or {} for item in states]
    commits = {str(meta["commit"])[:10] + (" (changed)" if meta.get("dirty") else ""): None for meta in metas
               if meta.get("commit")}  # fmt: skip
    return {
        "devices": sorted({str(meta["device"]) for meta in metas if meta.get("device")}),
        "commits": list(commits),
        "days": sorted({str(meta["ended"])[:10] for meta in metas if meta.get("ended")}),
        "seconds": round(sum(meta.get("seconds") or 0 for meta in metas), 1),
    }


def _page(sweep: Sweep, states: Sequence[JobState], table: Table, picture: str) -> str:
    origin = provenance(states)
    days = [*origin["days"][:1], *origin["days"][1:][-1:]]
    facts = [status.summary(states), ", ".join(origin["devices"]), f"{origin['seconds']:.0f} s of computing"]
    facts += [" to ".join(days), ("commit " if origin["commits"] else "") + ", ".join(origin["commits"])]
    title = f"{sweep.module.removeprefix('projects.')}: a sweep"
    shown, same = split(table)
    columns = [table.columns[i] for i in shown]
    rows = [[row[i] for i in shown] for row in table.rows]
    if table.front is not None:
        columns.insert(2, "front")
        for row in rows:
            row.insert(2, "yes" if row[0] in table.front else "")
    body = f'<header><h1>{parts.escape(title)}</h1><p class="facts">'
    body += " · ".join(parts.escape(fact) for fact in facts if fact) + "</p></header>"
    body += f'<h3>Front</h3><div class="plots" style="{ONE_COLUMN}">{picture}</div>' if picture else ""
    body += "<h3>Jobs</h3>" + _linked(parts.table(columns, rows), sweep, states)
    body += ("<h3>The same for all</h3>" + parts.table(["result", "value"], same)) if same else ""
    wrong = [[item.job.name, item.state, item.detail] for item in states if item.state in status.BAD]
    body += ("<h3>What went wrong</h3>" + parts.table(["job", "state", "why"], wrong)) if wrong else ""
    curves = parts.curves({item.job.name: _curves(pathlib.Path(item.job.run_dir)) for item in states})
    body += f"<h3>Curves</h3>{curves}" if curves else ""
    command = records.command_text((sweep.module, *sweep.arguments))
    body += f"<h3>Command</h3><pre>{parts.escape(command)}</pre>"
    return parts.page(title, body)


def _linked(html: str, sweep: Sweep, states: Sequence[JobState]) -> str:
    """Returns a table whose job names lead to the pages of the runs."""
    addresses = {}
    for item in states:
        page = pathlib.Path(item.job.run_dir) / "report.html"
        if page.is_file() and page.is_relative_to(sweep.folder):
            address = urllib.parse.quote(page.relative_to(sweep.folder).as_posix())
            addresses[parts.escape(item.job.name)] = address

    def link(match):
        name = match.group(1)
        return f'<td><a href="{addresses[name]}">{name}</a></td>' if name in addresses else match.group()

    return re.sub(r"<td>([^<]*)</td>", link, html)


def _curves(run_dir: pathlib.Path) -> dict[str, tuple[list[int], list[float]]]:
    path = run_dir / "metrics.csv"
    if not path.is_file():
        return {}
    columns, rows = metrics.read(path)
    return {
        name: ([int(row["step"]) for row in rows if row[name]], [float(row[name]) for row in rows if row[name]])
        for name in columns[1:]
    }
