"""One photograph for each of the 1,000 ImageNet classes, 256x256: to compare a network with itself before and after.

They are probably from the training images, so accuracies on them are not ImageNet accuracies and never quoted as such.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from . import content, download, locate, packed_jpeg
from .dataset import DamagedDataError, Dataset, Split, make

SIZE = 256
PUBLISHED = "98d155c9a3c5a08fe31e5e0cd76c912a8b008ed605a909f6423184bf68ed51dd"
LICENCE = "unclear: photographs belong to their owners, ImageNet terms are non-commercial research"


def check(path: Path) -> None:
    """Raises DamagedDataError unless it is the published file."""
    if (digest := content.sha256(path, RESOURCE.max_bytes)) != PUBLISHED:
        raise DamagedDataError(f"{path}: wrong checksum: SHA-256 {digest}, published is {PUBLISHED}")


# It has no official address; a mirror of one's own may serve it.
RESOURCE = download.Resource("imagenet_samples", "imagenet_samples_256.npz", check, max_bytes=40_000_000)


def load(*, indices: Sequence[int] | None = None, crop: int | None = None, **places) -> Dataset:
    """The photographs as the test half of a Dataset (the training half is empty), labels = class indices 0 to 999.

    Args:
      indices: class indices, in the order wanted; None for all 1,000 (197 MB at 256x256). range(0, 1000, 10) is quick.
      crop: side of a centre crop in pixels, e.g. 224; None keeps 256.
      **places: data_dir, cache_dir, mirror, allow_download, progress, policy as in `common.datasets.load`.

    Raises:
      ValueError: an index or a crop out of range, or a damaged file.
      DatasetNotFoundError: the file is nowhere.
    """
    progress = places.get("progress")
    path = find(**places)
    arrays, indices = _open(path, indices, crop)
    images = packed_jpeg.decode(_stream(arrays, path), indices, SIZE, path, crop=crop, progress=progress)
    side = images.shape[1]
    published = content.sha256(path, RESOURCE.max_bytes) == PUBLISHED
    notice = "" if published else f"checksum of {path.name} differs from the published one: used as it is"
    return make(
        "ImageNet samples",
        Split(np.zeros((0, side, side, 3), np.uint8), np.zeros(0, np.int32)),
        Split(images, np.asarray(indices, np.int32)),
        classes=tuple(name.replace("_", " ") for name in arrays["name"].tolist()),
        wnids=tuple(arrays["wnid"].tolist()),
        mean=(0.485, 0.456, 0.406),  # of the ImageNet training images, as usually given
        std=(0.229, 0.224, 0.225),
        licence=LICENCE,
        source=f"JPEG form in {path}",
        details="probably training images: compare before and after only" + (f"; {notice}" if notice else ""),
        notice=notice,
    )


def batches(
    batch_size: int, *, indices: Sequence[int] | None = None, crop: int | None = None, **places
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (images uint8 [batch, side, side, 3], labels int32 [batch]), decoding one batch at a time.

    Args as in `load`; the last batch may be smaller.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be 1 or more")
    path = find(**places)
    arrays, indices = _open(path, indices, crop)
    stream = _stream(arrays, path)
    for start in range(0, len(indices), batch_size):
        numbers = indices[start : start + batch_size]
        yield packed_jpeg.decode(stream, numbers, SIZE, path, crop=crop), np.asarray(numbers, np.int32)


def find(*, data_dir=None, cache_dir=None, mirror=None, allow_download=True, progress=None, policy=None) -> Path:
    """Path of the file, in the data folder, the cache, or fetched from a mirror."""
    root, cache = locate.data_dir(data_dir), locate.cache_dir(cache_dir)
    here = locate.first_file([root / RESOURCE.folder, root] if root else [], [RESOURCE.filename])
    cached = cache / RESOURCE.folder / RESOURCE.filename
    if here is not None or (cached.is_file() and not allow_download):
        return here or cached
    try:
        if not allow_download:
            raise download.DownloadError("downloading was not allowed")
        return download.fetch(RESOURCE, cache, mirror=mirror, progress=progress, policy=policy or download.Policy())
    except download.DownloadError as error:
        address = next(iter(download.addresses(RESOURCE, mirror)), "")
        raise locate.not_found("ImageNet samples", root, cached.parent, RESOURCE.filename, address, error) from error


def _open(path: Path, indices, crop) -> tuple[dict[str, np.ndarray], list[int]]:
    """The arrays of the file, checked against each other, and the checked indices."""
    arrays = packed_jpeg.read_npz(path, ["jpeg", "length", "wnid", "name"])
    count = len(arrays["length"])
    if len(arrays["wnid"]) != count or len(arrays["name"]) != count:
        raise DamagedDataError(f"{path}: {count} images with {len(arrays['wnid'])} WNIDs, {len(arrays['name'])} names")
    indices = list(range(count)) if indices is None else [int(index) for index in indices]
    if wrong := [index for index in indices if not 0 <= index < count]:
        raise ValueError(f"image index {wrong[0]}: choose 0 to {count - 1}")
    if crop is not None and not 1 <= crop <= SIZE:
        raise ValueError(f"crop={crop}: choose 1 to {SIZE} pixels")
    return arrays, indices


def _stream(arrays: dict[str, np.ndarray], path: Path):
    offsets = packed_jpeg.slices(arrays["length"], arrays["jpeg"].size, path)
    return lambda index: arrays["jpeg"][offsets[index] : offsets[index + 1]].tobytes()
