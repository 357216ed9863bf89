"""Scalars over steps: `metrics.csv` always, TensorBoard and Weights & Biases when asked for; and progress.

`metrics.csv` has the column `step`, then one column a name in order of first appearance; numbers are written so that
they read back to the bit; no times are in it, so that two equal runs leave equal files. Steps never go back in
a run. Only process 0 writes.
"""

import contextlib
import csv
import importlib
import io
import os
import pathlib
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from common import files

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}  # name on the command line -> package that it needs


def number_text(value: Any) -> str:
    """Returns the shortest text that reads back to the same number of the same type; "" for None.

    Raises:
      ValueError: `value` is not one number.
    """
    if value is None:
        return ""
    scalar = value if isinstance(value, (bool, int, float)) else np.asarray(value)
    if isinstance(scalar, np.ndarray):
        if scalar.shape != ():
            raise ValueError(f"a metric is one number, not an array of shape {list(scalar.shape)}")
        if scalar.dtype.kind not in "biuf":  # bfloat16 and its like are kind V: exact in float32
            scalar = scalar.astype(np.float32)
        scalar = scalar[()]
    if isinstance(scalar, (bool, np.bool_)):
        return str(int(scalar))
    return str(scalar) if isinstance(scalar, np.generic) else repr(scalar)


class Metrics:
    """Writer of one `metrics.csv` and of the trackers beside it.

    A file that a killed run left is continued: a half-written last line is dropped, and the first `write` drops the
    rows at and after its step, because they are about to be written again. `cut_back` does so explicitly.
    """

    def __init__(self, path: str | os.PathLike, *, trackers: Sequence[Any] = (), enabled: bool = True):
        """Args: path: the CSV file. trackers: what `open_trackers` returned. enabled: False writes nothing."""
        self.path = pathlib.Path(path)
        self._trackers, self._enabled, self._resumed = tuple(trackers), enabled, False
        self._columns: list[str] = ["step"]
        if enabled and self.path.exists():
            self._columns, rows = read(self.path)
            self._rewrite(rows)
            self._resumed = bool(rows)

    def write(self, step: int, **scalars: Any) -> None:
        """Appends a row: `step` (finished steps, examples or rounds) and numbers, None for what is not known."""
        if not self._enabled:
            return
        step = int(step)
        if self._resumed:
            self.cut_back(step - 1)
        row = {"step": str(step)} | {name: number_text(value) for name, value in scalars.items()}
        if not self.path.exists() or not row.keys() <= set(self._columns):
            rows = read(self.path)[1] if self.path.exists() else []
            self._columns += [name for name in row if name not in self._columns]
            self._rewrite(rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line([row.get(name, "") for name in self._columns]))
        for tracker in self._trackers:
            tracker.write(step, {name: float(text) for name, text in row.items() if name != "step" and text})

    def cut_back(self, step: int) -> None:
        """Drops the rows after `step`, and columns that are then empty: the file as it was when `step` was done."""
        self._resumed = False
        if not self._enabled or not self.path.exists():
            return
        self._columns, rows = read(self.path)
        rows = [row for row in rows if int(row["step"]) <= step]
        self._columns = ["step"] + [name for name in self._columns[1:] if any(row[name] for row in rows)]
        self._rewrite(rows)

    def flush(self) -> None:
        """Returns when the rows written so far would survive a power cut."""
        if self._enabled and self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes the trackers; nothing is written from then on."""
        for tracker in self._trackers:
            tracker.close()
        self._enabled = False

    def _rewrite(self, rows: Sequence[Mapping[str, str]]) -> None:
        lines = [_line(self._columns)] + [_line([row.get(name, "") for name in self._columns]) for row in rows]
        files.write_atomically(self.path, "".join(lines))


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def read(path: str | os.PathLike) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and the whole rows of a `metrics.csv` as texts; an unfinished last line is left out."""
    text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    if not lines or lines[0][:1] != ["step"]:
        return ["step"], []
    columns = lines[0]
    rows = [dict(zip(columns, cells, strict=True)) for cells in lines[1:] if len(cells) == len(columns)]
    return columns, [row for row in rows if row["step"].lstrip("-").isdigit()]


def open_trackers(names: Sequence[str], directory: pathlib.Path, run_name: str, config: Mapping[str, str]) -> list[Any]:
    """Returns trackers that `Metrics` writes to as well.

    Args:
      names: of `TRACKERS`.
      directory: the run directory.
      run_name: how the run is called there, "project.verb".
      config: flag name -> text.

    Raises:
      ValueError: an unknown name, or its package is not installed (the message says which and how).
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"--trackers={name}: expected any of {', '.join(TRACKERS)}")
        try:
            importlib.import_module(TRACKERS[name])
        except ImportError as error:
            package = TRACKERS[name]
            raise ValueError(
                f"--trackers={name} needs the package {package} ({error}): pip install {package}"
            ) from None
    openers = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}
    return [openers[name](directory, run_name, config) for name in names]


class _TensorBoard:
    """Writes event files with the `tensorboard` package alone (no TensorFlow, no torch)."""

    def __init__(self, directory: pathlib.Path, run_name: str, config: Mapping[str, str]):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import event_file_writer

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = event_file_writer.EventFileWriter(str(directory / "tensorboard"))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """Continues the W&B run of the same run directory; $WANDB_PROJECT and $WANDB_NAME name others than ours."""

    def __init__(self, directory: pathlib.Path, run_name: str, config: Mapping[str, str]):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "havel",
            name=os.environ.get("WANDB_NAME") or f"{run_name}.{directory.resolve().name}",
            id=_wandb_identity(directory), resume="allow", dir=str(directory), config=dict(config),
        )  # fmt: skip

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


def _wandb_identity(directory: pathlib.Path) -> str:
    """Returns the number that a run directory has for W&B as long as it is not overwritten, and no other has.

    Names of directories come again in every sweep, and W&B would mix their runs.
    """
    path = directory / "wandb_id.txt"
    with contextlib.suppress(OSError):
        if text := path.read_text().strip():
            return text
    identity = secrets.token_hex(8)
    files.write_atomically(path, identity + "\n")
    return identity


class Progress:
    """How far a loop is, with rate and time left: a bar on a terminal, a line now and then elsewhere."""

    LINE_SECONDS = 30.0  # between two lines where there is no terminal

    def __init__(self, total: int | None, description: str, start: int = 0, stream: Any = None):
        self.total, self.description, self.done, self._start = total, description, start, start
        self._stream = sys.stderr if stream is None else stream
        self._began = self._last = time.monotonic()
        self._shown: dict[str, str] = {}
        self._bar = None
        if self._stream.isatty():
            import tqdm

            self._bar = tqdm.tqdm(total=total, desc=description, initial=start, file=self._stream, dynamic_ncols=True)

    def update(self, n: int = 1, **shown: Any) -> None:
        """Counts `n` more done and shows numbers beside it (device values seldom: each waits for the device)."""
        self.done += n
        if shown:
            self._shown = {name: f"{float(value):.4g}" for name, value in shown.items()}
        if self._bar is not None:
            if shown:
                self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._last >= self.LINE_SECONDS:
            self._last = time.monotonic()
            print(self.line(), file=self._stream, flush=True)

    def over(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yields the items, each counted when the next one is asked for."""
        for item in items:
            yield item
            self.update(1)

    def line(self) -> str:
        """Returns for example "train 1200/5000 (24 %), 130/s, 0:29 left, loss 0.21"."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self.done - self._start) / seconds
        parts = [f"{self.description} {self.done}" + (f"/{self.total}" if self.total else "")]
        if self.total:
            parts[0] += f" ({100 * self.done // self.total} %)"
        parts.append(f"{rate:.3g}/s" if rate >= 1 or not rate else f"{1 / rate:.3g} s each")
        if self.total and rate and self.done < self.total:
            remaining = int((self.total - self.done) / rate)
            parts.append(f"{remaining // 3600}:{remaining // 60 % 60:02}:{remaining % 60:02} left")
        return ", ".join(parts + [f"{name} {text}" for name, text in self._shown.items()])

    def close(self) -> None:
        """Ends the bar, or prints a last line when the loop took long enough to matter."""
        if self._bar is not None:
            self._bar.close()
        elif time.monotonic() - self._began >= self.LINE_SECONDS:
            print(self.line(), file=self._stream, flush=True)


@contextlib.contextmanager
def progress(total: int | None, description: str, start: int = 0, enabled: bool = True) -> Iterator[Progress]:
    """Yields a `Progress` from `start` to `total` on standard error; silent when not `enabled`."""
    shown = Progress(total, description, start, stream=None if enabled else io.StringIO())
    try:
        yield shown
    finally:
        shown.close()


def log(text: str) -> None:
    """Prints a line to standard error, above a progress bar when there is one."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)
