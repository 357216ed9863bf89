"""What a finished piece left: its result, arrays, metrics, and the code and device that made it."""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from common import files, weight_files
from common.runs import metrics


@dataclasses.dataclass(frozen=True)
class Finished:
    """The run directory of a finished run, read where it is asked for."""

    path: pathlib.Path

    @functools.cached_property
    def result(self) -> dict:
        """The content of `result.json`."""
        return files.read_json(self.path / "result.json")

    @functools.cached_property
    def meta(self) -> dict:
        """The content of `meta.json`."""
        return files.read_json(self.path / "meta.json")

    def arrays(self, name: str | None = None) -> dict:
        """Returns the tree of arrays of an .npz file.

        Args:
          name: of the file; none needed where there is one only.

        Raises:
          ValueError: there is no such file, or more than one to choose from.
        """
        if name is None:
            names = sorted(path.name for path in self.path.glob("*.npz"))
            if len(names) != 1:
                raise ValueError(f"{self.path} holds {', '.join(names) or 'no .npz file'}: name one of its .npz files")
            name = names[0]
        if not (self.path / name).is_file():
            raise ValueError(f"{self.path} has no {name}; remove the directory to run it again")
        return weight_files.load_npz(self.path / name)

    def metrics(self) -> dict[str, np.ndarray]:
        """Returns the columns of `metrics.csv`, "step" among them, as float64 `[rows]`; NaN where nothing is said."""
        if not (self.path / "metrics.csv").is_file():
            return {}
        columns, rows = metrics.read(self.path / "metrics.csv")
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in columns}

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits of its starts without repetitions, such as "0f213f6abc" or "0f213f6abc, changed"."""
        return tuple(dict.fromkeys(_commit_text(start) for start in self.meta["starts"]))

    @property
    def is_dirty(self) -> bool:
        """Whether files differed from the commit at one of its starts, or nobody knows."""
        return any(start.get("dirty") is not False for start in self.meta["starts"])

    @property
    def device(self) -> str | None:
        """What computed; None where the run did not note it."""
        return self.meta.get("device")

    @property
    def seconds(self) -> float:
        """How long it ran, all its starts together."""
        return self.meta["seconds"]


def _commit_text(start: dict) -> str:
    text = (start.get("commit") or "no commit")[:10]
    return text if start.get("dirty") is False else f"{text}, changed"


def compare(result: Mapping, folder: str | pathlib.Path, flag: str) -> dict[str, int]:
    """Returns how many numbers a result has, and how many of its lines are unlike those of a finished run's result.

    Args:
      result: as a verb returns it.
      folder: run directory of the other run.
      flag: that names it, for the error.

    Raises:
      ValueError: the other run has not finished.
    """
    other = files.read_json(pathlib.Path(folder) / "result.json")
    if other is None:
        raise ValueError(f"--{flag}={folder}: expected a finished run, with result.json")
    ours, theirs = (json.dumps(files.clean(each), sort_keys=True, indent=0).splitlines() for each in (result, other))
    return {
        "numbers": sum(any(c.isdigit() for c in line.split(":")[-1]) for line in ours),
        "unequal": sum(a != b for a, b in itertools.zip_longest(ours, theirs)),
    }
