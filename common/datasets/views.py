"""Photographs seen several times, moved and mirrored: less luck of the draw where there are few of them."""

import numpy as np

from .dataset import Split

# Pixels down and right (within the 16 that a centre crop of 224 leaves beside 256), mirrored or not.
VIEWS = ((0, 0, False), (0, 0, True), (16, 16, False), (-16, -16, True), (16, -16, True), (-16, 16, False))


def seen_from(split: Split, views: int) -> Split:
    """Returns the photographs in the first `views` of VIEWS, end to end, view by view.

    Raises:
      ValueError: more views than there are.
    """
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views={views}: choose 1 to {len(VIEWS)}")
    images = [
        np.roll(split.images[:, :, ::-1] if mirrored else split.images, (down, right), axis=(1, 2))
        for down, right, mirrored in VIEWS[:views]
    ]
    return Split(np.concatenate(images), np.tile(split.labels, views))
