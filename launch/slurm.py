"""Slurm as an engine, through its own commands: sbatch, squeue, scontrol, scancel.

A submission is one batch script, an array where it has several jobs; each task runs `launch.task`, which starts the
job's processes with srun and asks for the job to be queued again when it was preempted or lost a process. Many jobs
become several arrays.
"""

import dataclasses
import math
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from common import files
from launch import records
from launch.records import Submission
from launch.sweep import Job, LaunchError, Sweep

COMMAND_SECONDS = 60.0  # for one command of Slurm; a busy controller may take ten
CANCEL_SECONDS = 120.0  # for all processes of a cancelled job to go: longer than Slurm's own KillWait
SIGNAL_SLACK = 60.0  # Slurm may send a signal so much earlier than asked
DEFAULT_ARRAY = 1001  # Slurm's own MaxArraySize
LIVE = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING")
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


def script(submission: Submission) -> str:
    """Returns the batch script of a submission.

    Raises:
        LaunchError: a path that Slurm could not be told.
    """
    options, jobs = submission.options, submission.jobs
    name = jobs[0].argv[0].removeprefix("projects.")
    log = str(submission.path.with_suffix("")).replace("%", "%%") + (".%a.log" if len(jobs) > 1 else ".0.log")
    lines = [f"--job-name={name}"]
    if len(jobs) > 1:
        throttle = f"%{options['parallel']}" if options["parallel"] else ""
        lines.append(f"--array=0-{len(jobs) - 1}{throttle}")
    lines += [f"--output={log}", "--open-mode=append", "--requeue", f"--nodes={options['nodes']}"]
    lines.append(f"--ntasks-per-node={options['processes_per_node']}")
    for flag, option in (("cpus-per-task", "cpus"), ("gpus-per-node", "gpus"), ("partition", "partition")):
        if options[option]:
            lines.append(f"--{flag}={options[option]}")
    if options["time"]:
        lines += [f"--time={options['time']}", f"--signal=TERM@{math.ceil(options['grace'])}"]
    lines += shlex.split(options["sbatch"] or "")
    if bad := [line for line in lines if re.search(r"[\n\r]", line)]:
        raise LaunchError(f"{bad[0]!r}: Slurm cannot be told of a line break in a path or an option")
    directives = "".join(f"#SBATCH {_directive(line)}\n" for line in lines)
    command = shlex.join([sys.executable, "-m", "launch.task", str(submission.path)])
    return (
        f"#!/bin/bash\n# Made by launch.run. Its jobs, a command line each: {submission.path.name}\n{directives}\n"
        f"cd {shlex.quote(submission.directory)} || exit\nexec {command}\n"
    )


def _directive(line: str) -> str:
    """Returns an option as sbatch reads it back from a line of the script."""
    if re.fullmatch(r"[\w@%+=:,./\[\]-]+", line, re.ASCII):
        return line
    return '"' + re.sub(r'(["\\])', r"\\\1", line) + '"'


def submit(sweep: Sweep, jobs: Sequence[Job], options: Any) -> list[Submission]:
    """Returns the submissions that jobs of a sweep were queued as: one, or more where an array would be too long."""
    done, size = [], 1 if len(jobs) == 1 else _largest_array()
    for start in range(0, len(jobs), size):
        submission = plan(sweep, jobs[start : start + size], options)
        text = script(submission)
        for job in submission.jobs:
            records.prepare(job, text)
        files.write_atomically(submission.beside(".sh"), text)
        records.write_submission(submission)  # before it is queued: a task may start at once
        try:
            output = _slurm("sbatch", "--parsable", str(submission.beside(".sh")))
        except LaunchError:
            for path in (submission.path, submission.beside(".sh")):
                path.unlink()
            raise
        handle = {"id": output.strip().split(";")[0]}
        submission = dataclasses.replace(submission, handle=handle)
        records.write_submission(submission)
        done.append(submission)
    return done


def plan(sweep: Sweep, jobs: Sequence[Job], options: Any) -> Submission:
    """Returns the next submission as it would be, nothing written."""
    number, path = records.new_path(sweep)
    return Submission(path, number, "slurm", dataclasses.asdict(options), sweep.directory, tuple(jobs))


def _largest_array() -> int:
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match.group(1)) - 1 if match else DEFAULT_ARRAY - 1)


def states(submission: Submission) -> dict[str, tuple[str, str]]:
    """Returns job name -> ("queued", "running" or "ended", what Slurm says) of the jobs that Slurm still knows."""
    if not (identity := submission.handle.get("id")):
        return {}
    try:
        command = ("squeue", "--noheader", "--array", "--states=all", f"--jobs={identity}")
        output = _slurm(*command, "--format=%i|%T|%r|%N")
    except LaunchError as error:
        if "Invalid job id" in str(error):  # ended long ago: Slurm forgets after some minutes
            return {}
        raise
    found = {}
    for line in output.splitlines():
        place, state, reason, nodes = (line.strip().split("|") + [""] * 4)[:4]
        _, _, index = place.partition("_")
        job = submission.jobs[int(index)] if index.isdigit() else submission.jobs[0]
        if state in LIVE:
            found[job.name] = ("queued", f"Slurm {place}, {reason}")
        elif state in AT_WORK:
            found[job.name] = ("running", f"Slurm {place} on {nodes}" + (", ending" if state == "COMPLETING" else ""))
        else:
            found[job.name] = (
                "ended",
                f"Slurm {place}: {state.lower()}" + (f" ({reason})" if reason != "None" else ""),
            )
    return found


def cancel(submission: Submission) -> None:
    """Ends a submission; returns when Slurm says that nothing of it is left.

    Raises:
        LaunchError: Slurm refuses, or the jobs do not end in time.
    """
    if not (identity := submission.handle.get("id")):
        return
    live = {name for name, (state, _) in states(submission).items() if state != "ended"}
    if not live:
        return
    _slurm("scancel", identity)
    deadline = time.monotonic() + CANCEL_SECONDS
    while live := [name for name, (state, _) in states(submission).items() if state != "ended"]:
        if time.monotonic() > deadline:
            raise LaunchError(f"{len(live)} jobs of Slurm job {identity} do not end, such as {live[0]}; see squeue")
        time.sleep(0.5)


def requeue(identity: str) -> None:
    """Puts the running job back into the queue; Slurm ends it and starts it again later."""
    _slurm("scontrol", "requeue", identity)


def state_of(identity: str) -> str:
    """Returns Slurm's word for the state of one job or array task, "" when it does not say."""
    match = re.search(r"\bJobState=(\S+)", _slurm("scontrol", "--oneliner", "show", "job", identity))
    return match.group(1) if match else ""


def _slurm(*command: str) -> str:
    """Returns what a command of Slurm prints.

    Raises:
        LaunchError: it is not there, takes too long, or complains.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise LaunchError(f"{command[0]} is not on the path: is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{command[0]} gave no answer in {COMMAND_SECONDS:.0f} s: is slurmctld up?") from None
    if done.returncode:
        raise LaunchError(f"{command[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout
