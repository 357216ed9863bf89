"""A network with its weights, images, preprocessing and labels in one call, whoever trained it.

    network = zoo.open_network("runs/deepcabac.train/lenet5_seed0")     # a run directory says what it holds
    network = zoo.open_network("weights.npz", model="lenet5", dataset="mnist")
    network = zoo.open_network("efficientnet_lite0")                    # published weights, from the data folder
    logits = network.fn(network.params, network.preprocess(network.test.images[:8]))
    share = network.accuracy(network.params, network.test)

`untrained` gives the same for a network of a config before its training: what trainings and searches of weights need.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from common import config, datasets, models, weight_files
from common.datasets import locate
from common.models import efficientnet

OWN_DATASET = {
    "lenet_300_100": "mnist",
    "lenet5": "mnist",
    "mlp": "mnist",
    "mnist_cnn": "mnist",
    "cifar_cnn": "cifar10",
    "resnet20": "cifar10",
    "small_vgg16": "cifar10",
    "vit": "cifar10",
    "lstm": "fsdd",
    "efficientnet_lite0": "imagenet_samples",
}
PUBLISHED = ("efficientnet_lite0",)  # weights that others published; they lie as NAME/NAME.npz in the data folder
TRAINED = tuple(name for name in OWN_DATASET if name not in PUBLISHED)  # by verbs of ours
TRAINING_SETS = ("mnist", "fashion_mnist", "cifar10", "digits", "fsdd")
DATASETS = (*TRAINING_SETS, "imagenet_samples")
DIGITS_SIZE = 28  # scikit-learn's digits are enlarged to the size of MNIST's: one network serves both
SAMPLE = {"indices": range(0, 1000, 10), "crop": efficientnet.IMAGE_SIZE}  # of imagenet_samples, where nobody says more
BATCH = 500  # images at a time in an evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network, on which images: the flags that every training of a classifier has."""

    model: str = config.field("lenet5", "network", formerly="victim")
    width: float = config.field(1.0, "factor on the number of channels and hidden units", exclusive_minimum=0.0)
    dataset: str | None = config.field(None, "images (none: the network's own, such as MNIST)")
    fallback: str = config.field(
        "none", "digits: take scikit-learn's digits where the data set cannot be had", choices=("none", "digits")
    )
    seed: int = config.field(0, "of initial weights, noise, order and shifts of the images", minimum=0)
    validation_images: int | None = config.field(
        None, "last training images, kept apart to choose settings (none: 5,000, or a fifth of a small set)", minimum=1
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network, its weights, and the images that it is for.

    Attributes:
      name: of the network, in `models.NAMES`.
      module: the Flax module; with `params` in it where they were opened.
      fn: `fn(params, x)` -> logits `[batch, classes]`, in evaluation mode; pure, not compiled: one `jax.jit` of
        it serves any weights of this network.
      params: weights and running statistics, nested dicts of NumPy arrays.
      preprocess: uint8 images `[batch, height, width, channels]` to inputs x.
      data: the data set, with the names of its classes and its notice.
      train, validation, test: its images and labels. Settings are chosen on `validation`: the last training images, or
        every second test image of a set that has no others.
      batch_size: images at a time that suit an evaluation.
    """

    name: str
    module: nnx.Module
    fn: Callable[[Mapping, jax.Array], jax.Array]
    params: dict
    preprocess: Callable[[Any], jax.Array]
    data: datasets.Dataset
    train: datasets.Split
    validation: datasets.Split
    test: datasets.Split
    batch_size: int = BATCH

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.data.classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one input."""
        return jax.eval_shape(self.preprocess, self.data.test_images[:1]).shape[1:]

    @property
    def low(self) -> np.ndarray:
        """The input of a black pixel, `[channels]`: the least of an image."""
        return self._input_of(0)

    @property
    def high(self) -> np.ndarray:
        """The input of a white pixel, `[channels]`: the largest of an image."""
        return self._input_of(255)

    def _input_of(self, value: int) -> np.ndarray:
        return np.asarray(self.preprocess(np.full((1, *self.data.test_images.shape[1:]), value, np.uint8)))[0, 0, 0]

    def check(self, params: Mapping) -> None:
        """Raises ValueError where weights do not fit the network; the message names the first that does not."""
        models.from_tree(nnx.clone(self.module), params)

    def correct(self, params: Mapping, split: datasets.Split) -> np.ndarray:
        """Returns bool `[images]`: which of them the network gets right with these weights."""
        return models.evaluate(self.fn, params, *split, preprocess=self.preprocess, batch_size=self.batch_size).correct

    def correct_many(self, params: Sequence[Mapping], split: datasets.Split) -> np.ndarray:
        """Returns bool `[weights, images]`: `correct` of several weights at once, split over all devices."""
        if len(params) == 1:
            return self.correct(params[0], split)[None]
        return models.evaluate_many(self.fn, params, *split, preprocess=self.preprocess, batch_size=self.batch_size)

    def accuracy(self, params: Mapping, split: datasets.Split) -> float:
        """Returns the share of right answers, 0 to 1."""
        return float(self.correct(params, split).mean())


def load_dataset(name: str, **options: Any) -> datasets.Dataset:
    """Returns a data set by its name, digits enlarged; `options` as `datasets.load` takes them."""
    return datasets.load(name, **({"size": DIGITS_SIZE} if name == "digits" else {}) | options)


def create_network(
    model: str, data: datasets.Dataset, *, width: float = 1.0, seed: int = 0, **options: Any
) -> nnx.Module:
    """Returns an untrained network for the images and classes of a data set.

    Args:
      model: in `models.NAMES`.
      data: sets the shape of an input and the number of outputs; published networks keep their own shape.
      width: factor on channels.
      seed: of the initial weights.
      options: as `models.create` takes them, such as layers of one's own in `linear` and `conv`.
    """
    shape = None if model in PUBLISHED else data.test_images.shape[1:]
    rngs = nnx.Rngs(seed)
    return models.create(model, rngs=rngs, width=width, num_classes=len(data.classes), input_shape=shape, **options)


def untrained(settings: NetworkConfig, data: datasets.Dataset | None = None, **options: Any) -> Network:
    """Returns the network of a config with its initial weights.

    Args:
      settings: of the network and its images.
      data: instead of the data set that they name.
      options: of `models.create`.
    """
    data = _data_of(settings) if data is None else data
    module = create_network(settings.model, data, width=settings.width, seed=settings.seed, **options)
    return assemble(settings.model, module, data, settings.validation_images)


def _data_of(settings: NetworkConfig) -> datasets.Dataset:
    fallback = None if settings.fallback == "none" else settings.fallback
    if settings.dataset is None and settings.model in PUBLISHED:
        return load_dataset(OWN_DATASET[settings.model], **SAMPLE)
    return load_dataset(settings.dataset or OWN_DATASET[settings.model], fallback=fallback)


def assemble(name: str, module: nnx.Module, data: datasets.Dataset, validation_images: int | None = None) -> Network:
    """Returns a module with its weights, and a data set, as a `Network`."""
    if len(data.train_images):
        train, validation = datasets.split_validation(data, validation_images)
        test = datasets.Split(data.test_images, data.test_labels)
    else:
        train = datasets.Split(data.train_images, data.train_labels)
        validation, test = (datasets.Split(data.test_images[i::2], data.test_labels[i::2]) for i in (0, 1))
    is_published = name in PUBLISHED
    return Network(
        name=name,
        module=module,
        fn=models.apply_function(module),
        params=models.to_tree(module),
        preprocess=efficientnet.preprocess if is_published else models.standardise(data.mean, data.std),
        data=data,
        train=train,
        validation=validation,
        test=test,
        batch_size=efficientnet.CPU_BATCH if is_published and jax.default_backend() == "cpu" else BATCH,
    )


def open_network(
    source: str | os.PathLike,
    *,
    model: str | None = None,
    width: float | None = None,
    dataset: str | datasets.Dataset | None = None,
) -> Network:
    """Returns a trained network.

    Args:
      source: run directory of a training, weights as `weight_files.load_tree` reads them, or a name in PUBLISHED.
      model, width, dataset: what the run directory's flags do not say, or instead of them. The data set, a name or a
        `Dataset`, also sets the scale of the inputs.

    Raises:
      ValueError: nobody says which network it is or what it was trained on, or the weights do not fit.
      FileNotFoundError: there is nothing at `source`, or no published file in the data folder.
    """
    path = published_file(source) if source in PUBLISHED else pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist; expected a run directory, weights or {', '.join(PUBLISHED)}")
    data = dataset if isinstance(dataset, datasets.Dataset) else None
    changes = {"model": model, "width": width, "dataset": None if data else dataset}
    flags = flags_of(source) | {name: value for name, value in changes.items() if value is not None}
    if flags.get("model") not in models.NAMES:
        raise ValueError(f"--model: {source} does not say which network it holds; choose of {', '.join(models.NAMES)}")
    names = DATASETS if flags["model"] in PUBLISHED else TRAINING_SETS
    if data is None and flags.get("dataset", "") not in (None, *names):
        unsaid = "does not say what it was trained on" if "dataset" not in flags else f"is not for {flags['dataset']}"
        raise ValueError(f"--dataset: {source} {unsaid}; choose of {', '.join(names)}")
    network = untrained(NetworkConfig(**flags), data)
    tree = weight_files.load_tree(path)
    if network.name in PUBLISHED and "stem" not in tree:  # names and layouts of PyTorch
        tree = efficientnet.convert_published(weight_files.flatten(tree))
    models.from_tree(network.module, tree)
    return dataclasses.replace(network, params=models.to_tree(network.module))


def flags_of(source: str | os.PathLike) -> dict[str, Any]:
    """Returns field of NetworkConfig -> value, as far as a run directory's flags say them; {} for what is none."""
    if source in PUBLISHED:
        return {"model": source, "dataset": None}
    path = pathlib.Path(source) / "flags.txt"
    return config.read_flagfile(path, NetworkConfig) if path.is_file() else {}


def network_of(source: str | os.PathLike, **flags: Any) -> Network | None:
    """Returns the untrained network that a source is for, with its images; None where nobody says which ones.

    It judges other weights of the same network. `flags`, such as model and dataset, go before those of a run directory,
    but where they are None.
    """
    flags = flags_of(source) | {name: value for name, value in flags.items() if value is not None}
    if flags.get("model") is None or flags.get("dataset") is None:
        return None
    return untrained(NetworkConfig(**flags))


def published_file(name: str) -> pathlib.Path:
    """Returns where the published weights of a network lie, in the data folder or the cache.

    Raises:
      FileNotFoundError: in neither.
    """
    roots = [root / name for root in (locate.data_dir(), locate.cache_dir()) if root]
    path = locate.first_file(roots, [f"{name}.npz"])
    if path is None:
        raise FileNotFoundError(
            f"no {name}/{name}.npz in {locate.describe_data_dir(locate.data_dir())} nor in {locate.cache_dir()}: "
            "set DATA_DIR to the folder that holds it"
        )
    return path
