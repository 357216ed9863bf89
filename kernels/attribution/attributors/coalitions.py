"""Games of segments: a coalition keeps some segments of the input and takes the rest from a baseline.

What is common to Shapley values, by permutations or by regression, and to ablation: `scores` evaluates coalitions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Count
from ..arguments import PyTree
from .repeated import Explainer


@dataclasses.dataclass(frozen=True)
class Segments:
    """The segments of an input.

    Attributes:
        labels: for each array of x, integers that broadcast to it, `[1 or batch, ...]`.
        count: of segments, labelled 0 to count - 1.
    """

    labels: PyTree
    count: int


def segments_of(segments: Any, x: PyTree) -> Segments:
    """Returns the segments of `x`; None: every entry of a sample is one.

    Raises:
        ValueError: labels that are no integers from 0 on, or do not broadcast to x; a label that no entry has.
    """
    leaves, tree = jax.tree.flatten(x)
    if any(leaf.ndim == 0 for leaf in leaves):
        raise ValueError("x has an array without axes: expected samples on the first axis of each.")
    if segments is None:
        sizes = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
        starts = np.cumsum([0, *sizes])
        labels = [
            (start + np.arange(size, dtype=np.int32)).reshape(1, *leaf.shape[1:])
            for start, size, leaf in zip(starts, sizes, leaves, strict=False)
        ]
        return Segments(jax.tree.unflatten(tree, labels), int(starts[-1]))
    if jax.tree.structure(segments) != tree:  # type: ignore[operator]  # trees are not annotated by JAX
        raise ValueError(f"segments has the structure {jax.tree.structure(segments)} and x {tree}: expected the same.")
    labels = [_labels(one, leaf) for one, leaf in zip(jax.tree.leaves(segments), leaves, strict=True)]
    used = np.unique(np.concatenate([one.ravel() for one in labels]))
    if used[0] < 0 or used[-1] != len(used) - 1:
        missing = sorted(set(range(int(used[-1]) + 1)) - set(used.tolist()))[:3]
        raise ValueError(
            f"segments has labels from {used[0]} to {used[-1]}, and {len(used)} of them"
            + (f", without {', '.join(map(str, missing))}" if missing else "")
            + ": expected integers from 0 on, each of them in use."
        )
    return Segments(jax.tree.unflatten(tree, labels), len(used))


def _labels(one: Any, leaf) -> np.ndarray:
    if isinstance(one, jax.core.Tracer):
        raise ValueError("segments is traced: expected concrete integers; close over them.")
    array = np.asarray(one)
    if array.dtype.kind not in "iu":
        raise ValueError(f"segments has dtype {array.dtype}: expected integers, the label of each entry's segment.")
    if array.ndim < leaf.ndim:
        array = array.reshape((1,) * (leaf.ndim - array.ndim) + array.shape)
    if array.ndim != leaf.ndim or any(n not in (1, m) for n, m in zip(array.shape, leaf.shape, strict=True)):
        raise ValueError(
            f"segments of shape {np.shape(one)} does not broadcast to x, {leaf.shape}: expected {leaf.shape[1:]}, or "
            "that with an axis of samples."
        )
    return array.astype(np.int32)


def spread(values: jax.Array, labels: PyTree, x: PyTree) -> PyTree:
    """Returns for every entry of `x` what `values`, `[batch, segments]`, has for its segment."""

    def of(label, leaf):
        return jnp.broadcast_to(by_label(values, label), leaf.shape).astype(leaf.dtype)

    return jax.tree.map(of, labels, x)


def by_label(values: jax.Array, label) -> jax.Array:
    """Returns `values`, `[batch, segments]`, at labels `[1 or batch, ...]`."""
    if label.shape[0] == 1:
        return values[:, label[0]]
    return jax.vmap(lambda row, own: row[own])(jnp.broadcast_to(values, (label.shape[0], values.shape[1])), label)


def composed(x: PyTree, origin: PyTree, labels: PyTree, coalition: jax.Array) -> PyTree:
    """Returns `x` where its segment is in the coalition, bool `[batch or 1, segments]`, the baseline elsewhere."""
    return jax.tree.map(lambda one, other, label: jnp.where(by_label(coalition, label), one, other), x, origin, labels)


def scores(explain: Explainer, arrays, target, operands: dict, coalition: Callable, count: int, at_once: Count):
    """Returns the explained outputs of `count` coalitions, `[count, batch]`.

    Args:
        operands: a pytree of arrays, with "x", "origin" and "labels".
        coalition: of (operands, index), static under jit, gives bool `[batch or 1, segments]`.
        at_once: coalitions in one pass.
    """
    at_once = min(at_once, max(count, 1))
    if count == 0:
        batch = jax.tree.leaves(operands["x"])[0].shape[0]
        return jnp.zeros((0, batch), jax.tree.leaves(operands["x"])[0].dtype)
    passes = -(-count // at_once)
    indices = jnp.minimum(jnp.arange(passes * at_once), count - 1).reshape(passes, at_once)
    arguments = jax.tree.map(jnp.asarray, (arrays, target, operands))
    concrete = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments))
    if concrete and jax.default_backend() == "cpu":  # XLA runs convolutions inside of its own loops on one core
        parts = [_scores_compiled(explain, coalition, arguments, some) for some in indices]
        return jnp.concatenate(parts)[:count]
    several = jax.lax.map(lambda some: _scores(explain, coalition, arguments, some), indices)
    return several.reshape(-1, *several.shape[2:])[:count]


def _scores(explain: Explainer, coalition: Callable, arguments, indices):
    arrays, target, operands = arguments

    def one(index):
        mixed = composed(operands["x"], operands["origin"], operands["labels"], coalition(operands, index))
        return explain.score(arrays, mixed, target)

    return one(indices[0])[None] if len(indices) == 1 else jax.vmap(one)(indices)


_scores_compiled = functools.partial(jax.jit, static_argnums=(0, 1))(_scores)
