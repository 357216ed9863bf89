"""Explanations made of many simple ones: gradient, SmoothGrad, integrated gradients, occlusion.

The simple one is the gradient, or layer-wise relevance propagation when `rules` are given. The numerics are Zennit's
(arXiv:2106.13200) by default; SmoothGrad is Smilkov et al. (arXiv:1706.03825), integrated gradients Sundararajan et al.
(arXiv:1703.01365), occlusion Zeiler and Fergus (arXiv:1311.2901). Memory does not grow with the number of draws, points
or windows: `at_once` of them share one pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Count, Float, Key, RandomKey, Real, Scalar
from ...scalars import not_negative, real, reals, whole
from .. import finite
from ..arguments import Parameters, PyTree, hashable, plain
from ..engine import has_one_value, read
from ..target import Target, starting_relevance
from . import repeated, windows
from .repeated import Explainer

POINTS = ("right", "left", "midpoint", "gauss_legendre")
MODES = ("keep", "drop", "difference")


def gradient(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    times_input: bool = False,
    postprocess: str | None = None,
) -> tuple[PyTree, PyTree]:
    """Returns the outputs, and the gradient of the explained outputs with respect to `x`.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`.
        params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        target: what is explained. An integer, or one for each sample, or "argmax": the gradient of these outputs.
            None: of half the sum of all squared outputs. Floats `[batch, classes]`, or a function of the outputs that
            returns them: of the outputs weighted by them.
        times_input: multiply by `x`.
        postprocess: None, "abs" or "square", entry by entry.

    Returns:
        (outputs, array or pytree like `x`).

    Raises:
        ValueError: a target out of range, inputs that are not finite, an unknown option.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> w = jnp.array([[1.0], [2.0]])
        >>> y, slope = attribution.gradient(lambda w, x: x @ w, w, jnp.ones((1, 2)), target=0)
        >>> slope.tolist()
        [[1.0, 2.0]]
    """
    _check_postprocess(postprocess)
    explain, arrays, y, target = _prepare(fn, params, x, target)
    _, explanation = repeated.explain(explain, arrays, x, target)
    if times_input:
        explanation = jax.tree.map(jnp.multiply, explanation, x)
    return y, _checked(params, repeated.processed(explanation, postprocess))


def smoothgrad(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    target: Target = None,
    n: Count = 20,
    sigma: Scalar = 0.1,
    relative: bool = True,
    clean_last: bool = True,
    noise: PyTree = None,
    rules: Any = None,
    primitive_rules: Mapping[str, Any] | None = None,
    at_once: Count = 1,
    postprocess: str | None = None,
) -> tuple[PyTree, PyTree]:
    """Returns the outputs for the clean `x`, and the mean of explanations of noisy copies of `x`.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        target: None, a class, classes `[batch]`, "argmax", floats `[batch, classes]` or a function of the outputs, as
            for `gradient`, or with `rules` as for `attribute`. "argmax" is the class of the clean inputs; a
            function is of each draw's own outputs.
        key: of the noise, from `jax.random.key`; not needed with `noise` or n=1. One for all, in which the number of
            each sample in the batch is folded; or `[batch]`, one a sample, whose noise is then the same in any batch.
        n: draws.
        sigma: standard deviation of the noise, in units of each sample's largest minus smallest value.
        relative: False: `sigma` is in units of `x` itself.
        clean_last: the last draw has no noise, as in Zennit, so that n=1 is the explanation of `x`.
        noise: standard normal numbers to use instead, like `x` with an axis of draws before all others.
        rules: a composite, see `attribute`: the mean of relevances instead of gradients.
        primitive_rules: as for `attribute`.
        at_once: draws in one pass; more of them take more memory.
        postprocess: of each draw's gradient, "abs" or "square" entry by entry, or None.

    Raises:
        ValueError: as `gradient`; a missing key, too little noise, n below 1, sigma below 0.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((2, 1)), jnp.ones((1, 2))
        >>> y, slope = attribution.smoothgrad(fn, w, x, jax.random.key(0), target=0, n=4)
        >>> slope.tolist()
        [[1.0, 1.0]]
    """
    _check_counts(n=n, at_once=at_once)
    _check_sigma(sigma)
    noisy = n - 1 if clean_last else n
    _check_noise(noise, x, noisy, key, sigma)
    _check_postprocess(postprocess, rules)
    explain, arrays, y, target = _prepare(fn, params, x, target, rules, primitive_rules)
    explain = dataclasses.replace(explain, postprocess=postprocess)
    operands = {"x": x, "scale": jax.tree.map(lambda leaf: _scale(leaf, sigma, relative), x), "noisy": noisy}
    operands |= {"noise": noise} if noise is not None else {"keys": _keys(key, x)} if noisy and sigma else {}
    total = repeated.total(explain, _smoothgrad_step, arrays, target, operands, n, at_once, x)
    return y, _checked(params, jax.tree.map(lambda leaf: leaf / n, total))


def integrated_gradients(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    n: Count = 20,
    baseline: PyTree | Callable = None,
    points: str = "right",
    rules: Any = None,
    primitive_rules: Mapping[str, Any] | None = None,
    at_once: Count = 1,
    return_report: bool = False,
    postprocess: str | None = None,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, dict[str, Float[Array, " batch"]]]:
    """Returns the outputs, and (x - x0) times the mean gradient along the line from the baseline x0 to x.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        target: None, a class, classes `[batch]`, "argmax", floats `[batch, classes]` or a function of the outputs.
        rules: a composite, see `attribute`: the mean of relevances instead of gradients; None: gradients.
        primitive_rules: as for `attribute`.
        n: points on the line. With 20 of them the sum can miss the difference of the outputs by a third, as with
            Zennit; `return_report` says by how much, and "midpoint" or "gauss_legendre" miss less.
        baseline: x0, an array (or pytree) that broadcasts to `x`, a function of `x`, or None: zero.
        points: "right": k/n for k = 1 to n (Zennit); "left": k = 0 to n-1 (iNNvestigate); "midpoint"; "gauss_legendre".
        at_once: points in one pass.
        return_report: also return {"completeness": `[batch]`, "magnitude": `[batch]`}: the sum of the explanation
            minus what the explained outputs rise between x0 and x, 0 for the exact integral but for rounding, which in
            float32 is below 1e-6 of the magnitude, the sum of absolute values.
        postprocess: of the gradient at each point, "abs" or "square" entry by entry, or None; the sum is then no
            difference of the outputs.

    Raises:
        ValueError: as `gradient`; n below 1, unknown points, a baseline that does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: (x * x) @ w, jnp.array([[1.0], [2.0]]), jnp.ones((1, 2))
        >>> y, share = attribution.integrated_gradients(fn, w, x, target=0, points="midpoint")
        >>> [round(float(part), 3) for part in share[0]]  # their sum is y
        [1.0, 2.0]
    """
    _check_counts(n=n, at_once=at_once)
    if points not in POINTS:
        raise ValueError(f"points={points!r}: expected one of {', '.join(POINTS)}")
    _check_postprocess(postprocess, rules)
    explain, arrays, y, target = _prepare(fn, params, x, target, rules, primitive_rules)
    explain = dataclasses.replace(explain, postprocess=postprocess)
    origin = _baseline(baseline, x)
    places, weights = _quadrature(points, n)
    difference = jax.tree.map(jnp.subtract, x, origin)
    operands = {"origin": origin, "difference": difference, "places": places, "weights": weights}
    mean = repeated.total(explain, _path_step, arrays, target, operands, n, at_once, x)
    explanation = _checked(params, jax.tree.map(jnp.multiply, mean, difference))
    if not return_report:
        return y, explanation
    rise = explain.score(arrays, x, target) - explain.score(arrays, origin, target)
    total, magnitude = (
        sum(jnp.sum(of(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(explanation))
        for of in (jnp.asarray, jnp.abs)
    )
    return y, explanation, {"completeness": total - rise, "magnitude": magnitude}


def occlusion(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    *,
    target: Target = None,
    window: Count | Sequence[int] = 8,
    stride: Count | Sequence[int] = 8,
    axes: Sequence[int] | None = None,
    mode: str = "keep",
    fill: Scalar | Real[AnyArray, ...] | Sequence | Callable = 0.0,
    at_once: Count = 1,
) -> tuple[PyTree, Float[Array, " batch *shape"]]:
    """Returns the outputs, and for each entry of `x` the sum of the scores of all windows that it lies in.

    A window at the far edge wraps round to the near one. Its score is the sum of the explained outputs.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: one array `[batch, ...]`.
        target: a class, classes `[batch]`, "argmax", None: all outputs, or a function of the outputs, whose sum is
            taken.
        window, stride: lengths along each axis that is not the batch's. One number: the same along all of them, at most
            their length. Several: along `axes`, and the window covers the other axes whole.
        axes: which axes several lengths mean. None: height and width of images, that is the two before a last axis of
            1, 3 or 4 channels when two lengths are given for four axes, else the last ones.
        mode: "keep": the input is kept inside the window and filled outside (Zennit); "drop": the other way round;
            "difference": the score of `x` minus that of "drop".
        fill: what stands for the rest: a number, an array that broadcasts to `x`, or a function of `x`.
        at_once: windows in one pass.

    Raises:
        ValueError: as `gradient`; a window or stride below 1, or a window as large as the input, which would give all
            entries the same score; axes that are none, an unknown mode.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.ones((4, 1)), jnp.array([[1.0, 2.0, 3.0, 4.0]])
        >>> y, score = attribution.occlusion(fn, w, x, target=0, window=2, stride=2)
        >>> score.tolist()
        [[3.0, 3.0, 7.0, 7.0]]
    """
    _check_counts(at_once=at_once)
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}: expected one of {', '.join(MODES)}")
    x = jnp.asarray(x)
    explain, arrays, y, classes = _prepare(fn, params, x, target)
    if classes is not None and jnp.issubdtype(classes.dtype, jnp.floating):
        raise ValueError("target is an array of floats, which scores every window alike: give classes or a function")
    filled = _filling(fill, x)
    plan = windows.plan(x.shape, window, stride, axes)
    inside, outside = (x, filled) if mode == "keep" else (filled, x)
    operands = {"x": x, "offsets": jnp.asarray(plan.offsets), "sizes": jnp.asarray(plan.window)}
    operands |= {"inside": inside, "outside": outside}
    if mode == "difference":
        operands["score"] = repeated.score(y, explain.target or classes, explain.one_value)
    return y, _checked(
        params, repeated.total(explain, _window_step, arrays, classes, operands, len(plan.offsets), at_once, x)
    )


def _prepare(fn, params, x, target, rules=None, primitive_rules=None):
    """Returns the explainer, the arrays of params, the outputs, and the target as an array.

    The target is None when it is a function, or all outputs are explained.
    """
    repeated.check_inputs(x)
    if primitive_rules and rules is None:
        raise ValueError("primitive_rules are for relevance, and rules=None takes the gradient: give rules too.")
    parameters = Parameters.of(params)
    pairs = tuple(sorted((primitive_rules or {}).items(), key=lambda pair: pair[0]))
    explain = Explainer(
        plain(fn), parameters.structure, hashable(rules), pairs, target if callable(target) else None, False
    )
    y = repeated.forward(explain, parameters.arrays, x)
    finite.check_outputs(parameters, y)
    if y.ndim == 1:  # one output a sample, or the outputs of one sample
        explain = dataclasses.replace(explain, one_value=has_one_value(read(fn, params, x)))
    starting_relevance(y, target, explain.one_value)  # refuses what does not fit before the work begins
    if target is None or callable(target):
        return explain, parameters.arrays, y, None
    if isinstance(target, str):
        target = jnp.zeros(y.shape, int) if explain.one_value or y.ndim == 0 else jnp.argmax(y, axis=-1)
    return explain, parameters.arrays, y, jnp.asarray(target)


def _checked(params, relevance):
    """The explanation, if it is finite where it can be looked at."""
    finite.check_explanation(Parameters.of(params), relevance)
    return relevance


def _smoothgrad_step(explain, params, target, operands, index):
    x, is_noisy = operands["x"], index < operands["noisy"]
    leaves, structure = jax.tree.flatten(x)
    if "noise" in operands:
        last = jnp.minimum(index, operands["noisy"] - 1)
        draws = [leaf[last] for leaf in jax.tree.leaves(operands["noise"])]
    elif "keys" in operands:
        draws = [_drawn(operands["keys"], index, number, leaf) for number, leaf in enumerate(leaves)]
    else:
        return explain(params, x, target)[1]
    scales = jax.tree.leaves(operands["scale"])
    noisy = [
        leaf + jnp.where(is_noisy, draw * scale, 0).astype(leaf.dtype)
        for leaf, draw, scale in zip(leaves, draws, scales, strict=True)
    ]
    return explain(params, jax.tree.unflatten(structure, noisy), target)[1]


def _drawn(keys, index, number, leaf):
    """Standard normal numbers of one draw for one array, by the key of each sample."""

    def of_sample(key):
        key = jax.random.fold_in(jax.random.fold_in(key, index), number)
        return jax.random.normal(key, leaf.shape[1:], leaf.dtype)

    return jax.vmap(of_sample)(keys)


def _keys(key, x):
    """A key for each sample, by its number where there is one key for all."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 1:
        return key
    batch = jnp.shape(jax.tree.leaves(x)[0])[0]
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(batch))


def _path_step(explain, params, target, operands, index):
    weight = operands["weights"][index]
    explanation = explain(params, _point(operands, operands["places"][index]), target)[1]
    return jax.tree.map(lambda leaf: leaf * weight.astype(leaf.dtype), explanation)


def _point(operands, place) -> PyTree:
    """The point at a place of the line, from 0 at the origin to 1."""
    return jax.tree.map(
        lambda origin, difference: origin + place.astype(origin.dtype) * difference,
        operands["origin"], operands["difference"],
    )  # fmt: skip


def _window_step(explain, params, target, operands, index):
    """The score with something else outside of a window, or inside; taken off that of `x` where that is there."""
    mask = windows.mask(operands["x"].shape, operands["offsets"][index], operands["sizes"])
    score = explain.score(params, jnp.where(mask, operands["inside"], operands["outside"]), target)
    return windows.spread(operands["score"] - score if "score" in operands else score, mask)


def _filling(fill, x):
    """What stands for the rest of `x`, an array like it."""
    if not callable(fill):
        reals("fill", fill, "a finite number, an array of such, or a function of x")
    value = jnp.asarray(fill(x) if callable(fill) else fill, x.dtype)
    try:
        return jnp.broadcast_to(value, x.shape)
    except ValueError:
        raise ValueError(f"fill of shape {value.shape} does not broadcast to x, {x.shape}") from None


def _quadrature(points: str, n: Count) -> tuple[jax.Array, jax.Array]:
    """Returns places in [0, 1] and weights that sum to 1."""
    if points == "gauss_legendre":
        places, weights = np.polynomial.legendre.leggauss(n)
        return jnp.asarray((places + 1) / 2), jnp.asarray(weights / 2)
    shift = {"right": 1.0, "left": 0.0, "midpoint": 0.5}[points]
    return jnp.asarray((np.arange(n) + shift) / n), jnp.full(n, 1 / n)


def _baseline(baseline, x):
    if baseline is None:
        return jax.tree.map(jnp.zeros_like, x)
    value = baseline(x) if callable(baseline) else baseline
    if jax.tree.structure(value) != jax.tree.structure(x):
        if not jax.tree_util.all_leaves([value]):
            raise ValueError(
                f"baseline has the structure {jax.tree.structure(value)} and x {jax.tree.structure(x)}: expected the "
                "same, or one number or array for all of x"
            )
        value = jax.tree.map(lambda _: value, x)
    try:
        return jax.tree.map(lambda leaf, like: jnp.broadcast_to(jnp.asarray(leaf, like.dtype), like.shape), value, x)
    except ValueError:
        raise ValueError(f"baseline of shape {np.shape(value)} does not broadcast to x") from None


def _scale(leaf, sigma: Scalar, relative: bool):
    """Returns the standard deviation of the noise, which broadcasts against `leaf`."""
    if not relative:
        return jnp.asarray(sigma, leaf.dtype)
    axes = tuple(range(1, leaf.ndim))
    return sigma * (jnp.max(leaf, axes, keepdims=True) - jnp.min(leaf, axes, keepdims=True))


def _check_sigma(sigma) -> None:
    if isinstance(sigma, jax.core.Tracer):
        raise ValueError("sigma is traced: expected a number; close over it, or name it in static_argnames of jax.jit")
    if getattr(sigma, "ndim", 0):
        raise ValueError(
            f"sigma of shape {jnp.shape(sigma)}: expected one number, a standard deviation for all samples"
        )
    real("sigma", sigma, "one number, a finite standard deviation of 0 or more, for all samples", not_negative)


def _check_noise(noise, x, draws: Count, key, sigma: Scalar) -> None:
    if noise is None:
        if key is None and draws and sigma:
            raise ValueError("smoothgrad draws noise: give a key, jax.random.key(seed), or the noise itself")
        _check_key(key, jnp.shape(jax.tree.leaves(x)[0])[0])
        return
    if jax.tree.structure(noise) != jax.tree.structure(x):  # type: ignore[operator]  # trees are not annotated by JAX
        raise ValueError(
            f"noise has the structure {jax.tree.structure(noise)} and x {jax.tree.structure(x)}: expected the same, "
            "an array of noise for each of x"
        )
    for sample, leaf in zip(jax.tree.leaves(noise), jax.tree.leaves(x), strict=True):
        if jnp.shape(sample)[1:] != jnp.shape(leaf) or jnp.shape(sample)[0] < draws:
            raise ValueError(
                f"noise of shape {jnp.shape(sample)}: expected [{draws}, {', '.join(map(str, leaf.shape))}]"
            )


def _check_key(key, batch: int) -> None:
    dtype, shape = getattr(key, "dtype", None), jnp.shape(key) if hasattr(key, "dtype") else None
    is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape in ((), (batch,))
    is_raw = dtype is not None and dtype == jnp.uint32 and shape == jax.random.key_data(jax.random.key(0)).shape
    if key is not None and not is_key and not is_raw:
        what = f"of shape {shape} and dtype {dtype}" if dtype is not None else repr(key)
        raise ValueError(f"key is {what}: expected jax.random.key(seed), or {batch} of them, one a sample.")


def _check_postprocess(postprocess, rules=None) -> None:
    if postprocess not in (None, "abs", "square"):
        raise ValueError(f"postprocess={postprocess!r}: expected None, 'abs' or 'square'")
    if postprocess is not None and rules is not None:
        raise ValueError(f"postprocess={postprocess!r} is of gradients, and rules give relevance: leave one out.")


def _check_counts(**counts: Count) -> None:
    for name, value in counts.items():
        whole(name, value, 1)
