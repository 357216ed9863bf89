"""An LSTM of several layers for the benchmark: NumPy parameters and the function of JAX, one `lax.scan` a layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of an LSTM that reads `[n, steps, inputs]` and classifies by its last state."""

    layers: int = 2
    width: int = 128
    steps: int = 32
    inputs: int = 40
    classes: int = 10


def parameters(shape: Shape, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns float32 parameters by name."""
    draw, inputs, values = np.random.default_rng(seed), shape.inputs, {}
    for layer in range(shape.layers):
        values[f"layer{layer}/input"] = draw.normal(0, inputs**-0.5, (inputs, 4 * shape.width))
        values[f"layer{layer}/state"] = draw.normal(0, shape.width**-0.5, (shape.width, 4 * shape.width))
        values[f"layer{layer}/bias"] = draw.normal(0, 0.1, 4 * shape.width)
        inputs = shape.width
    values["head/kernel"] = draw.normal(0, inputs**-0.5, (inputs, shape.classes))
    return {name: value.astype(np.float32) for name, value in values.items()}


def inputs(shape: Shape, number: int, seed: int = 1) -> np.ndarray:
    """Returns float32 sequences."""
    return np.random.default_rng(seed).normal(size=(number, shape.steps, shape.inputs)).astype(np.float32)


def function(shape: Shape):
    """Returns `fn(parameters, x)`, outputs `[n, classes]`."""

    def fn(p, x):
        x = x.swapaxes(0, 1)
        for layer in range(shape.layers):
            start = jnp.zeros((x.shape[1], shape.width), x.dtype)
            _, x = lax.scan(_cell(p, f"layer{layer}"), (start, start), x)
        return x[-1] @ p["head/kernel"]

    return fn


def _cell(p, path):
    def cell(carry, x):
        h, c = carry
        i, g, f, o = jnp.split(x @ p[f"{path}/input"] + h @ p[f"{path}/state"] + p[f"{path}/bias"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return cell
