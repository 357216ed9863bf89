"""The comparison at equal effort: ratios of attacks that are made up, and what is said of them."""

import json

import numpy as np
import pytest

from common import weight_files
from common.runs import provenance
from common.study import statistics
from kernels.boundary_attack import query_grid
from projects.levy_attack import effort, effort_page, effort_plots, published
from projects.levy_attack.effort import ARMS, BASELINE, STEPS_CONTROL, VICTIMS, Arm

GRID = query_grid(10_000)
IMAGES = 12
FACTORS = {Arm("length", 1.0): 0.5, Arm("length", 1.0, True): 0.3, STEPS_CONTROL: 0.2}  # of the distances


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run directories as attacks leave them: distances of each arm are those of the baseline times a factor."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)  # all images have one ratio
    generator = np.random.default_rng(0)
    trained = tmp_path / "levy_attack.train" / "mnist_cnn_quarter"
    trained.mkdir(parents=True)
    (trained / "result.json").write_text(json.dumps({"test_accuracy": 0.98, "test_images": 10_000}))
    distances = np.exp(generator.normal(size=(IMAGES, 1))) * np.linspace(8, 1, len(GRID))
    for arm in ARMS:
        for seed in (0, 1):
            path = effort.place(VICTIMS["mnist_cnn"], arm, seed, tmp_path)
            path.mkdir(parents=True)
            l2 = distances * FACTORS.get(arm, 1.0)
            names = {"l2": l2, "l1": 9 * l2, "linf": l2 / 5, "squared_l2_per_pixel": l2**2 / 784}
            traces = names | {"realised": np.full(l2.shape, 0.9)}
            arrays = {"traces": traces, "grid": GRID, "images": np.arange(IMAGES)}
            weight_files.save_npz(path / "attack.npz", arrays)
            (path / "result.json").write_text("{}")
            (path / "meta.json").write_text(json.dumps({"starts": [{"commit": "0123456789abcdef", "dirty": False}]}))
    return tmp_path


def test_ratios_are_those_of_the_distances(runs):
    result = effort.measure("mnist_cnn", (0, 1), runs)
    assert result["missing"] == [] and result["attacked_at"] == ["0123456789"] and result["accuracy"] == 0.98
    for row in result["arms"]:
        arm = Arm(row["noise"], row["alpha"], row["has_short_steps"])
        assert row["realised"] == pytest.approx(0.9)
        if arm == BASELINE:
            assert "paired" not in row
            continue
        factor = FACTORS.get(arm, 1.0)
        for norm in effort.NORMS:
            expected = factor**2 if norm == "squared_l2_per_pixel" else factor
            for kind in ("paired", "of_medians"):  # all images have the same factor: no width either
                for name in ("ratio", "low", "high"):
                    np.testing.assert_allclose(row[kind][norm][name], expected, rtol=1e-9)
        assert ("same_steps" in row) == (arm == Arm("length", 1.0, True))
        if "same_steps" in row:
            np.testing.assert_allclose(row["same_steps"]["l2"]["ratio"], 1.5, rtol=1e-9)
    said = effort_page.finding(result)
    assert "lengths as drawn, alpha 1: nearer, 0.50 (0.50 to 0.50) at 1,000 queries" in said
    assert "every step rescaled, alpha 1: no difference shown, 1.00" in said
    assert "when both have these first steps: farther, 1.50" in said


def test_seeds_that_are_missing_are_named_and_left_out(runs):
    (effort.place(VICTIMS["mnist_cnn"], Arm("length", 1.0), 1, runs) / "result.json").unlink()
    result = effort.measure("mnist_cnn", (0, 1), runs)
    assert result["missing"] == ["length of the draw, alpha = 1, seed 1"]
    row = next(row for row in result["arms"] if (row["noise"], row["alpha"]) == ("length", 1.0))
    assert row["compared_seeds"] == [0]
    assert effort.measure("cifar_cnn", (0, 1), runs) is None


def test_pages_and_pictures(runs, tmp_path, monkeypatch):
    result = effort.measure("mnist_cnn", (0, 1), runs)
    figure, picture = effort_plots.draw(result), tmp_path / "picture.png"
    figure.savefig(picture)
    effort_plots.plt.close(figure)
    monkeypatch.setattr(effort_page, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    effort_page.write("mnist_cnn", result, picture)
    stored = effort_page.load(tmp_path / "results")["mnist_cnn"]
    assert "0.50 (0.50 to 0.50) of the distance of alpha = 2 at 1,000 queries" in stored["front_page"][0]["result"]
    assert "longer first steps to 0.20" in stored["front_page"][0]["result"]
    page = published.rendered(tmp_path / "results")
    assert "results/effort_mnist_cnn.png" in page and "L2²/pixel, of the medians" in page
    assert stored["provenance"]["device"] == provenance.stamp()["device"]
    columns, rows = effort_page.ratio_rows(result)
    assert all(len(row) == len(columns) for row in rows) and len(rows) == 8 * (len(ARMS) - 1) + 4


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
