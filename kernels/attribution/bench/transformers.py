"""Transformers that PyTorch and JAX both build: plain data, NumPy parameters, and here the functions of JAX.

A vision transformer (a block is LayerNorm, attention, LayerNorm, GELU; a class token) and a decoder as language models
have them (RMSNorm, rotary embeddings, grouped heads, SwiGLU, no biases; the last token). `tests/peers/lrp_networks.py`
has the same in PyTorch. Parameters are a flat dict "block0/query/kernel", kernels `[in, out]` for both.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

VISION, DECODER = "vision", "decoder"
LAYER_EPSILON, ROOT_EPSILON, ROTARY_BASE = 1e-6, 1e-6, 10_000.0


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a transformer.

    Attributes:
        kind: VISION (of patches `[n, tokens - 1, inputs]`) or DECODER (of embedded tokens `[n, tokens, width]`).
        shared: heads of keys and values; fewer than `heads` in a decoder with grouped heads.
        inputs: values of a patch; of a decoder the width.
    """

    kind: str
    blocks: int = 1
    width: int = 16
    heads: int = 4
    shared: int = 4
    hidden: int = 32
    tokens: int = 7
    inputs: int = 12
    classes: int = 5

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    @property
    def input_shape(self) -> tuple[int, int]:
        """Of one example."""
        return (self.tokens - 1, self.inputs) if self.kind == VISION else (self.tokens, self.width)


VIT = Shape(VISION, blocks=4, width=64, heads=4, shared=4, hidden=256, tokens=65, inputs=48, classes=10)
GPT = Shape(DECODER, blocks=4, width=128, heads=4, shared=2, hidden=344, tokens=64, classes=64)


def parameters(shape: Shape, seed: int = 0, bias: float = 0.1) -> dict[str, np.ndarray]:
    """Returns float32 parameters; biases, and shifts of norms, of standard deviation `bias`."""
    draw = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}

    def dense(name, inputs, outputs):
        values[f"{name}/kernel"] = draw.normal(0, inputs**-0.5, (inputs, outputs))
        if shape.kind == VISION:
            values[f"{name}/bias"] = draw.normal(0, bias, outputs)

    def norm(name):
        values[f"{name}/scale"] = draw.uniform(0.5, 1.5, shape.width)
        if shape.kind == VISION:
            values[f"{name}/bias"] = draw.normal(0, bias, shape.width)

    if shape.kind == VISION:
        dense("embed", shape.inputs, shape.width)
        values["class_token"] = draw.normal(0, 1, shape.width)
        values["positions"] = draw.normal(0, bias, (shape.tokens, shape.width))
    for block in range(shape.blocks):
        path = f"block{block}"
        norm(f"{path}/norm1")
        dense(f"{path}/query", shape.width, shape.width)
        dense(f"{path}/key", shape.width, shape.shared * shape.head)
        dense(f"{path}/value", shape.width, shape.shared * shape.head)
        dense(f"{path}/out", shape.width, shape.width)
        norm(f"{path}/norm2")
        if shape.kind == DECODER:
            dense(f"{path}/gate", shape.width, shape.hidden)
        dense(f"{path}/up", shape.width, shape.hidden)
        dense(f"{path}/down", shape.hidden, shape.width)
    norm("norm")
    dense("head", shape.width, shape.classes)
    return {name: value.astype(np.float32) for name, value in values.items()}


def inputs(shape: Shape, number: int, seed: int = 1) -> np.ndarray:
    """Returns float32 examples `[number, ...]`."""
    return np.random.default_rng(seed).normal(size=(number, *shape.input_shape)).astype(np.float32)


def rotations(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cosines and the sines of rotary embeddings, `[tokens, head]` each, a half like the other."""
    speed = ROTARY_BASE ** (-np.arange(0, shape.head, 2) / shape.head)
    angle = np.tile(np.arange(shape.tokens)[:, None] * speed, 2)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def function(shape: Shape):
    """Returns `fn(parameters, x)`, outputs `[n, classes]`."""
    return _vision(shape) if shape.kind == VISION else _decoder(shape)


def dense(p, name, x):
    """A dense layer."""
    y = x @ p[f"{name}/kernel"]
    return y + p[f"{name}/bias"] if f"{name}/bias" in p else y


def layer_norm(p, name, x):
    """A LayerNorm."""
    centred = x - x.mean(-1, keepdims=True)
    spread = jnp.sqrt((centred**2).mean(-1, keepdims=True) + LAYER_EPSILON)
    return centred / spread * p[f"{name}/scale"] + p[f"{name}/bias"]


def root_norm(p, name, x):
    """An RMSNorm."""
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + ROOT_EPSILON) * p[f"{name}/scale"]


def rotary(x, cosine, sine):
    """Rotary embeddings of `[n, heads, tokens, head]`."""
    first, second = jnp.split(x, 2, -1)
    return x * cosine + jnp.concatenate([-second, first], -1) * sine


def attention(query, key, value, causal: bool):
    """Attention of `[n, heads, tokens, head]`; keys and values may have fewer heads."""
    times = query.shape[1] // key.shape[1]
    if times > 1:
        key, value = (jnp.repeat(x, times, axis=1) for x in (key, value))
    logits = (query * query.shape[-1] ** -0.5) @ key.swapaxes(-1, -2)
    if causal:
        logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, -jnp.inf)
    return jax.nn.softmax(logits) @ value


def _heads(shape: Shape, x):
    return x.reshape(*x.shape[:2], -1, shape.head).swapaxes(1, 2)


def _merged(x):
    x = x.swapaxes(1, 2)
    return x.reshape(*x.shape[:2], -1)


def _vision(shape: Shape):
    def fn(p, x):
        x = dense(p, "embed", x)
        x = jnp.concatenate([jnp.broadcast_to(p["class_token"], (len(x), 1, shape.width)), x], 1) + p["positions"]
        for block in range(shape.blocks):
            path = f"block{block}"
            h = layer_norm(p, f"{path}/norm1", x)
            query, key, value = (_heads(shape, dense(p, f"{path}/{n}", h)) for n in ("query", "key", "value"))
            x = x + dense(p, f"{path}/out", _merged(attention(query, key, value, False)))
            h = layer_norm(p, f"{path}/norm2", x)
            x = x + dense(p, f"{path}/down", jax.nn.gelu(dense(p, f"{path}/up", h), approximate=False))
        return dense(p, "head", layer_norm(p, "norm", x)[:, 0])

    return fn


def _decoder(shape: Shape):
    cosine, sine = rotations(shape)

    def fn(p, x):
        for block in range(shape.blocks):
            path = f"block{block}"
            h = root_norm(p, f"{path}/norm1", x)
            query, key, value = (_heads(shape, dense(p, f"{path}/{n}", h)) for n in ("query", "key", "value"))
            query, key = (rotary(part, cosine, sine) for part in (query, key))
            x = x + dense(p, f"{path}/out", _merged(attention(query, key, value, True)))
            h = root_norm(p, f"{path}/norm2", x)
            gated = jax.nn.silu(dense(p, f"{path}/gate", h)) * dense(p, f"{path}/up", h)
            x = x + dense(p, f"{path}/down", gated)
        return dense(p, "head", root_norm(p, "norm", x)[:, -1])

    return fn
