"""How many threads the compiled cores use."""

import os

from .scalars import whole


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_jobs(jobs: int | None) -> int:
    """The number of threads: as given, or one a core; ValueError for what is no count."""
    return cores() if jobs is None else whole("jobs", jobs, 1, why=", or None for one a core")
