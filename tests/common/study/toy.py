"""A project of two verbs and the study of the package's docstring, written into a folder: for tests."""

import inspect
import pathlib
import textwrap

import common.study

CONFIG = '''
"""The flags of a toy."""

import dataclasses

from common import config


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Of the training."""

    seed: int = config.field(0, "seed")
    epochs: int = config.field(1, "passes")
    rate: float = config.field(0.5, "step")
    jobs: int = config.field(1, "threads", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Of the evaluation."""

    checkpoint: str = config.field(config.REQUIRED, "weights")
    width: float = config.field(1.0, "share")
'''
TRAIN = '''
"""Counts to the epochs, a checkpoint each; ends where a file `stop` lies in the working directory."""

import pathlib

from common import app
from projects.toy.config import TrainConfig


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Returns how many epochs this process did; the weights are seed + epochs."""
    state = run.checkpoints / "epochs.txt"
    first = int(state.read_text()) if state.exists() else 0
    for epoch in range(first, settings.epochs):
        if pathlib.Path("stop").exists():
            raise app.Preempted(f"stopped after epoch {epoch}")
        if pathlib.Path("break").exists():
            raise ZeroDivisionError("broken")
        state.write_text(str(epoch + 1))
        run.metrics.write(epoch + 1, loss=1 / (epoch + 1), **({"last": 1} if epoch + 1 == settings.epochs else {}))
    (run.path / "model.safetensors").write_text(str(settings.seed + settings.epochs))
    return {"epochs_done": settings.epochs - first}


if __name__ == "__main__":
    app.run(main, TrainConfig)
'''
EVALUATE = '''
"""Reads weights and multiplies."""

import pathlib

import numpy as np

from common import app
from projects.toy.config import EvaluateConfig


def main(settings: EvaluateConfig, run: app.Run) -> dict:
    """Returns weights times width as an accuracy."""
    accuracy = float((pathlib.Path(settings.checkpoint) / "model.safetensors").read_text()) * settings.width
    np.savez(run.path / "curve.npz", x=np.arange(3.0), y=accuracy * np.arange(3.0))
    return {"accuracy": accuracy}


if __name__ == "__main__":
    app.run(main, EvaluateConfig)
'''


def guide() -> str:
    """The program in the docstring of `common.study`, as it stands there."""
    lines = inspect.getdoc(common.study).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("    "))
    last = max(number for number, line in enumerate(lines) if line.startswith("    "))
    return textwrap.dedent("\n".join(lines[first : last + 1])) + "\n"


def write(folder: pathlib.Path) -> None:
    """Writes the project into `folder`/toy."""
    package = folder / "toy"
    package.mkdir(parents=True)
    sources = {"__init__": "", "config": CONFIG, "train": TRAIN, "evaluate": EVALUATE, "study": guide()}
    for name, text in sources.items():
        (package / f"{name}.py").write_text(text.lstrip())
