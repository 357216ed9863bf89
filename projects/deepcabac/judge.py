"""Who judges a candidate: a network with images kept apart (to choose settings) and test images (once, at the end)."""

import dataclasses

import numpy as np

from common import datasets
from common.models import zoo

# Views of a photograph: pixels down and right (within the 16 that the centre crop leaves beside it), mirrored or not.
VIEWS = ((0, 0, False), (0, 0, True), (16, 16, False), (-16, -16, True), (16, -16, True), (-16, 16, False))


def open_judge(
    checkpoint: str, model: str | None = None, dataset: str | None = None, width: float | None = None, views: int = 1
) -> zoo.Network | None:
    """Returns a network and its images, without the weights of the checkpoint; None where nobody says which ones.

    Args:
      checkpoint: a run directory says of itself what it holds.
      model, dataset, width: instead of that.
      views: photographs kept apart are seen so many times, moved and mirrored, which lessens the luck of the draw.

    Raises:
      ValueError: several views of images that have no margin to be moved in.
    """
    flags = {"model": model, "dataset": dataset, "width": width}
    flags = zoo.flags_of(checkpoint) | {name: value for name, value in flags.items() if value is not None}
    if flags.get("model") is None or flags.get("dataset") is None:
        return None
    network = zoo.untrained(zoo.NetworkConfig(**flags))
    if views == 1:
        return network
    if flags["dataset"] != "imagenet_samples":
        raise ValueError(f"views={views}: only imagenet_samples can be moved; {flags['dataset']} has one view")
    return dataclasses.replace(network, validation=seen_from(network.validation, views))


def seen_from(split: datasets.Split, views: int) -> datasets.Split:
    """Returns the photographs in the first `views` of VIEWS, end to end, view by view."""
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views={views}: choose 1 to {len(VIEWS)}")
    images = [
        np.roll(split.images[:, :, ::-1] if mirrored else split.images, (down, right), axis=(1, 2))
        for down, right, mirrored in VIEWS[:views]
    ]
    return datasets.Split(np.concatenate(images), np.tile(split.labels, views))
