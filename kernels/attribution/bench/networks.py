"""The JAX functions of a plan (plans.py): of parameters and images [batch, height, width, channels].

Batch normalisation is written as in the textbook, nothing is folded, and there is no class in sight. Weights keep
PyTorch's values: `from_torch` only reorders their axes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from . import plans


def from_torch(parameters: dict[str, np.ndarray], dtype=np.float64) -> dict[str, dict[str, np.ndarray]]:
    """Returns {"layer": {"weight": ...}} convolutions [height, width, in, out], dense layers [in, out]."""
    tree: dict[str, dict[str, np.ndarray]] = {}
    for name, value in parameters.items():
        layer, kind = name.split("/")
        axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim)
        tree.setdefault(layer, {})[kind] = (value if axes is None else value.transpose(axes)).astype(dtype)
    return tree


def channels_last(images: np.ndarray) -> np.ndarray:
    """Returns [n, channels, height, width] as [n, height, width, channels]."""
    return images.transpose(0, 2, 3, 1)


def apply(steps, parameters, x):
    """Returns the outputs of a plan for images [n, height, width, channels]."""
    for step in steps:
        x = _step(step, parameters, x)
    return x


def function(steps):
    """Returns `fn(parameters, x)` of a plan."""
    return lambda parameters, x: apply(steps, parameters, x)


def mapped(steps):
    """Returns the same, written for one image and mapped by `jax.vmap`."""
    return lambda parameters, x: jax.vmap(lambda image: apply(steps, parameters, image[None])[0])(x)


def _step(step, parameters, x):
    op = step["op"]
    if op == "conv":
        return _conv(step, parameters[step["name"]], x)
    if op == "dense":
        layer = parameters[step["name"]]
        y = x @ layer["weight"]
        return y + layer["bias"] if step["bias"] else y
    if op == "batch_norm":
        layer = parameters[step["name"]]
        normal = (x - layer["running_mean"]) / jnp.sqrt(layer["running_var"] + plans.BATCH_NORM_EPSILON)
        return normal * layer["weight"] + layer["bias"]
    if op == "residual":
        return apply(step["steps"], parameters, x) + apply(step["shortcut"], parameters, x)
    if op == "max_pool":
        return lax.reduce_window(x, -jnp.inf, lax.max, *_window(step))
    if op == "avg_pool":
        return lax.reduce_window(x, 0.0, lax.add, *_window(step)) / step["size"] ** 2
    if op == "global_avg_pool":
        return jnp.mean(x, axis=(1, 2))
    if op == "flatten":  # in PyTorch's order
        return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    return nn.relu(x)


def _window(step):
    sides = (1, step["size"], step["size"], 1)
    return sides, sides, "VALID"


def _conv(step, layer, x):
    y = lax.conv_general_dilated(
        x, layer["weight"], (step["stride"],) * 2, [(step["padding"],) * 2] * 2, rhs_dilation=(step["dilation"],) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=step["groups"],
    )  # fmt: skip
    return y + layer["bias"] if step["bias"] else y
