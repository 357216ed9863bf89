"""Slurm as an engine, through its own commands: sbatch, squeue, scontrol, scancel.

A submission is one batch script, an array where it has several jobs; each task runs `launch.task`, which starts the
job's processes with srun and asks for the job to be queued again when it was preempted or lost a process. Many jobs
become several arrays, of which no more than `--parallel` jobs run at a time.
"""

import contextlib
import dataclasses
import math
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from common import files
from launch import records
from launch import slurm_commands as commands
from launch.records import Submission
from launch.sweep import Job, LaunchError, Sweep

CANCEL_SECONDS = 120.0  # for all processes of a cancelled job to go: longer than Slurm's own KillWait
SIGNAL_SLACK = 60.0  # Slurm may send a signal so much earlier than asked
DEFAULT_ARRAY = 1001  # Slurm's own MaxArraySize
LIVE = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING")
ALIVE = ("queued", "running")
AT_WORK = ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED", "STOPPED", "RESIZING")


def check(options: Any) -> None:
    """Raises LaunchError when Slurm is not to be had here, or the options do not fit it."""
    if shutil.which("sbatch") is None and not options.dry_run:
        raise LaunchError(
            "--engine=slurm needs Slurm's sbatch, which is not on the path here: launch from a login node of the "
            "cluster, or take --engine=local (--dry_run shows the script without Slurm)"
        )
    if options.detach:
        raise LaunchError("--detach is for --engine=local; a job in a queue waits for nobody")
    seconds = seconds_of(options.time) if options.time else math.inf
    if seconds <= 2 * options.grace + SIGNAL_SLACK:
        raise LaunchError(
            f"--time={options.time}: jobs are asked to stop --grace={options.grace:g} s before their limit, or up to a "
            f"minute earlier; give them more than {2 * options.grace + SIGNAL_SLACK:.0f} s"
        )
    try:
        shlex.split(options.sbatch or "")
    except ValueError as error:
        raise LaunchError(f"--sbatch={options.sbatch!r}: {error}") from None


def seconds_of(limit: str) -> float:
    """Returns the seconds of a time limit in any of Slurm's forms: 90, 90:30, 1:30:00, 1-12, 1-12:30, 1-12:30:00.

    Raises:
      LaunchError: it has none of them.
    """
    if limit.upper() in ("UNLIMITED", "INFINITE"):
        return math.inf
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not match:
        raise LaunchError(f"--time={limit!r}: expected minutes, or as in 1:30:00 or 2-12:00:00 (days-hours)")
    days, *rest = (None if group is None else int(group) for group in match.groups())
    if days is not None:
        scales = (3600, 60, 1)
    else:
        scales = (3600, 60, 1) if rest[2] is not None else (60, 1, 1)
    return 86400 * (days or 0) + sum(scale * (value or 0) for scale, value in zip(scales, rest, strict=True))


def script(submission: Submission, earlier: Mapping[str, int] | None = None) -> str:
    """Returns the batch script of a submission.

    Args:
      submission: what it runs.
      earlier: see `_options`.

    Raises:
      LaunchError: a path that Slurm could not be told.
    """
    directives = "".join(f"#SBATCH {_directive(line)}\n" for line in _options(submission, earlier or {}))
    command = shlex.join([sys.executable, "-m", "launch.task", str(submission.path)])
    return (
        f"#!/bin/bash\n# Made by launch.run. Its jobs, a command line each: {submission.path.name}\n{directives}\n"
        f"cd {shlex.quote(submission.directory)} || exit\nexec {command}\n"
    )


def _options(submission: Submission, earlier: Mapping[str, int]) -> list[str]:
    """Returns sbatch's options for a submission.

    Args:
      submission: what it runs.
      earlier: number of a job or array of the same sweep -> how many of its jobs may run at a time.

    Raises:
      LaunchError: a path that Slurm could not be told.
    """
    options, jobs = submission.options, submission.jobs
    log = str(submission.path.with_suffix("")).replace("%", "%%") + (".%a.log" if len(jobs) > 1 else ".0.log")
    parallel = options["parallel"] or 0
    throttle = _throttle(parallel, earlier)
    lines, extra = [], shlex.split(options["sbatch"] or "")
    if len(jobs) > 1:
        lines.append(f"--array=0-{len(jobs) - 1}" + (f"%{throttle}" if throttle else ""))
    lines += [f"--output={log}", "--open-mode=append", "--requeue", f"--nodes={options['nodes']}"]
    lines.append(f"--ntasks-per-node={options['processes_per_node']}")
    for flag, option in (("cpus-per-task", "cpus"), ("gpus-per-node", "gpus"), ("partition", "partition")):
        if options[option]:
            lines.append(f"--{flag}={options[option]}")
    if options["time"]:
        lines += [f"--time={options['time']}", f"--signal=TERM@{math.ceil(options['grace'])}"]
    if earlier and throttle == parallel:
        before = ",".join(f"afterany:{identity}" for identity in earlier)
        own = [word.removeprefix("--dependency=") for word in extra if word.startswith("--dependency=")]
        extra.append("--dependency=" + ",".join([*own[-1:], before]))
    lines += [*extra, f"--job-name={submission.handle['name']}"]
    if bad := [line for line in lines if re.search(r"[\n\r]", line)]:
        raise LaunchError(f"{bad[0]!r}: Slurm cannot be told of a line break in a path or an option")
    return lines


def _directive(line: str) -> str:
    """Returns an option as sbatch reads it back from a line of the script."""
    if re.fullmatch(r"[\w@%+=:,./\[\]-]+", line, re.ASCII):
        return line
    return '"' + re.sub(r'(["\\])', r"\\\1", line) + '"'


def submit(sweep: Sweep, jobs: Sequence[Job], options: Any) -> list[Submission]:
    """Returns the submissions that jobs of a sweep were queued as: one, or more where an array would be too long.

    `options.parallel` holds for the sweep: what would exceed it waits for the arrays before it.
    """
    submitted, size = [], 1 if len(jobs) == 1 else _largest_array()
    earlier = _under_way(sweep) if options.parallel else {}
    for start in range(0, len(jobs), size):
        submission = plan(sweep, jobs[start : start + size], options)
        text = script(submission, earlier)
        for job in submission.jobs:
            records.prepare(job, text)
        files.write_atomically(submission.beside(".sh"), text)
        records.write_submission(submission)  # before it is queued: a task may start at once
        name = submission.handle["name"]
        try:  # options on the command line weigh more than those in the environment, options in the script less
            handle = commands.hand_over(name, [*_options(submission, earlier), str(submission.beside(".sh"))])
        except commands.UncertainError:
            raise  # its name is written down: status asks the queue for it
        except LaunchError:
            for path in (submission.path, submission.beside(".sh")):
                path.unlink()
            raise
        submission = dataclasses.replace(submission, handle=handle)
        records.write_submission(submission)
        if options.parallel:
            earlier[handle["id"]] = min(len(submission.jobs), _throttle(options.parallel, earlier))
        submitted.append(submission)
    return submitted


def plan(sweep: Sweep, jobs: Sequence[Job], options: Any) -> Submission:
    """Returns the next submission as it would be, nothing written."""
    number, path = records.new_path(sweep)
    words = shlex.split(options.sbatch or "")
    names = [word.removeprefix("--job-name=") for word in words if word.startswith("--job-name=")]
    name = commands.new_name(names[-1] if names else jobs[0].argv[0].removeprefix("projects."))
    return Submission(path, number, "slurm", dataclasses.asdict(options), sweep.directory, tuple(jobs), {"name": name})


def _under_way(sweep: Sweep) -> dict[str, int]:
    """Returns number of a job or array -> how many of its jobs may run at a time, of what has not ended."""
    places = {}
    for submission in records.submissions(sweep):
        if submission.engine == "slurm" and (identity := submission.handle.get("id")):
            alive = sum(state in ALIVE for state, _ in states(submission).values())
            if alive:
                places[identity] = min(alive, submission.options.get("parallel") or alive)
    return places


def _throttle(parallel: int, earlier: Mapping[str, int]) -> int:
    """Returns how many jobs of a new array may run at a time: all, or beside earlier ones what these leave.

    Where they leave less than half it waits for their end instead.
    """
    rest = parallel - sum(earlier.values())
    return rest if 2 * rest >= parallel else parallel


def _largest_array() -> int:
    text = commands.call("scontrol", "show", "config")
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return max(1, int(match.group(1)) - 1 if match else DEFAULT_ARRAY - 1)


def states(submission: Submission) -> dict[str, tuple[str, str]]:
    """Returns job name -> (how it stands, what Slurm says) of the jobs that Slurm still knows.

    They stand as "queued", "running", "cancelled" or "ended". A job that never began and that Slurm no longer knows was
    cancelled: nothing else takes a waiting job out of the queue.
    """
    handle = _handle(submission)
    if handle is None:
        return {}
    rows, standing = _listed(handle, len(submission.jobs)), {}
    for place, state, reason, nodes in rows:
        _, _, index = place.partition("_")
        if index and not index.isdigit():
            continue
        if int(index or 0) >= len(submission.jobs):
            continue
        job, where = submission.jobs[int(index or 0)], f"Slurm {place}"
        ending = f"{where}: {state.lower()}" + (f" ({reason})" if reason not in ("", "None") else "")
        if state in LIVE:
            is_held = re.search(r"(?i)requeued?[_ ]held|HoldMaxRequeue", reason) or state == "REQUEUE_HOLD"
            advice = f"; scontrol release {place} lets it go" if is_held else ""
            standing[job.name] = ("queued", f"{where}, {reason}{advice}")
        elif state in AT_WORK:
            standing[job.name] = ("running", f"{where} on {nodes}" + (", ending" if state == "COMPLETING" else ""))
        elif state == "CANCELLED":
            standing[job.name] = (records.CANCELLED, ending)
        else:
            standing[job.name] = ("ended", ending)
    for index, job in enumerate(submission.jobs):
        if job.name not in standing and not _has_begun(submission, index):
            standing[job.name] = (records.CANCELLED, f"Slurm {handle['id']}: taken out of the queue before it began")
    return standing


def _handle(submission: Submission) -> Mapping[str, str] | None:
    """Returns the handle of a submission; the queue is asked where sbatch's answer did not arrive."""
    if submission.handle.get("id") or not submission.handle.get("name"):
        return submission.handle if submission.handle.get("id") else None
    same = commands.find(submission.handle["name"])
    if not same:
        return None
    with contextlib.suppress(OSError):  # in another person's folder it is looked up again
        records.write_submission(dataclasses.replace(submission, handle=same[0]))
    return same[0]


def _has_begun(submission: Submission, index: int) -> bool:
    """Returns whether Slurm has ever started the task: it makes the file for its output then."""
    if submission.beside(f".{index}.log").exists():
        return True
    return any(entry["submission"] == submission.number for entry in records.attempts(submission.jobs[index]))


def _listed(handle: Mapping[str, str], count: int) -> list[tuple[str, ...]]:
    """Returns (number, state, reason, nodes) of the tasks that the queue, or else the accounting, still knows."""
    command = ("squeue", "--noheader", "--array", "--states=all", f"--jobs={handle['id']}")
    cluster = handle.get("cluster", "")
    try:
        output = commands.call(*command, "--format=%i|%T|%r|%N", cluster=cluster)
    except LaunchError as error:
        if "Invalid job id" not in str(error):
            raise
        output = ""
    lines = [line.strip() for line in output.splitlines() if "|" in line]
    rows = [tuple((line.split("|") + [""] * 4)[:4]) for line in lines]
    places = {row[0] for row in rows}
    if len(places) < count and not any(row[1] in (*LIVE, *AT_WORK) for row in rows):  # forgotten after some minutes
        accounts = commands.accounted(handle["id"], cluster)
        rows += [(place, state, "", "") for place, state in accounts if place not in places]
    return rows


def cancel(submission: Submission) -> None:
    """Ends a submission; returns when Slurm says that nothing of it is left.

    Raises:
      LaunchError: Slurm refuses, or the jobs do not end in time.
    """
    handle = _handle(submission)
    if handle is None or not _alive(submission):
        return
    commands.call("scancel", handle["id"], cluster=handle.get("cluster", ""))
    deadline = time.monotonic() + CANCEL_SECONDS
    while live := _alive(submission):
        if time.monotonic() > deadline:
            raise LaunchError(f"{len(live)} jobs of Slurm job {handle['id']} do not end, such as {live[0]}; see squeue")
        time.sleep(0.5)


def _alive(submission: Submission) -> list[str]:
    return [name for name, (state, _) in states(submission).items() if state in ALIVE]


def requeue(identity: str) -> None:
    """Puts the running job back into the queue; Slurm ends it and starts it again later."""
    commands.call("scontrol", "requeue", identity)


def state_of(identity: str) -> str:
    """Returns Slurm's word for the state of one job or array task, "" when it does not say."""
    match = re.search(r"\bJobState=(\S+)", commands.call("scontrol", "--oneliner", "show", "job", identity))
    return match.group(1) if match else ""
