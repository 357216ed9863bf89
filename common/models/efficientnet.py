"""EfficientNet-Lite0: the mobile network without squeeze-and-excitation, with ReLU6, and its published weights.

Tan and Le, arXiv:1905.11946, in the Lite variant of the TensorFlow authors: TensorFlow's SAME padding, batch
normalisation with epsilon 1e-3, 4,694,024 values with running statistics for 1,000 classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.models import layers

# (repeats, kernel size, stride of the first, expansion, channels) of the seven stages.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3
IMAGE_SIZE = 224
# Images at a time with which a CPU evaluates fastest: the maps of one layer then stay in its caches.
CPU_BATCH = 2


def _rounded(channels: int, width: float) -> int:
    """Channels times width to a multiple of 8, and no more than a tenth below, as the authors round them."""
    if width == 1.0:
        return channels
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


class Block(nnx.Module):
    """Inverted bottleneck: 1x1 `expand`, `depthwise`, 1x1 `project`, each with its norm; a skip where shapes allow."""

    def __init__(self, channels: int, features: int, *, kernel_size: int, stride: int, expansion: int, rngs: nnx.Rngs):
        inner = channels * expansion
        if expansion == 1:
            self.expand: layers.Conv | None = None
            self.expand_norm: layers.BatchNorm | None = None
        else:
            self.expand = layers.Conv(channels, inner, 1, use_bias=False, rngs=rngs)
            self.expand_norm = layers.BatchNorm(inner, epsilon=EPSILON, rngs=rngs)
        self.depthwise = layers.DepthwiseConv(inner, kernel_size, stride=stride, rngs=rngs)
        self.depthwise_norm = layers.BatchNorm(inner, epsilon=EPSILON, rngs=rngs)
        self.project = layers.Conv(inner, features, 1, use_bias=False, rngs=rngs)
        self.project_norm = layers.BatchNorm(features, epsilon=EPSILON, rngs=rngs)
        self.skip = stride == 1 and channels == features

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = _relu6(self.expand_norm(self.expand(x)))
        y = _relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.skip else y


class EfficientNetLite0(nnx.Module):
    """3x3 `stem`, sixteen `block0` ... `block15`, 1x1 `head`, mean over pixels, dense `fc`.

    Takes images `[batch, height, width, 3]` after `preprocess` (224 x 224 for the published weights; other sizes of 32
    pixels and more work), returns logits `[batch, num_classes]`. `train()` and `eval()` choose the statistics.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 1000,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (IMAGE_SIZE, IMAGE_SIZE, 3),
    ):
        if min(input_shape[:2]) < 32:
            raise ValueError(
                f"efficientnet_lite0 needs images of 32 x 32 or more, input_shape is {tuple(input_shape)}."
            )
        # The Lite networks keep stem and head as they are at every width.
        self.stem = layers.Conv(input_shape[2], STEM, 3, stride=2, padding="SAME", use_bias=False, rngs=rngs)
        self.stem_norm = layers.BatchNorm(STEM, epsilon=EPSILON, rngs=rngs)
        channels, index = STEM, 0
        for repeats, kernel_size, first_stride, expansion, features in STAGES:
            for repeat in range(repeats):
                stride, features_here = first_stride if repeat == 0 else 1, _rounded(features, width)
                block = Block(
                    channels, features_here, kernel_size=kernel_size, stride=stride, expansion=expansion, rngs=rngs
                )
                setattr(self, f"block{index}", block)
                channels, index = features_here, index + 1
        self.head = layers.Conv(channels, HEAD, 1, use_bias=False, rngs=rngs)
        self.head_norm = layers.BatchNorm(HEAD, epsilon=EPSILON, rngs=rngs)
        self.fc = layers.Linear(HEAD, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = _relu6(self.stem_norm(self.stem(x)))
        for index in range(sum(stage[0] for stage in STAGES)):
            x = getattr(self, f"block{index}")(x)
        x = _relu6(self.head_norm(self.head(x)))
        return self.fc(jnp.mean(x, axis=(1, 2)))


def preprocess(images: jax.Array, size: int = IMAGE_SIZE) -> jax.Array:
    """Returns the network's inputs, (pixel - 127) / 128 of the centre `size` x `size`, from uint8 RGB images."""
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise ValueError(f"images of {height} x {width} pixels have no centre of {size} x {size}.")
    top, left = (height - size) // 2, (width - size) // 2
    images = images[:, top : top + size, left : left + size]
    return (images.astype(jnp.float32) - 127.0) / 128.0


def convert_published(arrays: Mapping[str, np.ndarray]) -> dict:
    """Returns the tree of `EfficientNetLite0` from the published arrays (PyTorch names and layouts).

    Values and dtypes stay as they are; only names and axes change. `from_tree` then checks shapes and variances.

    Raises:
      ValueError: for a missing or an unexpected name, or a wrong number of axes.
    """
    arrays = dict(arrays)
    names = published_names()
    missing, unexpected = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
    if missing or unexpected:
        raise ValueError(
            f"not the arrays of EfficientNet-Lite0: {len(missing)} names are missing {missing[:3]}, "
            f"{len(unexpected)} are unexpected {unexpected[:3]}."
        )
    tree: dict = {}
    for name, (path, axes, _) in names.items():
        array = np.asarray(arrays[name])
        if array.ndim != len(axes):
            raise ValueError(f"{name} has shape {list(array.shape)}, expected {len(axes)} axes.")
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = array.transpose(axes)
    return tree


def to_published(tree: Mapping) -> dict[str, np.ndarray]:
    """Returns the arrays in published names and layouts: the inverse of `convert_published`.

    Raises:
      ValueError: for a path that is missing.
    """
    arrays = {}
    for name, (path, _, back) in published_names().items():
        node = tree
        for part in path:
            if part not in node:
                raise ValueError(f"the tree has no {'/'.join(path)}: not the weights of efficientnet_lite0.")
            node = node[part]
        arrays[name] = np.ascontiguousarray(np.asarray(node).transpose(back))
    return arrays


def published_names() -> dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]]:
    """Returns published name -> (path in the tree, axes to our layout, axes back), in the published order."""
    convolution, dense, vector = ((2, 3, 1, 0), (3, 2, 0, 1)), ((1, 0), (1, 0)), ((0,), (0,))
    names = {}

    def add_norm(name, path):
        pairs = (("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var"))
        for theirs, ours in pairs:
            names[f"{name}.{theirs}"] = ((*path[:-1], path[-1] + "_norm", ours), *vector)

    def add(name, norm, path):
        names[f"{name}.weight"] = ((*path, "kernel"), *convolution)
        add_norm(norm, path)

    add("_conv_stem", "_bn0", ("stem",))
    index = 0
    for repeats, _, _, expansion, _ in STAGES:
        for _ in range(repeats):
            theirs, ours = f"_blocks.{index}.", f"block{index}"
            if expansion != 1:
                add(theirs + "_expand_conv", theirs + "_bn0", (ours, "expand"))
            add(theirs + "_depthwise_conv", theirs + "_bn1", (ours, "depthwise"))
            add(theirs + "_project_conv", theirs + "_bn2", (ours, "project"))
            index += 1
    add("_conv_head", "_bn1", ("head",))
    names["_fc.weight"] = (("fc", "kernel"), *dense)
    names["_fc.bias"] = (("fc", "bias"), *vector)
    return names
