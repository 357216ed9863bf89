"""Accuracy of weight trees on images kept apart (to choose settings) and on test images (once, at the end).

The network is compiled once, with its weights as arguments.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from common import datasets, models
from common.models.efficientnet import CPU_BATCH, preprocess

BATCH = 500  # images
# Views of a photograph: pixels down and right (within the 16 that the centre crop leaves beside it), mirrored or not.
VIEWS = ((0, 0, False), (0, 0, True), (16, 16, False), (-16, -16, True), (16, -16, True), (-16, 16, False))


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A network and its images.

    Attributes:
      module: untrained, to check names and shapes of a tree against.
      apply: (tree, inputs) -> logits.
      preprocess: uint8 images -> inputs.
      validation, test: images and labels; validation may hold `views` of each image, view by view.
      batch_size: images at a time.
      data: where the images come from.
    """

    module: nnx.Module
    apply: Callable
    preprocess: Callable
    validation: datasets.Split
    test: datasets.Split
    batch_size: int
    data: datasets.Dataset
    views: int = 1

    def check(self, tree: Mapping) -> None:
        """Raises ValueError when the tree does not fit the network."""
        models.from_tree(self.module, tree)

    def correct(self, tree: Mapping, split: str) -> np.ndarray:
        """bool [images]: which images of "validation" or "test" a tree classifies rightly."""
        chosen = getattr(self, split)
        found = models.evaluate(
            self.apply, tree, chosen.images, chosen.labels, preprocess=self.preprocess, batch_size=self.batch_size
        )
        return found.correct

    def correct_many(self, trees: Sequence[Mapping], split: str) -> np.ndarray:
        """bool [trees, images]: `correct` of several trees, computed together over all devices."""
        chosen = getattr(self, split)
        if len(trees) == 1:
            return self.correct(trees[0], split)[None]
        return models.evaluate_many(
            self.apply, trees, chosen.images, chosen.labels, preprocess=self.preprocess, batch_size=self.batch_size
        )

    def accuracy(self, tree: Mapping, split: str) -> float:
        """Share of right answers on "validation" or "test"."""
        return float(self.correct(tree, split).mean())


def create(
    model: str,
    dataset: str,
    *,
    width: float = 1.0,
    validation_images: int | None = None,
    views: int = 1,
    fallback: str | None = None,
) -> Evaluator:
    """Returns the evaluator of a network on a data set.

    Args:
      model: a name of common.models.
      dataset: a name of common.datasets. Even photographs of `imagenet_samples` are for validation.
      width: factor on channels.
      validation_images: the last training images, as many as `train` kept apart (None: its default).
      views: photographs for validation are seen so many times, moved and mirrored, which lessens the luck of the draw.
      fallback: "digits" to take scikit-learn's where the data set cannot be had.
    """
    data = datasets.load(dataset, fallback=fallback, **({"size": 28} if dataset == "digits" else {}))
    if dataset == "imagenet_samples":
        validation, test = (datasets.Split(data.test_images[i::2], data.test_labels[i::2]) for i in (0, 1))
        validation = seen_from(validation, views)
    elif views != 1:
        raise ValueError(f"views={views}: only imagenet_samples have the margin to be moved in; {dataset} has one view")
    else:
        _, validation = datasets.split_validation(data, validation_images)
        test = datasets.Split(data.test_images, data.test_labels)
    is_published = model == "efficientnet_lite0" and dataset == "imagenet_samples"
    shape = None if is_published else data.test_images.shape[1:]
    network = models.create(model, rngs=nnx.Rngs(0), width=width, num_classes=len(data.classes), input_shape=shape)
    return Evaluator(
        network,
        models.apply_function(network),
        preprocess if is_published else models.standardise(data.mean, data.std),
        validation,
        test,
        CPU_BATCH if is_published else BATCH,
        data,
        views,
    )


def seen_from(split: datasets.Split, views: int) -> datasets.Split:
    """Returns the photographs in the first `views` of VIEWS, end to end, view by view."""
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views={views}: choose 1 to {len(VIEWS)}")
    images = [
        np.roll(split.images[:, :, ::-1] if mirrored else split.images, (down, right), axis=(1, 2))
        for down, right, mirrored in VIEWS[:views]
    ]
    return datasets.Split(np.concatenate(images), np.tile(split.labels, views))


def settings_of(run_directory: pathlib.Path) -> dict[str, Any]:
    """Returns what the flags of a training say of network and data ({} for what is no run directory)."""
    path = pathlib.Path(run_directory) / "flags.txt"
    if not path.is_file():
        return {}
    flags = dict(
        line[2:].split("=", 1) for line in path.read_text().splitlines() if line.startswith("--") and "=" in line
    )
    kinds = {"model": str, "dataset": str, "width": float, "validation_images": int, "fallback": str}
    return {name: kind(flags[name]) for name, kind in kinds.items() if flags.get(name, "none") != "none"}


def paired_interval(
    before: np.ndarray, after: np.ndarray, seed: int = 0, resamples: int = 20_000
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the accuracy difference (after minus before) on the same images.

    Where no image changes its answer for the better, or none for the worse, there is nothing to resample on that side:
    it reaches as far beyond as a share of which none was seen in n images, 1 - 0.025^(1/n), about 3.7 / n. So an
    interval never has width 0, and one changed image does not make it narrower than none.

    Args:
      before, after: bool [images].
      seed: of the resampling.
      resamples: number of bootstrap samples; an image is drawn with both of its answers.
    """
    difference = after.astype(np.int64) - before.astype(np.int64)
    counts = [np.count_nonzero(difference == value) for value in (-1, 0, 1)]
    unseen = float(-np.expm1(np.log(0.025) / len(difference)))
    # Drawing images with replacement is drawing how many of each kind come up.
    drawn = np.random.default_rng(seed).multinomial(len(difference), np.array(counts) / len(difference), resamples)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / len(difference), (0.025, 0.975))
    return float(low) - unseen * (counts[0] == 0), float(high) + unseen * (counts[2] == 0)
