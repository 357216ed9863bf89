"""One call trains a classifier: what it leaves, what it says, and that a killed training ends to the same numbers."""

import dataclasses

import jax
import numpy as np
import pytest

from common import config, datasets, weight_files
from common.datasets import records
from common.models import zoo
from common.runs import run_directory
from common.training import classifier
from common.training.config import ClassifierConfig
from common.training.supervised import Preempted


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig):
    """As a project has it: other defaults, and a flag of its own."""

    model: str = "mlp"
    width: float = 0.2
    dataset: str | None = "digits"
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 5e-3
    shift: int = config.field(1, "another help", minimum=1)


def test_defaults_of_a_project_keep_bounds_and_help():
    assert config.parse(["train", "--epochs=4"], TrainConfig)[0] == TrainConfig(epochs=4)
    with pytest.raises(config.FlagError, match="--epochs=0: expected an integer of at least 1"):
        config.parse(["train", "--epochs=0"], TrainConfig)
    text = config.help_text(TrainConfig)
    assert "passes over the training images (an integer of at least 1; default: 3)" in text and "another help" in text


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, classifier.train(TrainConfig(), run_directory.open_for_test(folder))


def test_a_training_leaves_weights_that_answer_as_it_says(trained):
    folder, result = trained
    network = zoo.untrained(TrainConfig())
    params = weight_files.load_tree(folder)
    assert result == {
        "model": "mlp",
        "dataset": "digits",
        "validation_accuracy": network.accuracy(params, network.validation),
        "test_accuracy": network.accuracy(params, network.test),
        "test_images": 359,
        "values": sum(np.size(leaf) for leaf in jax.tree.leaves(params)),
        "steps": 3 * (1151 // 16),
    }
    assert result["test_accuracy"] > 0.7


def test_a_killed_training_ends_to_the_bit_like_one_left_alone(trained, tmp_path, monkeypatch):
    correct = zoo.Network.correct

    def killed(self, params, split):
        raise Preempted

    monkeypatch.setattr(zoo.Network, "correct", killed)
    with pytest.raises(Preempted):
        classifier.train(TrainConfig(checkpoint_steps=25), run_directory.open_for_test(tmp_path))
    monkeypatch.setattr(zoo.Network, "correct", correct)
    result = classifier.train(TrainConfig(checkpoint_steps=25), run_directory.open_for_test(tmp_path))
    assert result == trained[1]
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()


def test_a_stand_in_is_said(tmp_path, monkeypatch, capsys):
    def load(name, fallback=None, **options):
        digits = datasets.digits.load(size=28)
        return dataclasses.replace(digits, notice="digits stand in for mnist", fallback_for=name)

    monkeypatch.setattr(datasets, "load", load)
    settings = TrainConfig(dataset="mnist", fallback="digits", epochs=1)
    result = classifier.train(settings, run_directory.open_for_test(tmp_path))
    assert (result["dataset"], result["fallback_for"]) == ("digits", "mnist")
    assert "digits stand in for mnist" in capsys.readouterr().err


def test_a_label_of_no_class_is_named(tmp_path):
    settings = TrainConfig(records=str(tmp_path / "set"))
    network = zoo.untrained(settings)
    images, labels = network.train.images[:40], network.train.labels[:40].astype(np.int32)
    labels[17] = 15
    records.write(tmp_path / "set", ({"images": x, "labels": y} for x, y in zip(images, labels, strict=True)))
    stream = classifier.training_data(settings, run_directory.open_for_test(tmp_path / "run"), network)
    with pytest.raises(ValueError, match="example 17 has the label 15: expected 0 to 9, of a network of 10 classes"):
        for _ in range(stream.epoch_steps + 1):
            next(stream.iterator)
