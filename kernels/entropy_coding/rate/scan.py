"""The exact rate estimate as a JAX function: the state recursion of the estimators as loops over weights.

Contexts do not touch one another, so that each group has a loop of its own, only as long as it needs: significance over
all weights, signs and unary flags over those that are not zero, prefixes over the large ones. Tensors or candidates of
a batch are the minor axis of all states; `jax.vmap` arrives there, too.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..core.constants import MAX_ABS_LEVEL, PRESET_FAST_SHIFT, PRESET_SLOW_SHIFT, STEP_TABLE
from ..core.contexts import EXPECTED_COST

_SMALLEST_BUCKET = 1024


def exact(q, n_unary: int, max_level: int | None, length=None):
    """float32 bits of one tensor of integers, see `rate_exact`; values from `length` on are not counted."""
    q = jnp.asarray(q).reshape(-1).astype(jnp.int32)
    length = q.size if length is None else length
    if q.size == 0:
        return jnp.float32(0)
    return _batched(n_unary, max_level)(q[None], jnp.asarray(length, jnp.int32)[None])[0]


def exact_list(tensors, n_unary: int, max_level: int | None) -> np.ndarray:
    """float64 bits of each of several tensors; those of about a size are padded to it and share a compilation."""
    tensors = [np.asarray(q).reshape(-1).astype(np.int32) for q in tensors]
    buckets: dict[int, list[int]] = {}
    for i, q in enumerate(tensors):
        buckets.setdefault(max(_SMALLEST_BUCKET, 1 << max(q.size - 1, 0).bit_length()), []).append(i)
    bits = np.zeros(len(tensors))
    for size, members in buckets.items():
        padded = np.zeros((len(members), size), np.int32)
        for row, i in zip(padded, members, strict=True):
            row[: tensors[i].size] = tensors[i]
        lengths = np.array([tensors[i].size for i in members], np.int32)
        bits[members] = np.asarray(_batched(n_unary, max_level)(padded, lengths))
    return bits


def exact_stack(tensors, n_unary: int, max_level: int | None):
    """float32 bits [tensors] of several tensors, some of them traced."""
    return jnp.stack([exact(q, n_unary, max_level) for q in tensors])


@functools.cache
def _batched(n_unary: int, max_level: int | None):
    """(q int32 [batch, n], length int32 [batch]) -> float32 bits [batch]; vmap makes the batch larger."""

    @jax.custom_batching.custom_vmap
    def rate(q, length):
        return _rate(q, length, n_unary, MAX_ABS_LEVEL if max_level is None else max_level)

    @rate.def_vmap
    def _(axis_size, in_batched, q, length):
        q = q if in_batched[0] else jnp.broadcast_to(q, (axis_size, *q.shape))
        length = length if in_batched[1] else jnp.broadcast_to(length, (axis_size, *length.shape))
        return rate(q.reshape(-1, q.shape[-1]), length.reshape(-1)).reshape(q.shape[:-1]), True

    return rate


@functools.partial(jax.jit, static_argnums=(2, 3))
def _rate(q, length, n_unary, max_level):
    q = q.T  # [n, batch]
    inside = jnp.arange(q.shape[0])[:, None] < length
    nonzero, negative, magnitude = (q != 0) & inside, q < 0, jnp.abs(q)
    neighbour = jnp.where(nonzero, jnp.where(negative, 1, 2), 0)
    neighbour = jnp.concatenate([jnp.zeros_like(neighbour[:1]), neighbour[:-1]])

    def significance(states, row):
        here = row["neighbour"] == jnp.arange(3)[:, None]
        return _charge(states, here & row["inside"], jnp.broadcast_to(row["value"], here.shape))

    rows = {"neighbour": neighbour, "inside": inside, "value": nonzero}
    total = _walk(significance, 3, rows, q.shape[0])

    place, count = _places(nonzero)
    rows = {"neighbour": neighbour, "negative": negative, "magnitude": magnitude}
    flags = min(n_unary, max_level)
    thresholds = np.repeat(np.arange(1, flags + 1), 2)[:, None]
    signs = np.tile([False, True], flags)[:, None]

    def nonzero_levels(states, row):
        here = (row["neighbour"] == jnp.arange(3)[:, None]) & row["inside"]
        flag = (row["magnitude"] >= thresholds) & (row["negative"] == signs) & row["inside"]
        touched = jnp.concatenate([here, flag])
        values = [jnp.broadcast_to(row["negative"], here.shape), row["magnitude"] > thresholds]
        return _charge(states, touched, jnp.concatenate(values))

    if max_level > 0:
        total = _add(total, _walk(nonzero_levels, 3 + 2 * flags, _compact(rows, place, count), jnp.max(count)))
    if max_level > n_unary:
        place, count = _places(nonzero & (magnitude > n_unary))
        position = np.arange((max_level - n_unary).bit_length())[:, None]

        def prefixes(states, row):
            remainder = row["magnitude"] - n_unary  # r + 1, which the Exp-Golomb bins write
            longer = (remainder >> (position + 1)) > 0  # shifts: 2^31 is no 32-bit integer
            states, (high, low) = _charge(states, ((remainder >> position) > 0) & row["inside"], longer)
            return states, (high + jnp.sum(longer & row["inside"], axis=0, dtype=jnp.int32), low)  # the bypass bins

        rows = _compact({"magnitude": magnitude}, place, count)
        total = _add(total, _walk(prefixes, position.size, rows, jnp.max(count)))
    high, low = total
    return high.astype(jnp.float32) + low.astype(jnp.float32) / 32768


def _charge(states, touched, value):
    """States after one bin in each touched context, and their cost as whole bits and 2^-15 bits [batch]."""
    fast, slow = states
    bucket = ((16 * fast + slow) >> 7) + 32
    cost = jnp.where(touched, _costs()[jnp.where(value, 64, 0) + bucket], 0)
    sign = jnp.where(value, 1, -1)
    move = jnp.where(touched, sign, 0)
    fast += move * (_step(16 + ((sign * fast) >> 3)) >> int(PRESET_FAST_SHIFT[0]))
    slow += move * (_step(16 + ((sign * slow) >> 7)) >> int(PRESET_SLOW_SHIFT[0]))
    return (fast, slow), (jnp.int32(0), jnp.sum(cost, axis=0, dtype=jnp.int32))


def _step(index):
    """STEP_TABLE[index] as the largest of the lines it is made of: arithmetic is faster than a look-up a lane."""
    lines = ((2512, 224), (1424, 96), (1040, 64), (64, 0))
    step = functools.reduce(jnp.maximum, [height - slope * index for height, slope in lines])
    return jnp.where(index >= STEP_TABLE.size - 1, 0, step)


def _costs():
    """int32 [128]: cost of 0, then of 1, by bucket (state >> 7) + 32."""
    return jnp.asarray(EXPECTED_COST[:, ::16].reshape(-1), jnp.int32)


def _walk(step, contexts, rows, count):
    """Runs `step` over the first `count` rows [n, batch]; returns (whole bits, 2^-15 bits), each int32 [batch]."""
    batch = next(iter(rows.values())).shape[1]
    nothing = 0 * next(iter(rows.values()))[0].astype(jnp.int32)  # varies over the axes of a mesh as the rows do
    zero = jnp.zeros((contexts, batch), jnp.int32) + nothing

    def body(i, carry):  # one weight: unrolled, XLA's CPU fusions compute the same states several times over
        states, high, low = carry
        row = {name: jax.lax.dynamic_index_in_dim(row, i, keepdims=False) for name, row in rows.items()}
        states, (more, cost) = step(states, row)
        # Bits and 2^-15 bits apart: 32-bit integers hold any tensor exactly.
        low += cost
        return states, high + more + (low >> 15), low & 32767

    _, high, low = jax.lax.fori_loop(0, count, body, ((zero, zero), nothing, nothing))
    return high, low


def _places(mask):
    """Where each row of a mask [n, batch] goes when they are moved up (n: nowhere), and how many there are [batch]."""
    running = jnp.cumsum(mask, axis=0, dtype=jnp.int32)
    return jnp.where(mask, running - 1, mask.shape[0]), running[-1]


def _compact(rows, place, count):
    """The rows of a mask moved up, with "inside" for those that there are."""
    n, batch = place.shape
    source = jnp.zeros((n, batch), jnp.int32)
    index = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], (n, batch))
    source = source.at[place, jnp.arange(batch)].set(index, mode="drop")
    compact = {name: jnp.take_along_axis(row, source, axis=0) for name, row in rows.items()}
    return compact | {"inside": index < count}


def _add(total, more):
    high, low = total[0] + more[0], total[1] + more[1]
    return high + (low >> 15), low & 32767
