"""The small victims of the literature on adversarial attacks: a dense network, and one CNN each for MNIST and CIFAR-10.

The CNNs are those of Carlini and Wagner, arXiv:1608.04644: four 3x3 convolutions without padding, two poolings, two
hidden dense layers. The one for CIFAR-10 has batch normalisation here, with which it trains in a few epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from common.models import layers
from common.models.lenet import scaled


class MLP(nnx.Module):
    """Dense `hidden`, ReLU, dense `num_classes`: layers `fc1`, `fc2`; 784-128-10 for MNIST.

    Takes images `[batch, height, width, channels]` of `input_shape`, or the same flat; returns logits.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (28, 28, 1),
        hidden: int = 128,
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        features = scaled(hidden, width)
        self.fc1 = linear(height * columns * channels, features, rngs=rngs)
        self.fc2 = linear(features, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        return self.fc2(jax.nn.relu(self.fc1(x)))


class SmallCNN(nnx.Module):
    """Convolutions 3x3 `conv1` ... `conv4`, a pooling after every second, dense `fc1`, `fc2`, `fc3`, ReLU in between.

    Takes images `[batch, height, width, channels]` of `input_shape` (sides of 16 pixels or more), returns logits
    `[batch, num_classes]`. With `normalised`, `norm1` ... `norm4` follow the convolutions; `train()` and `eval()`
    choose their statistics.

    Args:
      features: channels of the first and of the second pair of convolutions.
      hidden: units of the two hidden dense layers.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (28, 28, 1),
        features: tuple[int, int] = (32, 64),
        hidden: int = 200,
        normalised: bool = False,
        conv: Callable = layers.Conv,
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        if min(height, columns) < 16:
            raise ValueError(f"the CNN needs images of at least 16 x 16 pixels, input_shape is {tuple(input_shape)}.")
        first, second, hidden = scaled(features[0], width), scaled(features[1], width), scaled(hidden, width)
        for index, outputs in enumerate((first, first, second, second), start=1):
            setattr(self, f"conv{index}", conv(channels, outputs, 3, padding="VALID", rngs=rngs))
            setattr(self, f"norm{index}", layers.BatchNorm(outputs, rngs=rngs) if normalised else None)
            channels = outputs
        sides = [((side - 4) // 2 - 4) // 2 for side in (height, columns)]  # two 3x3 take 4 pixels, each pool halves
        self.fc1 = linear(sides[0] * sides[1] * second, hidden, rngs=rngs)
        self.fc2 = linear(hidden, hidden, rngs=rngs)
        self.fc3 = linear(hidden, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = layers.preferred_layout()
        x = layers.to_layout(x, layout)
        for index in range(1, 5):
            x = getattr(self, f"conv{index}")(x, layout=layout)
            norm = getattr(self, f"norm{index}")
            x = jax.nn.relu(x if norm is None else norm(x, layout=layout))
            x = layers.max_pool(x, layout=layout) if index % 2 == 0 else x
        x = layers.flatten(x, layout)
        return self.fc3(jax.nn.relu(self.fc2(jax.nn.relu(self.fc1(x)))))


class CifarCNN(SmallCNN):
    """`SmallCNN` with 64 and 128 channels, 256 hidden units and batch normalisation, for 32 x 32 images."""

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        input_shape: tuple[int, int, int] = (32, 32, 3),
        features: tuple[int, int] = (64, 128),
        hidden: int = 256,
        normalised: bool = True,
        **options: Any,
    ):
        options |= {"input_shape": input_shape, "features": features, "hidden": hidden, "normalised": normalised}
        super().__init__(rngs=rngs, **options)
