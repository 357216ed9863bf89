"""A project's page: published results in `results/`, their tables in README.md, a row on the front page."""

import dataclasses
import fnmatch
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from common import files
from common.publishing import markdown, origin
from common.publishing.origin import Results
from common.runs import provenance

NOTHING = "No results are published yet."


@dataclasses.dataclass(frozen=True)
class Section:
    """What stands at one place of a page.

    Attributes:
      content: published results -> (columns, rows), a text, or a list of these as paragraphs.
      sources: the result files that it shows, a pattern such as "effort_*"; None for none: it says itself where its
        numbers come from.
    """

    content: Callable[[Results], Any]
    sources: str | None = "*"

    def text(self, results: Results) -> str:
        """Returns its Markdown; where results come from stands below them."""
        if self.sources is None:
            return markdown.text_of(self.content({}))
        results = select(results, self.sources)
        if not results:
            return NOTHING
        content, note = self.content(results), f"{origin.changed_note(results)} {origin.missing_note(results)}".strip()
        if isinstance(content, tuple):
            return markdown.text_of([content, f"{origin.measured_on(results)} {note}".strip()])
        return markdown.text_of([note, markdown.text_of(content)])  # first: the end may be pages away


@dataclasses.dataclass(frozen=True)
class Headline:
    """A row of the repository's front page.

    Attributes:
      what: was measured.
      result: in numbers.
      sources: patterns of the result files that it stands on.
    """

    what: str
    result: str
    sources: tuple[str, ...] = ("*",)


@dataclasses.dataclass(frozen=True)
class Page:
    """The page of a project; `page` in `projects/NAME/page.py`.

    Attributes:
      folder: of the project, with README.md and `results/`.
      paper: what it reproduces, as the front page names it: "arXiv:1905.08318".
      tables: name of a place in README.md -> `Section`, or the function that makes its content.
      headline: published results -> the front page's row; without one it shows the lines under "front_page" in the
        result files, [{"what": text, "result": text}].
      order: stems of result files that come first.
    """

    folder: pathlib.Path
    paper: str
    tables: Mapping[str, Section | Callable[[Results], Any]]
    headline: Callable[[Results], Headline] | None = None
    order: tuple[str, ...] = ()

    @property
    def results(self) -> pathlib.Path:
        """The folder of the published results."""
        return self.folder / "results"

    def read(self) -> dict[str, dict]:
        """Returns stem -> published result, in the page's order.

        Raises:
          ValueError: a file is damaged, or does not say where it comes from.
        """
        contents = {path.stem: files.read_json(path) for path in sorted(self.results.glob("*.json"))}
        for name, content in contents.items():
            if not isinstance(content, dict) or not {"device", "date"} <= set(content.get("provenance") or ()):
                raise ValueError(
                    f"{self.results / name}.json is no published result: expected a JSON object with its provenance; "
                    "restore it, or publish it again"
                )
        names = [*(name for name in self.order if name in contents), *sorted(set(contents) - set(self.order))]
        return {name: contents[name] for name in names}

    def stamp(self) -> dict:
        """Returns the provenance of results that are about to be measured and published: call it before the work.

        Raises:
          ChangedTreeError: the working tree holds more than its commit, the results folder left out.
        """
        origin.require_clean_tree(self.results)
        return provenance.stamp() | {"dirty": False}

    def write(
        self, name: str, result: Mapping[str, Any], pictures: pathlib.Path | Mapping[str, pathlib.Path] | None = None
    ) -> None:
        """Publishes a result as `results/NAME.json`, its pictures beside it; pictures of an earlier one that are not
        among them are removed.

        Args:
          name: of the result.
          result: with its `stamp` under "provenance", else it is stamped now.
          pictures: suffix -> file, for `results/NAME{suffix}.png`; a file alone has the suffix "".

        Raises:
          ChangedTreeError: the result does not come from a commit.
          ValueError: the name is no name of a file.
        """
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"result {name!r}: use letters, digits, '_', '-' and '.'")
        stamp = result.get("provenance") or self.stamp()
        if stamp.get("dirty") is not False:
            raise origin.ChangedTreeError(
                f"{name} was measured from a tree that its commit does not hold{_pieces_text(stamp)}: commit, "
                "measure it again, then publish"
            )
        by_suffix = {"": pictures} if isinstance(pictures, pathlib.Path) else dict(pictures or {})
        by_name = {f"{name}{suffix}{path.suffix}": path for suffix, path in by_suffix.items()}
        target = self.results / f"{name}.json"
        for obsolete in set((files.read_json(target) or {}).get("pictures", ())) - set(by_name):
            files.remove(self.results / pathlib.Path(obsolete).name)
        for picture, path in by_name.items():
            files.write_atomically(self.results / picture, path.read_bytes())
        files.write_json(target, {**result, "pictures": list(by_name), "provenance": stamp})

    def picture(self, name: str, caption: str) -> str:
        """Returns the Markdown of a published picture, "" where there is none (results need not have one)."""
        return f"![{caption}](results/{name}.png)" if (self.results / f"{name}.png").is_file() else ""

    def rendered(self, text: str) -> str:
        """Returns the text of README.md with fresh tables.

        Raises:
          ValueError: README.md lacks the place of a table, or has one that no table fills.
        """
        results = self.read()
        sections = {
            name: entry if isinstance(entry, Section) else Section(entry) for name, entry in self.tables.items()
        }
        places = {name: section.text(results) for name, section in sections.items()}
        return markdown.fill(self.folder / "README.md", text, places)

    def render(self) -> bool:
        """Writes the published tables into README.md; returns whether it changed."""
        path = self.folder / "README.md"
        return markdown.rewrite(path, self.rendered(path.read_text(encoding="utf-8")))

    def headlines(self) -> list[tuple[Headline, Results]]:
        """Returns the rows of the front page, each with the results that it stands on."""
        results = self.read()
        if self.headline is not None:
            rows = [self.headline(results)] if results else []
        else:
            rows = [
                Headline(line["what"], line["result"], (name,))
                for name, result in results.items()
                for line in result.get("front_page", ())
            ]
        return [(row, select(results, *row.sources)) for row in rows]


def _pieces_text(stamp: Mapping) -> str:
    changed = [text for text in stamp.get("piece_commits", ()) if text.endswith("changed")]
    return f" (pieces at {'; '.join(changed)}: remove their run directories)" if changed else ""


def select(results: Results, *patterns: str) -> dict[str, Mapping]:
    """Returns the results whose names fit one of the patterns."""
    return {
        name: result
        for name, result in results.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
