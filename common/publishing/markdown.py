"""Markdown of the README pages: tables, pictures, and the places between markers where they stand.

A place is `<!-- NAME:begin -->` and `<!-- NAME:end -->`, each on a line of its own; what is between is written anew.
"""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from common import files

Table = tuple[Sequence[str], Iterable[Sequence[object]]]  # (columns, rows)
BEGIN, END = "<!-- {}:begin -->", "<!-- {}:end -->"


def escaped(text: str) -> str:
    """Returns a text for a cell of a table, which a bar would end."""
    return text.replace("|", "\\|")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table.

    Raises:
      ValueError: a row has another number of cells than there are columns.
    """
    lines = [columns, ["---"] * len(columns), *rows]
    for line in lines:
        if len(line) != len(columns):
            raise ValueError(f"a row has {len(line)} cells for {len(columns)} columns {list(columns)}: {list(line)}")
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Returns a table for a terminal: the first `texts` columns stand to the left, numbers to the right."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = [str.ljust] * texts + [str.rjust] * (len(columns) - texts)
    cells = ["  ".join(p(cell, w) for p, cell, w in zip(pad, line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([cells[0], "-" * max(map(len, cells)), *cells[1:]])


def text_of(content: str | Table | Sequence[str | Table]) -> str:
    """Returns the Markdown of a text, of a tuple (columns, rows), or of a list of these as paragraphs.

    Raises:
      TypeError: something else.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, tuple) and len(content) == 2:
        return table(*content)
    if isinstance(content, list):
        return "\n\n".join(text for text in map(text_of, content) if text)
    raise TypeError(f"expected a text, (columns, rows) or a list of these, not {type(content).__name__}: {content!r}")


def fill(page: str | pathlib.Path, text: str, places: Mapping[str, str]) -> str:
    """Returns the text of a page with `places[name]` between the markers of each name.

    Args:
      page: its name, for the error.
      text: of the page now.
      places: name -> what stands there.

    Raises:
      ValueError: a name has no place on the page, or a place there has no name here, so that it would grow stale.
    """
    for name, fresh in places.items():
        begin, end = BEGIN.format(name), END.format(name)
        head, opening, rest = text.partition(begin)
        _, closing, tail = rest.partition(end)
        if not (opening and closing):
            raise ValueError(f"{page} has no place for {name}: put {begin!r} and {end!r} on lines of their own")
        text = f"{head}{begin}\n{fresh}\n{end}{tail}"
    if strangers := set(re.findall(BEGIN.format(r"(\w+)"), text)) - set(places):
        raise ValueError(
            f"{page} has a place for {', '.join(sorted(strangers))}, which nothing fills: remove its markers"
        )
    return text


def rewrite(path: pathlib.Path, text: str) -> bool:
    """Writes a page whose text is another now; returns whether it is."""
    changed = text != path.read_text(encoding="utf-8")
    if changed:
        files.write_atomically(path, text)
    return changed
