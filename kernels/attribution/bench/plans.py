"""Networks as lists of steps that PyTorch and JAX both build: plain data and NumPy, for either Python.

A step is {"op": name, ...}; parameters are a flat dict "layer/weight" in PyTorch's shapes, as its state dict has them.
`tests/peers/zennit_network.py` builds the PyTorch module, `networks.py` the JAX functions. The benchmarks of
several machines and the tests against recordings share them.
"""

import numpy as np

CONV, DENSE, NORM = "conv", "dense", "batch_norm"
BATCH_NORM_EPSILON = 1e-5


def conv(name, inputs, outputs, kernel, *, stride=1, padding=0, dilation=1, groups=1, bias=True) -> dict:
    """Returns a convolution step."""
    return {
        "op": CONV, "name": name, "in": inputs, "out": outputs, "kernel": kernel, "stride": stride,
        "padding": padding, "dilation": dilation, "groups": groups, "bias": bias,
    }  # fmt: skip


def dense(name, inputs, outputs, bias=True) -> dict:
    """Returns a dense step."""
    return {"op": DENSE, "name": name, "in": inputs, "out": outputs, "bias": bias}


def norm(name, features) -> dict:
    """Returns batch normalisation with running statistics."""
    return {"op": NORM, "name": name, "features": features}


def pool(kind, size) -> dict:
    """Returns "max_pool" or "avg_pool" with a square window that is also the stride."""
    return {"op": kind, "size": size}


def residual(name, steps, shortcut=()) -> dict:
    """Returns the sum of two branches."""
    return {"op": "residual", "name": name, "steps": list(steps), "shortcut": list(shortcut)}


RELU, FLATTEN, GLOBAL_AVERAGE = {"op": "relu"}, {"op": "flatten"}, {"op": "global_avg_pool"}

# What the recorded references are of: every operation of the composites, images 3 x 10 x 10, five classes.
SMALL = [
    conv("conv1", 3, 6, 3, padding=1), norm("norm1", 6), RELU, pool("max_pool", 2),
    residual("block1",
             [conv("conv2", 6, 6, 3, padding=1, bias=False), norm("norm2", 6), RELU,
              conv("conv3", 6, 6, 3, padding=1, bias=False), norm("norm3", 6)]),
    RELU,
    residual("block2",
             [conv("conv4", 6, 8, 3, stride=2, padding=1, groups=2), norm("norm4", 8)],
             [conv("conv5", 6, 8, 1, stride=2, bias=False), norm("norm5", 8)]),
    RELU, conv("conv6", 8, 8, 3, padding=2, dilation=2), RELU, pool("avg_pool", 3), FLATTEN,
    dense("fc1", 8, 10), RELU, dense("fc2", 10, 5),
]  # fmt: skip


def vgg11() -> list[dict]:
    """Returns the benchmark's network: eight convolutions, five poolings, two dense layers, for 3 x 64 x 64."""
    steps, inputs = [], 3
    for index, outputs in enumerate((64, 128, 256, 256, 512, 512, 512, 512), 1):
        steps += [conv(f"conv{index}", inputs, outputs, 3, padding=1), RELU]
        steps += [pool("max_pool", 2)] if index in (1, 2, 4, 6, 8) else []
        inputs = outputs
    return [*steps, FLATTEN, dense("fc1", 2048, 512), RELU, dense("fc2", 512, 10)]


def residual_network(images=32, widths=(16, 32, 64), blocks=2, classes=10) -> list[dict]:
    """Returns a residual network with batch normalisation in the form of ResNet-18, for 3 x images x images."""
    steps, inputs = (
        [conv("stem", 3, widths[0], 3, padding=1, bias=False), norm("stem_norm", widths[0]), RELU],
        widths[0],
    )
    for stage, outputs in enumerate(widths, 1):
        for block in range(1, blocks + 1):
            name, stride = f"s{stage}b{block}", 2 if stage > 1 and block == 1 else 1
            main = [
                conv(f"{name}_conv1", inputs, outputs, 3, stride=stride, padding=1, bias=False),
                norm(f"{name}_norm1", outputs), RELU,
                conv(f"{name}_conv2", outputs, outputs, 3, padding=1, bias=False), norm(f"{name}_norm2", outputs),
            ]  # fmt: skip
            short = [
                conv(f"{name}_conv0", inputs, outputs, 1, stride=stride, bias=False),
                norm(f"{name}_norm0", outputs),
            ]
            steps += [residual(name, main, short if stride > 1 else ()), RELU]
            inputs = outputs
    return [*steps, GLOBAL_AVERAGE, dense("fc", inputs, classes)]


def parameters(steps, seed: int, *, bias: float = 0.1) -> dict[str, np.ndarray]:
    """Returns float64 parameters of a plan: He-scaled weights, biases of standard deviation `bias`, statistics as of a
    trained network (variances 0.5 to 2, means and shifts around 0)."""
    draw = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}
    for step in leaves(steps):
        name = step["name"]
        if step["op"] == NORM:
            features = step["features"]
            values[f"{name}/weight"] = draw.uniform(0.5, 1.5, features)
            values[f"{name}/bias"] = draw.normal(0, 2 * bias, features)
            values[f"{name}/running_mean"] = draw.normal(0, 2 * bias, features)
            values[f"{name}/running_var"] = draw.uniform(0.5, 2.0, features)
            continue
        window = (step["kernel"],) * 2 if step["op"] == CONV else ()
        shape = (step["out"], step["in"] // step.get("groups", 1), *window)
        values[f"{name}/weight"] = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if step["bias"]:
            values[f"{name}/bias"] = draw.normal(0, bias, step["out"])
    return values


def leaves(steps):
    """Yields the steps with parameters in execution order, the main branch before the shortcut."""
    for step in steps:
        if step["op"] == "residual":
            yield from leaves(step["steps"])
            yield from leaves(step["shortcut"])
        elif step["op"] in (CONV, DENSE, NORM):
            yield step
