"""An attack whose state is on disk, and beside it a ledger of its queries, so that no failure overruns a budget.

The state is written whole or not at all, after chunks and when an attack ends in any way that Python sees: an error of
the victim, Ctrl-C, SystemExit. The ledger `<checkpoint>.asked` has a number for each image, raised before a callable of
the host is asked: after a kill that nobody sees, the queries since the last state are counted all the same.
"""

import pathlib
import time
from collections.abc import Callable

import numpy as np

from common import weight_files
from kernels import boundary_attack

HEADER = 8  # uint32 words of a ledger before its counters: the identity


def run(
    task: boundary_attack.Attack, path: pathlib.Path, seconds: float, on_chunk: Callable | None
) -> boundary_attack.State:
    """Returns the state in which every image is done; goes on from the file, if there is one.

    Args:
      task: the attack.
      path: of the state.
      seconds: at least these lie between two writes; one more is made at the end, whatever ends it.
      on_chunk: as of `boundary_attack.run`.

    Raises:
      ValueError: a damaged file, one of another attack, or one with a larger budget.
    """
    state, ledger_path = restore(task, path), ledger_of(path)
    ledger = None if task.on_device and not ledger_path.exists() else open_ledger(task, path)
    written_at = time.monotonic()

    def write(progress):
        weight_files.save_npz(path, progress.arrays())

    def after_chunk(progress):
        nonlocal written_at
        if on_chunk is not None:
            on_chunk(progress)
        if progress.done < progress.total and time.monotonic() - written_at >= seconds:
            write(progress)
            written_at = time.monotonic()

    state = boundary_attack.run(task, state, on_chunk=after_chunk, on_end=write, ledger=ledger)
    ledger_path.unlink(missing_ok=True)  # all of it is in the state
    return state


def restore(task: boundary_attack.Attack, path: pathlib.Path) -> boundary_attack.State | None:
    """Returns the state of a file; None where there is none.

    Raises:
      ValueError: a damaged file, one of another attack, or one with a larger budget.
    """
    if not path.exists():
        return None
    try:
        return boundary_attack.restore(task, weight_files.load_npz(path))
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}; remove it to start anew") from None


def ledger_of(path: pathlib.Path) -> pathlib.Path:
    """The name of a checkpoint's ledger."""
    return path.with_name(path.name + ".asked")


def open_ledger(task: boundary_attack.Attack, path: pathlib.Path) -> np.ndarray:
    """Returns the counters uint32 [images], mapped to the file: a change is there even if the process is killed.

    (Not if the machine loses its power, before the system has written the page.)

    Raises:
      ValueError: it belongs to another attack.
    """
    name, count = ledger_of(path), len(task.problem.label)
    identity = np.frombuffer(bytes.fromhex(task.identity), np.uint32)
    if not name.exists():
        name.parent.mkdir(parents=True, exist_ok=True)
        with name.open("wb") as file:
            file.write(identity.tobytes() + bytes(4 * count))
    size = 4 * (HEADER + count)
    if name.stat().st_size != size or not np.array_equal(np.fromfile(name, np.uint32, HEADER), identity):
        raise ValueError(f"{name} counts the queries of another attack than this one; remove it, and {path.name}")
    return np.memmap(name, np.uint32, "r+", 4 * HEADER, (count,))
