"""Compressors to the largest of all weights: their positions as a Golomb code, and floats or signs times one magnitude.

A message of signs is the one that `kernels.golomb.encode` writes, framing and checksum included, and `count` is its
length to the bit. One of floats has the same frame and positions, and 32 bits instead of a sign; no one writes it yet.
"""

import fractions
import functools
from typing import Any

import jax
import jax.numpy as jnp

from common.federated.compressor import Compressor
from kernels import golomb, sparse_ternary

Share = float | fractions.Fraction
FRAME, PARAMETER, MAGNITUDE = 8, 1, 4  # bytes: magic, version, mode and checksum; b; mu


@functools.cache
def ternary(p: Share) -> Compressor:
    """Returns the compressor to mu times a sign on a share p of all weights, the largest, and zero elsewhere.

    Its message is `(mask, mu, signs)` of `kernels.sparse_ternary.ternarize`.

    Raises:
      ValueError: p is not in (0, 1].
    """
    sparse_ternary.selection_size(1, p)

    def encode(values: jax.Array, key: jax.Array) -> Any:
        return sparse_ternary.ternarize(values, sparse_ternary.selection_size(values.size, p))

    def decode(message: Any) -> jax.Array:
        mask, mu, signs = message
        return jnp.where(mask, mu * signs, 0)

    def count(message: Any) -> jax.Array:
        mask = message[0]
        selected, payload = position_bits(mask, sparse_ternary.selection_size(mask.size, p))
        return _message_bits(mask.size, selected, payload + selected, PARAMETER + MAGNITUDE)

    return Compressor(encode, decode, count, lambda message: golomb.encode(message[0], message[2], message[1]))


@functools.cache
def top_k(p: Share) -> Compressor:
    """Returns the compressor to a share p of all weights, the largest, as they are, and zero elsewhere.

    Its message is the vector.

    Raises:
      ValueError: p is not in (0, 1].
    """
    sparse_ternary.selection_size(1, p)

    def encode(values: jax.Array, key: jax.Array) -> jax.Array:
        size = sparse_ternary.selection_size(values.size, p)
        if size == values.size:
            return values
        mask = sparse_ternary.topk_mask(values, size)
        return jnp.where(mask, values, 0)

    def count(message: jax.Array) -> jax.Array:
        selected, payload = position_bits(message != 0, sparse_ternary.selection_size(message.size, p))
        return _message_bits(message.size, selected, payload + 32 * selected, PARAMETER)

    return Compressor(encode, lambda message: message, count)


def position_bits(mask: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Returns how many entries a mask [n] selects and the bits of their positions, uint32 both.

    The parameter of the code is that of `golomb.encode`, `golomb_parameter(selected / n)`. It falls with the number of
    entries: steps are looked up, not computed as floats, so that it is the same to the last case.

    Args:
      mask: bool [n], may be traced.
      most: entries that it selects at most, static.
    """
    least, steps = _parameter_steps(mask.size, most)
    mask = jnp.asarray(mask)
    selected = jnp.sum(mask, dtype=jnp.int32)
    b = least + jnp.sum(selected <= jnp.array(steps, jnp.int32), dtype=jnp.int32)

    def with_own_parameter(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        place = jnp.arange(mask.size, dtype=jnp.int32)
        last = jax.lax.cummax(jnp.where(mask, place, -1))
        before = jnp.concatenate([jnp.full(1, -1, jnp.int32), last[:-1]])
        return jnp.sum(jnp.where(mask, b + 1 + ((place - before - 1) >> b), 0), dtype=jnp.int32), jnp.bool_(False)

    # Nearly always as many as may be are selected. The slower form is a loop that then makes no step: a branch would
    # compute both where many masks are counted at once.
    start = jnp.asarray(golomb.golomb_bits(mask, least), jnp.int32) - selected, b != least
    bits = jnp.asarray(jax.lax.while_loop(lambda state: state[1], with_own_parameter, start)[0])
    return selected.astype(jnp.uint32), bits.astype(jnp.uint32)


@functools.cache
def _parameter_steps(n: int, most: int) -> tuple[int, list[int]]:
    """Returns the parameter of `most` entries of n, and for each larger one the most entries that have it."""
    least, steps = golomb.golomb_parameter(most / n), list[int]()
    for b in range(least + 1, golomb.golomb_parameter(1 / n) + 1):
        low, high = 1, most  # low has parameter b or above, high has less
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if golomb.golomb_parameter(middle / n) >= b else (low, middle)
        steps.append(low)
    return least, steps


def _message_bits(n: int, selected: jax.Array, payload: jax.Array, side: int) -> jax.Array:
    """Returns the bits of a message, the smaller of sparse and dense: uint32."""
    length_bytes = sum((selected >= 128**power).astype(jnp.uint32) for power in range(1, 5)) + 1
    sparse = FRAME + length_bytes + jnp.where(selected > 0, side, 0).astype(jnp.uint32) + (payload + 7) // 8
    return 8 * jnp.minimum(sparse, jnp.uint32(FRAME + 4 * n))
