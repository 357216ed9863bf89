"""Bits of soft labels, differentiable: the entropy of expected counts, in one context or several.

Soft labels P [n, K] make the size n H(mean of P) a function that gradients can lower: entropy-constrained training,
Wiedemann et al., arXiv:1812.07520. A context is what is known of the label before a weight: nothing ("entropy"),
whether it is the zero ("conditional"), or whether it is zero, negative or positive ("static", the contexts of the
arithmetic coder). The gradient of the bits by a count is the price of a label.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Float32, Scalar
from ..scalars import not_negative, real, whole
from .labels import check_beta, soft_assign

__all__ = [
    "CONTEXTS",
    "bits_of_counts",
    "code_lengths",
    "conditional_bits",
    "context_bits",
    "context_counts",
    "context_members",
    "relaxed_bits",
    "relaxed_bits_chunked",
    "static_bits",
    "with_prior",
]

CONTEXTS = {"entropy": 1, "conditional": 2, "static": 3}


@jax.custom_vjp
def bits_of_counts(counts: Float[AnyArray, "*contexts k"]) -> Float[Array, ""]:
    """N H(counts / N) in bits for expected counts, N their sum; 0 log 0 = 0; summed over leading axes.

    The gradient is -log2 of the share, a constant apart (which a softmax cancels), with shares below 1 / (2 N) taken
    as that: a centroid that nobody uses keeps a finite price.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> float(soft_entropy.bits_of_counts(jnp.array([2.0, 2.0])))
      4.0
    """
    counts = counts.astype(jnp.promote_types(counts.dtype, jnp.float32))  # a layer's counts leave the range of half
    total = jnp.sum(counts, axis=-1, keepdims=True)
    logarithm = jnp.log2(jnp.where(counts > 0, counts, 1))  # apart from that of the total: a quotient could overflow
    return jnp.sum(jnp.where(counts > 0, counts * (jnp.log2(jnp.where(total > 0, total, 1)) - logarithm), 0))


def code_lengths(counts: Float[AnyArray, "*contexts k"]) -> Float[Array, "*contexts k"]:
    """-log2 of each share of `counts`, in bits, shares below half a count taken as that.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.code_lengths(jnp.array([2.0, 1.0, 1.0])).tolist()
      [1.0, 2.0, 2.0]
    """
    total = jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1e-30)
    return -jnp.log2(jnp.maximum(counts / total, 0.5 / total))


def _counts_forward(counts):
    return bits_of_counts(counts), counts


def _counts_backward(counts, gradient):
    # d(N H)/d(count_k) is -log2(share_k) exactly; as a function of P at fixed n it carries another -1/ln 2.
    return (gradient * code_lengths(counts),)


bits_of_counts.defvjp(_counts_forward, _counts_backward)


def relaxed_bits(probabilities: Float[AnyArray, "*shape k"]) -> Float[Array, ""]:
    """n H(mean of P), in bits: at least the mean entropy of labels drawn from P, and equal to it for one-hot rows.

    Args:
      probabilities: rows sum to 1; all rows are one group.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> float(soft_entropy.relaxed_bits(jnp.array([[0.5, 0.5], [0.5, 0.5]])))
      2.0
    """
    return bits_of_counts(jnp.sum(probabilities.reshape(-1, probabilities.shape[-1]), axis=0))


def conditional_bits(probabilities: Float[AnyArray, "n k"], zero: int | None = None) -> Float[Array, ""]:
    """Bits of labels that are coded knowing whether the label before is the zero centroid; at most `relaxed_bits`.

    Args:
      probabilities: in coding order; before the first weight stands a zero.
      zero: index of the zero centroid; the middle one when None.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> soft = jnp.eye(3)[jnp.array([1, 0, 1, 0])]  # after a zero never one
      >>> float(soft_entropy.conditional_bits(soft)) < float(soft_entropy.relaxed_bits(soft))
      True
    """
    zero = None if zero is None else whole("zero", zero, 0, probabilities.shape[-1] - 1, ", the place of the zero")
    before = probabilities[:, probabilities.shape[-1] // 2 if zero is None else zero]
    before = jnp.concatenate([jnp.ones(1, probabilities.dtype), before[:-1]])
    return bits_of_counts(before @ probabilities) + bits_of_counts((1 - before) @ probabilities)


def check_rate(rate: str) -> None:
    """Raises ValueError for a name that no rate has."""
    if rate not in CONTEXTS:
        raise ValueError(f"rate={rate!r}: expected one of {', '.join(CONTEXTS)}")


def context_members(rate: str, levels: int) -> Float32[np.ndarray, "contexts k"]:
    """1 where label k, standing before a weight, gives it context s; the middle label is the zero.

    Args:
      rate: "entropy", "conditional" or "static".
      levels: K, odd.

    Example:
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.context_members("static", 3).tolist()
      [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_rate(rate)
    levels = whole("levels", levels, 1)
    rank = np.arange(levels) - levels // 2
    members = {
        "entropy": [rank == rank],
        "conditional": [rank == 0, rank != 0],
        "static": [rank == 0, rank < 0, rank > 0],
    }
    return np.array(members[rate], np.float32)


def following(context: Float[AnyArray, "n contexts"]) -> Float[Array, "n contexts"]:
    """Contexts of the weights from those that they give to the next; the first weight comes after a zero."""
    return jnp.concatenate([jnp.zeros((1, context.shape[1]), context.dtype).at[0, 0].set(1), context[:-1]])


def context_counts(
    probabilities: Float[AnyArray, "n k"], members: Float[AnyArray, "contexts k"]
) -> Float[Array, "contexts k"]:
    """How often each label is expected after each context, for soft labels in coding order.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> members = soft_entropy.context_members("conditional", 3)
      >>> soft_entropy.context_counts(jnp.eye(3)[jnp.array([1, 0, 1])], members).tolist()
      [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    return following(probabilities @ members.T).T @ probabilities


def context_bits(rate: str, counts: Float[AnyArray, "contexts k"]) -> Float[Array, ""]:
    """Bits of a group from its expected counts by context, the middle label being the zero; concave in the counts.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> round(float(soft_entropy.context_bits("entropy", jnp.array([[1.0, 2.0, 1.0]]))), 3)
      6.0
    """
    check_rate(rate)
    return static_bits(counts) if rate == "static" else bits_of_counts(counts)


def static_bits(counts: Float[AnyArray, "3 k"]) -> Float[Array, ""]:
    """Bits when each context of the coder charges its bins at their overall frequencies.

    The same as `kernels.entropy_coding.rate_static_soft` of labels with these counts, all ranks in unary.

    Args:
      counts: after a zero, a negative and a positive label.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> members = soft_entropy.context_members("static", 3)
      >>> counts = soft_entropy.context_counts(jnp.eye(3)[jnp.array([1, 2, 1, 0])], members)
      >>> round(float(soft_entropy.static_bits(counts)), 2)
      4.75
    """
    half = counts.shape[-1] // 2
    negative, zero, positive = counts[:, :half], counts[:, half], counts[:, half + 1 :]
    below, above = negative.sum(axis=1), positive.sum(axis=1)
    total = bits_of_counts(jnp.stack([zero, below + above], axis=1))  # significance
    total += bits_of_counts(jnp.stack([below, above], axis=1))  # sign
    for magnitudes in (negative.sum(axis=0)[::-1], positive.sum(axis=0)):  # of magnitude 1, 2, ...
        larger = jnp.flip(jnp.cumsum(jnp.flip(magnitudes))) - magnitudes
        total += bits_of_counts(jnp.stack([magnitudes, larger], axis=1))
    return total


def with_prior(counts: Float[AnyArray, "contexts k"], prior: float) -> Float[Array, "contexts k"]:
    """Counts with `prior` times their sum as further zeros, which make a zero cheaper for all others.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> soft_entropy.with_prior(jnp.array([[1.0, 2.0, 1.0]]), 0.5).tolist()
      [[1.0, 4.0, 1.0]]
    """
    counts = jnp.asarray(counts)
    prior = real("prior", prior, "a finite number >= 0, a share of the counts", not_negative)
    if prior == 0:
        return counts
    zeros = prior * jax.lax.stop_gradient(counts.sum(axis=1))
    return counts.at[:, counts.shape[1] // 2].add(zeros)


def relaxed_bits_chunked(
    latent: Float[AnyArray, "*shape"],
    centroids: Float[AnyArray, " k"],
    beta: Scalar,
    chunk: int = 1 << 16,
) -> Float[Array, ""]:
    """`relaxed_bits(soft_assign(latent, centroids, beta))` in the memory of one chunk; backwards P is computed again.

    Args:
      latent, centroids, beta: as for `soft_assign`; differentiable in all three.
      chunk: weights at a time.

    Raises:
      ValueError: as `soft_assign`; a chunk that is no integer of 1 or more.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import soft_entropy
      >>> w, centroids = jnp.linspace(-1, 1, 10), jnp.array([-1.0, 0.0, 1.0])
      >>> whole = soft_entropy.relaxed_bits(soft_entropy.soft_assign(w, centroids, 5.0))
      >>> abs(float(soft_entropy.relaxed_bits_chunked(w, centroids, 5.0, chunk=4) - whole)) < 1e-4
      True
    """
    check_beta(beta)
    return _relaxed_bits_chunked(latent, centroids, beta, whole("chunk", chunk, 1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _relaxed_bits_chunked(latent, centroids, beta, chunk):
    return bits_of_counts(_chunked_counts(latent, centroids, beta, chunk))


def _chunks(latent, chunk):
    """Whole chunks [m, chunk], and the rest [r]."""
    flat = latent.reshape(-1)
    end = flat.size // chunk * chunk
    return flat[:end].reshape(-1, chunk), flat[end:]


def _chunked_counts(latent, centroids, beta, chunk):
    pieces, rest = _chunks(latent, chunk)
    total = jnp.sum(soft_assign(rest, centroids, beta), axis=0) if rest.size else jnp.zeros_like(centroids)
    if pieces.size:

        def add(total, piece):
            return total + jnp.sum(soft_assign(piece, centroids, beta), axis=0), None

        total, _ = jax.lax.scan(add, total, pieces)
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


_relaxed_bits_chunked.defvjp(_chunked_forward, _chunked_backward)
