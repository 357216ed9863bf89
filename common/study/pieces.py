"""A study is a list of named pieces, each a verb's run directory `runs/<verb>/<name>`: run here, elsewhere, or taken.

See the package's docstring for how a project's `study.py` looks.
"""

import dataclasses
import importlib
import json
import pathlib
import re
import shlex
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common import config as config_lib
from common import files
from common.runs import provenance, run_directory
from common.runs.run_directory import Preempted, Run, RunError
from common.study import expected_time
from common.study.finished import Finished

RUN, TAKE, LIST = "run", "take", "list"


@dataclasses.dataclass(frozen=True)
class Piece:
    """One run of a verb.

    Attributes:
      name: of its run directory; "" is the hash of its settings, as the verb itself names it.
      verb: "project.verb"; its module has `main(settings, run)`.
      settings: an instance of the verb's config.
      needs: pieces that come first; the weights in their run directories are inputs: where they change, it runs again.
      seed: replaces that of the settings.
      runs, folder: the run directory is `runs/<folder>/<name>`, the folder by default that of the verb.
      cost: what it takes beside other pieces of the same verb, in any unit; for the progress bar. None: not known.
    """

    name: str
    verb: str
    settings: Any
    needs: tuple["Piece", ...] = ()
    seed: dataclasses.InitVar[int | None] = None
    runs: str = "runs"
    folder: str = ""
    cost: float | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self, seed: int | None):
        settings = self.settings if seed is None else dataclasses.replace(self.settings, seed=seed)
        object.__setattr__(self, "settings", config_lib.validate(settings))
        object.__setattr__(self, "name", self.name or config_lib.config_hash(self.settings))
        object.__setattr__(self, "runs", str(self.runs))
        object.__setattr__(self, "needs", tuple(self.needs))
        if not re.fullmatch(r"[\w,=+-][\w.,=+-]*", self.name):
            raise ValueError(f"piece {self.name!r}: a name has letters, digits and any of _ . , = + -")
        if not re.fullmatch(r"\w+\.\w+", self.verb):
            raise ValueError(f'piece {self.name}: verb {self.verb!r}; expected "project.verb"')

    @property
    def path(self) -> pathlib.Path:
        """The run directory."""
        return pathlib.Path(self.runs) / (self.folder or self.verb) / self.name

    @property
    def key(self) -> str:
        """As lists and flags name it, such as "levy_attack.attack/mlp_coordinatewise_2_seed0"."""
        return f"{self.folder or self.verb}/{self.name}"


def for_seeds(piece: Piece, seeds: Iterable[int]) -> tuple[Piece, ...]:
    """Returns a piece a seed, named NAME_seed0 and so on."""
    return tuple(dataclasses.replace(piece, name=f"{piece.name}_seed{seed}", seed=seed) for seed in seeds)


def ordered(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Returns the pieces and all that they need, each once and after what it needs, else in the order given.

    Raises:
      ValueError: two pieces of different settings are in one run directory.
    """
    places: dict[pathlib.Path, Piece] = {}

    def add(piece: Piece) -> None:
        for other in piece.needs:
            add(other)
        if places.setdefault(piece.path, piece) != piece:
            raise ValueError(f"two pieces of different settings or needs are named {piece.key}; rename one")

    for piece in pieces:
        add(piece)
    return tuple(places.values())


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What there is of a study.

    Attributes:
      finished: by piece.
      missing: by piece, why it is not there.
      is_partial: only a list or one piece was asked for: there is nothing to evaluate yet.
    """

    finished: Mapping[Piece, Finished]
    missing: Mapping[Piece, str]
    is_partial: bool = False

    def __getitem__(self, piece: Piece) -> Finished:
        if piece not in self.finished:
            raise ValueError(f"{piece.key}: {self.missing.get(piece, 'no piece of this study')}")
        return self.finished[piece]

    def __contains__(self, piece: Piece) -> bool:
        return piece in self.finished

    def provenance(self, stamp: Mapping, *pieces: Piece) -> dict:
        """Returns what a published result says of where it comes from: that of the study, and the commits of pieces.

        A piece whose tree was changed makes the whole result one of a changed tree.

        Args:
          stamp: of the study, `page.stamp()`.
          pieces: that the result stands on; none: all of them.
        """
        finished = [self.finished[piece] for piece in pieces or self.finished if piece in self.finished]
        missing = [piece for piece in pieces or self.missing if piece in self.missing]
        commits = sorted({text for piece in finished for text in piece.commits})
        return {
            **stamp,
            "dirty": bool(stamp.get("dirty") is not False or any(piece.is_dirty for piece in finished)),
            "piece_commits": commits,
            **({"missing": [piece.key for piece in missing]} if missing else {}),
        }

    def summary(self) -> dict:
        """What a result says of its pieces: how many, at which commits, and what is missing and why."""
        commits = sorted({text for piece in self.finished.values() for text in piece.commits})
        missing = {piece.key: reason for piece, reason in self.missing.items()}
        return {"pieces": len(self.finished), "piece_commits": commits, "missing": missing}


def field() -> Any:
    """Returns the flag `pieces` of a study's config, which `gather` obeys."""
    return config_lib.field(
        RUN,
        f"{RUN}: run what is missing; {TAKE}: take what has finished, say what is missing; {LIST}: list what is "
        "missing for launch.run; or one piece, as the list names it",
        identity=False,
    )


def only_looks(settings: Any) -> bool:
    """Whether a study's answer may be another tomorrow: for `app.run(main, Config, transient=pieces.only_looks)`."""
    return settings.pieces != RUN


def gather(pieces: Sequence[Piece], run: Run, settings: Any) -> Gathered:
    """Does what the flag `pieces` of a study's settings asks for.

    Args:
      pieces: of the study.
      run: of the study, for messages; the results of its pieces become its inputs.
      settings: of the study, with a field made by `field`.

    Raises:
      ValueError: see `complete`; or the flag names no piece.
      Preempted: a piece was asked to end; the same command goes on.
    """
    if settings.pieces == RUN:
        gathered = complete(pieces, run)
    elif settings.pieces == TAKE:
        gathered = take(pieces)
        for piece, reason in gathered.missing.items():
            run.log(f"missing: {piece.key}: {reason}")
    elif settings.pieces == LIST:
        return write_jobs(pieces, run, settings)
    else:
        matching = [piece for piece in ordered(pieces) if piece.key == settings.pieces]
        if not matching:
            raise ValueError(f"--pieces={settings.pieces}: expected {RUN}, {TAKE}, {LIST}, or a piece of this study")
        return dataclasses.replace(complete(matching, run), is_partial=True)
    if other := _of_another_commit(gathered):
        run.log(other)
    run.inputs(*(piece.path / "result.json" for piece in gathered.finished))
    return gathered


def _of_another_commit(gathered: Gathered) -> str:
    """Returns a line on the pieces that other code has made, "" where there are none."""
    commit = str(provenance.start_record()["commit"])[:10]
    others = [piece for piece in gathered.finished.values() if set(piece.commits) != {commit}]
    if not others:
        return ""
    texts = ", ".join(sorted({text for piece in others for text in piece.commits}))
    count = f"{len(others)} of {len(gathered.finished)} pieces"
    return f"{count} were made at {texts}, and not at {commit}: remove what is to run again"


def take(pieces: Iterable[Piece]) -> Gathered:
    """Returns what has finished with just these settings, and why the rest is missing; runs and writes nothing."""
    reasons = {piece: why_missing(piece) for piece in ordered(pieces)}
    finished = {piece: Finished(piece.path) for piece, (reason, _) in reasons.items() if reason is None}
    return Gathered(finished, {piece: reason for piece, (reason, _) in reasons.items() if reason is not None})


def why_missing(piece: Piece) -> tuple[str | None, bool]:
    """Returns (why a piece is missing, or None; whether its directory is another run's, so that it cannot run)."""
    meta = files.read_json(piece.path / "meta.json") or {}
    if not meta or meta.get("status") == run_directory.DISCARDED:
        return "not begun", False
    if meta.get("verb") != piece.verb:
        return f"{piece.path} holds a run of {meta.get('verb')}, not of {piece.verb}", True
    try:
        run_directory.check_same(piece.path, piece.settings)
        changes = run_directory.changed_files(meta, piece.path) if (piece.path / "result.json").exists() else []
    except RunError as error:
        return str(error).partition("; ")[0], True
    if changes:
        return f"{'; '.join(changes)} since it finished", False
    if files.read_json(piece.path / "result.json") is None:
        return f"{meta.get('status')} since {meta['starts'][-1]['started']}, without a result", False
    return None, False


def complete(pieces: Iterable[Piece], run: Run) -> Gathered:
    """Runs what is missing, each piece after what it needs, and returns all of them.

    A piece that was killed goes on from its checkpoints; the first that fails ends the study, and the same command
    goes on with it.

    Raises:
      ValueError: directories hold runs of other settings (all are named, before anything runs), or another process
        runs a piece.
      Preempted: a piece was asked to end.
    """
    from common import processes  # JAX, which taking does without

    everything = ordered(pieces)
    reasons = {piece: why_missing(piece) for piece in everything}
    refusals = [str(reason) for reason, is_other in reasons.values() if is_other]
    if refusals:
        more = f"; and {len(refusals) - 3} more" if len(refusals) > 3 else ""
        raise RunError(f"{'; '.join(refusals[:3])}{more}: remove what is no longer wanted, or rename the pieces")
    for piece, (reason, _) in reasons.items():
        if reason is not None:
            _main_of(piece)  # what cannot be called is told before hours of others
    finished = [piece for piece, (reason, _) in reasons.items() if reason is None]
    seconds = {piece: Finished(piece.path).meta.get("seconds", 0.0) for piece in finished}
    shares = dict(zip(everything, expected_time.shares(everything, seconds), strict=True))
    start = sum(shares[piece] for piece in finished)
    with run.progress(expected_time.UNIT, f"{len(everything)} pieces, thousandths of the time", start) as progress:
        for number, piece in enumerate(everything, 1):
            if processes.broadcast_flag(why_missing(piece)[0] is not None):  # asked now: what it needs may have changed
                run.log(f"piece {number} of {len(everything)}: {piece.key}")
                _run_piece(piece, run)
                progress.update(0 if piece in seconds else shares[piece])
    return Gathered({piece: Finished(piece.path) for piece in everything}, {})


def _run_piece(piece: Piece, run: Run) -> None:
    from common import processes

    main, module = _main_of(piece), run_directory.module_name(piece.verb)
    argv = ["python", "-m", module, f"--flagfile={piece.path / 'flags.txt'}", f"--run_dir={piece.path}"]
    run.watch(piece.path)
    try:
        opened = processes.open_on_every_process(
            lambda: run_directory.open_run(piece.path, piece.settings, verb=piece.verb, argv=argv), piece.path
        )
    except run_directory.RunTakenError as error:
        text = str(error).partition("; ")[0]
        raise run_directory.RunTakenError(
            f"piece {piece.key}: {text}; the same command goes on once it has ended"
        ) from None
    try:
        for line in opened.news:
            run.log(line)
        if opened.result is None:
            opened.note(device=provenance.device())
            opened.inputs(*(other.path for other in piece.needs))
            opened.finish(main(piece.settings, opened))
        processes.wait_for_all(piece.key)  # the next piece may read what process 0 has just written
    except (Preempted, KeyboardInterrupt):
        opened.stop("interrupted")
        raise
    except Exception:
        opened.stop("failed")
        run.log(f"piece {piece.key} failed; the same command goes on with it")
        raise
    finally:
        opened.close()


def _main_of(piece: Piece):
    """The verb's function.

    Raises:
      ValueError: there is no such verb, or it takes other settings.
    """
    name = run_directory.module_name(piece.verb)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise ValueError(f"piece {piece.key}: there is no verb {piece.verb} (no module {error.name})") from None
        raise
    hints = typing.get_type_hints(module.main)
    kind = next(iter(hints.values()), None)
    if isinstance(kind, type) and not isinstance(piece.settings, kind):
        raise ValueError(f"piece {piece.key}: {piece.verb} takes {kind.__name__}, not {type(piece.settings).__name__}")
    return module.main


def write_jobs(pieces: Iterable[Piece], run: Run, settings: Any) -> Gathered:
    """Writes what can run now as a list of jobs, and prints the command that launches it.

    A job is the study's own verb with `--pieces=KEY`, which runs this piece in its own run directory. Pieces that need
    missing ones come into the next list.

    Returns: what there is, `is_partial`.
    """
    verb = run.meta()["verb"]
    path = pathlib.Path("runs") / verb / "pieces.jsonl"
    gathered = dataclasses.replace(take(pieces), is_partial=True)
    ready = [piece for piece in gathered.missing if not any(other in gathered.missing for other in piece.needs)]
    if ready and run.is_main:
        files.write_atomically(path, "".join(json.dumps({"pieces": piece.key}) + "\n" for piece in ready))
        module = run_directory.module_name(verb)
        command = ["python", "-m", "launch.run", f"--sweep_file={path}", "--", module, *_own_flags(settings)]
        print(shlex.join(command))
    waiting = len(gathered.missing) - len(ready)
    run.log(f"{len(gathered.finished)} finished, {len(ready)} in {path}" + (f", {waiting} wait" if waiting else ""))
    return gathered


def _own_flags(settings: Any) -> list[str]:
    """The flags of a study that differ from their defaults, `pieces` aside."""
    texts = config_lib.to_texts(settings)
    return [
        f"--{name}={texts[name]}"
        for name, (item, _) in config_lib.fields(type(settings)).items()
        if name != "pieces" and (item.default is dataclasses.MISSING or getattr(settings, name) != item.default)
    ]
