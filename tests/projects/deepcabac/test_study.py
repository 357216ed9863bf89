"""The study and the demo end to end on tiny networks."""

import dataclasses
import json
import pathlib

import pytest

from common import app
from common.runs import run_directory
from projects.deepcabac import compress, demo, search, study, train
from projects.deepcabac.config import CompressConfig
from projects.deepcabac.page import TITLES, page
from tests.projects.deepcabac.tiny import TINY

ONE_RATE = {"rate_weights": (0.1,)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    """A run directory of a tiny training, as the app leaves it, where the small study looks for it."""
    folder = tmp_path_factory.mktemp("runs") / "deepcabac.train"
    run = run_directory.open_run(folder / "small_seed0", TINY, verb="deepcabac.train")
    run.finish(train.main(TINY, run))
    run.close()
    return folder / "small_seed0"


@pytest.mark.parametrize("method", [pytest.param("dc_v1", marks=pytest.mark.slow), "dc_v2"])
def test_search_from_a_run_directory(method, trained, tmp_path, monkeypatch):
    """Network, data and posterior deviations come from the run; accuracy is measured on both halves."""
    monkeypatch.setattr(search, "SPACINGS", search.SPACINGS[:1])
    run = run_directory.open_for_test(tmp_path)
    flags = CompressConfig(
        checkpoint=str(trained), output=str(tmp_path / "m.dcb"), search=method, tolerance=0.02, **ONE_RATE
    )
    result = compress.main(flags, run)
    assert result["validation_accuracy"] >= result["validation_accuracy_before"] - 0.02 - 1e-9
    assert result["percent_of_original"] < 20 and result["validation_accuracy_before"] > 0.7
    assert result["dataset"] == "digits" and 0 <= result["test_accuracy"] <= 1
    assert {"rate_accuracy", "bits", "baselines"} <= {path.stem for path in run.plots.glob("*.png")}
    assert (run.checkpoints / "candidates.jsonl").is_file()
    assert "the smallest file within the tolerance of 2 points" in (run.plots / "rate_accuracy.txt").read_text()


def test_search_needs_to_know_the_network(trained, tmp_path):
    flags = CompressConfig(checkpoint=str(trained / "model.safetensors"), output=str(tmp_path / "m"), search="dc_v2")
    with pytest.raises(ValueError, match="give --model and --dataset"):
        compress.main(flags, run_directory.open_for_test(tmp_path))


def test_the_wrong_network_is_named(trained, tmp_path):
    flags = CompressConfig(
        checkpoint=str(trained), output=str(tmp_path / "m"), search="dc_v2", model="lenet5", width=0.1
    )
    with pytest.raises(ValueError, match="do not fit LeNet5"):
        compress.main(flags, run_directory.open_for_test(tmp_path))


@pytest.mark.parametrize("is_refined_further", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_network_is_measured_once_and_its_result_makes_a_page(is_refined_further, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "TINY", TINY)
    if not is_refined_further:
        monkeypatch.setattr(study, "BOTH", {"dc_v1": ONE_RATE, "dc_v2": ONE_RATE})
        monkeypatch.setattr(search, "SPACINGS", search.SPACINGS[:1])
    run = run_directory.open_run(tmp_path / "run", study.StudyConfig(), verb="deepcabac.study")
    settings = study.StudyConfig(table=("lenet",), scale="small", seeds=(0,), runs=str(trained.parents[1]))
    result = study.main(settings, run)
    measured = json.loads((run.path / "pieces" / "lenet_300_100.json").read_text())
    first = measured["points"]["accuracy first"]["seeds"][0]
    assert result["lenet_300_100"]["percent_of_original"] == pytest.approx(first["percent"])
    assert measured["points"]["half a point"]["seeds"][0]["bytes"] <= first["bytes"]
    assert first["percent"] == pytest.approx(100 * first["bytes"] / measured["float32_bytes"])
    assert measured["coders"]["ours, whole file"] == first["bytes"]
    assert (run.plots / "lenet_300_100.png").is_file() and result["pieces"] == 1

    def never(*_):
        raise AssertionError("a finished piece is measured again")

    monkeypatch.setattr(study, "measure", never)
    assert study.main(settings, run) == result
    run.close()

    other = dataclasses.replace(page, folder=tmp_path)
    measured["provenance"] |= {"dirty": False}
    other.write("lenet_300_100", measured, run.plots / "lenet_300_100.png")
    text = other.rendered("<!-- results:begin -->\n<!-- results:end -->")
    assert "LeNet-300-100, digits" in text and f"{first['bytes']:,}" in text


def test_flagfiles_of_the_full_study_parse():
    experiments = study.experiments(study.StudyConfig(scale="full"))
    assert [experiment.name for experiment in experiments] == list(TITLES)
    assert [len(experiment.trainings) for experiment in experiments] == [3, 3, 1, 0]
    keys = [piece.key for experiment in experiments for piece in (*experiment.trainings, *experiment.needs)]
    assert keys[0] == "deepcabac.train/lenet_300_100_seed0" and keys[-1] == "deepcabac.sensitivity/efficientnet_lite0"
    for experiment in experiments:
        for method, options in experiment.searches.items():
            CompressConfig(checkpoint="a", output="b", search=method, **options)


@pytest.mark.slow
def test_demo_end_to_end(tmp_path):
    """The command behind `make demo`, on digits and a tiny network."""
    flags = tmp_path / "tiny.flags"
    names = ("dataset", "width", "epochs", "batch_size", "learning_rate", "kl_weight", "kl_start", "kl_warmup")
    flags.write_text("".join(f"--{name}={getattr(TINY, name)}\n" for name in names))
    with pytest.raises(SystemExit) as done:
        app.run(demo.main, demo.DemoConfig, ["demo", f"--flags={flags}", f"--run_dir={tmp_path / 'demo'}"])
    assert done.value.code == 0
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert result["dataset"] == "digits" and 0 < result["percent_of_original"] < 20
    page = pathlib.Path(result["page"]).read_text()
    assert page.count("<img") > 5


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.StudyConfig().scale = "full"
