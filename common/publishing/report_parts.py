"""The pieces of a report page: tables, pictures, curves and the style sheet, each as a text of HTML.

Everything a page needs is in it: pictures as data URIs, curves as SVG that takes its colours from the page, so that it
reads in light and in dark. All text from outside is escaped.
"""

import base64
import html
import io
import math
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from common.publishing.numbers import UNKNOWN

MOST_POINTS = 1500  # drawn of one curve
MOST_CURVES = 8  # runs in one picture, as many as there are colours
# Okabe and Ito's colours, for readers with and without full colour vision, middling in lightness for both grounds.
COLOURS = ("#1f83c6", "#d55e00", "#009e73", "#cc79a7", "#c9940a", "#56b4e9", "#8a6fd1", "#888888")
# What a result may say of itself (`result["status"]["level"]`, a cell of a table), and its mark in the style sheet.
LARGE = 1400  # pixels both ways, from which a picture keeps its size
STATUSES = {"trusted": "trusted", "doubtful": "doubtful", "not usable": "unusable"}
INK = "#010203"  # stands for the page's text colour in drawn SVG

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #626a73; --line: #e2e5e9; --page: #ffffff; --card: #f7f8fa;
  --link: #0b63b0; --good: #17763d; --doubt: #96600a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --soft: #9aa3ad; --line: #343a41; --page: #15181c;
  --card: #1d2126; --link: #6fb1f0; --good: #5fcf8b; --doubt: #e0a93b; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 70rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header, section { margin-bottom: 2.75rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.015em; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .3rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 2rem 0 .6rem; }
p { max-width: 44rem; margin: .4rem 0; }
.soft, figcaption, .note { color: var(--soft); font-size: .9rem; }
.facts { color: var(--soft); font-size: .9rem; max-width: none; }
.facts b { font-weight: 600; }
.finished, .trusted { color: var(--good); } .doubtful { color: var(--doubt); }
.failed, .interrupted, .dirty, .unusable { color: var(--bad); }
td.trusted, td.doubtful, td.unusable { white-space: nowrap; } td.number.trusted { color: inherit; }
.verdict { margin: .9rem 0 0; padding: .7rem 1rem; max-width: 52rem; background: var(--card);
  border: 1px solid var(--line); border-left: 4px solid currentColor; border-radius: 8px; }
.verdict b { font-weight: 600; } .verdict ul { margin: .3rem 0 0; padding-left: 1.2rem; color: var(--ink); }
code, pre { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  overflow-x: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .36rem .9rem .36rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; border-bottom: 1.5px solid var(--soft); }
td.number, th.number { text-align: right; padding-right: 1.4rem; white-space: nowrap; }
tr:last-child td { border-bottom: 1.5px solid var(--soft); }
figure { margin: 0; }
.part { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1.6rem; }
.plots img { width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .4rem; }
.plots .wide { grid-column: 1 / -1; }
.plots .large { overflow: auto; max-height: 60rem; }
.plots .large img { width: auto; max-width: none; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem 1.6rem; }
.curves svg { width: 100%; height: auto; color: var(--ink); }
figcaption { margin-top: .35rem; }
.key span { display: inline-block; margin-right: 1.3rem; font-size: .9rem; }
.key i { display: inline-block; width: 1.3em; height: .2em; margin-right: .45em; vertical-align: .25em; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; font-size: .95rem; }
a { color: var(--link); }
@media print { details { display: block; } body { max-width: none; } }
"""


def page(title: str, body: str) -> str:
    """Returns a whole HTML document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escape(value: Any) -> str:
    """Returns a value as text that is safe inside HTML."""
    return html.escape(str(value), quote=True)


def number(value: Any) -> str:
    """Returns a value for a table cell: 6 significant digits, thin spaces between thousands, texts as they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        if math.isfinite(value) and 1e4 <= abs(value) < 1e15:
            return (
                f"{value:,.0f}".replace(",", "\u202f")
                if value == round(value)
                else f"{value:,.2f}".replace(",", "\u202f")
            )
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        if len(value) <= 8 and not any(isinstance(item, (list, tuple, dict)) for item in value):
            return ", ".join(number(item) for item in value)
        return f"{len(value)} entries"
    return str(value)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Returns a table; a column of numbers stands to the right.

    A cell {"value": ..., "status": one of STATUSES} has the colour of the status, as a cell that names one has.
    """
    cells = [[(cell["value"], cell["status"]) if _is_marked(cell) else (cell, cell) for cell in row] for row in rows]
    numeric = [
        any(is_number(row[i][0]) or row[i][0] == UNKNOWN for row in cells)
        and all(row[i][0] in (None, "", UNKNOWN) or is_number(row[i][0]) for row in cells)
        for i in range(len(columns))
    ]
    head = "".join(f"<th{_kind(flag)}>{escape(name)}</th>" for name, flag in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_kind(flag, status)}>{escape(number(value))}</td>"
            for (value, status), flag in zip(row, numeric, strict=True)
        )
        + "</tr>\n"
        for row in cells
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _is_marked(cell: Any) -> bool:
    return isinstance(cell, Mapping) and {"value", "status"} == set(cell)


def _kind(numeric: bool, status: Any = None) -> str:
    """Returns the class of a cell."""
    mark = STATUSES.get(status) if isinstance(status, str) else None
    names = [name for name in ("number" if numeric else None, mark) if name]
    return f' class="{" ".join(names)}"' if names else ""


def verdict(level: str, reasons: Sequence[Any], unchecked: Sequence[Any] = ()) -> str:
    """Returns a box that says whether a result is to be trusted, and why not; nothing for an unknown level."""
    if level not in STATUSES:
        return ""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    items = f"<ul>{items}</ul>" if items else ""
    beside = f' <span class="soft">not looked at: {escape(", ".join(map(str, unchecked)))}</span>' if unchecked else ""
    return f'<div class="verdict {STATUSES[level]}"><b>Result: {escape(level)}</b>{beside}{items}</div>'


def unmet(lines: Sequence[str]) -> str:
    """Returns a box that says which requests a run could not meet; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="verdict unusable"><b>Request not met</b><ul>{items}</ul></div>' if items else ""


def is_number(value: Any) -> bool:
    """Returns whether a cell holds a number, "NaN" and infinities of our JSON included."""
    return (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in (
        "NaN",
        "Infinity",
        "-Infinity",
    )


def picture(path: pathlib.Path) -> str:
    """Returns a PNG or SVG file as a figure with the caption that lies beside it in `NAME.txt`."""
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    content = path.read_bytes()
    data = base64.b64encode(content).decode()
    beside = path.with_suffix(".txt")
    caption = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
    caption = caption or path.stem.replace("_", " ")
    return (
        f'<figure{_shape(content)}><img alt="{escape(caption)}" src="data:{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _shape(content: bytes) -> str:
    """Returns the mark of a picture so wide (a row of panels) that it takes both columns, or so large both ways (a
    grid of many) that it is shown in its own size and scrolls."""
    if content[:4] == b"\x89PNG" and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        if 2 * width > 5 * height:
            return ' class="wide"'
        if min(width, height) > LARGE:
            return ' class="wide large"'
    return ""


def curves(runs: Mapping[str, Mapping[str, tuple[list[int], list[float]]]]) -> str:
    """Returns one small picture a metric, with a line for each run that has it.

    Args:
      runs: name of a run -> metric -> (steps, values).
    """
    names = list(
        dict.fromkeys(name for metrics in runs.values() for name, (steps, _) in metrics.items() if len(steps) > 1)
    )
    labels = list(runs)[:MOST_CURVES]
    if not names:
        return ""
    parts = [f"<figure>{_curve([runs[run].get(name) for run in labels], name)}</figure>" for name in names]
    key = ""
    if len(labels) > 1:
        marks = [f'<span><i style="background:{COLOURS[i]}"></i>{escape(run)}</span>' for i, run in enumerate(labels)]
        more = f"<span>(the first {len(labels)} of {len(runs)} runs)</span>" if len(runs) > len(labels) else ""
        key = f'<p class="key">{"".join(marks)}{more}</p>'
    return f'{key}<div class="curves">{"".join(parts)}</div>'


def _curve(series: Sequence[tuple[list[int], list[float]] | None], name: str) -> str:
    import matplotlib

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none", "svg.hashsalt": "havel", "font.size": 9, "font.family": "sans-serif",
            "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
        }
    ):  # fmt: skip
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.5, 2.3), layout="constrained")
        axes = figure.add_subplot()
        for index, line in enumerate(series):
            if line is not None:
                stride = max(1, len(line[0]) // MOST_POINTS)
                axes.plot(line[0][::stride], line[1][::stride], color=COLOURS[index], linewidth=1.4)
        if _spans_decades(series):
            axes.set_yscale("log")
        axes.set_title(name.replace("_", " "), fontsize=10, loc="left")
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def _spans_decades(series: Sequence[tuple[list[int], list[float]] | None]) -> bool:
    values = [value for line in series if line is not None for value in line[1] if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 100
