"""Expected gradients: integrated gradients from many baselines, a random point of a random line at a time.

Erion et al., Improving performance of deep learning models with axiomatic attribution priors and expected gradients
(Nature Machine Intelligence 2021, arXiv:1906.10670); with noise on the input, the GradientShap of Captum and of SHAP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import Array, Count, Float, Key, RandomKey, Scalar
from ..arguments import PyTree, as_array
from ..target import Target
from . import repeated
from .gradients import _check_counts, _check_key, _check_sigma, _checked, _keys, _prepare


def gradient_shap(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    key: RandomKey | Key[Array, " batch"],
    *,
    baselines: PyTree,
    target: Target = None,
    n: Count = 20,
    sigma: Scalar = 0.0,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, dict[str, Float[Array, " batch"]]]:
    """Returns the outputs, and the mean of (x - x0) times the gradient at a random point between x0 and x.

    Each draw takes one of the baselines and one point of its line, for every sample its own. Without noise these are
    the expected gradients.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        key: from `jax.random.key`; one for all, in which the number of each sample is folded, or `[batch]`.
        baselines: samples of a data set, `[baselines, ...]`, a pytree like `x`.
        target: as for `gradient`.
        n: draws.
        sigma: standard deviation of the noise on `x`, in its own units; anew in each draw.
        at_once: draws in one pass.
        return_report: also return {"completeness": `[batch]`}: the sum of the explanation minus the mean rise of the
            explained outputs over the lines that were drawn; its expectation is 0.

    Raises:
        ValueError: as `gradient`; baselines that do not fit.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((2, 1)), jnp.array([[1.0, 2.0]])
        >>> y, share = attribution.gradient_shap(fn, w, x, jax.random.key(0), baselines=jnp.zeros((5, 2)), target=0)
        >>> [round(float(part), 3) for part in share[0]]
        [1.0, 2.0]
    """
    _check_counts(n=n, at_once=at_once)
    _check_sigma(sigma)
    explain, arrays, y, target = _prepare(fn, params, x, target)
    x = jax.tree.map(as_array, x)
    if key is None:
        raise ValueError("key is None: expected jax.random.key(seed), from which baselines and points are drawn.")
    _check_key(key, jax.tree.leaves(x)[0].shape[0])
    operands = {"x": x, "baselines": _samples(baselines, x), "keys": _keys(key, x), "sigma": jnp.asarray(sigma)}
    if not return_report:
        total = repeated.total(explain, _step, arrays, target, operands, n, at_once, x)
        return y, _checked(params, jax.tree.map(lambda leaf: leaf / n, total))
    rise = repeated.score(y, explain.target or target, explain.one_value)
    total, rise = repeated.total(explain, _step_with_rise, arrays, target, operands, n, at_once, (x, rise))
    share = _checked(params, jax.tree.map(lambda leaf: leaf / n, total))
    arrived = sum(jnp.sum(leaf, tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(share))
    return y, share, {"completeness": arrived - rise / n}


def _samples(baselines: Any, x: PyTree) -> PyTree:
    """The baselines as arrays; raises ValueError where they are no samples like those of `x`."""
    if jax.tree.structure(baselines) != jax.tree.structure(x):  # type: ignore[operator]  # trees are not annotated by JAX
        raise ValueError(
            f"baselines has the structure {jax.tree.structure(baselines)} and x {jax.tree.structure(x)}: expected the "
            "same, samples of a data set for each array of x."
        )
    result = jax.tree.map(lambda one, leaf: jnp.asarray(one, leaf.dtype), baselines, x)
    counts = {one.shape[:1] for one in jax.tree.leaves(result)}
    for one, leaf in zip(jax.tree.leaves(result), jax.tree.leaves(x), strict=True):
        if one.ndim != leaf.ndim or one.shape[1:] != leaf.shape[1:] or len(counts) != 1 or 0 in one.shape:
            raise ValueError(
                f"baselines of shape {one.shape}: expected [baselines, {', '.join(map(str, leaf.shape[1:]))}], as many "
                "for each array of x."
            )
    return result


def _drawn(operands, index) -> tuple[PyTree, PyTree, PyTree]:
    """Ends of the lines, and points on them."""
    leaves, tree = jax.tree.flatten(operands["x"])
    count = jax.tree.leaves(operands["baselines"])[0].shape[0]

    def of_sample(key):
        which, where, noise = jax.random.split(jax.random.fold_in(key, index), 3)
        return jax.random.randint(which, (), 0, count), jax.random.uniform(where), noise

    which, where, noise = jax.vmap(of_sample)(operands["keys"])
    ends, origins, points = [], [], []
    for number, (leaf, baselines) in enumerate(zip(leaves, jax.tree.leaves(operands["baselines"]), strict=True)):
        draw = jax.vmap(lambda key, n=number, leaf=leaf: jax.random.normal(
            jax.random.fold_in(key, n), leaf.shape[1:], leaf.dtype))(noise)  # fmt: skip
        end, origin = leaf + (operands["sigma"] * draw).astype(leaf.dtype), baselines[which]
        place = where.reshape((-1,) + (1,) * (leaf.ndim - 1)).astype(leaf.dtype)
        ends.append(end)
        origins.append(origin)
        points.append(origin + place * (end - origin))
    return jax.tree.unflatten(tree, ends), jax.tree.unflatten(tree, origins), jax.tree.unflatten(tree, points)


def _step(explain, params, target, operands, index):
    ends, origins, points = _drawn(operands, index)
    slope = explain(params, points, target)[1]
    return jax.tree.map(lambda end, origin, s: (end - origin) * s, ends, origins, slope)


def _step_with_rise(explain, params, target, operands, index):
    ends, origins, points = _drawn(operands, index)
    slope = explain(params, points, target)[1]
    share = jax.tree.map(lambda end, origin, s: (end - origin) * s, ends, origins, slope)
    return share, explain.score(params, ends, target) - explain.score(params, origins, target)
