"""Networks as lists of layers in the sense of Keras, channels last: as JAX functions, for the oracle and for the peer.

A layer is {"op": name, ...}; an activation in it belongs to it, as in Keras. Parameters are a flat dict "layer/kernel";
`nested` makes the tree that the function takes. NumPy only: iNNvestigate's Python reads it.
"""

import numpy as np

EPSILON = 1e-3  # of batch normalisation, as in Keras


def conv(name, inputs, outputs, kernel, *, stride=1, padding="valid", dilation=1, groups=1, bias=True, activation=None):
    """A convolution [height, width, inputs / groups, outputs]."""
    return {
        "op": "conv", "name": name, "in": inputs, "out": outputs, "kernel": kernel, "stride": stride,
        "padding": padding, "dilation": dilation, "groups": groups, "bias": bias, "activation": activation,
    }  # fmt: skip


def dense(name, inputs, outputs, *, bias=True, activation=None):
    """A dense layer."""
    return {"op": "dense", "name": name, "in": inputs, "out": outputs, "bias": bias, "activation": activation}


def norm(name, features):
    """Batch normalisation with running statistics."""
    return {"op": "batch_norm", "name": name, "features": features, "epsilon": EPSILON}


def pool(kind, size=2):
    """ "max_pool" or "avg_pool", window and stride alike."""
    return {"op": kind, "size": size}


def residual(steps, shortcut=()):
    """The sum of two branches."""
    return {"op": "residual", "steps": list(steps), "shortcut": list(shortcut)}


def concat(*branches):
    """Branches side by side along the channels."""
    return {"op": "concat", "branches": [list(branch) for branch in branches]}


def activation(function="relu"):
    """An activation that is a layer of its own, which Keras' `Activation` is; RELU_LAYER is its other one."""
    return {"op": "activation", "function": function}


RELU_LAYER, FLATTEN, GLOBAL_AVERAGE = {"op": "relu_layer"}, {"op": "flatten"}, {"op": "global_avg_pool"}


def leaves(plan):
    """Yields the layers with parameters."""
    for step in plan:
        if step["op"] == "residual":
            yield from leaves([*step["steps"], *step["shortcut"]])
        elif step["op"] == "concat":
            for branch in step["branches"]:
                yield from leaves(branch)
        elif "name" in step:
            yield step


def parameters(plan, seed: int, bias: float = 0.3) -> dict[str, np.ndarray]:
    """Returns float64 parameters of a plan, biases and shifts of both signs."""
    draw, values = np.random.default_rng(seed), {}
    for step in leaves(plan):
        name = step["name"]
        if step["op"] == "batch_norm":
            values[f"{name}/gamma"] = draw.uniform(0.5, 1.5, step["features"])
            values[f"{name}/gamma"][-1] *= -1
            values[f"{name}/beta"] = draw.normal(0, bias, step["features"])
            values[f"{name}/mean"] = draw.normal(0, bias, step["features"])
            values[f"{name}/variance"] = draw.uniform(0.5, 2.0, step["features"])
            continue
        window = (step["kernel"],) * 2 if step["op"] == "conv" else ()
        shape = (*window, step["in"] // step.get("groups", 1), step["out"])
        values[f"{name}/kernel"] = draw.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        if step["bias"]:
            values[f"{name}/bias"] = draw.normal(0, bias, step["out"])
    return values


def nested(values) -> dict:
    """Returns {"layer": {"kernel": ...}}."""
    tree: dict = {}
    for name, value in values.items():
        layer, kind = name.split("/")
        tree.setdefault(layer, {})[kind] = value
    return tree


def function(plan):
    """Returns `fn(parameters, x)` of a plan for x [n, height, width, channels] or [n, features]."""
    from tests.kernels.attribution import layered_functions  # plans are for a Python without JAX, too

    return layered_functions.function(plan)
