"""A project's page: what is published is read back and shown with where it comes from; a changed tree is refused."""

import json
import pathlib
import subprocess

import pytest

from common.publishing import ChangedTreeError, Page, Section, origin
from common.runs import provenance

STAMP = {"device": "cpu", "date": "2026-01-02T03:04:05Z", "commit": "0123456789abcdef", "dirty": False}
TEXT = "head\n<!-- sizes:begin -->\nold\n<!-- sizes:end -->\ntail\n"


def sizes(results):
    return ["name", "bytes"], [[name, result["bytes"]] for name, result in results.items()]


@pytest.fixture
def page(tmp_path) -> Page:
    return Page(tmp_path, "arXiv:1", {"sizes": sizes}, order=("b",))


def test_a_result_is_written_read_and_shown(page, tmp_path):
    (tmp_path / "drawn.png").write_bytes(b"picture")
    page.write("a", {"bytes": 1, "provenance": STAMP}, tmp_path / "drawn.png")
    page.write("b", {"bytes": 2, "provenance": STAMP | {"commit": "f" * 40}})
    assert list(page.read()) == ["b", "a"] and page.read()["a"]["provenance"] == STAMP
    assert (page.results / "a.png").read_bytes() == b"picture"
    assert page.picture("a", "A") == "![A](results/a.png)" and page.picture("b", "B") == ""
    assert page.rendered(TEXT) == (
        "head\n<!-- sizes:begin -->\n| name | bytes |\n| --- | --- |\n| b | 2 |\n| a | 1 |\n\n"
        "Measured on cpu, 2026-01-02, commits ffffffffff, 0123456789.\n<!-- sizes:end -->\ntail\n"
    )
    (tmp_path / "README.md").write_text(TEXT)
    assert page.render() and not page.render()
    assert (tmp_path / "README.md").read_text() == page.rendered(TEXT)


def test_pictures_of_an_earlier_result_leave_with_it(page, tmp_path):
    for name in ("one.png", "two.svg"):
        (tmp_path / name).write_bytes(name.encode())
    page.write("a", {"provenance": STAMP}, {"": tmp_path / "one.png", "_curve": tmp_path / "two.svg"})
    assert page.read()["a"]["pictures"] == ["a.png", "a_curve.svg"]
    page.write("a", {"provenance": STAMP}, {"_curve": tmp_path / "two.svg"})
    assert sorted(path.name for path in page.results.iterdir()) == ["a.json", "a_curve.svg"]


def test_sections_lists_and_texts(tmp_path):
    tables = {
        "few": Section(sizes, sources="a*"),
        "parts": lambda results: ["first", sizes(results), ""],
        "text": lambda results: "words",
        "own": Section(lambda results: f"{len(results)} results", sources=None),
        "none": Section(sizes, sources="z*"),
    }
    page = Page(tmp_path, "arXiv:1", tables)
    page.write("a", {"bytes": 1, "provenance": STAMP})
    page.write("b", {"bytes": 2, "provenance": STAMP})
    content = page.rendered("".join(f"<!-- {name}:begin --><!-- {name}:end -->" for name in tables))
    few, parts, text, own, none = (part.split("-->\n")[1].strip() for part in content.split("<!-- ")[1::2])
    assert few.startswith("| name | bytes |") and "| b |" not in few and few.endswith("commit 0123456789.")
    assert parts.startswith("first\n\n| name") and parts.endswith("| b | 2 |")
    assert (text, own, none) == ("words", "0 results", "No results are published yet.")


@pytest.mark.parametrize(("dirty", "words"), [(True, "Measured from a changed tree"), (None, "is not recorded")])
def test_a_changed_tree_stands_beside_the_table(page, dirty, words):
    page.write("a", {"bytes": 1, "provenance": STAMP})
    assert words not in page.rendered(TEXT)
    old = {"bytes": 2, "provenance": STAMP | {"dirty": dirty}}
    (page.results / "old.json").write_text(json.dumps(old))
    assert f"commit 0123456789. {words}" in page.rendered(TEXT).replace("Whether the tree was changed ", "")
    assert page.rendered(TEXT).split("<!-- sizes:end -->")[0].endswith(": `old`.\n")
    listed = Page(page.folder, "arXiv:1", {"sizes": lambda results: ["words"]})
    assert words in listed.rendered(TEXT).split("\n\nwords")[0]
    mark = origin.changed_mark({"a": {"provenance": STAMP}, "old": old})
    assert mark == (" (measured from a changed tree: old)" if dirty else " (tree not recorded: old)")


def test_what_cannot_be_shown_is_an_error(page):
    with pytest.raises(ValueError, match="has no place for sizes"):
        page.rendered("nothing")
    with pytest.raises(ValueError, match="has a place for ghosts, which nothing fills"):
        page.rendered(TEXT + "<!-- ghosts:begin -->\n<!-- ghosts:end -->\n")
    page.results.mkdir()
    for content in ("[", '{"bytes": 1}', "[1]"):
        (page.results / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="bad.json is no published result"):
            page.read()


def test_a_result_of_a_changed_tree_is_not_published(page):
    for dirty in (True, None):
        with pytest.raises(ChangedTreeError, match="a was measured from a tree"):
            page.write("a", {"provenance": STAMP | {"dirty": dirty}})
    with pytest.raises(ValueError, match="'../a'"):
        page.write("../a", {"provenance": STAMP})
    assert not page.results.exists()


@pytest.fixture
def checkout(tmp_path) -> pathlib.Path:
    """A repository with one commit: code.py and an ignore file."""

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    (tmp_path / "code.py").write_text("1\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_the_refusal_names_the_files_but_for_results_and_what_is_ignored(checkout):
    results = checkout / "projects" / "x" / "results"
    results.mkdir(parents=True)
    (results / "new.json").write_text("{}")
    (checkout / "runs").mkdir()
    (checkout / "runs" / "run.txt").write_text("")
    origin.require_clean_tree(results, checkout)
    (checkout / "code.py").write_text("2\n")
    (checkout / "projects" / "x" / "a new.py").write_text("")
    with pytest.raises(ChangedTreeError, match="code.py, projects/x/a new.py. A published result") as refusal:
        origin.require_clean_tree(results, checkout)
    assert "new.json" not in str(refusal.value) and "run.txt" not in str(refusal.value)
    other = checkout / "projects" / "y" / "results"
    assert "projects/x/results/new.json" in origin.changed_files(other, checkout)
    for number in range(20):
        (checkout / f"{number}.py").write_text("")
    with pytest.raises(ChangedTreeError, match=" and 14 more"):
        origin.require_clean_tree(results, checkout)


def test_pieces_of_a_changed_tree_are_refused_and_missing_ones_said(page):
    pieces = {"piece_commits": ["a" * 10, "b" * 10 + ", changed"]}
    with pytest.raises(ChangedTreeError, match="pieces at bbbbbbbbbb, changed: remove their run directories"):
        page.write("a", {"bytes": 1, "provenance": STAMP | pieces | {"dirty": True}})
    page.write("a", {"bytes": 1, "provenance": STAMP | {"piece_commits": ["a" * 10], "missing": ["toy.train/one"]}})
    results = page.read()
    assert "commit aaaaaaaaaa." in origin.measured_on(results)
    assert origin.missing_note(results) == "Not measured, and not in the numbers: of `a` `toy.train/one`."


def test_outside_a_checkout_nothing_is_published(tmp_path):
    with pytest.raises(ChangedTreeError, match="no git checkout"):
        origin.require_clean_tree(tmp_path / "results", tmp_path)


def test_a_stamp_is_of_a_clean_tree_or_refused(page, monkeypatch):
    monkeypatch.setattr(provenance, "stamp", lambda: STAMP | {"dirty": True})  # the results folder of an earlier piece
    monkeypatch.setattr(origin, "changed_files", lambda results, root: [])
    assert page.stamp() == STAMP
    page.write("a", {"bytes": 1})
    assert page.read()["a"]["provenance"] == STAMP
    monkeypatch.setattr(origin, "changed_files", lambda results, root: ["common/app.py"])
    with pytest.raises(ChangedTreeError, match="common/app.py"):
        page.write("b", {"bytes": 1})
