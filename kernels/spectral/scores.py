"""How far two clusterings agree. Source: L. Hubert and P. Arabie, Comparing partitions, J. Classification 2, 1985."""

import math

import numpy as np

from ..array_types import AnyArray, Integer
from .arguments import refuse_traced


def adjusted_rand_index(a: Integer[AnyArray, " n"], b: Integer[AnyArray, " n"]) -> float:
    """The adjusted Rand index: 1 for the same clusters under any names, 0 on average for independent ones.

    Args:
      a, b: labels, any integers; -1 is a cluster like others.

    Raises:
      ValueError: labels that are no integers, or not of one length of at least 1; traced ones: it counts on the host.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> spectral.adjusted_rand_index(jnp.array([0, 0, 1, 1]), jnp.array([7, 7, 3, 3]))
      1.0
    """
    for name, labels in (("a", a), ("b", b)):
        refuse_traced(name, labels, "adjusted_rand_index")
    one, other = np.asarray(a), np.asarray(b)
    if not one.size or not other.size:
        raise ValueError(f"a has {one.size} labels, b {other.size}: expected integers [n], one or more")
    if one.shape != other.shape or one.ndim != 1 or one.dtype.kind not in "iu" or other.dtype.kind not in "iu":
        raise ValueError(
            f"a is {one.dtype} of shape {one.shape}, b {other.dtype} of shape {other.shape}: expected integers [n], "
            "two labels of each sample"
        )
    _, one = np.unique(one, return_inverse=True)
    _, other = np.unique(other, return_inverse=True)
    _, both = np.unique(one * (other.max() + 1) + other, return_counts=True)

    def pairs(counts) -> int:
        return sum(math.comb(int(count), 2) for count in counts)

    together, first, second = pairs(both), pairs(np.bincount(one)), pairs(np.bincount(other))
    total = math.comb(one.size, 2)
    # (s - e) / (m - e) with e = first second / total and m = (first + second) / 2: whole numbers up to the division.
    numerator = 2 * (together * total - first * second)
    denominator = (first + second) * total - 2 * first * second
    return 1.0 if denominator == 0 else numerator / denominator
