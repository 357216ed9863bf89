"""Which weights may go: sparse variational dropout and magnitude pruning, as functions of arrays.

Trees have one array for each weight kernel. Sparse variational dropout: Molchanov, Ashukha, Vetrov, arXiv:1701.05369;
the gradual schedule of magnitude pruning: Zhu, Gupta, arXiv:1710.01878.
"""

import jax
import jax.numpy as jnp
import numpy as np

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # the fit of the KL term, arXiv:1701.05369 eq. 14
LOG_ALPHA_LIMIT = 10.0  # beyond it nothing changes any more, and the gradient of a weight at 0 stays finite
TINY = 1e-8  # keeps the logarithm of a weight of exactly 0 finite


def log_alpha(kernel: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Logarithm of the noise-to-signal ratio sigma^2 / mu^2 of each weight, clipped to +-10.

    Args:
      kernel: posterior means mu.
      log_variance: log sigma^2, of the same shape.
    """
    ratio = log_variance - 2 * jnp.log(jnp.abs(kernel) + TINY)
    return jnp.clip(ratio, -LOG_ALPHA_LIMIT, LOG_ALPHA_LIMIT)


def kl_divergence(log_alpha: jax.Array) -> jax.Array:
    """KL divergence in nats, summed over the weights, from the posterior to the log-uniform prior, up to a constant.

    It is 0 for a weight that is all noise (log alpha large) and grows by half the fall of log alpha.
    """
    kept = K1 - K1 * jax.nn.sigmoid(K2 + K3 * log_alpha)
    return jnp.sum(kept + 0.5 * jax.nn.softplus(-log_alpha))  # log(1 + 1/alpha), without overflow


def variational_masks(kernels, log_variances, threshold: float):
    """Tree of float masks: 1 where log alpha is below `threshold` (3: noise of 4.5 times the weight), 0 where noise."""
    return jax.tree.map(lambda w, v: (log_alpha(w, v) < threshold).astype(w.dtype), kernels, log_variances)


def scheduled_density(progress: jax.Array | float, start: float, end: float, final: float) -> jax.Array:
    """Share of weights to keep: 1 until `start`, then falling by the cubic rule to `final` at `end`.

    Args:
      progress: share of the training that is done, 0 to 1; `start` and `end` on the same scale.
      final: share of weights that stay.
    """
    done = jnp.clip((progress - start) / max(end - start, 1e-9), 0.0, 1.0)
    return final + (1.0 - final) * (1.0 - done) ** 3


def magnitude_masks(kernels, density: jax.Array | float):
    """Tree of float masks that keep the `density` share of all weights which is largest in magnitude.

    A layer's magnitudes are taken relative to their root mean square, so that a layer of small weights is not emptied
    because of its scale; each layer keeps at least one weight in a thousand.
    """
    leaves, structure = jax.tree.flatten(kernels)
    relative = [jnp.abs(w) / (jnp.sqrt(jnp.mean(w * w)) + TINY) for w in leaves]
    everything = jnp.sort(jnp.concatenate([r.ravel() for r in relative]))
    total = everything.size
    place = jnp.clip(jnp.round((1.0 - density) * total).astype(jnp.int32), 0, total - 1)
    masks = []
    for r in relative:
        least = jnp.sort(r.ravel())[-max(1, r.size // 1000)]
        masks.append((r >= jnp.minimum(everything[place], least)).astype(r.dtype))
    return jax.tree.unflatten(structure, masks)


def nonzero_share(tree) -> float:
    """Share of nonzero values over all arrays of a tree, 0 to 1 (0 for an empty tree)."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    size = sum(leaf.size for leaf in leaves)
    return float(sum(np.count_nonzero(leaf) for leaf in leaves) / size) if size else 0.0
