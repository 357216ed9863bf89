"""The attack: `attack` of any classifier with its state in a file, and a verb for the victims of this project.

Srinivasan, Kuruoglu, Müller, Samek, Nakajima, EUSIPCO 2019: the Boundary Attack (arXiv:1712.04248) with symmetric
alpha-stable noise. The method itself is `kernels.boundary_attack`.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from common import app, weight_files
from common.training import supervised
from kernels import boundary_attack
from kernels.boundary_attack import ENDINGS, AttackConfig, Progress, Result
from projects.levy_attack import state_file, victims
from projects.levy_attack.config import VerbConfig

__all__ = ["AttackConfig", "attack"]

GALLERY_QUERIES = (100, 500, 1000, 2000, 5000, 25_000)


def attack(
    predict: Callable,
    x0: np.ndarray,
    labels: np.ndarray,
    settings: AttackConfig | None = None,
    key: jax.Array | int = 0,
    *,
    on_chunk: Callable[[Progress], None] | None = None,
    checkpoint: str | pathlib.Path | None = None,
    checkpoint_seconds: float = 60.0,
    **options,
) -> Result:
    """Attacks a classifier as `boundary_attack.attack` does, with its state in a file.

    Args:
      predict, x0, labels, settings, key, on_chunk, options: as of `boundary_attack.attack`.
      checkpoint: a file that holds the state; the same call goes on from one that is there, also with a larger budget.
        It is written where the attack fails, too, or is interrupted (Ctrl-C, SystemExit), before the error goes on to
        the caller: a query counts once it was asked, whether its answer came or not. A callable of the host has a file
        `<checkpoint>.asked` beside it, which counts through kills that Python does not see; remove both to start anew.
      checkpoint_seconds: between two writes of it.

    Raises:
      ValueError: as of `boundary_attack.attack`, or the file is damaged, of another attack or of a larger budget.
    """
    if checkpoint is None:
        return boundary_attack.attack(predict, x0, labels, settings, key, on_chunk=on_chunk, **options)
    task = boundary_attack.prepare(predict, x0, labels, settings, key, **options)
    state = state_file.run(task, pathlib.Path(checkpoint), checkpoint_seconds, on_chunk)
    return boundary_attack.summarise(task, state)


def main(settings: VerbConfig, run: app.Run) -> dict:
    """Attacks images of a victim, draws what came out and returns what goes to `result.json`."""
    if settings.checkpoint is not None:
        run.inputs(settings.checkpoint)
    victim = victims.open_victim(settings.victim, settings.checkpoint, settings.dataset, settings.width)
    indices = victims.choose_images(victim, settings.images, settings.per_class)
    x0, labels = victim.images[indices], victim.labels[indices]
    targets, starts = _targets_and_starts(victim, labels) if settings.targeted else (None, None)
    began, gallery = time.monotonic(), run.path / "gallery.npz"
    with _watch(run, settings, gallery) as on_chunk:
        result = attack(
            victim.predict, x0, labels, settings.attack(), settings.seed,
            targets=targets, starts=starts, ids=indices, on_device=True,
            on_chunk=on_chunk, checkpoint=run.path / "state.npz", checkpoint_seconds=settings.checkpoint_seconds,
        )  # fmt: skip
    run.log(f"attacked in {time.monotonic() - began:.0f} s")
    if run.is_main:
        save(run.path / "attack.npz", result, indices)
        from projects.levy_attack import plots  # matplotlib takes seconds to import

        plots.draw_attack(run, result, victim, x0[: settings.gallery], gallery)
    medians = {name: np.median(values[:, -1]) for name, values in result.traces.items()}
    lengths = result.traces["realised"][:, -1]
    medians["realised"] = np.median(lengths[np.isfinite(lengths)]) if np.isfinite(lengths).any() else None
    return {
        "victim": victim.name,
        "dataset": victim.dataset,
        "images": len(indices),
        "median": medians,
        "median_l2_by_queries": dict(zip(map(str, result.grid), np.median(result.trace, 0), strict=True)),
        "queries": int(result.queries.sum()),
        "status": {str(name): int((result.status == name).sum()) for name in np.unique(result.status)},
    }


def save(path: pathlib.Path, result: Result, indices: np.ndarray) -> None:
    """Writes the arrays of a result: traces by name, distances, queries, endings by the numbers that `ENDINGS` gives
    names to, the images and their indices."""
    codes = {name: code for code, name in ENDINGS.items()}
    status = np.array([codes[str(name)] for name in result.status], np.int32)
    arrays = {name: getattr(result, name) for name in ("traces", "distance", "queries", "grid", "x_adv")}
    weight_files.save_npz(path, arrays | {"status": status, "images": indices})


def _targets_and_starts(victim: victims.Victim, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next class for every image, and the first test image that the victim puts there."""
    targets = (labels + 1) % len(victim.classes)
    first = {}
    for index in victims.choose_images(victim, min(len(victim.images), 30 * len(victim.classes)) // 2):
        first.setdefault(int(victim.labels[index]), index)
    if missing := sorted(set(targets.tolist()) - set(first)):
        raise ValueError(f"targeted: no image of class {missing[0]} to start from; attack untargeted")
    return targets, victim.images[[first[int(target)] for target in targets]]


@contextlib.contextmanager
def _watch(run: app.Run, settings: VerbConfig, gallery: pathlib.Path) -> Iterator[Callable[[Progress], None]]:
    """Yields what is called after every chunk: it shows progress, adds first images to the gallery, ends on SIGTERM."""
    count, bar = min(settings.gallery, settings.images), None
    with supervised.Termination(alone=True) as termination, contextlib.ExitStack() as contexts:

        def on_chunk(progress: Progress) -> None:
            nonlocal bar
            if bar is None:  # what a killed attack had asked already is no part of the rate
                total, title = settings.images * settings.budget, f"{settings.victim} alpha {settings.alpha:g}"
                bar = contexts.enter_context(run.progress(total, title, progress.queries))
            bar.update(progress.queries - bar.done, median=np.median(progress.distances))
            queries = set(np.asarray(progress.state.queries)[:count].tolist())
            if run.is_main and len(queries) == 1 and queries <= set(GALLERY_QUERIES):
                images = {str(queries.pop()): np.asarray(progress.state.x[:count])}
                weight_files.save_npz(gallery, images | (weight_files.load_npz(gallery) if gallery.exists() else {}))
            if termination.after(progress.queries):
                raise app.Preempted(f"SIGTERM: state written after {progress.queries} queries")

        yield on_chunk


if __name__ == "__main__":
    app.run(main, VerbConfig)
