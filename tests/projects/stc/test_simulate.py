"""The verb: what it leaves, the numbers of its result, runs that are told to end, settings that make no sense."""

import dataclasses
import json

import numpy as np
import pytest

from common import app, config, weight_files
from common.federated import splits
from common.runs import run_directory
from common.training import supervised
from projects.stc import measures, simulate
from projects.stc.config import METHODS, SimulateConfig, iterations_of, method_of, rounds_of, training_of
from projects.stc.tasks import TASKS

SMALL = SimulateConfig(
    task="small", p=0.1, clients=20, per_round=5, classes_per_client=2, batch_size=8, iterations=60, every=20,
    seeds=(0, 1), target=0.7, save_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(run, its result): STC, two seeds."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("simulate"))
    return run, simulate.main(SMALL, run)


def test_a_run_leaves_its_numbers_and_pictures(finished):
    run, result = finished
    assert result["method"] == "STC 1/10" and (result["rounds"], result["iterations"]) == (60, 60)
    assert {path.stem for path in run.plots.glob("*.png")} == {"accuracy", "megabytes", "bits", "clients", "split"}
    assert {path.stem for path in (run.path / "tables").glob("*.json")} == {"seeds", "bits", "clients"}
    for seed, one in result["seeds"].items():
        assert one["curve"]["iterations"] == [20, 40, 60] and one["accuracy"] == one["curve"]["accuracy"][-1] > 0.5
        for direction, bits in one["bits"].items():
            assert sum(bits[part] for part in measures.PARTS) == bits["total"] == one["curve"][f"bits_{direction}"][-1]
            assert 1 < bits["reference"] / bits["payload"] < 1.2
            assert one["megabytes"][direction] == pytest.approx(bits["total"] / 8e6 / 20)
        weights = weight_files.load_tree(run.path / f"seed{seed}" / "model.safetensors")
        assert sum(np.size(array) for array in weight_files.flatten(weights).values()) == result["parameters"] == 650
        assert not (run.path / f"seed{seed}" / "checkpoints").exists()
    assert result["seeds"]["0"]["curve"]["accuracy"] != result["seeds"]["1"]["curve"]["accuracy"]
    json.dumps(result)


def test_clients_and_their_spread(finished):
    run, result = finished
    for one in result["seeds"].values():
        accuracy, spread = (np.array(one["per_client"]["accuracy"]), one["per_client"]["spread"])
        assert accuracy.shape == (20,) and spread["lowest"] == accuracy.min() < accuracy.max() == spread["highest"]
        assert spread["mean"] == pytest.approx(accuracy.mean()) and 0 < spread["standard_deviation"] < 0.4
        sizes = one["split"]["smallest_client"], one["split"]["largest_client"]
        assert sizes[0] == sizes[1], "equal clients: the mean of theirs is the accuracy on all training samples"
        assert abs(spread["mean"] - one["accuracy"]) < 0.1
    table = json.loads((run.path / "tables" / "clients.json").read_text())
    assert table["columns"][:3] == ["seed", "mean", "standard deviation"] and len(table["rows"]) == 2


def test_seeds_of_an_older_version_have_no_clients(finished, tmp_path):
    run = run_directory.open_for_test(tmp_path)
    older = {name: {key: value for key, value in one.items() if key != "per_client"} for name, one in
             finished[1]["seeds"].items()}  # fmt: skip
    simulate._report(run, SMALL, finished[1] | {"seeds": older}, np.ones((20, 10)))
    assert "clients" not in {path.stem for path in (*run.plots.glob("*"), *(run.path / "tables").glob("*"))}


def test_spread_by_hand():
    assert measures.spread([0.0, 1.0, 0.5]) == {
        "mean": 0.5, "standard_deviation": pytest.approx((1 / 6) ** 0.5), "lowest": 0.0,
        "10_percent": pytest.approx(0.1), "median": 0.5, "90_percent": pytest.approx(0.9), "highest": 1.0,
    }  # fmt: skip


def test_a_run_goes_on_with_another_chunk():
    one, other = SMALL, dataclasses.replace(SMALL, chunk=2, save_every=3)
    assert config.config_hash(one) == config.config_hash(other)


def test_bits_of_stc_are_far_fewer_than_floats(finished):
    one = finished[1]["seeds"]["0"]
    floats = 60 * 5 * 32 * 650
    assert 20 < floats / one["bits"]["up"]["payload"] < 60


def test_what_the_split_could_not_meet_stands_in_the_result(finished):
    labels = TASKS["small"].load()[0]["y"]
    split = splits.split_by_class(labels, 20, 2, seed=1)
    one = finished[1]["seeds"]["1"]
    assert one["split"]["unused_samples"] == len(split.remainder) > 0
    assert one["split"]["shortfall"] == split.shortfall
    assert any("samples are with no client" in line for line in simulate.doubts(one))
    assert split.shortfall in "; ".join(simulate.doubts(one))


def test_a_run_that_is_told_to_end_goes_on_to_the_same_numbers(finished, tmp_path, monkeypatch):
    """Within the second seed: the first is taken from its file, the second from its checkpoint."""
    run, progress, starts = run_directory.open_for_test(tmp_path), run_directory.Run.progress, []
    monkeypatch.setattr(run_directory.Run, "progress", lambda *a: starts.append(a[3]) or progress(*a))
    with monkeypatch.context() as patch, pytest.raises(app.Preempted, match="after 80 rounds"):
        patch.setattr(supervised.Termination, "after", lambda _, rounds: rounds >= 80)
        simulate.main(SMALL, run)
    assert (run.path / "pieces" / "seed0.json").is_file() and not (run.path / "pieces" / "seed1.json").exists()
    assert simulate.main(SMALL, run) == finished[1]
    assert starts == [0, 80]
    names = ("seed0/metrics.csv", "seed1/metrics.csv", "seed1/model.safetensors", "metrics.csv")
    for name in names:
        assert (run.path / name).read_bytes() == (finished[0].path / name).read_bytes()


def test_crossings_by_hand():
    curve = {"rounds": [1, 2, 3], "iterations": [10, 20, 30], "accuracy": [0.5, 0.7, 0.6]}
    curve |= {"bits_up": [8_000_000, 16_000_000, 24_000_000], "bits_down": [0, 80_000_000, 80_000_000]}
    assert measures.crossing(curve, 0.7, 4) == {
        "rounds": 2, "iterations": 20, "accuracy": 0.7, "megabytes_up": 0.5, "megabytes_down": 2.5,
    }  # fmt: skip
    assert measures.crossing(curve, 0.71, 4) is None


def test_a_mean_crossing_needs_every_seed(finished):
    seeds = list(finished[1]["seeds"].values())
    highest = [max(one["curve"]["accuracy"]) for one in seeds]
    both, one, none = (simulate.over_seeds(seeds, target, 20)["crossing"] for target in (0.1, max(highest), 1.0))
    assert both["reached"] == 2 and both["iterations"]["mean"] == 20
    assert none == {"reached": 0, "of": 2}
    assert min(highest) == max(highest) or one == {"reached": 1, "of": 2}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_flags_and_no_other(method):
    settings = dataclasses.replace(SMALL, p=None, method=method, iterations=200)
    made = method_of(config.validate(settings))
    assert made.local_steps == (100 if method == "fed_avg" else 1) and rounds_of(settings) == 200 / made.local_steps
    assert made is method_of(settings), "another program would be compiled for every seed"


def test_the_task_says_what_the_flags_do_not():
    training = training_of(SMALL)
    assert (training.learning_rate, training.momentum) == (TASKS["small"].learning_rate, TASKS["small"].momentum)
    assert training_of(dataclasses.replace(SMALL, learning_rate=0.5)).learning_rate == 0.5
    assert iterations_of(dataclasses.replace(SMALL, iterations=None)) == TASKS["small"].iterations
    averaging = dataclasses.replace(SMALL, method="fed_avg", p=None, local_steps=30)
    assert training_of(averaging).every == 1 and training_of(dataclasses.replace(averaging, local_steps=10)).every == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": 0.0}, r"--p=0.0: expected a number of more than 0.0 and at most 1.0"),
        ({"p": 1.5}, r"--p=1.5: expected"),
        ({"p_down": -0.1}, r"--p_down=-0.1: expected"),
        ({"per_round": 21}, r"--per_round=21: expected at most 20, the number of --clients"),
        ({"classes_per_client": 0}, r"--classes_per_client=0: expected"),
        ({"classes_per_client": 11}, r"--classes_per_client=11: expected"),
        ({"gamma": 1.1}, r"--gamma=1.1: expected"),
        ({"dirichlet": 0.5}, r"two ways to split: give one of them"),
        ({"local_steps": 25}, r"--local_steps=25 with --method=stc, which has none: it is of fed_avg"),
        ({"method": "fed_sgd"}, r"--p=0.1 with --method=fed_sgd, which has none: it is of stc, top_k"),
        ({"method": "fed_avg", "p": None, "local_steps": 25}, r"25 local steps a round: 10 would be left over"),
        ({"down": "floats", "p_down": 0.1}, r"--p_down=0.1 with --down=floats"),
        ({"method": "coded", "p": None, "residuals": False}, r"--residuals=False with --method=coded"),
        ({"momentum": 1.0}, r"--momentum=1.0: expected"),
        ({"seeds": ()}, r"--seeds=: expected at least one"),
        ({"seeds": (1, 1)}, r"each once"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config.validate(dataclasses.replace(SMALL, **changes))


def test_more_clients_than_samples_are_refused(tmp_path):
    settings = dataclasses.replace(SMALL, clients=2000)
    with pytest.raises(ValueError, match=r"clients=2000: expected .*1438.*no client is empty"):
        simulate.main(settings, run_directory.open_for_test(tmp_path))


def test_who_holds_which_classes_by_a_law(tmp_path):
    labels = TASKS["small"].load()[0]["y"]
    settings = dataclasses.replace(SMALL, classes_per_client=None, dirichlet=0.1)
    counts = splits.class_counts(simulate.split_of(settings, labels, 0), labels)
    assert counts.shape == (20, 10) and np.median((counts > 0).sum(axis=1)) < 8
    alike = splits.class_counts(simulate.split_of(dataclasses.replace(settings, dirichlet=None), labels, 0), labels)
    assert np.median((alike > 0).sum(axis=1)) >= 9
