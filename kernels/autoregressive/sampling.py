"""Samples of a network together with their log-probabilities: in chunks, on all cores or devices.

Sample number i takes its random bits from fold_in(key, i), so that it does not depend on how the samples are grouped.
Its spins and its log-probability agree with `log_prob` to rounding.
"""

import functools
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .block_split import sample_blocks
from .networks import MADE, Network, check_network, layers, sites
from .probability import _logits, dtype_of, full_precision, mixture, sum_of_terms
from .row_split import sample_rows
from .wavefront import sample_wavefront

# Bytes of features that a chunk may keep at hand, which sets its size: of caches, or of an accelerator's memory.
CACHE_BYTES, ACCELERATOR_BYTES = 12_000_000, 2_000_000_000
LEAST_CHUNK = 16  # samples below which another thread does not pay

_compiling = threading.Lock()


def sample(
    params: dict,
    cfg: Network,
    key: jax.Array,
    n: int,
    chunk: int | None = None,
    *,
    first: int = 0,
    implementation: str | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns (spins int8 [n, rows, columns], log_q [n]): samples and the `log_prob` of each, in nats.

    Sample number i depends on `key` and i alone, up to rounding: not on n, `chunk` or the devices. A stream of any
    length comes in calls with first = 0, n, 2 n, ... and one key. Under `jax.jit` it runs as a loop over chunks.

    Args:
      params: from `init` or of its form; their dtype is that of the computation. log_q has it too, but float64 where
        64-bit mode is on.
      cfg: PixelCNN or MADE. With z2 each sample is multiplied by a random sign, at the cost of a parallel pass.
      key: from jax.random.key.
      n: samples, at least 1.
      chunk: samples at a time on each core or device, which bounds memory beyond the result; None takes what is fast.
      first: number of the first sample.
      implementation: "row_split", or "wavefront" (PixelCNN only): rows / columns as below, or several rows a step;
        None takes what was measured to be fast on this platform. Both draw the same samples.
      devices: to spread samples over; None takes all of this process, or under `jax.jit` leaves it to JAX.

    Raises:
      ValueError: n or chunk below 1, first below 0 or a sample number beyond 32 bits, an unknown implementation.
    """
    check_network(cfg)
    chosen = _check(cfg, n, chunk, first, implementation)
    if devices is None and (_is_traced(params) or _is_traced(key)):
        return _loop(params, cfg, key, n, first, chunk or _usual_chunk(params, cfg), chosen)
    devices = tuple(jax.local_devices() if devices is None else devices)
    chosen = chosen or _fast(cfg, devices[0].platform)
    most = chunk or _usual_chunk(params, cfg, devices[0].platform)
    # One CPU device still has all cores: chunks that run beside each other use them better than one product does.
    threads = (os.cpu_count() or 1) if len(devices) == 1 and devices[0].platform == "cpu" else 1
    workers = max(1, min(threads, n // LEAST_CHUNK))
    rounds = math.ceil(n / (most * len(devices) * workers))
    size = math.ceil(n / (rounds * len(devices) * workers))
    step = size * len(devices)
    mesh = Mesh(np.array(devices), ("samples",)) if len(devices) > 1 else None
    wide = jax.config.jax_enable_x64

    def run(start):
        numbers = np.arange(first + start, first + start + step, dtype=np.uint64).astype(np.uint32)
        # Modes are a thread's own; one thread compiles, the others wait for it.
        with jax.enable_x64(wide):
            with _compiling:
                found = _sample_on(params, key, numbers, devices, mesh, cfg, chosen)
            return jax.block_until_ready(found)

    starts = range(0, n, step)
    if workers == 1:
        parts = [run(start) for start in starts]
    else:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(run, starts))
    return tuple(_joined(part, n) for part in zip(*parts, strict=True))


def _check(cfg, n, chunk, first, implementation):
    for name, value, least in (("n", n, 1), ("chunk", chunk, 1), ("first", first, 0)):
        if value is not None and value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    if first + n > 1 << 32:
        raise ValueError(f"first={first}, n={n}: sample numbers end at 2**32 - 1; go on with another key")
    known = ("row_split",) if isinstance(cfg, MADE) else ("row_split", "wavefront")
    if implementation not in (None, *known):
        raise ValueError(f"implementation={implementation!r}: {type(cfg).__name__} has {', '.join(known)}")
    return implementation


def _fast(cfg, platform: str) -> str:
    """The implementation for a platform: on CPU the one with fewer operations, elsewhere that with fewer steps."""
    return "row_split" if platform == "cpu" or isinstance(cfg, MADE) else "wavefront"


def _usual_chunk(params, cfg, platform: str | None = None) -> int:
    """Samples whose rows (of MADE: whole features) fit the memory that a chunk should stay in."""
    lines = 1 if isinstance(cfg, MADE) else 2 * cfg.half_width + 1 + cfg.half_width
    places = sites(cfg) if isinstance(cfg, MADE) else cfg.columns
    held = sum(lines * places * layer.inputs for layer in layers(cfg)) * dtype_of(params).itemsize
    room = CACHE_BYTES if (platform or jax.default_backend()) == "cpu" else ACCELERATOR_BYTES
    return max(LEAST_CHUNK, room // held)


def _joined(parts, n):
    return parts[0][:n] if len(parts) == 1 else jnp.concatenate(parts)[:n]


def _is_traced(tree) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _loop(params, cfg, key, n, first, most, implementation):
    """The samples as one traced loop over chunks."""
    rounds = math.ceil(n / most)
    size = math.ceil(n / rounds)
    numbers = jnp.uint32(first) + jnp.arange(rounds * size, dtype=jnp.uint32).reshape(rounds, size)
    draw = functools.partial(_sample_numbers, params, key, cfg=cfg, implementation=implementation)
    found = jax.lax.map(draw, numbers) if rounds > 1 else draw(numbers[0])
    return tuple(values.reshape(rounds * size, *values.shape[1 + (rounds > 1) :])[:n] for values in found)


def _sample_on(params, key, numbers, devices, mesh, cfg, implementation):
    """One chunk a device, started on the devices."""
    if mesh is None:
        numbers = jax.device_put(numbers, devices[0])
        return _sample_numbers_jit(params, key, numbers, cfg=cfg, implementation=implementation)
    params, key = jax.device_put((params, key), NamedSharding(mesh, P()))
    numbers = jax.device_put(numbers, NamedSharding(mesh, P("samples")))
    return _sample_sharded(params, key, numbers, mesh=mesh, cfg=cfg, implementation=implementation)


def _sample_numbers(params, key, numbers, *, cfg, implementation):
    """Returns (spins int8 [n, rows, columns], log_q [n]) of the samples with these numbers [n]."""
    with full_precision():
        return _drawn(params, key, numbers, cfg, implementation)


def _drawn(params, key, numbers, cfg, implementation):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    bits = jax.vmap(lambda one: jax.random.bits(one, (sites(cfg) + 1,), jnp.uint32))(keys).T
    by_site = bits[:-1].reshape(cfg.rows, cfg.columns, -1)
    if isinstance(cfg, MADE):
        spins, a = sample_blocks(params, cfg, by_site)
    elif (implementation or _fast(cfg, jax.default_backend())) == "wavefront":
        spins, a = sample_wavefront(params, cfg, by_site)
    else:
        spins, a = sample_rows(params, cfg, by_site)
    log_q = sum_of_terms(cfg, a, spins)
    if cfg.z2:
        log_q = mixture(log_q, sum_of_terms(cfg, _logits(params, cfg, -spins), -spins))
        spins = jnp.where(bits[-1] >> 31 == 0, spins, -spins)
    return jnp.moveaxis(spins, -1, 0).astype(jnp.int8), log_q


_sample_numbers_jit = jax.jit(_sample_numbers, static_argnames=("cfg", "implementation"))


@functools.partial(jax.jit, static_argnames=("mesh", "cfg", "implementation"))
def _sample_sharded(params, key, numbers, *, mesh, cfg, implementation):
    draw = functools.partial(_sample_numbers, cfg=cfg, implementation=implementation)
    # Nothing is reduced over devices, so there is no replication to check.
    across = jax.shard_map(
        draw, mesh=mesh, in_specs=(P(), P(), P("samples")), out_specs=(P("samples"), P("samples")), check_vma=False
    )
    return across(params, key, numbers)
