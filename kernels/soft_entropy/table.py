"""Soft assignment of weights to centroids through a table over the value of a weight, whatever the number of centroids.

Everything that a soft label gives (mean, variance, probabilities) depends on one number, the latent weight. It is
computed exactly at `points` places between the outer centroids and interpolated linearly between them; expected counts
come from a histogram that shares each weight between its two places, so that counts, moments and all gradients belong
to the same, piecewise linear probabilities. On a CPU core a lookup costs 2 ns a weight, K exponentials 5 K ns.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..array_types import AnyArray, Array, Float, Int32, Scalar
from ..scalars import whole
from .bits import following
from .labels import check_beta, moments, soft_assign

__all__ = [
    "Place",
    "SoftTable",
    "context_counts",
    "expected_counts",
    "locate",
    "lookup",
    "lookup_moments",
    "straight_through",
    "tabulate",
]

POINTS = 4096


class SoftTable(NamedTuple):
    """Attributes: low, the value of the first place; width, between places; probabilities, mean and variance of the
    centroid there."""

    low: Float[Array, ""]
    width: Float[Array, ""]
    probabilities: Float[Array, "points k"]
    mean: Float[Array, " points"]
    variance: Float[Array, " points"]


class Place(NamedTuple):
    """Where weights stand in a table. Attributes: index, of the place below; fraction of the way to the next."""

    index: Int32[Array, "*shape"]  # type: ignore[assignment]  # a tuple has a method of this name
    fraction: Float[Array, "*shape"]


def tabulate(centroids: Float[AnyArray, " k"], beta: Scalar, points: int = POINTS) -> SoftTable:
    """Returns the table of soft labels over the range of the centroids.

    Args:
      centroids: in the unit of the weights.
      beta: inverse squared width, see `soft_assign`; changes of the labels over less than the distance of two
        places are smoothed to that distance.
      points: places, 2 or more; more than 60 a centroid keep the smoothing below 2 % of a gap.
    """
    check_beta(beta)
    points = whole("points", points, 2)
    low, high = jax.lax.stop_gradient((jnp.min(centroids), jnp.max(centroids)))
    width = jnp.maximum((high - low) / (points - 1), jnp.finfo(centroids.dtype).tiny)
    probabilities = soft_assign(low + width * jnp.arange(points, dtype=centroids.dtype), centroids, beta)
    return SoftTable(low, width, probabilities, *moments(probabilities, centroids))


def locate(table: SoftTable, latent: Float[AnyArray, "*shape"]) -> Place:
    """Returns the places of weights; beyond the outer centroids a weight counts as one of them."""
    last = table.mean.shape[0] - 1
    place = jnp.clip((latent - table.low) / table.width, 0, last)
    index = jax.lax.stop_gradient(jnp.minimum(place.astype(jnp.int32), last - 1))
    return Place(index, place - index)


def lookup_moments(table: SoftTable, place: Place) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Mean and variance of the centroid that each weight draws; the variance is never below 0."""
    ends = jnp.stack([table.mean[:-1], table.mean[1:], table.variance[:-1], table.variance[1:]], axis=1)
    columns = ends.at[place.index].get(mode="promise_in_bounds")
    mean, next_mean, variance, next_variance = (columns[..., column] for column in range(4))
    rest = 1 - place.fraction
    # A mixture of two distributions has the mean of their variances and the variance of their means.
    between = place.fraction * rest * jnp.square(next_mean - mean)
    return rest * mean + place.fraction * next_mean, rest * variance + place.fraction * next_variance + between


def lookup(values: Float[AnyArray, " points"], place: Place) -> Float[Array, "*shape"]:
    """Interpolates a column of a table at the places of weights."""
    ends = jnp.stack([values[:-1], values[1:]], axis=1).at[place.index].get(mode="promise_in_bounds")
    return (1 - place.fraction) * ends[..., 0] + place.fraction * ends[..., 1]


def expected_counts(
    table: SoftTable, place: Place, weights: Float[AnyArray, "..."] | None = None
) -> Float[Array, " k"]:
    """Sum of the soft labels of all weights: how often each centroid is expected.

    Args:
      table, place: of the weights.
      weights: [...], a factor for each weight, such as the probability of its context; 1 when None.
    """
    index, fraction = place.index.reshape(-1), place.fraction.reshape(-1)
    factor = 1 if weights is None else weights.reshape(-1)
    # A layer's counts leave the range of half precision.
    histogram = jnp.zeros(table.mean.shape, jnp.promote_types(table.mean.dtype, jnp.float32))
    histogram = histogram.at[index].add(factor * (1 - fraction), mode="promise_in_bounds")
    histogram = histogram.at[index + 1].add(factor * fraction, mode="promise_in_bounds")
    return histogram @ table.probabilities


def context_counts(
    table: SoftTable, place: Place, members: Float[AnyArray, "contexts k"]
) -> Float[Array, "contexts k"]:
    """How often each label is expected after each context of `context_members`, for weights in coding order."""
    if len(members) == 1:
        return expected_counts(table, place)[None]
    context = [lookup(table.probabilities @ row, place).reshape(-1) for row in members]
    before = following(jnp.stack(context, axis=1))
    return jnp.stack([expected_counts(table, place, before[:, s]) for s in range(len(members))])


def straight_through(
    table: SoftTable, place: Place, latent: Float[AnyArray, "*shape"], centroids: Float[AnyArray, " k"]
) -> Float[Array, "*shape"]:
    """The most probable centroid of each weight, with the gradient of the weight itself."""
    best = jnp.argmax(table.probabilities, axis=1)
    index = place.index + (jax.lax.stop_gradient(place.fraction) > 0.5)
    hard = jnp.asarray(centroids)[best.at[index].get(mode="promise_in_bounds")]
    return hard + latent - jax.lax.stop_gradient(latent)
