"""This machine as an engine: jobs one after another, or `--parallel` at a time, in front or detached.

A runner process holds a lock as long as it lives, so that everybody can tell whether a submission is still at work; a
job holds the lock of one of the sweep's places, so that several runners share them. It needs no daemon: `python -m
launch.local SUBMISSION_FILE` is the runner that a detached submission leaves behind.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common import files, locking
from launch import processes, records
from launch.records import Submission
from launch.sweep import BusyError, Job, LaunchError, Sweep

START_SECONDS = 20.0  # for a detached runner to take its lock
MARGIN_SECONDS = 15.0  # for a runner to end after its jobs have had their grace
LOCK_SECONDS = (1.0, 60.0)  # first and longest pause before a job tries again whose run directory is taken
PLACE_SECONDS = 0.2  # between two looks for a place of the sweep


def check(options: Any) -> None:
    """Raises LaunchError when the options do not fit this engine or this machine."""
    if options.nodes > 1:
        raise LaunchError(
            f"--nodes={options.nodes}: --engine=local is this machine alone; --processes_per_node starts several "
            "processes here, --engine=slurm takes several machines"
        )
    only_slurm = [name for name in ("time", "partition", "sbatch") if getattr(options, name)]
    if only_slurm:
        raise LaunchError(f"--{only_slurm[0]} is for --engine=slurm; --engine=local has no queue to ask")
    if options.gpus:
        if options.gpus % options.processes_per_node:
            raise LaunchError(
                f"--gpus={options.gpus} does not split over --processes_per_node={options.processes_per_node}"
            )
        parallel, gpus = options.parallel or 1, len(_visible_gpus())
        if options.gpus * parallel > gpus:
            raise LaunchError(
                f"--gpus={options.gpus} for each of {parallel} jobs at a time is {options.gpus * parallel} devices, "
                f"but this machine shows {gpus}; lower --gpus or --parallel"
            )


def script(job: Job, directory: str) -> str:
    """Returns the script that repeats a job by hand: the same command in the same folder."""
    python = shlex.quote(sys.executable)
    return f"#!/bin/bash\ncd {shlex.quote(directory)} || exit\nexec {python} -m {shlex.join(job.argv)}\n"


def submit(sweep: Sweep, jobs: Sequence[Job], options: Any) -> list[Submission]:
    """Returns the submission of some jobs of a sweep; with `options.detach` its runner is at work already."""
    number, path = records.new_path(sweep)
    handle = {"host": socket.gethostname()}
    submission = Submission(path, number, "local", dataclasses.asdict(options), sweep.directory, tuple(jobs), handle)
    for job in jobs:
        records.prepare(job, script(job, sweep.directory))
    records.write_submission(submission)
    if options.detach:
        with path.with_suffix(".log").open("ab") as output:
            runner = subprocess.Popen(
                [sys.executable, "-m", "launch.local", str(path)], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True, env=os.environ | {"PYTHONPATH": _path_with_us()},
            )  # fmt: skip
        _DETACHED.append(runner)
        began = time.monotonic()
        while not (path.with_suffix(".started")).exists():
            if runner.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise LaunchError(f"the runner of {path} did not start; see {path.with_suffix('.log')}")
            time.sleep(0.02)
    return [submission]


_DETACHED: list[subprocess.Popen] = []  # never waited for: they outlive this process


def _path_with_us() -> str:
    root = str(pathlib.Path(__file__).resolve().parents[1])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def run(submission: Submission, say: Callable[[str], None] = lambda text: None) -> int:
    """Runs the jobs of a submission in this process; returns 0, 1 (some failed) or 75 (stopped: submit again).

    SIGINT and SIGTERM stop the jobs at their next checkpoint.

    Args:
      submission: what `submit` returned.
      say: gets a line whenever a job starts or ends. A single job's output is copied to standard error.
    """
    options, stop = submission.options, threading.Event()
    places: queue.SimpleQueue = queue.SimpleQueue()
    parallel, gpus = options["parallel"] or 1, options["gpus"] or 0
    visible = _visible_gpus() if gpus else []
    for index in range(parallel):
        places.put((index, visible[index * gpus : (index + 1) * gpus]))
    follow = len(submission.jobs) == 1
    with _running(submission), _stopping(stop, say):
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            futures = [pool.submit(_run_job, submission, job, places, stop, say, follow) for job in submission.jobs]
            results = [future.result() for future in futures]
    if not {records.STOPPED, records.LOCKED, records.CANCELLED}.isdisjoint(results):
        return records.PREEMPTED
    return 0 if set(results) <= {records.FINISHED} else 1


def _run_job(submission, job, places, stop, say, follow) -> str:
    try:
        with _place(submission, places, stop) as gpus:
            return _attempts(submission, job, gpus, stop, say, follow)
    except OSError as error:
        records.note_end(job, submission.number, records.FAILED, [], False, f"could not be started: {error}")
        say(f"{job.name}: could not be started: {error}")
        return records.FAILED


@contextlib.contextmanager
def _place(submission: Submission, places: queue.SimpleQueue, stop: threading.Event) -> Iterator[list[str]]:
    """Holds one of the sweep's places, which other runners of the same sweep want as well; yields its devices.

    Once stopping it holds none, for nothing is started any more.
    """
    folder, lock = submission.path.parent.parent / "places", None
    folder.mkdir(exist_ok=True)
    index, gpus = places.get()
    while lock is None and not stop.is_set():
        try:
            lock = locking.acquire(folder / f"{index}.lock")
        except locking.TakenError:
            places.put((index, gpus))
            stop.wait(PLACE_SECONDS)
            index, gpus = places.get()
    try:
        yield gpus
    finally:
        if lock is not None:
            lock.release()
        places.put((index, gpus))


def _attempts(submission, job, gpus, stop, say, follow) -> str:
    """Runs a job until it is done, has failed, or was lost too often."""
    options, number, pause = submission.options, submission.number, LOCK_SECONDS[0]
    while True:
        if stop.is_set() or submission.is_cancelled:
            return records.CANCELLED
        if records.is_finished(job):
            return records.FINISHED
        began = time.monotonic()
        records.note_start(job, number, f"this machine ({socket.gethostname()}), runner {os.getpid()}")
        say(f"{job.name}: started")
        log = records.log_path(job)
        environments = processes.loopback_environments(options["processes_per_node"], gpus)
        with _follower(log, follow) as watch:
            codes = processes.run_group(
                [sys.executable, "-m", *job.argv], environments, log, submission.directory, stop, options["grace"],
                watch,
            )  # fmt: skip
        result, note = records.judge(job, codes)
        if stop.is_set() and result != records.FINISHED:  # killed after its grace: it was asked to stop all the same
            result = records.CANCELLED if submission.is_cancelled else records.STOPPED
        again = not stop.is_set() and records.goes_on(job, result, number, options["max_restarts"])
        records.note_end(job, number, result, codes, again, note)
        seconds = time.monotonic() - began
        ending = f"{job.name}: {result} after {seconds:.0f} s"
        later = f"another process has its run directory; tries again in {pause:.0f} s"
        going_on = later if result == records.LOCKED else "starts again"
        say(ending + (f", {going_on}" if again else "" if result == records.FINISHED else f"; log: {log}"))
        if not again:
            return result
        if result == records.LOCKED:
            stop.wait(pause)
            pause = min(2 * pause, LOCK_SECONDS[1])


@contextlib.contextmanager
def _follower(log: pathlib.Path, enabled: bool) -> Iterator[Callable[[], None]]:
    """Yields a function that copies what was added to the log to standard error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab+") as file:
        file.seek(0, os.SEEK_END)

        def copy():
            while chunk := file.read(1 << 16):
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()

        yield copy if enabled else lambda: None


@contextlib.contextmanager
def _running(submission: Submission) -> Iterator[None]:
    """Holds the lock that says: this submission is at work, in this process."""
    try:
        lock = locking.acquire(submission.beside(".lock"), timeout=1.0)
    except locking.TakenError as error:
        raise BusyError(f"{error.holder or 'another process'} runs {submission.path} already{error.remedy}") from None
    try:
        files.write_atomically(submission.beside(".started"), f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _stopping(stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
    """Lets SIGINT, SIGTERM and SIGHUP ask the jobs to stop, while the runner goes on until they have."""

    def ask(number, frame):
        if not stop.is_set():
            say("stopping the jobs at their next checkpoint")
        stop.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def runner(submission: Submission) -> locking.Holder | None:
    """Returns the process that runs a submission now, or None."""
    is_busy, holder = locking.look(submission.beside(".lock"))
    return (holder or locking.Holder(0, submission.handle.get("host", "a machine without a name"))) if is_busy else None


def states(submission: Submission) -> dict[str, tuple[str, str]]:
    """Returns job name -> ("queued" or "running", where) of the jobs that a live runner still has before it."""
    if runner(submission) is None:
        return {}
    result = {}
    for job in submission.jobs:
        own = [entry for entry in records.attempts(job) if entry["submission"] == submission.number]
        if not own:
            result[job.name] = ("queued", "")
        elif own[-1]["event"] == "start":
            result[job.name] = ("running", own[-1].get("place", ""))
        elif own[-1].get("again"):
            result[job.name] = ("queued", "starts again")
    return result


def cancel(submission: Submission) -> None:
    """Ends a submission: its jobs are stopped at a checkpoint, killed after their grace; returns when none is left.

    Raises:
      LaunchError: its runner is on another machine, or does not end.
    """
    if (holder := runner(submission)) is None:
        return
    if not holder.is_here or holder.process < 1:
        raise LaunchError(f"it is {holder}; cancel it there (if it is gone, remove {submission.beside('.lock.soft')})")
    os.kill(holder.process, signal.SIGTERM)
    deadline = time.monotonic() + submission.options["grace"] + MARGIN_SECONDS
    while (now := runner(submission)) is not None:
        if time.monotonic() > deadline and now == holder:  # that number is still its own
            os.kill(holder.process, signal.SIGKILL)  # its jobs die with it
            deadline += MARGIN_SECONDS
        time.sleep(processes.POLL_SECONDS)


def _visible_gpus() -> list[str]:
    """Returns the devices that a job may be given: those of CUDA_VISIBLE_DEVICES, else all that the driver lists."""
    if (setting := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in setting.split(",") if name.strip()]
    try:
        process = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index, line in enumerate(process.stdout.splitlines()) if line.startswith("GPU ")]


def main(argv: Sequence[str]) -> int:
    """Runs one submission: what a detached launch leaves behind."""
    submission = records.read_submission(pathlib.Path(argv[1]))
    return run(submission, lambda text: print(text, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
