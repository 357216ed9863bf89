"""Other ways to run the state recursion in JAX, kept for the benchmark that chose between them (see rate/scan.py).

Both scan over the weights of substreams [batch, n] with the batch as lanes. `one_hot` carries all contexts and moves
those that a weight touches; `gather` takes the touched ones out of a table of contexts and puts them back.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..rate.scan import _charge


@functools.partial(jax.jit, static_argnums=(1, 2))
def one_hot(q, n_unary: int, max_level: int):
    """int32 2^-15 bits [batch] of q int32 [batch, n] with |q| <= max_level <= n_unary."""
    q, before = _with_neighbour(q, max_level)
    flags = min(n_unary, max_level)
    thresholds, signs = np.repeat(np.arange(1, flags + 1), 2)[:, None], np.tile([False, True], flags)[:, None]

    def weight(carry, row):
        states, total = carry
        level, neighbour = row
        here = neighbour == jnp.arange(3)[:, None]
        magnitude, negative = jnp.abs(level), level < 0
        touched = [here, here & (level != 0), (magnitude >= thresholds) & (negative == signs)]
        values = [level != 0, negative, magnitude > thresholds]
        values = [jnp.broadcast_to(value, mask.shape) for value, mask in zip(values, touched, strict=True)]
        states, (_, cost) = _charge(states, jnp.concatenate(touched), jnp.concatenate(values))
        return (states, total + cost), None

    zero = jnp.zeros((6 + 2 * flags, q.shape[1]), jnp.int32)
    return jax.lax.scan(weight, ((zero, zero), jnp.zeros(q.shape[1], jnp.int32)), (q, before))[0][1]


@functools.partial(jax.jit, static_argnums=(1, 2))
def gather(q, n_unary: int, max_level: int):
    """The same as `one_hot`."""
    q, before = _with_neighbour(q, max_level)
    flags, batch = min(n_unary, max_level), jnp.arange(q.shape[1])
    order = jnp.arange(flags)[:, None]

    def weight(carry, row):
        (fast, slow), total = carry
        level, neighbour = row
        magnitude, negative = jnp.abs(level), level < 0
        index = jnp.concatenate([neighbour[None], 3 + neighbour[None], 6 + 2 * order + negative])
        touched = jnp.concatenate([jnp.ones_like(negative)[None], (level != 0)[None], magnitude > order])
        value = jnp.concatenate([(level != 0)[None], negative[None], magnitude > order + 1])
        (new_fast, new_slow), (_, cost) = _charge((fast[index, batch], slow[index, batch]), touched, value)
        return ((fast.at[index, batch].set(new_fast), slow.at[index, batch].set(new_slow)), total + cost), None

    zero = jnp.zeros((6 + 2 * flags, q.shape[1]), jnp.int32)
    return jax.lax.scan(weight, ((zero, zero), jnp.zeros(q.shape[1], jnp.int32)), (q, before))[0][1]


def _with_neighbour(q, max_level):
    q = jnp.clip(jnp.asarray(q), -max_level, max_level).T
    before = jnp.where(q == 0, 0, jnp.where(q < 0, 1, 2))
    return q, jnp.concatenate([jnp.zeros_like(before[:1]), before[:-1]])
