"""The transformers of kernels/attribution/bench/transformers.py in PyTorch, in the writings of each library (their
Python).

One network, whose steps a `Writing` spells out: `Plain` as PyTorch has them (autolrp reads that off the graph),
`Explicit` by lxt's functions with rules of their own, `Efficient` by lxt's patches, whose gradient times the input is
the relevance. `CP` in a name: weights of attention are constants.

`lxt.efficient` imports the models of transformers and torchvision; a stand-in takes the place of its `__init__`.
"""

import importlib.util
import pathlib
import sys
import types

import torch
from torch.nn import functional

_efficient = types.ModuleType("lxt.efficient")
_efficient.__path__ = [
    str(pathlib.Path(folder) / "efficient") for folder in importlib.util.find_spec("lxt").submodule_search_locations
]
sys.modules["lxt.efficient"] = _efficient

from lxt.efficient import patches  # noqa: E402
from lxt.explicit import functional as explicit  # noqa: E402
from lxt.explicit import rules as explicit_rules  # noqa: E402

LAYER_EPSILON, ROOT_EPSILON, ROTARY_BASE = 1e-6, 1e-6, 10_000.0


def _namespace(**attributes):
    """Stands for the module that a patched method belongs to."""
    return types.SimpleNamespace(**attributes)


class Plain:
    """As PyTorch writes it."""

    fused = False  # whether attention is one call

    def linear(self, x, weight, bias):
        return functional.linear(x, weight, bias)

    def add(self, a, b):
        return a + b

    def multiply(self, a, b):
        return a * b

    def activation(self, fn, x):
        return fn(x)

    def layer_norm(self, x, scale, bias):
        return functional.layer_norm(x, x.shape[-1:], scale, bias, LAYER_EPSILON)

    def root_norm(self, x, scale):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + ROOT_EPSILON) * scale

    def softmax(self, logits):
        return torch.softmax(logits, -1)

    def matmul(self, a, b):
        return torch.matmul(a, b)

    def rotary(self, x, cosine, sine):
        first, second = x.chunk(2, -1)
        return x * cosine + torch.cat([-second, first], -1) * sine

    def attention(self, query, key, value, causal):
        times = query.shape[1] // key.shape[1]
        if times > 1:
            key, value = (x.repeat_interleave(times, 1) for x in (key, value))
        if self.fused:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        logits = self.multiply(self.matmul(query, key.transpose(-1, -2)), query.shape[-1] ** -0.5)
        if causal:
            mask = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
            logits = logits.masked_fill(~mask, float("-inf"))
        return self.weigh(self.softmax(logits), value)

    def weigh(self, weights, value):
        return self.matmul(weights, value)

    def gated(self, gate, up):
        return self.multiply(self.activation(functional.silu, gate), up)


class Fused(Plain):
    """As PyTorch computes it fastest."""

    fused = True


class Explicit(Plain):
    """By the functions of lxt.explicit."""

    def linear(self, x, weight, bias):
        return explicit.linear_epsilon(x, weight, bias)

    def add(self, a, b):
        return explicit.add2(a, b.expand_as(a))

    def multiply(self, a, b):
        return explicit.mul2(a, b)

    def activation(self, fn, x):
        return explicit_rules.identity(fn, x)

    def layer_norm(self, x, scale, bias):
        return explicit.layer_norm(x, scale, bias, LAYER_EPSILON)

    def root_norm(self, x, scale):
        return explicit.rms_norm_identity(x, scale, ROOT_EPSILON)

    def softmax(self, logits):
        return explicit.softmax(logits, -1)

    def matmul(self, a, b):
        return explicit.matmul(a, b)

    def rotary(self, x, cosine, sine):
        first, second = x.chunk(2, -1)
        turned = torch.cat([explicit.mul2(second, -1), first], -1)
        return explicit.add2(explicit.mul2(x, cosine), explicit.mul2(turned, sine))


class ExplicitCP(Explicit):
    """As lxt's MultiheadAttention_CP does it."""

    def weigh(self, weights, value):
        return explicit_rules.epsilon_lrp(torch.matmul, 1e-6, weights.detach(), value)


class Efficient(Plain):
    """By the patches of lxt.efficient."""

    fused = True

    def activation(self, fn, x):
        return patches.non_linear_forward(_namespace(original_forward=fn), x)

    def layer_norm(self, x, scale, bias):
        return patches.layer_norm_forward(_namespace(weight=scale, bias=bias, eps=LAYER_EPSILON), x)

    def root_norm(self, x, scale):
        return patches.rms_norm_forward(_namespace(weight=scale, variance_epsilon=ROOT_EPSILON), x)

    def attention(self, query, key, value, causal):
        plain = super().attention
        wrapped = self.wrap(lambda module, query, key, value: plain(query, key, value, causal))
        return wrapped(None, query, key, value)

    wrap = staticmethod(patches.wrap_attention_forward)

    def gated(self, gate, up):
        return self.gate(
            _namespace(
                gate_proj=lambda x: gate, up_proj=lambda x: up, down_proj=lambda x: x, act_fn=functional.silu
            ),
            None,
        )  # fmt: skip

    gate = staticmethod(patches.gated_mlp_forward)


class EfficientCP(Efficient):
    """By its patches for CP-LRP."""

    wrap = staticmethod(patches.cp_wrap_attention_forward)
    gate = staticmethod(patches.cp_gated_mlp_forward)


WRITINGS = {one.__name__: one() for one in (Plain, Fused, Explicit, ExplicitCP, Efficient, EfficientCP)}


class Network:
    """A transformer by its sizes (the fields of transformers.Shape) and NumPy parameters."""

    def __init__(self, shape: dict, parameters: dict, dtype=torch.float32):
        self.shape, self.parameters, self.dtype = shape, {}, dtype
        for name, value in parameters.items():
            tensor = torch.as_tensor(value).to(dtype)
            self.parameters[name] = tensor.T.contiguous() if name.endswith("/kernel") else tensor
        head = shape["width"] // shape["heads"]
        speed = ROTARY_BASE ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angle = torch.arange(shape["tokens"], dtype=torch.float64)[:, None] * speed
        angle = torch.cat([angle, angle], 1)
        self.rotations = angle.cos().float().to(dtype), angle.sin().float().to(dtype)

    def __call__(self, x, writing: Plain):
        """Returns outputs [n, classes]."""
        is_vision = self.shape["kind"] == "vision"
        if is_vision:
            x = self._linear(writing, "embed", x)
            token = self.parameters["class_token"].expand(len(x), 1, -1)
            x = writing.add(torch.cat([token, x], 1), self.parameters["positions"])
        for block in range(self.shape["blocks"]):
            x = self._block(writing, f"block{block}", x, is_vision)
        return self._linear(writing, "head", self._norm(writing, "norm", x)[:, 0 if is_vision else -1])

    def _block(self, writing, path, x, is_vision):
        h = self._norm(writing, f"{path}/norm1", x)
        query, key, value = (self._heads(self._linear(writing, f"{path}/{n}", h)) for n in ("query", "key", "value"))
        if not is_vision:
            query, key = (writing.rotary(part, *self.rotations) for part in (query, key))
        mixed = writing.attention(query, key, value, not is_vision).transpose(1, 2).flatten(2)
        x = writing.add(x, self._linear(writing, f"{path}/out", mixed))
        h = self._norm(writing, f"{path}/norm2", x)
        up = self._linear(writing, f"{path}/up", h)
        if is_vision:
            up = writing.activation(functional.gelu, up)
        else:
            up = writing.gated(self._linear(writing, f"{path}/gate", h), up)
        return writing.add(x, self._linear(writing, f"{path}/down", up))

    def _linear(self, writing, name, x):
        return writing.linear(x, self.parameters[f"{name}/kernel"], self.parameters.get(f"{name}/bias"))

    def _norm(self, writing, name, x):
        scale, bias = self.parameters[f"{name}/scale"], self.parameters.get(f"{name}/bias")
        return writing.root_norm(x, scale) if bias is None else writing.layer_norm(x, scale, bias)

    def _heads(self, x):
        return x.unflatten(-1, (-1, self.shape["width"] // self.shape["heads"])).transpose(1, 2)
