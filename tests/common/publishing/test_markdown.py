"""Tables by hand, and what a page's places may hold."""

import pytest

from common.publishing import markdown


def test_a_table_by_hand():
    assert markdown.table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
    with pytest.raises(ValueError, match="3 cells for 2 columns"):
        markdown.table(["a", "b"], [[1, 2, 3]])
    assert markdown.table(["x"], [[markdown.escaped("|M|")]]).endswith("| \\|M\\| |")


def test_contents_become_paragraphs():
    assert markdown.text_of(["a", "", (["x"], [[1]]), "b"]) == "a\n\n| x |\n| --- |\n| 1 |\n\nb"
    for content in (None, 3, ("a", "b", "c")):
        with pytest.raises(TypeError, match="expected a text"):
            markdown.text_of(content)


def test_several_places_of_a_page():
    text = "<!-- a:begin --><!-- a:end -->-<!-- b:begin -->old<!-- b:end -->"
    fresh = markdown.fill("p", text, {"a": "A", "b": "B"})
    assert fresh == "<!-- a:begin -->\nA\n<!-- a:end -->-<!-- b:begin -->\nB\n<!-- b:end -->"
    assert markdown.fill("p", fresh, {"a": "A", "b": "B"}) == fresh
    with pytest.raises(ValueError, match="p has no place for a"):
        markdown.fill("p", "<!-- a:end --><!-- a:begin -->", {"a": "A"})


def test_a_page_is_written_where_it_changes(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("old")
    assert markdown.rewrite(path, "new") and not markdown.rewrite(path, "new") and path.read_text() == "new"


def test_a_table_for_a_terminal_is_aligned():
    text = markdown.aligned(("name", "bytes"), [["a", "1,000"], ["long name", "7"]])
    assert text.split("\n") == ["name       bytes", "-" * 16, "a          1,000", "long name      7"]
