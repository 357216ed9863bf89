"""Hard labels: quantisation that weighs bits against errors, and what integer labels take in codes of their own.

n weights share K centroids, one of them exactly 0; a label is the index of a centroid. NumPy on the host, in float64.
"""

import heapq

import numpy as np

from ..array_types import ArrayLike, Float32, Float64, Int32, Int64
from ..scalars import not_negative, real, whole
from .labels import symmetric_grid

__all__ = [
    "LN2",
    "assign",
    "ecsq",
    "empirical_bits",
    "gap_bits",
    "huffman_lengths",
    "labels_to_levels",
]

LN2 = float(np.log(2.0))
GAP_BITS = range(2, 17)  # widths of the words of `gap_bits`
_PIECE = 1 << 17  # weights labelled at a time: bounds arrays [n, K]


def assign(
    weights: ArrayLike, centroids: ArrayLike, probabilities: ArrayLike, rate_weight: float
) -> Int32[np.ndarray, "..."]:
    """Labels (int32, the shape of the weights) that minimise (w - centroid)^2 - rate_weight log2 p, weight by weight.

    Args:
      weights: any shape.
      centroids, probabilities: [K]; p = 0 forbids a centroid where rate_weight > 0.
      rate_weight: squared weight units a bit, >= 0; 2 ln 2 / beta makes the rule the most probable label.

    Ties go to the smaller magnitude, then to the lower index.

    Raises:
      ValueError: not one probability a centroid, or none that is allowed.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.assign([0.1, 0.6, -0.9], [-1.0, 0.0, 1.0], [0.2, 0.6, 0.2], rate_weight=0.0).tolist()
      [1, 2, 0]
    """
    weights, rate_weight = np.asarray(weights), _rate_weight(rate_weight)
    centroids, probabilities = np.asarray(centroids, np.float64), np.asarray(probabilities, np.float64)
    if centroids.ndim != 1 or probabilities.shape != centroids.shape:
        raise ValueError(f"centroids of shape {centroids.shape} need one probability each, not {probabilities.shape}")
    if not len(centroids) or (rate_weight > 0 and not (probabilities > 0).any()):
        raise ValueError(f"none of {len(centroids)} centroids may be used: give one a probability above 0")
    order = np.lexsort((np.arange(len(centroids)), np.abs(centroids)))  # the first minimum wins
    if rate_weight > 0:
        order = order[probabilities[order] > 0]
        price = -rate_weight * np.log2(probabilities[order])
    else:
        price = np.zeros(len(order))
    grid, flat = centroids[order], weights.reshape(-1)
    labels = np.empty(flat.size, np.int32)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE].astype(np.float64)
        labels[start : start + _PIECE] = order[np.argmin(np.square(piece[:, None] - grid) + price, axis=1)]
    return labels.reshape(weights.shape)


def _rate_weight(value) -> float:
    return real("rate_weight", value, "a finite number >= 0, squared weight units a bit", not_negative)


def ecsq(
    weights: ArrayLike,
    levels: int | None = None,
    rate_weight: float = 0.0,
    iterations: int = 30,
    *,
    centroids: ArrayLike | None = None,
    name: str = "weights",
) -> tuple[Int32[np.ndarray, "..."], Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Entropy-constrained scalar quantisation: labels, centroids and shares that lower MSE + rate_weight * H.

    Labels by `assign`, shares from counts, centroids as means of their members (the zero stays 0, one without members
    stays where it is); the cost never rises. rate_weight = 0 is Lloyd's algorithm. Source: Chou et al., 1989.

    Args:
      weights: any shape, float.
      levels: K, odd, of a symmetric grid to start from; or give `centroids`.
      rate_weight: squared weight units a bit.
      iterations: at most so many; it ends when no label moves.
      centroids: [K] to start from, one of them exactly 0.
      name: of the group, for messages.

    Returns:
      (labels int32 of the shape of weights, centroids float64 [K], shares float64 [K]).

    Raises:
      ValueError: no weights, weights that are not finite, no zero centroid, a negative rate_weight.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import soft_entropy
      >>> labels, centroids, shares = soft_entropy.ecsq(np.array([0.0, 0.1, 1.0, -1.0]), 3)
      >>> labels.tolist(), centroids.tolist(), shares.tolist()
      ([1, 1, 2, 0], [-1.0, 0.0, 1.0], [0.25, 0.5, 0.25])
    """
    weights = np.asarray(weights)
    try:
        rate_weight, iterations = _rate_weight(rate_weight), whole("iterations", iterations, 0)
    except ValueError as error:
        raise ValueError(f"group {name!r}: {error}") from None
    centroids = _first_centroids(weights, levels, centroids, name)
    flat = weights.reshape(-1).astype(np.float64)
    labels, shares = np.full(flat.shape, -1, np.int32), np.ones(len(centroids)) / len(centroids)
    for _ in range(max(iterations, 1)):
        new = assign(flat, centroids, shares, rate_weight)
        if np.array_equal(new, labels):
            break
        labels = new
        counts = np.bincount(labels, minlength=len(centroids))
        shares = counts / flat.size
        sums = np.bincount(labels, weights=flat, minlength=len(centroids))
        means = sums / np.maximum(counts, 1)
        centroids = np.where((counts > 0) & (centroids != 0), means, centroids)
    return labels.reshape(weights.shape), centroids, shares


def _first_centroids(weights: np.ndarray, levels, centroids, name: str) -> Float64[np.ndarray, " k"]:
    """Those to start from, or an error that names the group."""
    if weights.size == 0:
        raise ValueError(f"group {name!r} has no weights: leave it out")
    if not np.isfinite(weights).all():
        raise ValueError(f"group {name!r} holds weights that are NaN or infinite")
    if centroids is None:
        try:
            centroids = symmetric_grid(float(np.abs(weights).max()), levels)
        except ValueError as error:
            raise ValueError(f"group {name!r}: {error}") from None
    centroids = np.array(centroids, np.float64)
    if not (centroids == 0).any():
        raise ValueError(f"group {name!r}: none of its {len(centroids)} centroids is exactly 0")
    return centroids


def empirical_bits(labels: ArrayLike, levels: int | None = None) -> float:
    """n H of the histogram of integer labels, in bits; no table is counted.

    Args:
      labels: integers of any shape; not negative where `levels` is given.
      levels: K, a bound on the labels that lets them be counted faster.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.empirical_bits([0, 0, 1, 1])
      4.0
    """
    labels = np.asarray(labels).reshape(-1)
    levels = None if levels is None else whole("levels", levels, 1, why=", a bound on the labels, or None")
    counts = np.unique(labels, return_counts=True)[1] if levels is None else np.bincount(labels, minlength=levels)
    counts = counts[counts > 0]
    return float(counts @ np.log2(labels.size / counts)) if labels.size else 0.0


def huffman_lengths(counts: ArrayLike) -> Int64[np.ndarray, " symbols"]:
    """Length in bits of each symbol's Huffman code word, int64 [symbols]; 0 for symbols that do not occur or are alone.

    Args:
      counts: how often each symbol occurs, [symbols], >= 0.

    Source: D. A. Huffman, 1952.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.huffman_lengths([4, 2, 1, 1]).tolist()
      [1, 2, 3, 3]
    """
    counts = np.asarray(counts)
    lengths = np.zeros(len(counts), np.int64)
    symbols = np.flatnonzero(counts)
    if len(symbols) < 2:
        return lengths
    parents = np.full(2 * len(symbols) - 1, -1)
    heap = [(int(counts[symbol]), index) for index, symbol in enumerate(symbols)]
    heapq.heapify(heap)
    for node in range(len(symbols), len(parents)):
        (one, first), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = node
        heapq.heappush(heap, (one + other, node))
    depths = np.zeros(len(parents), np.int64)
    for node in range(len(parents) - 2, -1, -1):  # parents come after their children
        depths[node] = depths[parents[node]] + 1
    lengths[symbols] = depths[: len(symbols)]
    return lengths


def labels_to_levels(
    labels: ArrayLike, centroids: ArrayLike
) -> tuple[Int32[np.ndarray, "..."], Float32[np.ndarray, " ranks"]]:
    """Signed ranks of the centroids that labels use, for an integer coder, and the values of these ranks.

    The zero centroid becomes 0, those below it -1, -2, ..., those above 1, 2, ..., in the order of their values;
    centroids that no label uses get no rank.

    Args:
      labels: int [...], indices into `centroids`.
      centroids: [K], one of them exactly 0.

    Returns:
      (levels int32 [...], values float32 from the lowest rank to the highest, zero included): the weights are
      values[levels - lowest rank].

    Raises:
      ValueError: no centroid is exactly 0, or a label is out of range.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> levels, values = soft_entropy.labels_to_levels([1, 0, 3], [-0.5, 0.0, 0.25, 0.75])
      >>> levels.tolist(), values.tolist()
      ([0, -1, 1], [-0.5, 0.0, 0.75])
    """
    labels, centroids = np.asarray(labels), np.asarray(centroids, np.float32)
    if not (centroids == 0).any():
        raise ValueError(f"none of the {len(centroids)} centroids is exactly 0")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(centroids):
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}, centroids are {len(centroids)}")
    occurs = np.zeros(len(centroids), bool)
    occurs[labels.reshape(-1)] = True
    ranks = np.zeros(len(centroids), np.int32)
    values = [np.zeros(1, np.float32)]
    for sign in (-1, 1):
        members = np.flatnonzero(occurs & (np.sign(centroids) == sign))
        members = members[np.argsort(np.abs(centroids[members]), kind="stable")]
        ranks[members] = sign * np.arange(1, len(members) + 1)
        own = centroids[members]
        values = [own[::-1], *values] if sign < 0 else [*values, own]
    return ranks[labels], np.concatenate(values)


def gap_bits(nonzero: ArrayLike, symbols: int) -> float:
    """Bits of nonzero labels as gaps between them and an index each: a sparse row without an entropy coder.

    Gaps are words of the best width of 2 to 16 bits; a gap that is wider than a word takes further words as fillers.

    Args:
      nonzero: where labels are not the zero, in storage order.
      symbols: how many labels beside the zero occur; an index takes the bits that tell them apart.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.gap_bits([0, 0, 1, 0, 1], symbols=2)  # gaps of 2 bits, an index of 1
      6.0
    """
    places, symbols = np.flatnonzero(nonzero), whole("symbols", symbols, 0)
    gaps = np.diff(places, prepend=-1) - 1
    index = max(symbols - 1, 0).bit_length()
    if not len(gaps):
        return 0.0
    return float(min(((gaps // (2**bits - 1)).sum() + len(gaps)) * (bits + index) for bits in GAP_BITS))
