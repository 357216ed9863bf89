"""The front page shows what the committed result files say."""

import json
import pathlib

import pytest

from common import readme

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_front_page_is_rendered_from_the_result_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.rendered(text) == text, "python -m common.readme"


def test_pictures_and_links_of_the_front_page_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    missing = [t for t in targets if not t.startswith("http") and not (ROOT / t).exists()]
    assert not missing


def test_tables(tmp_path):
    results, bench = tmp_path / "projects/x/results", tmp_path / "kernels/k"
    results.mkdir(parents=True)
    bench.mkdir(parents=True)
    assert "No results" in readme.results_table(tmp_path) and "No benchmark" in readme.bench_table(tmp_path)
    point = {"mean_percent": 0.5, "mean_accuracy_before": 0.99, "mean_accuracy": 0.98, "seeds": [{}, {}]}
    provenance = {"device": "cpu", "date": "2026-01-02T03:04:05Z"}
    result = {"dataset": "MNIST", "points": {"small": point}, "provenance": provenance}
    (results / "net.json").write_text(json.dumps(result))
    assert "| net, MNIST | small | 0.5 % | 99.00 % | 98.00 % | 2 |" in readme.results_table(tmp_path)
    row = {"name": "encode", "millions_per_s": {"ours": 80.0, "peer": 40.0}, "times_faster_than": {"peer": 2.0}}
    page = {"device": "cpu", "date": "2026-01-02T", "commit": "a" * 40, "rows": [row, {"name": "clock"}]}
    (bench / "bench.cpu.json").write_text(json.dumps(page))
    assert "| k | encode | 80.0 | peer: 40.0 | 2.00 |" in readme.bench_table(tmp_path)
    with pytest.raises(ValueError, match="no place for the results"):
        readme.rendered("nothing", tmp_path)
