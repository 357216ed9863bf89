"""Training a network of the zoo, and explaining what it left."""

import numpy as np

from common.runs import run_directory
from common.training import checkpoint
from projects.attribution import train, zoo


def test_a_network_is_trained_and_can_be_opened(tmp_path):
    settings = train.TrainConfig(model="mlp", dataset="digits", width=0.3, epochs=8, batch_size=64, learning_rate=5e-3)
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    assert result["test_accuracy"] > 0.8 and result["dataset"] == "digits"
    assert (tmp_path / "model.safetensors").is_file() and (tmp_path / "metrics.csv").is_file()
    source = str(tmp_path / "model.safetensors")
    network, data = zoo.open_network(source, model="mlp", width=0.3, dataset="digits")
    y = np.asarray(network.fn(network.params, network.preprocess(data.test_images)))
    assert np.mean(y.argmax(-1) == data.test_labels) == result["test_accuracy"]
    assert checkpoint.load_tree(source).keys() == network.params.keys()


def test_a_run_directory_says_what_it_holds(tmp_path):
    """Flags of this project's training and of another's (`--victim`) are read."""
    settings = train.TrainConfig(model="mlp", dataset="digits", width=0.3, epochs=1, batch_size=64)
    train.main(settings, run_directory.open_for_test(tmp_path))
    for flag in ("model", "victim"):
        (tmp_path / "flags.txt").write_text(f"--{flag}=mlp\n--dataset=digits\n--width=0.3\n--seed=0\n")
        network, data = zoo.open_network(str(tmp_path))
        assert (network.name, data.name) == ("mlp", "digits")
    low, high = network.low, network.high
    assert low.shape == high.shape == (1,) and low[0] < 0 < high[0]
