"""ResNet-20 for 32 x 32 images: three stages of three blocks with 16, 32 and 64 channels, 270,000 parameters.

He et al., arXiv:1512.03385, section 4.2: 3x3 convolutions with batch normalisation, shortcuts without parameters (every
second pixel, and zeros in the new channels), the mean over pixels and one dense layer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from common.models import layers
from common.models.lenet import scaled

STAGES = (16, 32, 64)
BLOCKS = 3  # a stage; depth is 6 * BLOCKS + 2


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions `conv1`, `conv2` with `norm1`, `norm2`, and a shortcut around both."""

    def __init__(self, channels: int, features: int, *, stride: int, rngs: nnx.Rngs):
        self.conv1 = layers.Conv(channels, features, 3, stride=stride, padding="SAME", use_bias=False, rngs=rngs)
        self.norm1 = layers.BatchNorm(features, rngs=rngs)
        self.conv2 = layers.Conv(features, features, 3, padding="SAME", use_bias=False, rngs=rngs)
        self.norm2 = layers.BatchNorm(features, rngs=rngs)
        self.stride, self.more = stride, features - channels

    def __call__(self, x: jax.Array, *, layout: str) -> jax.Array:
        y = jax.nn.relu(self.norm1(self.conv1(x, layout=layout), layout=layout))
        y = self.norm2(self.conv2(y, layout=layout), layout=layout)
        shortcut = x[:, :: self.stride, :: self.stride]
        added = [(0, 0)] * 4
        added[0 if layout == "CHWN" else 3] = (self.more // 2, self.more - self.more // 2)
        return jax.nn.relu(y + jnp.pad(shortcut, added))


class ResNet20(nnx.Module):
    """3x3 `conv` with `norm`, `block0` ... `block8`, mean over pixels, dense `fc`.

    Takes images `[batch, height, width, channels]` of any size of 8 pixels and more, returns logits
    `[batch, num_classes]`. `train()` and `eval()` choose the statistics of the norms; it starts in training.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (32, 32, 3),
    ):
        if min(input_shape[:2]) < 8:
            raise ValueError(f"resnet20 needs images of 8 x 8 pixels or more, input_shape is {tuple(input_shape)}.")
        channels = scaled(STAGES[0], width)
        self.conv = layers.Conv(input_shape[2], channels, 3, padding="SAME", use_bias=False, rngs=rngs)
        self.norm = layers.BatchNorm(channels, rngs=rngs)
        for index in range(BLOCKS * len(STAGES)):
            features = scaled(STAGES[index // BLOCKS], width)
            stride = 2 if index % BLOCKS == 0 and index else 1
            setattr(self, f"block{index}", ResidualBlock(channels, features, stride=stride, rngs=rngs))
            channels = features
        self.fc = layers.Linear(channels, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = layers.preferred_layout()
        x = layers.to_layout(x, layout)
        x = jax.nn.relu(self.norm(self.conv(x, layout=layout), layout=layout))
        for index in range(BLOCKS * len(STAGES)):
            x = getattr(self, f"block{index}")(x, layout=layout)
        pixels = (1, 2)
        mean = jnp.mean(x, pixels)
        return self.fc(mean.T if layout == "CHWN" else mean)
