"""The two small networks of the compression literature: LeNet-300-100 (266,610 values) and LeNet5 (431,080 values).

LeNet5 here is Caffe's variant, the one that papers on compression mean: 5x5 convolutions with 20 and 50 maps and no
padding, 2x2 max-pooling after each, dense layers with 500 and 10 outputs (LeCun et al. 1998; Jia et al. 2014).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

from common.models import layers


def scaled(features: int, width: float) -> int:
    """Returns `features` times `width`, rounded, at least 1."""
    if not width > 0:
        raise ValueError(f"width is {width}; expected a positive factor of the channels.")
    return max(1, round(features * width))


class LeNet300100(nnx.Module):
    """Dense 300, ReLU, dense 100, ReLU, dense `num_classes`: layers `fc1`, `fc2`, `fc3`.

    Takes images `[batch, height, width, channels]` of `input_shape` (28x28x1; 8x8x1 for scikit-learn's digits), or the
    same flat `[batch, values]`; returns logits `[batch, num_classes]`. `linear(in_features, out_features, *, rngs)`
    makes the layers: a project can put in its own.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (28, 28, 1),
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        first, second = scaled(300, width), scaled(100, width)
        self.fc1 = linear(height * columns * channels, first, rngs=rngs)
        self.fc2 = linear(first, second, rngs=rngs)
        self.fc3 = linear(second, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(self.fc1(x))
        x = jax.nn.relu(self.fc2(x))
        return self.fc3(x)


class LeNet5(nnx.Module):
    """Convolution 20, pool, convolution 50, pool, dense 500, ReLU, dense `num_classes`: `conv1`, `conv2`, `fc1`, `fc2`.

    ReLU follows each pooling. Takes images `[batch, height, width, channels]` of `input_shape` (28x28x1; sides of 16
    pixels or more), returns logits `[batch, num_classes]`. `linear(in_features, out_features, *, rngs)` and
    `conv(in_features, out_features, kernel_size, *, padding, rngs)` make the layers: a project can put in its own. A
    convolution is called with `(x, layout=...)`, see `layers.Conv`.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (28, 28, 1),
        conv: Callable = layers.Conv,
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        if min(height, columns) < 16:
            raise ValueError(f"LeNet5 needs images of at least 16 x 16 pixels, input_shape is {tuple(input_shape)}.")
        first, second, hidden = scaled(20, width), scaled(50, width), scaled(500, width)
        sides = [((side - 4) // 2 - 4) // 2 for side in (height, columns)]  # each 5x5 takes 4 pixels, each pool halves
        self.conv1 = conv(channels, first, 5, padding="VALID", rngs=rngs)
        self.conv2 = conv(first, second, 5, padding="VALID", rngs=rngs)
        self.fc1 = linear(sides[0] * sides[1] * second, hidden, rngs=rngs)
        self.fc2 = linear(hidden, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = layers.preferred_layout()
        x = layers.to_layout(x, layout)
        x = jax.nn.relu(layers.max_pool(self.conv1(x, layout=layout), layout=layout))
        x = jax.nn.relu(layers.max_pool(self.conv2(x, layout=layout), layout=layout))
        x = layers.flatten(x, layout)
        return self.fc2(jax.nn.relu(self.fc1(x)))
