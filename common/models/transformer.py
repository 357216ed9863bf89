"""Two small transformers: of patches of an image to its class, and of characters to the one that follows.

Blocks are pre-norm: x + attention(norm(x)), then x + mlp(norm(x)), with GELU and learned positions (Vaswani et al.,
arXiv:1706.03762; Dosovitskiy et al., arXiv:2010.11929). There is no dropout: what trains is what is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from common.models import initial, layers
from common.models.lenet import scaled

HEADS = 4
POOLINGS = ("token", "mean")


class LayerNorm(nnx.Module):
    """Mean zero and variance one over features, then `scale` and `bias` [features]."""

    def __init__(self, features: int, *, epsilon: float = 1e-6):
        self.scale = nnx.Param(initial.constant(1, features))
        self.bias = nnx.Param(initial.constant(0, features))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        centred = x - jnp.mean(x, -1, keepdims=True)
        spread = jnp.sqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + self.epsilon)
        return centred / spread * self.scale[...] + self.bias[...]


class Attention(nnx.Module):
    """Each place of `[batch, places, features]` looks at all places, or with `causal` at none behind itself.

    Dense layers `query`, `key`, `value`, `out`.
    """

    def __init__(self, features: int, *, causal: bool, rngs: nnx.Rngs, linear: Callable = layers.Linear):
        self.query, self.key = (linear(features, features, rngs=rngs) for _ in range(2))
        self.value, self.out = (linear(features, features, rngs=rngs) for _ in range(2))
        self.causal = causal

    def __call__(self, x: jax.Array) -> jax.Array:
        query, key, value = (layer(x).reshape(*x.shape[:2], HEADS, -1) for layer in (self.query, self.key, self.value))
        logits = jnp.einsum("bthf,bshf->bhts", query, key) / jnp.sqrt(query.shape[-1]).astype(x.dtype)
        if self.causal:
            logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, -jnp.inf)
        mixed = jnp.einsum("bhts,bshf->bthf", jax.nn.softmax(logits), value)
        return self.out(mixed.reshape(x.shape))


class Block(nnx.Module):
    """`norm1`, `attention`, `norm2` and the dense layers `up` to four times as many features and `down`."""

    def __init__(self, features: int, *, causal: bool, rngs: nnx.Rngs, linear: Callable = layers.Linear):
        self.norm1, self.norm2 = LayerNorm(features), LayerNorm(features)
        self.attention = Attention(features, causal=causal, rngs=rngs, linear=linear)
        self.up = linear(features, 4 * features, rngs=rngs)
        self.down = linear(4 * features, features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x))
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class VisionTransformer(nnx.Module):
    """Patches of an image through blocks to the logits of its classes `[batch, num_classes]`.

    Takes images `[batch, height, width, channels]` of `input_shape`. Layers `patches`, a convolution whose step is its
    window, `block1` ..., `norm`, `fc`; parameters `positions` and, with pooling="token", `token`: features of one more
    place, whose output is classified; "mean" takes that of all places. 208,074 parameters for 32 x 32 x 3.

    Args:
      patch: side in pixels; the sides of the image are multiples of it.
      features: of a place at width 1; rounded so that four heads share them.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (32, 32, 3),
        patch: int = 4,
        blocks: int = 4,
        features: int = 64,
        pooling: str = "token",
        conv: Callable = layers.Conv,
        linear: Callable = layers.Linear,
    ):
        height, columns, channels = input_shape
        if height % patch or columns % patch:
            raise ValueError(
                f"the vision transformer cuts images into patches of {patch} x {patch} pixels, input_shape is "
                f"{tuple(input_shape)}; expected sides that are multiples of {patch}."
            )
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}.")
        features = in_heads(features, width)
        places = (height // patch) * (columns // patch) + (pooling == "token")
        self.patches = conv(channels, features, patch, stride=patch, padding="VALID", rngs=rngs)
        self.token = nnx.Param(initial.constant(0, features)) if pooling == "token" else None
        self.positions = nnx.Param(initial.he_normal(rngs.params(), (places, features)))
        self.depth = blocks
        for number in range(1, blocks + 1):
            setattr(self, f"block{number}", Block(features, causal=False, rngs=rngs, linear=linear))
        self.norm = LayerNorm(features)
        self.fc = linear(features, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        maps = self.patches(x)
        x = maps.reshape(len(x), -1, maps.shape[-1])
        if self.token is not None:
            x = jnp.concatenate([jnp.broadcast_to(self.token[...], (len(x), 1, x.shape[-1])), x], 1)
        x = x + self.positions[...]
        for number in range(1, self.depth + 1):
            x = getattr(self, f"block{number}")(x)
        x = self.norm(x)
        return self.fc(x.mean(1) if self.token is None else x[:, 0])


class CharacterTransformer(nnx.Module):
    """Characters `[batch, time]`, integers, to logits of the one that follows each `[batch, time, vocabulary]`.

    Causal: no logit hangs on a later character. Layers `block1` ..., `norm`, `fc`; parameters `embedding` [vocabulary,
    features] and `positions` [length, features].

    Args:
      vocabulary: number of characters.
      length: most characters of a text.
      features: of a place at width 1; rounded so that four heads share them.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        rngs: nnx.Rngs,
        width: float = 1.0,
        blocks: int = 2,
        features: int = 64,
        linear: Callable = layers.Linear,
    ):
        features = in_heads(features, width)
        # Rows of variance one: what blocks add to them at first does not drown them.
        rows = math.sqrt(vocabulary / 2) * initial.he_normal(rngs.params(), (vocabulary, features))
        self.embedding = nnx.Param(rows)
        self.positions = nnx.Param(initial.he_normal(rngs.params(), (length, features)))
        self.depth = blocks
        for number in range(1, blocks + 1):
            setattr(self, f"block{number}", Block(features, causal=True, rngs=rngs, linear=linear))
        self.norm = LayerNorm(features)
        self.fc = linear(features, vocabulary, rngs=rngs)

    def __call__(self, characters: jax.Array) -> jax.Array:
        return self.decode(self.embed(characters))

    def embed(self, characters: jax.Array) -> jax.Array:
        """Returns rows of the embedding and positions, added: `[batch, time, features]`."""
        if characters.shape[1] > len(self.positions[...]):
            raise ValueError(
                f"a text of {characters.shape[1]} characters; expected {len(self.positions[...])} at most, the length "
                "of the network"
            )
        return self.embedding[...][characters] + self.positions[...][: characters.shape[1]]

    def decode(self, embedded: jax.Array) -> jax.Array:
        """Returns logits of what `embed` gave: `[batch, time, vocabulary]`."""
        for number in range(1, self.depth + 1):
            embedded = getattr(self, f"block{number}")(embedded)
        return self.fc(self.norm(embedded))


def in_heads(features: int, width: float) -> int:
    """Returns `features` times `width`, a multiple of the heads."""
    return HEADS * scaled(features // HEADS, width)
