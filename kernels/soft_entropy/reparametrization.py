"""Noise on a layer's outputs instead of its weights: the local reparametrisation of independent random weights.

The outputs of a dense layer with independent weights of given means and variances are Gaussian to good approximation,
with exactly these moments; one draw an output has far less variance than one draw a weight. Kingma, Salimans, Welling,
arXiv:1506.02557.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import AnyArray, Array, Float, Key

__all__ = [
    "convolution",
    "dense",
    "draw_weights",
]

TINY = 1e-12  # under the root: its gradient stays finite where the variance is 0


def draw_weights(
    mean: Float[AnyArray, "*shape"], variance: Float[AnyArray, "*shape"], key: Key[Array, ""]
) -> Float[Array, "*shape"]:
    """One draw of every weight: noise on the weights themselves, the same for all examples."""
    return jnp.asarray(mean) + jnp.sqrt(variance + TINY) * jax.random.normal(key, mean.shape)


def dense(
    x: Float[AnyArray, "batch in"],
    mean: Float[AnyArray, "in out"],
    variance: Float[AnyArray, "in out"] | None,
    bias: Float[AnyArray, " out"] | None,
    key: Key[Array, ""] | None,
) -> Float[Array, "batch out"]:
    """Noisy outputs x mean + bias + sqrt(x^2 variance) * noise.

    Args:
      x: inputs.
      mean, variance: of the weights; the variance is >= 0, and may be None where there is no key.
      bias: None for none.
      key: of the noise, one draw an output; None for the mean.
    """
    return _noisy(x @ mean, lambda: jnp.square(x) @ jnp.asarray(variance), bias, key)


def convolution(
    x: Float[AnyArray, "..."],
    mean: Float[AnyArray, "height width in out"],
    variance: Float[AnyArray, "height width in out"] | None,
    bias: Float[AnyArray, "..."] | None,
    key: Key[Array, ""] | None,
    *,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "VALID",
    convolve: Callable[[Any, Any], Array] | None = None,
) -> Float[Array, "..."]:
    """Noisy outputs [batch, height, width, out] of a convolution, noise drawn for every position.

    The moments of every output are exact. Weights are shared between positions, so that their noise is really
    correlated; drawing it for each position is an approximation.

    Args:
      x: inputs [batch, height, width, in].
      mean, variance: of the weights.
      bias, key: as for `dense`; the bias broadcasts against the outputs.
      strides, padding: of the convolution.
      convolve: `(inputs, weights) -> outputs` in place of XLA's convolution, in any layout of its own.
    """
    if convolve is None:

        def convolve(inputs: Any, weights: Any) -> Array:
            numbers = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(inputs, weights, strides, padding, dimension_numbers=numbers)

    return _noisy(convolve(x, mean), lambda: convolve(jnp.square(x), variance), bias, key)


def _noisy(mean, variance: Callable[[], Array], bias, key):
    if bias is not None:
        mean = mean + bias
    if key is None:
        return mean
    # Blocked products may leave a variance a rounding error below 0; half precision cannot hold TINY.
    wide = variance().astype(jnp.promote_types(mean.dtype, jnp.float32))
    deviation = jnp.sqrt(jnp.maximum(wide, 0) + TINY).astype(mean.dtype)
    return mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)
