"""What is explained: images of a data set, picture files, or arrays."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from common import datasets
from common.models import zoo

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm")
BY_DEFAULT = 100  # images of a data set


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Attributes: images, uint8 `[n, height, width, channels]`, or None where `arrays` holds inputs, float32 of the
    same shape; labels, int64 `[n]`, or None; index, int64 `[n]`, numbers in the data set;
    names; has_files, whether these are of picture files."""

    images: np.ndarray | None
    arrays: np.ndarray | None
    labels: np.ndarray | None
    index: np.ndarray
    names: tuple[str, ...]
    has_files: bool = False

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.index)

    def inputs(self, network: zoo.Network, number: np.ndarray) -> np.ndarray:
        """Returns the network's inputs of some samples, float32 `[batch, height, width, channels]`."""
        if self.images is None:
            return self.arrays[number]
        return np.asarray(network.preprocess(self.images[number]), np.float32)


def gather(paths: Sequence[str], first: int, count: int | None, data: datasets.Dataset, target: str) -> Samples:
    """Returns the samples that the flags ask for.

    Args:
        paths: picture files, folders, or one .npy file; none: the test images of `data`.
        first, count: which of them.
        data: gives test images, and the shape that pictures are brought to.
        target: "label" needs labels, which files do not have.

    Raises:
        ValueError: no such image, an array that is no batch of images, pictures of other channels.
    """
    if paths and target == "label":
        raise ValueError("--target=label: files have no labels; explain the prediction or a class by its number")
    if not paths:
        count = BY_DEFAULT if count is None else count
        images = data.test_images[first : first + count]
        index = np.arange(first, first + len(images))
        labels, names = data.test_labels[first : first + count], [f"{number:05d}" for number in index]
        samples = Samples(images, None, labels.astype(np.int64), index, tuple(names))
    elif len(paths) == 1 and paths[0].endswith(".npy"):
        samples = _from_array(pathlib.Path(paths[0]), first, count)
    else:
        samples = _from_pictures(paths, first, count, data.test_images.shape[1:])
    if not samples.count:
        raise ValueError(f"--first={first}: there is no such image; there are fewer")
    return samples


def _from_array(path: pathlib.Path, first: int, count: int | None) -> Samples:
    array = np.load(path, allow_pickle=False)
    if array.ndim != 4 or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        description = f"{array.dtype} {array.shape}"
        raise ValueError(f"{path} holds {description}: expected uint8 or float [n, height, width, channels]")
    array = array[first:] if count is None else array[first : first + count]
    index, is_image = np.arange(first, first + len(array)), array.dtype == np.uint8
    images, arrays = (array, None) if is_image else (None, array.astype(np.float32))
    return Samples(images, arrays, None, index, tuple(f"{number:05d}" for number in index))


def _from_pictures(paths: Sequence[str], first: int, count: int | None, shape: tuple[int, ...]) -> Samples:
    """Pictures, their shorter side scaled to the longer of the network's and the centre cut out."""
    from PIL import Image

    files: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            files += sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        elif path.suffix.lower() in SUFFIXES:
            files.append(path)
        else:
            raise ValueError(f"--images: {path} is no folder and no picture ({', '.join(SUFFIXES)}), nor one .npy file")
    files = files[first:] if count is None else files[first : first + count]
    height, width, channels = shape
    images = np.zeros((len(files), *shape), np.uint8)
    for place, path in enumerate(files):
        with Image.open(path) as picture:
            picture = picture.convert("L" if channels == 1 else "RGB")
            scale = max(height / picture.height, width / picture.width)
            size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
            left, top = (size[0] - width) // 2, (size[1] - height) // 2
            images[place] = np.asarray(picture.crop((left, top, left + width, top + height))).reshape(shape)
    names = tuple(path.stem for path in files)
    return Samples(images, None, None, np.arange(first, first + len(files)), names, has_files=True)
