"""Soft labels: n weights share K centroids, one of them exactly 0, and a label says how likely a weight takes each.

Wiedemann et al., arXiv:1812.07520. Forms whose time does not grow with K: table.py.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Float64, Scalar
from ..scalars import not_negative, real, reals, refusal, whole

__all__ = [
    "beta_of",
    "moments",
    "soft_assign",
    "symmetric_grid",
]


def positive_each(values: np.ndarray) -> np.ndarray:
    """Which values are finite and above 0."""
    return (values > 0) & (values < np.inf)


def check_beta(beta: object) -> None:
    """Raises ValueError for a concrete inverse squared width that is not finite and above 0."""
    reals("beta", beta, "a finite number > 0, an inverse squared width", positive_each)


def symmetric_grid(largest: float, levels: int) -> Float64[np.ndarray, " levels"]:
    """`levels` equidistant centroids from -largest to largest, float64, the middle one exactly 0.

    Raises:
      ValueError: an even number of levels, or fewer than 3; `largest` not finite or below 0.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.symmetric_grid(1.0, 5).tolist()
      [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    levels = whole("levels", levels, 3, why=", and odd: the middle one is 0")
    if levels % 2 == 0:
        raise refusal("levels", levels, "an odd number of 3 or more: even ones have no zero centroid in the middle")
    largest = real("largest", largest, "a finite number of at least 0, the largest weight", not_negative)
    half = np.arange(1, levels // 2 + 1) * (largest / (levels // 2))
    return np.concatenate([-half[::-1], [0.0], half])


def beta_of(centroids: Float[AnyArray, " k"], sharpness: Scalar) -> Float[Array, ""]:
    """The inverse squared width beta at which beta d^2 / 2 is a sharpness, d the mean gap between neighbours.

    No gradient flows through it.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import soft_entropy
      >>> float(soft_entropy.beta_of(np.array([-0.5, 0.0, 0.5], np.float32), 2.0))
      16.0
    """
    reals("sharpness", sharpness, "a finite number > 0", positive_each)
    gap = (jnp.max(centroids) - jnp.min(centroids)) / (centroids.shape[0] - 1)
    return jnp.asarray(jax.lax.stop_gradient(2 * sharpness / jnp.square(jnp.maximum(gap, 1e-12))))


def soft_assign(
    latent: Float[AnyArray, "*shape"], centroids: Float[AnyArray, " k"], beta: Scalar
) -> Float[Array, "*shape k"]:
    """Probabilities of every centroid for every weight: softmax over k of -(beta / 2) (latent - centroid_k)^2.

    Args:
      latent: weights.
      centroids: in the unit of the weights.
      beta: inverse squared width, > 0, one over squared weights; large values give the nearest centroid.

    Raises:
      ValueError: no weights, no centroids, or a concrete beta that is not > 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.soft_assign(jnp.array([0.5]), jnp.array([0.0, 1.0]), 3.0).tolist()
      [[0.5, 0.5]]
    """
    latent, centroids = jnp.asarray(latent), jnp.asarray(centroids)
    if latent.size == 0 or centroids.ndim != 1 or centroids.size == 0:
        raise ValueError(f"soft_assign needs weights and centroids; shapes are {latent.shape} and {centroids.shape}")
    check_beta(beta)
    return jax.nn.softmax(-0.5 * beta * jnp.square(latent[..., None] - centroids), axis=-1)


def moments(
    probabilities: Float[AnyArray, "*shape k"], centroids: Float[AnyArray, " k"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Mean and variance of the centroid that soft labels draw; the variance is never below 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> mean, variance = soft_entropy.moments(jnp.array([[0.5, 0.5]]), jnp.array([0.0, 1.0]))
      >>> mean.tolist(), variance.tolist()
      ([0.5], [0.25])
    """
    mean = jnp.asarray(probabilities) @ centroids
    return mean, jnp.sum(probabilities * jnp.square(centroids - mean[..., None]), axis=-1)
