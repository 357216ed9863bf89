"""Training a network to explain, by the flag files of the project, and opening what it left."""

import pathlib

import pytest

from common import config
from common.models import zoo
from common.runs import run_directory
from projects.attribution import train

FLAGS = sorted(pathlib.Path(train.__file__).parent.glob("flags/*.flags"))


def test_a_network_is_trained_and_can_be_opened(tmp_path):
    settings = train.TrainConfig(model="mlp", dataset="digits", width=0.3, epochs=8, batch_size=64, learning_rate=5e-3)
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    assert result["test_accuracy"] > 0.8 and (result["model"], result["dataset"]) == ("mlp", "digits")
    assert (tmp_path / "metrics.csv").is_file()
    (tmp_path / "flags.txt").write_text(config.flags_text(settings))
    network = zoo.open_network(tmp_path)
    assert network.accuracy(network.params, network.test) == result["test_accuracy"]
    assert network.accuracy(network.params, network.validation) == result["validation_accuracy"]


@pytest.mark.parametrize("path", FLAGS, ids=lambda path: path.stem)
def test_flag_files_parse(path):
    (settings,) = config.parse(["train", f"--flagfile={path}"], train.TrainConfig)
    assert path.stem.startswith(settings.model)
