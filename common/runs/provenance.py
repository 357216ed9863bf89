"""Where a number comes from: commit, versions, device, time. Asks nothing of JAX that would start its backends."""

import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ":(exclude,glob)projects/*/results/**"  # what publishing writes, and no run reads
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "numba")


def now() -> str:
    """Returns the time as UTC in ISO 8601, with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def seconds_since(text: str) -> float:
    """Returns the seconds from a time that `now` gave until now."""
    return (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(text)).total_seconds()


def commit() -> tuple[str | None, bool | None]:
    """Returns the commit that this process computes with, and whether its files differ from that.

    The commit is that of the first call: a checkout that has moved since is no longer what runs, and counts as one whose
    files differ, as do files that differed at any call. Published results do not count. (None, None) outside a checkout.
    """
    first, now = _commit_at_first(), _commit_now()
    if None in first or None in now:
        return first
    return first[0], first[1] or now[1] or now[0] != first[0]


@functools.cache
def _commit_at_first() -> tuple[str | None, bool | None]:
    return _commit_now()


def _commit_now() -> tuple[str | None, bool | None]:
    head = _git("rev-parse", "--show-toplevel", "HEAD")
    lines = head.split("\n") if head else []
    if len(lines) < 2 or pathlib.Path(lines[0]).resolve() != ROOT:
        return None, None
    status = _git("status", "--porcelain", "--", ".", RESULTS)
    return lines[1], None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    try:
        process = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def versions() -> dict[str, str]:
    """Returns package -> version of what computes here."""
    result = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            result[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return result


@functools.cache
def processor() -> str:
    """Returns the name of the processor and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{' '.join(name.split())}, {cores} core{'s' if cores != 1 else ''}"


def device() -> str:
    """Returns the devices that JAX computes on, such as "cpu (Xeon ..., 2 cores)" or "4 x NVIDIA H100 (cuda)"."""
    import jax

    devices = jax.devices()
    if devices[0].platform == "cpu":
        return (f"{len(devices)} x " if len(devices) > 1 else "") + f"cpu ({processor()})"
    return (f"{len(devices)} x " if len(devices) > 1 else "") + f"{devices[0].device_kind} ({devices[0].platform})"


def start_record() -> dict:
    """Returns what `meta.json` says of a start: time, commit, versions, processor (the device is added by the app)."""
    head, dirty = commit()
    return {
        "started": now(),
        "commit": head,
        "dirty": dirty,
        "versions": versions(),
        "processor": processor(),
        "system": platform.platform(),
    }


def stamp() -> dict:
    """Returns what a published result says of its origin: commit, versions, device, time."""
    head, dirty = commit()
    return {"commit": head, "dirty": dirty, "device": device(), "versions": versions(), "date": now()[:19] + "Z"}
