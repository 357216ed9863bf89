"""The benchmark of accelerators: what a time box leaves, and what a log says."""

import json
import sys

from kernels import bench_device


def test_a_rehearsal_leaves_its_rows_and_says_what_was_not_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_device", "boundary_step", "--seconds", "120", "--output", str(tmp_path)])
    assert bench_device.main() == 0
    result = json.loads((tmp_path / "device.json").read_text())
    assert result["ceilings"]["bytes_per_s"] > 0 and result["rooms"]["boundary_step"]["complete"]
    rows = result["rooms"]["boundary_step"]["rows"]
    assert all(row["times_floor"] > 0 for row in rows) and len(rows) == 2
    assert "wrote" in capsys.readouterr().out


def test_a_failing_kernel_stands_in_its_row_and_does_not_end_the_others(tmp_path):
    bench = bench_device.DeviceBench(1, target=tmp_path / "rows.json")

    def broken():
        raise RuntimeError("out of memory")

    bench.compare("broken", {"ours": broken}, work=1, unit="w")
    bench.compare("good", {"ours": lambda: None}, work=1, unit="w")
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert rows[0]["failure"] == "RuntimeError: out of memory" and rows[1]["name"] == "good"


def test_a_process_that_takes_too_long_is_stopped(tmp_path):
    status, seconds = bench_device.run_child(["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"], 1.0)
    assert status is None and seconds < 30


def test_counts_of_a_log(tmp_path):
    log = tmp_path / "tests.log"
    log.write_text("FAILED tests/a.py::test_x\n=== 3 failed, 1140 passed, 59 skipped, 1 warning in 213.67s ===\n")
    assert bench_device.summary_of(log) == {
        "failed": 3, "passed": 1140, "skipped": 59, "failures": ["tests/a.py::test_x"],
    }  # fmt: skip
