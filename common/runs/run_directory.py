"""A run directory is the unit of truth: what was asked, by which code, on what device, and what came out.

`flags.txt` (a flagfile that repeats the run), `meta.json` (command, commit, versions, device, times, status, files read
and written), `metrics.csv`, `result.json` (there only when the run finished), `checkpoints/`, `plots/`, `tables/`,
`parts/`.
An unfinished run is resumed by the same command, a finished one answers with its result, a second writer is refused.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common import config as config_lib
from common import files
from common import locking
from common.runs import metrics, provenance
from common.runs.metrics import Progress

FORMAT = "havel run 1"  # in meta.json: tells our directories from others
LOCK = ".lock"
DOTS_PER_INCH = 160  # of pictures
LAUNCH = "launch"  # the launcher's own folder: how often and where the run was started, and what it printed
UNFINISHED = re.compile(r"^\..*\.tmp$|orbax-checkpoint-tmp")  # names of what is being written
DISCARDED = "discarded"  # status while an overwritten run is being removed
IDLE = "calls_without_progress"  # in meta.json: how many in a row were stopped before they wrote anything to go on from
# What a run says of itself and shows: nothing of it is what the same command goes on from.
RECORDS = ("meta.json", "flags.txt", "error.txt", "metrics.csv", "report.html", LAUNCH, "plots", "tables", "parts")


class Preempted(Exception):
    """Raised by a loop that was asked to end and has written its checkpoint."""


class RunError(ValueError):
    """The run directory cannot be used; the text says why and what to do."""


class RunTakenError(RunError):
    """Another process writes there: the same command may do later."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What `main(config, run)` works with. Made by `open_run`, or by `open_for_test` without flags."""

    path: pathlib.Path
    metrics: metrics.Metrics
    is_main: bool = True
    result: dict | None = None  # set when the run had finished before
    news: tuple[str, ...] = ()  # what opening found out, for the user
    lock: locking.Lock | None = None
    watched: dict[pathlib.Path, dict] = dataclasses.field(default_factory=dict)  # folders as `watch` saw them

    @property
    def plots(self) -> pathlib.Path:
        """The folder of pictures (`NAME.png` or `.svg`, a caption in `NAME.txt`), made when missing."""
        return self._folder("plots")

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder for `checkpoint.Checkpointer`, made when missing."""
        return self._folder("checkpoints")

    def _folder(self, name: str) -> pathlib.Path:
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, text: str) -> None:
        """Prints a line on standard error, from process 0 only."""
        if self.is_main:
            metrics.log(text)

    def progress(
        self, total: int | None, description: str, start: int = 0
    ) -> contextlib.AbstractContextManager[Progress]:
        """Returns a context manager that yields a `metrics.Progress`."""
        return metrics.progress(total, description, start, self.is_main)

    def plot(self, name: str, figure: Any, caption: str = "") -> pathlib.Path:
        """Saves a matplotlib figure as `plots/NAME.png`, with a caption for the report; returns its path."""
        path = self.plots / f"{_plain(name)}.png"
        if self.is_main:
            with files.beside(path) as temporary:
                save_figure(figure, temporary)
            files.write_atomically(path.with_suffix(".txt"), caption + "\n")
        return path

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence], title: str = "", note: str = ""
    ) -> None:
        """Saves `tables/NAME.json` for the report: `rows` of numbers and texts, one cell for each of `columns`.

        Raises:
          ValueError: a row has another number of cells than there are columns.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {name!r}: a row has {len(row)} cells for {len(columns)} columns: {row}")
        table = {"title": title or name, "columns": list(columns), "rows": [list(row) for row in rows], "note": note}
        if self.is_main:
            files.write_json(self._folder("tables") / f"{_plain(name)}.json", table)

    def part(self, name: str, html: str, title: str = "", note: str = "") -> None:
        """Saves `parts/NAME.json` for the report: HTML of one's own, whose texts are escaped already.

        The report shows no scripts, no links and nothing to load, see `common.publishing.html_parts`.
        """
        part = {"title": title or name, "html": html, "note": note}
        if self.is_main:
            files.write_json(self._folder("parts") / f"{_plain(name)}.json", part)

    def inputs(self, *paths: str | os.PathLike) -> None:
        """Notes that the result depends on these files or directories.

        When one has changed since the run finished, the same command runs again.

        Raises:
          FileNotFoundError: one is missing.
          RunError: one changed since this unfinished run wrote its first checkpoint.
        """
        recorded_inputs = self.meta().get("inputs", {})
        for path in map(str, paths):
            fingerprint = files.fingerprint(path)
            has_checkpoint = any((self.path / "checkpoints").glob("*"))
            if has_checkpoint and recorded_inputs.get(_absolute(path), fingerprint) != fingerprint:
                raise RunError(f"{path} changed since the run in {self.path} began; --overwrite starts it afresh")
            recorded_inputs[_absolute(path)] = fingerprint
        self.note(inputs=recorded_inputs)

    def outputs(self, *paths: str | os.PathLike) -> None:
        """Notes files that the run has written outside its directory (call it once they are whole).

        When one is gone or changed later, the same command runs again instead of answering with the old result.
        """
        recorded_outputs = self.meta().get("outputs", {})
        self.note(outputs=recorded_outputs | {_absolute(path): files.fingerprint(path) for path in paths})

    def watch(self, folder: pathlib.Path) -> None:
        """Counts what is written below a folder from now on as progress of this run; its records aside."""
        self.watched.setdefault(folder, _work(folder))

    def has_progressed(self) -> bool:
        """Whether anything was written that the same command goes on from: checkpoints, parts, pieces of a study."""
        return any(_work(folder).items() - before.items() for folder, before in self.watched.items())

    def meta(self) -> dict:
        """Returns what `meta.json` holds now ({} in a test)."""
        return files.read_json(self.path / "meta.json") or {}

    def note(self, **entries: Any) -> None:
        """Sets entries of `meta.json`."""
        if self.is_main:
            files.write_json(self.path / "meta.json", self.meta() | entries)

    def finish(self, result: Mapping | None) -> dict:
        """Writes `result.json` and the status; returns the result as JSON has it."""
        cleaned = files.clean(dict(result or {}))
        self.metrics.flush()
        if self.is_main:
            files.write_json(self.path / "result.json", cleaned)
            self._end("finished", result=files.fingerprint(self.path / "result.json"), **{IDLE: 0})
        return cleaned

    def stop(self, status: str) -> None:
        """Notes how an unfinished run ended, "failed" or "interrupted", where that can be written at all."""
        if self.is_main:
            with contextlib.suppress(OSError):  # on a full disk the first cause is to be told, not this one
                self._end(status)

    def _end(self, status: str, **entries: Any) -> None:
        meta = self.meta()
        seconds = provenance.seconds_since(meta["starts"][-1]["started"]) if meta.get("starts") else 0.0
        seconds = round(meta.get("seconds", 0.0) + seconds, 3)
        self.note(status=status, ended=provenance.now(), seconds=seconds, **entries)

    def close(self) -> None:
        """Closes the metrics and lets go of the lock."""
        self.metrics.close()
        if self.lock is not None:
            self.lock.release()


def save_figure(figure: Any, path: pathlib.Path) -> None:
    """Writes a matplotlib figure as PNG."""
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")


def open_for_test(path: str | os.PathLike, **changes: Any) -> Run:
    """Returns a `Run` in `path` without flags, lock or history, for tests and notebooks."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    return Run(path, metrics.Metrics(path / "metrics.csv"), **changes)


def default_path(config: Any, verb: str) -> pathlib.Path:
    """Returns runs/<project>.<verb>/<hash of the config>."""
    return pathlib.Path("runs") / verb / config_lib.config_hash(config)


def open_run(
    path: str | os.PathLike,
    config: Any,
    *,
    verb: str,
    argv: Sequence[str] = (),
    overwrite: bool = False,
    trackers: Sequence[str] = (),
) -> Run:
    """Opens or makes the run directory of a config, alone: the caller is its writer until `Run.close`.

    The returned run has its `result` when it had finished and its files are unchanged; else it is to be run, from its
    checkpoints when it has some.

    Args:
      path: the directory.
      config: the verb's config.
      verb: "project.verb".
      argv: the command line, for the record.
      overwrite: remove what an earlier run left.
      trackers: names in `metrics.TRACKERS`.

    Raises:
      RunTakenError: another process writes there.
      RunError: the directory is another run's or not a run's.
      OSError: it cannot be written to.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise RunError(f"--run_dir={path} is a file; name a directory")
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "meta.json").exists() and (others := _foreign(path)):
        raise RunError(f"{path} is not a run directory and holds {others}; choose an empty or a new --run_dir")
    lock = _acquire(path)
    try:
        return _open_locked(path, config, verb, argv, overwrite, trackers, lock)
    except BaseException:
        lock.release()
        raise


def _open_locked(path, config, verb, argv, overwrite, trackers, lock) -> Run:
    meta = files.read_json(path / "meta.json") or {}
    if meta and meta.get("format") != FORMAT:
        raise RunError(f"{path} is not a run directory (its meta.json is another's); choose another --run_dir")
    news = []
    if meta and meta.get("verb") != verb:
        raise RunError(f"{path} holds a run of {meta.get('verb')}, not of {verb}; choose another --run_dir")
    if meta and not overwrite and meta.get("status") != DISCARDED:
        check_same(path, config)
        if (path / "result.json").exists():
            changed = changed_files(meta, path)
            if not changed:
                result = files.read_json(path / "result.json")
                if result is not None:
                    quiet = metrics.Metrics(path / "metrics.csv", enabled=False)
                    return Run(path, quiet, result=result, lock=lock)
                changed = [f"{path / 'result.json'} cannot be read"]
            news.append(f"{'; '.join(changed)} since this run finished: running again")
            overwrite = True
    idle = meta.get(IDLE, 0)  # of all calls in a row, those that started afresh too
    if meta and (overwrite or meta.get("status") == DISCARDED):
        _discard(path, meta)
        meta = {}
    stamp = provenance.start_record()
    if meta and (before := meta["starts"][-1]).get("commit") != stamp["commit"]:
        news.append(f"this run began at commit {before.get('commit')} and goes on at {stamp['commit']}")
    meta = {
        "format": FORMAT,
        "verb": verb,
        "status": "running",
        "argv": list(argv),
        "seed": getattr(config, "seed", None),
        **stamp,
        "inputs": meta.get("inputs", {}),
        "outputs": {},
        IDLE: idle,
        "seconds": meta.get("seconds", 0.0),
        "starts": [*meta.get("starts", []), {key: stamp[key] for key in ("started", "commit", "dirty")}],
    }
    files.remove(path / "error.txt")
    # flags.txt first: a directory with meta.json always says what it is a run of.
    files.write_atomically(path / "flags.txt", config_lib.flags_text(config, f"python -m {module_name(verb)}"))
    files.write_json(path / "meta.json", meta)
    trackers_ = metrics.open_trackers(trackers, path, verb, config_lib.to_texts(config))
    return Run(path, metrics.Metrics(path / "metrics.csv", trackers=trackers_), news=tuple(news), lock=lock)


def module_name(verb: str) -> str:
    """Returns the module that `python -m` runs for "project.verb"."""
    return f"projects.{verb}"


def _acquire(path: pathlib.Path) -> locking.Lock:
    try:
        return locking.acquire(path / LOCK)
    except locking.TakenError as error:
        raise RunTakenError(
            f"{path} is being written by {error.holder or 'a process without a name'}; wait for it, end it, or choose "
            f"another --run_dir{error.remedy}"
        ) from None


def _work(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Returns size and time of each whole file below a folder that is no record and no lock, by its relative name."""
    work = {}
    for path in folder.rglob("*"):
        names = path.relative_to(folder).parts
        if not any(name in RECORDS or UNFINISHED.search(name) or locking.is_lock(name, LOCK) for name in names):
            with contextlib.suppress(OSError):  # gone meanwhile
                if path.is_file():
                    stat = path.stat()
                    work["/".join(names)] = (stat.st_size, stat.st_mtime_ns)
    return work


def _foreign(path: pathlib.Path) -> str:
    """Names what lies in a directory without meta.json and cannot come from a run that was killed while it began."""
    names = sorted(item.name for item in path.iterdir())
    ours = (LAUNCH, "flags.txt")
    names = [name for name in names if name not in ours and not locking.is_lock(name, LOCK)]
    names = [name for name in names if not re.fullmatch(r"\..*\.tmp", name)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def check_same(path: pathlib.Path, config: Any) -> None:
    """Compares a run directory's flags with a config.

    Raises:
      RunError: they differ, and where.
    """
    try:
        lines = (path / "flags.txt").read_text().splitlines()
    except FileNotFoundError:
        raise RunError(f"{path} has lost its flags.txt; --overwrite starts the run afresh") from None
    old = dict(line[2:].split("=", 1) for line in lines if line.startswith("--") and "=" in line)
    old = config_lib.current_texts(type(config), old)
    new, own = config_lib.to_texts(config), config_lib.to_texts(config, identity_only=True)
    names = [name for name in {**old, **new} if name in own or name not in new]
    differing = [
        f"--{name} ({old.get(name, 'absent')} there, {new.get(name, 'absent')} now)"
        for name in names
        if old.get(name) != new.get(name)
    ]
    if differing:
        raise RunError(
            f"{path} holds a run with other flags: {', '.join(differing)}; choose another --run_dir, or --overwrite"
        )


def changed_files(meta: Mapping, path: pathlib.Path) -> list[str]:
    """Says which recorded files are no longer what they were when the run ended; a lost input alone changes nothing.

    Args:
      meta: of the run.
      path: its directory, whose `result.json` is such a file too.

    Raises:
      RunError: the run would have to be repeated, and cannot be.
    """
    inputs, outputs = meta.get("inputs", {}), meta.get("outputs", {})
    lost = [path for path in inputs if not os.path.exists(path)]
    changed = []
    result = {str(path / "result.json"): meta["result"]} if "result" in meta else {}  # older runs did not note it
    for name, expected in {**inputs, **outputs, **result}.items():
        if os.path.exists(name):
            if files.fingerprint(name) != expected:
                changed.append(f"{name} has changed")
        elif name in outputs:
            changed.append(f"{name} is missing")
    if changed and lost:
        raise RunError(f"{'; '.join(changed)} since this run finished, and it cannot run again without {lost[0]}")
    return changed


def _discard(path: pathlib.Path, meta: Mapping) -> None:
    """Removes everything a run left; killed half-way, the next opening goes on with it."""
    files.write_json(path / "meta.json", {**meta, "status": DISCARDED})
    for item in path.iterdir():
        if item.name not in (LAUNCH, "meta.json") and not locking.is_lock(item.name, LOCK):
            files.remove(item)


def _plain(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise ValueError(f"name {name!r}: use letters, digits, '_', '-' and '.'")
    return name


def _absolute(path: str | os.PathLike) -> str:
    return os.path.abspath(path)
