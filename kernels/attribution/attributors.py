"""Explanations made of many simple ones: gradient, SmoothGrad, integrated gradients, occlusion.

The simple one is the gradient, or layer-wise relevance propagation when `rules` are given. The numerics are Zennit's
(arXiv:2106.13200) by default; SmoothGrad is Smilkov et al. (arXiv:1706.03825), integrated gradients Sundararajan et al.
(arXiv:1703.01365), occlusion Zeiler and Fergus (arXiv:1311.2901). Memory does not grow with the number of draws, points
or windows: `at_once` of them share one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import repeated, windows
from .repeated import Explainer
from .start import starting_relevance

POINTS = ("right", "left", "midpoint", "gauss_legendre")
MODES = ("keep", "drop", "difference")


def gradient(
    fn: Callable,
    params: Any,
    x: Any,
    *,
    target=None,
    times_input: bool = False,
    postprocess: str | None = None,
) -> tuple[jax.Array, Any]:
    """Returns the outputs, and the gradient of the explained outputs with respect to `x`.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`.
        params: its parameters, a pytree.
        x: inputs, an array or a pytree of arrays, with a batch axis first.
        target: what is explained. An integer, or one for each sample, or "argmax": the gradient of these outputs.
            None: of half the sum of all squared outputs. Floats `[batch, classes]`, or a function of the outputs that
            returns them: of the outputs weighted by them.
        times_input: multiply by `x`.
        postprocess: None, "abs" or "square", entry by entry.

    Returns:
        (outputs, array or pytree like `x`).

    Raises:
        ValueError: a target out of range, inputs that are not finite, an unknown option.
    """
    if postprocess not in (None, "abs", "square"):
        raise ValueError(f"postprocess={postprocess!r}: expected None, 'abs' or 'square'")
    explain, y, target = _prepare(fn, params, x, target, None, "zennit")
    _, found = repeated.explain(explain, params, x, target)
    if times_input:
        found = jax.tree.map(jnp.multiply, found, x)
    if postprocess is not None:
        found = jax.tree.map(jnp.abs if postprocess == "abs" else jnp.square, found)
    return y, found


def smoothgrad(
    fn: Callable,
    params: Any,
    x: Any,
    key: jax.Array | None = None,
    *,
    target=None,
    n: int = 20,
    sigma: float = 0.1,
    relative: bool = True,
    clean_last: bool = True,
    noise: Any = None,
    rules: Any = None,
    semantics: str = "zennit",
    at_once: int = 1,
) -> tuple[jax.Array, Any]:
    """Returns the outputs for the clean `x`, and the mean of explanations of noisy copies of `x`.

    Args:
        fn, params, x: as for `gradient`.
        target: as for `gradient`, or with `rules` as for `attribute`. "argmax" is the class of the clean inputs; a
            function is of each draw's own outputs.
        key: of the noise, from `jax.random.key`; not needed with `noise` or n=1.
        n: draws.
        sigma: standard deviation of the noise, in units of each sample's largest minus smallest value.
        relative: False: `sigma` is in units of `x` itself.
        clean_last: the last draw has no noise, as in Zennit, so that n=1 is the explanation of `x`.
        noise: standard normal numbers to use instead, like `x` with an axis of draws before all others.
        rules: a composite, see `attribute`: the mean of relevances instead of gradients.
        semantics: as for `attribute`.
        at_once: draws in one pass; more of them take more memory.

    Raises:
        ValueError: as `gradient`; a missing key, too little noise, n below 1, sigma below 0.
    """
    _check_counts(n=n, at_once=at_once)
    if not sigma >= 0:
        raise ValueError(f"sigma={sigma}: expected a standard deviation of 0 or more")
    noisy = n - 1 if clean_last else n
    _check_noise(noise, x, noisy, key, sigma)
    explain, y, target = _prepare(fn, params, x, target, rules, semantics)
    operands = {"x": x, "scale": jax.tree.map(lambda leaf: _scale(leaf, sigma, relative), x), "noisy": noisy}
    operands |= {"noise": noise} if noise is not None else {"key": key} if noisy and sigma else {}
    found = repeated.total(explain, _smoothgrad_step, params, target, operands, n, at_once, x)
    return y, jax.tree.map(lambda leaf: leaf / n, found)


def integrated_gradients(
    fn: Callable,
    params: Any,
    x: Any,
    *,
    target=None,
    n: int = 20,
    baseline: Any = None,
    points: str = "right",
    rules: Any = None,
    semantics: str = "zennit",
    at_once: int = 1,
    return_report: bool = False,
):
    """Returns the outputs, and (x - x0) times the mean gradient along the line from the baseline x0 to x.

    Args:
        fn, params, x, target, rules, semantics: as for `smoothgrad`.
        n: points on the line.
        baseline: x0, an array (or pytree) that broadcasts to `x`, a function of `x`, or None: zero.
        points: "right": k/n for k = 1 to n (Zennit); "left": k = 0 to n-1 (iNNvestigate); "midpoint"; "gauss_legendre".
        at_once: points in one pass.
        return_report: also return {"completeness": `[batch]`}: the sum of the explanation minus what the explained
            outputs rise between x0 and x; 0 for the exact integral.

    Raises:
        ValueError: as `gradient`; n below 1, unknown points, a baseline that does not fit.
    """
    _check_counts(n=n, at_once=at_once)
    if points not in POINTS:
        raise ValueError(f"points={points!r}: expected one of {', '.join(POINTS)}")
    explain, y, target = _prepare(fn, params, x, target, rules, semantics)
    origin = _baseline(baseline, x)
    places, weights = _quadrature(points, n)
    difference = jax.tree.map(jnp.subtract, x, origin)
    operands = {"origin": origin, "difference": difference, "places": places, "weights": weights}
    found = repeated.total(explain, _path_step, params, target, operands, n, at_once, x)
    found = jax.tree.map(jnp.multiply, found, difference)
    if not return_report:
        return y, found
    rise = explain.score(params, x, target) - explain.score(params, origin, target)
    total = sum(jnp.sum(leaf, axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(found))
    return y, found, {"completeness": total - rise}


def occlusion(
    fn: Callable,
    params: Any,
    x: jax.Array,
    *,
    target=None,
    window: int | tuple[int, ...] = 8,
    stride: int | tuple[int, ...] = 8,
    axes: tuple[int, ...] | None = None,
    mode: str = "keep",
    fill: float | jax.Array | Callable = 0.0,
    at_once: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """Returns the outputs, and for each entry of `x` the sum of the scores of all windows that it lies in.

    A window at the far edge wraps round to the near one. Its score is the sum of the explained outputs.

    Args:
        fn, params: as for `gradient`.
        x: one array `[batch, ...]`.
        target: class or classes as for `gradient`, None: all outputs, or a function of the outputs, whose sum is taken.
        window, stride: lengths along each axis that is not the batch's. One number: the same along all of them, at most
            their length. Several: along `axes`, and the window covers the other axes whole.
        axes: which axes several lengths mean. None: height and width of images, that is the two before a last axis of
            1, 3 or 4 channels when two lengths are given for four axes, else the last ones.
        mode: "keep": the input is kept inside the window and filled outside (Zennit); "drop": the other way round;
            "difference": the score of `x` minus that of "drop".
        fill: what stands for the rest: a number, an array that broadcasts to `x`, or a function of `x`.
        at_once: windows in one pass.

    Raises:
        ValueError: as `gradient`; a window or stride below 1, axes that are none, an unknown mode.
    """
    _check_counts(at_once=at_once)
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}: expected one of {', '.join(MODES)}")
    x = jnp.asarray(x)
    plan = windows.plan(x.shape, window, stride, axes)
    explain, y, target = _prepare(fn, params, x, target, None, "zennit")
    if target is not None and jnp.issubdtype(target.dtype, jnp.floating):
        raise ValueError("target is an array of floats, which scores every window alike: give classes or a function")
    filled = jnp.broadcast_to(jnp.asarray(fill(x) if callable(fill) else fill, x.dtype), x.shape)
    operands = {"x": x, "filled": filled, "offsets": jnp.asarray(plan.offsets), "sizes": jnp.asarray(plan.window)}
    step = _keep_step if mode == "keep" else _drop_step if mode == "drop" else _difference_step
    if mode == "difference":
        operands["score"] = repeated.score(y, explain.target or target)
    return y, repeated.total(explain, step, params, target, operands, len(plan.offsets), at_once, x)


def _prepare(fn, params, x, target, rules, semantics):
    """Returns the explainer, the outputs, and the target as an array, or None when it is a function or all outputs."""
    repeated.check_inputs(x)
    explain = Explainer.of(fn, rules, semantics, target)
    y = repeated.forward(explain, params, x)
    starting_relevance(y, target)  # refuses what does not fit before the work begins
    if target is None or callable(target):
        return explain, y, None
    return explain, y, jnp.argmax(y, axis=-1) if isinstance(target, str) else jnp.asarray(target)


def _smoothgrad_step(explain, params, target, operands, index):
    x, is_noisy = operands["x"], index < operands["noisy"]
    leaves, structure = jax.tree.flatten(x)
    if "noise" in operands:
        last = jnp.minimum(index, operands["noisy"] - 1)
        draws = [leaf[last] for leaf in jax.tree.leaves(operands["noise"])]
    elif "key" in operands:
        keys = jax.random.split(jax.random.fold_in(operands["key"], index), len(leaves))
        draws = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    else:
        return explain(params, x, target)[1]
    scales = jax.tree.leaves(operands["scale"])
    moved = [
        leaf + jnp.where(is_noisy, draw * scale, 0).astype(leaf.dtype)
        for leaf, draw, scale in zip(leaves, draws, scales, strict=True)
    ]
    return explain(params, jax.tree.unflatten(structure, moved), target)[1]


def _path_step(explain, params, target, operands, index):
    place, weight = operands["places"][index], operands["weights"][index]
    point = jax.tree.map(
        lambda origin, difference: origin + place.astype(origin.dtype) * difference,
        operands["origin"],
        operands["difference"],
    )
    found = explain(params, point, target)[1]
    return jax.tree.map(lambda leaf: leaf * weight.astype(leaf.dtype), found)


def _keep_step(explain, params, target, operands, index):
    mask = windows.mask(operands["x"].shape, operands["offsets"][index], operands["sizes"])
    return windows.spread(explain.score(params, jnp.where(mask, operands["x"], operands["filled"]), target), mask)


def _drop_step(explain, params, target, operands, index):
    mask = windows.mask(operands["x"].shape, operands["offsets"][index], operands["sizes"])
    return windows.spread(explain.score(params, jnp.where(mask, operands["filled"], operands["x"]), target), mask)


def _difference_step(explain, params, target, operands, index):
    mask = windows.mask(operands["x"].shape, operands["offsets"][index], operands["sizes"])
    lost = operands["score"] - explain.score(params, jnp.where(mask, operands["filled"], operands["x"]), target)
    return windows.spread(lost, mask)


def _quadrature(points: str, n: int) -> tuple[jax.Array, jax.Array]:
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
        value = jax.tree.map(lambda _: value, x)
    try:
        return jax.tree.map(lambda leaf, like: jnp.broadcast_to(jnp.asarray(leaf, like.dtype), like.shape), value, x)
    except ValueError:
        raise ValueError(f"baseline of shape {np.shape(value)} does not broadcast to x") from None


def _scale(leaf, sigma: float, relative: bool):
    """Returns the standard deviation of the noise, which broadcasts against `leaf`."""
    if not relative:
        return jnp.asarray(sigma, leaf.dtype)
    axes = tuple(range(1, leaf.ndim))
    return sigma * (jnp.max(leaf, axes, keepdims=True) - jnp.min(leaf, axes, keepdims=True))


def _check_noise(noise, x, draws: int, key, sigma: float) -> None:
    if noise is None:
        if key is None and draws and sigma:
            raise ValueError("smoothgrad draws noise: give a key, jax.random.key(seed), or the noise itself")
        return
    for drawn, leaf in zip(jax.tree.leaves(noise), jax.tree.leaves(x), strict=True):
        if jnp.shape(drawn)[1:] != jnp.shape(leaf) or jnp.shape(drawn)[0] < draws:
            raise ValueError(
                f"noise of shape {jnp.shape(drawn)}: expected [{draws}, {', '.join(map(str, leaf.shape))}]"
            )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name}={value!r}: expected an integer of 1 or more")
