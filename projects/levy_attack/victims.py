"""The classifiers that are attacked: `open_victim` finds weights and test images and returns labels as a function.

Every victim takes float images in [0, 1], before any normalisation, and returns integer labels.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import models
from common.models import efficientnet, zoo
from kernels import plain_operations
from projects.levy_attack.config import TITLES

NARROW = ("resnet20",)  # few channels: XLA's own convolutions label 100 images in 75 ms on two cores, `layers`' in 110
NARROWED, NARROW_WIDTH = ("mnist_cnn", "cifar_cnn"), 0.5  # so are these at half of their channels or fewer
LITE0_IMAGES = {"indices": range(0, 1000, 4), "crop": efficientnet.IMAGE_SIZE}  # every fourth photograph


@dataclasses.dataclass(frozen=True)
class Victim:
    """A classifier and images to attack it with.

    Attributes:
      name: of the network.
      dataset: as tables name the images.
      predict: float images [batch, height, width, channels] in [0, 1] -> int32 labels [batch]; a pytree, so that its
        weights are an argument of compiled programs.
      images: float32 [n, height, width, channels] in [0, 1]; the test images.
      labels: int32 [n], the true ones.
      classes: names.
      licence: of the images, in words.
    """

    name: str
    dataset: str
    predict: jax.tree_util.Partial
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    licence: str

    @property
    def title(self) -> str:
        """As tables name it."""
        return TITLES[self.name]


def open_victim(name: str, checkpoint: str | None, dataset: str | None = None, width: float = 1.0) -> Victim:
    """Returns a victim.

    Args:
      name: one of TITLES.
      checkpoint: run directory of `train`, or a weight file; for efficientnet_lite0 None takes the published weights
        from the data folder.
      dataset: the images that it was trained on, when not its own.
      width: factor of its channels.

    Raises:
      ValueError: no weights are given, or they do not fit.
    """
    is_published = name in zoo.PUBLISHED
    if checkpoint is None and not is_published:
        raise ValueError(f"checkpoint: {name} has no published weights; train it and name the run directory")
    data = zoo.load_dataset("imagenet_samples", **LITE0_IMAGES) if is_published else dataset or zoo.OWN_DATASET[name]
    network = zoo.open_network(checkpoint or name, model=name, width=width, dataset=data)
    data = network.data
    if is_published:
        labels = functools.partial(_labels_lite0, network.fn, network.batch_size)
        predict = jax.tree_util.Partial(labels, jax.device_put(network.params))
    else:
        is_plain = name in NARROW or (name in NARROWED and width <= NARROW_WIDTH)
        predict = make_predict(network.module, network.params, data.mean, data.std, is_plain)
    images = data.test_images.astype(np.float32) / np.float32(255)
    return Victim(name, data.name, predict, images, data.test_labels, data.classes, data.licence)


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


def _labels(apply, mean, std, weights, images):
    """Labels of float images in [0, 1]; equal logits give the lower class."""
    return jnp.argmax(apply(weights, (images - mean) / std), axis=-1).astype(jnp.int32)


def _apply_plainly(apply, weights, inputs):
    """The same with XLA's own convolutions."""
    with plain_operations.asked():
        return apply(weights, inputs)


def _labels_lite0(apply, batch_size, weights, images):
    """Labels of EfficientNet-Lite0; on a CPU a few images at a time, which its caches like."""
    inputs = (images * 255.0 - 127.0) / 128.0

    def classify(part):
        return jnp.argmax(apply(weights, part), axis=-1).astype(jnp.int32)

    if len(images) <= batch_size or len(images) % batch_size:
        return classify(inputs)
    parts = inputs.reshape(-1, batch_size, *inputs.shape[1:])
    return jax.lax.map(classify, parts).reshape(-1)


def choose_images(victim: Victim, count: int, per_class: int | None = None) -> np.ndarray:
    """Returns indices of the first images that the victim gets right, at most `per_class` of a class, in order.

    Raises:
      ValueError: there are not so many.
    """
    indices: list[int] = []
    counts = dict.fromkeys(victim.labels.tolist(), 0)
    for start, is_right in _right(victim):
        for index in (start + np.flatnonzero(is_right)).tolist():
            truth = int(victim.labels[index])
            if per_class is not None and counts[truth] >= per_class:
                continue
            counts[truth] += 1
            indices.append(index)
            if len(indices) == count:
                return np.array(indices)
    raise ValueError(f"images: {victim.title} gets only {len(indices)} right with {per_class} a class; ask for fewer")


def accuracy(victim: Victim) -> float:
    """Returns the share of its test images that a victim gets right."""
    return float(np.mean(np.concatenate([is_right for _, is_right in _right(victim)])))


def _right(victim: Victim, size: int = 50) -> Iterator[tuple[int, np.ndarray]]:
    """Which test images have the right label, some at a time: the index of the first one, and bool [images]."""
    predict = jax.jit(lambda images: victim.predict(images))
    for start in range(0, len(victim.images), size):
        batch = victim.images[start : start + size]
        padded = np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), np.float32)])
        yield start, np.asarray(predict(padded))[: len(batch)] == victim.labels[start : start + size]
