"""How the jobs of a sweep stand, from their run directories and from the engine; waiting for them."""

import collections
import dataclasses
import pathlib
import re
import time
from collections.abc import Callable, Sequence

from launch import local, records, slurm
from launch.records import Submission
from launch.sweep import Job, LaunchError, Sweep

ENGINES = {"local": local, "slurm": slurm}
QUEUED, RUNNING, NEW = "queued", "running", "not submitted"
ALIVE = (QUEUED, RUNNING)
BAD = (records.FAILED, records.LOST)
LATER = (records.STOPPED, records.LOCKED, records.CANCELLED)
TAIL_BYTES = 16384
TRACEBACK = "Traceback (most recent call last):"
TELLING = re.compile(r"(?i)\berror\b|[a-z]Error\b|exception")
CHAINED = re.compile(r"^(\d+: )?(During handling of the above exception|The above exception was the direct cause)")
ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)\b")
NOISE = re.compile(r"(\d+: )?(srun|slurmstepd|slurmd)[:\[]|(\d+: )?\[Gloo\]")


@dataclasses.dataclass(frozen=True)
class JobState:
    """A job and how it stands.

    Attributes:
      job: which.
      state: "queued", "running", "finished", "failed", "lost", "preempted", "locked", "cancelled" or "not submitted".
      detail: where it runs, or why it ended, in a few words.
      starts: how often it was started.
      submission: the last that it was part of.
    """

    job: Job
    state: str
    detail: str
    starts: int
    submission: Submission | None


def survey(sweep: Sweep) -> list[JobState]:
    """Returns how each job stands, in the order of the sweep.

    Raises:
      LaunchError: the engine cannot be asked.
    """
    latest: dict[str, Submission] = {}
    for submission in records.submissions(sweep):
        latest |= {job.name: submission for job in submission.jobs}
    answers: dict[pathlib.Path, dict[str, tuple[str, str]]] = {}
    states = []
    for job in sweep.jobs:
        entries = records.attempts(job)
        starts = sum(entry["event"] == "start" for entry in entries)
        submission = latest.get(job.name)
        if records.is_finished(job) and not (entries and entries[-1]["event"] == "start"):
            state, detail = records.FINISHED, ""
        elif submission is None:
            state, detail = NEW, ""
        else:
            if submission.path not in answers:
                answers[submission.path] = ENGINES[submission.engine].states(submission)
            state, detail = _state(job, submission, answers[submission.path].get(job.name))
            if records.is_finished(job) and state != RUNNING:  # its last word was lost, its result was not
                state, detail = records.FINISHED, ""
        states.append(JobState(job, state, detail, starts, submission))
    return states


def _state(job: Job, submission: Submission, live: tuple[str, str] | None) -> tuple[str, str]:
    own = [entry for entry in records.attempts(job) if entry["submission"] == submission.number]
    last = own[-1] if own else None
    if last and last["event"] == "end" and not last.get("again"):
        if live and live[0] in ALIVE and not live[1].endswith("ending"):
            return live  # whatever was written down: Slurm starts it again by itself, as after the loss of a machine
        if last["outcome"] == records.FINISHED:
            return records.FAILED, records.NO_RESULT
        return last["outcome"], last.get("note") or _why(job, submission, last)
    if live and live[0] in ALIVE:
        waits = _why(job, submission, last) if live[0] == QUEUED and last and last["event"] == "end" else ""
        more = f"; {waits}" if waits else f", {step}" if live[0] == RUNNING and (step := _step(job)) else ""
        return live[0], live[1] + more
    if submission.is_cancelled:
        return records.CANCELLED, ""
    if live and live[0] == records.CANCELLED:  # by Slurm's own scancel
        return live
    ending = f" ({live[1]})" if live else ""
    if last and last.get("again") == records.BY_SLURM and last["outcome"] != records.LOST:
        return records.CANCELLED, live[1] if live else "by Slurm, or by somebody through Slurm's own commands"
    if last and last["event"] == "start":
        return records.LOST, f"it began on {last.get('place')} and ended without a word{ending}"
    if last:
        return records.LOST, f"it was to start again and is no longer in the queue{ending}"
    if live:
        return records.FAILED, f"{live[1]}; {error_of(job, submission) or 'it never began'}"
    return records.LOST, error_of(job, submission) or "it never began and is no longer in the queue"


def _why(job: Job, submission: Submission, end: dict) -> str:
    if end["outcome"] not in (*BAD, records.LOCKED):
        return ""
    codes = [code for code in end.get("codes", []) if code != 0]
    words = [
        f"killed by signal {-code}" if code and code < 0 else f"exit code {code}" for code in codes if code is not None
    ]
    ending = ", ".join(dict.fromkeys(words + ["killed"] * (None in codes)))
    return error_of(job, submission, end["outcome"] == records.FAILED) or ending


def _step(job: Job) -> str:
    """Returns the last step that the metrics speak of."""
    lines = _tail(pathlib.Path(job.run_dir) / "metrics.csv").splitlines()
    steps = [line.split(",")[0] for line in lines if line.split(",")[0].isdigit()]
    return f"step {steps[-1]}" if steps else ""


def _tail(path: pathlib.Path, start: int = 0) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def error_of(job: Job, submission: Submission, any_line: bool = True) -> str:
    """Returns the line of the last attempt's log that says best why it ended.

    That is the last that speaks of an error, or the first cause of that; with `any_line` else the last at all, also of
    Slurm's own log.
    """
    starts = [entry for entry in records.attempts(job) if entry["event"] == "start"]
    texts = [_tail(records.log_path(job), starts[-1].get("log_from", 0))] if starts else []
    names = [other.name for other in submission.jobs]
    if job.name in names:
        texts.append(_tail(submission.beside(f".{names.index(job.name)}.log")))
    for text in texts:
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        quiet = [line for line in lines if not NOISE.match(line)]
        telling = [line for line in quiet if TELLING.search(line) and not CHAINED.search(line)]
        if telling:
            return _first_cause(quiet, telling[-1]).strip()[:300]
        for candidates in (quiet, lines) if any_line else ():
            if candidates:
                return candidates[-1].strip()[:300]
    return ""


def _first_cause(lines: Sequence[str], last: str) -> str:
    """Returns the error that Python says the error in the line `last` came from, over as many errors as there are."""
    rank = re.match(r"(\d+: )?", last).group()  # of one process, whose lines others may have broken up
    own = [line.removeprefix(rank) for line in lines if line.startswith(rank)]
    index = len(own) - 1 - own[::-1].index(last.removeprefix(rank))
    while True:
        heads = [at for at in range(index) if own[at].startswith(TRACEBACK)]
        if not heads or heads[-1] < 2 or not CHAINED.search(own[heads[-1] - 1]):
            return rank + own[index]
        if sum(bool(ERROR_LINE.match(line)) for line in own[heads[-1] : index + 1]) > 1:  # printed after a traceback
            return rank + own[index]
        top = max([at for at in heads[:-1]], default=0)
        errors = [at for at in range(top, heads[-1] - 1) if ERROR_LINE.match(own[at])]
        index = errors[-1] if errors else heads[-1] - 2  # a message may have more lines than one


def table(states: Sequence[JobState]) -> str:
    """Returns the table that people read, with a summary and what to do about jobs that went wrong."""
    width = max([len("job"), *(len(item.job.name) for item in states)])
    width = min(width, 60)
    lines = [f"{'job':{width}}  {'state':13}  starts  "]
    for item in states:
        lines.append(f"{item.job.name:{width}}  {item.state:13}  {item.starts:6}  {item.detail}".rstrip())
    lines.append(summary(states))
    wrong = [item for item in states if item.state in BAD]
    for item in wrong[:3]:
        lines.append(f"log: {records.log_path(item.job)}")
    if len(wrong) > 3:
        lines.append(f"({len(wrong) - 3} more jobs went wrong; python -m launch.run log FOLDER JOB shows one)")
    return "\n".join(lines)


def summary(states: Sequence[JobState]) -> str:
    """Returns for example "8 jobs: 6 finished, 1 running, 1 failed"."""
    counts = collections.Counter(item.state for item in states)
    order = (records.FINISHED, RUNNING, QUEUED, *LATER, *BAD, NEW)
    parts = [f"{counts[state]} {state}" for state in order if counts[state]]
    return f"{len(states)} job{'s' if len(states) != 1 else ''}: " + ", ".join(parts)


def wait(sweep: Sweep, timeout: float, interval: float, say: Callable[[str], None]) -> list[JobState]:
    """Returns how the jobs stand once none is queued or running any more, or the time is up.

    Args:
      sweep: which.
      timeout: seconds, infinity for as long as it takes.
      interval: seconds between two looks.
      say: gets a line whenever the counts have changed.
    """
    deadline, last_line = time.monotonic() + timeout, ""
    while True:
        try:
            states = survey(sweep)
            line = summary(states)
        except LaunchError as error:  # a controller that restarts is no reason to stop waiting
            if not last_line or time.monotonic() >= deadline:
                raise
            states, line = None, f"{error}; asking again"
        if line != last_line:
            say(line)
            last_line = line
        if states is not None and (time.monotonic() >= deadline or not any(item.state in ALIVE for item in states)):
            return states
        time.sleep(min(interval, max(0.0, deadline - time.monotonic())))


def exit_code(states: Sequence[JobState]) -> int:
    """Returns 0 when all jobs have finished, 75 when some are still to come, 1 when some went wrong."""
    if any(item.state in BAD for item in states):
        return 1
    return 0 if all(item.state == records.FINISHED for item in states) else records.PREEMPTED
