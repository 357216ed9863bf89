"""Whether relevance says by how much the score changes: infidelity, faithfulness correlation, monotonicity."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Count, Float, Integer, Key, RandomKey, Real, Scalar
from ...scalars import positive, real, reals, whole
from ..arguments import PyTree
from ..target import Target
from . import loops, scoring
from .randomization import map_correlation
from .scoring import Score


def infidelity(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    relevance: Real[AnyArray, " batch *maps"],
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    target: Target,
    score: Score = "logit",
    n: Count = 100,
    sigma: Scalar = 0.2,
    perturbations: Real[AnyArray, "draws batch *shape"] | None = None,
    is_scaled: bool = False,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the mean over I of (I . relevance - (f(x) - f(x - I)))^2, `[batch]`. Lower is better; score squared.

    Args:
        fn, params, x, target, score: as for `pixel_flipping`.
        relevance: in the shape of `x`, or with 1 along axes of channels; of a gradient, not of gradient times input.
        key: of the perturbations I: one, in which the number of each sample in the batch is folded, or `[batch]`.
        n: perturbations.
        sigma: I is N(0, sigma²) at each entry, in units of x.
        perturbations: I, `[draws, *x.shape]`, instead. Infidelity of Quantus 0.6.0 puts a baseline in one patch after
            the other, those before staying: I is then x minus what it is after each.
        is_scaled: of relevance times the factor that makes it least: scales of methods differ.
        at_once: perturbations in one pass.

    Raises:
        ValueError: as `pixel_flipping`; neither key nor perturbations.

    Source: Yeh et al., arXiv:1901.09392, definition 2.1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [2.0]]), jnp.ones((1, 2))
        >>> off = evaluation.infidelity(fn, w, x, w.T, jax.random.key(0), target=0, n=4)  # of the gradient itself
        >>> bool(off[0] < 1e-10)
        True
    """
    scoring.check_counts(n=n, at_once=at_once)
    real("sigma", sigma, "a finite number above 0, in units of x", positive)
    x = scoring.as_samples(x)
    scorer, arrays, classes = scoring.prepare(fn, params, x, target, score)
    shared = {"arrays": arrays, "target": classes, "x": x, "relevance": scoring.like_inputs(relevance, x)}
    if perturbations is None:
        shared |= {"keys": scoring.sample_keys(key, len(x), "perturbations are drawn"), "sigma": sigma}
        items = jnp.arange(n)
    else:
        reals("perturbations", perturbations, "finite numbers")
        items = jnp.asarray(perturbations, x.dtype)
        if items.ndim != x.ndim + 1 or items.shape[1:] != x.shape or not len(items):
            raise ValueError(f"perturbations of shape {items.shape}: expected [draws, {', '.join(map(str, x.shape))}]")
    products, drops = loops.stacked(_product_and_drop, scorer, shared, items, at_once)
    if is_scaled:
        size = jnp.sum(products * products, axis=0)
        products = products * jnp.where(size > 0, jnp.sum(products * drops, axis=0) / jnp.where(size > 0, size, 1), 0)
    return jnp.mean(jnp.square(products - drops), axis=0)


def faithfulness_correlation(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    relevance: Real[AnyArray, " batch *maps"],
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    target: Target,
    size: Count | None = None,
    score: Score = "logit",
    n: Count = 100,
    value: Scalar = 0.0,
    subsets: Integer[AnyArray, "draws batch size"] | None = None,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the correlation of the relevance of random entries with what the score falls without them, `[batch]`.

    Pearson's, over draws; from -1 to 1, higher is better; NaN where one of the two does not vary. As Faithfulness-
    Correlation of Quantus 0.6.0 with `normalise=False`, which no correlation needs, for the same subsets.

    Args:
        fn, params, x, target, score: as for `pixel_flipping`.
        relevance: in the shape of `x`, or with 1 along axes of channels.
        key: of the subsets: one, in which the number of each sample in the batch is folded, or `[batch]`.
        size: entries in a subset; by default a quarter of them, at least one.
        n: subsets of each sample, at least 2.
        value: that replaces the entries.
        subsets: indices of entries, `[draws, batch, size]`, instead.
        at_once: subsets in one pass.

    Raises:
        ValueError: as `pixel_flipping`; neither key nor subsets, a size or indices out of range.

    Source: Bhatt et al., arXiv:2005.00631.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.arange(8.0)[:, None], jnp.ones((1, 8))
        >>> close = evaluation.faithfulness_correlation(fn, w, x, x * w[:, 0], jax.random.key(0), target=0, n=10)
        >>> round(float(close[0]), 4)
        1.0
    """
    whole("n", n, 2)
    scoring.check_counts(at_once=at_once)
    real("value", value, "a finite number")
    x = scoring.as_samples(x)
    entries = int(np.prod(x.shape[1:]))
    if size is not None:
        whole("size", size, 1, entries, ", entries of a sample, or None")
    scorer, arrays, classes = scoring.prepare(fn, params, x, target, score)
    shared = {"arrays": arrays, "target": classes, "x": x, "relevance": scoring.like_inputs(relevance, x)}
    shared["value"] = jnp.asarray(value, x.dtype)
    if subsets is None:
        shared["keys"] = scoring.sample_keys(key, len(x), "subsets are drawn")
        items = jnp.arange(n)
    else:
        items = _checked_subsets(subsets, len(x), entries)
    static = (scorer, max(1, entries // 4) if size is None else int(size))
    sums, drops = loops.stacked(_sum_and_drop, static, shared, items, at_once)
    return map_correlation(sums.T, drops.T)


def monotonicity(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    relevance: Real[AnyArray, " batch *maps"],
    *,
    target: Target,
    score: Score = "logit",
    value: Scalar = 0.0,
    absolute: bool = True,
    entries_per_step: Count = 1,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the share of steps at which the score does not fall while entries come back, `[batch]`. Higher is better.

    All entries begin at `value` and come back the least relevant first; 1 is monotone. Monotonicity of Quantus 0.6.0
    replaces a baseline by itself, so that nothing comes back and all explanations are monotone: it is not followed.

    Args:
        fn, params, x, target, score: as for `pixel_flipping`.
        relevance: in the shape of `x`, or with 1 along axes of channels.
        value: where entries begin.
        absolute: rank by magnitude.
        entries_per_step: how many come back at a time.
        at_once: steps in one pass.

    Raises:
        ValueError: as `pixel_flipping`.

    Source: Arya et al., arXiv:1909.03012.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [2.0], [-1.0]]), jnp.ones((1, 3))
        >>> round(float(evaluation.monotonicity(fn, w, x, x * w[:, 0], target=0)[0]), 4)
        0.6667
    """
    scoring.check_counts(entries_per_step=entries_per_step, at_once=at_once)
    real("value", value, "a finite number")
    x = scoring.as_samples(x)
    scorer, arrays, classes = scoring.prepare(fn, params, x, target, score)
    maps = scoring.like_inputs(relevance, x).reshape(len(x), -1)
    order = jnp.argsort(jnp.abs(maps) if absolute else maps, axis=-1, stable=True)
    ranks = jnp.argsort(order, axis=-1).reshape(x.shape)
    shared = {"arrays": arrays, "target": classes, "x": x, "ranks": ranks, "value": jnp.asarray(value, x.dtype)}
    entries = maps.shape[-1]
    counts = np.minimum(np.arange(-(-entries // entries_per_step) + 1) * entries_per_step, entries)
    scores = loops.stacked(_score_of_some, scorer, shared, jnp.asarray(counts), at_once)
    is_nan = jnp.isnan(maps).any(-1)
    return jnp.where(is_nan, jnp.nan, jnp.mean(jnp.diff(scores, axis=0) >= 0, axis=0, dtype=scores.dtype))


def _product_and_drop(scorer, shared, item):
    """(I . relevance, f(x) - f(x - I)), both `[batch]`, of one perturbation: itself, or its number."""
    x, change = shared["x"], item
    if "keys" in shared:
        change = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, item), x.shape[1:], x.dtype))(
            shared["keys"]
        ) * jnp.asarray(shared["sigma"], x.dtype)
    product = jnp.sum((change * shared["relevance"]).reshape(len(x), -1), axis=-1)
    return product, _drop(scorer, shared, x - change)


def _sum_and_drop(static, shared, item):
    """(sum of the relevance of a subset, f(x) - f(x without it)), both `[batch]`."""
    scorer, size = static
    x = shared["x"]
    flat = x.reshape(len(x), -1)
    subset = item
    if "keys" in shared:
        draw = lambda key: jax.random.permutation(jax.random.fold_in(key, item), flat.shape[1])[:size]  # noqa: E731
        subset = jax.vmap(draw)(shared["keys"])
    total = jnp.sum(jnp.take_along_axis(shared["relevance"].reshape(len(x), -1), subset, axis=-1), axis=-1)
    without = jax.vmap(lambda row, places: row.at[places].set(shared["value"]))(flat, subset)
    return total, _drop(scorer, shared, without.reshape(x.shape))


def _score_of_some(scorer, shared, count):
    return scorer(shared["arrays"], jnp.where(shared["ranks"] < count, shared["x"], shared["value"]), shared["target"])


def _drop(scorer, shared, x):
    arrays, target = shared["arrays"], shared["target"]
    return scorer(arrays, shared["x"], target) - scorer(arrays, x, target)


def _checked_subsets(subsets, batch: int, entries: int):
    array = subsets if isinstance(subsets, jax.core.Tracer) else np.asarray(subsets)
    if array.ndim != 3 or array.shape[1] != batch or array.shape[0] < 2 or array.dtype.kind not in "iu":
        raise ValueError(f"subsets of shape {array.shape}, {array.dtype}: expected integers [draws, {batch}, size]")
    if isinstance(array, np.ndarray):
        if array.min() < 0 or array.max() >= entries:
            raise ValueError(f"subsets from {array.min()} to {array.max()}: expected indices of {entries} entries")
        if (np.diff(np.sort(array, axis=-1), axis=-1) == 0).any():
            raise ValueError("subsets name an entry twice: expected each once")
    return jnp.asarray(array)
