"""Initial weights without a compilation per shape: a network of fifty layers is made in a second, not in half a minute.

He et al., arXiv:1502.01852: normal with variance 2 / fan-in.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

# Values drawn at a time: one compiled program of this size serves every shape.
CHUNK = 1 << 15


def he_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns float32 weights of `shape`, output features last, for layers that a ReLU follows.

    The same values for the same key whether it is traced (inside jit, vmap, eval_shape) or not.
    """
    size, fan_in = math.prod(shape), math.prod(shape[:-1])
    chunks = range(-(-size // CHUNK))
    values: jax.Array | np.ndarray
    if isinstance(key, jax.core.Tracer):
        values = jnp.concatenate([_draw(key, index) for index in chunks])[:size]
    else:
        values = np.concatenate([np.asarray(_draw(key, index)) for index in chunks])[:size]
    return jnp.asarray(values.reshape(shape) * np.float32(math.sqrt(2 / fan_in)))


def constant(value: float, features: int) -> jax.Array:
    """Returns float32 `[features]`, every one `value`; copied to the device and not computed there."""
    return jnp.asarray(np.full((features,), value, np.float32))


@jax.jit
def _draw(key, index):
    return jax.random.normal(jax.random.fold_in(key, index), (CHUNK,), jnp.float32)
