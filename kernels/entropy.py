"""The entropy of quantised weights, its differentiable relaxation, and quantisation that weighs bits against errors.

n weights share K centroids, one of them exactly 0; a label says which centroid a weight takes. Soft labels P [n, K]
make the size n H(mean of P) a function that gradients can lower: entropy-constrained training, Wiedemann et al.,
arXiv:1812.07520. Sizes are in bits. Forms for training whose time does not grow with K: soft_table.py.
"""

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np

LN2 = float(np.log(2.0))
_PIECE = 1 << 17  # weights labelled at a time by `ecsq`: bounds its [n, K] arrays


def soft_assign(latent: jax.Array, centroids: jax.Array, beta: jax.Array | float) -> jax.Array:
    """Probabilities [..., K] of every centroid for every weight: softmax over k of -(beta / 2) (latent - centroid_k)^2.

    Args:
      latent: weights [...], float.
      centroids: [K], in the unit of the weights.
      beta: inverse squared width, > 0, one over squared weights; large values give the nearest centroid.

    Raises:
      ValueError: no weights, no centroids, or a concrete beta that is not > 0.
    """
    latent, centroids = jnp.asarray(latent), jnp.asarray(centroids)
    if latent.size == 0 or centroids.ndim != 1 or centroids.size == 0:
        raise ValueError(f"soft_assign needs weights and centroids; shapes are {latent.shape} and {centroids.shape}")
    if not isinstance(beta, jax.core.Tracer) and not np.all(np.asarray(beta) > 0):
        raise ValueError(f"beta={beta} must be > 0: it is an inverse squared width")
    return jax.nn.softmax(-0.5 * beta * jnp.square(latent[..., None] - centroids), axis=-1)


def moments(probabilities: jax.Array, centroids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [...] of the centroid that soft labels [..., K] draw; the variance is never below 0."""
    mean = probabilities @ centroids
    return mean, jnp.sum(probabilities * jnp.square(centroids - mean[..., None]), axis=-1)


def relaxed_bits(probabilities: jax.Array) -> jax.Array:
    """n H(mean of P), in bits: at least the mean entropy of labels drawn from P, and equal to it for one-hot rows.

    Args:
      probabilities: [..., K], rows sum to 1; all rows are one group.
    """
    return bits_of_counts(jnp.sum(probabilities.reshape(-1, probabilities.shape[-1]), axis=0))


def conditional_bits(probabilities: jax.Array, zero: int | None = None) -> jax.Array:
    """Bits of labels that are coded knowing whether the label before is the zero centroid; at most `relaxed_bits`.

    Args:
      probabilities: [n, K] in coding order; before the first weight stands a zero.
      zero: index of the zero centroid; the middle one when None.
    """
    before = probabilities[:, probabilities.shape[-1] // 2 if zero is None else zero]
    before = jnp.concatenate([jnp.ones(1, probabilities.dtype), before[:-1]])
    return bits_of_counts(before @ probabilities) + bits_of_counts((1 - before) @ probabilities)


@jax.custom_vjp
def bits_of_counts(counts: jax.Array) -> jax.Array:
    """N H(counts / N) in bits for expected counts [..., K], N their sum; 0 log 0 = 0; summed over leading axes.

    The gradient is -log2 of the share, a constant apart (which a softmax cancels), with shares below 1 / (2 N) taken
    as that: a centroid that nobody uses keeps a finite price.
    """
    counts = counts.astype(jnp.promote_types(counts.dtype, jnp.float32))  # a layer's counts leave the range of half
    total = jnp.sum(counts, axis=-1, keepdims=True)
    logarithm = jnp.log2(jnp.where(counts > 0, counts, 1))  # apart from that of the total: a quotient could overflow
    return jnp.sum(jnp.where(counts > 0, counts * (jnp.log2(jnp.where(total > 0, total, 1)) - logarithm), 0))


def code_lengths(counts: jax.Array) -> jax.Array:
    """-log2 of each share of `counts` [..., K], in bits, shares below half a count taken as that."""
    total = jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1e-30)
    return -jnp.log2(jnp.maximum(counts / total, 0.5 / total))


def _counts_forward(counts):
    return bits_of_counts(counts), counts


def _counts_backward(counts, gradient):
    # d(N H)/d(count_k) is -log2(share_k) exactly; as a function of P at fixed n it carries another -1/ln 2.
    return (gradient * code_lengths(counts),)


bits_of_counts.defvjp(_counts_forward, _counts_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def relaxed_bits_chunked(latent: jax.Array, centroids: jax.Array, beta: jax.Array, chunk: int = 1 << 16) -> jax.Array:
    """`relaxed_bits(soft_assign(latent, centroids, beta))` in the memory of one chunk; backwards P is computed again.

    Args:
      latent, centroids, beta: as for `soft_assign`; differentiable in all three.
      chunk: weights at a time.
    """
    return bits_of_counts(_chunked_counts(latent, centroids, beta, chunk))


def _chunks(latent, chunk):
    """Whole chunks [m, chunk], and the rest [r]."""
    flat = latent.reshape(-1)
    whole = flat.size // chunk * chunk
    return flat[:whole].reshape(-1, chunk), flat[whole:]


def _chunked_counts(latent, centroids, beta, chunk):
    whole, rest = _chunks(latent, chunk)
    total = jnp.sum(soft_assign(rest, centroids, beta), axis=0) if rest.size else jnp.zeros_like(centroids)
    if whole.size:

        def add(total, piece):
            return total + jnp.sum(soft_assign(piece, centroids, beta), axis=0), None

        total, _ = jax.lax.scan(add, total, whole)
    return total


def _chunked_forward(latent, centroids, beta, chunk):
    counts = _chunked_counts(latent, centroids, beta, chunk)
    return bits_of_counts(counts), (latent, centroids, jnp.asarray(beta, centroids.dtype), counts)


def _chunked_backward(chunk, saved, gradient):
    latent, centroids, beta, counts = saved
    prices = gradient * code_lengths(counts)

    def gradients(piece):
        return jax.grad(lambda v, w, b: soft_assign(v, w, b).sum(axis=0) @ prices, argnums=(0, 1, 2))(
            piece, centroids, beta
        )

    whole, rest = _chunks(latent, chunk)
    by_centroid, by_beta, pieces = jnp.zeros_like(centroids), jnp.zeros_like(beta), []
    if whole.size:

        def add(carry, piece):
            v, w, b = gradients(piece)
            return (carry[0] + w, carry[1] + b), v

        (by_centroid, by_beta), by_latent = jax.lax.scan(add, (by_centroid, by_beta), whole)
        pieces.append(by_latent.reshape(-1))
    if rest.size:
        v, w, b = gradients(rest)
        by_centroid, by_beta = by_centroid + w, by_beta + b
        pieces.append(v)
    return jnp.concatenate(pieces).reshape(latent.shape), by_centroid, by_beta


relaxed_bits_chunked.defvjp(_chunked_forward, _chunked_backward)


def symmetric_grid(largest: float, levels: int) -> np.ndarray:
    """`levels` equidistant centroids from -largest to largest, float64, the middle one exactly 0.

    Raises:
      ValueError: an even number of levels, or fewer than 3; `largest` not finite or below 0.
    """
    if levels < 3 or levels % 2 == 0:
        raise ValueError(f"{levels} levels have no zero centroid in the middle: choose an odd number of 3 or more")
    if not (np.isfinite(largest) and largest >= 0):
        raise ValueError(f"the largest weight is {largest}: expected a finite number")
    half = np.arange(1, levels // 2 + 1) * (largest / (levels // 2))
    return np.concatenate([-half[::-1], [0.0], half])


def assign(weights, centroids, probabilities, rate_weight: float) -> np.ndarray:
    """Labels (int32, the shape of the weights) that minimise (w - centroid)^2 - rate_weight log2 p, weight by weight.

    Args:
      weights: any shape.
      centroids, probabilities: [K]; p = 0 forbids a centroid where rate_weight > 0.
      rate_weight: squared weight units a bit, >= 0; 2 ln 2 / beta makes the rule the most probable label.

    Ties go to the smaller magnitude, then to the lower index.

    Raises:
      ValueError: not one probability a centroid, or none that is allowed.
    """
    weights = np.asarray(weights)
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


def ecsq(
    weights,
    levels: int | None = None,
    rate_weight: float = 0.0,
    iterations: int = 30,
    *,
    centroids=None,
    name: str = "weights",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    """
    weights = np.asarray(weights)
    if weights.size == 0:
        raise ValueError(f"group {name!r} has no weights: leave it out")
    if not np.isfinite(weights).all():
        raise ValueError(f"group {name!r} holds weights that are NaN or infinite")
    if not (np.isfinite(rate_weight) and rate_weight >= 0):
        raise ValueError(f"group {name!r}: rate_weight={rate_weight} must be a finite number >= 0")
    if centroids is None:
        try:
            centroids = symmetric_grid(float(np.abs(weights).max()), 0 if levels is None else levels)
        except ValueError as error:
            raise ValueError(f"group {name!r}: {error}") from None
    centroids = np.array(centroids, np.float64)
    if not (centroids == 0).any():
        raise ValueError(f"group {name!r}: none of its {len(centroids)} centroids is exactly 0")
    flat = weights.reshape(-1).astype(np.float64)
    labels, shares = None, np.ones(len(centroids)) / len(centroids)
    for _ in range(max(iterations, 1)):
        new = assign(flat, centroids, shares, rate_weight)
        if labels is not None and np.array_equal(new, labels):
            break
        labels = new
        counts = np.bincount(labels, minlength=len(centroids))
        shares = counts / flat.size
        sums = np.bincount(labels, weights=flat, minlength=len(centroids))
        means = sums / np.maximum(counts, 1)
        centroids = np.where((counts > 0) & (centroids != 0), means, centroids)
    return labels.reshape(weights.shape), centroids, shares


def empirical_bits(labels, levels: int | None = None) -> float:
    """n H of the histogram of integer labels, in bits; no table is counted.

    Args:
      labels: integers of any shape; not negative where `levels` is given.
      levels: K, a bound on the labels that lets them be counted faster.
    """
    labels = np.asarray(labels).reshape(-1)
    counts = np.unique(labels, return_counts=True)[1] if levels is None else np.bincount(labels, minlength=levels)
    counts = counts[counts > 0]
    return float(counts @ np.log2(labels.size / counts)) if labels.size else 0.0


def huffman_lengths(counts) -> np.ndarray:
    """Length in bits of each symbol's Huffman code word, int64 [symbols]; 0 for symbols that do not occur or are alone.

    Args:
      counts: how often each symbol occurs, [symbols], >= 0.

    Source: D. A. Huffman, 1952.
    """
    counts = np.asarray(counts)
    lengths = np.zeros(len(counts), np.int64)
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return lengths
    parents = np.full(2 * len(used) - 1, -1)
    heap = [(int(counts[symbol]), index) for index, symbol in enumerate(used)]
    heapq.heapify(heap)
    for node in range(len(used), len(parents)):
        (one, first), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = node
        heapq.heappush(heap, (one + other, node))
    depths = np.zeros(len(parents), np.int64)
    for node in range(len(parents) - 2, -1, -1):  # parents come after their children
        depths[node] = depths[parents[node]] + 1
    lengths[used] = depths[: len(used)]
    return lengths


def labels_to_levels(labels, centroids) -> tuple[np.ndarray, np.ndarray]:
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
    """
    labels, centroids = np.asarray(labels), np.asarray(centroids, np.float32)
    if not (centroids == 0).any():
        raise ValueError(f"none of the {len(centroids)} centroids is exactly 0")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(centroids):
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}, centroids are {len(centroids)}")
    used = np.zeros(len(centroids), bool)
    used[labels.reshape(-1)] = True
    ranks = np.zeros(len(centroids), np.int32)
    values = [np.zeros(1, np.float32)]
    for sign in (-1, 1):
        members = np.flatnonzero(used & (np.sign(centroids) == sign))
        members = members[np.argsort(np.abs(centroids[members]), kind="stable")]
        ranks[members] = sign * np.arange(1, len(members) + 1)
        found = centroids[members]
        values = [found[::-1], *values] if sign < 0 else [*values, found]
    return ranks[labels], np.concatenate(values)
