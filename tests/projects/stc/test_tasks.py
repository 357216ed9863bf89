"""The tasks' data: shapes, scales, and enlarged images against Pillow; real data where there is some."""

import numpy as np
import pytest

from common import datasets
from common.datasets import dataset
from projects.stc import models, tasks

SHAPES = {
    "cifar10": (32, 32, 3),
    "digits_cnn": (32, 32, 1),
    "digits_lstm": (32, 32),
    "fashion_lstm": (32, 32),
    "mnist": (784,),
    "small": (64,),
}
SIDES = {"cifar10": (32, 3), "fsdd": (32, 1), "fashion_mnist": (28, 1), "mnist": (28, 1), "digits": (8, 1)}


def small(name, *, data_dir=None, **options):
    """Stands for `datasets.load`: twenty training and ten test images of the set's shape."""
    side, channels = SIDES[name]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, side, side, channels), np.uint8)
    halves = [dataset.Split(part, np.arange(len(part)) % 10) for part in (images[:20], images[20:])]
    classes, notice = tuple("0123456789"), "used as it is" if name == "mnist" else ""
    return dataset.make(name, *halves, classes=classes, licence="", source=str(data_dir), notice=notice)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_has_what_its_network_takes(name, monkeypatch):
    monkeypatch.setattr(datasets, "load", small)
    train, test = tasks.TASKS[name].load()
    assert train["x"].shape == (20, *SHAPES[name]) and test["x"].shape == (10, *SHAPES[name])
    assert train["x"].dtype == (np.uint8 if name == "cifar10" else np.float32)
    assert train["y"].dtype == np.int32 and train["y"].shape == (20,) and test["y"].shape == (10,)
    assert tasks.TASKS[name].model() in (
        models.vgg11(), models.keyword_cnn(), models.lstm(), models.logistic_regression(),
        models.logistic_regression(64),
    )  # fmt: skip
    if name in ("mnist", "digits_cnn", "digits_lstm"):
        assert abs(train["x"].mean()) < 1e-3 and abs(train["x"].std() - 1) < 1e-3


def test_what_is_unusual_about_data_is_said(monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", small)
    tasks.TASKS["mnist"].load()
    assert "mnist: used as it is" in capsys.readouterr().err


def test_images_are_enlarged_as_pillow_does(monkeypatch):
    from PIL import Image

    monkeypatch.setattr(datasets, "load", small)
    rows = tasks.TASKS["fashion_lstm"].load()[0]["x"]
    values = np.rint((rows * tasks.FASHION_STD + tasks.FASHION_MEAN) * 255)
    for image, ours in zip(small("fashion_mnist").train_images[..., 0], values, strict=True):
        theirs = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR), np.float32)
        assert np.abs(theirs - ours).max() <= 1  # Pillow rounds after each direction


def test_interpolation_by_hand():
    """Two pixels become four: centres at -0.25, 0.25, 0.75 and 1.25 of the old ones."""
    np.testing.assert_allclose(tasks.interpolation(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(tasks.interpolation(28, 32).sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [("mnist", (60_000, 10_000)), ("fashion_lstm", (60_000, 10_000)), ("digits_lstm", (2_700, 300))],
)
def test_real_data(name, counts, data_dir):
    halves = tasks.TASKS[name].load(data_dir)
    assert tuple(len(half["y"]) for half in halves) == counts
    assert all(np.isfinite(half["x"]).all() and len(np.unique(half["y"])) == 10 for half in halves)
