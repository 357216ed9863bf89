"""LIME: a linear model of a network in the neighbourhood of an input, over segments of it that are there or not.

Ribeiro, Singh and Guestrin (KDD 2016, arXiv:1602.04938), as the image explainer of the package lime 0.2 defines it:
the first coalition is the input itself, in the others each segment is there with a chance of one half; a coalition
counts by exp(-d^2 / (2 width^2)) of its distance from the input; the weighted model has an intercept and a penalty.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ...array_types import Array, Count, Float, Key, RandomKey, Scalar
from ...scalars import not_negative, positive, real
from ..arguments import PyTree
from ..caller import warn_caller
from ..target import Target
from .gradients import _check_counts, _keys
from .shapley import Report, _check_drawn, _game, _of_list

DISTANCES = ("cosine", "euclidean")
PENALTIES = ("ridge", "lasso")
SWEEPS = 1000  # of the lasso, at most
SETTLED = 1e-6  # of the largest slope that is allowed: how far a lasso may be from its optimum


def lime(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    key: RandomKey | Key[Array, " batch"],
    *,
    target: Target = None,
    segments: PyTree = None,
    n: Count = 1000,
    distance: str = "cosine",
    kernel_width: Scalar = 0.25,
    penalty: str = "ridge",
    alpha: Scalar = 1.0,
    baseline: PyTree | Callable = None,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Report]:
    """Returns the outputs, and the coefficient of each segment in a linear model of the explained output near `x`.

    The defaults are those of the package lime for images, which takes the mean colour of each segment as the baseline.

    Args:
        fn, params, x, key, target, segments, baseline, at_once: as for `shapley_sampling`.
        n: coalitions, two or more; the first is the input.
        distance: of a coalition from the input, "cosine": 1 - sqrt(share of the segments that are there); "euclidean":
            the root of the number of those that are not.
        kernel_width: in units of the distance.
        penalty: "ridge": sum of weights times squared errors, plus alpha times the sum of squared coefficients;
            "lasso": half their weighted mean, plus alpha times the sum of absolute coefficients. No penalty is on the
            intercept.
        alpha: 0 or more, of "lasso" more than 0.
        return_report: also return {"segments": the coefficients `[batch, segments]`, "intercept": `[batch]`, "score":
            the weighted R^2 of the linear model, `[batch]`, which says whether there is one, "completeness": the sum of
            the coefficients minus the rise from the baseline, which nothing makes 0}.

    Returns:
        (outputs, array or pytree like `x`): every entry has the coefficient of its segment.

    Raises:
        ValueError: as `shapley_sampling`; fewer than two coalitions, an unknown distance or penalty.

    Warns:
        UserWarning: a lasso that has not settled. In a `jax.jit` its coefficients are NaN.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((3, 1)), jnp.array([[1.0, 2.0, 3.0]])
        >>> y, value = attribution.lime(fn, w, x, jax.random.key(0), target=0, alpha=1e-4)
        >>> [round(float(part), 2) for part in value[0]]
        [1.0, 2.0, 3.0]
    """
    _check_counts(n=n, at_once=at_once)
    for name, value, known in (("distance", distance, DISTANCES), ("penalty", penalty, PENALTIES)):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}.")
    if n < 2:
        raise ValueError(f"n={n}: expected two coalitions or more.")
    width = real("kernel_width", kernel_width, "a finite number above 0", positive)
    test, what = (positive, "above 0") if penalty == "lasso" else (not_negative, "of 0 or more")
    alpha = real("alpha", alpha, f"a finite number {what}", test)
    game = _game(fn, params, x, target, segments, baseline, at_once)
    _check_drawn(key, game.batch)
    coalitions = _coalitions(_keys(key, game.x), int(n), game.segments.count)
    f = game.scores(_of_list, int(n), coalitions=coalitions)
    values, intercept, score, is_settled = _model(coalitions, f, distance, width, penalty, alpha)
    if not isinstance(is_settled, jax.core.Tracer) and not is_settled.all():
        warn_caller(
            f"the lasso has not settled after {SWEEPS} sweeps, for {int((~is_settled).sum())} of {len(is_settled)} "
            "samples: take a larger alpha, more coalitions (n) or fewer segments."
        )
    elif isinstance(is_settled, jax.core.Tracer):
        values = jnp.where(is_settled[:, None], values, jnp.nan)
    return game.answer(values, {"intercept": intercept, "score": score} if return_report else None)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _coalitions(keys, n: int, count: int) -> jax.Array:
    """The input, and coalitions in which a segment is there with a chance of one half, bool `[n, batch, segments]`."""
    drawn = jax.vmap(lambda own: jax.random.bernoulli(own, 0.5, (n, count)))(keys)
    return jnp.swapaxes(drawn, 0, 1).at[0].set(True)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _model(coalitions, f, distance: str, width, penalty: str, alpha):
    """Coefficients `[batch, segments]`, intercepts, R^2 and whether they have settled, `[batch]`."""
    z = jnp.swapaxes(coalitions, 0, 1).astype(f.dtype)  # [batch, n, segments]
    there, count = jnp.sum(z, -1), z.shape[-1]
    d = 1 - jnp.sqrt(there / count) if distance == "cosine" else jnp.sqrt(count - there)
    weights = jnp.exp(-(d**2) / (2 * width**2))
    solve = functools.partial(_ridge if penalty == "ridge" else _lasso, alpha=alpha)
    return jax.vmap(functools.partial(_fit, solve=solve))(z, f.T, weights)


def _fit(z: Float[Array, "n segments"], f: Float[Array, " n"], weights: Float[Array, " n"], solve: Callable):
    """The linear model of one sample."""
    total = jnp.sum(weights)
    mean, level = weights @ z / total, weights @ f / total
    z, f = z - mean, f - level
    square, right = (z.T * weights) @ z, (z.T * weights) @ f
    values, is_settled = solve(square, right, total)
    spread = jnp.sum(weights * f**2)
    score = jnp.where(spread > 0, 1 - jnp.sum(weights * (f - z @ values) ** 2) / spread, jnp.nan)
    return values, level - mean @ values, score, is_settled


def _ridge(square, right, total, alpha):
    return jnp.linalg.solve(square + alpha * jnp.eye(len(right), dtype=right.dtype), right), jnp.array(True)


def _lasso(square, right, total, alpha):
    """By coordinates, one after the other (Friedman, Hastie and Tibshirani, J. Stat. Softw. 2010)."""
    square, right = square / total, right / total
    least = jnp.asarray(SETTLED, right.dtype) * alpha

    def update(place, values):
        own = square[place, place]
        rest = right[place] - square[place] @ values + own * values[place]
        step = jnp.sign(rest) * jnp.maximum(jnp.abs(rest) - alpha, 0) / jnp.where(own > 0, own, 1)
        return values.at[place].set(jnp.where(own > 0, step, 0))

    def gap(values):
        """How far from its optimum: slopes of coefficients have to be alpha times their sign, of zeros within alpha."""
        slope = right - square @ values
        of_zero, of_others = jnp.maximum(jnp.abs(slope) - alpha, 0), jnp.abs(slope - alpha * jnp.sign(values))
        return jnp.max(jnp.where(values == 0, of_zero, of_others))

    def sweep(state):
        number, values = state
        return number + 1, lax.fori_loop(0, len(right), update, values)

    least = jnp.maximum(least, 100 * jnp.finfo(right.dtype).eps * jnp.max(jnp.abs(right)))
    start = (0, jnp.zeros_like(right))
    _, values = lax.while_loop(lambda state: (state[0] < SWEEPS) & (gap(state[1]) > least), sweep, sweep(start))
    return values, gap(values) <= least
