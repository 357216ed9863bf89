"""Results beside those of another run."""

import pytest

from common import files
from common.study import finished


def test_results_are_compared_number_by_number(tmp_path):
    result = {"status": "ok", "a": 1.5, "b": {"c": [1, 2], "d": None}}
    with pytest.raises(ValueError, match="--same_as=.*: expected a finished run"):
        finished.compare(result, tmp_path, "same_as")
    files.write_json(tmp_path / "result.json", result)
    assert finished.compare(result, tmp_path, "same_as") == {"numbers": 3, "unequal": 0}
    assert finished.compare(result | {"a": 1.5000000000000002}, tmp_path, "same_as")["unequal"] == 1
    assert finished.compare(result | {"e": 1}, tmp_path, "same_as")["unequal"] > 0
