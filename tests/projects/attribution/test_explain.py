"""The verb `explain` on a tiny network: files and their layout, resuming, what it takes and what it refuses."""

import dataclasses
import tracemalloc

import h5py
import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from common import models
from common.models import zoo
from common.runs import run_directory
from common.training import checkpoint
from kernels import attribution
from projects.attribution import explain
from projects.attribution.explain import ExplainConfig


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of a small network for the digits."""
    path = tmp_path_factory.mktemp("weights") / "model.npz"
    network = zoo.create_network("mnist_cnn", zoo.load_dataset("digits"), width=0.1)
    checkpoint.save_tree(path, models.to_tree(network))
    return path


@pytest.fixture
def settings(weights):
    return ExplainConfig(
        checkpoint=str(weights), model="mnist_cnn", width=0.1, dataset="digits", count=5, batch_size=2, pictures=3
    )


def run(settings, folder) -> dict:
    return explain.main(settings, run_directory.open_for_test(folder))


@pytest.fixture(scope="module")
def explained(weights, tmp_path_factory):
    """One run, its result and its settings."""
    settings = ExplainConfig(
        checkpoint=str(weights), model="mnist_cnn", width=0.1, dataset="digits", count=5, batch_size=2, pictures=3,
        target="label", first=4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("explained")
    return folder, run(settings, folder), settings


def test_relevance_is_that_of_the_kernel(explained, weights):
    folder, result, settings = explained
    network = zoo.open_network(weights, model="mnist_cnn", width=0.1, dataset="digits")
    data = network.data
    x = np.asarray(network.preprocess(data.test_images[4:9]))
    _, expected = attribution.attribute(
        network.fn, network.params, x, target=data.test_labels[4:9], rules="epsilon_plus_flat"
    )
    found = np.load(folder / "heatmaps" / "relevance.npy", allow_pickle=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert result["images"] == 5 and result["network"] == "mnist_cnn" and result["dataset"] == data.name


def test_files_have_the_layout_of_virelay(explained):
    folder, _, _ = explained
    relevance = np.load(folder / "heatmaps" / "relevance.npy", allow_pickle=False)
    data = zoo.load_dataset("digits")
    with h5py.File(folder / "heatmaps" / "attribution.h5") as file:
        assert set(file) == {"attribution", "label", "prediction", "index"}
        assert file["attribution"].shape == (5, 3, 28, 28) and file["attribution"].dtype == np.float32
        np.testing.assert_allclose(file["attribution"][:].sum(1), relevance[..., 0], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(file["label"], data.test_labels[4:9])
        np.testing.assert_array_equal(file["index"], np.arange(5, dtype=np.uint32))
        assert file["index"].dtype == np.uint32 and file["prediction"].shape == (5, 10)
        assert file.attrs["method"] == "epsilon_plus_flat"
    with h5py.File(folder / "heatmaps" / "dataset.h5") as file:
        np.testing.assert_array_equal(file["data"], data.test_images[4:9].repeat(3, -1))
        np.testing.assert_array_equal(file["label"], data.test_labels[4:9])


def test_heatmaps_are_enlarged_pictures(explained):
    folder, _, _ = explained
    files = sorted((folder / "heatmaps").glob("*.png"))
    assert len(files) == 3
    relevance = np.load(folder / "heatmaps" / "relevance.npy", allow_pickle=False)
    pixels = np.asarray(Image.open(files[0]))
    assert pixels.shape == (224, 224, 3)
    expected = attribution.imgify(relevance[0].sum(-1), cmap="coldnhot", symmetric=True)
    np.testing.assert_array_equal(pixels[::8, ::8], expected)
    assert {path.name for path in (folder / "plots").glob("*.png")} == {"heatmaps.png", "sums.png"}


def test_a_killed_run_goes_on(explained, tmp_path, monkeypatch):
    """The second batch fails; the same command then explains only what is missing, to the same numbers."""
    folder, _, settings = explained
    original, calls = explain.batches.save, []

    def save(path, **arrays):
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(path, **arrays)

    monkeypatch.setattr(explain.batches, "save", save)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path)
    assert not (tmp_path / "heatmaps").exists()
    run(settings, tmp_path)
    assert calls == ["piece_00000000.npz", "piece_00000002.npz", "piece_00000002.npz", "piece_00000004.npz"]
    found = np.load(tmp_path / "heatmaps" / "relevance.npy", allow_pickle=False)
    np.testing.assert_array_equal(found, np.load(folder / "heatmaps" / "relevance.npy", allow_pickle=False))


def test_arrays_and_pictures_are_taken(settings, tmp_path):
    """The same images as uint8 array, as float inputs and as PNG files give the same relevance."""
    data = zoo.load_dataset("digits")
    images = data.test_images[:2]
    network = zoo.open_network(settings.checkpoint, model="mnist_cnn", width=0.1, dataset="digits")
    np.save(tmp_path / "bytes.npy", images)
    np.save(tmp_path / "floats.npy", np.asarray(network.preprocess(images)))
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / "folder" / f"{number}.png")
    found = []
    for name in ("bytes.npy", "floats.npy", "folder"):
        asked = dataclasses.replace(settings, images=(str(tmp_path / name),), count=None, formats=("npy",))
        run(asked, tmp_path / f"run {name}")
        found.append(np.load(tmp_path / f"run {name}" / "heatmaps" / "relevance.npy", allow_pickle=False))
    assert found[0].shape == (2, 28, 28, 1)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_files_have_no_labels(settings, tmp_path):
    """Then the HDF5 file holds the predicted classes and says so, and there is no accuracy."""
    np.save(tmp_path / "bytes.npy", zoo.load_dataset("digits").test_images[:2])
    asked = dataclasses.replace(settings, images=(str(tmp_path / "bytes.npy"),), count=None, formats=("hdf5",))
    assert "accuracy" not in run(asked, tmp_path / "run")
    with h5py.File(tmp_path / "run" / "heatmaps" / "attribution.h5") as file:
        np.testing.assert_array_equal(file["label"], file["prediction"][:].argmax(-1))
        assert "predicted" in file.attrs["labels"]


@pytest.mark.parametrize("method", ["gradient", "smoothgrad", "integrated_gradients", "occlusion", "epsilon_gamma_box"])
def test_other_methods(settings, method, tmp_path):
    asked = dataclasses.replace(
        settings, method=method, count=2, draws=2, window=14, stride=14, formats=("npy",), target="3"
    )
    run(asked, tmp_path)
    found = np.load(tmp_path / "heatmaps" / "relevance.npy", allow_pickle=False)
    assert found.shape == (2, 28, 28, 1) and np.isfinite(found).all() and np.abs(found).max() > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "label", "images": ("some.png",)}, "labels"),
        ({"target": "12"}, "classes 0 to 9"),
        ({"images": ("notes.txt",)}, "no picture"),
        ({"first": 100_000}, "no such image"),
        ({"dataset": "imagenet_samples"}, "--dataset"),
        ({"model": None}, "--model"),
        ({"width": 0.2}, "expects"),
    ],
)
def test_what_is_wrong_is_told(settings, changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(dataclasses.replace(settings, **changes), tmp_path)


def test_a_transformer_has_methods_of_its_own(tmp_path):
    module = zoo.create_network("vit", zoo.load_dataset("digits"), width=0.1, blocks=1)
    network = zoo.assemble("vit", module, zoo.load_dataset("digits"))
    x, target = np.asarray(network.preprocess(network.test.images[:2])), np.array([1, 2])
    with pytest.raises(ValueError, match=r"--method=epsilon_plus_flat: .*composites.attnlrp\(\)"):
        explain.methods.explainer("epsilon_plus_flat", network)(network.params, x, target, None)
    y, relevance = explain.methods.explainer("attnlrp", network)(network.params, x, target, None)
    assert y.shape == (2, 10) and relevance.shape == x.shape and np.abs(relevance).max() > 0


@pytest.mark.parametrize(("changes", "words"), [({"cmap": "rainbow"}, "coldnhot"), ({"target": "cat"}, "--target=cat")])
def test_a_wrong_flag_is_told(settings, changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(settings, **changes)


def test_every_network_of_the_zoo_can_be_explained():
    """The functions are traced only: each operation has a rule and every layer its name."""
    for name in zoo.TRAINED:
        data = zoo.load_dataset("digits") if name != "small_vgg16" else None
        shape = (28, 28, 1) if data else (32, 32, 3)
        network = models.create(name, rngs=nnx.Rngs(0), width=0.1, input_shape=shape)
        found = attribution.describe(
            models.apply_function(network), models.to_tree(network), jax.ShapeDtypeStruct((2, *shape), np.float32),
            rules={"vit": "attnlrp", "lstm": "lstm"}.get(name, "epsilon_plus_flat"),
        )  # fmt: skip
        assert not [step for step in found if step["rule"] == "none"]
        affine = {step["name"] for step in found if "affine" in step["kinds"]}
        layers = {key for key, value in models.to_tree(network).items() if "kernel" in value}
        assert layers <= affine, name


def test_efficientnet_lite0_in_one_call():
    """49 convolutions, depthwise ones among them, each with its norm folded in; ReLU6 and a mean over pixels."""
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0), input_shape=(64, 64, 3))
    shape = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    found = attribution.describe(models.apply_function(network), models.to_tree(network), shape)
    convolutions = [step for step in found if "conv" in step["kinds"]]
    assert len(convolutions) == 49 and all(len(step["folded"]) == 1 for step in convolutions)
    assert "block3/depthwise" in {step["name"] for step in convolutions}
    assert not [step for step in found if step["rule"] == "none"]


def test_constant_maps_are_not_usable(tmp_path):
    """Flat on a dense first layer; another method of the same network is not marked."""
    network = zoo.create_network("mlp", zoo.load_dataset("digits"), width=0.1)
    checkpoint.save_tree(tmp_path / "mlp.npz", models.to_tree(network))
    settings = ExplainConfig(
        checkpoint=str(tmp_path / "mlp.npz"), model="mlp", width=0.1, dataset="digits", count=2, formats=("npy",)
    )
    result = run(settings, tmp_path / "flat")
    assert result["constant_maps"] == 2 and result["status"]["level"] == "not usable"
    assert (
        "2 of 2 maps are constant" in result["status"]["reasons"][0]
        and "epsilon_plus" in result["status"]["reasons"][0]
    )
    result = run(dataclasses.replace(settings, method="epsilon_plus"), tmp_path / "plus")
    assert result["constant_maps"] == 0 and "status" not in result


def test_maps_are_written_a_batch_at_a_time(tmp_path):
    """Memory holds a few of forty batches, whatever their number; maps that are missing are said."""
    paths = [tmp_path / f"piece_{number}.npz" for number in range(40)]
    for number, path in enumerate(paths):
        explain.batches.save(path, relevance=np.full((10, 32, 32, 1), number, np.float32), label=np.full(10, number))
    size = 10 * 32 * 32 * 4
    tracemalloc.start()
    explain.batches.write_relevance(tmp_path / "relevance.npy", paths, 400)
    labels = explain.batches.column(paths, "label")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * size
    relevance = np.load(tmp_path / "relevance.npy", allow_pickle=False)
    assert relevance.dtype == np.float32 and relevance.shape == (400, 32, 32, 1)
    np.testing.assert_array_equal(relevance[:, 3, 4, 0], labels)
    with pytest.raises(ValueError, match="the batches have 10 maps, and 400"):
        explain.batches.write_relevance(tmp_path / "fewer.npy", paths[:1], 400)
    assert not (tmp_path / "fewer.npy").exists()
