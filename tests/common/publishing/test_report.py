"""The page: everything in one file, numbers beside the paper's, nothing from outside unescaped."""

import base64
import html.parser
import json
import pathlib
import struct

import matplotlib.figure
import pytest

from common import files
from common.publishing import report, report_parts
from common.runs import metrics, provenance


class Page(html.parser.HTMLParser):
    """Checks that tags nest, and collects what the page would load."""

    VOID = ("meta", "img", "br", "link", "input", "path", "use", "rect")

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def make_run(path, seed=0, result=None, verb="toy.train"):
    (path / "plots").mkdir(parents=True)
    (path / "tables").mkdir()
    commit = {"commit": "0123456789abcdef", "dirty": True, "started": "2026-01-02T03:04:05.000+00:00"}
    meta = {"verb": verb, "status": "finished", "seconds": 12.5, "device": "cpu (Test, 2 cores)", **commit}
    files.write_json(path / "meta.json", meta | {"argv": ["python", "-m", "x"], "versions": {"jax": "0.10.2"}})
    (path / "flags.txt").write_text(f"# python\n--seed={seed}\n--rate=0.1\n")
    files.write_json(path / "result.json", {"accuracy": 0.98, "sizes": {"bytes": 12345}} if result is None else result)
    writer = metrics.Metrics(path / "metrics.csv")
    for step in range(20):
        writer.write(step, loss=1 / (step + 1), **({"accuracy": step / 20} if step % 5 == 0 else {}))
    return path


def test_one_run(tmp_path):
    path = make_run(tmp_path / "run")
    figure = matplotlib.figure.Figure(figsize=(9, 3))
    figure.add_subplot().plot([1, 2])
    figure.savefig(path / "plots" / "rate.png")
    (path / "plots" / "rate.txt").write_text("Accuracy & size\n")
    (path / "plots" / "layers.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>x()</script></svg>")
    content = {
        "title": "Coders",
        "columns": ["coder", "bytes"],
        "rows": [["ours", 12345], ["bz2", None]],
        "note": "whole",
    }
    files.write_json(path / "tables" / "coders.json", content)
    assert report.write([path]) == path / "report.html"
    text = (path / "report.html").read_text()
    page = Page(text)
    assert all(load.startswith(("data:image/", "#")) for load in page.loads) and "<script" not in text
    picture = base64.b64encode((path / "plots" / "rate.png").read_bytes()).decode()
    assert text.count('<figure class="wide">') == 1
    assert f"data:image/png;base64,{picture}" in text and "Accuracy &amp; size" in text
    assert page.tags.count("svg") == 2 and "currentColor" in text  # loss and accuracy
    for shown in ("toy.train", "cpu (Test, 2 cores)", "0123456789", "not committed", "sizes/bytes", "12\u202f345"):
        assert shown in text
    for shown in ("Coders", "whole", "--flagfile", "jax 0.10.2", "2026-01-02 03:04 UTC"):
        assert shown in text


def test_numbers_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    room = tmp_path / "projects" / "toy"
    room.mkdir(parents=True)
    paper = {
        "accuracy": {"value": 0.99, "unit": "", "place": "Table 1", "verified": True},
        "sizes": {"bytes": {"value": 10000, "unit": "B", "place": "Table 2"}},
    }
    (room / "paper.json").write_text(json.dumps(paper))
    (room / "train.py").write_text('"""Trains a `toy`.\n\nAt length."""\n')
    text = report.write([make_run(tmp_path / "run")]).read_text()
    assert '<th class="number">paper</th>' in text and "Trains a <code>toy</code>." in text and "At length" not in text
    row = '<td>accuracy</td><td class="number">0.98</td><td class="number">0.99</td>'
    assert row + "<td>\u22120.01</td><td>Table 1</td>" in text
    assert "sizes/bytes [B]" in text and "<td>+2\u202f345</td><td>Table 2 (not verified)</td>" in text


def test_many_runs_side_by_side(tmp_path):
    paths = [make_run(tmp_path / name / "run", seed=seed) for seed, name in enumerate(("a", "b"))]
    output = report.write(paths)
    assert output == tmp_path / "report.html"
    text = output.read_text()
    Page(text)
    assert '<th>run</th><th class="number">--seed</th><th class="number">accuracy</th>' in text
    assert "--rate</th>" not in text  # the same in both
    assert "a/run</span>" in text and "<h2>b/run</h2>" in text


def test_hostile_and_damaged_content(tmp_path):
    path = make_run(tmp_path / "<b>run", result={"<script>alert(1)</script>": "<img src=x>", "nan": "NaN"})
    (path / "tables" / "bad.json").write_text('{"columns": ["a"], "rows": [[1, 2]]}')
    (path / "tables" / "worse.json").write_text("[")
    (path / "metrics.csv").write_text("step,loss,text\n1,nan,a\n2,0.5,b\n3,inf,c\n4")
    (path / "flags.txt").unlink()
    text = report.write([path]).read_text()
    Page(text)
    assert "<script" not in text and "<img src=x" not in text
    assert "bad.json is not a table" in text and "worse.json is not a table" in text


def test_run_that_just_began(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    files.write_json(path / "meta.json", {"status": "running", "verb": "toy.train"})
    assert "running" in report.write([path]).read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345678, "12\u202f345\u202f678"), (0.1234567, "0.123457"), (1e-9, "1e-09"), (123456.789, "123\u202f456.79"),
     (True, "yes"), (None, ""), ([1, 2.5], "1, 2.5"), (list(range(99)), "99 entries"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_as_they_are_shown(value, text):
    assert report_parts.number(value) == text


def test_command_line(tmp_path, capsys):
    path = make_run(tmp_path / "run")
    assert report.main([str(path), f"--output={tmp_path / 'page.html'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert report.main([str(tmp_path / "none")]) == 1
    assert "none is not a run directory" in capsys.readouterr().err
    assert pathlib.Path(tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("level", "mark"), [("trusted", "trusted"), ("doubtful", "doubtful"), ("not usable", "unusable")]
)
def test_a_result_that_says_how_far_to_trust_it(tmp_path, level, mark):
    """Its level stands at the top in its colour, with the reasons; no green "finished" over what cannot be used."""
    status = {"level": level, "reasons": ["too <few> samples"], "unchecked": ["exact value"]}
    path = make_run(tmp_path / "run", result={"status": status, "value": 1.5})
    cells = [[{"value": 1.25, "status": level}, level], [None, "plain"]]
    files.write_json(path / "tables" / "t.json", {"title": "T", "columns": ["a", "b"], "rows": cells})
    text = report.write([path]).read_text()
    Page(text)
    assert f'<b class="{mark}">finished, {level}</b>' in text and '<b class="finished">' not in text
    assert f'<div class="verdict {mark}"><b>Result: {level}</b>' in text
    assert "<li>too &lt;few&gt; samples</li>" in text and "not looked at: exact value" in text
    assert f'<td class="number {mark}">1.25</td><td class="{mark}">{level}</td>' in text and "status/level" not in text
    other = make_run(tmp_path / "other")
    both = report.write([path, other]).read_text()
    assert f'<td class="{mark}">{level}</td>' in both and '<b class="finished">finished</b>' in both


def test_a_status_of_another_kind_is_a_number_like_others(tmp_path):
    path = make_run(tmp_path / "run", result={"status": {"level": "fine"}, "code": 3})
    text = report.write([path]).read_text()
    assert (
        '<b class="finished">finished</b>' in text
        and "status/level" in text
        and "verdict " not in text.split("</style>")[1]
    )


def test_many_numbers_stand_below_the_tables(tmp_path):
    numbers = {f"number {k}": k for k in range(report.LONG + 1)}
    path = make_run(tmp_path / "run", result=numbers)
    assert "<summary>All numbers" not in report.write([path]).read_text(), "there is no table that would show them"
    files.write_json(path / "tables" / "t.json", {"title": "T", "columns": ["a"], "rows": [[1]]})
    text = report.write([path]).read_text()
    assert (
        text.index("<h3>T</h3>") < text.index("<summary>All numbers of result.json</summary>") < text.index("number 7")
    )


def test_a_grid_of_many_keeps_its_size():
    def head(width, height):
        return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)

    assert report_parts._shape(head(3000, 1000)) == ' class="wide"'
    assert report_parts._shape(head(1800, 2000)) == ' class="wide large"'
    assert report_parts._shape(head(1000, 2000)) == report_parts._shape(head(1600, 640)) == ""
