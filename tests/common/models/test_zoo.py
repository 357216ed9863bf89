"""Networks by what they lie in: run directories of today and of before, weight files, published weights."""

import jax
import numpy as np
import pytest

from common import datasets, models, weight_files
from common.models import efficientnet, zoo


@pytest.fixture(scope="module")
def digits():
    return zoo.load_dataset("digits")


@pytest.fixture(scope="module")
def network(digits):
    return zoo.untrained(zoo.NetworkConfig(model="mlp", width=0.3, seed=3), digits)


@pytest.fixture
def source(network, tmp_path):
    weight_files.save_tree(tmp_path / "model.safetensors", network.params)
    return tmp_path


def same(left, right):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(one, other)


def test_digits_have_the_size_of_mnist(digits):
    assert digits.test_images.shape[1:] == (28, 28, 1)
    assert zoo.load_dataset("digits", size=12).test_images.shape[1:] == (12, 12, 1)


def test_an_untrained_network_is_that_of_its_seed(network, digits):
    same(network.params, models.to_tree(zoo.create_network("mlp", digits, width=0.3, seed=3)))
    other = models.to_tree(zoo.create_network("mlp", digits, width=0.3, seed=4))
    assert not np.array_equal(network.params["fc1"]["kernel"], other["fc1"]["kernel"])
    assert network.input_shape == (28, 28, 1) and len(network.classes) == 10


def test_splits_keep_the_last_training_images_apart(network, digits):
    assert [len(split.images) for split in (network.train, network.validation, network.test)] == [1151, 287, 359]
    np.testing.assert_array_equal(network.validation.images, digits.train_images[-287:])


def test_inputs_are_standardised_between_low_and_high(network, digits):
    x = network.preprocess(digits.test_images)
    np.testing.assert_allclose(x, datasets.standardise(digits.test_images, digits), atol=1e-5)
    assert network.low.shape == network.high.shape == (1,)
    assert x.min() == network.low[0] < 0 < network.high[0] == x.max()


def test_answers_are_those_of_the_function(network):
    logits = network.fn(network.params, network.preprocess(network.test.images))
    correct = np.asarray(logits).argmax(-1) == network.test.labels
    np.testing.assert_array_equal(network.correct(network.params, network.test), correct)
    np.testing.assert_array_equal(network.correct_many([network.params] * 2, network.test), [correct] * 2)
    assert network.accuracy(network.params, network.test) == correct.mean()


@pytest.mark.parametrize("flag", ["model", "victim"])  # victim: what levy_attack.train called it
def test_a_run_directory_says_what_it_holds(source, network, flag):
    (source / "flags.txt").write_text(
        f"# python -m projects.x.train\n--{flag}=mlp\n--dataset=digits\n--width=0.3\n--seed=0\n--noise=3\n--flip=true\n"
    )
    opened = zoo.open_network(source)
    assert (opened.name, opened.data.name) == ("mlp", "digits")
    same(opened.params, network.params)
    same(models.to_tree(opened.module), network.params)
    assert zoo.flags_of(source) == {"model": "mlp", "dataset": "digits", "width": 0.3, "seed": 0}


def test_validation_images_are_those_of_the_training(source):
    (source / "flags.txt").write_text("--model=mlp\n--dataset=digits\n--width=0.3\n--validation_images=100\n")
    assert len(zoo.open_network(source).validation.images) == 100


def test_a_file_is_opened_by_what_the_caller_says(source, network, digits):
    opened = zoo.open_network(source / "model.safetensors", model="mlp", width=0.3, dataset=digits)
    same(opened.params, network.params)
    assert opened.data is digits


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, "--model: .* does not say which network it holds"),
        ({"dataset": None}, "--dataset: .* does not say what it was trained on"),
        ({"dataset": "imagenet_samples"}, "--dataset: .* is not for imagenet_samples; choose of mnist"),
        ({"width": 0.2}, "network expects"),
        ({"model": "lenet_300_100"}, "missing fc3"),
    ],
)
def test_what_is_not_said_or_does_not_fit_is_refused(source, changes, words):
    options = {"model": "mlp", "width": 0.3, "dataset": "digits"} | changes
    with pytest.raises(ValueError, match=words):
        zoo.open_network(source / "model.safetensors", **options)


def test_nothing_there_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a run directory"):
        zoo.open_network("nowhere")
    for variable in ("DATA_DIR", "HAVEL_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no efficientnet_lite0/efficientnet_lite0.npz in DATA_DIR="):
        zoo.open_network("efficientnet_lite0")


def test_published_weights_are_opened_by_their_name(tmp_path, monkeypatch):
    """The file has PyTorch's names and layouts; its photographs stand for a set without training images."""
    photographs = datasets.dataset.make(
        "photographs",
        datasets.Split(np.zeros((0, 224, 224, 3), np.uint8), np.zeros(0, np.int32)),
        datasets.Split(np.full((5, 224, 224, 3), 127, np.uint8), np.arange(5, dtype=np.int32)),
        classes=tuple(map(str, range(1000))), licence="ours", source="this test",
    )  # fmt: skip
    module = models.create("efficientnet_lite0", rngs=zoo.nnx.Rngs(1))
    (tmp_path / "efficientnet_lite0").mkdir()
    np.savez(
        tmp_path / "efficientnet_lite0" / "efficientnet_lite0.npz", **efficientnet.to_published(models.to_tree(module))
    )
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    opened = zoo.open_network("efficientnet_lite0", dataset=photographs)
    same(opened.params, models.to_tree(module))
    np.testing.assert_array_equal(opened.validation.labels, [0, 2, 4])
    np.testing.assert_array_equal(opened.test.labels, [1, 3])
    assert opened.input_shape == (224, 224, 3) and np.all(opened.preprocess(opened.test.images) == 0)
