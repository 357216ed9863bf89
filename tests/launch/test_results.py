"""The table of a sweep and its front."""

import csv
import json
import random

import pytest

from launch import results, status
from launch.sweep import Job, LaunchError, Sweep


def state(folder, name, flags, result, standing="finished", detail=""):
    path = folder / name
    path.mkdir(parents=True)
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    return status.JobState(Job(name, str(path), ("m",), flags), standing, detail, 1, None)


@pytest.fixture
def states(tmp_path):
    def result(size, accuracy):
        return {
            "bytes": size,
            "accuracy": accuracy,
            "same": 3,
            "at": f"{tmp_path}/one/m.dcb",
            "nested": {"list": [1, 2]},
        }

    return [
        state(tmp_path, "one", {"a": "1"}, result(10, 0.5) | {"at": f"{tmp_path}/one/m.dcb"}),
        state(tmp_path, "two", {"a": "2"}, result(20, 0.25) | {"at": f"{tmp_path}/two/m.dcb"}),
        state(tmp_path, "<b>&", {"a": "3", "b": "x, y"}, result(30, 0.1 + 0.2) | {"a": 8}),
        state(tmp_path, "bad", {"a": "4"}, None, "failed", "error: <no> disk"),
    ]


def sweep_of(tmp_path, states):
    return Sweep(tmp_path, "projects.x.y", ("--n=1",), "/", {}, tuple(item.job for item in states))


def test_csv_holds_everything_to_the_bit_and_nothing_of_the_place(tmp_path, states):
    results.write(sweep_of(tmp_path, states), states)
    rows = list(csv.reader((tmp_path / "results.csv").read_text().splitlines()))
    assert rows[0] == ["job", "state", "a", "b", "bytes", "accuracy", "same", "at", "nested/list", "result a"]
    assert rows[1] == ["one", "finished", "1", "", "10", "0.5", "3", "{run_dir}/m.dcb", "[1, 2]", ""]
    assert float(rows[3][5]) == 0.1 + 0.2 and rows[3][3] == "x, y" and rows[3][9] == "8"
    assert rows[4] == ["bad", "failed", "4", "", *[""] * 6]


def test_terminal_folds_what_is_the_same_for_all(tmp_path, states):
    text = results.text(results.collect(states))
    assert "same 3" in text.splitlines()[-1] and "same" not in text.splitlines()[0]
    assert len(text.splitlines()[0]) <= results.CONSOLE_WIDTH


def test_results_that_repeat_a_flag_are_in_the_csv_only(tmp_path):
    states = [state(tmp_path, f"a={a}", {"a": a}, {"rule/a": float(a), "b": 2 * float(a)}) for a in ("0.5", "1e-3")]
    table = results.collect(states)
    assert table.results == ("rule/a", "b") and [table.columns[i] for i in results.split(table)[0][2:]] == ["a", "b"]


def test_page_shows_front_failures_and_links_and_is_safe(tmp_path, states):
    (tmp_path / "two" / "report.html").write_text("")
    (tmp_path / "<b>&" / "report.html").write_text("")
    _, page = results.write(sweep_of(tmp_path, states), states, "bytes:min,accuracy:max")
    html = page.read_text()
    assert '<a href="two/report.html">two</a>' in html and '<a href="%3Cb%3E%26/report.html">&lt;b&gt;&amp;</a>' in html
    assert "error: &lt;no&gt; disk" in html and "<no>" not in html and "<b>&" not in html
    assert "data:image/png;base64," in html and "python -m projects.x.y --n=1" in html
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["front"] for row in rows] == ["true", "false", "false", "false"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bytes", "expected two results as in"),
        ("bytes:min,accuracy:best", "expected two results as in"),
        ("bytes:min,at:max", "'at' is no number of the results; there are bytes, accuracy, same"),
        ("bytes:min,loss:max", "'loss' is no number"),
    ],
)
def test_fronts_that_cannot_be(states, text, message):
    with pytest.raises(LaunchError, match=message):
        results.parse_pareto(text, results.collect(states))


@pytest.mark.parametrize("ways", [(False, True), (True, True), (False, False)])
def test_front_by_its_definition(ways):
    """Against every pair, with many ties."""
    generator = random.Random(0)
    for _ in range(30):
        rows = [
            (f"j{i}", "finished", generator.randrange(6), generator.choice([0.5, 1.5, 2.5, None])) for i in range(25)
        ]
        table = results.Table((), ("x", "y"), tuple(rows))
        actual = {name for _, _, name in results.front(table, [("x", ways[0]), ("y", ways[1])])}
        points = [
            (name, x if ways[0] else -x, y if ways[1] else -y) for name, _, x, y in rows if y is not None
        ]  # more is better
        expected = {
            name for name, x, y in points if not any(u >= x and v >= y and (u, v) != (x, y) for _, u, v in points)
        }
        assert actual == expected
