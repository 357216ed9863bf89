"""DeepLIFT by the rescale rule, in its exact form: what each input adds to the output less that of a baseline.

Shrikumar, Greenside and Kundaje, Learning important features through propagating activation differences (ICML 2017,
arXiv:1704.02685). Multipliers go back through the traced function, see `multipliers`; contributions are multipliers
times differences of the inputs, and their sum is the difference of the output for every function that is not refused.
With several baselines it is their mean, as of DeepLIFT SHAP (Lundberg and Lee, arXiv:1705.07874).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import plain_operations
from ...array_types import Array, Count, Float
from ..arguments import PyTree, as_array
from ..caller import warn_caller
from ..precision import widened
from ..target import Target, marked, starting_relevance
from ..tracing.jaxpr import trace
from . import multipliers as rules
from . import repeated
from .gradients import _baseline, _check_counts, _checked, _prepare
from .repeated import Explainer

SAME = 1e-4  # of the outputs, up to which two ways to compute them are one
INCOMPLETE = 1e-3  # of the largest rise: a sum of contributions that misses it by more is warned of


def deeplift(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    baseline: PyTree | Callable = None,
    *,
    target: Target = None,
    at_once: Count = 1,
    return_report: bool = False,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, dict[str, Float[Array, "*batch"]]]:
    """Returns the outputs, and how much each input adds to their difference from those of a baseline.

    What is a composition of sums, products (also of two values that hang on x), quotients, maxima and entrywise
    functions is explained exactly: convolutions, norms by statistics, softmax, attention, gates, and `lax.scan` of
    these. Norms are what they compute, no statistic counts as a constant. A softmax whose maximum is taken off, as
    `jax.nn.softmax` does, is the exponential of its logarithm, so that a shift of all logits changes no multiplier.
    `jax.lax.stop_gradient` stops nothing here.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: inputs, an array `[batch, ...]` or a pytree of them.
        baseline: x0, an array (or pytree) that broadcasts to `x`, a function of `x`, or None: zero. With one axis more
            than `x` before all others, `[baselines, batch or 1, ...]`: several, over which the mean is taken.
        target: a class, classes `[batch]`, "argmax": the class of the inputs; None: the sum of all outputs. Floats
            `[batch, classes]`, or a function of the outputs at `x` that returns them: outputs weighted by them.
        at_once: baselines in one pass.
        return_report: also return {"completeness": `[batch]`, "magnitude": `[batch]`}: the sum of the contributions
            minus the difference of the explained outputs, 0 but for rounding; and the sum of their absolute values, of
            which rounding is below 1e-6 in float32. Where contributions cancel the difference of the outputs is much
            less than that, and no better computed.

    Raises:
        ValueError: as `gradient`; a baseline that does not fit.
        NotImplementedError: an operation through which differences do not pass exactly (loops without a fixed number
            of steps, branches, sorting, products over an axis, an index that hangs on x); the message has its place
            and the remedy.

    Warns:
        UserWarning: the sum of the contributions misses the difference, as where samples are normalised together. In a
            `jax.jit` only the report says so; and contributions are NaN there if a maximum that is taken off what an
            exponential is of turns out to be more than a shift, which does not change the outputs.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jax.nn.relu(x @ w - 1.0)
        >>> y, share = attribution.deeplift(fn, jnp.ones((2, 1)), jnp.array([[1.0, 3.0]]), target=0)
        >>> [round(float(part), 3) for part in share[0]]  # their sum is 3 - 0
        [0.75, 2.25]
    """
    _check_counts(at_once=at_once)
    explain, arrays, y, target = _prepare(fn, params, x, target)
    x = jax.tree.map(as_array, x)
    origins = _baselines(baseline, x)
    count = jax.tree.leaves(origins)[0].shape[0]
    operands = {"x": x, "origins": origins, "y": y}
    by_sample = jnp.zeros(y.shape[:1] if y.ndim > 1 or explain.one_value else (), widened(y).dtype)
    like = {"share": x} | dict.fromkeys(("missing", "rise", "magnitude"), by_sample)

    def mean(step):
        total = repeated.total(explain, step, arrays, target, operands, count, at_once, like)
        return jax.tree.map(lambda leaf: leaf / count, total)

    result = mean(_step)
    concrete = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(result))
    if concrete and np.isnan(np.asarray(result["rise"])).any():  # a maximum was no shift of exponentials after all
        result = mean(_step_without_shifts)
    if concrete:
        _warn_of_incomplete(result)
    share = _checked(params, result["share"])
    report = {"completeness": result["missing"], "magnitude": result["magnitude"]}
    return (y, share, report) if return_report else (y, share)


def _baselines(baseline: Any, x: PyTree) -> PyTree:
    """Baselines `[baselines, batch or 1, ...]` for each of `x`, that broadcast to it."""
    value = baseline(x) if callable(baseline) else baseline
    leaves, others = jax.tree.leaves(x), jax.tree.leaves(value)
    if (
        value is None
        or len(leaves) != len(others)
        or not all(jnp.ndim(one) == leaf.ndim + 1 for one, leaf in zip(others, leaves, strict=True))
    ):
        return jax.tree.map(lambda leaf: leaf[None], _baseline(value, x))
    counts = {jnp.shape(one)[0] for one in others}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"baseline has {sorted(counts)} baselines for the arrays of x: expected as many for each.")
    (count,) = counts
    if jax.tree.structure(value) != jax.tree.structure(x):  # type: ignore[operator]  # trees are not annotated by JAX
        raise ValueError(
            f"baseline has the structure {jax.tree.structure(value)} and x {jax.tree.structure(x)}: expected the same."
        )
    try:
        return jax.tree.map(
            lambda one, leaf: jnp.broadcast_to(jnp.asarray(one, leaf.dtype), (count, *leaf.shape)), value, x
        )
    except ValueError:
        raise ValueError(
            f"baseline of shape {jnp.shape(others[0])}: expected [baselines, ...] that broadcasts to x, "
            f"{leaves[0].shape}, along all other axes."
        ) from None


def _step(explain, params, target, operands, index):
    return _contributions(explain, params, target, operands, index, soft_shifts=True)


def _step_without_shifts(explain, params, target, operands, index):
    return _contributions(explain, params, target, operands, index, soft_shifts=False)


def _contributions(explain: Explainer, params, target, operands, index, soft_shifts: bool) -> dict:
    """The contributions for one baseline; NaN where a soft maximum changed an output, see `multipliers.run`."""
    x, y = operands["x"], operands["y"]
    origin = jax.tree.map(lambda leaf: leaf[index], operands["origins"])
    leaves, tree = jax.tree.flatten(x)
    with plain_operations.asked():
        # A function of its own each time: JAX would otherwise give back what it traced of `fn` for speed.
        graph = trace(
            lambda arrays, x: explain.outputs(arrays, x), (params, x), [False] * len(params) + [True] * len(leaves)
        )
    differs = [False] * len(params) + [True] * len(leaves)
    here, there = [*params, *leaves], [*params, *jax.tree.leaves(origin)]
    soft_shifts = soft_shifts and rules.has_shifts(graph)
    run = rules.run(graph, here, there, differs, soft_shifts)
    output = graph.outputs[0]
    if not run.varies(output):
        raise ValueError("the output of fn does not hang on x: there is nothing to explain.")
    start = widened(_weights(y, explain.target or target, explain.one_value))
    ms = rules.multipliers(run, [start])[len(params) :]
    pairs = [(rules.floating(a), rules.floating(b)) for a, b in zip(leaves, jax.tree.leaves(origin), strict=True)]
    shares = [
        jnp.zeros_like(pair[0]) if m is None else m * rules.difference(*pair) for m, pair in zip(ms, pairs, strict=True)
    ]
    batch = y.shape[:1] if y.ndim > 1 or explain.one_value else ()
    rise = _by_sample(start * rules.difference(*run.pair(output)), batch)
    if soft_shifts:
        same = _are_same(run.pair(output), rules.run(graph, here, there, differs, False).pair(output))
        shares = [jnp.where(same, share, jnp.nan) for share in shares]
        rise = jnp.where(same, rise, jnp.nan)
    shares = marked(shares, start, y.ndim > 1 or explain.one_value)
    if batch and any(share.shape[:1] != batch for share in shares):  # they cannot be told apart
        rise, batch = jnp.broadcast_to(jnp.sum(rise), batch), ()
    missing = sum(_by_sample(share, batch) for share in shares) - rise
    magnitude = sum(_by_sample(jnp.abs(share), batch) for share in shares)
    magnitude = jnp.broadcast_to(jnp.asarray(magnitude), jnp.shape(missing))
    shares = [share.astype(leaf.dtype) for share, leaf in zip(shares, leaves, strict=True)]
    return {"share": jax.tree.unflatten(tree, shares), "missing": missing, "rise": rise, "magnitude": magnitude}


def _are_same(ends, others) -> jax.Array:
    """Whether the outputs at both points are the same, computed in two ways."""
    near = [
        jnp.abs(rules.difference(one, other)) <= SAME * (jnp.abs(other) + jnp.max(jnp.abs(other)))
        for one, other in zip(ends, others, strict=True)
    ]
    return jnp.all(near[0] | jnp.isnan(others[0])) & jnp.all(near[1] | jnp.isnan(others[1]))


def _by_sample(array, batch: tuple[int, ...]) -> jax.Array:
    """The sum of an array over all axes but that of samples, if there is one."""
    return jnp.sum(array, tuple(range(len(batch), array.ndim)))


def _weights(y, target, one_value: bool):
    """What multipliers start from: 1 at the explained outputs, or the floats of target."""
    if target is None:
        return jnp.ones_like(y)
    is_class = not callable(target) and jnp.issubdtype(jnp.result_type(target), jnp.integer)
    return starting_relevance(jnp.ones_like(y) if is_class else y, target, one_value)


def _warn_of_incomplete(result: dict) -> None:
    missing, rise = (np.abs(np.asarray(result[name], np.float64)) for name in ("missing", "rise"))
    parts = [np.abs(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(result["share"])]
    scale = max([rise.max(initial=0.0), *(part.max(initial=0.0) for part in parts)])
    if missing.max(initial=0.0) > INCOMPLETE * scale:
        warn_caller(
            f"the contributions of a sample sum to {missing.max():.3g} more or less than its output rises by "
            f"({rise[missing.argmax()]:.3g}): fn mixes samples, or rounds; see return_report."
        )
