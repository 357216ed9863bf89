"""Messages of check nodes in XLA: from what enters each edge, what leaves it; the twin of core/checks.py.

Min-sum: scale max(min over the other edges |q| - offset, 0), with the product of the other signs. Sum-product: the sum
modulo 2 of the other bits, a [+] b = sign(a b) min(|a|, |b|) + log(1 + e^-|a+b|) - log(1 + e^-|a-b|), from both ends.
"""

import jax
import jax.numpy as jnp

UNKNOWN = 1e30  # magnitude of an edge that is not there: it takes nothing off the others


def min_sum(entering, is_edge, scale, offset, clip):
    """Leaving messages [degree, ...]; scale, offset: broadcast against one of them."""
    size = jnp.where(is_edge, jnp.minimum(jnp.abs(entering), clip), UNKNOWN)
    number = jnp.argmin(size, axis=0)
    is_smallest = jnp.arange(len(entering)).reshape(-1, *[1] * number.ndim) == number
    smallest = jnp.minimum(jnp.min(size, axis=0), clip)
    second = jnp.minimum(jnp.min(jnp.where(is_smallest, UNKNOWN, size), axis=0), clip)
    negative = entering < 0
    odd = jnp.sum(negative, axis=0, dtype=jnp.int32) & 1 == 1
    others = scale * jnp.maximum(jnp.where(is_smallest, second, smallest) - offset, 0)
    return jnp.where(negative ^ odd, -others, others)


def sum_product(entering, is_edge, scale, offset, clip):
    """Leaving messages [degree, ...]."""
    values = jnp.where(is_edge, jnp.clip(entering, -clip, clip), UNKNOWN)
    first = jnp.full_like(values[0], UNKNOWN)
    _, before = jax.lax.scan(lambda total, value: (box_plus(total, value), total), first, values)
    _, after = jax.lax.scan(lambda total, value: (box_plus(total, value), total), first, values, reverse=True)
    others = jnp.clip(box_plus(before, after), -clip, clip)
    size = scale * jnp.maximum(jnp.abs(others) - offset, 0)
    return jnp.where(others < 0, -size, size)


def box_plus(a, b):
    """The log-likelihood ratio of the sum modulo 2 of two bits."""
    size = jnp.minimum(jnp.abs(a), jnp.abs(b))
    signed = jnp.where((a < 0) ^ (b < 0), -size, size)
    # the difference first: turning the signs of a bit then turns the result, to the last bit
    return signed + (jnp.log1p(jnp.exp(-jnp.abs(a + b))) - jnp.log1p(jnp.exp(-jnp.abs(a - b))))
