"""One process at a time: a lock file beside the file that several processes want to make.

The empty lock file stays; removing it would let two processes lock two files of the same name.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: there unique temporary names and the rename alone keep files whole
    fcntl = None


class LockError(OSError):
    """The lock cannot be made (a folder that cannot be written to) or another process keeps it."""


@contextlib.contextmanager
def exclusive(target: Path, timeout: float) -> Iterator[None]:
    """Holds `<target>.lock` and clears away what killed processes left of `<target>.*.part`.

    Args:
      target: the file to be made; its folder is created.
      timeout: seconds to wait for another process.

    Raises:
      LockError: the folder cannot be written to, or the lock stayed taken.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target.with_name(target.name + ".lock"), "w")
    except OSError as error:
        raise LockError(f"cannot write into the cache ({error}); set HAVEL_CACHE to a folder of yours") from error
    with file:
        if _acquire(file, timeout):
            for leftover in target.parent.glob(f"{target.name}.*.part"):
                leftover.unlink(missing_ok=True)
        yield


def _acquire(file, timeout: float) -> bool:
    """Locks `file`; False where the system or its file system cannot lock, so that others may be at work too."""
    end = time.monotonic() + timeout
    while fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                message = f"another process has held {file.name} for {timeout:.0f} s; end it or try again later"
                raise LockError(message) from None
            time.sleep(0.1)
        except OSError:  # some network file systems
            return False
    return False
