"""The verbs `compare` and `evaluate` on a tiny network: grids, tables, curves, and going on after a kill."""

import dataclasses

import numpy as np
import pytest

from common import models
from common.models import zoo
from common.runs import run_directory
from common.training import checkpoint
from projects.attribution import batches, compare, evaluate, methods
from projects.attribution.compare import CompareConfig
from projects.attribution.evaluate import EvaluateConfig

NAMES = ("input_times_gradient", "epsilon_plus", "lrp.alpha_2_beta_1")
NETWORK = {"model": "mnist_cnn", "width": 0.1, "dataset": "digits"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of a small network for the digits."""
    path = tmp_path_factory.mktemp("weights") / "model.npz"
    network = zoo.create_network("mnist_cnn", zoo.load_dataset("digits"), width=0.1)
    checkpoint.save_tree(path, models.to_tree(network))
    return str(path)


@pytest.fixture(scope="module")
def evaluated(weights, tmp_path_factory):
    settings = EvaluateConfig(
        checkpoint=weights, **NETWORK, count=6, methods=NAMES[1:], region=7, checked=2, batch_size=4
    )
    folder = tmp_path_factory.mktemp("evaluated")
    return settings, folder, evaluate.main(settings, run_directory.open_for_test(folder))


def test_a_grid_of_all_methods_by_all_samples(weights, tmp_path, monkeypatch):
    settings = CompareConfig(checkpoint=weights, **NETWORK, count=3, methods=NAMES, batch_size=2)
    result = compare.main(settings, run_directory.open_for_test(tmp_path))
    assert list(result["methods"]) == list(NAMES) and result["images"] == 3
    assert (tmp_path / "plots" / "methods.png").stat().st_size > 10_000
    maps = {name: batches.load(tmp_path / "checkpoints" / f"method_{name}.npz")["relevance"] for name in NAMES}
    assert {one.shape for one in maps.values()} == {(3, 28, 28, 1)}
    assert result["methods"]["epsilon_plus"]["median_sum_over_output"] == pytest.approx(1, abs=0.5)
    # What is whole is taken, the rest made again, to the same numbers.
    (tmp_path / "checkpoints" / "method_epsilon_plus.npz").unlink()
    made = []
    explainer = methods.explainer
    monkeypatch.setattr(methods, "explainer", lambda name, *rest, **options: (
        made.append(name), explainer(name, *rest, **options)
    )[1])  # fmt: skip
    compare.main(settings, run_directory.open_for_test(tmp_path))
    again = batches.load(tmp_path / "checkpoints" / "method_epsilon_plus.npz")["relevance"]
    assert made == ["epsilon_plus"]
    np.testing.assert_array_equal(again, maps["epsilon_plus"])


def test_methods_are_measured_against_random_orders(evaluated):
    settings, folder, result = evaluated
    assert set(result["methods"]) == set(NAMES[1:])
    for one in result["methods"].values():
        morf, lerf = (np.asarray(one["curve"][order]) for order in ("morf", "lerf"))
        assert len(morf) == len(lerf) == 17 and morf[0] == pytest.approx(lerf[0])  # 16 regions and none
        assert morf[-1] == pytest.approx(lerf[-1], rel=1e-5)  # all of them, with the same noise
        assert one["aopc"]["mean"] == pytest.approx(np.mean(morf[0] - morf), rel=1e-5)
        assert one["aopc"]["low"] <= one["aopc"]["mean"] <= one["aopc"]["high"]
        difference = one["aopc"]["mean"] - result["random"]["mean"]
        assert one["beyond_random"]["mean"] == pytest.approx(difference, abs=1e-6)
        layers = list(one["randomization"].values())
        assert len(layers) > 2 and all(-1 <= layer["mean"] <= 1 for layer in layers)
    for name in ("curves", "randomization"):
        assert (folder / "plots" / f"{name}.png").stat().st_size > 3_000  # of few dots, as all of quick tests


def test_an_evaluation_goes_on(evaluated, tmp_path):
    settings, folder, result = evaluated
    for name in ("epsilon_plus",):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / f"{name}.json").write_bytes((folder / "checkpoints" / f"{name}.json").read_bytes())
    again = evaluate.main(settings, run_directory.open_for_test(tmp_path))
    assert again == result


def test_a_batch_size_changes_nothing(evaluated, tmp_path):
    settings, _, result = evaluated
    other = evaluate.main(
        dataclasses.replace(settings, batch_size=6, methods=NAMES[1:2]), run_directory.open_for_test(tmp_path)
    )
    for name in ("aopc", "between", "beyond_random"):
        mine, theirs = (one["methods"]["epsilon_plus"][name]["mean"] for one in (other, result))
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_settings_that_make_no_sense(weights):
    for wrong in ({"methods": ()}, {"methods": ("gradient", "gradient")}, {"cmap": "f00"}, {"target": "dog"}):
        with pytest.raises(ValueError):
            CompareConfig(checkpoint=weights, **NETWORK, **wrong)


def test_a_method_that_is_not_for_a_network_is_left_out_and_said(tmp_path):
    path = tmp_path / "vit.npz"
    network = zoo.create_network("vit", zoo.load_dataset("digits"), width=0.25)
    checkpoint.save_tree(path, models.to_tree(network))
    options = {"checkpoint": str(path), "model": "vit", "width": 0.25, "dataset": "digits", "count": 2}
    settings = CompareConfig(**options, methods=("epsilon_plus", "cp_lrp", "deep_taylor"), batch_size=2)
    result = compare.main(settings, run_directory.open_for_test(tmp_path / "run"))
    assert list(result["methods"]) == ["cp_lrp"] and result["status"]["level"] == "doubtful"
    told = " ".join(result["status"]["reasons"])
    assert (
        "--method=epsilon_plus: no rule" in told and "deep_taylor is for networks whose activations are ReLUs" in told
    )
    with pytest.raises(methods.RefusedError, match="composites.attnlrp"):
        compare.main(
            dataclasses.replace(settings, methods=("epsilon_plus",)), run_directory.open_for_test(tmp_path / "none")
        )
