"""The classifiers that are attacked: `open_victim` finds weights and test images and returns labels as a function.

Every victim takes float images in [0, 1], before any normalisation, and returns integer labels.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import datasets, models
from common.models import efficientnet
from common.training import checkpoint
from kernels import plain_operations

TRAINED = ("mlp", "mnist_cnn", "cifar_cnn", "resnet20")
NAMES = (*TRAINED, "small_vgg16", "efficientnet_lite0")
DATASETS = {
    "mlp": "mnist",
    "mnist_cnn": "mnist",
    "cifar_cnn": "cifar10",
    "resnet20": "cifar10",
    "small_vgg16": "cifar10",
}
TITLES = {
    "mlp": "MLP 784-128-10",
    "mnist_cnn": "MNIST CNN",
    "cifar_cnn": "CNN, CIFAR-10 (JPEG)",
    "resnet20": "ResNet-20, CIFAR-10 (JPEG)",
    "small_vgg16": "Small-VGG16, CIFAR-10 (JPEG)",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
NARROW = ("resnet20",)  # few channels: XLA's own convolutions label 100 images in 75 ms on two cores, `layers`' in 110
NARROWED, NARROW_WIDTH = ("mnist_cnn", "cifar_cnn"), 0.5  # so are these at half of their channels or fewer
LITE0_FILE = "efficientnet_lite0/efficientnet_lite0.npz"
LITE0_BATCH = efficientnet.CPU_BATCH


@dataclasses.dataclass(frozen=True)
class Victim:
    """A classifier and images to attack it with.

    Attributes:
      name, title: of the network.
      dataset: as tables name the images.
      predict: float images [batch, height, width, channels] in [0, 1] -> int32 labels [batch]; a pytree, so that its
        weights are an argument of compiled programs.
      images: float32 [n, height, width, channels] in [0, 1]; the test images.
      labels: int32 [n], the true ones.
      classes: names.
      may_publish: whether pictures made from the images may leave the run directory.
      licence: of the images, in words.
    """

    name: str
    title: str
    dataset: str
    predict: jax.tree_util.Partial
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    may_publish: bool
    licence: str


def load_dataset(name: str) -> datasets.Dataset:
    """Returns a data set; scikit-learn's digits in the size of MNIST's."""
    return datasets.load(name, **({"size": 28} if name == "digits" else {}))


def create_network(victim: str, data: datasets.Dataset, seed: int = 0, width: float = 1.0) -> nnx.Module:
    """Returns the untrained network of a victim for the images of `data`."""
    shape = data.train_images.shape[1:]
    return models.create(
        victim, rngs=nnx.Rngs(seed), width=width, num_classes=len(data.classes), input_shape=shape
    )  # fmt: skip


def _labels(apply, mean, std, weights, images):
    """Labels of float images in [0, 1]; equal logits give the lower class."""
    return jnp.argmax(apply(weights, (images - mean) / std), axis=-1).astype(jnp.int32)


def _apply_plainly(apply, weights, inputs):
    """The same with XLA's own convolutions."""
    with plain_operations.asked():
        return apply(weights, inputs)


def make_predict(network: nnx.Module, weights: dict, mean, std, is_plain: bool = False) -> jax.tree_util.Partial:
    """Returns images in [0, 1] -> labels, for a network that was trained on standardised images.

    Args:
      network, weights: what computes logits of them.
      mean, std: of a channel.
      is_plain: ask XLA for its own convolutions, which need no speed of gradients here.
    """
    apply = models.apply_function(network)
    if is_plain:
        apply = functools.partial(_apply_plainly, apply)
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return jax.tree_util.Partial(functools.partial(_labels, apply), mean, std, jax.device_put(dict(weights)))


def open_victim(name: str, checkpoint_path: str | None, dataset: str | None = None, width: float = 1.0) -> Victim:
    """Returns a victim.

    Args:
      name: one of NAMES.
      checkpoint_path: run directory of `train`, or a weight file; for efficientnet_lite0 None takes the published
        weights from the data folder.
      dataset: the images that it was trained on, when not its own.
      width: factor of its channels.

    Raises:
      ValueError: no weights are given, or they do not fit.
    """
    if name == "efficientnet_lite0":
        return _open_lite0(checkpoint_path)
    if checkpoint_path is None:
        raise ValueError(f"checkpoint: {name} has no published weights; train it and name the run directory")
    data = load_dataset(dataset or DATASETS[name])
    network = create_network(name, data, width=width)
    weights = checkpoint.load_tree(checkpoint_path)
    models.from_tree(network, weights)  # checks names and shapes
    is_plain = name in NARROW or (name in NARROWED and width <= NARROW_WIDTH)
    predict = make_predict(network, weights, data.mean, data.std, is_plain)
    return Victim(
        name=name,
        title=TITLES[name],
        dataset=data.name,
        predict=predict,
        images=data.test_images.astype(np.float32) / np.float32(255),
        labels=data.test_labels,
        classes=data.classes,
        may_publish=data.name == "digits",
        licence=data.licence,
    )


def _labels_lite0(apply, batch_size, weights, images):
    """Labels of EfficientNet-Lite0; a few images at a time, which a CPU's caches like."""
    inputs = (images * 255.0 - 127.0) / 128.0

    def classify(part):
        return jnp.argmax(apply(weights, part), axis=-1).astype(jnp.int32)

    if batch_size is None or len(images) <= batch_size or len(images) % batch_size:
        return classify(inputs)
    parts = inputs.reshape(-1, batch_size, *inputs.shape[1:])
    return jax.lax.map(classify, parts).reshape(-1)


def _open_lite0(checkpoint_path: str | None) -> Victim:
    """EfficientNet-Lite0 and every fourth photograph, which it was measured on."""
    if checkpoint_path is None:
        from common.datasets import locate

        root = locate.data_dir(None)
        if root is None or not (root / LITE0_FILE).is_file():
            raise ValueError(f"checkpoint: no {LITE0_FILE} in the data folder; set DATA_DIR, or name the weights")
        checkpoint_path = str(pathlib.Path(root) / LITE0_FILE)
    loaded = checkpoint.load_tree(checkpoint_path)
    weights = loaded if "stem" in loaded else efficientnet.convert_published(_flat(loaded))
    network = models.create("efficientnet_lite0", rngs=nnx.Rngs(0))
    models.from_tree(network, weights)
    weights = models.to_tree(network)
    data = datasets.load("imagenet_samples", indices=range(0, 1000, 4), crop=efficientnet.IMAGE_SIZE)
    batch_size = LITE0_BATCH if jax.default_backend() == "cpu" else None
    predict = jax.tree_util.Partial(
        functools.partial(_labels_lite0, models.apply_function(network), batch_size), jax.device_put(weights)
    )
    return Victim(
        name="efficientnet_lite0",
        title=TITLES["efficientnet_lite0"],
        dataset=data.name,
        predict=predict,
        images=data.test_images.astype(np.float32) / np.float32(255),
        labels=data.test_labels,
        classes=data.classes,
        may_publish=False,
        licence=data.licence,
    )


def _flat(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def choose_images(victim: Victim, count: int, per_class: int | None = None) -> np.ndarray:
    """Returns indices of the first images that the victim gets right, at most `per_class` of a class, in order.

    Raises:
      ValueError: there are not so many.
    """
    chosen: list[int] = []
    seen: dict[int, int] = {}
    for start, found in _answers(victim):
        for offset, (label, truth) in enumerate(zip(found, victim.labels[start:], strict=False)):
            if label != truth or (per_class is not None and seen.get(int(truth), 0) >= per_class):
                continue
            seen[int(truth)] = seen.get(int(truth), 0) + 1
            chosen.append(start + offset)
            if len(chosen) == count:
                return np.array(chosen)
    raise ValueError(f"images: {victim.title} gets only {len(chosen)} right with {per_class} a class; ask for fewer")


def accuracy(victim: Victim) -> float:
    """Returns the share of its test images that a victim gets right."""
    found = np.concatenate([labels for _, labels in _answers(victim)])
    return float(np.mean(found == victim.labels))


def _answers(victim: Victim, size: int = 50) -> Iterator[tuple[int, np.ndarray]]:
    """The labels of the test images, some at a time: the index of the first one, and their labels."""
    predict = jax.jit(lambda images: victim.predict(images))
    for start in range(0, len(victim.images), size):
        batch = victim.images[start : start + size]
        padded = np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), np.float32)])
        yield start, np.asarray(predict(padded))[: len(batch)]
