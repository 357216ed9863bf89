"""JPEG images packed into one .npz, and their decoding: the form in which CIFAR-10 and the photographs are kept small.

Decoding goes image by image into one array made beforehand, so memory is the result plus one image.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .dataset import DamagedDataError


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file, nothing unpickled; DamagedDataError when one is missing or unreadable."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            absent = [name for name in names if name not in arrays.files]
            if absent:
                raise DamagedDataError(f"{path}: has no array {', '.join(absent)}; it holds {', '.join(arrays.files)}")
            return {name: arrays[name] for name in names}
    except DamagedDataError:
        raise
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedDataError(f"{path}: damaged or not an .npz file ({error}); fetch it again") from error


def slices(lengths: np.ndarray, total: int, path: Path) -> np.ndarray:
    """Offsets int64 [n + 1] of n streams laid end to end in `total` bytes."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if lengths.ndim != 1 or offsets[-1] != total:
        raise DamagedDataError(
            f"{path}: the lengths of its {lengths.size} images add up to {offsets[-1]}, not {total} bytes"
        )
    return offsets


def decode(
    stream: Callable[[int], bytes],
    indices: Sequence[int],
    size: int,
    path: Path,
    *,
    crop: int | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> np.ndarray:
    """Images uint8 [len(indices), side, side, 3], side = `crop` or `size`.

    Args:
      stream: gives the JPEG file of an index.
      indices: which ones, in this order.
      size: side that every image must have, in pixels.
      path: named in errors.
      crop: side of a centre crop.
      progress: called as progress(name, images so far, images in all) every 1,000 images.

    Raises:
      DamagedDataError: a stream is not a whole JPEG of `size` by `size`.
    """
    from PIL import Image  # imported on use: only these two sets need it

    side = crop or size
    first = (size - side) // 2
    images = np.empty((len(indices), side, side, 3), np.uint8)
    for position, index in enumerate(indices):
        try:
            with Image.open(io.BytesIO(stream(index)), formats=["JPEG"]) as image:
                if image.size != (size, size):
                    raise DamagedDataError(
                        f"{path}: image {index} is {image.size[0]}x{image.size[1]}, not {size}x{size}"
                    )
                pixels = np.asarray(image.convert("RGB"))
        except DamagedDataError:
            raise
        except (OSError, SyntaxError, ValueError) as error:
            raise DamagedDataError(f"{path}: image {index} is not a whole JPEG ({error})") from error
        images[position] = pixels[first : first + side, first : first + side]
        if progress is not None and (position + 1) % 1000 == 0:
            progress(f"decoding {path.name}", position + 1, len(indices))
    return images
