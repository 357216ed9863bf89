"""The study of the error bars: its cases are what they say, and what is published of it holds what was asked."""

import json

from common import files
from common.publishing import markdown
from common.runs import run_directory
from kernels.autoregressive import calibration
from projects.van import coverage, page, study


def test_a_small_study(tmp_path):
    """Pieces stay: a second run measures nothing; numbers and tables have their form; heavy weights are told."""
    settings = study.Calibration(("log_normal",), seeds=3, samples=400)
    run = run_directory.open_for_test(tmp_path)
    result = files.clean(study.error_bars(settings, run))
    (row,) = result["coverage"].values()
    assert row["told"]["exact"] >= row["told"]["weights"] > 0.5 and set(row["methods"]) == set(page.METHODS)
    assert set(row["methods"]["delta"]) == set(calibration.QUANTITIES)
    json.dumps(result, allow_nan=False)
    assert {path.stem for path in (tmp_path / "tables").glob("*.json")} == {"told", *page.METHODS}
    assert study.error_bars(settings, run)["coverage"] == result["coverage"] and page.coverage_line(result) == ""


def test_published_error_bars_hold_or_say_that_they_do_not():
    """Of every case that is published: 60 to 76 % of the one-sigma bars hold the truth, or 99 % of the seeds are told,
    by both methods; where networks are good at most 2 % are told."""
    result = page.page.read()["coverage"]
    assert result["seeds"] >= 200 and result["samples"] == 10_000 and not result["provenance"]["dirty"]
    assert set(result["coverage"]) == set(coverage.CASES)
    for name, row in result["coverage"].items():
        told = row["told"]["samples of p"]
        for method in ("delta", "jackknife"):
            for quantity, shares in row["methods"][method].items():
                assert 0.6 <= shares["all"] <= 0.76 or told >= 0.99, (name, method, quantity)
    for name in page.GOOD:
        assert result["coverage"][name]["told"]["samples of p"] <= 0.02
    assert result["coverage"]["lost_half"]["told"]["weights"] < 0.9, "weights alone cannot see it"
    assert result["coverage"]["lost_half"]["told"]["mirror"] >= 0.99
    assert "by the weights alone" in page.coverage_line(result)
    text = (page.ROOM / "README.md").read_text()
    assert markdown.text_of(page.coverage_parts(result)) in text
