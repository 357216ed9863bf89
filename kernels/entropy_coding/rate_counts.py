"""The static rate estimates as JAX functions: every context's bins counted, and charged their entropy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def _num_unary(n_unary: int, max_level: int) -> int:
    """Unary flags that a magnitude up to max_level can reach."""
    return min(n_unary, max_level)


def _num_prefix(n_unary: int, max_level: int) -> int:
    """Prefix positions that a magnitude up to max_level can reach."""
    return (max_level - n_unary).bit_length() if max_level > n_unary else 0


def _bins(q, previous, n_unary: int, max_level: int):
    """Which contexts the bins of q touch, their values (bool [..., contexts] both), and the number of bypass bins.

    Order of contexts: 3 significance, 3 sign, 2 for each unary flag, prefix positions.
    """
    q, previous = q[..., None], previous[..., None]
    magnitude, negative = jnp.abs(q), q < 0
    neighbour = jnp.where(previous == 0, 0, jnp.where(previous < 0, 1, 2)) == jnp.arange(3)
    nonzero = q != 0
    n = np.repeat(np.arange(1, _num_unary(n_unary, max_level) + 1), 2)
    sign = np.tile(np.array([False, True]), n.size // 2)
    touched = [neighbour, neighbour & nonzero, (magnitude >= n) & (negative == sign)]
    values = [jnp.broadcast_to(nonzero, neighbour.shape), jnp.broadcast_to(negative, neighbour.shape), magnitude > n]
    count = _num_prefix(n_unary, max_level)
    bypass = jnp.zeros(q.shape[:-1], jnp.int32)
    if count:
        remainder = magnitude - n_unary  # r + 1 of the specification
        j = np.arange(count)
        longer = (remainder >> (j + 1)) > 0  # shifts: 2^31 is no 32-bit integer
        touched.append((remainder >> j) > 0)
        values.append(longer)
        bypass = jnp.sum(longer, axis=-1, dtype=jnp.int32)
    return jnp.concatenate(touched, -1), jnp.concatenate(values, -1), bypass


def static(q, n_unary: int, max_level: int):
    """float32 bits of integers at each context's overall frequencies, see `rate.rate_static`."""
    q = jnp.clip(jnp.asarray(q).reshape(-1), -max_level, max_level).astype(jnp.int32)
    return _static(q, n_unary, max_level)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _static(q, n_unary, max_level):
    previous = jnp.concatenate([jnp.zeros(1, jnp.int32), q[:-1]])
    touched, value, bypass = _bins(q, previous, n_unary, max_level)
    ones = jnp.sum(touched & value, axis=0, dtype=jnp.int32)
    zeros = jnp.sum(touched & ~value, axis=0, dtype=jnp.int32)
    return _entropy_bits(ones.astype(jnp.float32), zeros.astype(jnp.float32)) + jnp.sum(bypass).astype(jnp.float32)


def _entropy_bits(ones, zeros):
    """Sum over contexts of n H2(ones / n); 0 log 0 = 0, with a finite gradient there."""
    total = ones + zeros

    def part(count):
        safe = jnp.where(count > 0, count, 1)
        return jnp.where(count > 0, count * jnp.log2(jnp.where(total > 0, total, 1) / safe), 0)

    return jnp.sum(part(ones) + part(zeros))


@functools.partial(jax.jit, static_argnums=(1, 2))
def static_soft(probabilities, levels: tuple, n_unary: int):
    """Bits of soft assignments [weights, choices] to `levels`, see `rate.rate_static_soft`."""
    dtype = probabilities.dtype
    level = np.array(levels)
    max_level = int(np.abs(level).max()) if level.size else 0
    touched, value, bypass = (np.asarray(a) for a in _bins_of_choices(tuple(levels), n_unary, max_level))
    # Sign and significance depend on the neighbour: expected counts of pairs; the other contexts on the level alone.
    classes = np.stack([level == 0, level < 0, level > 0], axis=1).astype(dtype)
    neighbour = probabilities @ classes
    first = jnp.zeros((1, 3), dtype).at[0, 0].set(1)
    pairs = jnp.concatenate([first, neighbour[:-1]]).T @ neighbour  # [class before, class]
    nonzero, negative, positive = pairs[:, 1] + pairs[:, 2], pairs[:, 1], pairs[:, 2]
    usage = jnp.sum(probabilities, axis=0)
    ones = jnp.concatenate([nonzero, negative, usage @ (touched & value)[:, 6:].astype(dtype)])
    zeros = jnp.concatenate([pairs[:, 0], positive, usage @ (touched & ~value)[:, 6:].astype(dtype)])
    return _entropy_bits(ones, zeros) + usage @ bypass.astype(dtype)


def _bins_of_choices(levels, n_unary, max_level):
    with jax.ensure_compile_time_eval():
        level = jnp.array(levels, jnp.int32)
        return _bins(level, jnp.zeros_like(level), n_unary, max_level)
