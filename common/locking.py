"""One process at a time: the one lock of the house, for run directories, launchers, runners and downloads.

It is the library filelock's: flock on `PATH`, which the kernel lets go of when its process ends, however it ends. On a
file system without flock it is filelock's soft lock: the file `PATH.soft` is there while somebody holds the lock and
says who. What a dead process of this machine left of one is taken over; of another machine nobody here can tell, so the
error says which file to remove. Processes that share a lock must see its file system alike. The empty `PATH` stays:
removing it would let two processes lock two files of the same name.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

SOFT = ".soft"
ENOTSUPP = 524  # the kernel's own, which some file systems let out
WITHOUT_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, ENOTSUPP)
GLANCE_SECONDS = 0.25  # somebody who only looks holds a lock for a moment
HALF_WRITTEN_SECONDS = 3.0  # filelock takes over a soft lock without an owner's name after two
POLL_SECONDS = 0.02
LOOKS = 25


class LockError(OSError):
    """The lock cannot be made: a folder that cannot be written to, a full disk. The text names the path and why."""


class TakenError(LockError):
    """Another process has the lock: later may be better.

    Attributes:
      holder: which, None where it left no name.
      remedy: "", or of a soft lock what to do when that process is gone.
    """

    def __init__(self, path: pathlib.Path, holder: "Holder | None", remedy: str = ""):
        super().__init__(f"{path} is held by {holder or 'a process without a name'}{remedy}")
        self.holder, self.remedy = holder, remedy


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process and its machine."""

    process: int
    host: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()


class Lock:
    """A lock that this process holds until `release`; a forked child holds nothing."""

    def __init__(self, path: pathlib.Path, inner: Any):
        """Args: path: of the lock. inner: filelock's lock, held."""
        self.path, self._inner = path, inner
        _HELD.add(self)  # filelock lets go of what nobody refers to any more

    @property
    def is_soft(self) -> bool:
        """Whether it is the soft lock: the file system has no flock."""
        return self._inner.lock_file.endswith(SOFT)

    def release(self) -> None:
        """Lets others have it; does nothing the second time."""
        _HELD.discard(self)
        if self._inner.is_locked:
            if not self.is_soft:
                with contextlib.suppress(OSError):  # so that nobody reads an old name
                    os.truncate(self.path, 0)
            self._inner.release()


_HELD: set[Lock] = set()


def acquire(path: str | os.PathLike, timeout: float = 0.0) -> Lock:
    """Returns the lock `path`, held by this process until `Lock.release` or its end.

    The use of a soft lock is told in the log, once for each folder.

    Args:
      path: the lock file; its folder must exist.
      timeout: seconds to wait for another process.

    Raises:
      TakenError: another process still has it.
      LockError: it cannot be made.
    """
    return _acquire(pathlib.Path(path), max(timeout, GLANCE_SECONDS), _write_holder)


def _acquire(path: pathlib.Path, timeout: float, note) -> Lock:
    import filelock  # a tenth of a second, which only those pay who lock

    native = filelock.FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=note)
    try:
        native.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
    except filelock.Timeout:
        raise TakenError(path, _holder_in(path)) from None
    except OSError as error:
        if error.errno not in WITHOUT_FLOCK:
            raise LockError(f"{path} cannot be locked: {error.strerror or error}") from error
        if note is not None:
            _tell(path, error)
        return Lock(path, _acquire_soft(path, timeout))
    if os.path.lexists(f"{path}{SOFT}"):  # of a machine that sees this file system without flock
        try:
            _acquire_soft(path, timeout).release()
        except LockError:
            native.release()
            raise
    return Lock(path, native)


def _acquire_soft(path: pathlib.Path, timeout: float) -> Any:
    import filelock

    marker = pathlib.Path(f"{path}{SOFT}")
    soft = filelock.SoftFileLock(marker, thread_local=False)
    try:
        try:
            soft.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
        except filelock.Timeout:
            if _holder_in(marker) is not None:
                raise
            soft.acquire(timeout=HALF_WRITTEN_SECONDS, poll_interval=POLL_SECONDS)
    except filelock.Timeout:
        raise TakenError(path, _holder_in(marker), f" (if that process is gone, remove {marker})") from None
    except OSError as error:
        raise LockError(f"{marker} cannot be written: {error.strerror or error}") from error
    return soft


_TOLD: set[pathlib.Path] = set()


def _tell(path: pathlib.Path, error: OSError) -> None:
    if path.parent not in _TOLD:
        _TOLD.add(path.parent)
        reason = f"the file system of {path.parent} has no flock ({error.strerror})"
        print(f"{reason}: {path.name}{SOFT} is the lock", file=sys.stderr, flush=True)


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.pwrite(descriptor, f"{os.getpid()}\n{socket.gethostname()}\n".encode(), 0)


def _holder_in(path: pathlib.Path) -> Holder | None:
    """Returns the name in a lock file: process, machine and, in a soft lock, when the process began, a line each."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    if len(lines) < 2 or not lines[0].isdigit():
        return None
    return Holder(int(lines[0]), lines[1].partition("?")[0])  # filelock adds "?" and the container's number


@contextlib.contextmanager
def held(path: str | os.PathLike, timeout: float = 0.0) -> Iterator[Lock]:
    """Holds the lock `path` for the length of a block; see `acquire`."""
    lock = acquire(path, timeout)
    try:
        yield lock
    finally:
        lock.release()


def look(path: str | os.PathLike) -> tuple[bool, Holder | None]:
    """Returns whether a process holds the lock `path` now, and which; waits for nobody and makes no file."""
    path = pathlib.Path(path)
    for _ in range(LOOKS):
        if not path.exists() and not os.path.lexists(f"{path}{SOFT}"):
            return False, None
        try:
            _acquire(path, 0.0, None).release()
            return False, None
        except TakenError as error:
            holder = error.holder
            if os.path.lexists(f"{path}{SOFT}"):
                return True, holder
            if holder and not (holder.is_here and not _is_alive(holder.process)):
                return True, holder
        except LockError:  # somebody else's folder: its lock can be read only
            holder = _holder_in(path)
            return holder is not None and (not holder.is_here or _is_alive(holder.process)), holder
        time.sleep(POLL_SECONDS)  # another who only looks; or a holder that has not written its name yet
    return True, holder


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_lock(name: str, lock: str) -> bool:
    """Returns whether a file of this name belongs to the lock of that name."""
    return name == lock or name.startswith(f"{lock}{SOFT}")
