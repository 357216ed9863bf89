"""The small tables end to end, what they keep, and the page that is rendered from published results."""

import json
import pathlib

import numpy as np
import pytest

from common.runs import run_directory
from projects.entropy_training import baselines, published, tables, train
from projects.entropy_training.page import page
from projects.entropy_training.tables import TablesConfig

ROOM = pathlib.Path(published.__file__).parent


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small tables: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("tables"))
    return run, tables.main(TablesConfig(), run)


def test_every_method_has_a_row(small):
    run, result = small
    shown = json.loads((run.path / "tables" / "methods.json").read_text())
    assert [row[1] for row in shown["rows"]] == list(published.METHODS.values())
    assert result["lenet_300_100"]["ratio"] > 15
    sizes = json.loads((run.path / "tables" / "sizes.json").read_text())
    assert [row[0] for row in sizes["rows"]] == ["float32", *published.COUNTS.values()]
    assert (run.plots / "lenet_300_100.png").is_file()


def test_a_second_call_trains_nothing(small, monkeypatch):
    run, result = small

    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "main", never)
    monkeypatch.setattr(tables, "baseline_rows", never)
    assert tables.main(TablesConfig(), run) == result


def row(seed, size, accuracy, **more):
    base = {"method": "ect", "seed": seed, "bytes": size, "ratio": 1e6 / size, "validation_accuracy": accuracy}
    return base | {"float_validation_accuracy": 0.99, "float_test_accuracy": 0.99, "test_accuracy": 0.98} | more


def test_the_smallest_file_within_the_tolerance_is_chosen():
    curve = [row(0, 300, 0.989), row(0, 200, 0.9851), row(0, 100, 0.9849), row(1, 50, 0.97), row(1, 90, 0.98)]
    curve += [row(0, 10, 0.99, test_accuracy=None), row(0, 10, 0.99, method="ste")]
    chosen = tables.choose(curve, "ect")
    assert [(r["bytes"], r["within_tolerance"]) for r in chosen] == [(200, True), (90, False)]
    means = tables.mean_of(chosen)
    assert means["mean_bytes"] == 145 and means["deviation_accuracy"] == pytest.approx(0)
    assert means["mean_percent"] == pytest.approx(np.mean([200, 90]) / 1e4)


def test_one_seed_has_no_deviation():
    """Not one of 0: nothing after the mean, and null in the file."""
    alone = tables.mean_of(tables.choose([row(0, 300, 0.989)], "ect"))
    assert alone["deviation_ratio"] is alone["deviation_accuracy"] is None
    assert published._with_spread(alone, "accuracy", "{:.2f}", 100) == "98.00"


def test_full_tables_take_their_settings_from_the_flag_files():
    every = tables.experiments(TablesConfig(scale="full", table=("lenet_300_100", "lenet5", "small_vgg16")))
    assert [experiment.training.model for experiment in every] == [experiment.name for experiment in every]
    assert every[2].training.checkpoint.endswith("small_vgg16_quarter_seed0") and every[2].pretraining is None
    assert all(set(experiment.alphas) == {0, 1, 2} for experiment in every[:2])


def test_candidates_are_chosen_by_size():
    tried = [baselines.Candidate(size, accuracy, {}, b"", {}) for size, accuracy in ((9, 0.9), (5, 0.8), (7, 0.89))]
    assert baselines.smallest(tried, 0.85).bytes == 7
    assert baselines.smallest(tried, 0.95).bytes == 9


def test_the_page_shows_what_is_published():
    text = (ROOM / "README.md").read_text()
    assert page.rendered(text) == text, "python -m projects.entropy_training.tables --render_readme"


def test_a_network_names_its_images_once():
    assert published.network_of({"dataset": "MNIST"}, "lenet5") == "LeNet5, MNIST"
    assert published.network_of({"dataset": "MNIST"}, "other") == "other, MNIST"
    fashion = {"title": "LeNet5, Fashion-MNIST", "dataset": "Fashion-MNIST"}
    assert published.network_of(fashion, "lenet5_fashion") == "LeNet5, Fashion-MNIST"
