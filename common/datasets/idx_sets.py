"""What MNIST and its relatives share: four IDX files, found under any of their usual names, or fetched.

A file that differs from the published one is compared by eighths: when half of them agree it is a damaged copy and
refused; else it is another set in the same format (KMNIST, a part, one's own digits) and loads with a notice.
"""

import dataclasses
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from . import content, download, idx, locate
from .dataset import DamagedDataError, Dataset, Split, make

ROLES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@dataclasses.dataclass(frozen=True)
class Published:
    """One published IDX file: SHA-256 and length of the decompressed bytes, and the CRC-32 of each eighth of them."""

    sha256: str
    length: int
    eighths: str


@dataclasses.dataclass(frozen=True)
class IdxSet:
    """A set of four IDX files.

    Attributes:
      name, classes, mean, std, licence: as in Dataset.
      folders: where it may lie in a data folder; the first is also its folder in the cache and on a mirror.
      files: role -> Published.
      bases: official addresses of the folder that holds the four .gz files.
    """

    name: str
    folders: tuple[str, ...]
    files: dict[str, Published]
    bases: tuple[str, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str


def file_names(role: str) -> tuple[str, ...]:
    """The names a file goes by: dashed or dotted, gzipped or not."""
    dotted = role.replace("-idx", ".idx")
    return tuple(f"{stem}-ubyte{ending}" for stem in (role, dotted) for ending in (".gz", ""))


def load(
    data: IdxSet,
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    mirror: str | None = None,
    allow_download: bool = True,
    progress: download.Progress | None = None,
    policy: download.Policy | None = None,
) -> Dataset:
    """The set as a Dataset, from the data folder, else the cache, else its official addresses.

    Raises:
      DamagedDataError: a file in the data folder is not whole.
      DatasetNotFoundError: it is nowhere; the message says what to do.
    """
    root, cache = locate.data_dir(data_dir), locate.cache_dir(cache_dir)
    paths, missing = _find(data, root)
    if len(paths) < len(ROLES):
        try:
            paths = _from_cache(data, cache, mirror, allow_download, progress, policy or download.Policy())
        except download.DownloadError as error:
            address = download.addresses(resource(data, ROLES[0]), mirror)[0].rpartition("/")[0] + "/"
            names = ", ".join(missing)
            raise locate.not_found(data.name, root, cache / data.folders[0], names, address, error) from error
    return _assemble(data, paths)


def resource(data: IdxSet, role: str) -> download.Resource:
    """The published .gz file of `role`, checked by its decompressed content."""
    published, filename = data.files[role], f"{role}-ubyte.gz"

    def check(path: Path) -> None:
        digest = content.sha256(path, published.length)
        if digest != published.sha256:
            raise DamagedDataError(
                f"{path}: wrong checksum: its content has SHA-256 {digest}, published is {published.sha256}"
            )

    bases = tuple(f"{base}{filename}" for base in data.bases)
    return download.Resource(data.folders[0], filename, check, max_bytes=published.length + (1 << 16), addresses=bases)


def _find(data: IdxSet, root: Path | None) -> tuple[dict[str, Path], list[str]]:
    """Paths by role in the first folder of `root` that has all four, and the names missing from the fullest folder."""
    best: dict[str, Path] = {}
    for folder in [root / name for name in data.folders] if root is not None else []:
        here = {role: path for role in ROLES if (path := locate.first_file([folder], file_names(role)))}
        if len(here) > len(best):
            best = here
    return best, [f"{role}-ubyte.gz" for role in ROLES if role not in best]


def _from_cache(data, cache, mirror, allow_download, progress, policy) -> dict[str, Path]:
    """Paths by role in the cache, after fetching what is missing there."""
    paths = {}
    for role in ROLES:
        item = resource(data, role)
        paths[role] = cache / item.folder / item.filename
        if allow_download:
            download.fetch(item, cache, mirror=mirror, progress=progress, policy=policy)
        elif paths[role].is_file():
            item.check(paths[role])
        else:
            raise download.DownloadError("downloading was not allowed")
    return paths


def _assemble(data: IdxSet, paths: dict[str, Path]) -> Dataset:
    arrays, differing = {}, []
    for role in ROLES:
        path = paths[role]
        raw = idx.read_bytes(path)
        arrays[role] = idx.parse(raw, str(path))
        if not _is_published(raw, data.files[role], path):
            differing.append(path.name)
    train = _split(arrays, paths, "train")
    test = _split(arrays, paths, "t10k")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DamagedDataError(
            f"{data.name}: training images are {train.images.shape[1:]}, test images {test.images.shape[1:]}"
        )
    notice, classes = "", data.classes
    if differing:
        notice = (
            f"checksum differs from the published set in {', '.join(differing)}: another set or a part, used as it is"
        )
        highest = max((int(split.labels.max()) for split in (train, test) if len(split.labels)), default=0)
        classes += tuple(str(label) for label in range(len(classes), highest + 1))
    return make(
        data.name,
        train,
        test,
        classes=classes,
        mean=None if differing else data.mean,
        std=None if differing else data.std,
        licence=data.licence,
        source=f"IDX files in {paths[ROLES[0]].parent}",
        details=notice or "checksums are those of the published set",
        notice=notice,
    )


def _is_published(raw: bytes, published: Published, path: Path) -> bool:
    """Whether `raw` is the published content; raises DamagedDataError when it is nearly so."""
    if hashlib.sha256(raw).hexdigest() == published.sha256:
        return True
    if len(raw) == published.length:
        edges = [len(raw) * part // 8 for part in range(9)]
        sums = [f"{zlib.crc32(raw[first:last]):08x}" for first, last in zip(edges, edges[1:], strict=False)]
        same = sum(ours == theirs for ours, theirs in zip(sums, published.eighths.split(), strict=True))
        if same >= 4:
            raise DamagedDataError(
                f"{path}: damaged: {same} of 8 parts are those of the published file, the others differ; fetch it again"
            )
    return False


def _split(arrays: dict[str, np.ndarray], paths: dict[str, Path], prefix: str) -> Split:
    """Checked images [n, h, w, c] and labels of one half."""
    images, labels = arrays[f"{prefix}-images-idx3"], arrays[f"{prefix}-labels-idx1"]
    image_path, label_path = paths[f"{prefix}-images-idx3"], paths[f"{prefix}-labels-idx1"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DamagedDataError(f"{image_path}: holds {images.dtype} {images.shape}, expected uint8 [n, height, width]")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DamagedDataError(f"{label_path}: holds {labels.dtype} {labels.shape}, expected uint8 [n]")
    if len(images) != len(labels):
        raise DamagedDataError(f"{label_path}: {len(labels)} labels for the {len(images)} images of {image_path.name}")
    return Split(images if images.ndim == 4 else images[..., None], labels.astype(np.int32))
