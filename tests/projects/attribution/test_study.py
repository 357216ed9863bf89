"""What the tables say, on results by hand; the small tables themselves, marked slow."""

import pytest

from common.runs import run_directory
from projects.attribution import page, quality, study

RESULT = {
    "network": "lenet5", "dataset": "MNIST", "batch": 4,
    "seconds": {"gradient": 0.02, "epsilon_plus_flat": 0.03},
    "conservation": {"epsilon_plus_flat": {"lost": 0.25, "bias": 0.2, "epsilon": 0.05, "unexplained": 1e-7}},
}  # fmt: skip


def test_runtime_by_hand():
    columns, rows = page.runtime_table({"lenet5": RESULT})
    assert columns == ["method", "LeNet5, MNIST"]
    assert rows == [["gradient", "5 ms (1.00)"], ["epsilon_plus_flat", "7.5 ms (1.50)"]]


def test_conservation_by_hand():
    _, rows = page.conservation_table({"lenet5": RESULT})
    assert rows == [["LeNet5, MNIST", "epsilon_plus_flat", "25 %", "20 %", "5 %", "1e-07"]]


def test_the_front_page_says_what_biases_keep():
    row = page.headline({"lenet5": RESULT, "other": RESULT | {"network": "other", "batch": 8}})
    assert row.what == "relevance (EpsilonPlusFlat) of LeNet5, MNIST; other, MNIST"
    assert row.result == (
        "7.5, 3.8 ms an image: 1.5, 1.5 gradients; biases keep 20, 20 % of the output, at most 1e-07 is not accounted "
        "for"
    )


def test_the_benchmark_by_hand():
    compiling = {"trace_s": 0.25, "compile_s": 1.0}
    rows = [
        {"name": "plus, batch 4, compiling", "temporary_bytes": 300, **compiling},
        {"name": "gradient, batch 4, compiling", "temporary_bytes": 600, **compiling},
        {"name": "plus, batch 4", "work": 4, "median_s": {"ours": 0.5, "own gradient": 0.4, "zennit": 1.0}},
        {"name": "plus, difference to zennit", "ours_to_float64": 2e-6, "zennit_to_float64": 3e-5},
        {"name": "gradient, batch 4", "work": 4, "median_s": {"ours": 0.4, "torch": 0.3}},
    ]
    _, table = page.bench_table(rows)
    assert table == [["plus, batch 4", "8.0", "4.0", "2.00", "1.25", "0.50", "1.2 s", "2.0e-06", "3.0e-05"]]


@pytest.mark.slow
def test_small_tables(tmp_path):
    results = study.main(study.StudyConfig(batch_size=2, parts=("cost",)), run_directory.open_for_test(tmp_path))
    (network,) = results
    assert set(results[network]["seconds"]) == {"gradient", *study.TIMED}
    assert all(shares["unexplained"] < 1e-4 for shares in results[network]["conservation"].values())
    assert (tmp_path / "plots" / f"methods_{network}.png").is_file()
    assert {path.stem for path in (tmp_path / "tables").glob("*.json")} == {"runtime", "conservation"}


def _measured(mean: float, low: float, high: float) -> dict:
    return {"mean": mean, "low": low, "high": high}


def test_the_verdict_on_composites_by_hand():
    def one(beyond, apart):
        layers = {"fc": _measured(0.5, 0.4, 0.6), "conv": _measured(0.1, 0.0, 0.2)}
        return {
            "aopc": _measured(0.6, 0.5, 0.7), "beyond_random": _measured(beyond, beyond - 0.1, beyond + 0.1),
            "apart": apart, "between": _measured(0.3, 0.2, 0.4), "gini": _measured(0.8, 0.7, 0.9),
            "randomization": layers,
        }  # fmt: skip

    result = {
        "network": "lenet5", "dataset": "MNIST", "images": 9, "region": 4, "perturbation": "uniform",
        "score": "probability", "random": _measured(0.3, 0.2, 0.4),
        "methods": {"epsilon_plus": one(0.3, True), "epsilon_plus_flat": one(0.2, False), "gradient": one(-0.2, True)},
    }  # fmt: skip
    title, (columns, rows), verdict = quality.sections({"quality_lenet5": result})
    assert "regions of 4 x 4 pixels" in title and len(columns) == len(rows[0])
    assert [row[3] for row in rows] == ["better, intervals apart", "better", "worse, intervals apart"]
    assert verdict.endswith("apart: epsilon_plus; not: epsilon_plus_flat.")


@pytest.mark.slow
def test_a_small_evaluation(tmp_path):
    settings = study.StudyConfig(parts=("quality", "compare"))
    results = study.main(settings, run_directory.open_for_test(tmp_path))
    (result,) = results.values()
    assert set(result["methods"]) == {"gradient", "epsilon_plus"} and result["images"] == 8
    assert (tmp_path / "tables" / "quality_untrained.json").is_file()
