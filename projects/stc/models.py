"""The four networks of arXiv:1903.02891, as pure functions of a pytree of float32 arrays.

Weights and biases begin uniform in +-1 / sqrt(fan-in), those of an LSTM in +-1 / sqrt(hidden): the defaults of PyTorch,
in which the authors' code is written. Each function returns the same object for the same arguments, so that a program
which was compiled for it serves again.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from common.federated.rounds import Model
from common.models import layers as maps
from common.models import recurrence
from common.training import augmentation

VGG11_STAR = (32, "M", 64, "M", 128, 128, "M", 128, 128, "M", 128, 128, "M")  # channels, and poolings
WEIGHT_DECAY = 5e-5
SHIFT = 4  # pixels that a training image of VGG11* moves at most
CHUNK = 500  # examples whose activations are in memory at once, where a batch has more
# Of the training images of CIFAR-10 (JPEG) in [0, 1]; those of the lossless form are within 0.008.
CIFAR_MEAN, CIFAR_STD = (0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606)


class Layer(NamedTuple):
    """The arrays of a layer.

    Attributes:
      fan_in: they begin uniform in +-1 / sqrt(fan_in).
      shapes: by name.
    """

    fan_in: int
    shapes: dict[str, tuple[int, ...]]


@functools.cache
def vgg11() -> Model:
    """VGG11*: 865,482 parameters, for images [batch, 32, 32, 3]; no normalisation, no dropout.

    Images of uint8 are standardised by the numbers of CIFAR-10, floats are taken as they are. For training they are
    moved by up to 4 pixels over black (over 0, if floats) and mirrored or not. The loss has the weight decay in it:
    5e-5 / 2 times the sum of squares of all parameters, on test images too.
    """
    shapes, channels, index = {}, 3, 0
    for features in VGG11_STAR:
        if features != "M":
            index += 1
            shapes[f"conv{index}"] = _convolution(3, channels, features)
            channels = features
    shapes |= {"fc1": _dense(128, 128), "fc2": _dense(128, 128), "fc3": _dense(128, 10)}
    return _model(shapes, _vgg11_logits, weight_decay=WEIGHT_DECAY, augment=_augment)


@functools.cache
def keyword_cnn() -> Model:
    """Two 5x5 convolutions of 32 and 64 channels, each pooled, and 512 hidden units: 876,938 parameters.

    For inputs [batch, 32, 32, 1].
    """
    shapes = {"conv1": _convolution(5, 1, 32), "conv2": _convolution(5, 32, 64)}
    return _model(shapes | {"fc1": _dense(5 * 5 * 64, 512), "fc2": _dense(512, 10)}, _keyword_logits)


@functools.cache
def lstm(inputs: int = 32, hidden: int = 128, classes: int = 10) -> Model:
    """Two layers of an LSTM and a dense layer on the last state: 216,330 parameters, two bias vectors a gate.

    For sequences [batch, times, inputs], such as images that are read row by row.
    """
    shapes = {"lstm1": _lstm_layer(inputs, hidden), "lstm2": _lstm_layer(hidden, hidden)}
    return _model(shapes | {"fc": _dense(hidden, classes)}, _lstm_logits)


@functools.cache
def logistic_regression(inputs: int = 784, classes: int = 10) -> Model:
    """One dense layer: 7,850 parameters, for inputs [batch, inputs]."""
    return _model({"fc": _dense(inputs, classes)}, lambda params, x: _apply(params["fc"], x))


def _vgg11_logits(params: Any, x: jax.Array) -> jax.Array:
    if x.dtype == jnp.uint8:
        x = (x / jnp.float32(255) - jnp.array(CIFAR_MEAN)) / jnp.array(CIFAR_STD)
    layout, index = maps.preferred_layout(), 0
    x = maps.to_layout(x, layout)
    for features in VGG11_STAR:
        if features == "M":
            x = maps.max_pool(x, layout=layout)
        else:
            index += 1
            x = _convolve(params[f"conv{index}"], x, layout, "SAME")
    x = maps.flatten(x, layout)
    for name in ("fc1", "fc2"):
        x = jax.nn.relu(_apply(params[name], x))
    return _apply(params["fc3"], x)


def _keyword_logits(params: Any, x: jax.Array) -> jax.Array:
    layout = maps.preferred_layout()
    x = maps.to_layout(x, layout)
    for name in ("conv1", "conv2"):
        x = maps.max_pool(_convolve(params[name], x, layout, "VALID"), layout=layout)
    x = jax.nn.relu(_apply(params["fc1"], maps.flatten(x, layout)))
    return _apply(params["fc2"], x)


def _lstm_logits(params: Any, x: jax.Array) -> jax.Array:
    states = jnp.swapaxes(x, 0, 1)  # [times, batch, inputs]
    for name in ("lstm1", "lstm2"):
        layer = params[name]
        gates = states @ layer["input_kernel"] + (layer["input_bias"] + layer["hidden_bias"])
        states = recurrence.states(gates, layer["hidden_kernel"])
    return _apply(params["fc"], states[-1])


def _apply(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def _convolve(layer: Any, x: jax.Array, layout: str, padding: str) -> jax.Array:
    values = maps.conv2d(x, layer["kernel"], padding=padding, layout=layout)
    return jax.nn.relu(values + maps.per_channel(layer["bias"], layout))


def _augment(key: jax.Array, batch: Any) -> Any:
    return batch | {"x": augmentation.augment(key, batch["x"], SHIFT, flip=True)}


def _dense(inputs: int, outputs: int) -> Layer:
    return Layer(inputs, {"kernel": (inputs, outputs), "bias": (outputs,)})


def _convolution(side: int, inputs: int, outputs: int) -> Layer:
    return Layer(side * side * inputs, {"kernel": (side, side, inputs, outputs), "bias": (outputs,)})


def _lstm_layer(inputs: int, hidden: int) -> Layer:
    """The four gates side by side, in PyTorch's order: input, forget, cell, output."""
    gates = 4 * hidden
    kernels = {"input_kernel": (inputs, gates), "hidden_kernel": (hidden, gates)}
    return Layer(hidden, kernels | {"input_bias": (gates,), "hidden_bias": (gates,)})


def _model(
    layers: dict[str, Layer],
    logits: Callable[[Any, jax.Array], jax.Array],
    *,
    weight_decay: float = 0.0,
    augment: Callable[[jax.Array, Any], Any] | None = None,
) -> Model:
    """Returns the model of layers and of the function (params, x) -> logits [batch, classes]."""

    def loss(params: Any, batch: Any) -> jax.Array:
        scores = _in_chunks(logits, params, batch["x"])
        own = jnp.take_along_axis(scores, batch["y"][:, None], axis=1)[:, 0]
        value = jnp.mean(jax.nn.logsumexp(scores, axis=1) - own)
        if weight_decay:
            value += weight_decay / 2 * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
        return value

    def accuracy(params: Any, batch: Any) -> jax.Array:
        return jnp.mean(jnp.argmax(_in_chunks(logits, params, batch["x"]), axis=1) == batch["y"])

    return Model(functools.partial(_initial, layers), loss, accuracy, augment)


def _initial(layers: dict[str, Layer], key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """Returns the first weights: parts of one draw, which compiles faster than a draw for each shape."""
    total = sum(math.prod(shape) for layer in layers.values() for shape in layer.shapes.values())
    values, params, start = jax.random.uniform(key, (total,), jnp.float32, minval=-1.0), {}, 0
    for name, layer in layers.items():
        params[name] = {}
        for part, shape in layer.shapes.items():
            end = start + math.prod(shape)
            params[name][part] = values[start:end].reshape(shape) / math.sqrt(layer.fan_in)
            start = end
    return params


def _in_chunks(function: Callable[[Any, jax.Array], jax.Array], params: Any, x: jax.Array) -> jax.Array:
    """Returns function(params, x), of CHUNK examples at a time where there are more."""
    count = len(x)
    if count <= CHUNK:
        return function(params, x)
    whole = count // CHUNK * CHUNK
    parts = jax.lax.map(functools.partial(function, params), x[:whole].reshape(-1, CHUNK, *x.shape[1:]))
    values = parts.reshape(whole, *parts.shape[2:])
    return jnp.concatenate([values, function(params, x[whole:])]) if whole < count else values
