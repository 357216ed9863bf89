"""The page shows the committed results; its lines of Python run in tests/test_readme_snippets.py."""

from projects.attribution.page import page


def test_the_tables_are_those_of_the_results():
    text = (page.folder / "README.md").read_text()
    assert page.rendered(text) == text, "python -m projects.attribution.study --render_readme"
