"""Means with intervals over samples, and curves: their area, and what lies between two of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...array_types import AnyArray, Array, Bool, Float, Int, Real, Scalar
from ...scalars import real


@dataclasses.dataclass(frozen=True)
class Curve:
    """Scores while more and more of each sample is perturbed.

    Attributes:
        scores: float `[samples, points]`; the first point is the clean sample. NaN where a traced map was NaN.
        perturbed: int `[points]`, how many regions are perturbed at each point, from 0.
        constant: bool `[samples]`, whether the map has one value for all regions, but for rounding: their order says
            nothing.
        unchanged: bool `[samples]`, whether perturbing every region would leave the sample as it is.
        order, score, perturbation: what was measured: "morf", "lerf" or "random"; "logit", "probability" or "function";
            the perturbation's name.
    """

    scores: Float[Array, "samples points"]
    perturbed: Int[Array, " points"]
    constant: Bool[Array, " samples"]
    unchanged: Bool[Array, " samples"]
    order: str
    score: str
    perturbation: str

    @property
    def doubtful(self) -> Int[Array, ""]:
        """How many samples say nothing of the explanation: constant maps, and perturbations that change nothing."""
        return jnp.sum(self.constant | self.unchanged)


def _unflatten(names: tuple[str, ...], arrays: tuple) -> Curve:
    """A curve of what `jax.tree.map` and its kin put in place of arrays, without the checks of its fields."""
    curve = object.__new__(Curve)
    for field, part in zip(dataclasses.fields(Curve), (*arrays, *names), strict=True):
        object.__setattr__(curve, field.name, part)
    return curve


jax.tree_util.register_pytree_node(
    Curve,
    lambda curve: (
        (curve.scores, curve.perturbed, curve.constant, curve.unchanged),
        (curve.order, curve.score, curve.perturbation),
    ),
    _unflatten,
)


class Estimate(NamedTuple):
    """A mean over samples.

    Attributes:
        mean: of the samples. low, high: Student's 95 % interval of it, NaN for a single sample, which does not say.
        samples: how many.
    """

    mean: Float[Array, ...]
    low: Float[Array, ...]
    high: Float[Array, ...]
    samples: int

    def is_apart(self, other: Estimate) -> Bool[Array, ...]:
        """Whether the intervals are disjoint; never, where one of them is NaN."""
        return (self.low > other.high) | (self.high < other.low)


def mean_interval(values: Real[AnyArray, " samples *shape"], level: Scalar = 0.95) -> Estimate:
    """Returns the mean over samples and Student's interval of it, for samples drawn at random.

    Args:
        values: `[samples, ...]`, one number a sample or several; NaN makes NaN.
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: no sample, a level out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> estimate = evaluation.mean_interval(jnp.array([1.0, 2.0, 3.0]))
        >>> [round(float(part), 2) for part in estimate[:3]]
        [2.0, -0.48, 4.48]
    """
    from scipy.special import stdtrit  # JAX's own dependency

    level = real("level", level, "a number between 0 and 1", lambda one: 0 < one < 1)
    count = jnp.shape(values)[0] if jnp.ndim(values) else 0
    if not count:
        raise ValueError(f"values of shape {jnp.shape(values)}: expected [samples, ...] with at least one sample")
    values = jnp.asarray(values)
    mean = jnp.mean(values, axis=0)
    if count == 1:
        return Estimate(mean, jnp.full_like(mean, jnp.nan), jnp.full_like(mean, jnp.nan), 1)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * jnp.std(values, axis=0, ddof=1) / count**0.5
    return Estimate(mean, mean - half, mean + half, count)


def paired_interval(
    one: Real[AnyArray, " samples *shape"], other: Real[AnyArray, " samples *shape"], level: Scalar = 0.95
) -> Estimate:
    """Returns the mean of `one - other` on the same samples, with its interval.

    What samples have in common falls out of a difference, so it is known better than from two intervals.

    Args:
        one, other: `[samples, ...]` of two methods, the same sample at the same place.
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: unequal shapes; as `mean_interval`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> difference = evaluation.paired_interval(jnp.array([1.0, 5.0]), jnp.array([0.0, 4.0]))
        >>> float(difference.mean), float(difference.low), float(difference.high)
        (1.0, 1.0, 1.0)
    """
    if jnp.shape(one) != jnp.shape(other):
        raise ValueError(f"shapes {jnp.shape(one)} and {jnp.shape(other)}: expected those of the same samples")
    return mean_interval(jnp.asarray(one) - jnp.asarray(other), level)


def aopc(curve: Curve) -> Float[Array, " samples"]:
    """Returns the area over the perturbation curve, `[samples]`: the mean over all L + 1 points of f(x_0) - f(x_k).

    In the unit of the score. With the most relevant regions first higher is better, with the least relevant first
    lower is. Only curves over the same points can be compared.

    Source: arXiv:1509.06321, equation 12.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [2.0]]), jnp.ones((1, 2))
        >>> curve = evaluation.pixel_flipping(fn, w, x, x * w[:, 0], target=0, regions=1)
        >>> round(float(evaluation.aopc(curve)[0]), 4)  # of 3, 1, 0
        1.6667
    """
    return jnp.mean(curve.scores[:, :1] - curve.scores, axis=1)


def area_between(lerf: Curve, morf: Curve) -> Float[Array, " samples"]:
    """Returns the area between two curves of the same samples, `[samples]`: the mean over all points of their distance.

    In the unit of the score; higher is better.

    Raises:
        ValueError: curves of other samples, points, scores or perturbations.

    Source: arXiv:2401.06654 (symmetric relevance gain).

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [2.0]]), jnp.ones((1, 2))
        >>> options = {"params": w, "x": x, "relevance": x * w[:, 0], "target": 0, "regions": 1}
        >>> curves = [evaluation.pixel_flipping(fn, **options, order=order) for order in ("lerf", "morf")]
        >>> round(float(evaluation.area_between(*curves)[0]), 4)  # of 3, 2, 0 and 3, 1, 0
        0.3333
    """
    for name in ("score", "perturbation"):
        if getattr(lerf, name) != getattr(morf, name):
            raise ValueError(f"curves of {name} {getattr(lerf, name)!r} and {getattr(morf, name)!r}: expected the same")
    if lerf.scores.shape != morf.scores.shape:
        raise ValueError(f"curves of shapes {lerf.scores.shape} and {morf.scores.shape}: expected the same samples")
    counts = (lerf.perturbed, morf.perturbed)
    if not any(isinstance(one, jax.core.Tracer) for one in counts) and (counts[0] != counts[1]).any():
        raise ValueError("curves with different numbers of perturbed regions: expected the same points")
    if (lerf.order, morf.order) != ("lerf", "morf"):
        raise ValueError(f"curves of orders {lerf.order!r} and {morf.order!r}: expected 'lerf', then 'morf'")
    return jnp.mean(lerf.scores - morf.scores, axis=1)
