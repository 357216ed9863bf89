"""The page, the flag files, the snippets of README.md and the study's pieces."""

import pathlib

import pytest

from common import config
from projects.eharq import page as pages
from projects.eharq.config import BlerConfig, GenerateConfig

FLAGS = sorted((pathlib.Path(pages.__file__).parent / "flags").glob("*.flags"))


def test_page_is_up_to_date():
    text = (pages.page.folder / "README.md").read_text(encoding="utf-8")
    assert pages.page.rendered(text) == text


@pytest.mark.parametrize("path", FLAGS, ids=lambda path: path.stem)
def test_flag_files(path):
    kind = BlerConfig if path.stem == "awgn" else GenerateConfig
    config.validate(config.parse(["verb", f"--flagfile={path}"], kind)[0])
    assert all(word in path.read_text() for word in ("# Cost: ", "Expect: "))


def test_tables_of_results():
    rate = {"value": 0.135, "low": 0.134, "high": 0.136}
    one = {"es_n0_db": 4.0, "blocks": 1000, "strata": [{}], "bler": rate, "combined_bler": rate, "undetected": 1,
           "combined_undetected": 0}  # fmt: skip
    columns, rows = pages.set_table({"a": one, "b": one | {"blocks_per_second": 12345.6}})
    assert all(len(row) == len(columns) for row in rows) and rows[1][-1] == "12,346" and not rows[0][-1]
    assert rows[0][4] == "0.135 (0.134 to 0.136)"
    point = {"snr_db": -3.0, "bler": 0.01, "low": 0.008, "high": 0.012, "ber": 1e-3, "errors": 100, "blocks": 9901,
             "undetected": 0, "mean_iterations": 5.0}  # fmt: skip
    columns, rows = pages.curve_table({"axis": "Es/N0, dB", "points": [point]})
    assert len(rows[0]) == len(columns) and rows[0][:2] == ["-3", "0.01 (0.008 to 0.012)"]
