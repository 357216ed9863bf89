"""The static rate estimates as JAX functions: every context's bins counted, and charged their entropy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def static(q, n_unary: int):
    """float32 bits of integers at each context's overall frequencies, see `rate_static`."""
    return _static(jnp.asarray(q).reshape(-1).astype(jnp.int32), n_unary)


@functools.partial(jax.jit, static_argnums=1)
def _static(q, n_unary):
    previous = jnp.concatenate([jnp.zeros(1, jnp.int32), q[:-1]])
    magnitude, negative = jnp.abs(q), (q < 0).astype(jnp.int32)
    before = jnp.where(previous == 0, 0, jnp.where(previous < 0, 1, 2))
    # Magnitudes beyond the unary flags with prefixes of one length have the same bins: n_unary + bits of the remainder.
    remainder = 32 - jax.lax.clz(jnp.maximum(magnitude - n_unary, 1))
    kinds = n_unary + 32
    kind = jnp.where(magnitude > n_unary, n_unary + remainder, magnitude)
    counts = jnp.zeros(6 * kinds, jnp.int32).at[(2 * before + negative) * kinds + kind].add(1)
    return _bits_of_counts(counts.reshape(3, 2, kinds).astype(jnp.float32), n_unary)


def _bits_of_counts(counts, n_unary: int):
    """Bits of counts [neighbour, sign, kind]: kind 0 is zero, then magnitudes, then what has 1, 2, ... bits beyond."""
    nonzero = jnp.sum(counts[:, :, 1:], axis=2)
    flags = jnp.sum(counts[:, :, 1:], axis=0)  # [sign, kind]
    at_least = jnp.cumsum(flags[:, ::-1], axis=1)[:, ::-1]
    prefix = jnp.sum(flags[:, n_unary:], axis=0)
    longer = jnp.cumsum(prefix[::-1])[::-1] - prefix
    ones = [jnp.sum(nonzero, axis=1), nonzero[:, 1], at_least[:, 1 : n_unary + 1].reshape(-1), longer]
    zeros = [jnp.sum(counts[:, :, 0], axis=1), nonzero[:, 0], flags[:, :n_unary].reshape(-1), prefix]
    return _entropy_bits(jnp.concatenate(ones), jnp.concatenate(zeros)) + jnp.sum(prefix * np.arange(prefix.size))


def _entropy_bits(ones, zeros):
    """Sum over contexts of n H2(ones / n); 0 log 0 = 0, with a finite gradient there."""
    total = ones + zeros
    least = jnp.finfo(total.dtype).tiny  # smaller counts are flushed to 0 somewhere on the way

    def part(count):
        counted = count > least
        return jnp.where(
            counted, count * (jnp.log2(jnp.where(counted, total, 1)) - jnp.log2(jnp.where(counted, count, 1))), 0
        )

    return jnp.sum(part(ones) + part(zeros))


@functools.partial(jax.jit, static_argnums=(1, 2))
def static_soft(probabilities, levels: tuple, n_unary: int):
    """Bits of soft assignments [weights, choices] to `levels`, see `rate_static_soft`."""
    dtype = probabilities.dtype
    wide = jnp.promote_types(dtype, jnp.float32)  # counts of a layer leave the range of half precision
    probabilities = probabilities.astype(wide)
    level = np.array(levels, np.int64)
    classes = np.stack([level == 0, level < 0, level > 0], axis=1).astype(wide)
    neighbour = probabilities @ classes
    first = jnp.zeros((1, 3), wide).at[0, 0].set(1)
    pairs = jnp.concatenate([first, neighbour[:-1]]).T @ probabilities  # [class before, choice]
    remainder = np.array([max(int(abs(x)) - n_unary, 0).bit_length() for x in level], int)
    kind = np.where(np.abs(level) > n_unary, n_unary + remainder, np.abs(level))
    counts = jnp.zeros((3, 2, n_unary + 32), wide).at[:, (level < 0).astype(int), kind].add(pairs)
    return _bits_of_counts(counts, n_unary).astype(dtype)
