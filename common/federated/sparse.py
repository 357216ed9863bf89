"""Compressors to the largest of all weights: their positions as a Golomb code, and floats or signs times magnitudes.

Messages are those that `kernels.golomb` writes, framing and checksum included, and `count` is their length to the bit.
"""

import fractions
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.federated.compressor import Bits, Compressor
from kernels import golomb, scalars, sparse_ternary

Share = float | fractions.Fraction
FRAME, PARAMETER, MAGNITUDE = 8, 1, 4  # bytes: magic, version, mode and checksum; b; mu
SCOPES = ("global", "per_tensor")


@functools.cache
def ternary(p: Share, scope: str = "global") -> Compressor:
    """Returns the compressor to mu times a sign on a share p of all weights, the largest, and zero elsewhere.

    Its message is `(mask, mu, signs)` of `kernels.sparse_ternary.ternarize`, mu as an array [tensors].

    Args:
      p: share of the weights, in (0, 1].
      scope: "global": the largest of all weights, and one mu; "per_tensor": a share p of each tensor, one entry at
        least, and its own mu, as the published code does.

    Raises:
      ValueError: p is not in (0, 1], or there is no such scope.
    """
    sparse_ternary.selection_size(1, p)
    if scope not in SCOPES:
        raise scalars.refusal("scope", scope, " or ".join(map(repr, SCOPES)))
    return _ternary(p, None) if scope == "global" else _ternary(p, None, lambda sizes: _ternary(p, sizes))


@functools.cache
def _ternary(p: Share, sizes: tuple[int, ...] | None, of_tensors: Any = None) -> Compressor:
    """The compressor of a vector of tensors of these sizes; None: of one."""

    def entries(n: int) -> list[int]:
        return [sparse_ternary.selection_size(size, p) for size in sizes or (n,)]

    def encode(values: jax.Array, key: jax.Array) -> Any:
        ends = list(itertools.accumulate(sizes or (values.size,)))
        parts = [
            sparse_ternary.ternarize(values[end - size : end], k)
            for end, size, k in zip(ends, sizes or (values.size,), entries(values.size), strict=True)
        ]
        masks, magnitudes, signs = zip(*parts, strict=True)
        return jnp.concatenate(masks), jnp.stack(magnitudes), jnp.concatenate(signs)

    def decode(message: Any) -> jax.Array:
        mask, magnitudes, signs = message
        if sizes is None:
            return jnp.where(mask, magnitudes[0] * signs, 0)
        of_weights = jnp.concatenate([jnp.full(size, 1.0) * mu for size, mu in zip(sizes, magnitudes, strict=True)])
        return jnp.where(mask, of_weights * signs, 0)

    def count(message: Any) -> Bits:
        mask, magnitudes, _ = message
        selected, payload = position_bits(mask, sum(entries(mask.size)))
        return message_bits(mask.size, selected, payload + selected, PARAMETER + MAGNITUDE * magnitudes.size, False)

    def write(message: Any) -> bytes:
        mask, magnitudes, signs = message
        return golomb.encode(mask, signs, np.asarray(magnitudes) if sizes else magnitudes[0], sizes)

    def read(data: bytes, n: int) -> np.ndarray:
        return golomb.decode(data, n, sizes)

    return Compressor(encode, decode, count, write, read, of_tensors)


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

    def count(message: jax.Array) -> Bits:
        selected, payload = position_bits(message != 0, sparse_ternary.selection_size(message.size, p))
        return message_bits(message.size, selected, payload + 32 * selected, PARAMETER, True)

    return Compressor(encode, lambda message: message, count, golomb.encode_values, golomb.decode)


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
        # What does not depend on the state would be computed before the loop, always.
        own, place = mask & state[1], jnp.arange(mask.size, dtype=jnp.int32)
        last = jax.lax.cummax(jnp.where(own, place, -1))
        before = jnp.concatenate([jnp.full(1, -1, jnp.int32), last[:-1]])
        return jnp.sum(jnp.where(own, b + 1 + ((place - before - 1) >> b), 0), dtype=jnp.int32), jnp.bool_(False)

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


def message_bits(n: int, selected: jax.Array, payload: jax.Array, side: int, ties_are_dense: bool) -> Bits:
    """Returns the bits of a message, the smaller of sparse and dense: uint32.

    Args:
      side: bytes beside the payload, but for k.
      ties_are_dense: which is written where both are equally long.
    """
    length_bytes = sum((selected >= 128**power).astype(jnp.uint32) for power in range(1, 5)) + 1
    side_bytes = length_bytes + jnp.where(selected > 0, side, 0).astype(jnp.uint32)
    body = side_bytes + (payload + 7) // 8
    is_dense = (body >= 4 * n) if ties_are_dense else (body > 4 * n)
    dense = jnp.uint32(32 * n)
    fill = (8 - payload % 8) % 8
    return Bits(
        payload=jnp.where(is_dense, dense, payload),
        side=jnp.where(is_dense, 0, 8 * side_bytes),
        framing=8 * FRAME + jnp.where(is_dense, 0, fill),
        reference=jnp.where(is_dense, dense, payload + selected),
    )
