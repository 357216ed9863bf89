"""Freed memory stays with the process, so that large arrays do not cost their page faults again at every step.

glibc gives allocations of more than 32 MB back to the system when they are freed, and XLA on CPU allocates the
temporaries of a program at every call. On virtual machines, where a page fault takes microseconds, that can be half of
a training step.
"""

import ctypes
import sys

# malloc.h: the parameter numbers of mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells the allocator to keep what is freed; call it once, before JAX starts its threads.

    Returns:
      Whether the allocator took it: True with glibc, False elsewhere, where nothing changes. The process then holds
      the most that it ever needed, up to 2 GB beyond what is in use.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    # No separate mappings, no trimming, and one arena: the others cannot grow beyond 64 MB.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])


def peak_mebibytes() -> float:
    """Returns the most memory that the process has had at a time.

    Linux tells it of the program alone; its `getrusage` starts a program with the peak of the one that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    except (OSError, StopIteration):
        import resource  # which only POSIX has

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
