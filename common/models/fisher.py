"""How much each weight matters: the diagonal of the Fisher information of a classifier.

It is J^T (diag p - p p^T) J with J the Jacobian of the logits; its diagonal is the mean of squared gradients of
r . logits over random r with that covariance, one r an image.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

FLOOR = 1e-12  # added to every mean of squares: a weight that no image reaches still has a finite price


def diagonal(
    logits: Callable, tree: Mapping, images: np.ndarray, key: jax.Array, after: Callable[[], None] = lambda: None
) -> dict:
    """Returns the mean over images of squared gradients, float32, in the structure of `tree`.

    Args:
      logits: (tree, image) -> logits [classes].
      tree: the weights.
      images: [images, ...].
      key: of the random directions, one an image.
      after: called after each image.
    """

    @jax.jit
    def add(total, tree, image, index):
        def project(tree):
            values = logits(tree, image)
            root = jnp.sqrt(jax.nn.softmax(jax.lax.stop_gradient(values)))
            noise = jax.random.normal(jax.random.fold_in(key, index), values.shape)
            direction = root * (noise - root * jnp.vdot(root, noise))  # covariance diag p - p p^T
            return jnp.vdot(direction, values)

        return jax.tree.map(lambda sum_, gradient: sum_ + jnp.square(gradient), total, jax.grad(project)(tree))

    tree = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), dict(tree))
    total = jax.tree.map(jnp.zeros_like, tree)
    for index, image in enumerate(images):
        total = add(total, tree, image, index)
        after()
    return jax.tree.map(lambda sum_: np.asarray(sum_) / np.float32(len(images)) + np.float32(FLOOR), total)
