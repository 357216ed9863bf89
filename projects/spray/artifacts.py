"""Planted artifacts: what a share of the images of one class have in common and the class itself does not.

A tag is a white square in a corner, a patch a fixed pattern anywhere, a border a frame, a colour cast a tint of the
whole image. Which images carry one, and where, follows from the seed alone; so the truth is known image by image.
"""

import dataclasses

import numpy as np

from common import config, datasets

KINDS = ("none", "tag", "patch", "border", "cast")
MARGIN = 1  # pixels between a tag and the edges


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactConfig:
    """One artifact in one class: flags that verbs share."""

    artifact: str = config.field("tag", "what is planted into training images of one class", choices=KINDS)
    planted_class: int = config.field(8, "that gets it", minimum=0)
    share: float = config.field(0.1, "of the class's training images that carry it", minimum=0.0, maximum=1.0)
    artifact_size: int = config.field(3, "side of a tag or a patch, width of a border, pixels", minimum=1)
    strength: float = config.field(1.0, "0 leaves an image as it is, 1 covers it", exclusive_minimum=0.0, maximum=1.0)
    artifact_seed: int = config.field(
        0, "of which images carry it, of the pattern and the places of a patch", minimum=0
    )


def carriers(labels: np.ndarray, settings: ArtifactConfig) -> np.ndarray:
    """Returns which images carry the artifact, bool `[n]`: a share of the class, rounded to a whole image.

    Raises:
      ValueError: no image has the class.
    """
    carrying = np.zeros(len(labels), bool)
    if settings.artifact == "none" or settings.share == 0:
        return carrying
    of_class = np.flatnonzero(np.asarray(labels) == settings.planted_class)
    if not len(of_class):
        raise ValueError(
            f"--planted_class={settings.planted_class}: no image has this label; labels are {np.unique(labels)}"
        )
    generator = np.random.default_rng([settings.artifact_seed, settings.planted_class])
    carrying[generator.permutation(of_class)[: round(settings.share * len(of_class))]] = True
    return carrying


def insert(images: np.ndarray, settings: ArtifactConfig, numbers: np.ndarray | None = None) -> np.ndarray:
    """Returns images with the artifact in each of them.

    Args:
      images: uint8 `[n, height, width, channels]`.
      settings: of the artifact.
      numbers: of the images in their data set, `[n]`, which decide where a patch lies (None: 0 to n - 1): an image gets
        the same one whatever others come with it.

    Raises:
      ValueError: the artifact is larger than an image.
    """
    images = np.asarray(images)
    if settings.artifact == "none":
        return images
    numbers = np.arange(len(images)) if numbers is None else np.asarray(numbers)
    height, width, channels = images.shape[1:]
    size = settings.artifact_size
    room = min(height, width) - (2 * MARGIN if settings.artifact == "tag" else 0)
    if size * (2 if settings.artifact == "border" else 1) > room and settings.artifact != "cast":
        raise ValueError(
            f"--artifact_size={size}: a {settings.artifact} does not fit images of {height} x {width} pixels"
        )
    cover, mask = _cover(settings, height, width, channels, numbers)
    weight = settings.strength * mask
    return np.round(images * (1 - weight) + cover * weight).astype(np.uint8)


def box(settings: ArtifactConfig, height: int, width: int) -> np.ndarray:
    """Returns where the artifact lies, bool `[height, width]`; all pixels of a cast.

    Raises:
      ValueError: for a patch, which lies elsewhere in every image.
    """
    if settings.artifact == "patch":
        raise ValueError("a patch lies elsewhere in every image")
    return _cover(settings, height, width, 1, np.zeros(1, int))[1][0, :, :, 0] > 0


def _cover(settings, height, width, channels, numbers) -> tuple[np.ndarray, np.ndarray]:
    """Returns what covers the images and where, both broadcasting to `[n, height, width, channels]`."""
    size, kind = settings.artifact_size, settings.artifact
    white = np.full((1, 1, 1, channels), 255.0)
    mask = np.zeros((1, height, width, 1))
    if kind == "tag":
        mask[:, MARGIN : MARGIN + size, MARGIN : MARGIN + size] = 1
        return white, mask
    if kind == "border":
        mask[:] = 1
        mask[:, size : height - size, size : width - size] = 0
        return white, mask
    generator = np.random.default_rng([settings.artifact_seed, 1])
    if kind == "cast":  # a tint: the first channel full, the others dark; half of it where there is one channel
        tint = np.zeros(channels)
        tint[0] = 255
        return tint.reshape(1, 1, 1, channels), np.full((1, height, width, 1), 0.5)
    pattern = 255.0 * generator.integers(0, 2, (size, size, channels))
    pattern[0, 0] = 255  # never all black
    cover, masks = np.zeros((len(numbers), height, width, channels)), np.zeros((len(numbers), height, width, 1))
    for row, number in enumerate(numbers):
        place = np.random.default_rng([settings.artifact_seed, 2, int(number)])
        top, left = place.integers(0, height - size + 1), place.integers(0, width - size + 1)
        cover[row, top : top + size, left : left + size] = pattern
        masks[row, top : top + size, left : left + size] = 1
    return cover, masks


def plant(data: datasets.Dataset, settings: ArtifactConfig) -> tuple[datasets.Dataset, np.ndarray]:
    """Returns the data set with the artifact in its training images, and which of them carry it, bool `[n]`.

    Test images stay as they are: what a network does with the artifact shows on copies that `insert` makes.
    """
    if settings.planted_class >= len(data.classes):
        raise ValueError(
            f"--planted_class={settings.planted_class}: {data.name} has classes 0 to {len(data.classes) - 1}"
        )
    carrying = carriers(data.train_labels, settings)
    images = data.train_images.copy()
    numbers = np.flatnonzero(carrying)
    if len(numbers):
        images[numbers] = insert(images[numbers], settings, numbers)
    return dataclasses.replace(data, train_images=images), carrying
