"""Perturbation analysis: does the score fall where the explanation says that it should?

Region perturbation and its curve: Samek et al., arXiv:1509.06321; pixel flipping: Bach et al. 2015 (PLOS ONE 10(7)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Bool, Count, Float, Int, Key, RandomKey, Real, Scalar
from ...scalars import whole
from ..arguments import PyTree, hashable
from ..chunks import check_batch_size, in_chunks
from ..target import Target
from . import perturbations, scoring
from . import regions as cut
from . import steps as steps_
from .scoring import Score
from .statistics import Curve, Estimate, aopc, mean_interval, paired_interval
from .steps import Flip

FEWEST_SEEDS = 5


def pixel_flipping(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    relevance: Real[AnyArray, " batch *maps"] | None,
    *,
    target: Target,
    order: str = "morf",
    regions: Count | Sequence[int] = (9, 9),
    axes: Sequence[int] | None = None,
    reduce: str = "mean",
    perturbation: str = "zeros",
    value: Scalar | Real[AnyArray, ...] = 0.0,
    sigma: Scalar | None = None,
    donors: Real[AnyArray, ...] | None = None,
    value_range: Sequence | None = None,
    regions_per_step: Count = 1,
    first: Count | None = None,
    steps: Count | None = None,
    score: Score = "logit",
    key: RandomKey | Key[Array, " batch"] | None = None,
    recompute: Callable | None = None,
    at_once: Count = 1,
    batch_size: Count | None = None,
) -> Curve:
    """Returns the score of each sample while its regions are perturbed, one after the other by their relevance.

    Point 0 of the curve is the clean sample, at point k the first k * `regions_per_step` regions of the order are
    perturbed, all of them at the last. Regions are ranked by their mean relevance, equal ones by their number in row
    order. A side that is no multiple of a region's is reflected at the edges for the means.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: one array `[batch, ...]`, in the range that the network is given.
        relevance: of `x`, in its shape or with 1 along axes of channels; None for random order only.
        target: a class, classes `[batch]`, "argmax" (of the clean sample), or a function of the outputs, the sum of
            what it returns being the score.
        order: "morf": the most relevant first; "lerf": the least; "random": by `key`.
        regions: lengths of a region, along each of `axes`: two for images, one for sequences, three for volumes.
        axes: which axes of `x` they lie along. None: all but the batch's, and but one of 1, 3 or 4 channels, last or
            first; an error where this does not tell. The other axes are channels and perturbed together: name these,
            too, to flip each entry by itself.
        reduce: over channels: "mean", "sum", "abs" (the sum of magnitudes) or "max".
        perturbation: what stands in a perturbed region. "zeros"; "mean": its own, of each channel; "gaussian":
            N(0, `sigma`²); "invert": -x; "constant": `value`; "uniform": in `value_range`; "blur": a Gaussian's over
            the image; "donor": what `donors` have there; "linear": weighted means of the neighbours, solved for all
            regions that are perturbed (ROAD, arXiv:2202.00449), with noise. Noise is drawn once for a sample.
        value: of "constant", a number or an array that broadcasts to `x`.
        sigma: standard deviation: of "gaussian" 0.3, of the noise of "linear" 0.01, both in units of `x`; of "blur" in
            entries, half a region's length.
        donors: images like `x`, or one `[1, ...]` for all; None: the next sample of the batch.
        value_range: (low, high) of `x`, numbers or arrays that broadcast; what is perturbed is clipped to it.
        regions_per_step: how many regions more at each point.
        first: how many at point 1, `regions_per_step` by default. iNNvestigate begins with 1.
        steps: points after the clean one; by default until all regions are perturbed.
        score: of the outputs: "logit": the target's own value; "probability": its softmax; or a function of the outputs
            that gives what the target chooses from.
        key: for "random" order and random perturbations: one, in which the number of each sample in the batch is
            folded, or `[batch]`.
        recompute: `recompute(params, x, target) -> relevance`: explain again what is left before each point after the
            first; target is as `target`, classes for "argmax".
        at_once: points in one pass of `fn`, which is mapped over them; bounds the memory, `batch` * `at_once` samples.
            More than 1 is for accelerators and small batches: on a CPU convolutions seldom gain from it.
        batch_size: samples at a time.

    Returns:
        A `Curve`; its `doubtful` counts samples with constant maps, and those that the perturbation does not change.

    Raises:
        ValueError: relevance that is not finite or does not fit, an unknown option, a target out of range, a missing
            key or range, an `x` out of its range, donors that are the sample itself, more steps than regions. Inside of
            a `jax.jit` a sample whose relevance is NaN has scores NaN.

    Differs from Quantus 0.6.0: PixelFlipping there perturbs entries (`axes` with the channels here), RegionPerturbation
    square patches ranked by sums over zeros at the edges; both leave the clean point out, rank what was divided by the
    largest magnitude, and take baselines such as "black" from what is left, at each step.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [2.0], [4.0]]), jnp.ones((1, 3))
        >>> curve = evaluation.pixel_flipping(fn, w, x, x * w[:, 0], target=0, regions=1)
        >>> curve.scores.tolist()
        [[7.0, 3.0, 1.0, 0.0]]
    """
    x = scoring.as_samples(x)
    scoring.check_one_of("order", order, cut.ORDERS)
    scoring.check_one_of("reduce", reduce, cut.REDUCTIONS)
    scoring.check_one_of("perturbation", perturbation, perturbations.PERTURBATIONS)
    scoring.check_counts(at_once=at_once)
    scorer, arrays, classes = scoring.prepare(fn, params, x, target, score, batch_size)
    layout = cut.layout(x.shape, regions, axes)
    counts = _counts(layout.regions, regions_per_step, first, steps)
    bounds = perturbations.check_options(perturbation, x, value, sigma, value_range, donors)
    _check_order(order, relevance, recompute)
    operands = {"x": x}
    if order != "random":
        operands["relevance"] = scoring.like_inputs(relevance, x)
    if order == "random" or perturbation in perturbations.RANDOM:
        why = f"order={order!r} and perturbation={perturbation!r} draw at random"
        operands["keys"] = scoring.sample_keys(key, len(x), why)
    if perturbation == "constant":
        operands["value"] = jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape)
    if perturbation == "donor":  # the next of the batch, not of a chunk
        operands["donors"] = jnp.roll(x, -1, 0) if donors is None else jnp.broadcast_to(jnp.asarray(donors), x.shape)
    if bounds is not None:
        operands["low"], operands["high"] = bounds
    sigma = None if sigma is None else float(sigma)
    again = None if recompute is None else hashable(recompute)
    flip = Flip(scorer, layout, order, reduce, perturbation, sigma, again)

    def of_chunk(operands, classes):
        return steps_.by_sample(flip, arrays, operands, classes, counts, at_once), ()

    if batch_size is None or check_batch_size(batch_size, x) <= batch_size:
        (scores, constant, unchanged), _ = of_chunk(operands, classes)
    else:
        (scores, constant, unchanged), _ = in_chunks(of_chunk, operands, classes, batch_size)
    name = score if isinstance(score, str) else "function"
    return Curve(scores, jnp.asarray(counts), constant, unchanged, order, name, perturbation)


class Comparison(NamedTuple):
    """An explanation beside random orders of the same regions, on the same samples.

    Attributes:
        explanation, random: AOPC, means over samples; that of random orders is the mean over seeds, by sample.
        difference: of the two, paired by sample.
        by_seed: AOPC of random orders, float `[seeds, samples]`.
        better: bool, whether the interval of the difference lies on the side where an explanation should: above 0
            with the most relevant first, below 0 with the least.
        disjoint: bool, whether the two intervals have nothing in common either.
        doubtful: how many samples say nothing, see `Curve`.
    """

    explanation: Estimate
    random: Estimate
    difference: Estimate
    by_seed: Float[Array, "seeds samples"]
    better: Bool[Array, ""]
    disjoint: Bool[Array, ""]
    doubtful: Int[Array, ""]


def compare_to_random(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    relevance: Real[AnyArray, " batch *maps"],
    key: RandomKey,
    *,
    target: Target,
    seeds: Count = FEWEST_SEEDS,
    order: str = "morf",
    **options: Any,
) -> Comparison:
    """Returns the AOPC of an explanation beside that of random orders, with 95 % intervals over samples.

    Args:
        fn, params, x, relevance, target: as for `pixel_flipping`.
        key: of the random orders, and of a random perturbation, which is the same for all of them.
        seeds: random orders, at least 5.
        order: of the explanation, "morf" or "lerf".
        options: others of `pixel_flipping`.

    Raises:
        ValueError: fewer than 5 seeds; as `pixel_flipping`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.arange(6.0)[:, None], jnp.ones((4, 6))
        >>> beside = evaluation.compare_to_random(fn, w, x, x * w[:, 0], jax.random.key(0), target=0, regions=1)
        >>> bool(beside.better), int(beside.doubtful)
        (True, 0)
    """
    whole("seeds", seeds, FEWEST_SEEDS)
    scoring.check_one_of("order", order, cut.ORDERS[:2])
    recompute = options.pop("recompute", None)
    keys = [jax.random.fold_in(scoring.one_key(key, "random orders are drawn"), seed) for seed in range(seeds + 1)]
    arguments = {"fn": fn, "params": params, "x": x, "target": target, **options}
    curve = pixel_flipping(relevance=relevance, order=order, key=keys[0], recompute=recompute, **arguments)
    others = [aopc(pixel_flipping(relevance=None, order="random", key=one, **arguments)) for one in keys[1:]]
    by_seed = jnp.stack(others)
    own, of_random = aopc(curve), jnp.mean(by_seed, axis=0)
    difference = paired_interval(own, of_random)
    better = difference.low > 0 if order == "morf" else difference.high < 0
    explanation, random = mean_interval(own), mean_interval(of_random)
    return Comparison(explanation, random, difference, by_seed, better, explanation.is_apart(random), curve.doubtful)


def _counts(regions: int, per_step: Count, first: Count | None, steps: Count | None) -> Int[np.ndarray, " points"]:
    """How many regions are perturbed at each point."""
    scoring.check_counts(regions_per_step=per_step)
    if first is not None:
        whole("first", first, 1, why=", or None for regions_per_step")
    start = per_step if first is None else first
    most = 1 + max(0, -(-(regions - start) // per_step))
    if steps is None:
        steps = most
    whole("steps", steps, 1, why=", or None for all regions")
    if steps > most:
        raise ValueError(f"steps={steps}: {regions} regions are perturbed after {most} of them, {per_step} at a time")
    return np.minimum(np.concatenate([[0], start + per_step * np.arange(steps)]), regions).astype(np.int32)


def _check_order(order: str, relevance, recompute) -> None:
    if relevance is None and order != "random":
        raise ValueError(f"relevance=None: order={order!r} is that of the relevance; order='random' needs none")
    if recompute is not None and (order == "random" or not callable(recompute)):
        raise ValueError(
            f"recompute={recompute!r:.60} with order={order!r}: expected a function (params, x, target) -> relevance, "
            "whose order is 'morf' or 'lerf'"
        )
