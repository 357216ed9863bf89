"""How few entries an explanation lies in: one number for each map, of magnitudes, whatever its scale.

Each is NaN for a map of zeros, which lies nowhere.
"""

from __future__ import annotations

import jax.numpy as jnp

from ...array_types import AnyArray, Array, Float, Int, Real, Scalar
from ...scalars import not_negative, real
from . import scoring


def gini(relevance: Real[AnyArray, " batch *shape"]) -> Float[Array, " batch"]:
    """Returns the Gini index of the magnitudes of each map, `[batch]`: 0 where all are equal, 1 - 1/n with one entry.

    Higher is sparser. Quantus 0.6.0 (Sparseness) adds 1e-7 to each entry, which a map of zeros needs.

    Args:
        relevance: `[batch, ...]`; all axes but the first are entries.

    Raises:
        ValueError: NaN or infinite relevance, no axis of samples.

    Source: Chalasani et al., arXiv:1810.06583.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> evaluation.gini(jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, -8.0, 0.0]])).tolist()
        [0.0, 0.75]
    """
    sizes = jnp.sort(_magnitudes(relevance), axis=-1)
    count = sizes.shape[-1]
    weights = (2 * jnp.arange(1, count + 1) - count - 1) / count
    return jnp.sum(weights * sizes, axis=-1) / jnp.sum(sizes, axis=-1)


def complexity(relevance: Real[AnyArray, " batch *shape"]) -> Float[Array, " batch"]:
    """Returns the entropy of the shares of the magnitudes of each map, `[batch]`, in nats: from 0 to ln n.

    Lower is simpler. As Complexity of Quantus 0.6.0, up to the 1e-12 that it adds to shares.

    Args:
        relevance: `[batch, ...]`; all axes but the first are entries.

    Raises:
        ValueError: NaN or infinite relevance, no axis of samples.

    Source: Bhatt et al., arXiv:2005.00631.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> [round(float(one), 4) for one in evaluation.complexity(jnp.array([[1.0, -1.0], [0.0, 3.0]]))]
        [0.6931, 0.0]
    """
    sizes = _magnitudes(relevance)
    shares = sizes / jnp.sum(sizes, axis=-1, keepdims=True)
    is_nothing = shares == 0
    return jnp.sum(jnp.where(is_nothing, 0, shares * -jnp.log(jnp.where(is_nothing, 1, shares))), axis=-1)


def effective_complexity(relevance: Real[AnyArray, " batch *shape"], threshold: Scalar = 1e-5) -> Int[Array, " batch"]:
    """Returns how many entries of each map are larger than a share of its largest magnitude, int32 `[batch]`.

    Lower is simpler. EffectiveComplexity of Quantus 0.6.0 divides by the largest of the whole batch; of one sample it
    is the same. A map of zeros has 0.

    Args:
        relevance: `[batch, ...]`; all axes but the first are entries.
        threshold: share of the map's largest magnitude, 0 or more.

    Raises:
        ValueError: NaN or infinite relevance, no axis of samples, a threshold below 0.

    Source: Nguyen and Martinez, arXiv:2007.07584.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> evaluation.effective_complexity(jnp.array([[4.0, -1.0, 0.0], [0.0, 0.0, 0.1]]), 0.1).tolist()
        [2, 1]
    """
    threshold = real("threshold", threshold, "a finite number of 0 or more, a share of the largest", not_negative)
    sizes = _magnitudes(relevance)
    return jnp.sum(sizes > threshold * jnp.max(sizes, axis=-1, keepdims=True), axis=-1).astype(jnp.int32)


def _magnitudes(relevance):
    maps = scoring.as_maps("relevance", relevance)
    return jnp.abs(maps).reshape(len(maps), -1)
