"""What the tables say, on results by hand; the small tables themselves, marked slow."""

import pytest

from common.runs import run_directory
from projects.attribution import published, tables

RESULT = {
    "network": "lenet5", "dataset": "MNIST", "batch": 4,
    "seconds": {"gradient": 0.02, "epsilon_plus_flat": 0.03},
    "conservation": {"epsilon_plus_flat": {"lost": 0.25, "bias": 0.2, "epsilon": 0.05, "unexplained": 1e-7}},
}  # fmt: skip


def test_runtime_by_hand():
    columns, rows = published.runtime_rows({"lenet5": RESULT})
    assert columns == ["method", "LeNet5, MNIST"]
    assert rows == [["gradient", "5 ms (1.00)"], ["epsilon_plus_flat", "7.5 ms (1.50)"]]


def test_conservation_by_hand():
    _, rows = published.conservation_rows({"lenet5": RESULT})
    assert rows == [["LeNet5, MNIST", "epsilon_plus_flat", "25 %", "20 %", "5 %", "1e-07"]]


def test_the_front_page_has_a_line():
    (line,) = published.front_page(RESULT)["front_page"]
    assert (
        line["what"].endswith("LeNet5, MNIST")
        and line["result"] == "7.5 ms an image, 1.5 gradients; conserved to 1e-07"
    )


def test_results_are_written_with_their_origin(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    (tmp_path / "a.png").write_bytes(b"picture")
    published.write("lenet5", RESULT, tmp_path / "a.png", {"device": "cpu", "date": "2026-01-02", "commit": "c"})
    assert published.read()["lenet5"]["provenance"]["commit"] == "c"
    assert (tmp_path / "results" / "lenet5.png").read_bytes() == b"picture"
    text = "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("runtime", "conservation", "bench"))
    assert "LeNet5, MNIST | epsilon_plus_flat | 25 %" in published.rendered(text)


def test_the_benchmark_by_hand():
    compiling = {"trace_s": 0.25, "compile_s": 1.0}
    rows = [
        {"name": "plus, batch 4, compiling", "temporary_bytes": 300, **compiling},
        {"name": "gradient, batch 4, compiling", "temporary_bytes": 600, **compiling},
        {"name": "plus, batch 4", "work": 4, "median_s": {"ours": 0.5, "own gradient": 0.4, "zennit": 1.0}},
        {"name": "plus, difference to zennit", "ours_to_float64": 2e-6, "zennit_to_float64": 3e-5},
        {"name": "gradient, batch 4", "work": 4, "median_s": {"ours": 0.4, "torch": 0.3}},
    ]
    _, table = published.bench_rows(rows)
    assert table == [["plus, batch 4", "8.0", "4.0", "2.00", "1.25", "0.50", "1.2 s", "2.0e-06", "3.0e-05"]]


@pytest.mark.slow
def test_small_tables(tmp_path):
    found = tables.main(tables.TablesConfig(batch_size=2), run_directory.open_for_test(tmp_path))
    (network,) = found
    assert set(found[network]["seconds"]) == {"gradient", *tables.TIMED}
    assert all(kept["unexplained"] < 1e-4 for kept in found[network]["conservation"].values())
    assert (tmp_path / "plots" / f"methods_{network}.png").is_file()
    assert {path.stem for path in (tmp_path / "tables").glob("*.json")} == {"runtime", "conservation"}
