"""Bits of soft labels as functions of expected counts: zero-order, with one context, and with the coder's contexts.

A context is what is known of the label before: nothing ("entropy"), whether it is the zero ("conditional"), or whether
it is zero, negative or positive ("static", the contexts of the arithmetic coder). counts[s, k] is how often label k is
expected after context s; the bits are concave in the counts, and their gradient is the price of a label.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kernels import soft_entropy

CONTEXTS = {"entropy": 1, "conditional": 2, "static": 3}


def context_members(rate: str, levels: int) -> np.ndarray:
    """Returns float32 [contexts, K]: 1 where label k, standing before a weight, gives it context s."""
    rank = np.arange(levels) - levels // 2
    members = {
        "entropy": [rank == rank],
        "conditional": [rank == 0, rank != 0],
        "static": [rank == 0, rank < 0, rank > 0],
    }
    return np.array(members[rate], np.float32)


def bits(rate: str, counts: jax.Array) -> jax.Array:
    """Returns the bits of a group from its expected counts [contexts, K], the middle label being the zero."""
    return static_bits(counts) if rate == "static" else soft_entropy.bits_of_counts(counts)


def static_bits(counts: jax.Array) -> jax.Array:
    """Bits when each context of the coder charges its bins at their overall frequencies.

    The same as `kernels.entropy_coding.rate_static_soft` of labels with these counts, all ranks in unary.

    Args:
      counts: [3, K] after a zero, a negative and a positive label.
    """
    half = counts.shape[-1] // 2
    negative, zero, positive = counts[:, :half], counts[:, half], counts[:, half + 1 :]
    below, above = negative.sum(axis=1), positive.sum(axis=1)
    total = soft_entropy.bits_of_counts(jnp.stack([zero, below + above], axis=1))  # significance
    total += soft_entropy.bits_of_counts(jnp.stack([below, above], axis=1))  # sign
    for magnitudes in (negative.sum(axis=0)[::-1], positive.sum(axis=0)):  # of magnitude 1, 2, ...
        larger = jnp.flip(jnp.cumsum(jnp.flip(magnitudes))) - magnitudes
        total += soft_entropy.bits_of_counts(jnp.stack([magnitudes, larger], axis=1))
    return total


def with_prior(counts: jax.Array, prior: float) -> jax.Array:
    """Returns counts with `prior` times their sum as further zeros, which make a zero cheaper for all others."""
    if prior == 0:
        return counts
    zeros = prior * jax.lax.stop_gradient(counts.sum(axis=1))
    return counts.at[:, counts.shape[1] // 2].add(zeros)
