"""White Gaussian noise, circular: as strong in the real as in the imaginary part, and independent at each symbol."""

import functools

import jax
import jax.numpy as jnp

from ..alpha_stable.random_bits import checked_shape, typed_key
from ..array_types import Array, ArrayLike, Complex, Numbers, RandomKey
from .arguments import checked_complex, checked_noise


def awgn(key: RandomKey, x: ArrayLike, n0: Numbers) -> Complex[Array, "*batch"]:
    """x with circular white Gaussian noise added, y = x + n with E|n|^2 = n0: n0 / 2 in each real dimension.

    Args:
      key: of `jax.random.key`. The same key gives the same noise for every n0, but for its scale, where the shape of
        the result is the same.
      x: complex (or real, of which complex is made) [...].
      n0: power of the noise, above 0; broadcasts with x, and where it has more axes, so has the result. For symbols of
        unit energy it is 10^(-(Es/N0 in dB) / 10). May be traced: where it is negative then, y is NaN.

    Returns:
      complex, in the precision of x.

    Raises:
      ValueError: x that is not finite, n0 that is not above 0, shapes that do not broadcast, no key.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from havel.kernels import channel
      >>> y = channel.awgn(jax.random.key(0), jnp.ones((2, 5)), 10 ** -0.3)  # at 3 dB
      >>> y.shape, y.dtype.name
      ((2, 5), 'complex64')
    """
    power = checked_noise(n0)
    array = checked_complex("x", x)
    try:
        shape = jnp.broadcast_shapes(array.shape, jnp.shape(power))
    except ValueError:
        raise ValueError(f"x of shape {array.shape} and n0 of {jnp.shape(power)} do not broadcast") from None
    return _awgn(typed_key(key), array, jnp.asarray(power, jnp.finfo(array.dtype).dtype), checked_shape(shape))


@functools.partial(jax.jit, static_argnames="shape")
def _awgn(key, x, n0, shape):
    root = jnp.sqrt(jnp.where(n0 >= 0, n0, jnp.nan))
    return x + root * jax.random.normal(key, shape, x.dtype)
