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

from common import app, config
from common.training import checkpoint
from projects.deepcabac import evaluation, quantization

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
    fold_batch_norm: float | None = config.field(
        None, "as for compress; give the same there", exclusive_minimum=0.0
    )  # fmt: skip
    seed: int = config.field(0, "of the random directions", minimum=0)


def main(config: SensitivityConfig, run: app.Run) -> dict:
    """Measures and writes the importances; returns their range."""
    run.inputs(config.checkpoint)
    judge = evaluation.create(config.model, config.dataset, width=config.width)
    tree = checkpoint.load_tree(config.checkpoint)
    judge.check(tree)
    if config.fold_batch_norm is not None:
        tree = quantization.fold_batch_norm(tree, config.fold_batch_norm)
    images = judge.validation.images[: config.images]
    with run.progress(len(images), "sensitivity") as progress:
        found = fisher_diagonal(
            lambda tree, image: judge.apply(tree, judge.preprocess(image[None]))[0],
            tree,
            images,
            jax.random.key(config.seed),
            lambda: progress.update(1),
        )
    checkpoint.save_tree(config.output, found)
    run.outputs(config.output)
    means = [float(array.mean()) for array in jax.tree.leaves(found) if array.size]
    return {"output": config.output, "images": len(images), "smallest_mean": min(means), "largest_mean": max(means)}


def fisher_diagonal(
    logits: Callable, tree: Mapping, images: np.ndarray, key: jax.Array, step: Callable[[], None] = lambda: None
) -> dict:
    """Returns the mean over images of squared gradients, float32, in the structure of `tree`.

    Args:
      logits: (tree, image) -> logits [classes].
      tree: the weights.
      images: [images, ...].
      key: of the random directions, one an image.
      step: called after each image.
    """

    @jax.jit
    def add(total, tree, image, key):
        def projected(tree):
            values = logits(tree, image)
            root = jnp.sqrt(jax.nn.softmax(jax.lax.stop_gradient(values)))
            noise = jax.random.normal(key, values.shape)
            direction = root * (noise - root * jnp.vdot(root, noise))  # covariance diag p - p p^T
            return jnp.vdot(direction, values)

        return jax.tree.map(lambda sum_, gradient: sum_ + jnp.square(gradient), total, jax.grad(projected)(tree))

    tree = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), dict(tree))
    total = jax.tree.map(jnp.zeros_like, tree)
    for index, image in enumerate(images):
        total = add(total, tree, image, jax.random.fold_in(key, index))
        step()
    return jax.tree.map(lambda sum_: np.asarray(sum_) / np.float32(len(images)) + np.float32(FLOOR), total)


if __name__ == "__main__":
    app.run(main, SensitivityConfig)
