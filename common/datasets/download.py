"""Fetch one published file into the cache: whole, checked and under its name, or not at all.

The body streams into a temporary file beside the target, its content is checked, and only then is it renamed. A lock
beside the target lets several processes ask at once: one fetches, the others wait and find it.
`$HAVEL_MIRROR` (or `mirror=`) replaces the official addresses by `<mirror>/<folder>/<file>`.
"""

import contextlib
import dataclasses
import errno
import http.client
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import locking
from . import locate
from .dataset import DamagedDataError

Progress = Callable[[str, int, int | None], None]
CONNECTION_ERRORS = (OSError, http.client.HTTPException)  # URLError, timeouts and resets are OSErrors
LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class DownloadError(OSError):
    """No address gave the file; the message lists what each one said."""


class _Retriable(Exception):
    """This address may give the file when asked again."""


@dataclasses.dataclass(frozen=True)
class Resource:
    """A published file.

    Attributes:
      folder: the data set's folder in `$DATA_DIR`, in the cache and on a mirror.
      filename: its name there.
      check: called with the path of a fetched copy; raises DamagedDataError when the content is not the published one.
      max_bytes: more than this is refused while it arrives.
      addresses: official full addresses, tried in order; empty when there is none.
    """

    folder: str
    filename: str
    check: Callable[[Path], None]
    max_bytes: int
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Policy:
    """How patient a download is: seconds, and rounds over the addresses.

    An address that cannot be reached at all is not asked again, so without a network a download ends after one
    `timeout` an address at most.
    """

    timeout: float = 15.0
    rounds: int = 3
    backoff: float = 1.0
    deadline: float = 3600.0
    lock_timeout: float = 3600.0


def addresses(resource: Resource, mirror: str | None = None) -> tuple[str, ...]:
    """The addresses of `resource`: official, or under `mirror` (default `$HAVEL_MIRROR`; several separated by commas).

    Raises:
      ValueError: a mirror that is neither http(s) nor file.
    """
    mirror = os.environ.get("HAVEL_MIRROR", "") if mirror is None else mirror
    bases = [base.strip().rstrip("/") for base in mirror.split(",") if base.strip()]
    for base in bases:
        if urllib.parse.urlsplit(base).scheme not in ("http", "https", "file"):
            raise ValueError(f"mirror {base!r}: expected an address that begins with http://, https:// or file://")
    return tuple(f"{base}/{resource.folder}/{resource.filename}" for base in bases) or resource.addresses


def fetch(
    resource: Resource,
    cache: Path,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
    policy: Policy = Policy(),
) -> Path:
    """Path of a checked copy of `resource` in `cache`, fetched when it is not there yet or no longer whole.

    Args:
      resource: the file.
      cache: root of the cache; the copy lies in its folder `resource.folder`.
      mirror: see `addresses`.
      progress: called as progress(filename, bytes so far, bytes in all or None); default: lines on stderr.
      policy: patience.

    Raises:
      DownloadError: no address gave it, in bounded time; nothing is left under the final name.
    """
    target = cache / resource.folder / resource.filename
    sources = addresses(resource, mirror)
    if _is_whole(target, resource):
        return target
    if not sources:
        raise DownloadError(f"{resource.filename} has no public address")
    try:
        with alone(target, policy.lock_timeout):
            if not _is_whole(target, resource):  # another process may have fetched it while this one waited
                _fetch_from_any(resource, sources, target, progress or _print_progress(), policy)
    except locking.LockError as error:
        raise DownloadError(str(error)) from error
    return target


def find_or_fetch(
    name: str,
    resource: Resource,
    find: Callable[[Path | None], Path | None],
    missing: str,
    source: str = "",
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    mirror: str | None = None,
    allow_download: bool = True,
    progress: Progress | None = None,
    policy: Policy | None = None,
) -> Path:
    """Path of a set that is one file or folder: in the data folder, else in the cache, else fetched.

    Args:
      name: of the set, for messages.
      resource: what is fetched; a copy in the cache is checked, unless downloading is not allowed.
      find: the set in any of its other forms below a root, or None; the root may be None, too.
      missing, source: what to provide, in words, and where it can be had if the resource has no address.
      data_dir, cache_dir, mirror, allow_download, progress, policy: as in `common.datasets.load`.

    Raises:
      DatasetNotFoundError: it is nowhere.
    """
    root, cache = locate.data_dir(data_dir), locate.cache_dir(cache_dir)
    cached = cache / resource.folder / resource.filename
    if path := find(root) or (None if cached.is_file() else find(cache)):
        return path
    try:
        if allow_download:
            return fetch(resource, cache, mirror=mirror, progress=progress, policy=policy or Policy())
        if cached.is_file():
            return cached
        raise DownloadError("downloading was not allowed")
    except DownloadError as error:
        address = next(iter(addresses(resource, mirror)), source)
        raise locate.not_found(name, root, cached.parent, missing, address, error) from error


@contextlib.contextmanager
def alone(target: Path, timeout: float) -> Iterator[None]:
    """Holds `<target>.lock` and clears away what killed processes left of `<target>.*.part`.

    Args:
      target: the file to be made; its folder is created.
      timeout: seconds to wait for another process.

    Raises:
      LockError: the folder cannot be written to, or the lock stayed taken.
    """
    path = target.with_name(target.name + ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = locking.acquire(path, timeout)
    except locking.TakenError as error:
        raise locking.LockError(
            f"{error.holder or 'another process'} has held {path} for {timeout:.0f} s; end it or try again later"
            f"{error.remedy}"
        ) from error
    except OSError as error:
        advice = "set HAVEL_CACHE to a folder of yours"
        raise locking.LockError(f"cannot write into the cache ({error}); {advice}") from error
    try:
        for leftover in target.parent.glob(f"{target.name}.*.part"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _is_whole(target: Path, resource: Resource) -> bool:
    """Whether the cache holds a checked copy; a copy that is no longer whole is reported and counts as missing."""
    if not target.is_file():
        return False
    try:
        resource.check(target)
    except DamagedDataError as error:
        print(f"{error}; fetching it again", file=sys.stderr)
        return False
    return True


def _fetch_from_any(resource, sources, target, progress, policy) -> None:
    """Tries every source in rounds until `target` exists; raises DownloadError with each one's last answer."""
    answers: dict[str, str] = {}
    remaining = list(sources)
    end = time.monotonic() + policy.deadline
    for attempt in range(policy.rounds):
        if attempt and remaining:
            time.sleep(policy.backoff * 2 ** (attempt - 1))
        for address in tuple(remaining):
            part = target.with_name(f"{target.name}.{os.getpid()}.{time.monotonic_ns()}.part")
            try:
                _receive(address, part, resource, progress, policy.timeout, end)
                resource.check(part)
                os.replace(part, target)
                return
            except _Retriable as error:
                answers[address] = str(error)
            except DamagedDataError as error:
                answers[address] = str(error).replace(str(part), "what it sent")
                remaining.remove(address)
            except CONNECTION_ERRORS as error:
                if getattr(error, "errno", None) in LOCAL_ERRORS:
                    raise DownloadError(f"cannot write {target} ({error}); free space or set $HAVEL_CACHE") from error
                answers[address] = _words(error)
                remaining.remove(address)
            finally:
                part.unlink(missing_ok=True)
    raise DownloadError("; ".join(f"{address}: {answer}" for address, answer in answers.items()))


def _receive(address: str, part: Path, resource: Resource, progress: Progress, timeout: float, end: float) -> None:
    """Streams `address` into `part`, to the disk; raises _Retriable when the same address may do better later."""
    request = urllib.request.Request(address, headers={"User-Agent": "havel-datasets", "Accept-Encoding": "identity"})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Retriable(f"HTTP {error.code} {error.reason}") from error
            raise
    except urllib.error.URLError:  # no connection
        raise
    except CONNECTION_ERRORS as error:  # a connection, but no answer
        raise _Retriable(_words(error)) from error
    with response, open(part, "wb") as file:
        declared = response.headers.get("Content-Length")
        total = int(declared) if declared and declared.isdigit() else None
        if total is not None and total > resource.max_bytes:
            raise DamagedDataError(f"it offers {total:,} bytes, expected at most {resource.max_bytes:,}")
        received = 0
        while True:
            try:
                piece = response.read(1 << 18)
            except CONNECTION_ERRORS as error:
                raise _Retriable(f"broke off after {received:,} bytes ({_words(error)})") from error
            if not piece:
                break
            file.write(piece)
            received += len(piece)
            if received > resource.max_bytes:
                raise DamagedDataError(f"it sent more than the {resource.max_bytes:,} bytes expected")
            if time.monotonic() > end:
                raise DamagedDataError(f"too slow: {received:,} bytes when the time was up")
            progress(resource.filename, received, total)
        if total is not None and received != total:
            raise _Retriable(f"cut short: {received:,} of {total:,} bytes")
        file.flush()
        os.fsync(file.fileno())


def _words(error: BaseException) -> str:
    """What went wrong, without the layers of wrapping that urllib adds."""
    reason = getattr(error, "reason", None)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(reason or error) or type(error).__name__


def _print_progress() -> Progress:
    """A progress callback: a line on stderr when a file begins, every 10 MB, and at its end."""
    percent_of: dict[str, int] = {}

    def show(filename: str, received: int, total: int | None) -> None:
        step = received // 10_000_000
        if percent_of.get(filename) != step or received == total:
            percent_of[filename] = step
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"downloading {filename}: {received / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

    return show
