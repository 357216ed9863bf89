"""What the pages say of the published benchmark stands in its result files."""

import json
import pathlib

import pytest

from kernels import entropy_coding

RESULTS = sorted(pathlib.Path(entropy_coding.__file__).parent.glob("bench.*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_no_file_is_longer_or_less_exact_than_nncodecs(path):
    rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    others = [row for name, row in rows.items() if name.startswith("any network")]
    assert len(others) >= 11
    for row in others:
        assert row["bytes_over_nncodec"] <= 1, row["name"]
        assert row["squared_error_over_nncodec"] <= 1 + 1e-9, row["name"]
    for setting in ("uniform qp -28", "trellis qp -32"):
        row = rows[f"EfficientNet-Lite0, {setting}"]
        assert row["ours_bytes"] <= row["nncodec_bytes"]
        assert row["ours_squared_error_of_weights"] <= row["nncodec_squared_error_of_weights"] * (1 + 1e-9)
        for what, factor in (("encode", 8), ("decode", 3)):
            whole = rows[f"EfficientNet-Lite0 {what}, {setting}, whole process"]
            assert whole["times_faster_than"]["nncodec"] >= factor
