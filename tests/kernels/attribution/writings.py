"""Random networks that can be written in many ways: by sample or by batch, in any layout, with any form of each step.

A network is a list of steps with parameters as a plain tree. `function(steps, style)` writes it as `fn(params, x)`;
styles differ in what ought not to matter. Data are [batch, *sides, channels] or [batch, features].
"""

import dataclasses
import string

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

EPSILON = 1e-5
RELU = ("relu", "maximum", "where", "where less", "clamp", "product", "absolute", "custom")
DENSE = ("matmul", "einsum", "weight first", "product and sum", "tensordot", "tokens flattened", "moved axis")
BIAS = ("add", "first", "subtract", "whole", "reshaped", "moved axis")
NORM = ("two passes", "one pass", "fused", "scale in spread", "shift last")


@dataclasses.dataclass(frozen=True)
class Style:
    """How a network is written.

    Attributes:
        mapped: one sample at a time under `jax.vmap`. first: channels first inside.
        relu, dense, bias, norm: one of the tuples above, or "any": another one each time, drawn from `seed`.
    """

    mapped: bool = False
    first: bool = False
    relu: str = "relu"
    dense: str = "matmul"
    bias: str = "add"
    norm: str = "two passes"
    seed: int = 0


PLAIN = Style()


def any_style(seed: int) -> Style:
    """Returns a style in which every choice is drawn."""
    draw = np.random.default_rng([5, seed])
    return Style(bool(draw.random() < 0.5), bool(draw.random() < 0.5), "any", "any", "any", "any", seed)


def random_network(seed: int) -> tuple[list[dict], dict, np.ndarray]:
    """Returns (steps, parameters, inputs [3, ...]) of a small network: dense, or with 1 to 3 dimensions."""
    draw = np.random.default_rng([3, seed])
    rank = int(draw.integers(0, 4))
    channels = int(draw.integers(2, 4))
    sides = tuple(int(n) for n in draw.integers(5, 7 if rank < 3 else 6, rank))
    steps, params, width, tokens = [], {}, channels, sides
    for number in range(int(draw.integers(2, 4))):
        out = int(draw.integers(3, 6))
        name = f"layer{number}"
        if tokens and draw.random() < 0.8:
            size, stride = int(draw.choice([1, 3])), int(draw.choice([1, 1, 2]))
            steps.append({"op": "conv", "name": name, "stride": stride, "size": size})
            kernel = draw.normal(0, np.sqrt(2 / (width * size ** len(tokens))), (size,) * len(tokens) + (width, out))
            tokens = tuple(-(-n // stride) for n in tokens)
        else:
            steps.append({"op": "dense", "name": name})
            kernel = draw.normal(0, np.sqrt(2 / width), (width, out))
        params[name] = {"kernel": kernel}
        if draw.random() < 0.8:
            params[name]["bias"] = draw.normal(0, 0.3, out)
        width = out
        if draw.random() < 0.7:
            several = int(np.prod(tokens)) > 1  # an instance norm of one number is rounding
            kind = str(draw.choice(["batch", "layer", "rms", *(["group", "instance"] if several else [])]))
            groups = int(draw.choice([n for n in range(1, width + 1) if width % n == 0]))
            steps.append({"op": "norm", "name": f"norm{number}", "kind": kind, "groups": groups})
            params[f"norm{number}"] = {"scale": draw.uniform(0.5, 1.5, width), "bias": draw.normal(0, 0.3, width)}
            if kind == "batch":
                params[f"norm{number}"] |= {"mean": draw.normal(0, 0.3, width), "var": draw.uniform(0.5, 2, width)}
        steps.append({"op": "relu"})
        if draw.random() < 0.4:
            inner = {"op": "dense", "name": f"inner{number}"}
            params[f"inner{number}"] = {"kernel": draw.normal(0, np.sqrt(2 / width), (width, width)),
                                        "bias": draw.normal(0, 0.3, width)}  # fmt: skip
            steps.append({"op": "residual", "steps": [inner, {"op": "relu"}]})
    if tokens:
        steps.append({"op": str(draw.choice(["mean", "flatten"]))})
        width *= int(np.prod(tokens)) if steps[-1]["op"] == "flatten" else 1
    steps.append({"op": "dense", "name": "head"})
    params["head"] = {"kernel": draw.normal(0, np.sqrt(2 / width), (width, 4)), "bias": draw.normal(0, 0.3, 4)}
    return steps, params, draw.normal(size=(3, *sides, channels))


def function(steps: list[dict], style: Style = PLAIN):
    """Returns `fn(params, x)` of a network in a style."""
    writer = _Writer(style)

    def fn(params, x):
        writer.draw = np.random.default_rng([9, style.seed])
        if style.mapped:
            return jax.vmap(lambda sample: writer.network(steps, params, sample, False))(x)
        return writer.network(steps, params, x, True)

    return fn


class _Writer:
    """Writes steps for arrays with or without an axis of samples, channels last or first."""

    def __init__(self, style: Style):
        self.style, self.draw = style, np.random.default_rng(0)

    def network(self, steps, params, x, batched):
        x = self.moved(x, batched)
        for step in steps:
            x = getattr(self, step["op"])(step, params, x, batched)
        return x

    def moved(self, x, batched):
        """Channels in their place."""
        return jnp.moveaxis(x, -1, int(batched)) if self.style.first and x.ndim > 1 + batched else x

    def back(self, x, batched):
        """Channels last."""
        return jnp.moveaxis(x, int(batched), -1) if self.style.first and x.ndim > 1 + batched else x

    def choice(self, kind: str, options) -> str:
        own = getattr(self.style, kind)
        return str(self.draw.choice(options)) if own == "any" else own

    def conv(self, step, params, x, batched):
        layer = params[step["name"]]
        rank = layer["kernel"].ndim - 2
        letters = "DHW"[3 - rank :]
        layout = "NC" + letters if self.style.first else "N" + letters + "C"
        numbers = (layout, letters + "IO", layout)
        data = x if batched else x[None]
        total = [max((-(-n // step["stride"]) - 1) * step["stride"] + step["size"] - n, 0)
                 for n in (data.shape[2:] if self.style.first else data.shape[1:-1])]  # fmt: skip
        padding = [(p // 2, p - p // 2) for p in total]
        if self.style.seed % 3 == 1:  # zeros by hand
            wide = [(0, 0), *padding]
            wide.insert(1 if self.style.first else rank + 1, (0, 0))
            data, padding = jnp.pad(data, wide), "VALID"
        y = lax.conv_general_dilated(
            data, layer["kernel"], (step["stride"],) * rank, padding, dimension_numbers=numbers
        )
        y = y if batched else y[0]
        return self.biased(layer, y, int(batched) if self.style.first else y.ndim - 1)

    def dense(self, step, params, x, batched):
        layer, x = params[step["name"]], self.back(x, batched)
        weight, how = layer["kernel"], self.choice("dense", DENSE)
        axes = string.ascii_lowercase[: x.ndim - 1]
        bias_axis = x.ndim - 1
        if how == "einsum":
            y = jnp.einsum(f"{axes}y,yz->{axes}z", x, weight)
        elif how == "weight first":
            y = jnp.moveaxis(jnp.einsum(f"yz,{axes}y->z{axes}", weight, x), 0, -1)
        elif how == "product and sum":
            y = (x[..., None] * weight).sum(-2)
        elif how == "tensordot":
            y = jnp.tensordot(x, weight, 1)
        elif how == "tokens flattened" and x.ndim > 1:
            y = self.biased(layer, x.reshape(-1, x.shape[-1]) @ weight, 1).reshape(*x.shape[:-1], -1)
            return self.moved(y, batched)
        elif how == "moved axis":
            y = self.biased(layer, jnp.einsum(f"{axes}y,yz->z{axes}", x, weight), 0)
            return self.moved(jnp.moveaxis(y, 0, -1), batched)
        else:
            y = x @ weight
        return self.moved(self.biased(layer, y, bias_axis), batched)

    def biased(self, layer, y, axis):
        """y + b with the channels of y on an axis."""
        if "bias" not in layer:
            return y
        how = self.choice("bias", BIAS)
        b = layer["bias"].reshape([-1 if a == axis else 1 for a in range(y.ndim)])
        if how == "first":
            return b + y
        if how == "subtract":
            return y - (-b)
        if how == "whole":
            return y + jnp.broadcast_to(b, y.shape).astype(y.dtype)
        if how == "reshaped":
            flat = jnp.moveaxis(y, axis, -1)
            return jnp.moveaxis((flat.reshape(-1, flat.shape[-1]) + layer["bias"]).reshape(flat.shape), -1, axis)
        if how == "moved axis":
            return jnp.moveaxis(jnp.moveaxis(y, axis, 0) + layer["bias"].reshape([-1] + [1] * (y.ndim - 1)), 0, axis)
        return y + b

    def norm(self, step, params, x, batched):
        layer = params[step["name"]]
        axis = int(batched) if self.style.first and x.ndim > 1 + batched else x.ndim - 1
        wide = [-1 if a == axis else 1 for a in range(x.ndim)]
        scale, bias = layer["scale"].reshape(wide), layer["bias"].reshape(wide)
        how = self.choice("norm", NORM)
        if step["kind"] == "batch":
            return self.by_running(how, layer, x, wide, scale, bias)
        sides = tuple(a for a in range(int(batched), x.ndim) if a != axis)
        if step["kind"] == "group":
            groups = step["groups"]
            apart = x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
            over = tuple(a if a < axis else a + 1 for a in (*sides, axis))
            mean, var = self.statistics(how, apart, over)
            if how == "one pass":  # over the whole array, with a mean a channel
                mean, var = (jnp.broadcast_to(s, [n if a in (axis, axis + 1) else s.shape[a] for a, n in
                                                  enumerate(apart.shape)]) for s in (mean, var))  # fmt: skip
                mean, var = (s.reshape(*s.shape[:axis], -1, *s.shape[axis + 2 :]) for s in (mean, var))
                return (x - mean) * lax.rsqrt(var + EPSILON) * scale + bias
            return ((apart - mean) / jnp.sqrt(var + EPSILON)).reshape(x.shape) * scale + bias
        over = sides if step["kind"] == "instance" else (axis,)
        if step["kind"] == "rms":
            factor = lax.rsqrt(jnp.mean(x * x if how == "one pass" else x**2, over, keepdims=True) + EPSILON)
            return x * (factor * scale) + bias if how == "scale in spread" else x * factor * scale + bias
        mean, var = self.statistics(how, x, over)
        if how == "fused":
            factor = lax.rsqrt(var + EPSILON) * scale
            return x * factor + (bias - mean * factor)
        if how == "scale in spread":
            return (x - mean) * (lax.rsqrt(var + EPSILON) * scale) + bias
        return (x - mean) / jnp.sqrt(var + EPSILON) * scale + bias

    def statistics(self, how, x, axes):
        mean = jnp.mean(x, axes, keepdims=True)
        if how == "one pass":
            return mean, jnp.maximum(jnp.mean(x * x, axes, keepdims=True) - mean**2, 0.0)
        if how == "shift last":
            return mean, jnp.var(x, axes, keepdims=True)
        return mean, jnp.mean((x - mean) ** 2, axes, keepdims=True)

    def by_running(self, how, layer, x, wide, scale, bias):
        mean, var = layer["mean"].reshape(wide), layer["var"].reshape(wide)
        if how == "fused":
            factor = scale * lax.rsqrt(var + EPSILON)
            return x * factor + (bias - mean * factor)
        if how == "scale in spread":
            return (x - mean) * (scale * lax.rsqrt(var + EPSILON)) + bias
        return (x - mean) / jnp.sqrt(var + EPSILON) * scale + bias

    def relu(self, step, params, x, batched):
        how = self.choice("relu", RELU)
        return {
            "relu": jax.nn.relu,
            "maximum": lambda h: jnp.maximum(h, 0),
            "where": lambda h: jnp.where(h > 0, h, 0),
            "where less": lambda h: jnp.where(h < 0, 0.0, h),
            "clamp": lambda h: lax.clamp(0.0, h, jnp.inf),
            "product": lambda h: h * (h > 0),
            "absolute": lambda h: 0.5 * (h + jnp.abs(h)),
            "custom": _custom_relu,
        }[how](x)

    def residual(self, step, params, x, batched):
        y = x
        for inner in step["steps"]:
            y = getattr(self, inner["op"])(inner, params, y, batched)
        return x + y

    def mean(self, step, params, x, batched):
        x = self.back(x, batched)
        return jnp.mean(x, tuple(range(int(batched), x.ndim - 1)))

    def flatten(self, step, params, x, batched):
        x = self.back(x, batched)
        return x.reshape(x.shape[0], -1) if batched else x.reshape(-1)


@jax.custom_vjp
def _custom_relu(x):
    return jnp.maximum(x, 0)


_custom_relu.defvjp(lambda x: (_custom_relu(x), x), lambda x, g: (jnp.where(x > 0, g, 0),))
