"""CIFAR-10 in the official binary form: records of one label byte and 3,072 bytes (red, green, blue planes of 32x32).

Reads the six files of the archive, some of them, or shortened ones; plain or gzipped; in a folder or in the tar file.
Source: https://www.cs.toronto.edu/~kriz/cifar.html, "binary version".
"""

import hashlib
import re
import tarfile
from pathlib import Path

import numpy as np

from . import content, download
from .dataset import DamagedDataError, Split

RECORD = 1 + 3 * 32 * 32
LIMIT = 100_000 * RECORD  # bytes in all; the published files hold 60,000 records
PUBLISHED = {  # SHA-256 of the unpacked files
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
# Parts of the set go by names such as data_batch_1_first4000.bin.gz, train.bin, cifar10_test.bin.
FILE_NAME = re.compile(r"(data_?batch|test|train|cifar.?10).*\.bin(\.gz)?", re.IGNORECASE)
ARCHIVE_NAME = re.compile(r".*cifar.?10.*bin.*\.(tar|tar\.gz|tgz)", re.IGNORECASE)


def files_in(folder: Path, *, official_names: bool = False) -> list[Path]:
    """The batch files of a folder in their order, or only those of official names; of two copies, the plain one."""
    if not folder.is_dir():
        return []
    by_stem: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_member = _stem(path.name) in PUBLISHED if official_names else FILE_NAME.fullmatch(path.name)
        if is_member and path.is_file():
            by_stem.setdefault(_stem(path.name), path)
    return [by_stem[stem] for stem in sorted(by_stem, key=_order)]


def archives_in(folder: Path) -> list[Path]:
    """The tar files of a folder that are named like the official one."""
    return (
        [path for path in sorted(folder.glob("*.t*")) if ARCHIVE_NAME.fullmatch(path.name)] if folder.is_dir() else []
    )


def read_files(paths: list[Path]) -> dict[str, bytes]:
    """Content by unpacked file name."""
    return {_stem(path.name): content.read(path, LIMIT) for path in paths}


def read_archive(path: Path) -> dict[str, bytes]:
    """Content of the batch files in a tar file, by name, read in one pass; nothing is written to disk.

    Raises:
      DamagedDataError: not a whole tar file, or no batch files in it.
    """
    members: dict[str, bytes] = {}
    try:
        with content.open_content(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                if not (member.isfile() and FILE_NAME.fullmatch(name)):
                    continue
                if member.size + sum(map(len, members.values())) > LIMIT:
                    raise DamagedDataError(f"{path}: holds more than {LIMIT:,} bytes up to {name}: not CIFAR-10")
                file = archive.extractfile(member)
                assert file is not None, "a plain file without content"
                data = file.read()
                if len(data) != member.size:
                    raise DamagedDataError(f"{path}: cut short within {name}")
                members[_stem(name)] = content.unpacked(data, LIMIT, f"{path}: {name}")
    except tarfile.TarError as error:
        raise DamagedDataError(f"{path}: damaged or cut short ({error}); fetch it again") from error
    if not members:
        raise DamagedDataError(f"{path}: holds no data_batch_*.bin or test_batch.bin; is it the binary version?")
    return {name: members[name] for name in sorted(members, key=_order)}


def splits(files: dict[str, bytes], where: Path) -> tuple[Split, Split]:
    """Training and test images uint8 [n, 32, 32, 3] with labels; a half of which there is no file is empty."""
    halves = []
    for wanted in (False, True):
        parts = [parse(data, f"{where}: {name}") for name, data in files.items() if is_test(name) == wanted]
        empty = Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int32))
        halves.append(Split(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True))))
    return halves[0], halves[1]


def parse(data: bytes, name: str) -> Split:
    """The records of one file.

    Raises:
      DamagedDataError: a length that is no multiple of 3,073, or a label above 9.
    """
    if not data or len(data) % RECORD:
        raise DamagedDataError(
            f"{name}: {len(data):,} bytes are {len(data) / RECORD:.2f} records of {RECORD} bytes: "
            "cut short, or not the binary form of CIFAR-10"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int32)
    if labels.max() > 9:
        record = int(np.argmax(labels > 9))
        raise DamagedDataError(f"{name}: record {record} has label {labels[record]}, above 9: damaged, or not CIFAR-10")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), labels)


def differing(files: dict[str, bytes]) -> list[str]:
    """Names of the files whose content is not the published one."""
    return [name for name, data in files.items() if hashlib.sha256(data).hexdigest() != PUBLISHED.get(name)]


def check_archive(path: Path) -> None:
    """Raises DamagedDataError unless the tar file holds the six published files."""
    files = read_archive(path)
    wrong = differing(files) + [f"{name} (missing)" for name in PUBLISHED if name not in files]
    if wrong:
        raise DamagedDataError(
            f"{path}: wrong checksum: its content differs from the published set in {', '.join(wrong)}"
        )


def is_test(name: str) -> bool:
    """Whether a batch file holds test images."""
    return "test" in name.lower()


RESOURCE = download.Resource(
    folder="cifar10",
    filename="cifar-10-binary.tar.gz",
    check=check_archive,
    max_bytes=200_000_000,
    addresses=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
    ),
)


def _stem(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name


def _order(name: str) -> list[int | str]:
    """Sorts data_batch_2 before data_batch_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
