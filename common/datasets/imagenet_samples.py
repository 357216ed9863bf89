"""One photograph for each of the 1,000 ImageNet classes, 256x256: to compare a network with itself before and after.

They are probably from the training images, so accuracies on them are not ImageNet accuracies and never quoted as such.
The file may not be passed on. Who has photographs puts a folder in its place, one JPEG file a class, named by its WNID.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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


# It has no official address; a mirror of one's own may serve it. The file was packed from these photographs.
PHOTOGRAPHS = "https://github.com/EliSchwartz/imagenet-sample-images, its 1,000 JPEG files in the folder will do"
CLASSES = 1000
QUALITY = 85  # of the JPEG files in the published form
RESOURCE = download.Resource("imagenet_samples", "imagenet_samples_256.npz", check, max_bytes=40_000_000)


def load(*, indices: Sequence[int] | None = None, crop: int | None = None, **places: Any) -> Dataset:
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
    arrays, stream, indices = _open(path, indices, crop)
    images = packed_jpeg.decode(stream, indices, SIZE, path, crop=crop, progress=progress)
    side = images.shape[1]
    if path.is_dir():
        notice = f"photographs of the folder {path}: numbers on them are not those on the published file"
    elif content.sha256(path, RESOURCE.max_bytes) != PUBLISHED:
        notice = f"checksum of {path.name} differs from the published one: used as it is"
    else:
        notice = ""
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
    batch_size: int, *, indices: Sequence[int] | None = None, crop: int | None = None, **places: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (images uint8 [batch, side, side, 3], labels int32 [batch]), decoding one batch at a time.

    Args as in `load`; the last batch may be smaller.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be 1 or more")
    path = find(**places)
    _, stream, indices = _open(path, indices, crop)
    for start in range(0, len(indices), batch_size):
        numbers = indices[start : start + batch_size]
        yield packed_jpeg.decode(stream, numbers, SIZE, path, crop=crop), np.asarray(numbers, np.int32)


def find(**places: Any) -> Path:
    """Path of the file, in the data folder, the cache, or fetched from a mirror; or of a folder of photographs.

    Args:
      **places: as of `load`.
    """
    return download.find_or_fetch("ImageNet samples", RESOURCE, _find, RESOURCE.filename, PHOTOGRAPHS, **places)


def _find(root: Path | None) -> Path | None:
    """The file below a root, or the folder of photographs in its place."""
    if root is None:
        return None
    folder = root / RESOURCE.folder
    return locate.first_file([folder, root], [RESOURCE.filename]) or (folder if photographs(folder) else None)


def photographs(folder: Path) -> list[Path]:
    """The JPEG files named by a WNID in a folder, such as n01440764_tench.JPEG, in the order of the classes."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"n\d{8}(_.*)?\.jpe?g", path.name, re.IGNORECASE))


def _open(path: Path, indices, crop) -> tuple[dict[str, np.ndarray], Callable[[int], bytes], list[int]]:
    """WNIDs and names, what gives the JPEG file of an index, and the checked indices."""
    if path.is_dir():
        arrays, stream = _open_folder(path)
    else:
        arrays = packed_jpeg.read_npz(path, ["jpeg", "length", "wnid", "name"])
        stream = _stream(arrays, path)
    count = len(arrays["length"])
    if len(arrays["wnid"]) != count or len(arrays["name"]) != count:
        raise DamagedDataError(f"{path}: {count} images with {len(arrays['wnid'])} WNIDs, {len(arrays['name'])} names")
    indices = list(range(count)) if indices is None else [int(index) for index in indices]
    if wrong := [index for index in indices if not 0 <= index < count]:
        raise ValueError(f"image index {wrong[0]}: choose 0 to {count - 1}")
    if crop is not None and not 1 <= crop <= SIZE:
        raise ValueError(f"crop={crop}: choose 1 to {SIZE} pixels")
    return arrays, stream, indices


def _open_folder(folder: Path) -> tuple[dict[str, np.ndarray], Callable[[int], bytes]]:
    """WNIDs and names of a folder of photographs, and what gives each in the form of the published file.

    Raises:
      DamagedDataError: not one photograph for each class, whose numbers their order then says.
    """
    paths = photographs(folder)
    wnids = [path.stem[:9] for path in paths]
    if len(set(wnids)) != CLASSES or len(paths) != CLASSES:
        raise DamagedDataError(
            f"{folder}: {len(paths)} photographs of {len(set(wnids))} classes; expected one JPEG file for each of the "
            f"{CLASSES} classes, named by its WNID"
        )
    names = [path.stem[10:] or path.stem for path in paths]  # n01440764_tench: tench
    return {"length": np.zeros(CLASSES), "wnid": np.array(wnids), "name": np.array(names)}, lambda i: _small(paths[i])


def _small(path: Path) -> bytes:
    """A photograph as the published file has it: the shorter side scaled to 256 pixels, the centre cut out, JPEG."""
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG"]) as file:
            photograph = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedDataError(f"{path}: not a whole JPEG ({error})") from error
    scale = SIZE / min(photograph.size)
    width, height = (max(SIZE, round(side * scale)) for side in photograph.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    photograph = photograph.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    photograph.crop((left, top, left + SIZE, top + SIZE)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _stream(arrays: dict[str, np.ndarray], path: Path):
    offsets = packed_jpeg.slices(arrays["length"], arrays["jpeg"].size, path)
    return lambda index: arrays["jpeg"][offsets[index] : offsets[index + 1]].tobytes()
