"""Thresholds, masks and ternary forms beside a sort, a partition and the other exact searches.

    python -m kernels.bench sparse_ternary

Ten updates of a convolutional network of 865,482 weights, of which one in 400 to one in 2 are selected. NumPy's
partition computes on one core, as its users get it; the others on both. The bisection over all entries and the radix
histogram are what order.py could have been.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .. import sparse_ternary, timing
from . import order

CLIENTS, WEIGHTS = 10, 865_482
SHARES = {"1/400": 1 / 400, "1/100": 1 / 100, "1/25": 1 / 25, "1/2": 1 / 2}
DIGITS = ((20, 11), (9, 11), (0, 9))  # (shift, bits) of a radix histogram, from the top


def partition(x: np.ndarray, k: int) -> np.ndarray:
    """NumPy's selection of the k-th largest magnitude."""
    return np.partition(np.abs(x), x.shape[-1] - k, axis=-1)[..., -k]


def radix_threshold(x, k: int):
    """Three histograms of digits, each of the entries that agree with the digits before."""

    def of_row(u):
        prefix, rank = jnp.int32(0), jnp.int32(k)
        for shift, bits in DIGITS:
            same = (u >> (shift + bits)) == (prefix >> (shift + bits))
            digit = jnp.where(same, (u >> shift) & (2**bits - 1), 2**bits)
            histogram = jnp.zeros(2**bits + 1, jnp.int32).at[digit].add(1)[:-1]
            from_the_top = jnp.cumsum(histogram[::-1])[::-1]
            place = jnp.sum(from_the_top >= rank) - 1
            rank -= from_the_top[place] - histogram[place]
            prefix |= place.astype(jnp.int32) << shift
        return prefix

    return order.magnitudes(jax.lax.map(of_row, order.patterns(x)), x.dtype)


def bisected_threshold(x, k: int):
    """Bits of all entries bisected, without blocks."""
    u = order.patterns(x)
    return order.magnitudes(order._bisected(u, k, jnp.zeros_like(u[..., :1]))[0], x.dtype)[..., 0]


def run(bench) -> None:
    """Measures thresholds at four shares, then what is made of them at 1/400."""
    host = np.random.default_rng(0).standard_normal((CLIENTS, WEIGHTS)).astype(np.float32)
    x = jnp.asarray(host)
    work = CLIENTS * WEIGHTS
    # Every entry has to be read once; a sum is the fastest reading there is.
    floor_s = timing.of(functools.partial(jax.jit(lambda x: jnp.sum(x, axis=-1)), x)).best
    for name, share in SHARES.items():
        k = sparse_ternary.selection_size(WEIGHTS, share)
        expected = partition(host, k)
        contestants = {
            "ours": lambda k=k: sparse_ternary.topk_threshold(x, k),
            "np.partition": lambda k=k: partition(host, k),
            "bisection of all": functools.partial(jax.jit(functools.partial(bisected_threshold, k=k)), x),
            "radix histogram": functools.partial(jax.jit(functools.partial(radix_threshold, k=k)), x),
        }
        if name == "1/400":  # a long wait elsewhere
            contestants["lax.top_k"] = functools.partial(
                jax.jit(lambda x, k=k: jax.lax.top_k(jnp.abs(x), k)[0][..., -1]), x
            )
        for who, call in contestants.items():
            if not np.array_equal(np.asarray(call()), expected):
                raise AssertionError(f"{who} has another threshold than np.partition at {name}")
        bench.compare(f"threshold, {name} of 10 x 865,482", contestants, work=work, unit="w", k=k, floor_s=floor_s)
    k = sparse_ternary.selection_size(WEIGHTS, SHARES["1/400"])
    zeros = jnp.zeros_like(x)
    calls = {
        "mask": lambda: sparse_ternary.topk_mask(x, k),
        "ternarize": lambda: sparse_ternary.ternarize(x, k),
        "compress_with_feedback": lambda: sparse_ternary.compress_with_feedback(x, zeros, k),
    }
    for name, call in calls.items():
        bench.compare(f"{name}, 1/400 of 10 x 865,482", {"ours": call}, work=work, unit="w", k=k, floor_s=floor_s)
    signs = jnp.sign(x).astype(jnp.int8)
    vote = functools.partial(jax.jit(sparse_ternary.majority_vote), signs)
    bench.compare("majority_vote of 10 x 865,482", {"ours": vote}, work=work, unit="w")
