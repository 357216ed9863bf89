"""From a command line to jobs under way: what is to run, checked by the verb itself, and handed to an engine.

A job that has finished, or is under way, is not handed over again; one launcher at a time works on a folder.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from common import config as config_lib
from common import files, locking
from launch import commands, local, records, status
from launch import sweep as sweep_lib
from launch.sweep import BusyError, LaunchError, Sweep

LOCK = ".lock"


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
        None, "jobs of the sweep at a time (local: 1; slurm: as many as the cluster takes)", minimum=1
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


def make_sweep(options: LaunchConfig, command: Sequence[str]) -> Sweep:
    """Returns the sweep of a command line; its jobs are checked by the verb itself.

    Raises:
      LaunchError: anything about it that cannot be.
    """
    module, arguments, directory = command[0], tuple(command[1:]), os.getcwd()
    values, flags = dataclasses.asdict(options), {argument.split("=")[0].lstrip("-") for argument in arguments}
    if "overwrite" in flags:
        raise LaunchError("--overwrite after the verb would start afresh at every restart; give it before the --")
    if options.sweep is None and options.sweep_file is None:
        if options.sweep_dir:
            raise LaunchError("--sweep_dir is for sweeps; a single run is put where --run_dir after the verb says")
        ((run_dir, identity),) = commands.check([[module, *arguments]], directory)
        job = sweep_lib.single_job(module, arguments, pathlib.Path(run_dir), identity)
        return Sweep(pathlib.Path(job.run_dir), module, arguments, directory, values, (job,))
    if "run_dir" in flags:
        raise LaunchError(
            "--run_dir is one directory for all jobs of the sweep; give --sweep_dir before the -- instead"
        )
    points = sweep_lib.parse_grid(options.sweep) if options.sweep is not None else None
    points = sweep_lib.read_list(pathlib.Path(options.sweep_file)) if points is None else points
    folder = pathlib.Path(options.sweep_dir or sweep_lib.default_folder(module, arguments, points)).absolute()
    jobs = sweep_lib.make_jobs(module, arguments, points, folder)
    answers = commands.check([job.argv for job in jobs], directory)
    jobs = [dataclasses.replace(job, identity=own) for job, (_, own) in zip(jobs, answers, strict=True)]
    return Sweep(folder, module, arguments, directory, values, tuple(jobs))


def submit(sweep: Sweep, options: LaunchConfig, names: Sequence[str]) -> int:
    """Submits those of the named jobs that have neither finished nor are under way; returns the exit code."""
    standing = {item.job.name: item.state for item in status.survey(sweep)}
    finished = [name for name in names if standing[name] == records.FINISHED]
    alive = [name for name in names if standing[name] in status.ALIVE]
    if finished or alive:
        rest = len(names) - len(finished) - len(alive)
        say(f"{len(finished)} finished before, {len(alive)} under way, {rest} to submit")
    pending = set(names) - set(finished) - set(alive)
    jobs = [job for job in sweep.jobs if job.name in pending]
    sweep_lib.save(dataclasses.replace(sweep, options=dataclasses.asdict(options)))
    if not jobs:
        return 0
    engine = status.ENGINES[options.engine]
    submitted = engine.submit(sweep, jobs, options)
    folder = shown(sweep.folder)
    if options.engine == "slurm":
        identities = ", ".join(item.handle["id"] for item in submitted)
        say(f"submitted {len(jobs)} job{'s' if len(jobs) > 1 else ''} to Slurm as {identities}")
    if options.engine == "slurm" or options.detach:
        print(folder)
        say(f"python -m launch.run status {folder}    (also: wait, cancel, results, resubmit, log)")
        return 0
    code = local.run(submitted[0], say)
    if len(jobs) > 1 or code == 1:
        say(status.table(status.survey(sweep)))
    if code == records.PREEMPTED:
        say("stopped; the same command goes on from the checkpoints")
    print(folder)
    return code


@contextlib.contextmanager
def alone(sweep: Sweep) -> Iterator[None]:
    """Lets one launcher at a time work on a folder."""
    sweep.place.mkdir(parents=True, exist_ok=True)
    try:
        lock = locking.acquire(sweep.place / LOCK)
    except locking.TakenError as error:
        who = error.holder or "no name"
        raise BusyError(f"another launch.run ({who}) works on {sweep.folder}; wait for it{error.remedy}") from None
    try:
        yield
    finally:
        lock.release()


def forget(sweep: Sweep) -> None:
    """Removes what an earlier launch left: its record and its runs; refuses while they are under way."""
    if not (sweep.place / "sweep.json").exists():
        return
    old = sweep_lib.load(sweep.folder)
    if alive := [item.job.name for item in status.survey(old) if item.state in status.ALIVE]:
        raise LaunchError(f"--overwrite: {len(alive)} jobs are under way, such as {alive[0]}; cancel them first")
    for job in old.jobs:
        for item in pathlib.Path(job.run_dir).glob("*"):
            if item != sweep.place:
                files.remove(item)
    for item in sweep.place.iterdir():
        if not locking.is_lock(item.name, LOCK):
            files.remove(item)


def shown(path: pathlib.Path) -> str:
    """Returns a path as one would type it here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(pathlib.Path.cwd()))
    return str(path)


def say(text: str) -> None:
    """Prints a line for the person at the prompt; standard output is for what a script may read."""
    print(text, file=sys.stderr, flush=True)
