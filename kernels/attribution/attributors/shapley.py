"""Shapley values of segments, by permutations and by regression, and ablation of one segment at a time.

Castro, Gomez and Tejada (Computers and Operations Research 2009) sample permutations; Strumbelj and Kononenko (JMLR
2010) explain networks by them. Lundberg and Lee (NeurIPS 2017, arXiv:1705.07874) solve a weighted regression instead.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import Array, Count, Float, Key, RandomKey
from ..arguments import PyTree, as_array
from ..target import Target
from . import repeated
from .coalitions import Segments, scores, segments_of, spread
from .gradients import _baseline, _check_counts, _check_key, _checked, _keys, _prepare
from .repeated import Explainer

Report = dict[str, Float[Array, " batch ..."]]


def shapley_sampling(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    key: RandomKey | Key[Array, " batch"],
    *,
    target: Target = None,
    segments: PyTree = None,
    permutations: Count = 50,
    antithetic: bool = True,
    baseline: PyTree | Callable = None,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Report]:
    """Returns the outputs, and an estimate of the Shapley value of each segment of the input.

    The mean over random orders of what the explained output rises by when a segment joins those before it. Without
    bias; the sum over segments is exactly the rise from the baseline, and a game without interactions is exact.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        key: from `jax.random.key`; one for all, in which the number of each sample is folded, or `[batch]`.
        target: a class, classes `[batch]`, "argmax", None: all outputs, or a function of the outputs, whose sum counts.
        segments: integers from 0 on, the segment of every entry of a sample, that broadcast to `x` with or without an
            axis of samples (a pytree like `x`, whose arrays may share labels). None: every entry is one.
        permutations: orders; each takes an evaluation for all segments but one.
        antithetic: every second order is the one before backwards, which halves the variance and more where segments
            interact in pairs; permutations must be even.
        baseline: what stands for segments that have not joined: an array (or pytree) that broadcasts to `x`, a function
            of `x`, or None: zero.
        at_once: evaluations in one pass.
        return_report: also return {"segments": the values `[batch, segments]`, "standard_error": of each, from the
            spread over orders, or pairs of them (NaN for one alone), "completeness": `[batch]`}.

    Returns:
        (outputs, array or pytree like `x`): every entry has the value of its segment.

    Raises:
        ValueError: as `gradient`; segments that do not fit, an odd number of antithetic permutations.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: jnp.prod(x, -1, keepdims=True) + x @ w, jnp.ones((2, 1)), jnp.array([[1.0, 3.0]])
        >>> y, value = attribution.shapley_sampling(fn, w, x, jax.random.key(0), target=0, permutations=2)
        >>> value.tolist()  # each has half of the product
        [[2.5, 4.5]]
    """
    _check_counts(permutations=permutations, at_once=at_once)
    if antithetic and permutations % 2:
        raise ValueError(f"permutations={permutations}: expected an even number for antithetic ones, which are pairs.")
    game = _game(fn, params, x, target, segments, baseline, at_once)
    _check_drawn(key, game.batch)
    draws = permutations // 2 if antithetic else int(permutations)
    count = game.segments.count
    ranks = _ranks(_keys(key, game.x), draws, count, antithetic)
    between = game.scores(_of_permutation, int(permutations) * (count - 1), ranks=ranks, inner=max(count - 1, 1))
    values, error = _means(between, game.empty, game.whole, ranks, draws)
    return game.answer(values, {"standard_error": error} if return_report else None)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _ranks(keys, draws: int, count: int, antithetic: bool) -> jax.Array:
    """The place of every segment in every order, `[orders, batch, segments]`; the second half are those backwards."""

    def of_sample(own):
        draw = lambda number: jax.random.permutation(jax.random.fold_in(own, number), count)  # noqa: E731
        return jax.vmap(draw)(jnp.arange(draws))

    ranks = jnp.swapaxes(jax.vmap(of_sample)(keys), 0, 1)
    return jnp.concatenate([ranks, count - 1 - ranks]) if antithetic else ranks


@functools.partial(jax.jit, static_argnums=4)
def _means(between, empty, whole, ranks, draws: int) -> tuple[jax.Array, jax.Array]:
    """Mean gains of every segment and their standard errors, `[batch, segments]`; pairs of orders count as one."""
    orders, batch, count = ranks.shape
    between = between.reshape(orders, count - 1, batch)
    ends = [jnp.broadcast_to(end, (orders, 1, batch)) for end in (empty, whole)]
    gains = jnp.diff(jnp.concatenate([ends[0], between, ends[1]], 1), axis=1)  # [orders, place, batch]
    values = jnp.take_along_axis(jnp.swapaxes(gains, 1, 2), ranks, -1)
    values = values if orders == draws else (values[:draws] + values[draws:]) / 2
    error = jnp.std(values, 0, ddof=1) / draws**0.5 if draws > 1 else jnp.full(values.shape[1:], jnp.nan, values.dtype)
    return jnp.mean(values, 0), error.astype(values.dtype)


def kernel_shap(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    key: RandomKey | Key[Array, " batch"],
    *,
    target: Target = None,
    segments: PyTree = None,
    n: Count = 200,
    baseline: PyTree | Callable = None,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Report]:
    """Returns the outputs, and the Shapley value of each segment by a regression over random coalitions.

    Coalitions come in pairs with their complements, in proportion to Shapley's kernel; the least squares are those
    whose values sum to the rise from the baseline. Games without interactions are exact.

    Args:
        fn, params, x, key, target, segments, baseline, at_once: as for `shapley_sampling`.
        n: coalitions, an even number of at least twice the segments.
        return_report: also return {"segments": the values `[batch, segments]`, "completeness": `[batch]`}.

    Raises:
        ValueError: as `shapley_sampling`; too few coalitions; coalitions that leave a value open (draw more).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((3, 1)), jnp.array([[1.0, 2.0, 3.0]])
        >>> y, value = attribution.kernel_shap(fn, w, x, jax.random.key(0), target=0, n=20)
        >>> [round(float(part), 3) for part in value[0]]
        [1.0, 2.0, 3.0]
    """
    _check_counts(n=n, at_once=at_once)
    game = _game(fn, params, x, target, segments, baseline, at_once)
    _check_drawn(key, game.batch)
    count = game.segments.count
    if n % 2 or n < 2 * count:
        raise ValueError(f"n={n}: expected an even number of at least {2 * count}, twice the {count} segments.")
    rise = game.whole - game.empty
    if count == 1:
        return game.answer(rise[:, None], {} if return_report else None)
    coalitions = _coalitions(_keys(key, game.x), int(n), count)
    determined = _determine(coalitions, game.whole.dtype)
    if not isinstance(determined, jax.core.Tracer) and not determined.all():
        raise ValueError(
            f"n={n}: the coalitions do not tell {count} segments apart, for {int((~determined).sum())} of "
            f"{len(determined)} samples: draw more, such as n={8 * count}, or take fewer segments."
        )
    f = game.scores(_of_list, int(n), coalitions=coalitions) - game.empty
    values = jnp.where(determined[:, None], _least_squares(coalitions, f, rise), jnp.nan)
    return game.answer(values, {} if return_report else None)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _coalitions(keys, n: int, count: int) -> jax.Array:
    """Coalitions by Shapley's kernel, bool `[n, batch, segments]`; the second half are the complements."""
    sizes = jnp.arange(1, count)
    kernel = -jnp.log(sizes * (count - sizes) * 1.0)

    def of_sample(own):
        def draw(number):
            of_size, of_order = jax.random.split(jax.random.fold_in(own, number))
            return jax.random.permutation(of_order, count) < 1 + jax.random.categorical(of_size, kernel)

        return jax.vmap(draw)(jnp.arange(n // 2))

    half = jnp.swapaxes(jax.vmap(of_sample)(keys), 0, 1)
    return jnp.concatenate([half, ~half])


@functools.partial(jax.jit, static_argnums=1)
def _determine(coalitions, dtype) -> jax.Array:
    """Whether coalitions `[n, batch, segments]` tell segments apart with some digits to spare, bool `[batch]`."""
    z = jnp.moveaxis(coalitions, 0, 1).astype(dtype)
    lengths = jnp.linalg.eigvalsh(jnp.swapaxes(z, 1, 2) @ z / coalitions.shape[0])
    return lengths[:, 0] > 100 * z.shape[-1] * jnp.finfo(dtype).eps * lengths[:, -1]


@jax.jit
def _least_squares(coalitions, f, rise) -> jax.Array:
    """Values `[batch, segments]` that sum to `rise` and whose sums over coalitions are nearest to `f`, `[n, batch]`."""
    z = jnp.moveaxis(coalitions, 0, 1).astype(f.dtype)  # [batch, n, segments]
    square, right = jnp.swapaxes(z, 1, 2) @ z / len(f), jnp.einsum("bns,nb->bs", z, f) / len(f)
    solved = jnp.linalg.solve(square, jnp.stack([right, jnp.ones_like(right)], -1))
    free, step = solved[..., 0], solved[..., 1]
    return free - step * ((jnp.sum(free, -1) - rise) / jnp.sum(step, -1))[:, None]


def feature_ablation(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    segments: PyTree = None,
    baseline: PyTree | Callable = None,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Report]:
    """Returns the outputs, and how much the explained output falls when one segment is replaced by the baseline.

    Args:
        fn, params, x, target, segments, baseline, at_once: as for `shapley_sampling`.
        return_report: also return {"segments": the values `[batch, segments]`, "completeness": `[batch]`}; the values
            sum to the rise from the baseline only without interactions.

    Raises:
        ValueError: as `shapley_sampling`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((3, 1)), jnp.array([[1.0, 2.0, 3.0]])
        >>> y, value = attribution.feature_ablation(fn, w, x, target=0, segments=jnp.array([0, 0, 1]))
        >>> value.tolist()
        [[3.0, 3.0, 3.0]]
    """
    _check_counts(at_once=at_once)
    game = _game(fn, params, x, target, segments, baseline, at_once)
    without = game.scores(_all_but_one, game.segments.count, everything=jnp.arange(game.segments.count))
    return game.answer((game.whole - without).T, {} if return_report else None)


def _check_drawn(key, batch: int) -> None:
    if key is None:
        raise ValueError("key is None: expected jax.random.key(seed), from which coalitions are drawn.")
    _check_key(key, batch)


def _of_permutation(operands, index):
    """The coalition of those before a place of an order."""
    order, place = index // operands["inner"], index % operands["inner"]
    return operands["ranks"][order] <= place


def _of_list(operands, index):
    return operands["coalitions"][index]


def _all_but_one(operands, index):
    return (operands["everything"] != index)[None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Game:
    """The game of a network's explained outputs.

    Attributes:
        explain, arrays, target: of `_prepare`; params: as they came; operands: what all coalitions are made of.
        y: outputs of x. whole, empty: scores of x and of the baseline, `[batch]`.
    """

    explain: Explainer
    arrays: list
    target: Any
    params: PyTree
    operands: dict
    segments: Segments
    at_once: Count
    y: jax.Array
    whole: jax.Array
    empty: jax.Array

    @property
    def x(self) -> PyTree:
        """The input."""
        return self.operands["x"]

    @property
    def batch(self) -> int:
        """The number of samples."""
        return self.whole.shape[0]

    def scores(self, coalition: Callable, count: int, **operands: Any) -> jax.Array:
        """Returns the scores of coalitions, `[count, batch]`."""
        operands = {**self.operands, **operands}
        return scores(self.explain, self.arrays, self.target, operands, coalition, count, self.at_once)

    def answer(self, values: Float[Array, "batch segments"], report: dict | None):
        """Returns what a function returns for these values; no report where that is None."""
        explanation = _checked(self.params, spread(values, self.segments.labels, self.x))
        if report is None:
            return self.y, explanation
        missing = jnp.sum(values, -1) - (self.whole - self.empty)
        return self.y, explanation, {"segments": values, **report, "completeness": missing}


def _game(fn, params, x, target, segments, baseline, at_once) -> _Game:
    explain, arrays, y, classes = _prepare(fn, params, x, target)
    if classes is not None and jnp.issubdtype(classes.dtype, jnp.floating):
        raise ValueError("target is an array of floats, which scores all inputs alike: give classes or a function")
    x = jax.tree.map(as_array, x)
    batch = jax.tree.leaves(x)[0].shape[:1]
    whole = repeated.score(y, explain.target or classes, explain.one_value)
    if whole.shape != batch:
        raise ValueError(
            f"x has arrays of shape {jax.tree.leaves(x)[0].shape} and fn gives outputs of shape {y.shape} for them: "
            "expected [batch, ...] and [batch, classes]; for one sample give x[None]."
        )
    origin, parts = _baseline(baseline, x), segments_of(segments, x)
    operands = {"x": x, "origin": origin, "labels": parts.labels}
    empty = explain.score(arrays, origin, classes)
    return _Game(explain, arrays, classes, params, operands, parts, at_once, y, whole, empty)
