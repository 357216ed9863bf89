"""Parts inside of one run: what a killed run need not make again, and stages with metrics and checkpoints of their own.

For what is a verb of its own, see `pieces`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from common import files
from common.runs import metrics
from common.runs.run_directory import Run


def part(run: Run, name: str, make: Callable[[], Any]) -> Any:
    """Returns what `make` returned, as JSON has it, from `run.path`/pieces/NAME.json where it was made before."""
    path = run.path / "pieces" / f"{name}.json"
    value = files.read_json(path)
    if value is None:
        value = files.clean(make())
        if value is None:
            raise ValueError(f"part {name!r} is None, which a file cannot tell from a missing one; return a value")
        if run.is_main:
            files.write_json(path, value)
    return value


def stage(run: Run, name: str) -> Run:
    """Returns a `Run` in `run.path`/NAME, with metrics, checkpoints and plots of its own and without flags: a training
    before or after another one within the same verb."""
    folder = run.path / name
    folder.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(
        run, path=folder, metrics=metrics.Metrics(folder / "metrics.csv", enabled=run.is_main), result=None, news=()
    )
