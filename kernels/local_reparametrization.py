"""Noise on a layer's outputs instead of its weights: the local reparametrisation of independent random weights.

The outputs of a dense layer with independent weights of given means and variances are Gaussian to good approximation,
with exactly these moments; one draw an output has far less variance than one draw a weight. Kingma, Salimans, Welling,
arXiv:1506.02557.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

TINY = 1e-12  # under the root: its gradient stays finite where the variance is 0


def dense(x: jax.Array, mean: jax.Array, variance: jax.Array, bias: jax.Array | None, key: jax.Array | None):
    """Noisy outputs [batch, out] = x mean + bias + sqrt(x^2 variance) * noise.

    Args:
      x: inputs [batch, in].
      mean, variance: of the weights, [in, out]; the variance is >= 0.
      bias: [out], or None for none.
      key: of the noise, one draw an output; None for the mean.
    """
    return _noisy(x @ mean, lambda: jnp.square(x) @ variance, bias, key)


def convolution(
    x: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    bias: jax.Array | None,
    key: jax.Array | None,
    *,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "VALID",
    convolve: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Noisy outputs [batch, height, width, out] of a convolution, noise drawn for every position.

    The moments of every output are exact. Weights are shared between positions, so that their noise is really
    correlated; drawing it for each position is an approximation.

    Args:
      x: inputs [batch, height, width, in].
      mean, variance: of the weights, [height, width, in, out].
      bias, key: as for `dense`; the bias broadcasts against the outputs.
      strides, padding: of the convolution.
      convolve: `(inputs, weights) -> outputs` in place of XLA's convolution, in any layout of its own.
    """
    if convolve is None:

        def convolve(inputs, weights):
            numbers = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(inputs, weights, strides, padding, dimension_numbers=numbers)

    return _noisy(convolve(x, mean), lambda: convolve(jnp.square(x), variance), bias, key)


def _noisy(mean, variance: Callable[[], jax.Array], bias, key):
    if bias is not None:
        mean = mean + bias
    if key is None:
        return mean
    # Blocked products may leave a variance a rounding error below 0; half precision cannot hold TINY.
    wide = variance().astype(jnp.promote_types(mean.dtype, jnp.float32))
    deviation = jnp.sqrt(jnp.maximum(wide, 0) + TINY).astype(mean.dtype)
    return mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)
