"""The small study end to end, its pieces, and the page that is rendered from published results."""

import dataclasses
import json

import pytest

from common.runs import run_directory
from projects.entropy_training import baseline, study, train
from projects.entropy_training import page as page_lib
from projects.entropy_training.page import page
from projects.entropy_training.study import StudyConfig


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small study with a smaller network and fewer steps: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("study"))
    size = {"width": 0.15, "batch_size": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "TINY_PRETRAIN", dataclasses.replace(study.TINY_PRETRAIN, epochs=10, **size))
        shorter = {"epochs": 5, "tune_epochs": 1, "table_points": 512, "learning_rate": 2e-3}
        patch.setattr(study, "TINY", dataclasses.replace(study.TINY, **shorter, **size))
        every = study.experiments

        def with_one_alpha(settings):
            fewer = {"alphas": {0: (0.1,)}} if settings.scale == "small" else {}
            return {name: dataclasses.replace(one, **fewer) for name, one in every(settings).items()}

        patch.setattr(study, "experiments", with_one_alpha)
        yield run, study.main(StudyConfig(), run)


def check_tables(run, result):
    """Every method has a row, and every way to count."""
    table = json.loads((run.path / "tables" / "methods.json").read_text())
    assert [row[1] for row in table["rows"]] == list(page_lib.METHODS.values())
    assert result["lenet_300_100"]["ratio"] > 15
    sizes = json.loads((run.path / "tables" / "sizes.json").read_text())
    assert [row[0] for row in sizes["rows"]] == ["float32", *page_lib.COUNTS.values()]
    assert (run.plots / "lenet_300_100.png").is_file()


def test_every_method_has_a_row(small):
    check_tables(*small)


@pytest.mark.slow
def test_every_method_has_a_row_as_the_small_study_ships(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    check_tables(run, study.main(StudyConfig(), run))


def test_a_second_call_trains_nothing(small, monkeypatch):
    run, result = small

    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "main", never)
    monkeypatch.setattr(baseline, "main", never)
    assert study.main(StudyConfig(), run) == result
    taken = study.main(StudyConfig(pieces="take"), run)
    assert taken == result and taken["missing"] == {}


def test_what_is_missing_is_said(tmp_path):
    """Nothing has run: no table, no error, and every piece is named with the reason."""
    result = study.main(StudyConfig(pieces="take"), run_directory.open_for_test(tmp_path))
    assert result["pieces"] == 0 and set(result["missing"].values()) == {"not begun"}
    assert "entropy_training.baseline/lenet_300_100_seed0_magnitude_0.2" in result["missing"]


def row(seed, size, accuracy, **more):
    base = {"method": "ect", "seed": seed, "bytes": size, "ratio": 1e6 / size, "validation_accuracy": accuracy}
    return base | {"float_validation_accuracy": 0.99, "float_test_accuracy": 0.99, "test_accuracy": 0.98} | more


def test_the_smallest_file_within_the_tolerance_is_chosen():
    curve = [row(0, 300, 0.989), row(0, 200, 0.9851), row(0, 100, 0.9849), row(1, 50, 0.97), row(1, 90, 0.98)]
    curve += [row(0, 10, 0.99, test_accuracy=None), row(0, 10, 0.99, method="ste")]
    best = study.best_rows(curve, "ect")
    assert [(r["bytes"], r["within_tolerance"]) for r in best] == [(200, True), (90, False)]
    assert page_lib.mean(best, "bytes") == 145


def test_deviations_are_of_a_sample():
    """n - 1: bytes 100 and 300 deviate by 100 sqrt 2. One seed has no deviation, not one of 0."""
    rows = [row(0, 100, 0.989), row(1, 300, 0.989)]
    assert page_lib.with_deviation(rows, "bytes", "{:.1f}") == "200.0 ± 141.4"
    assert page_lib.with_deviation(rows[:1], "test_accuracy", "{:.2f}", 100) == "98.00"


def test_the_full_study_takes_their_settings_from_the_flag_files():
    networks = ("lenet_300_100", "lenet5", "small_vgg16")
    experiments = study.experiments(StudyConfig(scale="full", networks=networks))
    assert tuple(experiment.training.model for experiment in experiments.values()) == networks == tuple(experiments)
    vgg = experiments["small_vgg16"]
    assert vgg.training.checkpoint.endswith("small_vgg16_quarter_seed0") and vgg.pretraining is None
    assert all(set(experiments[name].alphas) == {0, 1, 2} for name in networks[:2])


def test_pieces_lie_where_published_results_name_them():
    """So that an earlier run is taken and not made again."""
    for name, experiment in study.experiments(StudyConfig(scale="full", networks=("lenet_300_100", "lenet5"))).items():
        folders = {str(piece.path) for _, piece in study.pieces_of(name, experiment)}
        assert {row["folder"] for row in page.read()[name]["curve"] if row.get("folder")} <= folders


def test_candidates_are_chosen_by_size():
    files = [baseline.Candidate(size, accuracy, {}, b"", {}) for size, accuracy in ((9, 0.9), (5, 0.8), (7, 0.89))]
    assert baseline.smallest(files, 0.85).bytes == 7
    assert baseline.smallest(files, 0.95).bytes == 9


def test_the_page_shows_what_is_published():
    text = (page.folder / "README.md").read_text()
    assert page.rendered(text) == text, "python -m projects.entropy_training.study --render_readme"


def test_a_network_names_its_images_once():
    assert page_lib.network_of({"dataset": "MNIST"}, "lenet5") == "LeNet5, MNIST"
    assert page_lib.network_of({"dataset": "MNIST"}, "other") == "other, MNIST"
    fashion = {"title": "LeNet5, Fashion-MNIST", "dataset": "Fashion-MNIST"}
    assert page_lib.network_of(fashion, "lenet5_fashion") == "LeNet5, Fashion-MNIST"
