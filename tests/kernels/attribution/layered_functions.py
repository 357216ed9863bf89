"""The plans of `layered` as functions of JAX."""

import jax
import jax.numpy as jnp
from jax import lax


def function(plan):
    """Returns `fn(parameters, x)` of a plan for x [n, height, width, channels] or [n, features]."""

    def fn(parameters, x):
        for step in plan:
            x = _layer(step, parameters, x)
        return x

    return fn


def _layer(step, parameters, x):
    op = step["op"]
    if op in ("conv", "dense"):
        layer = parameters[step["name"]]
        y = x @ layer["kernel"] if op == "dense" else _conv(step, layer["kernel"], x)
        y = y + layer["bias"] if step["bias"] else y
        return _activated(step["activation"], y)
    if op == "batch_norm":
        layer = parameters[step["name"]]
        normal = (x - layer["mean"]) * lax.rsqrt(layer["variance"] + step["epsilon"])
        return normal * layer["gamma"] + layer["beta"]
    if op == "residual":
        return function(step["steps"])(parameters, x) + function(step["shortcut"])(parameters, x)
    if op == "concat":
        return jnp.concatenate([function(branch)(parameters, x) for branch in step["branches"]], axis=-1)
    if op in ("max_pool", "avg_pool"):
        sides = (1, step["size"], step["size"], 1)
        if op == "max_pool":
            return lax.reduce_window(x, -jnp.inf, lax.max, sides, sides, "VALID")
        return lax.reduce_window(x, 0.0, lax.add, sides, sides, "VALID") / step["size"] ** 2
    if op == "global_avg_pool":
        return jnp.mean(x, axis=(1, 2))
    if op == "flatten":
        return x.reshape(x.shape[0], -1)
    return _activated("relu" if op == "relu_layer" else step["function"], x)


def _activated(name, x):
    return x if name is None else {"relu": jax.nn.relu, "tanh": jnp.tanh, "softmax": jax.nn.softmax}[name](x)


def _conv(step, kernel, x):
    return lax.conv_general_dilated(
        x, kernel, (step["stride"],) * 2, step["padding"].upper(), rhs_dilation=(step["dilation"],) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=step["groups"],
    )  # fmt: skip
