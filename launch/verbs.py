"""What can be asked of a sweep once it was launched: status, wait, cancel, results, resubmit, log."""

import dataclasses
import math
import shutil
import sys
from collections.abc import Callable, Sequence

from common import config as config_lib
from common import files
from launch import records, results, status
from launch import sweep as sweep_lib
from launch.submit import LaunchConfig, alone, say, shown, submit
from launch.sweep import LaunchError, Sweep

INTERVALS = {"local": 0.3, "slurm": 10.0}  # seconds between two looks while waiting


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbConfig:
    """Flags of status, wait, cancel, results, resubmit and log."""

    timeout: float = config_lib.field(math.inf, "wait: seconds until it gives up with exit code 75", minimum=0.0)
    interval: float | None = config_lib.field(
        None, "wait: seconds between two looks (none: 0.3 here, 10 on Slurm)", exclusive_minimum=0.0
    )
    pareto: str | None = config_lib.field(
        None, 'results: draw one result against another and their front, as in "bytes:min,test_accuracy:max"'
    )


def call(name: str, arguments: Sequence[str]) -> int:
    """Returns the exit code of one of `VERBS` with the rest of its command line."""
    words = [item for item in arguments if not item.startswith("-")]
    (options,) = config_lib.parse(["launch.run", *(item for item in arguments if item.startswith("-"))], VerbConfig)
    most = 2 if name == "log" else 1
    if not 1 <= len(words) <= most:
        raise LaunchError(
            f"{name} takes one folder, the one that launching printed: python -m launch.run {name} SWEEP_DIR"
        )
    sweep = sweep_lib.load(words[0])
    return VERBS[name](sweep, options, *words[1:])


def _status(sweep: Sweep, options: VerbConfig) -> int:
    states = status.survey(sweep)
    print(status.table(states))
    if any(item.state in (*status.BAD, *status.LATER) for item in states):
        say(f"python -m launch.run resubmit {shown(sweep.folder)}    starts those again that have not finished")
    return 0


def _wait(sweep: Sweep, options: VerbConfig) -> int:
    interval = options.interval or INTERVALS[sweep.options["engine"]]
    states = status.wait(sweep, options.timeout, interval, say)
    if status.exit_code(states):
        print(status.table(states))
    return status.exit_code(states)


def _cancel(sweep: Sweep, options: VerbConfig) -> int:
    before = [item for item in status.survey(sweep) if item.state in status.ALIVE]
    for submission in records.submissions(sweep):  # also an earlier one that the engine still has
        engine = status.ENGINES[submission.engine]
        if any(state in status.ALIVE for state, _ in engine.states(submission).values()):
            files.write_atomically(submission.beside(".cancelled"), "")  # first: nothing of it starts again
            engine.cancel(submission)
    say(f"cancelled {len(before)} job{'s' if len(before) != 1 else ''}; " + status.summary(status.survey(sweep)))
    return 0


def _results(sweep: Sweep, options: VerbConfig) -> int:
    table, page = results.write(sweep, status.survey(sweep), options.pareto)
    print(results.text(table))
    say(f"{shown(sweep.folder / 'results.csv')}\n{shown(page)}")
    return 0


def _resubmit(sweep: Sweep, options: VerbConfig) -> int:
    fields = {item.name for item in dataclasses.fields(LaunchConfig)}
    again = LaunchConfig(**{name: value for name, value in sweep.options.items() if name in fields})
    status.ENGINES[again.engine].check(again)
    with alone(sweep):
        return submit(sweep, again, [job.name for job in sweep.jobs])


def _log(sweep: Sweep, options: VerbConfig, name: str | None = None) -> int:
    if name is None and len(sweep.jobs) > 1:
        states = status.survey(sweep)
        wrong = [item.job.name for item in states if item.state in status.BAD] or [job.name for job in sweep.jobs]
        raise LaunchError(f"which job's log? For example: python -m launch.run log {shown(sweep.folder)} {wrong[0]}")
    matches = [job for job in sweep.jobs if name in (None, job.name)]
    if not matches:
        raise LaunchError(f"no job {name!r} in {shown(sweep.folder)}; status lists them")
    path = records.log_path(matches[0])
    if not path.exists():
        raise LaunchError(f"{matches[0].name} has printed nothing so far: {path} is not there")
    with path.open("rb") as file:
        sys.stdout.flush()
        shutil.copyfileobj(file, sys.stdout.buffer)
    return 0


VERBS: dict[str, Callable[..., int]] = {
    "status": _status,
    "wait": _wait,
    "cancel": _cancel,
    "results": _results,
    "resubmit": _resubmit,
    "log": _log,
}
