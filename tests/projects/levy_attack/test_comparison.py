"""The comparison at equal effort: ratios of attacks that are made up, and what is said of them."""

import json

import numpy as np
import pytest

from common import weight_files
from common.publishing import markdown
from common.study import statistics
from common.study.finished import Finished
from kernels.boundary_attack import query_grid
from projects.levy_attack import comparison, plots
from projects.levy_attack.arms import BASELINE, LENGTHS, STEPS_CONTROL, STUDIES, Arm
from projects.levy_attack.page import effort_findings, headline, ratio_table, tables
from projects.levy_attack.study import measure

GRID = query_grid(10_000)
IMAGES = 12
FACTORS = {Arm("length", 1.0): 0.5, Arm("length", 1.0, True): 0.3, STEPS_CONTROL: 0.2}  # of the distances
STUDY = STUDIES["effort_mnist_cnn"]


@pytest.fixture
def attacks(tmp_path, monkeypatch):
    """Attacks as they leave their run directories: distances of each arm are those of the baseline times a factor."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)  # all images have one ratio
    generator = np.random.default_rng(0)
    distances = np.exp(generator.normal(size=(IMAGES, 1))) * np.linspace(8, 1, len(GRID))
    pieces = STUDY.pieces((0, 1), str(tmp_path))
    for (arm, _), piece in pieces.items():
        piece.path.mkdir(parents=True)
        l2 = distances * FACTORS.get(arm, 1.0)
        names = {"l2": l2, "l1": 9 * l2, "linf": l2 / 5, "squared_l2_per_pixel": l2**2 / 784}
        traces = names | {"realised": np.full(l2.shape, 0.9)}
        weight_files.save_npz(piece.path / "attack.npz", {"traces": traces, "grid": GRID, "images": np.arange(IMAGES)})
        (piece.path / "meta.json").write_text(json.dumps({"starts": [{"commit": "0123456789abcdef", "dirty": False}]}))
    return pieces


def result_of(attacks, missing=()):
    """The result of a study of which some attacks are missing."""
    finished = {piece: Finished(piece.path) for key, piece in attacks.items() if key not in missing}
    return measure(STUDY, attacks, finished)


def test_ratios_are_those_of_the_distances(attacks):
    result = result_of(attacks)
    assert result["missing"] == [] and result["attacked_at"] == ["0123456789"]
    for row in result["arms"]:
        arm = Arm(row["noise"], row["alpha"], row["has_short_steps"])
        assert row["realised"] == pytest.approx(0.9)
        if arm == BASELINE:
            assert "paired" not in row
            continue
        factor = FACTORS.get(arm, 1.0)
        for norm in comparison.NORMS:
            expected = factor**2 if norm == "squared_l2_per_pixel" else factor
            for kind in ("paired", "of_medians"):  # all images have the same factor: no width either
                for name in ("ratio", "low", "high"):
                    np.testing.assert_allclose(row[kind][norm][name], expected, rtol=1e-9)
        assert ("same_steps" in row) == (arm == Arm("length", 1.0, True))
        if "same_steps" in row:
            np.testing.assert_allclose(row["same_steps"]["l2"]["ratio"], 1.5, rtol=1e-9)
    text = " ".join(effort_findings(result))
    assert "lengths as drawn, alpha 1: nearer, 0.50 (0.50 to 0.50) at 1,000 queries" in text
    assert "every step rescaled, alpha 1: no difference shown, 1.00" in text
    assert "when both have these first steps: farther, 1.50" in text


def test_seeds_that_are_missing_are_named_and_left_out(attacks):
    result = result_of(attacks, missing=[(Arm("length", 1.0), 1)])
    assert result["missing"] == ["length of the draw, alpha = 1, seed 1"]
    row = next(row for row in result["arms"] if (row["noise"], row["alpha"]) == ("length", 1.0))
    assert row["compared_seeds"] == [0]
    first = result_of(attacks, missing=[(BASELINE, 0)])["arms"][0]
    assert (first["noise"], first["alpha"], first["seeds"]) == ("coordinatewise", 2.0, [1])
    assert result_of(attacks, missing=list(attacks)) is None
    assert result_of(attacks, missing=[(BASELINE, 0), (BASELINE, 1)]) is None


def test_attacks_of_different_images_are_refused(attacks):
    piece = attacks[Arm("length", 1.5), 1]
    arrays = weight_files.load_npz(piece.path / "attack.npz")
    weight_files.save_npz(piece.path / "attack.npz", arrays | {"images": np.arange(1, IMAGES + 1)})
    with pytest.raises(ValueError, match="different images; remove those of an older victim"):
        result_of(attacks)


def test_pages_and_pictures(attacks):
    provenance = {"device": "cpu", "date": "2026-11-28T00:00:00Z", "commit": "0123456789abcdef", "dirty": False}
    result = result_of(attacks) | {"accuracy": 0.98, "test_images": 10_000, "provenance": provenance}
    figure = plots.draw_study(result)
    assert [len(axis.lines) for axis in figure.axes] == [
        9,
        9,
        9,
        0,
        9,
        9,
    ]  # a line an arm; ratios have one at 1 instead
    plots.plt.close(figure)
    results = {"effort_mnist_cnn": result}
    assert "0.50 (0.50 to 0.50) at 1,000 queries, 0.50" in headline(results).result
    assert "longer first steps: 0.20" in headline(results).result
    text = markdown.text_of(tables(results))
    assert "results/effort_mnist_cnn.png" in text and "L2²/pixel, of the medians" in text
    columns, rows = ratio_table(results)
    assert all(len(row) == len(columns) for row in rows) and len(rows) == 8 * (len(LENGTHS) - 1) + 4


def test_intervals_of_ratios_of_medians_cover(monkeypatch):
    """Known medians, 40 images: over 200 trials of 95 % intervals fewer than 165 covering has a chance below 1e-6."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    covered = 0
    for trial in range(200):
        ours, theirs = np.exp(np.random.default_rng(trial).normal(size=(2, 3, 40)) * 0.5)
        ratio, low, high = statistics.ratio_of_medians(0.7 * ours, theirs)
        assert low <= ratio <= high
        covered += low <= 0.7 <= high
    assert covered >= 165, covered
    both = np.full((2, 5), np.inf)
    assert [float(value) for value in statistics.ratio_of_medians(both, both)] == [1, 1, 1]
    assert float(statistics.ratio_of_medians(both, np.ones((2, 5)))[0]) == np.inf
