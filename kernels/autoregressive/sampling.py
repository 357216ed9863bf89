"""Samples of a network together with their log-probabilities, in chunks, on all devices."""

import functools

import jax
import jax.numpy as jnp

from .block_split import sample_blocks
from .networks import MADE, Network, check_network, sites
from .probability import _logits, mixture, sum_of_terms
from .row_split import sample_rows

CHUNK = 256


def sample(params: dict, cfg: Network, key: jax.Array, n: int, chunk: int | None = None, *, first: int = 0):
    """Returns (spins int8 [n, rows, columns], log_q [n]): samples and the `log_prob` of each.

    Sample number i depends on `key` and i alone, up to rounding: not on n, `chunk` or the devices. A stream of any
    length so comes in calls with first = 0, n, 2 n, ...

    Args:
      params: from `init` or of its form.
      cfg: PixelCNN or MADE.
      key: from jax.random.key.
      n: samples, at least 1.
      chunk: samples at a time, which bounds memory; None takes what is fast.
      first: number of the first sample.

    Raises:
      ValueError: n or chunk below 1, first below 0.
    """
    check_network(cfg)
    for name, value, least in (("n", n, 1), ("chunk", chunk, 1), ("first", first, 0)):
        if value is not None and value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    chunk = min(n, chunk or CHUNK)
    parts = [_chunk(params, cfg, key, jnp.uint32(first + start), chunk) for start in range(0, n, chunk)]
    return tuple(jnp.concatenate(part)[:n] for part in zip(*parts, strict=True))


@functools.partial(jax.jit, static_argnames=("cfg", "chunk"))
def _chunk(params, cfg, key, first, chunk):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(chunk, dtype=jnp.uint32))
    bits = jax.vmap(lambda one: jax.random.bits(one, (sites(cfg) + 1,), jnp.uint32))(keys).T

    spins, a = (sample_blocks if isinstance(cfg, MADE) else sample_rows)(
        params, cfg, bits[:-1].reshape(cfg.rows, cfg.columns, chunk)
    )
    log_q = sum_of_terms(cfg, a, spins)
    if cfg.z2:
        log_q = mixture(log_q, sum_of_terms(cfg, _logits(params, cfg, -spins), -spins))
        spins = jnp.where(bits[-1] >> 31 == 0, spins, -spins)
    return jnp.moveaxis(spins, -1, 0).astype(jnp.int8), log_q
