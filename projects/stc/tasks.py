"""The tasks of arXiv:1903.02891: a network, its data, and how clients train.

train, test = TASKS["mnist"].load()
model = TASKS["mnist"].model()

Spoken digits (FSDD) stand for the keywords of the paper. Learning rates and momentum are those of the authors' code;
iterations are what a run of ours takes, unless it says otherwise.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable

import numpy as np

from common import datasets
from common.federated.rounds import Model
from projects.stc import models

Arrays = dict[str, np.ndarray]
SIDE = 32  # pixels to which an image is enlarged whose rows an LSTM reads
FASHION_MEAN, FASHION_STD = 0.1307, 0.3081  # of MNIST: what the authors' code takes for Fashion-MNIST too


@dataclasses.dataclass(frozen=True)
class Task:
    """What clients learn.

    Attributes:
      title: the network and the data, as results name them.
      load: (data_dir=None) -> (train, test), each {"x": inputs [n, ...], "y": int32 [n]}; data_dir instead of
        $DATA_DIR. Inputs are float32, standardised; but uint8 for VGG11*, which standardises them itself.
      model: () -> the network, always the same object.
      learning_rate, momentum: of a client.
      iterations: local steps of each client that takes part in every round; a round has one or several.
    """

    title: str
    load: Callable[..., tuple[Arrays, Arrays]]
    model: Callable[[], Model]
    learning_rate: float
    momentum: float
    iterations: int


def cifar10(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """CIFAR-10 (JPEG) as uint8 [n, 32, 32, 3]: a quarter of the memory of floats, and black is 0."""
    return _halves(_load("cifar10", data_dir, form="jpeg"), lambda images: images)


def mnist(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """MNIST as [n, 784], standardised."""
    data = _load("mnist", data_dir)
    return _halves(data, lambda images: datasets.standardise(images, data).reshape(len(images), -1))


def fashion_rows(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """Fashion-MNIST enlarged to 32 x 32, as [n, 32 rows, 32], minus 0.1307 and over 0.3081."""
    return _halves(_load("fashion_mnist", data_dir), _rows)


def digit_maps(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """Spoken digits as log-mel maps [n, 32 frames, 32 bands, 1], standardised."""
    data = _load("fsdd", data_dir)
    return _halves(data, lambda images: datasets.standardise(images, data))


def digit_frames(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """Spoken digits as sequences [n, 32 frames, 32 bands], standardised."""
    data = _load("fsdd", data_dir)
    return _halves(data, lambda images: datasets.standardise(images, data)[..., 0])


def small_digits(data_dir: str | os.PathLike | None = None) -> tuple[Arrays, Arrays]:
    """The digits that scikit-learn carries as [n, 64], standardised: no download, seconds of work."""
    data = datasets.load("digits")
    return _halves(data, lambda images: datasets.standardise(images, data).reshape(len(images), -1))


TASKS = {
    "cifar10": Task("VGG11*, CIFAR-10 (JPEG)", cifar10, models.vgg11, 0.016, 0.9, 20_000),
    "digits_cnn": Task("CNN, spoken digits", digit_maps, models.keyword_cnn, 0.1, 0.0, 1_000),
    "digits_lstm": Task("LSTM, spoken digits", digit_frames, models.lstm, 0.1, 0.9, 1_000),
    "fashion_lstm": Task("LSTM, Fashion-MNIST", fashion_rows, models.lstm, 0.1, 0.9, 20_000),
    "mnist": Task("logistic regression, MNIST", mnist, models.logistic_regression, 0.04, 0.0, 2_000),
    "small": Task(
        "logistic regression, scikit-learn's digits",
        small_digits,
        functools.partial(models.logistic_regression, 64),
        0.1,
        0.0,
        200,
    ),
}


def _load(name: str, data_dir: str | os.PathLike | None, **options: str) -> datasets.Dataset:
    data = datasets.load(name, data_dir=data_dir, **options)
    if data.notice:
        print(f"{data.name}: {data.notice}", file=sys.stderr)
    return data


def _halves(data: datasets.Dataset, inputs: Callable[[np.ndarray], np.ndarray]) -> tuple[Arrays, Arrays]:
    return (
        {"x": inputs(data.train_images), "y": data.train_labels},
        {"x": inputs(data.test_images), "y": data.test_labels},
    )


def _rows(images: np.ndarray) -> np.ndarray:
    weights = interpolation(images.shape[1], SIDE)
    values = images[..., 0].astype(np.float32) / 255
    return (weights @ values @ weights.T - np.float32(FASHION_MEAN)) / np.float32(FASHION_STD)


@functools.cache
def interpolation(before: int, after: int) -> np.ndarray:
    """Returns float32 [after, before]: what enlarges a row of pixels linearly, pixels being areas, edges repeated."""
    centres = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(before))).astype(np.float32)
