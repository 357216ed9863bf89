"""Spoken digits: 3,000 recordings of ten digits by six speakers, as log-mel images of 32 frames x 32 bands.

Free Spoken Digit Dataset, Jackson and others, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
A recording is named digit_speaker_take: takes 0 to 4 test, the others train. Speakers are the owners of a split of
clients. The images are those of `log_mel`: one second, shorter recordings between zeros, of longer ones the middle.
"""

import hashlib
import io
import os
import re
import tarfile
import wave
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import download, locate, log_mel, packed_jpeg
from .dataset import DamagedDataError, Dataset, Split, make

NAME = "spoken digits (FSDD)"
LICENCE = "CC BY-SA 4.0 (Free Spoken Digit Dataset, Z. Jackson and others)"
PUBLISHED = (
    "733b22e59d72516945e2c20809febf1eee66c0a0eeec5affe35d496d45bc2918"  # SHA-256 of names and samples, see `digest`
)
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
FOLDERS = ("fsdd", "free-spoken-digit-dataset")
PACKED = "fsdd.npz"
RECORDING = re.compile(r"(\d)_([A-Za-z0-9]+)_(\d+)\.wav")
TEST_TAKES = 5
LARGEST_RECORDING = 1 << 20  # bytes, a minute
LARGEST_ARCHIVE = 200_000_000  # bytes, unpacked


class Recordings(NamedTuple):
    """Clips int16 [samples] at 8 kHz, each with digit, speaker and take; in the order of takes, speakers, digits."""

    clips: list[np.ndarray]
    digits: list[int]
    speakers: list[str]
    takes: list[int]


def load(**places: Any) -> Dataset:
    """The digits as a Dataset with owners, the speakers; `places` as in `common.datasets.load`.

    A folder of .wav files (`recordings` of the repository), or `fsdd.npz`, which has all of them end to end.

    Raises:
      DamagedDataError: a recording is not 16-bit mono at 8 kHz; there is none to train on, or none to test.
      DatasetNotFoundError: it is nowhere; the message says what to do.
    """
    path = _path(places)
    return _assemble(read(path), path)


def load_test_recordings(**places: Any) -> Recordings:
    """The recordings of the test images of `load`, in their order; arguments and errors as there."""
    items = zip(*read(_path(places)), strict=True)
    return _ordered((clip, digit, speaker, take) for clip, digit, speaker, take in items if take < TEST_TAKES)


def _path(places: Mapping[str, Any]) -> Path:
    """The file or folder of the recordings, fetched where there is none."""
    missing = f"{PACKED}, or a folder recordings with files such as 7_jackson_0.wav"
    return download.find_or_fetch(NAME, RESOURCE, _find, missing, **places)


def read(path: Path) -> Recordings:
    """Returns the recordings of a folder of .wav files, of an archive of one (.tar.gz), or of `fsdd.npz`."""
    if path.is_dir():
        return _ordered(_from_folder(path))
    return _ordered(_from_packed(path) if path.name == PACKED else _from_archive(path))


def digest(recordings: Recordings) -> str:
    """Hex SHA-256 of names and samples, whatever file they came in."""
    whole = hashlib.sha256()
    for clip, digit, speaker, take in zip(*recordings, strict=True):
        whole.update(f"{digit}_{speaker}_{take} {len(clip)}\n".encode())
        whole.update(clip.astype("<i2").tobytes())
    return whole.hexdigest()


def _check(path: Path) -> None:
    """Raises DamagedDataError unless an archive has the published recordings."""
    if (own := digest(read(path))) != PUBLISHED:
        raise DamagedDataError(f"{path}: wrong checksum: recordings have SHA-256 {own}, published is {PUBLISHED}")


RESOURCE = download.Resource(
    "fsdd",
    f"free-spoken-digit-dataset-{COMMIT[:7]}.tar.gz",
    _check,
    max_bytes=60_000_000,
    addresses=(f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.tar.gz",),
)


def _find(root: Path | None) -> Path | None:
    """The packed file, or the folder of recordings, in the folders of a root."""
    folders = [root / name for name in FOLDERS] if root is not None else []
    if packed := locate.first_file(folders, [PACKED]):
        return packed
    for folder in (place for top in folders for place in (top / "recordings", top) if place.is_dir()):
        if any(RECORDING.fullmatch(name) for name in os.listdir(folder)):
            return folder
    return None


def _assemble(recordings: Recordings, path: Path) -> Dataset:
    is_test = np.array(recordings.takes) < TEST_TAKES
    if is_test.all() or not is_test.any():
        raise DamagedDataError(
            f"{path}: {is_test.sum()} of {len(is_test)} recordings are takes 0 to {TEST_TAKES - 1}, which test: "
            "expected some of them, and later takes to train on"
        )
    images, labels = log_mel.images(recordings.clips), np.array(recordings.digits, np.int32)
    names, owners = np.unique(recordings.speakers, return_inverse=True)
    notice = "" if digest(recordings) == PUBLISHED else "recordings differ from the published ones: used as they are"
    return make(
        NAME,
        Split(images[~is_test], labels[~is_test]),
        Split(images[is_test], labels[is_test]),
        classes=tuple("0123456789"),
        licence=LICENCE,
        source=f"recordings in {path}",
        details=f"log-mel, {len(names)} speakers; {notice or 'recordings are the published ones'}",
        notice=notice,
        owners=tuple(names.tolist()),
        train_owners=owners[~is_test].astype(np.int32),
        test_owners=owners[is_test].astype(np.int32),
    )


def _ordered(items: Iterable[tuple[np.ndarray, int, str, int]]) -> Recordings:
    """Recordings by take, then speaker, then digit: any prefix is nearly balanced."""
    ordered = sorted(items, key=lambda item: (item[3], item[2], item[1]))
    return Recordings(
        [item[0] for item in ordered],
        [item[1] for item in ordered],
        [item[2] for item in ordered],
        [item[3] for item in ordered],
    )


def _from_folder(folder: Path) -> Iterator[tuple[np.ndarray, int, str, int]]:
    for path in folder.iterdir():
        if name := RECORDING.fullmatch(path.name):
            if (size := path.stat().st_size) > LARGEST_RECORDING:
                raise DamagedDataError(f"{path}: {size:,} bytes, expected at most {LARGEST_RECORDING:,}")
            yield samples(path.read_bytes(), str(path)), int(name[1]), name[2], int(name[3])


def _from_archive(path: Path) -> Iterator[tuple[np.ndarray, int, str, int]]:
    total = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                total += member.size
                if total > LARGEST_ARCHIVE or member.size > LARGEST_ARCHIVE:
                    raise DamagedDataError(f"{path}: unpacks to more than {LARGEST_ARCHIVE:,} bytes")
                folder, _, file_name = member.name.rpartition("/")
                name = RECORDING.fullmatch(file_name)
                if name is None or not member.isfile() or not folder.endswith("recordings"):
                    continue
                if member.size > LARGEST_RECORDING:
                    raise DamagedDataError(f"{path}: {member.name} has {member.size:,} bytes")
                data = archive.extractfile(member)
                assert data is not None  # a file has content
                yield samples(data.read(), f"{path}: {member.name}"), int(name[1]), name[2], int(name[3])
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DamagedDataError(f"{path}: damaged or not a .tar.gz file ({error}); fetch it again") from error


def _from_packed(path: Path) -> Iterator[tuple[np.ndarray, int, str, int]]:
    arrays = packed_jpeg.read_npz(path, ["samples", "length", "digit", "speaker", "take", "speaker_names"])
    count, speakers = len(arrays["length"]), arrays["speaker_names"].tolist()
    offsets = np.concatenate([[0], np.cumsum(arrays["length"], dtype=np.int64)])
    if arrays["samples"].dtype != np.int16 or offsets[-1] != arrays["samples"].size:
        raise DamagedDataError(
            f"{path}: {arrays['samples'].size} samples of {arrays['samples'].dtype}; lengths add up to {offsets[-1]}, "
            "expected as many, of int16"
        )
    for name, end in (("digit", 10), ("speaker", len(speakers)), ("take", None)):
        values = arrays[name]
        if len(values) != count or (count and (values.min() < 0 or (end is not None and values.max() >= end))):
            raise DamagedDataError(
                f"{path}: {name} has {len(values)} values for {count} recordings, or some out of range"
            )
    for index in range(count):
        clip = arrays["samples"][offsets[index] : offsets[index + 1]]
        yield clip, int(arrays["digit"][index]), speakers[arrays["speaker"][index]], int(arrays["take"][index])


def samples(data: bytes, place: str) -> np.ndarray:
    """Returns int16 [samples] of the bytes of a .wav file; `place` names it in errors.

    Raises:
      DamagedDataError: it is not whole, or not 16-bit mono at 8 kHz.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            count = file.getnframes()
            frames = file.readframes(count) if form == (1, 16, log_mel.RATE) else b""
    except (wave.Error, EOFError) as error:
        raise DamagedDataError(f"{place}: not a whole .wav file ({error})") from error
    if form != (1, 16, log_mel.RATE):
        raise DamagedDataError(
            f"{place}: {form[0]} channels of {form[1]} bits at {form[2]} Hz, expected 1 of 16 at {log_mel.RATE}"
        )
    if not count or len(frames) != 2 * count:
        raise DamagedDataError(f"{place}: {len(frames)} bytes of samples, its header says {count} samples of 2")
    return np.frombuffer(frames, "<i2").astype(np.int16)
