"""One function over many steps, draws or seeds, `at_once` of them in a pass, with the results stacked.

Concrete arrays on a CPU go through a loop of compiled passes, because XLA runs convolutions inside of its own loops on
one core; anything traced, and other devices, through one `lax.map`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Count


def stacked(step: Callable, static: Hashable, arrays: Any, items: Any, at_once: Count) -> Any:
    """Returns `step(static, arrays, item)` of every item, stacked on a new first axis.

    Args:
        step: a function of a module, so that what is compiled for it is met again.
        static: what is no array: functions, layouts.
        arrays: pytree of what all items share.
        items: pytree of arrays `[items, ...]`.
        at_once: items in one pass; more of them take more memory.
    """
    arrays, items = jax.tree.map(jnp.asarray, (arrays, items))
    count = jax.tree.leaves(items)[0].shape[0]
    at_once = min(at_once, count)
    # The last pass repeats the last item, so that there is one program for all of them.
    indices = np.minimum(np.arange(-(-count // at_once) * at_once), count - 1).reshape(-1, at_once)
    if is_concrete((arrays, items)) and jax.default_backend() == "cpu":
        passes = [_pass_compiled(step, static, arrays, items, jnp.asarray(row)) for row in indices]
        results = jax.tree.map(lambda *parts: jnp.concatenate(parts), *passes)
    else:
        results = jax.lax.map(lambda row: _pass(step, static, arrays, items, row), jnp.asarray(indices))
        results = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), results)
    return jax.tree.map(lambda part: part[:count], results)


def is_concrete(tree: Any) -> bool:
    """Whether no array of a pytree is traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _pass(step, static, arrays, items, indices):
    """The results of the items at `indices` `[at_once]`."""
    if len(indices) == 1:  # functions that cannot be mapped work at least one by one
        return jax.tree.map(lambda part: part[None], step(static, arrays, _at(items, indices[0])))
    return jax.vmap(lambda index: step(static, arrays, _at(items, index)))(indices)


def _at(items, index):
    return jax.tree.map(lambda leaf: leaf[index], items)


_pass_compiled = functools.partial(jax.jit, static_argnums=(0, 1))(_pass)
