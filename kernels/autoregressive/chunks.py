"""Long batches in chunks of one size: memory stays bounded, features stay in caches, and all cores work.

On CPU, chunks run beside each other in threads: XLA spreads one chunk's products over cores less well than that.
"""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from ..array_types import Count
from ..threads import cores
from .networks import MADE, dtype_of, layers, sites

# Bytes of features that a chunk may keep at hand, which sets its size: of caches, or of an accelerator's memory.
CACHE_BYTES, ACCELERATOR_BYTES = 12_000_000, 2_000_000_000
LEAST = 16  # samples below which another thread does not pay

_compiling = threading.Lock()


def usual_size(params, cfg, platform: str) -> int:
    """Returns the samples whose rows (of MADE: whole features) fit the memory that a chunk should stay in."""
    lines = 1 if isinstance(cfg, MADE) else 3 * cfg.half_width + 1
    places = sites(cfg) if isinstance(cfg, MADE) else cfg.columns
    bytes_each = sum(lines * places * layer.inputs for layer in layers(cfg)) * dtype_of(params).itemsize
    room = CACHE_BYTES if platform == "cpu" else ACCELERATOR_BYTES
    return max(LEAST, room // bytes_each)


def workers_for(n: Count, devices: Sequence[jax.Device]) -> int:
    """Returns the threads for n samples: the cores of a single CPU device, as far as each has something to do."""
    alone = len(devices) == 1 and devices[0].platform == "cpu"
    return max(1, min(cores() if alone else 1, int(n // LEAST)))


def equal_size(n: Count, most: Count, beside: int) -> int:
    """Returns the size of equal chunks, `most` at most, `beside` of which run at a time."""
    rounds = math.ceil(n / (most * beside))
    return math.ceil(n / (rounds * beside))


def run(start_chunk, starts, workers: int) -> list:
    """Returns the finished results of `start_chunk(start)` for every start, `workers` of them at a time.

    Args:
      start_chunk: calls one jitted function; all calls have the same shapes.
    """
    wide = jax.config.jax_enable_x64  # type: ignore[attr-defined]  # options of JAX are not in its annotations

    def one(start):
        # Modes are a thread's own. One thread compiles, the others wait for it; what was started runs without the lock.
        with jax.enable_x64(wide):
            with _compiling:
                result = start_chunk(start)
            return jax.block_until_ready(result)

    if workers == 1:
        return [one(start) for start in starts]
    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(one, starts))
    finally:  # an interrupt does not wait for the chunks that have not begun
        pool.shutdown(cancel_futures=True)


def joined(parts, n: Count):
    """Returns the first n of the samples in parts."""
    return parts[0][:n] if len(parts) == 1 else jnp.concatenate(parts)[:n]


def is_traced(tree) -> bool:
    """Whether any array of a tree is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
