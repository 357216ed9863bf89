"""The networks to explain, as `fn(params, x)` with their weights and images, whoever trained them.

A network is a run directory of a `train` verb (this project's or another's: its flags say model, width and data set), a
file of weights with `--model`, or "efficientnet_lite0" with its published weights.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from common import datasets, models
from common.datasets import locate
from common.models import efficientnet
from common.training import checkpoint

TRAINED = ("lenet_300_100", "lenet5", "mlp", "mnist_cnn", "cifar_cnn", "resnet20", "small_vgg16")
TRAINING_SETS = ("mnist", "fashion_mnist", "cifar10", "digits")
PUBLISHED = "efficientnet_lite0"
LITE0_FILE = "efficientnet_lite0.npz"
MODELS = (*TRAINED, PUBLISHED)
DATASETS = (*TRAINING_SETS, "imagenet_samples")


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """A network ready to be explained.

    Attributes:
      name: of the network.
      fn: `fn(params, x)` -> logits `[batch, classes]`, in evaluation mode.
      params: its weights and statistics, nested dicts of arrays.
      preprocess: uint8 images `[batch, height, width, channels]` to inputs x.
      low, high: the least and largest x of an image, by channel, for the ZBox rule.
      classes: names of the outputs.
      data: name of the data set it was trained on.
    """

    name: str
    fn: Callable
    params: Any
    preprocess: Callable[[Any], jax.Array]
    low: np.ndarray
    high: np.ndarray
    classes: tuple[str, ...]
    data: str


def load_dataset(name: str, **options) -> datasets.Dataset:
    """Returns a data set; scikit-learn's digits in the size of MNIST's."""
    return datasets.load(name, **({"size": 28} if name == "digits" else {}), **options)


def create_network(model: str, data: datasets.Dataset, *, width: float = 1.0, seed: int = 0) -> nnx.Module:
    """Returns an untrained network for the images of a data set."""
    return models.create(
        model,
        rngs=nnx.Rngs(seed),
        width=width,
        num_classes=len(data.classes),
        input_shape=data.train_images.shape[1:],
    )


def open_network(source: str, *, model: str | None = None, width: float | None = None, dataset: str | None = None):
    """Returns (the network as `Explained`, its data set).

    Args:
        source: run directory of a training, file of weights, or "efficientnet_lite0" for the published ones.
        model, width, dataset: what the run directory's flags do not say, or instead of them.

    Raises:
        ValueError: nobody says which network it is, or the weights do not fit.
        FileNotFoundError: there is nothing at `source`.
    """
    if source == PUBLISHED:
        data = load_dataset(
            dataset or "imagenet_samples",
            **({} if dataset else {"indices": range(0, 1000, 10), "crop": efficientnet.IMAGE_SIZE}),
        )
        return _published(data), data
    said = _settings_of(pathlib.Path(source))
    model, dataset = model or said.get("model") or said.get("victim"), dataset or said.get("dataset")
    width = float(said.get("width", 1.0)) if width is None else width
    if not pathlib.Path(source).exists():
        raise FileNotFoundError(f"{source} does not exist; expected a run directory, a file of weights or {PUBLISHED}")
    if model not in TRAINED:
        raise ValueError(f"--model: {source} does not say which network it holds; choose one of {', '.join(TRAINED)}")
    if dataset not in TRAINING_SETS:
        raise ValueError(
            f"--dataset: {source} does not say what it was trained on; choose of {', '.join(TRAINING_SETS)}"
        )
    data = load_dataset(dataset)
    network = models.from_tree(create_network(model, data, width=width), checkpoint.load_tree(source))
    return explained(model, network, data), data


def explained(name: str, network: nnx.Module, data: datasets.Dataset, preprocess: Callable | None = None) -> Explained:
    """Returns a network and its weights ready to be explained, standardised images by default."""
    preprocess = preprocess or models.standardise(data.mean, data.std)
    shape = data.test_images.shape[1:]
    low, high = (np.asarray(preprocess(np.full((1, *shape), value, np.uint8)))[0, 0, 0] for value in (0, 255))
    return Explained(
        name, models.apply_function(network), models.to_tree(network), preprocess, low, high, data.classes, data.name
    )


def _published(data: datasets.Dataset) -> Explained:
    """EfficientNet-Lite0 with its published weights, found in the data folder."""
    path = locate.first_file(
        [root / PUBLISHED for root in (locate.data_dir(), locate.cache_dir()) if root], [LITE0_FILE]
    )
    if path is None:
        raise ValueError(f"no {PUBLISHED}/{LITE0_FILE} in {locate.describe_data_dir(locate.data_dir())}: set DATA_DIR")
    with np.load(path, allow_pickle=False) as arrays:
        tree = efficientnet.convert_published({name: arrays[name] for name in arrays.files})
    network = models.from_tree(models.create(PUBLISHED, rngs=nnx.Rngs(0)), tree)
    return explained(PUBLISHED, network, data, efficientnet.preprocess)


def _settings_of(folder: pathlib.Path) -> dict[str, str]:
    """Returns the flags of a run directory, {} for anything else."""
    path = folder / "flags.txt"
    if not path.is_file():
        return {}
    lines = [line[2:].split("=", 1) for line in path.read_text().splitlines() if line.startswith("--") and "=" in line]
    return {name: value for name, value in lines if value != "none"}
