"""How much each weight matters: the diagonal of the Fisher information, as importances for compress.

`--checkpoint=X --model=N --dataset=D --output=F.safetensors`; then compress with `--importance=F.safetensors` and
`--importance_is=layers`, which gives each tensor a step from its mean (`weights` weighs each weight by itself, from one
noisy draw an image).
"""

import dataclasses

import jax

from common import app, config, weight_files
from common.models import batch_norm, fisher, zoo
from projects.deepcabac import network


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
    options = {name: getattr(settings, name) for name in ("model", "dataset", "width")}
    judge = zoo.network_of(settings.checkpoint, **options)
    tree = network.read_weights(settings.checkpoint)
    judge.check(tree)
    if settings.fold_batch_norm is not None:
        tree = batch_norm.fold_statistics(tree, settings.fold_batch_norm)
    images = judge.validation.images[: settings.images]

    def logits(tree, image):
        return judge.fn(tree, judge.preprocess(image[None]))[0]

    with run.progress(len(images), "sensitivity") as progress:
        key = jax.random.key(settings.seed)
        diagonal = fisher.diagonal(logits, tree, images, key, lambda: progress.update(1))
    weight_files.save_tree(settings.output, diagonal)
    run.outputs(settings.output)
    means = [float(array.mean()) for array in jax.tree.leaves(diagonal) if array.size]
    return {"output": settings.output, "images": len(images), "smallest_mean": min(means), "largest_mean": max(means)}


if __name__ == "__main__":
    app.run(main, SensitivityConfig)
