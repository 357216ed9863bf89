"""A tiny training end to end: the file, what it decodes to, every count of its bits, and resuming."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from common import app, datasets, models, weight_files
from common.models import zoo
from common.runs import metrics, run_directory
from kernels import entropy_coding
from projects.entropy_training import description_length, hardening, relaxation, train, tuning
from projects.entropy_training.config import TrainConfig

TINY = TrainConfig(
    dataset="digits", width=0.2, batch_size=64, pretrain_epochs=8, pretrain_rate=3e-3, levels=9, epochs=6,
    learning_rate=2e-3, alpha=0.05, alpha_warmup=2, sharpness=(2.5, 40.0), tune_epochs=1, table_points=512,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny training: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("train"))
    return run, train.main(TINY, run)


def test_it_is_small_and_still_accurate(finished):
    _, result = finished
    assert result["float_validation_accuracy"] > 0.8
    assert result["validation_accuracy"] > result["float_validation_accuracy"] - 0.05
    assert result["ratio"] > 15
    assert 0 < result["nonzero_percent"] < 50


def test_the_file_decodes_to_what_was_evaluated(finished):
    run, result = finished
    data = (run.path / "model.dcb").read_bytes()
    assert len(data) == result["bytes"] and result["bits"]["file"] == 8 * len(data)
    decoded = entropy_coding.decompress(data)
    stored = weight_files.load_tree(run.path)
    for path, value in weight_files.flatten(stored).items():
        np.testing.assert_array_equal(weight_files.flatten(decoded)[path], value)
    network = zoo.untrained(TINY)
    assert network.accuracy(decoded, network.test) == pytest.approx(result["test_accuracy"])
    assert len(np.unique(decoded["fc1"]["kernel"])) == result["centroids_used"]["fc1"]


def test_every_count_is_consistent(finished):
    _, result = finished
    bits = result["bits"]
    excluded = 32 * (60 + 20 + 10)
    weights = 784 * 60 + 60 * 20 + 20 * 10
    assert bits["values"] == weights + 90
    labels = sum(row["entropy"] for row in result["layers"])
    grids = 32 * sum(result["centroids_used"].values())
    assert bits["entropy"] == pytest.approx(labels + grids + excluded)
    assert bits["entropy"] <= bits["huffman"] < bits["entropy"] + weights + 8 * 30
    assert bits["csr"] > 0 and bits["cabac"] > excluded
    assert result["ratio"] == pytest.approx(32 * bits["values"] / bits["file"])
    for row in result["layers"]:
        assert row["exact"] == pytest.approx(row["codeword"], rel=0.05, abs=200)


def test_the_log_has_true_streams_beside_the_entropy(finished):
    run, _ = finished
    _, rows = metrics.read(run.metrics.path)
    assert len(rows) == TINY.epochs
    last = rows[-1]
    assert float(last["stream_bits"]) == pytest.approx(float(last["entropy_bits"]), rel=0.3)
    assert float(last["relaxed_bits"]) == pytest.approx(float(last["entropy_bits"]), rel=0.1)
    assert {path.stem for path in run.plots.glob("*.png")} >= {"training", "centroids", "bits"}
    assert json.loads((run.path / "tables" / "bits.json").read_text())["rows"]


def test_a_killed_training_ends_as_if_it_had_never_been(finished, tmp_path, monkeypatch):
    """The first 10 steps by one process, the rest by another: the same file."""
    whole, _ = finished
    run = run_directory.open_for_test(tmp_path)
    settings = dataclasses.replace(TINY, checkpoint=str(whole.path / "pretrain"), checkpoint_steps=10)

    def breaking(*arguments):
        raise app.Preempted("stopped")

    monkeypatch.setattr(tuning, "tune", breaking)  # after the constrained training
    with pytest.raises(app.Preempted):
        train.main(settings, run)
    monkeypatch.undo()
    train.main(settings, run_directory.open_for_test(tmp_path))
    assert (tmp_path / "model.dcb").read_bytes() == (whole.path / "model.dcb").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["conditional", "static"])
def test_other_rates_train(finished, tmp_path, rate):
    whole, _ = finished
    settings = dataclasses.replace(
        TINY, checkpoint=str(whole.path / "pretrain"), rate=rate, epochs=2, tune_epochs=0, sparsity_prior=0.5
    )
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    assert result["validation_accuracy"] > 0.7 and result["ratio"] > 8


@pytest.mark.slow  # the small study trains one of ste
@pytest.mark.parametrize("parametrisation", ["theta", "ste"])
def test_other_parametrisations_train(finished, tmp_path, parametrisation):
    whole, _ = finished
    settings = dataclasses.replace(
        TINY, checkpoint=str(whole.path / "pretrain"), parametrisation=parametrisation, epochs=3, tune_epochs=0
    )
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    assert result["validation_accuracy"] > 0.7 and result["ratio"] > 6


@pytest.mark.slow
def test_the_target_is_met(finished, tmp_path):
    """Dual ascent brings the relaxed size near it; the price of a bit at hardening does the rest."""
    whole, _ = finished
    settings = dataclasses.replace(
        TINY, checkpoint=str(whole.path / "pretrain"), target_bytes=2000, epochs=15, tune_epochs=1, ascent_rate=5e-4,
        sharpness=(2.5, 10.0), tune_labels=True,
    )  # fmt: skip
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    _, rows = metrics.read(tmp_path / "metrics.csv")
    assert float(rows[0]["alpha"]) < float(rows[-1]["alpha"])
    assert float(rows[-1]["relaxed_bits"]) / 8 == pytest.approx(2000, rel=0.35)
    assert result["bytes"] <= 2000 and "unmet" not in result
    assert result["harden_weight"] > 1 and result["validation_accuracy"] > 0.5


def test_the_zero_centroid_stays_zero():
    network = zoo.untrained(TINY)
    train_images = datasets.Split(network.train.images[:640], network.train.labels[:640])
    network = dataclasses.replace(network, train=train_images)
    coded = relaxation.create_network(TINY, network.data, network.params)
    merge, advance, state = description_length.prepare(TINY, network, coded)
    step = jax.jit(advance)
    batch = {"images": network.train.images[:64], "labels": network.train.labels[:64]}
    before = relaxation.stored_trees(coded)[1]["fc1"]
    for _ in range(3):
        state, info = step(state, batch)
    tree, grids = relaxation.stored_trees(merge(state.parameters, state.statistics))
    assert all(grid[4] == 0 for grid in grids.values()) and np.any(grids["fc1"] != before)
    assert set(tree) == {"fc1", "fc2", "fc3"} and set(tree["fc1"]) == {"kernel", "bias"}
    assert float(info["alpha"]) == pytest.approx(TINY.alpha * 2 / 20)
    assert float(info["sharpness"]) == pytest.approx(2.5)


def test_the_price_of_a_bit_rises_while_the_network_is_too_large():
    """Dual ascent by hand, with the rate that no other quick training has."""
    settings = dataclasses.replace(TINY, target_bytes=2000, rate="static", ascent_rate=5e-4)
    network = zoo.untrained(settings)
    coded = relaxation.create_network(settings, network.data, network.params)
    _, advance, state = description_length.prepare(settings, network, coded)
    step, price = jax.jit(advance), 0.0
    batch = {"images": network.train.images[:64], "labels": network.train.labels[:64]}
    for _ in range(3):
        state, info = step(state, batch)
        assert float(info["alpha"]) == pytest.approx(price)
        price += 5e-4 * min(float(info["relaxed_bits"]) / (8 * 2000) - 1, 1.0)
    assert float(state.extra) == pytest.approx(price) and price > 0


def test_a_collapse_stops_with_a_sentence(finished, tmp_path, monkeypatch):
    whole, _ = finished
    settings = dataclasses.replace(TINY, checkpoint=str(whole.path / "pretrain"), epochs=1)
    monkeypatch.setattr(hardening.Labelled, "nonzero_share", property(lambda labelled: 0.0))
    with pytest.raises(ValueError, match="every weight became 0: give a smaller --alpha"):
        train.main(settings, run_directory.open_for_test(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"sharpness": (4.0, 2.0)}, "sharpness=4.0,2.0 falls"), ({"sharpening": (0.5, 0.5)}, "no interval")],
)
def test_settings_that_contradict(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_weights_without_a_grid_are_refused():
    network = zoo.untrained(TINY)
    weights = models.to_tree(network.module)
    weights["fc2"]["kernel"] = np.full_like(weights["fc2"]["kernel"], np.nan)
    with pytest.raises(ValueError, match="fc2/kernel must be there, finite"):
        relaxation.create_network(TINY, network.data, weights)
