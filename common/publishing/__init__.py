"""What people see of results: the README pages, read from committed result files, and the HTML report of runs.

A project's `page.py` says what its page shows, and nothing else in the repository knows the form of its results:

    from common.publishing import Headline, Page

    def runtime(results):                       # {stem: content of results/STEM.json}, in the page's order
        rows = [[result["network"], f"{1e3 * result['seconds']:.3g} ms"] for result in results.values()]
        return ["network", "milliseconds an image"], rows

    def headline(results):                      # the system's row on the front page
        fastest = min(results, key=lambda name: results[name]["seconds"])
        return Headline("relevance", f"{1e3 * results[fastest]['seconds']:.3g} ms an image", sources=(fastest,))

    page = Page(pathlib.Path(__file__).parent, "arXiv:2106.13200", {"runtime": runtime}, headline)

README.md has a place for each table, `<!-- runtime:begin -->` and `<!-- runtime:end -->` on lines of their own. What a
table function returns is a tuple (columns, rows), a text, or a list of both, which become paragraphs. Below a tuple
stands the line "Measured on DEVICE, DAY, commit"; in lists and texts `origin.measured_on` writes it where it belongs.
A table of some result files only is `Section(runtime, sources="effort_*")`, and `sources=None` one of none of them.

The project's verb for its tables has a config that extends `PageConfig` (scale, publish, render_readme) or
`StudyConfig` (runs and seeds too), and does

    def main(settings, run):
        if settings.render_readme:
            return {"readme_changed": page.render()}
        stamp = page.stamp() if settings.publish else None   # first: refuses a changed working tree before the work
        ...
        if settings.publish and run.is_main:
            page.write("lenet5", result | {"provenance": stamp}, {"": picture, "_weights": other})

    app.run(main, TablesConfig, transient=publishing.only_renders)

A test compares: `assert page.rendered(text) == text`. `python -m common.publishing` renders every page, README.md and
kernels/README.md; `--check` only says which are out of date. What was measured from a changed tree says so below its
table (above a list or a text) and on the front page, without being asked; `origin.changed_mark` says it in a cell.

`page` (results in, README out), `origin` (where numbers come from), `markdown` (tables, places), `config`,
`front_page`, `benchmarks` (of the kernels); `report` and `report_parts` (HTML), `curves` (metrics as plots).
"""

from common.publishing.config import PageConfig, StudyConfig, only_renders
from common.publishing.origin import ChangedTreeError
from common.publishing.page import Headline, Page, Section

__all__ = ["ChangedTreeError", "Headline", "Page", "PageConfig", "Section", "StudyConfig", "only_renders"]
