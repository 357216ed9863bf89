"""Error-rate curves: counts that end with an error, resumed ones, codes of a file, fillers, reference points."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from common.runs import run_directory
from kernels import ldpc
from projects.eharq import bler, receiver, transmission
from projects.eharq.config import BlerConfig

SMALL = BlerConfig(
    lifting=6, sent=300, snr_db=(-1.5, -4.0), errors=20, max_blocks=300, batch=128, iterations=10, subcarriers=30
)
HAMMING = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]], np.uint8)


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """(run, result) of a few points."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("curve"))
    return run, bler.main(SMALL, run)


def test_a_curve(curve):
    run, result = curve
    low, high = result["points"]
    assert (low["snr_db"], high["snr_db"]) == (-4.0, -1.5) and low["es_n0_db"] == -4.0
    assert low["errors"] == 20 and low["blocks"] < 128, "many errors: the point ends within its first batch"
    assert high["blocks"] == 300 and high["errors"] < 20 and low["bler"] > 2 * high["bler"]
    for point in result["points"]:
        assert point["low_99"] <= point["low"] <= point["bler"] <= point["high"] <= point["high_99"]
        assert 0 <= point["ber"] <= point["bler"] and 1 <= point["mean_iterations"] <= 10
    assert {path.stem for path in run.plots.glob("*.png")} == {"bler"}
    assert "60 information bits" in result["code"] and result["rate"] == pytest.approx(0.2)
    json.dumps(result)


def test_a_killed_run_ends_with_the_same_counts(curve, tmp_path, monkeypatch):
    monkeypatch.setattr(bler, "SAVE_SECONDS", 0.0)
    add, calls = bler.add, []

    def add_three_times(*arguments):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return add(*arguments)

    monkeypatch.setattr(bler, "add", add_three_times)
    run = run_directory.open_for_test(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bler.main(SMALL, run)
    assert (tmp_path / "pieces" / "point0_so_far.json").exists()
    monkeypatch.setattr(bler, "add", add)
    assert bler.main(SMALL, run) == curve[1]
    assert not list((tmp_path / "pieces").glob("*so_far*"))


def test_a_point_ends_with_its_last_error():
    wrong = np.array([0, 2, 0, 0, 1, 3, 0, 1])
    outcome = receiver.Outcome(wrong, np.array([1, 0, 1, 1, 1, 0, 1, 1], bool), np.arange(8))
    empty = dict.fromkeys(("batches", *bler.COUNTS), 0)
    expected = {"batches": 1, "errors": 2, "blocks": 5, "bit_errors": 3, "undetected": 1, "iterations": 10}
    assert bler.add(empty, outcome, 2, 100) == expected
    assert bler.add(empty, outcome, 9, 100)["blocks"] == 8 and bler.add(empty, outcome, 9, 3)["blocks"] == 3
    twice = bler.add(bler.add(empty, outcome, 7, 100), outcome, 7, 100)
    assert (twice["blocks"], twice["errors"], twice["batches"]) == (14, 7, 2)


def test_a_code_of_a_file(tmp_path):
    """(7, 4) Hamming by exhaustive decoding: belief propagation loses no fewer words, and not many more.

    Its error rate at 3 dB is computed here from 40,000 draws of NumPy; 6 standard errors on each side.
    """
    path = tmp_path / "hamming.alist"
    path.write_text(ldpc.write_alist(ldpc.sparse_code(HAMMING)))
    settings = BlerConfig(
        alist=str(path), snr_db=(3.0,), errors=200, max_blocks=4000, batch=1000, update="sum_product",
        schedule="flooding", iterations=30, scale=1.0,
    )  # fmt: skip
    (point,) = bler.main(settings, run_directory.open_for_test(tmp_path / "run"))["points"]
    words = np.array([x for x in itertools.product((0, 1), repeat=7) if not (HAMMING @ x % 2).any()])
    draw, sigma = np.random.default_rng(0), math.sqrt(transmission.noise_of(3.0))
    received = 1 + sigma * draw.normal(size=(40_000, 7))  # two bits a symbol: each has half of the energy and noise
    best = words[(received @ (1 - 2 * words.T)).argmax(1)]
    exact = best.any(1).mean()
    error = 6 * math.sqrt(exact * (1 / 40_000 + 1 / point["blocks"]))
    assert exact - error < point["bler"] < 1.5 * exact + error


def test_bits_of_a_5g_block_with_fillers(tmp_path):
    """Over E_b/N_0, with an odd payload: fillers are neither sent nor counted."""
    settings = BlerConfig(
        payload=50, rate=0.4, per_bit=True, snr_db=(8.0,), errors=60, max_blocks=256, batch=128, modulation_order=4,
        channel="C", subcarriers=16,
    )  # fmt: skip
    link = transmission.link_of(settings)
    assert link.bits - link.fillers == 50 and link.sent == 128 and link.interleaved
    assert len(bler.information_positions(link)) == 50 and bler.bits_in_db(link) == pytest.approx(1.938, abs=1e-3)
    (point,) = bler.main(settings, run_directory.open_for_test(tmp_path))["points"]
    assert point["es_n0_db"] == pytest.approx(9.938, abs=1e-3) and 0 < point["bler"] < 0.5


def test_reference_points(curve, tmp_path):
    points = curve[1]["points"]
    link = transmission.link_of(SMALL)
    path = tmp_path / "reference.csv"
    path.write_text(f"eb_n0_db,bler\n{-4 - bler.bits_in_db(link)},{points[0]['bler']}\n0,1e-9\n")
    near, far = (bler.compared(one, points, 20) for one in bler.read_reference(str(path), link, SMALL))
    assert near["within_99"] is True and near["db_to_the_right"] == pytest.approx(0, abs=1e-9)
    assert far["within_99"] is None and far["db_to_the_right"] is None
    other = bler.compared({"snr_db": -4.0, "bler": min(2 * points[0]["high_99"], 1.0)}, points, 20)
    assert other["within_99"] is False or points[0]["high_99"] == 1
    middle = math.sqrt(points[0]["bler"] * points[1]["bler"])
    if points[1]["bler"]:
        assert bler.snr_at(middle, points) == pytest.approx(-2.75)


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "es_n0_db,bler\n1,x\n", "es_n0_db,bler\n1,2\n", "es_n0_db,bler\nnan,0.1\n"]
)
def test_reference_files_that_are_none(text, tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="--reference=.*expected a CSV file"):
        bler.read_reference(str(path), transmission.link_of(SMALL), SMALL)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"snr_db": ()}, "at least one point"),
        ({"snr_db": (1.0, 1.0)}, "each once"),
        ({"payload": 40}, "make a 5G block together"),
        ({"alist": "x", "payload": 40, "rate": 0.5}, "expected one code"),
    ],
)
def test_flags_that_make_no_sense(flags, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **flags)


def test_files_that_hold_no_code(tmp_path):
    with pytest.raises(ValueError, match="--alist=.*readable"):
        transmission.link_of(dataclasses.replace(SMALL, alist=str(tmp_path / "missing")))
    (tmp_path / "text").write_text("no numbers")
    with pytest.raises(ValueError, match="--alist=.*integers"):
        transmission.link_of(dataclasses.replace(SMALL, alist=str(tmp_path / "text")))
