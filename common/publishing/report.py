"""One page that shows runs: `python -m common.publishing.report RUN_DIR... [--output=PAGE.html]`.

It shows `result.json` (beside the numbers of the project's `paper.json`), `tables/NAME.json`, `plots/NAME.png` or
`.svg` with the caption in `plots/NAME.txt`, `parts/NAME.json`, curves of `metrics.csv`, flags and provenance, and needs
no other file.

`tables/NAME.json`, by `run.table`: {"title": text, "columns": [text], "rows": [[number or text]], "note": text}.
`parts/NAME.json`, by `run.part`: {"title": text, "html": text, "note": text}, see `html_parts` for what it may hold.
At the top stand `result["unmet"]` = [text], what was asked for and could not be reached, and, in its colour,
`result["status"]` = {"level": "trusted", "doubtful" or "not usable", "reasons": [text]}, what a result says of itself.
`paper.json`: {"a": {"b": {"value": number, "unit": text, "place": "Table 1", "verified": true}}} is the paper's number
for {"a": {"b": number}} in result.json; a group may also be written as one key, "a/b".
"""

import argparse
import ast
import os
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from common import config, files
from common.publishing import html_parts
from common.publishing import report_parts as parts
from common.runs import metrics, provenance

LONG = 40  # rows of results


def write(run_directories: Sequence[str | os.PathLike], output: str | os.PathLike | None = None) -> pathlib.Path:
    """Writes the page and returns its path.

    Args:
      run_directories: one or many.
      output: the page; by default `report.html` in the run directory, or in the folder that holds all of them.

    Raises:
      FileNotFoundError: one is no run directory.
    """
    paths = [pathlib.Path(path) for path in run_directories]
    # `runs/VERB/*` has the folders of sweeps too, which are no runs.
    paths = [path for path in paths if not path.name.startswith("sweep_") or (path / "meta.json").is_file()] or paths
    for path in paths:
        if not (path / "meta.json").is_file():
            raise FileNotFoundError(f"{path} is not a run directory: it has no meta.json")
    if output is None:
        folder = paths[0] if len(paths) == 1 else pathlib.Path(os.path.commonpath([p.resolve().parent for p in paths]))
        output = folder / "report.html"
    runs = {name: _read(path) for name, path in zip(_names(paths), paths, strict=True)}
    if len(runs) == 1:
        ((name, run),) = runs.items()
        title = run["meta"].get("verb", name)
        body = f"<header>{_head(run, title, 'h1')}</header>{_body(run)}"
        body += _section("Curves", parts.curves({name: run["curves"]})) + _record(run)
    else:
        title = f"{len(runs)} runs"
        verbs = ", ".join(dict.fromkeys(str(run["meta"].get("verb")) for run in runs.values()))
        body = f'<header><h1>{title}</h1><p class="soft">{parts.escape(verbs)}</p></header>{_overview(runs)}'
        body += _section("Curves", parts.curves({name: run["curves"] for name, run in runs.items()}))
        body += "".join(_head(run, name, "h2") + _body(run) + _record(run) for name, run in runs.items())
    files.write_atomically(output, parts.page(title, body))
    return pathlib.Path(output)


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
    """Returns a short name for each path: its last part, with as many of the parts before as tell them apart."""
    paths = [path.resolve() for path in paths]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({index})" for index, path in enumerate(paths)]


def _read(path: pathlib.Path) -> dict[str, Any]:
    """Returns everything of a run that the page shows; what is missing or damaged is empty."""
    meta = files.read_json(path / "meta.json")
    meta = meta if isinstance(meta, dict) else {}
    flags = path / "flags.txt"
    lines = flags.read_text(errors="replace").splitlines() if flags.is_file() else []
    project, _, verb = str(meta.get("verb", "")).rpartition(".")
    room = provenance.ROOT / "projects" / project
    result = files.read_json(path / "result.json")
    result = result if isinstance(result, dict) else {}
    status = result.get("status")
    status = status if isinstance(status, dict) and status.get("level") in parts.STATUSES else {}
    return {
        "path": path,
        "meta": meta,
        "flags": dict(line[2:].split("=", 1) for line in lines if line.startswith("--") and "=" in line),
        "result": files.flatten(
            {name: value for name, value in result.items() if name != "unmet" and (name != "status" or not status)}
        ),
        "status": status,
        "unmet": [str(line) for line in result.get("unmet") or ()],
        "paper": _paper_numbers(files.read_json(room / "paper.json")) if project else {},
        "about": _docstring(room / f"{verb}.py") if project else "",
        "curves": _curves(path / "metrics.csv"),
    }


def _paper_numbers(tree: Any, prefix: str = "") -> dict[str, dict]:
    if not isinstance(tree, Mapping):
        return {}
    numbers = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and "value" in value:
            numbers[f"{prefix}{key}"] = dict(value)
        elif isinstance(value, Mapping):
            numbers |= _paper_numbers(value, f"{prefix}{key}/")
    return numbers


def _docstring(path: pathlib.Path) -> str:
    try:
        return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    except (OSError, SyntaxError, ValueError):
        return ""


def _curves(path: pathlib.Path) -> dict[str, tuple[list[int], list[float]]]:
    """Returns metric -> (steps, values) of the rows that have it."""
    if not path.is_file():
        return {}
    columns, rows = metrics.read(path)
    curves = {}
    for name in columns[1:]:
        try:
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        except ValueError:
            continue
        curves[name] = ([step for step, _ in points], [value for _, value in points])
    return curves


def _head(run: Mapping, title: str, tag: str) -> str:
    meta, e = run["meta"], parts.escape
    status = str(meta.get("status", "unknown"))
    level = run["status"].get("level")
    # A run that finished need not have a result that can be used: the colour is that of the result.
    mark = parts.STATUSES.get(level, status) if status == "finished" else status
    word = f"{status}, {level}" if status == "finished" and level in parts.STATUSES else status
    if status == "finished" and run["unmet"]:
        mark, word = "unusable", f"{word}, request not met"
    facts = [f'<b class="{e(mark)}">{e(word)}</b>', e(str(meta.get("started", ""))[:16].replace("T", " ") + " UTC")]
    if meta.get("seconds"):
        facts.append(f"{meta['seconds']:.0f} s" if meta["seconds"] < 120 else f"{meta['seconds'] / 60:.1f} min")
    facts.append(e(meta.get("device") or meta.get("processor") or ""))
    if meta.get("commit"):
        dirty = ' <span class="dirty">with changes that are not committed</span>' if meta.get("dirty") else ""
        facts.append(f"commit <code>{e(str(meta['commit'])[:10])}</code>{dirty}")
    about = re.sub("`([^`]+)`", r"<code>\1</code>", e(run["about"]))
    about = f"<p>{about}</p>" if about else ""
    box = parts.verdict(level, run["status"].get("reasons", ()), run["status"].get("unchecked", ()))
    box = parts.unmet(run["unmet"]) + box
    return f'<{tag}>{e(title)}</{tag}>{about}<p class="facts">{" · ".join(fact for fact in facts if fact)}</p>{box}'


def _body(run: Mapping) -> str:
    """Returns results, tables, parts of HTML and plots; a long list of results, which tables show better, stands folded
    below them."""
    results = _results(run["result"], run["paper"])
    below = len(run["result"]) > LONG and any((run["path"] / "tables").glob("*.json"))
    pieces = [] if below else [_section("Results", results)]
    for path in sorted((run["path"] / "tables").glob("*.json")):
        content = files.read_json(path)
        try:
            text = parts.table([str(name) for name in content["columns"]], content["rows"])
            note = f'<p class="note">{parts.escape(content["note"])}</p>' if content.get("note") else ""
            pieces.append(_section(str(content.get("title") or path.stem), text + note))
        except (TypeError, KeyError, ValueError, IndexError):
            pieces.append(f'<p class="failed">{parts.escape(path)} is not a table</p>')
    if below:
        pieces.append(f"<details><summary>All numbers of result.json</summary>{results}</details>")
    pieces += [_part(path) for path in sorted((run["path"] / "parts").glob("*.json"))]
    plots = sorted(path for path in (run["path"] / "plots").glob("*") if path.suffix in (".png", ".svg"))
    if plots:
        pieces.append(_section("Plots", f'<div class="plots">{"".join(map(parts.picture, plots))}</div>'))
    return "".join(pieces)


def _part(path: pathlib.Path) -> str:
    """Returns a part that a verb wrote as HTML; what is not allowed there is refused, and said."""
    content = files.read_json(path)
    try:
        text = html_parts.rebuilt(content["html"])
    except (TypeError, KeyError, AttributeError) as error:
        return f'<p class="failed">{parts.escape(path)} is not a part: {parts.escape(type(error).__name__)}</p>'
    except ValueError as error:
        return f'<p class="failed">{parts.escape(path)} is not shown: {parts.escape(error)}</p>'
    note = f'<p class="note">{parts.escape(content["note"])}</p>' if content.get("note") else ""
    return _section(str(content.get("title") or path.stem), note + f'<div class="part">{text}</div>')


def _results(result: Mapping[str, Any], paper: Mapping[str, Mapping]) -> str:
    if not result:
        return ""
    if not any(name in paper for name in result):
        return parts.table(["result", "value"], list(result.items()))
    rows = []
    for name, ours in result.items():
        theirs = paper.get(name, {})
        value = theirs.get("value")
        difference = ours - value if _real(ours) and _real(value) else None
        place = theirs.get("place", "")
        if theirs and not theirs.get("verified"):
            place = f"{place} (not verified)".strip()
        label = f"{name} [{theirs['unit']}]" if theirs.get("unit") else name
        rows.append([label, ours, value, None if difference is None else _signed(difference), place])
    return parts.table(["result", "ours", "paper", "difference", "place in the paper"], rows)


def _real(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "\u2212" if value < 0 else "\u00b1") + parts.number(abs(value))


def _overview(runs: Mapping[str, Mapping]) -> str:
    """Returns a table with a row for each run: the flags in which they differ, and the numbers of their results."""
    flags = list(dict.fromkeys(name for run in runs.values() for name in run["flags"]))
    differing = [name for name in flags if len({run["flags"].get(name) for run in runs.values()}) > 1]
    results = [
        name
        for name in dict.fromkeys(name for run in runs.values() for name in run["result"])
        if any(parts.is_number(run["result"].get(name)) for run in runs.values())
    ]
    statuses = ["status"] if any(run["status"] for run in runs.values()) else []
    rows = [
        [
            name, *(run["status"].get("level") for _ in statuses),
            *(_typed(run["flags"].get(flag)) for flag in differing),
            *(run["result"].get(key) for key in results),
        ]
        for name, run in runs.items()
    ]  # fmt: skip
    return _section("Overview", parts.table(["run", *statuses, *(f"--{name}" for name in differing), *results], rows))


def _typed(text: str | None) -> Any:
    """Returns a flag's text as a number where it is one, so that its column lines up."""
    if text is None:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            pass
    return text


def _record(run: Mapping) -> str:
    """Returns flags and provenance, folded."""
    meta = run["meta"]
    rows = [(name, value) for name, value in meta.items() if name not in ("format", "versions", "starts", "argv")]
    rows = [(name, ", ".join(value) if isinstance(value, dict) else value) for name, value in rows]
    versions = ", ".join(f"{name} {version}" for name, version in (meta.get("versions") or {}).items())
    rows += [
        ("versions", versions),
        ("starts", len(meta.get("starts") or [])),
        ("command", " ".join(meta.get("argv") or [])),
    ]
    module = f"projects.{meta.get('verb')}"
    again = parts.escape(f"python -m {module} --flagfile={run['path'] / 'flags.txt'}")
    return (
        f"<h3>Record</h3><details><summary>Flags</summary>{parts.table(['flag', 'value'], list(run['flags'].items()))}"
        f"<p>Repeat it with</p><pre>{again}</pre></details>"
        f"<details><summary>Provenance</summary>{parts.table(['entry', 'value'], rows)}</details>"
    )


def _section(title: str, content: str) -> str:
    return f"<h3>{parts.escape(title)}</h3>{content}" if content else ""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m common.publishing.report", description="Shows one run or many as one page."
    )
    parser.add_argument("run_dir", nargs="+", help="run directories")
    parser.add_argument("--output", help="the page; by default report.html in the run directory or the one above")
    arguments = parser.parse_args(argv)
    try:
        print(write(arguments.run_dir, arguments.output))
    except (OSError, config.FlagError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
