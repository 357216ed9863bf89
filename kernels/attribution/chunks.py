"""A batch in chunks, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import Count
from ..scalars import whole


def check_batch_size(size: Any, x: Any) -> int:
    """Returns the samples in `x`; raises ValueError for a size that is none and arrays of unequal batches."""
    leaves = jax.tree.leaves(x)
    batch = jnp.shape(leaves[0])[0] if leaves and jnp.ndim(leaves[0]) else 0
    whole("batch_size", size, 1, why=", or None for all at once")
    if any(jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != batch for leaf in leaves):
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in leaves)
        raise ValueError(
            f"batch_size is {size}, and arrays of x have shapes {shapes}; expected as many samples on the first axis "
            "of each."
        )
    return batch


def in_chunks(function: Callable, x: Any, target: Any, size: Count) -> tuple[Any, Any]:
    """Returns `function(x, target)` of a batch, computed `size` samples at a time.

    Args:
        function: of samples and their targets, gives (by sample, totals): pytrees of arrays with samples on the first
            axis, and of sums over samples.
        x: pytree of arrays `[batch, ...]`.
        target: as of `attribute`; an array with a first axis goes with the samples.
        size: of a chunk; the last may be smaller.
    """
    batch = check_batch_size(size, x)
    goes_along = not callable(target) and not isinstance(target, str) and target is not None and jnp.ndim(target) > 0
    full = batch // size

    def chunk(start, stop):
        part = jax.tree.map(lambda leaf: leaf[start:stop], x)
        return part, jnp.asarray(target)[start:stop] if goes_along else None

    def call(arguments):
        part, targets = arguments
        by_sample, totals = function(part, targets if goes_along else target)
        number = jax.tree.leaves(part)[0].shape[0]
        for leaf in jax.tree.leaves(by_sample):
            if leaf.shape[:1] != (number,):
                raise ValueError(
                    f"{number} samples of a batch of {batch} gave an array of shape {leaf.shape}: fn has the size of "
                    "the batch in it, or closes over arrays of that size. Make these parts of x, or leave batch_size "
                    "out."
                )
        return by_sample, totals

    results = []
    if full == 1:
        results.append(call(chunk(0, size)))
    elif full and not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((x, target))):
        # XLA runs convolutions inside of its own loops on one core of a CPU.
        results += [call(chunk(start, start + size)) for start in range(0, full * size, size)]
    elif full:
        fold = jax.tree.map(lambda leaf: leaf.reshape(full, size, *leaf.shape[1:]), chunk(0, full * size))
        by_sample, totals = jax.lax.map(call, fold)
        by_sample = jax.tree.map(lambda leaf: leaf.reshape(full * size, *leaf.shape[2:]), by_sample)
        results.append((by_sample, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), totals)))
    if full * size < batch:
        results.append(call(chunk(full * size, batch)))
    return (
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *(by_sample for by_sample, _ in results)),
        jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *(totals for _, totals in results)),
    )
