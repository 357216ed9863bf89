"""The processes of one job on this machine: started together, ended together, and none left behind.

Several processes meet on the loopback address by JAX's own coordinator. When one ends badly the others are stopped;
when the launcher itself dies, however it dies, the kernel ends what it started (Linux).
"""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from launch import records

POLL_SECONDS = 0.05
PEER_SECONDS = 10.0  # for the others to end by themselves once one has ended
SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def loopback_environments(count: int, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Returns for each of `count` processes the variables by which `common.mesh` joins them, or knows one to be alone.

    Args:
      count: processes of the job.
      gpus: the devices that the job may use, as in CUDA_VISIBLE_DEVICES; each process takes its share.
    """
    shared = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    if count == 1:
        return [{"JAX_NUM_PROCESSES": "1"} | shared]
    address = f"127.0.0.1:{_free_port()}"
    shared |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address}
    environments = []
    for index in range(count):
        own = {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(index)}
        if gpus:
            share = len(gpus) // count
            own["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, range(index * share, (index + 1) * share)))
        environments.append(shared | own)
    return environments


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_group(
    argv: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    log: pathlib.Path,
    directory: str,
    stop: threading.Event,
    grace: float,
    watch: Callable[[], None] = lambda: None,
) -> list[int]:
    """Runs one process for each environment until all have ended; returns their exit codes (-9: killed by signal 9).

    Args:
      argv: the command, program first.
      environments: what each process has beside this one's variables.
      log: appended to by all of them.
      directory: where they work.
      stop: once set, they get SIGTERM, and SIGKILL after the grace.
      grace: seconds.
      watch: called now and then.

    Raises:
      OSError: the program or the directory is not there.
    """
    started: list[subprocess.Popen] = []
    deadline, is_asked_to_end = None, False
    try:
        with log.open("ab") as output:
            for environment in environments:
                started.append(_start(argv, own_environment() | dict(environment), output, directory))
        while None in (codes := [process.poll() for process in started]):
            if stop.is_set() and not is_asked_to_end:
                is_asked_to_end, deadline = True, time.monotonic() + grace
                _signal(started, signal.SIGTERM)
            elif deadline is None and any(codes):  # one ended badly, or with the others at a checkpoint
                patience = grace if records.PREEMPTED in codes else PEER_SECONDS
                deadline = time.monotonic() + patience
            if deadline is not None and time.monotonic() > deadline:
                _signal(started, signal.SIGKILL)
            watch()
            time.sleep(POLL_SECONDS)
    finally:
        _signal(started, signal.SIGKILL, everyone=True)
        for process in started:
            process.wait()
    watch()
    return [process.returncode for process in started]


def own_environment() -> dict[str, str]:
    """Returns this process's variables without its place in a job around it, whose exit codes are not the new ones'."""
    return {name: value for name, value in os.environ.items() if name != "HAVEL_EXIT_CODES"}


def _start(argv: Sequence[str], environment: Mapping[str, str], output, directory: str) -> subprocess.Popen:
    parent = os.getpid()

    def end_with_parent():  # in the child: a launcher that is killed must not leave its jobs behind
        _LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        list(argv), env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, preexec_fn=end_with_parent if _LIBC else None,
    )  # fmt: skip


_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def _signal(started: Sequence[subprocess.Popen], number: int, everyone: bool = False) -> None:
    """Signals the process groups that still run; with `everyone` also what ended leaders have left in theirs."""
    for process in started:
        if everyone or process.poll() is None:
            try:
                os.killpg(process.pid, number)
            except (ProcessLookupError, PermissionError):
                pass
