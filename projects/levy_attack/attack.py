"""The attack: `attack(predict, x0, labels, cfg, key)` for any classifier, and a verb for the victims of this project.

Srinivasan, Kuruoglu, Müller, Samek, Nakajima, EUSIPCO 2019: the Boundary Attack (arXiv:1712.04248) with symmetric
alpha-stable noise. Only labels are seen; queries are counted for each image, exactly, and never exceed the budget.
"""

import contextlib
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from common import app, weight_files
from projects.levy_attack import run as runner
from projects.levy_attack import victims, walk
from projects.levy_attack.config import AttackConfig, VerbConfig
from projects.levy_attack.plan import make_plan
from projects.levy_attack.result import Result, query_grid, summarise
from projects.levy_attack.run import Progress

__all__ = ["AttackConfig", "Progress", "Result", "attack", "query_grid"]

GALLERY_QUERIES = (100, 500, 1000, 2000, 5000, 25_000)


def attack(
    predict: Callable,
    x0: np.ndarray,
    labels: np.ndarray,
    cfg: AttackConfig | None = None,
    key: jax.Array | int = 0,
    *,
    targets: np.ndarray | None = None,
    starts: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    alphas: np.ndarray | None = None,
    on_device: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    checkpoint: str | pathlib.Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Result:
    """Attacks a classifier that answers with labels only.

    The result for an image depends on its values, label, target, start and `key` alone: not on the other images, their
    order, `cfg.chunk`, an interruption, or the number of devices (as far as `predict` itself treats images alike).

    Args:
      predict: images [n, ...] -> integer labels [n]. A JAX function is compiled into the attack; anything else (such as
        the `predict` of scikit-learn's classifiers) is called on the host with NumPy arrays of the images asked about.
        A JAX function with large weights is best a `jax.tree_util.Partial(function, weights)`.
      x0: clean images [images, ...] in the box [cfg.lo, cfg.hi], of any shape; float64 stays so where JAX has 64 bits
        enabled, everything else becomes float32.
      labels: integers [images], the labels that an attack is to change.
      cfg: see `AttackConfig`; None for its defaults.
      key: of `jax.random.key` (or its raw uint32 words), or a seed.
      targets: integers [images], the labels that it is to reach; None: any other.
      starts: images [images, ...] that are adversarial; None: random ones are searched for.
      ids: integers [images] in [0, 2^32), folded into the key; None: a checksum of each image, its label and target.
        Equal images with equal ids are attacked in the same way.
      alphas: numbers in (0, 2] [images], in place of `cfg.alpha`: images attacked with several laws are one program.
      on_device: whether predict is a JAX function, to be compiled. None: a jitted function and a Partial are; any other
        callable is where its first answer is a JAX array and it can be traced (Python code in it then runs only while
        it is traced; to count the calls of such a function, say False).
      devices: that share the images, eight slots each at least, if predict is a JAX function. None: all of this
        process, unless the weights in a Partial were put on one, or `jax.default_device` chose one.
      on_chunk: called with a `Progress` after every chunk; what it raises ends the attack.
      checkpoint: a file that holds the state; the same call goes on from one that is there, also with a larger budget.
        It is written where the attack fails, too, or is interrupted (Ctrl-C, SystemExit), before the error goes on to
        the caller: a query counts once it was asked, whether its answer came or not. A callable of the host has a file
        `<checkpoint>.asked` beside it, which counts through kills that Python does not see; remove both to start anew.
      checkpoint_seconds: between two writes of it.

    Raises:
      ValueError: an argument that will not do, by name; labels that are not integers; a single start that is not
        adversarial (of several images the status says so).
    """
    cfg = AttackConfig() if cfg is None else cfg
    is_list = isinstance(devices, Sequence) and len(devices) and all(isinstance(one, jax.Device) for one in devices)
    if devices is not None and not is_list:
        raise ValueError(f"devices is {devices!r}; expected a list of one or more of jax.devices(), or None")
    plan = make_plan(x0, labels, cfg, key, targets, starts, ids, alphas)
    state = runner.run(
        plan, predict, on_device, devices=devices,
        on_chunk=on_chunk, checkpoint=checkpoint, checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    result = summarise(np.asarray(plan.problem.x0).reshape(np.shape(x0)), state, cfg)
    if len(result.status) == 1 and result.status[0] == walk.ENDINGS[walk.BAD_START]:
        raise ValueError(
            "starts is not adversarial: predict gives it the clean label (or not the target); give another"
        )
    return result


def main(config: VerbConfig, run: app.Run) -> dict:
    """Attacks images of a victim, draws what came out and returns what goes to `result.json`."""
    if config.checkpoint is not None:
        run.inputs(config.checkpoint)
    victim = victims.open_victim(config.victim, config.checkpoint, config.dataset, config.width)
    chosen = victims.choose_images(victim, config.images, config.per_class)
    x0, labels = victim.images[chosen], victim.labels[chosen]
    targets, starts = _targets_and_starts(victim, labels) if config.targeted else (None, None)
    began = time.monotonic()
    with _Watch(run, config, x0.shape[1:]) as watch:
        result = attack(
            victim.predict, x0, labels, config.attack(), config.seed,
            targets=targets, starts=starts, ids=chosen, on_device=True,
            on_chunk=watch, checkpoint=run.path / "state.npz", checkpoint_seconds=config.checkpoint_seconds,
        )  # fmt: skip
    run.log(f"attacked in {time.monotonic() - began:.0f} s")
    if run.is_main:
        save(run.path / "attack.npz", result, chosen)
        from projects.levy_attack import plots  # matplotlib takes seconds to import

        plots.draw_attack(run, result, victim, x0[: config.gallery], watch.gallery)
    medians = {name: np.median(values[:, -1]) for name, values in result.traces.items()}
    walked = result.traces["realised"][:, -1]
    medians["realised"] = np.median(walked[np.isfinite(walked)]) if np.isfinite(walked).any() else None
    return {
        "victim": victim.name,
        "dataset": victim.dataset,
        "images": len(chosen),
        "median": medians,
        "median_l2_by_queries": dict(zip(map(str, result.grid), np.median(result.trace, 0), strict=True)),
        "queries": int(result.queries.sum()),
        "status": {str(name): int((result.status == name).sum()) for name in np.unique(result.status)},
    }


def save(path: pathlib.Path, result: Result, chosen: np.ndarray) -> None:
    """Writes the arrays of a result: traces by name, distances, queries, the images and their numbers."""
    arrays = {"traces": result.traces, "distance": result.distance, "queries": result.queries, "grid": result.grid}
    weight_files.save_npz(path, arrays | {"status": _codes(result.status), "images": chosen, "x_adv": result.x_adv})


def _codes(status: np.ndarray) -> np.ndarray:
    """Endings as the numbers that `walk.ENDINGS` gives names to."""
    numbers = {name: code for code, name in walk.ENDINGS.items()}
    return np.array([numbers[str(name)] for name in status], np.int32)


def _targets_and_starts(victim: victims.Victim, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next class for every image, and the first test image that the victim puts there."""
    targets = (labels + 1) % len(victim.classes)
    first = {}
    for index in victims.choose_images(victim, min(len(victim.images), 30 * len(victim.classes)) // 2):
        first.setdefault(int(victim.labels[index]), index)
    if missing := sorted(set(targets.tolist()) - set(first)):
        raise ValueError(f"targeted: no image of class {missing[0]} to start from; attack untargeted")
    return targets, victim.images[[first[int(target)] for target in targets]]


class _Watch:
    """Shows progress after every chunk, keeps pictures for the gallery, and ends the attack on SIGTERM."""

    def __init__(self, run: app.Run, config: VerbConfig, shape: tuple[int, ...]):
        self.run, self.config, self.shape, self.is_asked = run, config, shape, False
        self.path = run.path / "gallery.npz"
        stored = weight_files.load_npz(self.path) if self.path.exists() else {}
        self.gallery = {int(queries): images for queries, images in stored.items()}

    def __enter__(self):
        self._previous = signal.signal(signal.SIGTERM, self._note)
        self._progress, self._contexts = None, contextlib.ExitStack()
        return self

    def __exit__(self, *exception):
        signal.signal(signal.SIGTERM, self._previous)
        self._contexts.close()

    def _note(self, number, frame):
        self.is_asked = True

    def __call__(self, progress: Progress) -> None:
        if self._progress is None:  # what a killed attack had asked already is no part of the rate
            total, title = self.config.images * self.config.budget, f"{self.config.victim} alpha {self.config.alpha:g}"
            self._progress = self._contexts.enter_context(self.run.progress(total, title, progress.queries))
        self._progress.update(progress.queries - self._progress.done, median=np.median(progress.distances))
        count = min(self.config.gallery, self.config.images)
        asked = np.asarray(progress.state.queries)[:count]
        if count and self.run.is_main and len(set(asked.tolist())) == 1 and int(asked[0]) in GALLERY_QUERIES:
            images = np.asarray(progress.state.x[:count]).reshape(count, *self.shape)
            self.gallery.setdefault(int(asked[0]), images)
            weight_files.save_npz(self.path, {str(queries): images for queries, images in self.gallery.items()})
        if self.is_asked:
            raise app.Preempted(f"SIGTERM: state written after {progress.queries} queries")


if __name__ == "__main__":
    app.run(main, VerbConfig)
