"""CIFAR-10: 50,000 training and 10,000 test colour images 32x32 of ten classes, in whichever form is at hand.

The official binary form is preferred when whole, then the JPEG form, then a part of the binary form; the name and the
description say which. The pickled Python form is never read. Krizhevsky, "Learning multiple layers of features from
tiny images", 2009.
"""

import dataclasses
import os
import re
import sys
from pathlib import Path

from . import cifar10_binary, cifar10_jpeg, download, locate
from .dataset import DamagedDataError, Dataset, DatasetNotFoundError, Split, make

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LICENCE = "no formal licence; cite Krizhevsky 2009"
FORMS = ("auto", "jpeg", "binary")
FOLDER_NAME = re.compile(r"cifar[-_ ]?10(?!0)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Places:
    """Where to look and how to fetch; see `common.datasets.load`."""

    root: Path | None
    cache: Path
    mirror: str | None
    progress: download.Progress | None
    policy: download.Policy
    train_count: int | None
    test_count: int | None


def load(
    *,
    form: str = "auto",
    train_count: int | None = None,
    test_count: int | None = None,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    mirror: str | None = None,
    allow_download: bool = True,
    progress: download.Progress | None = None,
    policy: download.Policy | None = None,
) -> Dataset:
    """CIFAR-10 as a Dataset.

    Args:
      form: "binary" (official, lossless), "jpeg", or "auto" for the best that is there.
      train_count, test_count: only so many of the first images, None for all; saves decoding of the JPEG form.
      data_dir, cache_dir, mirror, allow_download, progress, policy: as in `common.datasets.load`.

    Raises:
      ValueError: unknown form, or damaged files.
      DatasetNotFoundError: not in the wanted form anywhere.
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r}: choose one of {', '.join(FORMS)}")
    for name, count in (("train_count", train_count), ("test_count", test_count)):
        if count is not None and count < 0:
            raise ValueError(f"{name}={count}: must be 0 or more")
    root, cache = locate.data_dir(data_dir), locate.cache_dir(cache_dir)
    places = Places(root, cache, mirror, progress, policy or download.Policy(), train_count, test_count)
    if (dataset := _in_folder(root, places, form)) is not None:
        return dataset
    try:
        if (dataset := _in_folder(cache, places, form)) is not None:
            return dataset
    except DamagedDataError as error:  # the cache is ours to mend
        print(f"{error}; fetching it again", file=sys.stderr)
    resource = cifar10_jpeg.RESOURCE if form == "jpeg" else cifar10_binary.RESOURCE
    try:
        if not allow_download:
            raise download.DownloadError("downloading was not allowed")
        path = download.fetch(resource, cache, mirror=mirror, progress=progress, policy=places.policy)
    except download.DownloadError as error:
        raise _not_found(places, form, resource, error) from error
    return _from_jpeg(path, places) if form == "jpeg" else _from_archive(path, places)


def folders(root: Path | None) -> list[Path]:
    """Folders in which a form may lie: those named like cifar10, what the archive unpacks to in them, the root."""
    if root is None or not root.is_dir():
        return []
    tops = [path for path in sorted(root.iterdir()) if FOLDER_NAME.match(path.name) and path.is_dir()]
    tops.sort(key=lambda path: path.name != "cifar10")  # the usual name before others
    return [folder for top in tops for folder in (top, top / "cifar-10-batches-bin")] + [root]


def _in_folder(root: Path | None, places: Places, form: str) -> Dataset | None:
    """The best form in the folders of `root`; None when there is nothing in the wanted form."""
    binary = _binary_in(root, places) if form in ("auto", "binary") else None
    if form == "binary" or (binary is not None and binary.name == "CIFAR-10"):
        return binary
    path = locate.first_file(folders(root), [cifar10_jpeg.FILE_NAME])
    if path is None:
        return binary
    dataset = _from_jpeg(path, places)
    if binary is not None:
        note = f"{binary.source} holds only a part of the official form, which form='binary' picks"
        dataset = dataclasses.replace(dataset, description=f"{dataset.description}; {note}")
    return dataset


def _binary_in(root: Path | None, places: Places) -> Dataset | None:
    for folder in folders(root):
        if paths := cifar10_binary.files_in(folder, official_names=folder == root):
            return _from_binary(cifar10_binary.read_files(paths), folder, "binary files", places)
        for path in cifar10_binary.archives_in(folder):
            return _from_archive(path, places)
    return None


def _from_archive(path: Path, places: Places) -> Dataset:
    return _from_binary(cifar10_binary.read_archive(path), path, "binary archive", places)


def _from_binary(files: dict[str, bytes], where: Path, kind: str, places: Places) -> Dataset:
    train, test = cifar10_binary.splits(files, where)
    whole = len(train.labels) == 50_000 and len(test.labels) == 10_000
    names = f"{len(files)} of 6 files: {', '.join(files)}"
    differing = cifar10_binary.differing(files)
    notice = ""
    if not whole:
        counts = f"{len(train.labels)} of 50000 training and {len(test.labels)} of 10000 test images"
        notice = f"a part of CIFAR-10: {counts} ({names})"
    elif differing:
        notice = f"checksum differs from the published set in {', '.join(differing)}: used as it is"
    published = whole and not differing
    return make(
        "CIFAR-10" if whole else "CIFAR-10 (part)",
        Split(*(array[: places.train_count] for array in train)),
        Split(*(array[: places.test_count] for array in test)),
        classes=CLASSES,
        mean=(0.4914, 0.4822, 0.4465) if published else None,
        std=(0.2470, 0.2435, 0.2616) if published else None,
        licence=LICENCE,
        source=f"{kind} in {where}",
        details=f"official binary form, {notice or 'checksums are those of the published set'}",
        notice=notice,
    )


def _from_jpeg(path: Path, places: Places) -> Dataset:
    digest = cifar10_jpeg.checksum(path)
    published = digest == cifar10_jpeg.PUBLISHED
    counts = {"train_count": places.train_count, "test_count": places.test_count}
    cache = places.cache / cifar10_jpeg.RESOURCE.folder
    train, test = cifar10_jpeg.splits(path, cache, digest, progress=places.progress, **counts)
    notice = "" if published else f"checksum of {path.name} differs from the published one: used as it is"
    return make(
        "CIFAR-10 (JPEG)",
        train,
        test,
        classes=CLASSES,
        mean=(0.4913, 0.4821, 0.4465) if published else None,
        std=(0.2452, 0.2428, 0.2606) if published else None,
        licence=LICENCE,
        source=f"JPEG form in {path}",
        details=f"lossy JPEG form, accuracies lie below published ones{'; ' + notice if notice else ''}",
        notice=notice,
    )


def _not_found(places: Places, form: str, resource: download.Resource, reason) -> DatasetNotFoundError:
    missing = "data_batch_1.bin to data_batch_5.bin and test_batch.bin, or cifar-10-binary.tar.gz"
    if form == "jpeg":
        missing = cifar10_jpeg.FILE_NAME
    elif form == "auto":
        missing += f", or {cifar10_jpeg.FILE_NAME}"
    for folder in folders(places.root):
        for name in ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"):
            if (folder / name).exists():
                missing += (
                    f" ({folder / name} is the pickled Python version, which is not read, because unpickling can run "
                    "any code: take the binary version of the same page)"
                )
                break
    address = next(iter(download.addresses(resource, places.mirror)), "")
    return locate.not_found(f"CIFAR-10 (form={form})", places.root, places.cache / "cifar10", missing, address, reason)
