"""Bytes of a file whatever its wrapping: plain or gzip, told apart by the first two bytes and not by the name.

Checksums are of the decompressed content, because the same data travels under different gzip headers.
Every reader here is bounded, so a small file that unpacks into a huge one is refused and not obeyed.
"""

import contextlib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from .dataset import DamagedDataError

CHUNK = 1 << 20
UNPACKING_ERRORS = (EOFError, OSError, zlib.error)


@contextlib.contextmanager
def open_content(path: Path) -> Iterator[io.BufferedIOBase]:
    """A binary stream of the decompressed content; damage to the gzip wrapping becomes DamagedDataError."""
    with open(path, "rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not gzipped:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
        except UNPACKING_ERRORS as error:
            raise DamagedDataError(
                f"{path}: the gzip data is damaged or cut short ({error}); fetch the file again"
            ) from error


def chunks(path: Path, limit: int) -> Iterator[bytes]:
    """The decompressed content in pieces of 1 MiB; more than `limit` bytes in all is an error."""
    total = 0
    with open_content(path) as stream:
        while piece := stream.read(CHUNK):
            total += len(piece)
            if total > limit:
                raise DamagedDataError(
                    f"{path}: holds more than the {limit:,} bytes expected of it; is it the right file?"
                )
            yield piece


def read(path: Path, limit: int) -> bytes:
    """The whole decompressed content, at most `limit` bytes."""
    return b"".join(chunks(path, limit))


def sha256(path: Path, limit: int) -> str:
    """Hex SHA-256 of the decompressed content, at most `limit` bytes of it."""
    digest = hashlib.sha256()
    for piece in chunks(path, limit):
        digest.update(piece)
    return digest.hexdigest()


def unpacked(data: bytes, limit: int, name: str) -> bytes:
    """`data` itself, or what it unpacks to when it is gzipped, at most `limit` bytes; `name` is used in errors."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            result = stream.read(limit + 1)
    except UNPACKING_ERRORS as error:
        raise DamagedDataError(f"{name}: the gzip data is damaged or cut short ({error})") from error
    if len(result) > limit:
        raise DamagedDataError(f"{name}: unpacks to more than the {limit:,} bytes expected of it")
    return result
