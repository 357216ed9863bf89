"""HTML of a verb in the report: what is allowed comes through, anything else is refused whole."""

import json

import pytest

from common.publishing import html_parts, report
from common.runs import run_directory


def test_what_is_allowed_comes_through():
    text = '<p class="note">a &lt; b<br><span style="color:#fff" title="&quot;x&quot;">c</span></p>'
    text += "<audio controls></audio>"
    assert html_parts.rebuilt(text) == text
    assert html_parts.rebuilt('<img src="data:image/png;base64,AAAA">') == '<img src="data:image/png;base64,AAAA">'
    assert html_parts.rebuilt("a < b & c") == "a &lt; b &amp; c"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<script>alert(1)</script>", "tag <script>"),
        ("<SCRIPT>alert(1)</SCRIPT>", "tag <script>"),
        ("<svg><script>1</script></svg>", "tag <svg>"),
        ('<a href="x">x</a>', "tag <a>"),
        ("<style>p{}</style>", "tag <style>"),
        ('<img src="data:image/png;base64,AAAA" onerror="alert(1)">', "attribute onerror"),
        ('<img src="https://example.org/x.png">', "expected a PNG, SVG or WAV"),
        ('<img src="data:text/html;base64,AAAA">', "expected a PNG, SVG or WAV"),
        ('<p style="background:URL(x)">a</p>', "could load"),
        (r'<p style="background:\75rl(x)">a</p>', "could load"),
        ("<!-- a --><p>b</p>", "comments"),
        ("<!doctype html>", "comments"),
        ("<?php ?>", "comments"),
        ("</div></div>", "closes nothing"),
        ("<p><b>a</p></b>", "closes nothing"),
        ("<div>", "<div> is not closed"),
    ],
)
def test_anything_else_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        html_parts.rebuilt(text)


def test_the_report_shows_parts_and_says_which_it_does_not(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    run.note(verb="toy.train", status="finished")
    run.part("first", "<p>one &amp; two</p>", "A <title>", "A note & more")
    run.part("second", "<script>alert(1)</script>")
    (tmp_path / "parts" / "third.json").write_text(json.dumps({"title": "no html"}))
    (tmp_path / "parts" / "fourth.json").write_text("[")
    (tmp_path / "parts" / "fifth.json").write_text(json.dumps({"html": 3}))
    page = report.write([tmp_path]).read_text()
    assert '<h3>A &lt;title&gt;</h3><p class="note">A note &amp; more</p><div class="part"><p>one &amp; two</p>' in page
    assert "<script" not in page and "second.json is not shown: the tag &lt;script&gt;" in page
    for name in ("third", "fourth", "fifth"):
        assert f"{name}.json is not a part" in page
