"""The page shows the committed results; its lines of Python run in tests/test_readme_snippets.py."""

import pathlib

from projects.attribution import published

README = pathlib.Path(published.__file__).parent / "README.md"


def test_the_tables_are_those_of_the_results():
    text = README.read_text()
    assert published.rendered(text) == text, "python -m projects.attribution.tables --render_readme"
