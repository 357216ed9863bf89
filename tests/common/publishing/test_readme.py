"""The front page shows what the committed result files say."""

import json
import pathlib

import pytest

from common.publishing import readme

ROOT = pathlib.Path(__file__).resolve().parents[3]


def is_ours(path: pathlib.Path) -> bool:
    return path.relative_to(ROOT).parts[0] in ("kernels", "common", "projects", "launch", "tests")


@pytest.mark.parametrize("page", readme.PAGES)
def test_a_page_is_rendered_from_the_result_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert readme.rendered(page, text) == text, "python -m common.publishing.readme"


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*/**/README.md") if is_ours(path))]
)
def test_pictures_and_links_of_a_page_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [part.split(")")[0].split("#")[0] for part in text.split("](")[1:]]
    missing = [t for t in targets if t and not t.startswith("http") and not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing


def test_every_headline_names_a_row_of_a_committed_benchmark():
    for room, names in readme.HEADLINES.items():
        rows = [
            row["name"]
            for path in ROOT.glob(f"kernels/{room}/bench.*.json")
            for row in json.loads(path.read_text())["rows"]
        ]
        assert set(names) <= set(rows), f"{room}: {set(names) - set(rows)}"


def test_tables(tmp_path, monkeypatch):
    results, bench = tmp_path / "projects/x/results", tmp_path / "kernels/k"
    results.mkdir(parents=True)
    bench.mkdir(parents=True)
    assert "No results" in readme.results_table(tmp_path) and "No benchmark" in readme.bench_tables(tmp_path)
    assert "No benchmark" in readme.headline_table(tmp_path)
    point = {"mean_percent": 0.5, "mean_accuracy_before": 0.99, "mean_accuracy": 0.98, "seeds": [{}, {}]}
    provenance = {"device": "cpu", "date": "2026-01-02T03:04:05Z"}
    result = {"dataset": "MNIST", "points": {"small": point}, "provenance": provenance}
    (results / "net.json").write_text(json.dumps(result))
    (results / "other.json").write_text(
        json.dumps({"front_page": [{"what": "free energy", "result": "exact"}], "provenance": provenance})
    )
    table = readme.results_table(tmp_path)
    assert "| net, MNIST | whole file 0.5 % of float32; accuracy 99.00 → 98.00 %, 2 seeds |" in table
    assert "| free energy | exact |" in table
    row = {
        "name": "encode",
        "unit": "w",
        "millions_per_s": {"ours": 80.0, "peer": 40.0},
        "times_faster_than": {"peer": 2.0},
    }
    page = {"device": "cpu", "date": "2026-01-02T", "commit": "a" * 40, "rows": [row, {"name": "clock"}]}
    (bench / "bench.cpu.json").write_text(json.dumps(page))
    assert "| encode | 80.0 Mw/s | peer: 40.0 Mw/s | 2 |" in readme.bench_tables(tmp_path)
    monkeypatch.setitem(readme.HEADLINES, "k", ("encode",))
    assert "| k | encode | 80.0 Mw/s | peer: 40.0 Mw/s | 2 |" in readme.headline_table(tmp_path)
    with pytest.raises(ValueError, match="no place for results"):
        readme.rendered("README.md", "nothing", tmp_path)


def test_help_and_check_write_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("nothing measured, <!-- results:begin -->\nold\n<!-- results:end -->")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "PAGES", {"README.md": {"results": lambda root: "new"}})
    with pytest.raises(SystemExit) as stop:
        readme.main(["--help"])
    assert stop.value.code == 0 and "--check" in capsys.readouterr().out
    assert readme.main(["--check"]) == 1 and "old" in (tmp_path / "README.md").read_text()
    assert readme.main([]) == 0 and "new" in (tmp_path / "README.md").read_text()
    assert readme.main(["--check"]) == 0


@pytest.mark.parametrize(
    "millions, text",
    [(5564.0, "5.56 Gw/s"), (110.2, "110 Mw/s"), (0.5, "0.50 Mw/s"), (0.02, "20.0 kw/s"), (3.2e-6, "3.20 w/s")],
)
def test_rates_are_read_easily(millions, text):
    assert readme._rate(millions, "w") == text
