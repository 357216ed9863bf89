"""One job inside a batch script of Slurm: `python -m launch.task SUBMISSION_FILE`, written there by `launch.slurm`.

It starts the job's processes with srun, writes down how they ended by their own word, and asks Slurm to queue the job
again after a preemption, when another process has the run directory, or, a bounded number of times, after it lost a
process or its machine. srun's exit code proves nothing: it is 0, too, when a machine goes down. Exit codes are those of
the verb; 75: queued again.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from common import files
from launch import records, slurm
from launch.records import Submission
from launch.sweep import Job, LaunchError

REQUEUE_SECONDS = 120.0  # for Slurm to end this script once it has agreed to queue the job again


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of the batch script."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # the job's processes get them from Slurm; this one outlives them
        signal.signal(number, lambda *_: None)
    submission = records.read_submission(pathlib.Path(argv[1]))
    many = len(submission.jobs) > 1  # an array; a single job may have inherited somebody else's index
    job = submission.jobs[int(os.environ["SLURM_ARRAY_TASK_ID"]) if many else 0]
    if records.is_finished(job):
        return 0
    if submission.is_cancelled or records.is_superseded(submission, job):  # Slurm queued it again by itself
        print(f"{job.name}: cancelled, or submitted again meanwhile; nothing to do", file=sys.stderr, flush=True)
        return 0
    most = submission.options["max_restarts"]
    if (losses := records.losses(job, submission.number, is_over=True)) > most:
        note = f"lost {losses} times, with its machine or a process; --max_restarts={most}"
        records.note_end(job, submission.number, records.LOST, [], False, note)
        return 1
    identity = os.environ["SLURM_JOB_ID"]
    place = f"Slurm {_printed_id()} on {os.environ.get('SLURM_JOB_NODELIST', '?')}"
    records.note_start(job, submission.number, place)
    codes = run(submission, job)
    result, note = records.judge(job, codes)
    if result != records.FINISHED and submission.is_cancelled:
        records.note_end(job, submission.number, records.CANCELLED, codes, False)
        return records.INTERRUPTED
    again = records.goes_on(job, result, submission.number, most)
    if again and not _is_running(identity):
        again = records.BY_SLURM
    records.note_end(job, submission.number, result, codes, again, note)
    if again is True:
        return _again(identity)
    exits = [code for code in codes if code is not None and 0 < code < 256]
    return 0 if result == records.FINISHED else max(exits, default=1)


def run(submission: Submission, job: Job) -> list[int | None]:
    """Runs the job's processes; returns the exit codes that they wrote, None for one that was killed before."""
    options = submission.options
    count = options["nodes"] * options["processes_per_node"]
    reports = _new_reports(submission, job)
    # All of this script's variables, also where sbatch was told of --export=NONE and srun would take that over.
    command = ["srun", "--kill-on-bad-exit=1", "--wait=0", "--mpi=none", "--export=ALL", f"--nodes={options['nodes']}"]
    command += [f"--ntasks={count}", f"--ntasks-per-node={options['processes_per_node']}"]
    if options["cpus"]:
        command.append(f"--cpus-per-task={options['cpus']}")  # srun does not take it over from sbatch
    if count > 1:
        command.append("--label")
    command += [sys.executable, "-m", *job.argv]
    with records.log_path(job).open("ab") as log:
        environment = os.environ | {"HAVEL_EXIT_CODES": str(reports)}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        code = process.wait()
    codes = [_report(reports / str(rank)) for rank in range(count)]
    if codes == [None] and code in records.TERMINATED:  # a verb that does not look out for SIGTERM: no loss
        return [code]
    if code in range(1, 128) and not any(reports.iterdir()):
        codes.append(code)  # none of them ever began: a module that does not import, a node without Python
    return codes


def _new_reports(submission: Submission, job: Job) -> pathlib.Path:
    """Returns the empty folder for what this attempt's processes write: another's late word must not count for it."""
    files.remove(job.folder / "exit_codes")
    starts = sum(entry["event"] == "start" for entry in records.attempts(job))
    reports = job.folder / "exit_codes" / f"{submission.number}.{starts}"
    reports.mkdir(parents=True)
    return reports


def _report(path: pathlib.Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _is_running(identity: str) -> bool:
    """Returns whether Slurm has not decided on the job yet.

    It has when the job was cancelled by scancel, which must stay so, or preempted without time to end by itself: then
    it is in the queue again already.
    """
    with contextlib.suppress(LaunchError):
        return slurm.state_of(identity) in ("RUNNING", "")
    return True


def _again(identity: str) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Slurm ends this script now; the sooner, the sooner others may run
    try:
        slurm.requeue(identity)
    except LaunchError as error:
        if not _is_running(identity):  # Slurm was faster, as after the loss of a machine
            return records.PREEMPTED
        print(f"could not be queued again: {error}; submit it again by hand", file=sys.stderr, flush=True)
        return records.PREEMPTED
    time.sleep(REQUEUE_SECONDS)
    return records.PREEMPTED


def _printed_id() -> str:
    """Returns the name that squeue and scancel use: 12, or 12_3 in an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


if __name__ == "__main__":
    sys.exit(main(sys.argv))
