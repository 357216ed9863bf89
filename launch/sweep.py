"""A grid or a list of flags becomes jobs: one command line and one run directory each.

`--sweep="a=1,2;b=x,y"` is every combination; `--sweep_file` holds one JSON object of flags a line, for values with
commas and for lists that are no grid. A job is named by its flags: a sweep that grows keeps what it has computed.
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common import files

FORMAT = "havel sweep 1"
FOLDER = "launch"  # in a run directory or above several: what launching left
RUN_DIR = "{run_dir}"  # in a value: the job's own run directory, such as --output={run_dir}/model.dcb
LONGEST_NAME = 100  # characters of a job's name; file systems allow 255 bytes
MOST_JOBS = 100_000

Point = Mapping[str, str]


class LaunchError(ValueError):
    """What was asked for cannot be launched; the text is one line for the user."""


class BusyError(LaunchError):
    """Another process is at it: later."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
      name: unique in the sweep, fit for a file name.
      run_dir: absolute path.
      argv: what follows `python -m`: the module and its flags, `--run_dir` among them.
      flags: the swept flags, name -> text.
      identity: hash of what it computes, by the verb's own word.
    """

    name: str
    run_dir: str
    argv: tuple[str, ...]
    flags: Point = dataclasses.field(default_factory=dict)
    identity: str = ""

    @property
    def folder(self) -> pathlib.Path:
        """Where the job's command, script, log and attempts lie."""
        return pathlib.Path(self.run_dir) / FOLDER


def parse_grid(text: str) -> list[dict[str, str]]:
    """Returns every combination of `"a=1,2;b=x,y"` as flag -> text, the last flag varying fastest.

    Raises:
      LaunchError: an empty part, a value missing, a flag named twice.
    """
    axes: dict[str, list[str]] = {}
    form = 'expected --sweep="a=1,2;b=x,y"; a value with a comma or semicolon in it needs --sweep_file'
    for part in (piece.strip() for piece in text.split(";")):
        name, equals, values = part.partition("=")
        name, options = name.strip(), [value.strip() for value in values.split(",")]
        if not part or not equals or not all(options):
            raise LaunchError(f"--sweep={text!r}: {part!r} is no flag=value,value; {form}")
        _check_flag_name(name, f"--sweep={text!r}")
        if name in axes:
            raise LaunchError(f"--sweep={text!r}: {name} is there twice; write its values in one list")
        if len(set(options)) < len(options):
            raise LaunchError(f"--sweep={text!r}: {name} has the same value twice")
        axes[name] = options
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def read_list(path: pathlib.Path) -> list[dict[str, str]]:
    """Returns the points of a file with one JSON object a line: flag -> text, number, true, false, null or a list.

    Numbers keep the digits that they are written with; a list becomes its items with commas between; empty lines and
    lines that begin with # are passed over.

    Raises:
      LaunchError: names the line and what is wrong with it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LaunchError(f"--sweep_file={path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise LaunchError(f"--sweep_file={path} is not a text in UTF-8") from None
    points = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"--sweep_file={path}, line {number}"
        try:
            entry = json.loads(line, parse_float=_Digits, parse_int=_Digits, parse_constant=_Digits)
        except (ValueError, RecursionError) as error:
            raise LaunchError(f"{where}: not JSON ({error}); a line is one object, such as {{'seed': 1}}") from None
        if not isinstance(entry, dict) or not entry:
            raise LaunchError(f"{where}: expected an object of flags, such as {{'seed': 1}}, not {line.strip()[:60]}")
        for name in entry:
            _check_flag_name(name, where)
        points.append({name: _text(value, f"{where}: {name}") for name, value in entry.items()})
    if not points:
        raise LaunchError(f"--sweep_file={path} holds no line with flags")
    keys = set()
    for point in points:
        if (key := frozenset(point.items())) in keys:
            raise LaunchError(f"--sweep_file={path}: {json.dumps(point)} is there twice")
        keys.add(key)
    return points


class _Digits(str):
    """A number of JSON as it was written."""


def _text(value: Any, where: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join(_text(item, where) for item in value)
    raise LaunchError(f"{where}: expected a text, a number, true, false, null or a list of them, not {value!r}")


def _check_flag_name(name: str, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise LaunchError(f"{where}: {name!r} is no flag's name; write it without dashes, as in seed=0,1")
    if name in ("run_dir", "overwrite", "flagfile"):
        advice = "--sweep_dir names the folder of all runs" if name == "run_dir" else "give it after the verb"
        raise LaunchError(f"{where}: {name} cannot be swept; {advice}")


def job_name(point: Point) -> str:
    """Returns a readable name for a point, the same on every day: its flags, or as many as fit and a hash of all."""
    text = ",".join(f"{name}={value}" for name, value in point.items())
    plain = re.sub(r"[^\w.,=+-]+", "_", text, flags=re.ASCII)
    if plain == text and len(plain) <= LONGEST_NAME and not plain.startswith("."):
        return plain
    digest = hashlib.sha256(json.dumps(dict(point), sort_keys=True).encode()).hexdigest()[:10]
    return f"{plain[: LONGEST_NAME - 11]}-{digest}"


def make_jobs(module: str, arguments: Sequence[str], points: Sequence[Point], folder: pathlib.Path) -> list[Job]:
    """Returns a job for each point.

    Args:
      module: what `python -m` runs.
      arguments: the flags that all jobs share; `{run_dir}` in them, or in a swept value, is the job's run directory.
      points: swept flags.
      folder: of the sweep; a job's run directory is `folder/<name>`.

    Raises:
      LaunchError: a swept flag is among the shared ones too; too many jobs.
    """
    if len(points) > MOST_JOBS:
        raise LaunchError(f"a sweep of {len(points):,} jobs: {MOST_JOBS:,} at most; cut it in pieces")
    set_flags = {_flag_of(argument) for argument in arguments}
    jobs = []
    for point in points:
        if both := sorted(set_flags & {name for flag in point for name in (flag, f"no{flag}")}):
            raise LaunchError(f"--{both[0]} is swept and given after the verb too; leave one of them out")
        name = job_name(point)
        run_dir = str(folder.absolute() / name)
        flags = [*arguments, *(f"--{flag}={value}" for flag, value in point.items()), f"--run_dir={run_dir}"]
        jobs.append(Job(name, run_dir, (module, *_placed(flags, run_dir)), dict(point)))
    if len({job.name for job in jobs}) < len(jobs):
        raise LaunchError("two jobs of the sweep have the same flags")
    return jobs


def single_job(module: str, arguments: Sequence[str], run_dir: pathlib.Path, identity: str) -> Job:
    """Returns the only job of a launch without a sweep; its run directory is that of the verb run by hand."""
    path = str(run_dir.absolute())
    rest = [argument for argument in arguments if _flag_of(argument) != "run_dir"]
    return Job(run_dir.name, path, (module, *_placed([*rest, f"--run_dir={path}"], path)), {}, identity)


def _placed(arguments: Sequence[str], run_dir: str) -> list[str]:
    return [argument.replace(RUN_DIR, run_dir) for argument in arguments]


def _flag_of(argument: str) -> str:
    """Returns the name in --name or --name=value, or ""."""
    match = re.match(r"--?([A-Za-z_]\w*)(=|$)", argument)
    return match.group(1) if match else ""


def default_folder(module: str, arguments: Sequence[str], points: Sequence[Point]) -> pathlib.Path:
    """Returns runs/<project>.<verb>/sweep_<hash>: a sweep of the same flags over more values finds the same folder."""
    names = sorted({name for point in points for name in point})
    digest = hashlib.sha256(json.dumps([module, list(arguments), names]).encode()).hexdigest()[:8]
    return pathlib.Path("runs") / module.removeprefix("projects.") / f"sweep_{digest}"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What `FOLDER/sweep.json` holds.

    Attributes:
      folder: absolute; for a single job its run directory.
      module: what `python -m` runs.
      arguments: the shared flags as they were given.
      directory: where the jobs run.
      options: the launcher's flags at the last submission.
      jobs: all jobs that were ever asked for here, in order.
    """

    folder: pathlib.Path
    module: str
    arguments: tuple[str, ...]
    directory: str
    options: Mapping[str, Any]
    jobs: tuple[Job, ...]

    @property
    def place(self) -> pathlib.Path:
        """The folder of what launching left."""
        return self.folder / FOLDER


def save(sweep: Sweep) -> None:
    """Writes `sweep.json`, whole or not at all."""
    entry = dataclasses.asdict(sweep) | {"format": FORMAT}
    entry.pop("folder")
    for job in entry["jobs"]:  # beside the folder, so that a sweep that is moved or copied can still be read
        job["run_dir"] = str(pathlib.Path(job["run_dir"]).relative_to(sweep.folder))
    sweep.place.mkdir(parents=True, exist_ok=True)
    files.write_json(sweep.place / "sweep.json", entry)


def load(folder: str | pathlib.Path) -> Sweep:
    """Returns the sweep that was launched into a folder.

    Raises:
      LaunchError: nothing was.
    """
    path = pathlib.Path(folder).absolute()
    entry = files.read_json(path / FOLDER / "sweep.json")
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        raise LaunchError(
            f"{folder} is not what launch.run made: it has no readable {FOLDER}/sweep.json; "
            "name the folder that was printed when it was launched"
        )
    jobs = tuple(
        Job(job["name"], str(path / job["run_dir"]), tuple(job["argv"]), dict(job["flags"]), job["identity"])
        for job in entry["jobs"]
    )
    return Sweep(path, entry["module"], tuple(entry["arguments"]), entry["directory"], entry["options"], jobs)


def merge(new: Sweep) -> Sweep:
    """Returns `new` with the jobs that its folder knows already before its own.

    Raises:
      LaunchError: a job of the same name computes something else there.
    """
    if not (new.place / "sweep.json").exists():
        return new
    old = load(new.folder)
    identities = {job.name: job.identity for job in old.jobs}
    changed = [job.name for job in new.jobs if identities.get(job.name, job.identity) != job.identity]
    if changed or old.module != new.module:
        what = f"{changed[0]} was launched" if changed else "jobs were launched"
        raise LaunchError(
            f"{what} into {new.folder} by another command: python -m {' '.join((old.module, *old.arguments))[:300]}; "
            "choose another folder (--sweep_dir, or --run_dir of a single run), or --overwrite to forget what is there"
        )
    names = {job.name for job in new.jobs}
    return dataclasses.replace(new, jobs=(*(job for job in old.jobs if job.name not in names), *new.jobs))
