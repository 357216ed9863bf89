"""Every README shows what the committed result files say; a row a system; benchmarks beside their peers."""

import json
import pathlib

import pytest

from common.publishing import __main__ as command
from common.publishing import benchmarks, front_page
from common.publishing.page import Headline, Page

ROOT = pathlib.Path(__file__).resolve().parents[3]
STAMP = {"device": "cpu", "date": "2026-01-02T03:04:05Z", "commit": "a" * 40, "dirty": False}


def is_ours(path: pathlib.Path) -> bool:
    return path.relative_to(ROOT).parts[0] in ("kernels", "common", "projects", "launch", "tests")


@pytest.mark.parametrize("name", front_page.all_pages())
def test_a_page_is_rendered_from_the_result_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert front_page.all_pages()[name](text) == text, "python -m common.publishing"


def test_every_published_result_from_a_changed_tree_is_named_on_its_page():
    changed = [
        path
        for path in ROOT.glob("projects/*/results/*.json")
        if json.loads(path.read_text())["provenance"]["dirty"] is not False
    ]
    for path in changed:
        notes = [
            line
            for line in (path.parents[1] / "README.md").read_text().splitlines()
            if "Measured from a changed tree" in line
        ]
        assert any(f"`{path.stem}`" in line for line in notes), path


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*/**/README.md") if is_ours(path))]
)
def test_pictures_and_links_of_a_page_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [part.split(")")[0].split("#")[0] for part in text.split("](")[1:]]
    missing = [t for t in targets if t and not t.startswith("http") and not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing


def test_every_headline_names_a_row_of_a_committed_benchmark():
    for room, names in json.loads((ROOT / "kernels/headlines.json").read_text()).items():
        rows = [
            row["name"]
            for path in ROOT.glob(f"kernels/{room}/bench.*.json")
            for row in json.loads(path.read_text())["rows"]
        ]
        assert set(names) <= set(rows), f"{room}: {set(names) - set(rows)}"


def make_page(folder: pathlib.Path, headline=None, **results) -> Page:
    (folder / "results").mkdir(parents=True)
    for name, result in results.items():
        (folder / "results" / f"{name}.json").write_text(json.dumps({"provenance": STAMP} | result))
    return Page(folder, "arXiv:1", {}, headline)


def test_a_row_a_system(tmp_path):
    assert front_page.results_table({}) == "No results are published yet."
    lines = [{"what": "free energy", "result": "exact"}, {"what": "entropy", "result": "2 nats"}]
    pages = {
        "a": make_page(
            tmp_path / "a",
            lambda results: Headline("size", str(results["net"]["bytes"]), ("net*",)),
            net={"bytes": 7, "provenance": STAMP | {"dirty": True}},
            other={"provenance": STAMP | {"device": "gpu"}},
        ),
        "b": make_page(tmp_path / "b", None, x={"front_page": lines}),
        "c": make_page(tmp_path / "c", lambda results: Headline("never", "asked")),
    }
    assert front_page.results_table(pages).split("\n")[2:] == [
        "| [a](projects/a/README.md) | arXiv:1 | size | 7 (measured from a changed tree) |",
        "| [b](projects/b/README.md) | arXiv:1 | free energy | exact |",
        "| [b](projects/b/README.md) | arXiv:1 | entropy | 2 nats |",
        "",
        "Measured on cpu, 2026-01-02. Commits stand on the page of each system.",
    ]


def test_results_without_a_page_are_an_error(tmp_path):
    make_page(tmp_path / "projects" / "x", None, net={})
    with pytest.raises(ValueError, match="projects/x has published results that no page.py shows"):
        front_page.load_pages(tmp_path)


def test_the_command_writes_pages_and_only_compares_with_check(tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("old")
    monkeypatch.setattr(command.provenance, "ROOT", tmp_path)
    monkeypatch.setattr(command.front_page, "all_pages", lambda: {"README.md": lambda text: "new"})
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0 and "--check" in capsys.readouterr().out
    assert command.main(["--check"]) == 1 and (tmp_path / "README.md").read_text() == "old"
    assert capsys.readouterr().out == "README.md is out of date\n"
    assert command.main([]) == 0 and (tmp_path / "README.md").read_text() == "new"
    assert command.main(["--check"]) == 0


def test_benchmarks(tmp_path):
    folder = tmp_path / "kernels" / "k"
    folder.mkdir(parents=True)
    assert "No benchmark" in benchmarks.bench_tables(tmp_path) and "No benchmark" in benchmarks.headline_table(tmp_path)
    timing = {"name": "encode", "unit": "w", "millions_per_s": {"ours": 80.0, "peer": 40.0}}
    rows = [timing | {"times_faster_than": {"peer": 2.0}}, {"name": "clock"}]
    (folder / "bench.cpu.json").write_text(json.dumps(STAMP | {"rows": rows}))
    (tmp_path / "kernels" / "headlines.json").write_text('{"k": ["encode"]}')
    table = benchmarks.bench_tables(tmp_path)
    assert "| encode | 80.0 Mw/s | peer: 40.0 Mw/s | 2 |" in table and "changed tree" not in table
    assert "| k | encode | 80.0 Mw/s | peer: 40.0 Mw/s | 2 |" in benchmarks.headline_table(tmp_path)
    (folder / "bench.cpu.json").write_text(json.dumps(STAMP | {"rows": rows, "dirty": True}))
    for render in (benchmarks.bench_tables, benchmarks.headline_table):
        assert render(tmp_path).endswith(
            "Measured from a changed tree, so that the commit alone does not say what ran: `k`."
        )
    (folder / "bench.cpu.json").write_text("[")
    with pytest.raises(ValueError, match="bench.cpu.json is damaged"):
        benchmarks.bench_tables(tmp_path)


@pytest.mark.parametrize(
    "millions, text",
    [(5564.0, "5.56 Gw/s"), (110.2, "110 Mw/s"), (0.5, "0.50 Mw/s"), (0.02, "20.0 kw/s"), (3.2e-6, "3.20 w/s")],
)
def test_rates_are_read_easily(millions, text):
    assert benchmarks._rate(millions, "w") == text
