"""How much each weight matters: the diagonal of the Fisher information, as importances for compress.

`--checkpoint=X --model=N --dataset=D --output=F.safetensors`; then compress with `--importance=F.safetensors` and
`--importance_is=layers`, which gives each tensor a step from its mean (`weights` weighs each weight by itself, from one
noisy draw an image). The Fisher information of a classifier is J^T (diag p - p p^T) J with J the Jacobian of its
logits; its diagonal is the mean of squared gradients of r . logits over random r with that covariance, one r an image.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, weight_files
from projects.deepcabac import network
from projects.deepcabac.judge import open_judge

FLOOR = 1e-12  # added to every mean of squares: a weight that no image reaches still has a finite price


@dataclasses.dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """One measurement, on the images kept apart for validation."""

    checkpoint: str = config.field(help="weights, as for compress")
    output: str = config.field(help="importances by tensor: NAME.safetensors or NAME.npz")
    model: str = config.field(help="network of common.models")
    dataset: str = config.field(help="images")
    width: float = config.field(1.0, "factor on channels", exclusive_minimum=0.0)
    images: int = config.field(200, "how many of the images kept apart", minimum=1)
    fold_batch_norm: float | None = config.field(None, "as for compress; give the same there", exclusive_minimum=0.0)
    seed: int = config.field(0, "of the random directions", minimum=0)


def main(settings: SensitivityConfig, run: app.Run) -> dict:
    """Measures and writes the importances; returns their range."""
    run.inputs(network.checkpoint_file(settings.checkpoint))
    judge = open_judge(settings.checkpoint, settings.model, settings.dataset, settings.width)
    tree = network.read_weights(settings.checkpoint)
    judge.check(tree)
    if settings.fold_batch_norm is not None:
        tree = network.fold_batch_norm(tree, settings.fold_batch_norm)
    images = judge.validation.images[: settings.images]

    def logits(tree, image):
        return judge.fn(tree, judge.preprocess(image[None]))[0]

    with run.progress(len(images), "sensitivity") as progress:
        key = jax.random.key(settings.seed)
        diagonal = fisher_diagonal(logits, tree, images, key, lambda: progress.update(1))
    weight_files.save_tree(settings.output, diagonal)
    run.outputs(settings.output)
    means = [float(array.mean()) for array in jax.tree.leaves(diagonal) if array.size]
    return {"output": settings.output, "images": len(images), "smallest_mean": min(means), "largest_mean": max(means)}


def fisher_diagonal(
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
    def add(total, tree, image, key):
        def project(tree):
            values = logits(tree, image)
            root = jnp.sqrt(jax.nn.softmax(jax.lax.stop_gradient(values)))
            noise = jax.random.normal(key, values.shape)
            direction = root * (noise - root * jnp.vdot(root, noise))  # covariance diag p - p p^T
            return jnp.vdot(direction, values)

        return jax.tree.map(lambda sum_, gradient: sum_ + jnp.square(gradient), total, jax.grad(project)(tree))

    tree = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), dict(tree))
    total = jax.tree.map(jnp.zeros_like, tree)
    for index, image in enumerate(images):
        total = add(total, tree, image, jax.random.fold_in(key, index))
        after()
    return jax.tree.map(lambda sum_: np.asarray(sum_) / np.float32(len(images)) + np.float32(FLOOR), total)


if __name__ == "__main__":
    app.run(main, SensitivityConfig)
