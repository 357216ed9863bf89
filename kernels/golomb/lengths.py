"""Lengths of Golomb codes in closed form: the best parameter for a sparsity, the mean length, that of a given mask.

Source: F. Sattler et al., arXiv:1903.02891, eq. (15) to (17) (the parameter and mean position bits of a mask whose
entries are selected independently with probability p).
"""

import math

import numpy as np

from ..array_types import AnyArray, Array, Bool, Count, Int, Int64, Scalar
from ..host_arrays import on_host
from ..scalars import is_traced, real, whole

LARGEST_PARAMETER = 31  # what the five bits of a message hold
_RATIO = (math.sqrt(5) - 1) / 2  # the golden ratio less 1
_MOST = 2**31 - 1


def checked_sparsity(p) -> float:
    """A share of entries as a float in (0, 1]."""
    return real("p", p, "a number in (0, 1], the share of the entries that are selected", lambda share: 0 < share <= 1)


def golomb_parameter(p: Scalar) -> int:
    """The number b of low bits for which positions have the fewest bits, where a share p of all entries is selected.

    max(0, 1 + floor(log2(ln(phi - 1) / ln(1 - p)))), phi the golden ratio; 31 at most.

    Args:
      p: in (0, 1].

    Raises:
      ValueError: p is out of range.

    Example:
      >>> from havel.kernels import golomb
      >>> golomb.golomb_parameter(1 / 400), golomb.golomb_parameter(0.5)
      (8, 0)
    """
    p = checked_sparsity(p)
    if p == 1:
        return 0
    return min(max(0, 1 + math.floor(math.log2(math.log(_RATIO) / math.log1p(-p)))), LARGEST_PARAMETER)


def expected_bits(p: Scalar, b: Count | None = None) -> float:
    """Mean bits of the position of one selected entry, where each of all is selected with probability p.

    b + 1 / (1 - (1 - p)^(2^b)). With its sign an entry has one bit more, so that a ternary vector has
    p (expected_bits(p) + 1) bits for each of all entries.

    Args:
      p: in (0, 1].
      b: number of low bits, 0 to 31; None: the best, `golomb_parameter(p)`.

    Raises:
      ValueError: p or b is out of range.

    Example:
      >>> from havel.kernels import golomb
      >>> round(golomb.expected_bits(1 / 400), 4)
      10.1136
    """
    p = checked_sparsity(p)
    low_bits = golomb_parameter(p) if b is None else whole("b", b, 0, LARGEST_PARAMETER)
    return low_bits - 1 / math.expm1(2.0**low_bits * math.log1p(-p)) if p < 1 else low_bits + 1.0


def golomb_bits(mask: Bool[AnyArray, "*batch n"], b: Count) -> int | Int64[np.ndarray, "*batch"] | Int[Array, "*batch"]:
    """Exact length in bits of the positions and signs of a mask: k (b + 2) + sum of (gap >> b).

    It is the payload of `encode` where b is `golomb_parameter(k / n)`, without its last byte's fill.

    Args:
      mask: bool; leading axes are vectors of their own.
      b: number of low bits, 0 to 31; not traced.

    Returns:
      an int for one vector, int64 [...] for several; of a traced mask (under `jit`, `vmap`) int32 [...].

    Raises:
      ValueError: mask is no array of bool with a last axis, b is out of range, or a traced mask is so long that its
        bits may exceed 2^31 - 1: count it outside of `jit`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import golomb
      >>> golomb.golomb_bits(np.array([False, True, False, True]), 0)
      6
    """
    b = whole("b", b, 0, LARGEST_PARAMETER)
    if is_traced(mask):
        return _traced_bits(mask, b)
    mask = checked_mask(mask)
    rows = mask.reshape(-1, mask.shape[-1]) if mask.size else np.zeros((math.prod(mask.shape[:-1]), 0), bool)
    bits = [bits_of_places(np.flatnonzero(row), b) for row in rows]
    return bits[0] if mask.ndim == 1 else np.array(bits, np.int64).reshape(mask.shape[:-1])


def checked_mask(mask) -> np.ndarray:
    """A mask as an array of NumPy; ValueError for what is none, or traced."""
    mask = on_host("mask", mask)
    check_kind(mask)
    return mask


def check_kind(mask) -> None:
    """ValueError for an array, traced or not, that is no mask."""
    if mask.dtype != np.bool_ or mask.ndim == 0:
        raise ValueError(f"mask is {mask.dtype} of shape {mask.shape}: expected bool [..., n], x != 0 for one of x")


def bits_of_places(places: Int64[np.ndarray, " k"], b: int) -> int:
    """Bits of increasing places and their signs."""
    gaps = np.diff(places, prepend=-1) - 1
    return int(places.size * (b + 2) + (gaps >> b).sum())


def _traced_bits(mask, b: int):
    """Of a traced mask.

    Two entries in one window of 2^b have a gap below 2^b, whose unary part has no ones. So ones come from the first
    entry of each window alone, and from the last one before: a running maximum over windows instead of all entries.
    """
    import jax
    import jax.numpy as jnp

    from ..sparse_ternary.order import count, folded

    check_kind(mask)
    n = mask.shape[-1]
    if n * (b + 3) > _MOST:
        raise ValueError(
            f"mask has {n} entries of up to {b + 3} bits, whose sum int32 may not hold: count it outside of `jit`"
        )
    if n == 0:
        return jnp.zeros(mask.shape[:-1], jnp.int32)
    width = min(1 << b, n)
    padding = [(0, 0)] * (mask.ndim - 1) + [(0, -n % width)]
    windows = jnp.pad(mask, padding).reshape(*mask.shape[:-1], -1, width)
    place = jnp.arange(windows.shape[-2] * width, dtype=jnp.int32).reshape(windows.shape[-2:])
    first = folded(jnp.min, jnp.where(windows, place, n))[..., 0]
    last = jax.lax.cummax(folded(jnp.max, jnp.where(windows, place, -1))[..., 0], axis=mask.ndim - 1)
    before = jnp.concatenate([jnp.full_like(last[..., :1], -1), last[..., :-1]], axis=-1)
    ones = jnp.where(first < n, (first - before - 1) >> b, 0)
    return (b + 2) * count(mask)[..., 0] + folded(jnp.sum, ones, dtype=jnp.int32)[..., 0]
