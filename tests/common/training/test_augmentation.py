"""Moved and mirrored training images."""

import jax
import jax.numpy as jnp
import numpy as np

from common.training import augmentation


def test_augment_moves_whole_images_and_mirrors():
    images = jnp.zeros((64, 7, 7, 1), jnp.uint8).at[:, 3, 2].set(9)
    moved = np.asarray(augmentation.augment(jax.random.key(0), images, 2, False))
    rows, columns = np.nonzero(moved[..., 0])[1:]
    assert moved.sum() == 64 * 9 and len(rows) == 64
    assert set(rows) == {1, 2, 3, 4, 5} and set(columns) == {0, 1, 2, 3, 4}
    mirrored = np.asarray(augmentation.augment(jax.random.key(0), images, 0, True))
    assert set(np.nonzero(mirrored[..., 0])[2]) == {2, 4}
    np.testing.assert_array_equal(augmentation.augment(jax.random.key(0), images, 0, False), images)
