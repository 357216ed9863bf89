"""README.md and kernels/README.md from committed files: a row for each system, and the kernels' benchmarks."""

import functools
import importlib
import pathlib
from collections.abc import Callable, Mapping

from common.publishing import benchmarks, markdown, origin
from common.publishing.page import NOTHING, Page
from common.runs import provenance

COLUMNS = ("system", "paper", "what", "result")


def load_pages(root: pathlib.Path = provenance.ROOT) -> dict[str, Page]:
    """Returns name -> page of every project that has a `page.py`, imported by name as the launcher imports verbs.

    Raises:
      ValueError: a project has published results and no page, or its page.py has no `page`.
    """
    pages = {}
    for folder in sorted(path for path in (root / "projects").glob("*") if path.is_dir()):
        if (folder / "page.py").is_file():
            page = getattr(importlib.import_module(f"projects.{folder.name}.page"), "page", None)
            if not isinstance(page, Page):
                raise ValueError(f"projects/{folder.name}/page.py defines no `page`: expected a common.publishing.Page")
            pages[folder.name] = page
        elif any(folder.glob("results/*.json")):
            raise ValueError(f"projects/{folder.name} has published results that no page.py shows; write one")
    return pages


def results_table(pages: Mapping[str, Page]) -> str:
    """Returns a Markdown table: a row for each system, more only where its result files have several lines."""
    rows: list[list[str]] = []
    sources: dict[str, Mapping] = {}
    for name, page in pages.items():
        for headline, results in page.headlines():
            result = headline.result + origin.changed_mark(results)
            rows.append([f"[{name}](projects/{name}/README.md)", page.paper, headline.what, result])
            sources |= {f"{name}/{stem}": content for stem, content in results.items()}
    if not rows:
        return NOTHING
    measured = origin.measured_on(sources, show_commits=False)
    return f"{markdown.table(COLUMNS, rows)}\n\n{measured} Commits stand on the page of each system."


def readme_places(root: pathlib.Path = provenance.ROOT) -> dict[str, dict[str, Callable[[], str]]]:
    """Returns for each of the repository's own pages: name of a place -> what makes its text."""
    return {
        "README.md": {
            "results": lambda: results_table(load_pages(root)),
            "bench": functools.partial(benchmarks.headline_table, root),
        },
        "kernels/README.md": {
            "bench": functools.partial(benchmarks.bench_tables, root),
            "device": functools.partial(benchmarks.device_tables, root),
        },
    }


def rendered(name: str, text: str, root: pathlib.Path = provenance.ROOT) -> str:
    """Returns the text of one of the repository's own pages with fresh tables.

    Raises:
      ValueError: a marker is missing.
    """
    return markdown.fill(name, text, {place: table() for place, table in readme_places(root)[name].items()})


def all_pages(root: pathlib.Path = provenance.ROOT) -> dict[str, Callable[[str], str]]:
    """Returns path of every page -> its text now to its text with fresh tables: the projects', then our own."""
    pages: dict[str, Callable[[str], str]] = {
        f"projects/{name}/README.md": page.rendered for name, page in load_pages(root).items()
    }
    return pages | {name: functools.partial(rendered, name, root=root) for name in readme_places(root)}
