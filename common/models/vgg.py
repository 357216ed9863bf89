"""Small-VGG16: the thirteen convolutions of VGG16 with batch normalisation, for 32 x 32 images.

After Simonyan and Zisserman, arXiv:1409.1556, with batch normalisation and one hidden dense layer of 512, as papers on
compression use it on CIFAR-10: 15,001,418 values at width 1, running statistics included.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

from common.models import layers
from common.models.lenet import scaled

# Channels of the convolutions between two poolings.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 512


class SmallVGG16(nnx.Module):
    """Convolutions 3x3 `conv1` ... `conv13` with `norm1` ... `norm13`, dense `fc1` with `norm14`, dense `fc2`.

    Takes images `[batch, height, width, channels]` of `input_shape` (32x32x3; sides of 32 pixels or more), returns
    logits `[batch, num_classes]`. `width` scales all channels and the hidden layer; `conv` and `linear` make the
    layers, as for `lenet.LeNet5`. `train()` and `eval()` choose the statistics of the norms; it starts in training.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (32, 32, 3),
        conv: Callable = layers.Conv,
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        if min(height, columns) < 32:
            raise ValueError(
                f"small_vgg16 needs images of 32 x 32 pixels or more, input_shape is {tuple(input_shape)}."
            )
        index = 0
        for stage in STAGES:
            for features in stage:
                index += 1
                features = scaled(features, width)
                setattr(self, f"conv{index}", conv(channels, features, 3, padding="SAME", rngs=rngs))
                setattr(self, f"norm{index}", layers.BatchNorm(features, rngs=rngs))
                channels = features
        hidden = scaled(HIDDEN, width)
        self.fc1 = linear((height // 32) * (columns // 32) * channels, hidden, rngs=rngs)
        self.norm14 = layers.BatchNorm(hidden, rngs=rngs)
        self.fc2 = linear(hidden, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = layers.preferred_layout()
        x = layers.to_layout(x, layout)
        index = 0
        for stage in STAGES:
            for _ in stage:
                index += 1
                x = getattr(self, f"conv{index}")(x, layout=layout)
                x = jax.nn.relu(getattr(self, f"norm{index}")(x, layout=layout))
            x = layers.max_pool(x, layout=layout)
        x = layers.flatten(x, layout)
        x = jax.nn.relu(self.norm14(self.fc1(x)))
        return self.fc2(x)
