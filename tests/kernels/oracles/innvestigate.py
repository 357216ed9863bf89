"""iNNvestigate's analyzers in float64 with explicit matrices, written from the formulas of its semantics.

Networks are plans of `tests/kernels/attribution/layered.py`. A layer is z = A x + b with A [outputs, inputs]; what
flows is [n, size], every array flattened. Nothing here is fast.
"""

import dataclasses

import numpy as np

from .attribution import convolution_matrix, neg, pos

EPSILON = 1e-7


def divide(a, b):
    """Only a denominator that is exactly zero is touched."""
    return a / (b + EPSILON * (b == 0))


def away(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def z_rule(a, b, x, r, pattern=None, bias=True):
    return x * (divide(r, x @ a.T + bias * b) @ a)


def epsilon_rule(a, b, x, r, pattern=None, epsilon=EPSILON, bias=True):
    return x * ((r / away(x @ a.T + bias * b, epsilon)) @ a)


def alpha_beta(a, b, x, r, pattern=None, alpha=2.0, beta=1.0, bias=True):
    def part(w, v):
        s = divide(r, pos(x) @ w.T + neg(x) @ v.T + bias * b)
        return pos(x) * (s @ w) + neg(x) * (s @ v)

    total = alpha * part(pos(a), neg(a))
    return total - beta * part(neg(a), pos(a)) if beta else total


def z_plus_fast(a, b, x, r, pattern=None):
    return x * (divide(r, x @ pos(a).T) @ pos(a))


def w_square(a, b, x, r, pattern=None):
    return divide(r, np.ones_like(x) @ (a**2).T) @ a**2


def flat(a, b, x, r, pattern):
    return divide(r, np.ones_like(x) @ pattern.T) @ pattern


def bounded(a, b, x, r, pattern=None, low=-1.0, high=1.0):
    low, high = low * np.ones_like(x), high * np.ones_like(x)
    s = divide(r, x @ a.T - low @ pos(a).T - high @ neg(a).T)
    return x * (s @ a) - low * (s @ pos(a)) - high * (s @ neg(a))


def alpha_beta_x(a, b, x, r, pattern=None, alpha=(0.5, 0.5), beta=(0.5, 0.5), as_coded=False):
    def part(data, w, bias):
        return data * (divide(r, data @ w.T + bias) @ w)

    a1 = beta[1] if as_coded else alpha[1]
    return (
        alpha[0] * part(pos(x), pos(a), pos(b)) + a1 * part(neg(x), neg(a), neg(b))
        - beta[0] * part(pos(x), neg(a), neg(b)) - beta[1] * part(neg(x), pos(a), pos(b))
    )  # fmt: skip


def with_options(rule, **options):
    return lambda *arguments: rule(*arguments, **options)


RULES = {
    "Z": z_rule,
    "ZIgnoreBias": with_options(z_rule, bias=False),
    "Epsilon": epsilon_rule,
    "EpsilonIgnoreBias": with_options(epsilon_rule, bias=False),
    "WSquare": w_square,
    "Flat": flat,
    "Alpha2Beta1": alpha_beta,
    "Alpha2Beta1IgnoreBias": with_options(alpha_beta, bias=False),
    "Alpha1Beta0": with_options(alpha_beta, alpha=1.0, beta=0.0),
    "Alpha1Beta0IgnoreBias": with_options(alpha_beta, alpha=1.0, beta=0.0, bias=False),
    "AlphaBetaX1000": with_options(alpha_beta_x, alpha=(1, 0), beta=(0, 0)),
    "AlphaBetaX1010": with_options(alpha_beta_x, alpha=(1, 0), beta=(0, -1)),
    "AlphaBetaX1001": with_options(alpha_beta_x, alpha=(1, 1), beta=(0, 0)),
    "AlphaBetaX2m100": with_options(alpha_beta_x, alpha=(2, 0), beta=(1, 0)),
    "ZPlus": with_options(alpha_beta, alpha=1.0, beta=0.0, bias=False),
    "ZPlusFast": z_plus_fast,
    "Bounded": bounded,
}


@dataclasses.dataclass
class Node:
    """One step of the forward pass: x and y as [n, size], z before an activation of its own."""

    step: dict
    x: np.ndarray
    z: np.ndarray
    y: np.ndarray
    shape: tuple
    matrix: np.ndarray | None = None
    pattern: np.ndarray | None = None
    bias: np.ndarray | None = None
    branches: tuple = ()
    number: int = -1  # among layers with weights, in order of execution


def forward(plan, values, x, shape, counter=None):
    """Returns (y [n, size], its shape, nodes)."""
    counter = [0] if counter is None else counter
    nodes = []
    for step in plan:
        node, shape = _forward(step, values, x, shape, counter)
        nodes.append(node)
        x = node.y
    return x, shape, nodes


def _activated(name, z):
    return z if name is None else {"relu": pos, "tanh": np.tanh}[name](z)


def _matrix(step, values, shape):
    kernel = values[step["name"] + "/kernel"]
    if step["op"] == "dense":
        return kernel.T, np.ones_like(kernel.T), (step["out"],)
    pads = []
    for size in shape[:2]:
        reach = (step["kernel"] - 1) * step["dilation"] + 1
        total = max((-(-size // step["stride"]) - 1) * step["stride"] + reach - size, 0)
        pads.append((total // 2, total - total // 2) if step["padding"] == "same" else (0, 0))
    settings = {"stride": step["stride"], "padding": pads, "dilation": step["dilation"], "groups": step["groups"]}
    matrix, output = convolution_matrix(kernel, shape[:2], **settings)
    pattern, _ = convolution_matrix(np.ones_like(kernel), shape[:2], **settings)
    return matrix, pattern, (*output, step["out"])


def _forward(step, values, x, shape, counter):
    op, n = step["op"], len(x)
    if op in ("conv", "dense"):
        matrix, pattern, output = _matrix(step, values, shape)
        bias = np.zeros(matrix.shape[0])
        if step["bias"]:
            bias = np.tile(values[step["name"] + "/bias"], len(bias) // step["out"])
        z = x @ matrix.T + bias
        counter[0] += 1
        y = _activated(step["activation"], z)
        return Node(step, x, z, y, shape, matrix, pattern, bias, number=counter[0] - 1), output
    if op == "batch_norm":
        gamma, beta, mean, variance = (np.tile(values[f"{step['name']}/{key}"], x.shape[1] // step["features"])
                                       for key in ("gamma", "beta", "mean", "variance"))  # fmt: skip
        tau = np.sqrt(variance + step["epsilon"])
        y = (x - mean) / tau * gamma + beta
        return Node(step, x, y, y, shape, branches=(gamma, beta, mean, variance)), shape
    if op in ("residual", "concat"):
        plans = (step["steps"], step["shortcut"]) if op == "residual" else step["branches"]
        parts = [forward(plan, values, x, shape, counter) for plan in plans]
        images = [part[0].reshape(n, *part[1]) for part in parts]
        y = sum(images) if op == "residual" else np.concatenate(images, -1)
        return Node(step, x, None, y.reshape(n, -1), shape, branches=tuple(parts)), y.shape[1:]
    if op in ("max_pool", "avg_pool"):
        tiles = _tiles(x, shape, step["size"])
        y = tiles.max(3) if op == "max_pool" else tiles.mean(3)
        return Node(step, x, None, y.reshape(n, -1), shape), y.shape[1:]
    if op == "global_avg_pool":
        y = x.reshape(n, -1, shape[-1]).mean(1)
        return Node(step, x, None, y, shape), (shape[-1],)
    if op == "flatten":
        return Node(step, x, x, x, shape), (x.shape[1],)
    return Node(step, x, x, _activated("relu" if op == "relu_layer" else step["function"], x), shape), shape


def _tiles(x, shape, size):
    """[n, rows, columns, window, channels]."""
    high, wide, channels = shape
    tiles = x.reshape(len(x), high // size, size, wide // size, size, channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(len(x), high // size, wide // size, size * size, channels)


def _untiled(tiles, shape, size):
    high, wide, channels = shape
    tiles = tiles.reshape(len(tiles), high // size, wide // size, size, size, channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(len(tiles), -1)


@dataclasses.dataclass
class Policy:
    """What an analyzer does.

    Attributes:
        kernel: (node, is the input's own) -> rule; None: the gradient.
        norm: "own", "gradient" or a rule; two: as two layers; as_coded: with the peer's tau and bias.
        activation: of layers ("pass", "gradient", "deconvnet", "guided"); alone: of activations that are layers.
        sums: "z" or "gradient", of additions and means.
    """

    kernel: object = None
    norm: object = "gradient"
    two: bool = False
    as_coded: bool = False
    activation: str = "gradient"
    alone: str = "gradient"
    sums: str = "gradient"


def backward(nodes, r, policy, at_input=True):
    """Relevance [n, size] of what goes into the first node."""
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        first = at_input and all(before.step["op"] == "flatten" for before in nodes[:place])
        r = _backward(node, r, policy, first)
    return r


def _through_activation(name, z, y, r, how):
    if name is None or how == "pass":
        return r
    if how == "deconvnet":
        return pos(r)
    slope = (z > 0) * 1.0 if name == "relu" else 1 - y**2
    return pos(r) * slope if how == "guided" else r * slope


def _backward(node, r, policy, first):
    op, x = node.step["op"], node.x
    if op in ("conv", "dense"):
        r = _through_activation(node.step["activation"], node.z, node.y, r, policy.activation)
        if policy.kernel is None:
            return r @ node.matrix
        return policy.kernel(node, first)(node.matrix, node.bias, x, r, node.pattern)
    if op == "batch_norm":
        return _norm(node, r, policy)
    if op == "residual":
        if policy.sums == "z":
            r = divide(r, node.y)
        scaled = [part[0] * r if policy.sums == "z" else r for part in node.branches]
        return sum(backward(part[2], s, policy, first) for part, s in zip(node.branches, scaled, strict=True))
    if op == "concat":
        shape = node.branches[0][1]
        image = r.reshape(len(r), *shape[:-1], -1)
        ends = np.cumsum([part[1][-1] for part in node.branches])[:-1]
        pieces = [piece.reshape(len(r), -1) for piece in np.split(image, ends, -1)]
        return sum(backward(part[2], piece, policy, first) for part, piece in zip(node.branches, pieces, strict=True))
    if op in ("max_pool", "avg_pool"):
        size, channels = node.step["size"], node.shape[-1]
        tiles = _tiles(x, node.shape, size)
        r = r.reshape(len(r), *tiles.shape[1:3], 1, channels)
        if op == "max_pool":
            winner = np.arange(size * size)[:, None] == tiles.argmax(3)[:, :, :, None]
            return _untiled(r * winner, node.shape, size)
        if policy.sums == "z":
            return _untiled(tiles / size**2 * divide(r, tiles.mean(3, keepdims=True)), node.shape, size)
        return _untiled(np.broadcast_to(r / size**2, tiles.shape), node.shape, size)
    if op == "global_avg_pool":
        image = x.reshape(len(x), -1, node.shape[-1])
        share = divide(r, node.y) if policy.sums == "z" else r
        part = image * share[:, None] if policy.sums == "z" else np.broadcast_to(share[:, None], image.shape)
        return (part / image.shape[1]).reshape(len(x), -1)
    if op == "flatten":
        return r
    name = "relu" if op == "relu_layer" else node.step["function"]
    return _through_activation(name, x, node.y, r, policy.alone)


def _norm(node, r, policy):
    (gamma, beta, mean, variance), x = node.branches, node.x
    tau = np.sqrt((variance**2 if policy.as_coded else variance) + node.step["epsilon"])
    if policy.norm == "gradient":
        return r * gamma / tau
    if policy.norm == "own":
        return x * (node.y - beta) * r / away((x - mean) * node.y, EPSILON)
    layers = [(gamma / tau, beta - mean / tau * (1 if policy.as_coded else gamma))]
    if policy.two:
        layers = [(1 / tau, -mean / tau), (gamma, beta)]
    inputs = [x]
    for k, b in layers[:-1]:
        inputs.append(inputs[-1] * k + b)
    for (k, b), data in zip(reversed(layers), reversed(inputs), strict=True):
        # Entry by entry: layers of one input and one output each.
        columns = [policy.norm(np.array([[k[i]]]), b[i : i + 1], data[:, i : i + 1], r[:, i : i + 1], np.ones((1, 1)))
                   for i in range(len(k))]  # fmt: skip
        r = np.concatenate(columns, 1)
    return r


def start(y, head="value", mode="max_activation", index=None):
    """What an explanation starts from; ties of the largest output are split."""
    values = {"value": y, "one": np.ones_like(y), "positive": pos(y)}[head]
    if mode == "all":
        return values
    if index is not None:
        return values * (np.arange(y.shape[1]) == np.broadcast_to(index, len(y))[:, None])
    among = pos(y) if head == "positive" else y
    largest = among == among.max(1, keepdims=True)
    return values * largest / largest.sum(1, keepdims=True)


def gradient(plan, values, x, index=None, postprocess=None, r=None):
    """Gradient of the explained output."""
    y, _, nodes = forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    slope = backward(nodes, start(y, "one", index=index) if r is None else r, Policy()).reshape(x.shape)
    return {None: lambda: slope, "abs": lambda: np.abs(slope), "square": lambda: slope**2}[postprocess]()


def mean_gradient(plan, values, points, x, postprocess=None):
    """Mean over points of gradients of the output that is the largest at x."""
    y, _, _ = forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    return np.mean([gradient(plan, values, point, y.argmax(1), postprocess) for point in points], 0)


def lrp(plan, values, x, kernel, norm="own", r=None, two=False, as_coded=False, alone="pass"):
    """Relevance; `kernel(node, first)` gives the rule of a layer."""
    y, _, nodes = forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    policy = Policy(kernel, norm, two, as_coded, "pass", alone, "z")
    return backward(nodes, start(y) if r is None else r, policy).reshape(x.shape)


def deep_taylor(plan, values, x, first=None, linear=None):
    """Deep Taylor decomposition; `first`, `linear`: rules of input layers and of layers without a ReLU."""
    y, _, nodes = forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    rule = RULES["Alpha1Beta0IgnoreBias"]

    def kernel(node, is_first):
        if is_first and first is not None:
            return first
        return rule if linear is None or node.step["activation"] == "relu" else linear

    return backward(nodes, start(y, "positive"), Policy(kernel, activation="pass")).reshape(x.shape)


def by_relus(plan, values, x, how):
    """Deconvnet and guided backpropagation: they start at the output's value."""
    y, _, nodes = forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    return backward(nodes, start(y), Policy(activation=how, alone=how)).reshape(x.shape)
