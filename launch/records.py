"""What happened to a job, attempt by attempt, and what its exit codes mean.

`RUN_DIR/launch/attempts.jsonl` has a line when an attempt begins and one when it ends. A machine that dies leaves a
beginning without an end. The number of the submission is in each line: submitting again starts the counts anew. An
attempt has finished when the run itself wrote so, whatever the program around it says.
"""

import dataclasses
import json
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from common import files
from common.runs import provenance, run_directory
from launch.sweep import FOLDER, Job, Sweep

PREEMPTED = 75  # a checkpoint is written; the same command goes on (EX_TEMPFAIL)
LOST_PEER = 76  # another process of the run went away
TAKEN = 77  # another process writes into the run directory: later
INTERRUPTED = 130  # Ctrl-C
TERMINATED = (-15, 143)
MOST_PREEMPTIONS = 1000  # of one submission: a job that never gets anywhere must end some day
MOST_IDLE = 10  # in a row, stopped from outside before the run had written anything to go on from

UNMET = 3  # finished, but a request was not met
BY_SLURM = "slurm"  # whether another attempt follows an end: Slurm had decided on the job, and its queue tells

FINISHED, FAILED, LOST, STOPPED, CANCELLED = "finished", "failed", "lost", "preempted", "cancelled"
LOCKED = "locked"
NO_RESULT = "it ended well, but left no result.json: is it a verb of common.app?"


def outcome(codes: Sequence[int | None]) -> str:
    """Returns what the exit codes of a job's processes mean together.

    "finished": all 0. "failed": one ended with an error of its own, which would come again. "lost": one was killed, or
    ended without a word (None), or lost another. "preempted": stopped at a checkpoint, or by SIGTERM. "cancelled":
    Ctrl-C. "locked": another process writes into the run directory. An error of its own weighs most, because its peers
    are killed for it.
    """
    others = (PREEMPTED, LOST_PEER, TAKEN)
    if any(code is not None and 0 < code < 128 and code not in others for code in codes):
        return FAILED
    if TAKEN in codes:
        return LOCKED
    if any(code == INTERRUPTED or code == -2 for code in codes):
        return CANCELLED
    if all(code == 0 for code in codes):
        return FINISHED
    gentle = (0, PREEMPTED, *TERMINATED)
    return STOPPED if all(code in gentle for code in codes) else LOST


def judge(job: Job, codes: Sequence[int | None]) -> tuple[str, str]:
    """Returns the outcome of an attempt and a note, from its exit codes and from what the run left.

    A result that is there counts, even if its writer was killed right after; exit codes of 0 without one do not.
    """
    result = outcome(codes)
    if is_finished(job):
        if UNMET in codes and set(codes) <= {0, UNMET}:
            return FINISHED, "what was asked for could not be reached: its result says what"
        return (FINISHED if result in (LOST, STOPPED) else result), ""
    if result == STOPPED and (idle := idle_calls(job)) > 1:
        return result, f"{idle} calls in a row were stopped before they wrote anything to go on from"
    return (FAILED, NO_RESULT) if result == FINISHED else (result, "")


def losses(job: Job, submission: int, is_over: bool = False) -> int:
    """Returns how many attempts of a submission were lost: with a last word, or with their machine and without one.

    Args:
      job: which.
      submission: number.
      is_over: whether a last attempt that has not ended is one of them.
    """
    own = [entry for entry in attempts(job) if entry["submission"] == submission]
    silent = sum(a["event"] == "start" == b["event"] for a, b in zip(own, own[1:], strict=False))
    silent += bool(is_over and own and own[-1]["event"] == "start")
    return silent + sum(entry["event"] == "end" and entry["outcome"] == LOST for entry in own)


def goes_on(job: Job, result: str, submission: int, max_restarts: int) -> bool:
    """Returns whether an attempt that ended so is followed by another: after a loss a bounded number of times.

    A run that its own --max_seconds stop twice in a row before it wrote anything ends with 1: it has failed.
    """
    if result == LOST:
        return losses(job, submission) < max_restarts
    if result == STOPPED and idle_calls(job) >= MOST_IDLE:
        return False
    ends = [entry for entry in attempts(job) if entry["event"] == "end" and entry["submission"] == submission]
    later = (STOPPED, LOCKED)
    return result in later and sum(entry["outcome"] in later for entry in ends) < MOST_PREEMPTIONS


def idle_calls(job: Job) -> int:
    """Returns how many calls in a row were stopped before the run had written anything to go on from."""
    meta = files.read_json(pathlib.Path(job.run_dir) / "meta.json") or {}
    return meta.get(run_directory.IDLE, 0)


def note_start(job: Job, submission: int, place: str) -> None:
    """Writes that an attempt begins; `place` says where, for people."""
    log = log_path(job)
    size = log.stat().st_size if log.exists() else 0
    _append(job, {"event": "start", "submission": submission, "place": place, "log_from": size})


def note_end(
    job: Job, submission: int, result: str, codes: Sequence[int | None], again: bool | str, note: str = ""
) -> None:
    """Writes how an attempt ended and whether another follows by itself (True, False or `BY_SLURM`)."""
    entry = {"event": "end", "submission": submission, "outcome": result, "codes": list(codes), "again": again}
    _append(job, entry | ({"note": note} if note else {}))


def _append(job: Job, entry: Mapping) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**entry, "time": provenance.now()}) + "\n"
    descriptor = os.open(job.folder / "attempts.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())  # one write: a reader sees whole lines
    finally:
        os.close(descriptor)


def attempts(job: Job) -> list[dict]:
    """Returns the lines of a job, oldest first; a half-written last one is left out."""
    try:
        text = (job.folder / "attempts.jsonl").read_text(errors="replace")
    except OSError:
        return []
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"event", "submission"} <= entry.keys():
            entries.append(entry)
    return entries


def is_finished(job: Job) -> bool:
    """Returns whether the run has its result."""
    return (pathlib.Path(job.run_dir) / "result.json").is_file()


def log_path(job: Job) -> pathlib.Path:
    """Returns the file with everything that the job printed, all attempts one after another."""
    return job.folder / "log.txt"


def command_text(argv: Sequence[str], python: str = "python") -> str:
    """Returns a command line that a shell reads back to exactly `argv`."""
    return shlex.join([python, "-m", *argv])


def prepare(job: Job, script: str) -> None:
    """Leaves the command and the script of a job in its run directory."""
    files.write_atomically(job.folder / "command.txt", command_text(job.argv) + "\n")
    files.write_atomically(job.folder / "script.sh", script)


@dataclasses.dataclass(frozen=True)
class Submission:
    """One hand-over of jobs to an engine, in `FOLDER/submissions/<number>.json`.

    Attributes:
      path: of the file; its neighbours share its stem (lock, log, mark of cancelling).
      number: counts from 1 in a sweep.
      engine: "local" or "slurm".
      options: the launcher's flags.
      directory: where the jobs run.
      jobs: in order; the index of an array task counts them from 0.
      handle: what the engine needs to find them again, such as {"id": "1234"}.
    """

    path: pathlib.Path
    number: int
    engine: str
    options: Mapping[str, Any]
    directory: str
    jobs: tuple[Job, ...]
    handle: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def beside(self, suffix: str) -> pathlib.Path:
        """Returns the neighbour file with another suffix."""
        return self.path.with_suffix(suffix)

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked for its end: nothing of it starts again."""
        return self.beside(".cancelled").exists()


def write_submission(submission: Submission) -> None:
    """Writes the file of a submission, whole or not at all."""
    entry = dataclasses.asdict(submission) | {"created": provenance.now()}
    entry.pop("path")
    files.write_json(submission.path, entry)


def read_submission(path: pathlib.Path) -> Submission:
    """Returns what `write_submission` wrote.

    Raises:
      ValueError: the file is missing or damaged.
    """
    entry = files.read_json(path)
    if not isinstance(entry, dict) or "jobs" not in entry:
        raise ValueError(f"{path} is not a submission of launch.run, or is damaged")
    jobs = tuple(Job(**{**job, "argv": tuple(job["argv"])}) for job in entry["jobs"])
    names = ("number", "engine", "options", "directory", "handle")
    return Submission(path, jobs=jobs, **{name: entry[name] for name in names})


def submissions(sweep: Sweep) -> list[Submission]:
    """Returns all submissions of a sweep, oldest first."""
    paths = sorted((sweep.folder / FOLDER / "submissions").glob("*.json"))
    return [read_submission(path) for path in paths]


def is_superseded(submission: Submission, job: Job) -> bool:
    """Returns whether a job was handed over again after this submission: the newer one runs it."""
    for path in submission.path.parent.glob("*.json"):
        if path.stem.isdigit() and int(path.stem) > submission.number:
            if job.name in {other.name for other in read_submission(path).jobs}:
                return True
    return False


def new_path(sweep: Sweep) -> tuple[int, pathlib.Path]:
    """Returns the number and the file of the next submission."""
    folder = sweep.folder / FOLDER / "submissions"
    number = 1 + max((int(path.stem) for path in folder.glob("*.json")), default=0)
    return number, folder / f"{number:04d}.json"
