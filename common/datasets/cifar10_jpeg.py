"""CIFAR-10 as JPEG streams in one .npz (18 MB): decoded once, then kept as uint8 .npy files in the user's cache.

The JPEGs are lossy (quality 75, 4:2:0; 30 dB against the original), so results carry the name "CIFAR-10 (JPEG)".
Image i is number i // 10 of class i % 10, so every prefix of a multiple of 10 images is balanced.
"""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from . import download, packed_jpeg
from .dataset import DamagedDataError, Split

PUBLISHED = "d5df9afd402c10d63c2f2b55d50acf1e3925a036c91a1096bea5ccd435389604"
FILE_NAME = "cifar10_jpeg.npz"


def checksum(path: Path) -> str:
    """Hex SHA-256 of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path) -> None:
    """Raises DamagedDataError unless it is the published file."""
    if (digest := checksum(path)) != PUBLISHED:
        raise DamagedDataError(f"{path}: wrong checksum: SHA-256 {digest}, published is {PUBLISHED}")


# It has no official address; a mirror of one's own may serve it.
RESOURCE = download.Resource("cifar10", FILE_NAME, check, max_bytes=40_000_000)


def splits(
    path: Path,
    cache: Path,
    digest: str,
    *,
    train_count: int | None = None,
    test_count: int | None = None,
    progress: download.Progress | None = None,
) -> tuple[Split, Split]:
    """Training and test images uint8 [n, 32, 32, 3] with labels int32 [n].

    Args:
      path: the .npz file.
      cache: folder for the decoded arrays.
      digest: checksum of the file, part of their names.
      train_count, test_count: only so many of the first images; None for all. A part is decoded but not cached.
      progress: as in packed_jpeg.decode.

    Raises:
      DamagedDataError: the file is not whole or its arrays do not fit each other.
    """
    names = [f"{half}_{field}" for half in ("train", "test") for field in ("scan", "length", "label")]
    arrays = packed_jpeg.read_npz(path, ["jpeg_header", *names])
    halves = []
    for half, count in (("train", train_count), ("test", test_count)):
        scan, length, label = (arrays[f"{half}_{field}"] for field in ("scan", "length", "label"))
        if len(label) != len(length) or scan.dtype != np.uint8:
            raise DamagedDataError(f"{path}: {len(length)} {half} images of {scan.dtype} with {len(label)} labels")
        offsets = packed_jpeg.slices(length, scan.size, path)
        header = arrays["jpeg_header"].tobytes()

        def stream(index, scan=scan, offsets=offsets, header=header) -> bytes:
            return header + scan[offsets[index] : offsets[index + 1]].tobytes()

        total = len(length)
        count = total if count is None else min(count, total)

        def decode(count=count, stream=stream) -> np.ndarray:
            return packed_jpeg.decode(stream, range(count), 32, path, progress=progress)

        copy = cache / f"{Path(FILE_NAME).stem}-{digest[:16]}-{half}.npy"
        images = _cached(copy, (total, 32, 32, 3), count, decode)
        halves.append(Split(images, label[:count].astype(np.int32)))
    return halves[0], halves[1]


def _cached(copy: Path, shape: tuple[int, ...], count: int, decode) -> np.ndarray:
    """The first `count` decoded images: from `stored` when it is there and whole, else decoded, and stored when all."""
    if (images := _read(copy, shape, count)) is not None:
        return images
    if count < shape[0]:
        return decode()
    try:
        with download.alone(copy, timeout=600):
            if (images := _read(copy, shape, count)) is None:  # another process may have stored it by now
                print(f"decoding {count} JPEG images once, kept as {copy}", file=sys.stderr, flush=True)
                images = decode()
                _store(copy, images)
            return images
    except OSError as error:
        print(f"decoded images are not kept: {error}", file=sys.stderr)
        return decode()


def _read(copy: Path, shape: tuple[int, ...], count: int) -> np.ndarray | None:
    """The first `count` images of a stored array, or None when it is missing or not of this shape."""
    try:
        images = np.load(copy, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.array(images[:count]) if images.shape == shape and images.dtype == np.uint8 else None


def _store(copy: Path, images: np.ndarray) -> None:
    part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.save(file, images, allow_pickle=False)
        os.replace(part, copy)
    finally:
        part.unlink(missing_ok=True)
