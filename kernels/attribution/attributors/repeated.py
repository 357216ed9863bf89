"""Sums of many explanations in constant memory, and the one explanation that they are made of.

Concrete arrays on a CPU go through a loop of compiled steps, because XLA runs convolutions inside of its own loops on
one core; anything traced, and other devices, through one `lax.scan`.
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
from ..arguments import Same, Structure, check_not_empty, of_tokens
from ..engine import attribute
from ..target import marked, starting_relevance


@dataclasses.dataclass(frozen=True)
class Explainer:
    """`explainer(arrays, x, target) -> (outputs, explanation)`, static under jit.

    Attributes:
        fn: `fn(params, x)`.
        structure: of params, whose arrays are an argument of each call.
        rules: a composite, or None for the gradient.
        primitive_rules: as for `attribute`, as pairs.
        target: a function of the outputs; None where it is no function and an argument of each call.
        one_value: whether the outputs are `[batch]`, one value a sample.
        postprocess: of each gradient, "abs" or "square", or None.
    """

    fn: Callable
    structure: Structure
    rules: Any
    primitive_rules: tuple
    target: Callable | None
    one_value: bool
    postprocess: str | None = None

    def __call__(self, arrays, x, target):
        """Returns the outputs and the explanation, like `x`."""
        target = self.target or target
        if self.rules is None:
            y, pull_back = jax.vjp(lambda x: self.outputs(arrays, x), x)
            start = weights(y, target, self.one_value)
            slope = processed(pull_back(start)[0], self.postprocess)
            return y, marked(slope, start, y.ndim > 1 or self.one_value)
        rules = self.rules.value if isinstance(self.rules, Same) else self.rules
        return attribute(
            self.fn, self.structure.with_arrays(arrays), x, target=target, rules=rules,
            primitive_rules=dict(self.primitive_rules),
        )  # fmt: skip

    def outputs(self, arrays, x):
        """Returns the outputs."""
        return self.fn(self.structure.with_arrays(arrays), x)

    def score(self, arrays, x, target):
        """Returns the sum of the explained outputs, `[batch]`."""
        return score(self.outputs(arrays, x), self.target or target, self.one_value)


def processed(gradient: Any, how: str | None) -> Any:
    """Returns a gradient entry by entry as it is, as its absolute value ("abs") or squared ("square")."""
    return gradient if how is None else jax.tree.map(jnp.abs if how == "abs" else jnp.square, gradient)


def weights(y: jax.Array, target: Any, one_value: bool = False) -> jax.Array:
    """Returns what a gradient is taken of: 1 at the classes of an integer target, else as `starting_relevance`."""
    is_class = target is not None and not callable(target) and jnp.issubdtype(jnp.result_type(target), jnp.integer)
    return starting_relevance(jnp.ones_like(y) if is_class else y, target, one_value)


def score(y: jax.Array, target: Any, one_value: bool = False) -> jax.Array:
    """Returns the sum of the explained outputs of each sample, `[batch]`."""
    return jnp.sum(starting_relevance(y, target, one_value), axis=tuple(range(1, y.ndim)))


@functools.partial(jax.jit, static_argnums=0)
def explain(explainer: Explainer, params, x, target):
    """Returns (outputs, explanation) of one call, compiled."""
    return explainer(params, x, target)


@functools.partial(jax.jit, static_argnums=0)
def forward(explainer: Explainer, params, x):
    """Returns the outputs, compiled."""
    return explainer.outputs(params, x)


def total(explainer: Explainer, step: Callable, params, target, operands: dict, count: Count, at_once: Count, like):
    """Returns the sum of `step(explainer, params, target, operands, index)` over `count` indices.

    The sum is compensated (Kahan, 1965), so that its rounding does not grow with `count`.

    Args:
        operands: a pytree of arrays.
        at_once: indices in one pass.
        like: gives shapes and dtypes of the sum.
    """
    at_once = min(at_once, count)
    passes = -(-count // at_once)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.result_type(leaf)), like)
    sums = (zeros, jax.tree.map(jnp.copy, zeros))  # and what rounding took from them
    arguments = jax.tree.map(jnp.asarray, (params, target, operands))  # NumPy's cannot be indexed by traced numbers
    if _is_concrete((arguments, sums)) and jax.default_backend() == "cpu":
        for number in range(passes):
            sums = _add_compiled(explainer, step, count, at_once, sums, arguments, jnp.int32(number))
        return sums[0]

    def body(sums, number):
        return _add(explainer, step, count, at_once, sums, arguments, number), None

    return jax.lax.scan(body, sums, jnp.arange(passes))[0][0]


def _add(explainer, step, count: int, at_once: int, sums, arguments, number):
    """Returns the sums after the pass of this number; indices beyond the last count for nothing."""
    if at_once == 1:
        return _compensated(sums, step(explainer, *arguments, number))
    indices = number * at_once + jnp.arange(at_once)
    parts = jax.vmap(lambda index: step(explainer, *arguments, jnp.minimum(index, count - 1)))(indices)

    def pass_of(part):
        counts = (indices < count).reshape((-1,) + (1,) * (part.ndim - 1))
        return jnp.sum(jnp.where(counts, part, jnp.zeros((), part.dtype)), axis=0)

    return _compensated(sums, jax.tree.map(pass_of, parts))


def _compensated(before: tuple, parts) -> tuple:
    """Sums with parts added, and what rounding took from them."""
    sums, losses = before
    corrected = jax.tree.map(jnp.subtract, parts, losses)
    after = jax.tree.map(jnp.add, sums, corrected)

    def loss(new, old, part):
        rest = (new - old) - part
        return jnp.where(jnp.isfinite(rest), rest, 0)  # what is not finite stays so, in the sum

    return after, jax.tree.map(loss, after, sums, corrected)


_add_compiled = jax.jit(_add, static_argnums=(0, 1, 2, 3), donate_argnums=4)


def _is_concrete(tree) -> bool:
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def check_inputs(x) -> None:
    """Raises ValueError unless all inputs are real floating-point numbers; concrete ones must be finite, too."""
    for path, leaf in jax.tree.leaves_with_path(x):
        name = "x" + jax.tree_util.keystr(path)
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name} is {dtype}: explanations are of floating-point inputs. {of_tokens(dtype)}")
        check_not_empty(name, leaf)
        if not isinstance(leaf, jax.core.Tracer) and not np.isfinite(np.asarray(leaf, np.float64)).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinity): mend or mask them first")
