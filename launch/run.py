"""Runs a verb here or on a cluster, once or as a sweep: `python -m launch.run [--flag=value ...] -- VERB --flag...`

  python -m launch.run -- projects.deepcabac.train --flagfile=projects/deepcabac/flags/lenet_300_100.flags
  python -m launch.run --engine=slurm --time=2:00:00 --gpus=1 --sweep="seed=0,1,2" -- projects.deepcabac.train ...
  python -m launch.run status|wait|cancel|results|resubmit|log SWEEP_DIR

The same command again submits only what has neither finished nor is under way. {run_dir} in a flag of the verb stands
for the run directory of the job, as in --output={run_dir}/model.dcb. Exit codes: 0 done, 1 a job failed, 2 the command
line cannot be used, 75 there is more to do (the same command, or resubmit, goes on).
"""

import contextlib
import dataclasses
import fcntl
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence

from common import config as config_lib
from common import files
from launch import commands, local, records, results, slurm, status
from launch import sweep as sweep_lib
from launch.sweep import LaunchError, Sweep

INTERVALS = {"local": 0.3, "slurm": 10.0}  # seconds between two looks while waiting


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """Where and how jobs run."""

    engine: str = config_lib.field(
        "local", "this machine, or the Slurm cluster it belongs to", choices=tuple(status.ENGINES)
    )
    sweep: str | None = config_lib.field(None, 'every combination of values, as in "seed=0,1;step=0.01,0.02"')
    sweep_file: str | None = config_lib.field(None, "a file with one JSON object of flags a line, for any other list")
    sweep_dir: str | None = config_lib.field(
        None, "folder of the sweep; by default runs/<project>.<verb>/sweep_<hash of the command>"
    )
    dry_run: bool = config_lib.field(False, "print what would be submitted, and leave nothing")
    overwrite: bool = config_lib.field(False, "start afresh: remove what earlier launches into the same folder left")
    detach: bool = config_lib.field(False, "local: return at once and let the jobs run on; status and cancel find them")
    parallel: int | None = config_lib.field(
        None, "jobs at a time (local: 1; slurm: as many as the cluster takes)", minimum=1
    )
    nodes: int = config_lib.field(1, "machines a job", minimum=1)
    processes_per_node: int = config_lib.field(1, "processes of a job on each machine", minimum=1)
    gpus: int | None = config_lib.field(None, "GPUs of a job on each machine", minimum=1)
    cpus: int | None = config_lib.field(None, "slurm: processor cores of each process", minimum=1)
    time: str | None = config_lib.field(None, "slurm: time limit, such as 2:00:00; a job goes on after it by itself")
    partition: str | None = config_lib.field(None, "slurm: partition, or several with commas")
    sbatch: str | None = config_lib.field(None, 'slurm: more options of sbatch, such as "--account=lab --mem=32G"')
    max_restarts: int = config_lib.field(
        3, "times that a job starts again after a process of it was lost (preemptions do not count)", minimum=0
    )
    grace: float = config_lib.field(60.0, "seconds for a checkpoint once a job is asked to stop", exclusive_minimum=0.0)

    def __post_init__(self):
        if self.sweep is not None and self.sweep_file is not None:
            raise ValueError("give --sweep or --sweep_file, not both")


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


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of a command line."""
    own = list(argv[1 : argv.index("--")]) if "--" in argv else list(argv[1:])
    if not own and "--" not in argv or any(item in ("--help", "-h", "-help", "--helpfull") for item in own):
        return _print_help()
    try:
        if own and own[0] in VERBS:
            return _verb(own[0], own[1:])
        if "--" not in argv:
            raise LaunchError(_no_command(own))
        (options,) = config_lib.parse(["launch.run", *own], LaunchConfig)
        return launch(options, list(argv[argv.index("--") + 1 :]))
    except (LaunchError, config_lib.FlagError) as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", records.INTERRUPTED)


def _no_command(own: Sequence[str]) -> str:
    words = [item for item in own if not item.startswith("-")]
    if words and "." not in words[0]:
        return f"unknown verb {words[0]!r}; expected any of {', '.join(VERBS)}, or flags, --, and a command"
    return "what should run? Write it after two dashes: python -m launch.run [flags] -- projects.NAME.VERB --flag=value"


def launch(options: LaunchConfig, command: Sequence[str]) -> int:
    """Launches a verb; returns the exit code: with the local engine that of its jobs."""
    if not command:
        raise LaunchError("nothing stands after --; expected a verb and its flags, as in -- projects.deepcabac.train")
    engine = status.ENGINES[options.engine]
    engine.check(options)
    sweep = make_sweep(options, command)
    if options.dry_run:
        return _dry_run(sweep, options)
    with _alone(sweep):
        if options.overwrite:
            _forget(sweep)
        return submit(sweep_lib.merge(sweep), options, [job.name for job in sweep.jobs])


def make_sweep(options: LaunchConfig, command: Sequence[str]) -> Sweep:
    """Returns the sweep of a command line; its jobs are checked by the verb itself.

    Raises:
        LaunchError: anything about it that cannot be.
    """
    module, arguments, directory = command[0], tuple(command[1:]), os.getcwd()
    stated, given = dataclasses.asdict(options), {argument.split("=")[0].lstrip("-") for argument in arguments}
    if "overwrite" in given:
        raise LaunchError("--overwrite after the verb would start afresh at every restart; give it before the --")
    if options.sweep is None and options.sweep_file is None:
        if options.sweep_dir:
            raise LaunchError("--sweep_dir is for sweeps; a single run is put where --run_dir after the verb says")
        ((run_dir, identity),) = commands.check([[module, *arguments]], directory)
        job = sweep_lib.single_job(module, arguments, pathlib.Path(run_dir), identity)
        return Sweep(pathlib.Path(job.run_dir), module, arguments, directory, stated, (job,))
    if "run_dir" in given:
        raise LaunchError(
            "--run_dir is one directory for all jobs of the sweep; give --sweep_dir before the -- instead"
        )
    points = sweep_lib.parse_grid(options.sweep) if options.sweep is not None else None
    points = sweep_lib.read_list(pathlib.Path(options.sweep_file)) if points is None else points
    folder = pathlib.Path(options.sweep_dir or sweep_lib.default_folder(module, arguments, points)).absolute()
    jobs = sweep_lib.make_jobs(module, arguments, points, folder)
    answers = commands.check([job.argv for job in jobs], directory)
    jobs = [dataclasses.replace(job, identity=own) for job, (_, own) in zip(jobs, answers, strict=True)]
    return Sweep(folder, module, arguments, directory, stated, tuple(jobs))


def submit(sweep: Sweep, options: LaunchConfig, names: Sequence[str]) -> int:
    """Submits those of the named jobs that have neither finished nor are under way; returns the exit code."""
    standing = {item.job.name: item.state for item in status.survey(sweep)}
    done = [name for name in names if standing[name] == records.FINISHED]
    alive = [name for name in names if standing[name] in status.ALIVE]
    if done or alive:
        _say(f"{len(done)} finished before, {len(alive)} under way, {len(names) - len(done) - len(alive)} to submit")
    jobs = [job for job in sweep.jobs if job.name in set(names) - set(done) - set(alive)]
    sweep_lib.save(dataclasses.replace(sweep, options=dataclasses.asdict(options)))
    if not jobs:
        return 0
    engine = status.ENGINES[options.engine]
    submitted = engine.submit(sweep, jobs, options)
    folder = _shown(sweep.folder)
    if options.engine == "slurm":
        identities = ", ".join(item.handle["id"] for item in submitted)
        _say(f"submitted {len(jobs)} job{'s' if len(jobs) > 1 else ''} to Slurm as {identities}")
    if options.engine == "slurm" or options.detach:
        print(folder)
        _say(f"python -m launch.run status {folder}    (also: wait, cancel, results, resubmit, log)")
        return 0
    code = local.run(submitted[0], _say)
    if len(jobs) > 1 or code == 1:
        _say(status.table(status.survey(sweep)))
    if code == records.PREEMPTED:
        _say("stopped; the same command goes on from the checkpoints")
    print(folder)
    return code


def _dry_run(sweep: Sweep, options: LaunchConfig) -> int:
    """Prints the scripts and the command lines that a submission would hand over."""
    if options.engine == "slurm":
        print(slurm.script(slurm.plan(sweep, sweep.jobs, options)))
        print("# Its jobs:")
    else:
        parallel = options.parallel or 1
        print(f"# In {sweep.directory}, {parallel} at a time, {options.processes_per_node} process(es) each:")
    for job in sweep.jobs:
        print(("# " if options.engine == "slurm" else "") + records.command_text(job.argv))
    return 0


@contextlib.contextmanager
def _alone(sweep: Sweep) -> Iterator[None]:
    """Lets one launcher at a time work on a folder."""
    sweep.place.mkdir(parents=True, exist_ok=True)
    with (sweep.place / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LaunchError(f"another launch.run works on {sweep.folder}; wait for it") from None
        yield


def _forget(sweep: Sweep) -> None:
    """Removes what an earlier launch left: its record and its runs; refuses while they are under way."""
    if not (sweep.place / "sweep.json").exists():
        return
    old = sweep_lib.load(sweep.folder)
    if alive := [item.job.name for item in status.survey(old) if item.state in status.ALIVE]:
        raise LaunchError(f"--overwrite: {len(alive)} jobs are under way, such as {alive[0]}; cancel them first")
    kept = (sweep.place, sweep.place / ".lock")
    for job in old.jobs:
        for item in pathlib.Path(job.run_dir).glob("*"):
            if item not in kept:
                files.remove(item)
    for item in sweep.place.iterdir():
        if item not in kept:
            files.remove(item)


def _verb(name: str, arguments: Sequence[str]) -> int:
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
    if any(item.state in (*status.BAD, records.STOPPED, records.CANCELLED) for item in states):
        _say(f"python -m launch.run resubmit {_shown(sweep.folder)}    starts those again that have not finished")
    return 0


def _wait(sweep: Sweep, options: VerbConfig) -> int:
    interval = options.interval or INTERVALS[sweep.options["engine"]]
    states = status.wait(sweep, options.timeout, interval, _say)
    if status.exit_code(states):
        print(status.table(states))
    return status.exit_code(states)


def _cancel(sweep: Sweep, options: VerbConfig) -> int:
    before = [item for item in status.survey(sweep) if item.state in status.ALIVE]
    alive = {item.submission.path: item.submission for item in before if item.submission is not None}
    for submission in alive.values():
        files.write_atomically(submission.beside(".cancelled"), "")  # first: nothing of it starts again
        status.ENGINES[submission.engine].cancel(submission)
    _say(f"cancelled {len(before)} job{'s' if len(before) != 1 else ''}; " + status.summary(status.survey(sweep)))
    return 0


def _results(sweep: Sweep, options: VerbConfig) -> int:
    table, page = results.write(sweep, status.survey(sweep), options.pareto)
    print(results.text(table))
    _say(f"{_shown(sweep.folder / 'results.csv')}\n{_shown(page)}")
    return 0


def _resubmit(sweep: Sweep, options: VerbConfig) -> int:
    known = {item.name for item in dataclasses.fields(LaunchConfig)}
    again = LaunchConfig(**{name: value for name, value in sweep.options.items() if name in known})
    status.ENGINES[again.engine].check(again)
    with _alone(sweep):
        return submit(sweep, again, [job.name for job in sweep.jobs])


def _log(sweep: Sweep, options: VerbConfig, name: str | None = None) -> int:
    if name is None and len(sweep.jobs) > 1:
        states = status.survey(sweep)
        wrong = [item.job.name for item in states if item.state in status.BAD] or [job.name for job in sweep.jobs]
        raise LaunchError(f"which job's log? For example: python -m launch.run log {_shown(sweep.folder)} {wrong[0]}")
    found = [job for job in sweep.jobs if name in (None, job.name)]
    if not found:
        raise LaunchError(f"no job {name!r} in {_shown(sweep.folder)}; status lists them")
    path = records.log_path(found[0])
    if not path.exists():
        raise LaunchError(f"{found[0].name} has printed nothing so far: {path} is not there")
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


def _shown(path: pathlib.Path) -> str:
    """Returns a path as one would type it here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(pathlib.Path.cwd()))
    return str(path)


def _print_help() -> int:
    print(__doc__.strip(), "\n\nFlags:\n\n", config_lib.help_text(LaunchConfig), sep="")
    print("\nFlags of status, wait, cancel, results, resubmit and log:\n\n", config_lib.help_text(VerbConfig), sep="")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> int:
    _say(f"error: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
