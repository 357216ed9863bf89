"""Explanations of differences and of pairs: contrastive relevance, and relevance of a similarity.

Contrastive relevance is of Gu, Yang and Tresp (ACCV 2018, arXiv:1812.02100); BiLRP, of two inputs jointly, of Eberle et
al., Building and interpreting deep similarity models (IEEE TPAMI 2022, arXiv:2003.05431).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import Array, Count, Float, RandomKey
from .. import finite
from ..arguments import Parameters, PyTree, as_array, check_examples
from ..backward import backward
from ..composites import as_composite
from ..engine import attribute, forward, read, reading_of
from ..precision import widened
from ..target import Target, starting_relevance
from ..tracing.operations import Program
from .gradients import _check_counts, _check_key

OTHERS = ("alike", "proportional")


def contrastive(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = "argmax",
    others: str = "alike",
    positive: bool = False,
    rules: Any = "epsilon_plus",
    **options: Any,
) -> tuple[PyTree, ...]:
    """Returns the outputs, and relevance for a class less that for all others: what tells it from them.

    The relevance of the others starts with as much in all as that of the class, so that what speaks for any class
    alike cancels.

    Args:
        fn: `fn(params, x)` -> outputs `[..., classes]`; params, x: as for `attribute`.
        target: a class, classes `[...]`, or "argmax".
        others: "alike": each other class has the same share; "proportional": in proportion to exp(output), the classes
            that it is confused with.
        positive: cut off what speaks for the others.
        rules: a composite, its name or a rule, as for `attribute`.
        **options: of `attribute`: `at`, `condition`, `return_report`, `fold_norm`, `batch_size`, `primitive_rules`.

    Raises:
        ValueError: as `attribute`; outputs that are one value.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> w, x = jnp.array([[1.0, 1.0], [1.0, 0.0]]), jnp.array([[3.0, 1.0]])
        >>> rule = attribution.rules.Epsilon()
        >>> y, relevance = attribution.contrastive(lambda w, x: x @ w, w, x, target=0, rules=rule)
        >>> [round(float(part), 3) for part in relevance[0]]  # 3 and 1 for the class, 4 and 0 for the other
        [-1.0, 1.0]
    """
    if others not in OTHERS:
        raise ValueError(f"others={others!r}: expected one of {', '.join(OTHERS)}.")
    if callable(target) or target is None:
        raise ValueError(f"target={target!r}: expected a class, classes or 'argmax', which the others stand against.")
    if isinstance(rules, (list, tuple, dict)):
        raise ValueError("rules is several composites: expected one; call contrastive for each.")

    def start(y):
        if y.ndim < 2 or y.shape[-1] < 2:
            raise ValueError(f"fn gives outputs of shape {y.shape}: expected [..., classes], two classes or more.")
        own = starting_relevance(y, target)
        is_own = starting_relevance(jnp.ones_like(y), jnp.argmax(y, -1) if isinstance(target, str) else target) != 0
        score = jnp.where(is_own, -jnp.inf, 0.0 if others == "alike" else y)
        return own - jax.nn.softmax(score, -1).astype(y.dtype) * jnp.sum(own, -1, keepdims=True)

    y, relevance, *report = attribute(fn, params, x, target=start, rules=rules, **options)
    if positive:
        relevance = jax.tree.map(lambda leaf: jnp.maximum(leaf, 0), relevance)
    return y, relevance, *report


def bilrp(
    fn: Callable,
    params: PyTree,
    x: Any,
    other: Any,
    *,
    rules: Any = "epsilon_plus",
    reduce: Callable | None = None,
    projections: Count | None = None,
    key: RandomKey | None = None,
    at_once: Count = 16,
    primitive_rules: Mapping[str, Any] | None = None,
) -> tuple[Float[Array, " batch"], Float[Array, " batch ..."]]:
    """Returns the similarity of two inputs, the dot product of their embeddings, and relevance of pairs of features.

    The sum over dimensions of the embedding of the relevance of one input for it, times that of the other input for
    it. Where relevance is conserved the sum over all pairs is the similarity.

    Args:
        fn: `fn(params, x)` -> embeddings `[batch, dimensions]`; params: its parameters, a pytree.
        x, other: arrays `[batch, ...]`, a pair of inputs a sample.
        rules: a composite, its name or a rule, as for `attribute`.
        reduce: of relevance `[batch, ...]`, gives fewer features, `[batch, features]` or any shape: sums over channels
            or patches. None: every entry of an input is one, and the result is as large as their square.
        projections: take as many random directions (signs over their root) instead of the dimensions; the relevance is
            then without bias, with an error that falls as one over the root of their number.
        key: of the projections, from `jax.random.key`.
        at_once: dimensions in one pass.
        primitive_rules: as for `attribute`.

    Returns:
        (similarity, relevance `[batch, *features of x, *features of other]`).

    Raises:
        ValueError: as `attribute`; outputs that are no embeddings; projections without a key.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> x, other = jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])
        >>> y, pairs = attribution.bilrp(lambda w, x: x @ w, jnp.eye(2), x, other)
        >>> [round(float(part), 3) for part in pairs.reshape(-1)], float(y[0])
        ([3.0, 0.0, 0.0, 8.0], 11.0)
    """
    _check_counts(at_once=at_once, **({} if projections is None else {"projections": projections}))
    if projections is not None and key is None:
        raise ValueError("key is None: expected jax.random.key(seed), from which the projections are drawn.")
    _check_key(key, -1)
    sides = [_Side.of(fn, params, one, rules, primitive_rules) for one in (x, other)]
    embeddings = [side.output for side in sides]
    if embeddings[0].ndim != 2 or embeddings[0].shape != embeddings[1].shape:
        shapes = " and ".join(str(one.shape) for one in embeddings)
        raise ValueError(f"fn gives outputs of shape {shapes}: expected embeddings [batch, dimensions] of both inputs.")
    size, dtype = embeddings[0].shape[1], embeddings[0].dtype
    directions = jnp.eye(size, dtype=dtype)
    if projections is not None and key is not None:
        directions = jax.random.rademacher(key, (int(projections), size), dtype) / projections**0.5
    features = [side.features(reduce) for side in sides]
    total: jax.Array = jnp.zeros((), dtype)
    for first in range(0, len(directions), at_once):
        some = directions[first : first + at_once]
        one, two = (jax.vmap(feature)(some) for feature in features)  # [directions, batch, ...]
        flat = [part.reshape(*part.shape[:2], -1) for part in (one, two)]
        total = total + jnp.einsum("kbi,kbj->bij", *flat)
    total = total.reshape(total.shape[0], *one.shape[2:], *two.shape[2:])
    finite.check_explanation(Parameters.of(params), total)
    return jnp.sum(embeddings[0] * embeddings[1], -1), total


@dataclasses.dataclass(frozen=True, eq=False)
class _Side:
    """One of the two inputs: its program with all values, and how relevance goes back."""

    program: Program
    values: dict
    position: int
    composite: Any
    primitive_rules: Mapping[str, Any] | None

    @classmethod
    def of(cls, fn, params, x, rules, primitive_rules) -> _Side:
        check_examples(x)
        if not jax.tree_util.all_leaves([x]):
            raise ValueError(f"x has the structure {jax.tree.structure(x)}: expected one array for each of the pair.")
        parameters, x = Parameters.of(params), as_array(x)
        composite = as_composite(rules)
        program = read(fn, params, x, reading=reading_of(composite), primitive_rules=primitive_rules)
        values = forward(program, [*map(as_array, parameters.arrays), x])
        return cls(program, values, len(parameters.arrays), composite, primitive_rules)

    @property
    def output(self) -> jax.Array:
        """The embedding."""
        return self.values[self.program.output]

    def features(self, reduce: Callable | None) -> Callable:
        """Returns direction `[dimensions]` -> relevance of the input for the embedding along it, `[batch, ...]`."""
        value = self.program.graph.inputs[self.position]

        def of(direction):
            start = widened(self.output) * direction
            by_value = backward(self.program, self.composite, self.values, start, primitive_rules=self.primitive_rules)
            relevance = by_value[value] if value in by_value else jnp.zeros(value.shape, start.dtype)
            relevance = relevance if reduce is None else jnp.asarray(reduce(relevance))
            if relevance.ndim < 1 or relevance.shape[0] != value.shape[0]:
                raise ValueError(
                    f"reduce gave shape {relevance.shape} for relevance {value.shape}: expected [batch, ...]."
                )
            return relevance

        return of
