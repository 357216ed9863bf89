"""Samples of a network together with their log-probabilities: in chunks, on all cores or devices.

Sample number i takes its random bits from fold_in(key, i), so that it does not depend on how the samples are grouped.
Its spins and its log-probability agree with `log_prob` to rounding.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..array_types import Array, Count, Float, Int8, RandomKey
from . import chunks
from .arguments import Parameters, check_integer
from .block_split import sample_blocks
from .convolution import full_precision
from .forward import logits_of
from .networks import MADE, Network, check_parameters, sites
from .probability import mixture, sum_of_terms
from .row_split import sample_rows
from .wavefront import sample_wavefront


def sample(
    params: Parameters,
    cfg: Network,
    key: RandomKey,
    n: Count,
    chunk: Count | None = None,
    *,
    first: Count = 0,
    implementation: str | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[Int8[Array, "n rows columns"], Float[Array, " n"]]:
    """Returns (spins int8 [n, rows, columns], log_q [n]): samples and the `log_prob` of each, in nats.

    Sample number i depends on `key` and i alone, up to rounding: not on n, `chunk` or the devices. A stream of any
    length comes in calls with first = 0, n, 2 n, ... and one key. Under `jax.jit` it runs as a loop over chunks.

    Args:
      params: from `init` or of its form; their dtype is that of the products. log_q is float32, or float64 with them
        or with 64-bit mode on.
      cfg: PixelCNN or MADE. With z2 each sample is multiplied by a random sign, at the cost of a parallel pass.
      key: from jax.random.key.
      n: samples, at least 1.
      chunk: samples at a time on each core or device, which bounds memory beyond the result; None takes what is fast.
      first: number of the first sample.
      implementation: "row_split", site by site, or "wavefront" (PixelCNN only), several rows at a time; None takes the
        first on CPU, where it was measured to be faster, the second elsewhere (under `jax.jit` as it is lowered). Both
        draw the same samples.
      devices: to spread samples over; None takes all of this process, or under `jax.jit` leaves it to JAX.

    Raises:
      ValueError: n or chunk below 1, first below 0 or a sample number beyond 32 bits, an unknown implementation, no
        devices, parameters of another network.

    Example:
      >>> import jax
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.MADE(2)
      >>> params = autoregressive.init(cfg, jax.random.key(0))
      >>> spins, log_q = autoregressive.sample(params, cfg, jax.random.key(1), 10)
      >>> spins.shape, spins.dtype.name, log_q.shape
      ((10, 2, 2), 'int8', (10,))
    """
    check_parameters(params, cfg)
    implementation = _check(cfg, n, chunk, first, implementation)
    if devices is None and chunks.is_traced((params, key)):
        return _traced(params, cfg, key, n, first, chunk, implementation)
    devices = tuple(jax.local_devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices=[]: give at least one, or None for all")
    implementation = implementation or _fast(cfg, devices[0].platform)
    workers = chunks.workers_for(n, devices)
    most = chunk or chunks.usual_size(params, cfg, devices[0].platform)
    step = chunks.equal_size(n, most, workers * len(devices)) * len(devices)
    mesh = Mesh(np.array(devices), ("samples",)) if len(devices) > 1 else None

    def start_chunk(start):
        numbers = np.arange(first + start, first + start + step, dtype=np.uint64).astype(np.uint32)
        return _sample_on(params, key, numbers, devices, mesh, cfg, implementation)

    parts = chunks.run(start_chunk, range(0, n, step), workers)
    return tuple(chunks.joined(part, n) for part in zip(*parts, strict=True))


def _check(cfg, n, chunk, first, implementation):
    for name, value, least in (("n", n, 1), ("chunk", chunk, 1), ("first", first, 0)):
        if value is None and name == "chunk":
            continue
        check_integer(name, value, least)
    if first + n > 1 << 32:
        raise ValueError(f"first={first}, n={n}: sample numbers end at 2**32 - 1; go on with another key")
    names = ("row_split",) if isinstance(cfg, MADE) else ("row_split", "wavefront")
    if implementation not in (None, *names):
        raise ValueError(f"implementation={implementation!r}: {type(cfg).__name__} has {', '.join(names)}")
    return implementation


def _fast(cfg, platform: str) -> str:
    """The implementation for a platform: on CPU row by row, which moves less memory and was measured to be two to three
    times as fast at every batch; elsewhere the wavefront, which has a third of the steps: on an H200 it was
    1.2 times as fast as row by row, 1000 samples of 16 x 16 at a time (`kernels/device.nvidia-h200.json`)."""
    return "row_split" if platform == "cpu" or isinstance(cfg, MADE) else "wavefront"


def _traced(params, cfg, key, n, first, chunk, implementation):
    """The samples as one traced loop over chunks; the platform that it is lowered for has its own."""

    def loop(platform):
        most = min(n, chunk or chunks.usual_size(params, cfg, platform))
        form = {"n": n, "first": first, "most": most, "implementation": implementation or _fast(cfg, platform)}
        return form, functools.partial(_loop, cfg=cfg, **form)

    (on_cpu, cpu), (elsewhere, other) = loop("cpu"), loop("accelerator")
    if on_cpu == elsewhere:
        return cpu(params, key)
    return jax.lax.platform_dependent(params, key, cpu=cpu, default=other)


def _loop(params, key, *, cfg, n, first, most, implementation):
    """The samples in chunks of `most` at most."""
    rounds = math.ceil(n / most)
    size = math.ceil(n / rounds)
    numbers = jnp.uint32(first) + jnp.arange(rounds * size, dtype=jnp.uint32).reshape(rounds, size)
    draw = functools.partial(_sample_numbers, params, key, cfg=cfg, implementation=implementation)
    samples = jax.lax.map(draw, numbers) if rounds > 1 else draw(numbers[0])
    return tuple(values.reshape(rounds * size, *values.shape[1 + (rounds > 1) :])[:n] for values in samples)


def _sample_on(params, key, numbers, devices, mesh, cfg, implementation):
    """One chunk a device, started on the devices."""
    if mesh is None:
        params, key, numbers = jax.device_put((params, key, numbers), devices[0])
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
    elif implementation == "wavefront":
        spins, a = sample_wavefront(params, cfg, by_site)
    else:
        spins, a = sample_rows(params, cfg, by_site)
    log_q = sum_of_terms(cfg, a, spins)
    if cfg.z2:
        log_q = mixture(log_q, sum_of_terms(cfg, logits_of(params, cfg, -spins), -spins))
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
