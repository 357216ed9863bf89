"""Training images moved and mirrored at random, inside a jitted step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def inputs_of(preprocess: Callable[[jax.Array], jax.Array], shift: int = 0, flip: bool = False) -> Augment:
    """Returns `(key, uint8 images) -> inputs`: augmented as `augment` does, then preprocessed."""
    return lambda key, images: preprocess(augment(key, images, shift, flip))


def augment(key: jax.Array, images: jax.Array, shift: int, flip: bool) -> jax.Array:
    """Returns the images, each moved by up to `shift` pixels over black and, with `flip`, mirrored or not.

    Args:
      key: of the random numbers.
      images: `[batch, height, width, channels]`, before scaling (black is 0).
      shift: most pixels each way; 0 leaves the images in their place.
      flip: half of the images, at random, are mirrored left to right.
    """
    count, height, width, channels = images.shape
    shift_key, flip_key = jax.random.split(key)
    if shift:
        padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        corners = jax.random.randint(shift_key, (count, 2), 0, 2 * shift + 1)
        images = jax.vmap(
            lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))
        )(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(count, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images
