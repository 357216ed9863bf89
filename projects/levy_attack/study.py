"""The alpha study: every victim, noise law, alpha and seed is an attack of its own in `runs/`, on the same images.

`measure` runs what is missing or takes what is there, and compares with alpha = 2 at equal queries, paired over images.
"""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from common import app, weight_files
from common.runs import provenance, run_directory
from common.study import statistics
from projects.levy_attack import attack
from projects.levy_attack.config import VerbConfig

ALPHAS = (2.0, 1.0, 0.5, 1.5, 0.8, 1.2, 1.8)  # what is missing at the end matters less
MARKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 25_000)  # queries in the tables


NOISE_TITLES = {
    "coordinatewise": "",
    "length": "length of the draw, ",
    "isotropic": "isotropic (null control), ",
    "radius": "random radius, ",
}


class Law(NamedTuple):
    """Attributes: noise, as in `AttackConfig`; alpha."""

    noise: str
    alpha: float

    def title(self) -> str:
        """As tables name it."""
        return f"{NOISE_TITLES[self.noise]}alpha = {self.alpha:g}"


BASELINE = Law("coordinatewise", 2.0)
GRID = tuple(Law("coordinatewise", alpha) for alpha in ALPHAS)
NULL = Law("isotropic", 1.0)
RADIUS = Law("radius", 1.0)


@dataclasses.dataclass(frozen=True)
class Study:
    """One victim of the study.

    Attributes:
      attack: its settings; alpha, noise and seed are replaced.
      laws: what is compared, in the order in which it runs; the first is the baseline.
    """

    attack: VerbConfig
    laws: tuple[Law, ...]


SHORT = {"delta": 0.05, "eps": 0.002}  # first steps that a small budget can afford: nearer sooner, for every alpha
CIFAR = {"images": 100, "per_class": 10, "budget": 2000, "batch_size": 100, **SHORT}
STUDIES = {
    "mlp": Study(VerbConfig(victim="mlp", budget=25_000, batch_size=100), (BASELINE, NULL, *GRID[1:], RADIUS)),
    "mnist_cnn": Study(VerbConfig(victim="mnist_cnn", budget=5000, batch_size=200), (*GRID[:2], NULL, *GRID[2:])),
    "cifar_cnn": Study(VerbConfig(victim="cifar_cnn", **CIFAR), GRID[:3]),
    "resnet20": Study(VerbConfig(victim="resnet20", **CIFAR), GRID[:3]),
    "small_vgg16": Study(
        VerbConfig(
            victim="small_vgg16", checkpoint="runs/deepcabac.train/small_vgg16_quarter_seed0", width=0.25, **CIFAR
        ),
        GRID[:3],
    ),
    "efficientnet_lite0": Study(
        VerbConfig(
            victim="efficientnet_lite0", images=50, per_class=None, budget=1000, batch_size=52, chunk=20, **SHORT
        ),
        GRID[:2],
    ),
}


def small(checkpoint: str) -> Study:
    """Returns the study that shows it all in a minute: 20 images of a small network, 1,000 queries."""
    settings = VerbConfig(
        victim="mlp", dataset="digits", checkpoint=checkpoint, images=20, per_class=2, budget=1000, batch_size=20
    )
    return Study(settings, (BASELINE, Law("coordinatewise", 1.0), NULL))


def settings_of(study: Study, law: Law, seed: int) -> VerbConfig:
    """Returns the attack of one piece."""
    checkpoint = study.attack.checkpoint
    if checkpoint is None and study.attack.victim != "efficientnet_lite0":
        checkpoint = str(pathlib.Path("runs") / "levy_attack.train" / study.attack.victim)
    return dataclasses.replace(study.attack, checkpoint=checkpoint, alpha=law.alpha, noise=law.noise, seed=seed)


def piece(study: Study, law: Law, seed: int, base: pathlib.Path, run: app.Run, is_run: bool) -> dict | None:
    """Returns the arrays of one attack, running it or its rest; None where it may not run and has not finished."""
    settings = settings_of(study, law, seed)
    path = base / "levy_attack.attack" / f"{settings.victim}_{law.noise}_{law.alpha:g}_seed{seed}"
    if not is_run:
        return weight_files.load_npz(path / "attack.npz") if (path / "result.json").exists() else None
    run_piece(settings, path, "tables", run)
    return weight_files.load_npz(path / "attack.npz")


def run_piece(settings, path: pathlib.Path, verb: str, run: app.Run) -> None:
    """Runs an attack in a run directory of its own, or goes on, or does nothing where it has finished.

    Args:
      settings: of the verb `attack`.
      path: its run directory.
      verb: that asks for it, which stands in the directory's command line.
      run: for the log.
    """
    opened = run_directory.open_run(path, settings, verb="levy_attack.attack", argv=[verb, path.name])
    try:
        if opened.result is None:
            run.log(f"attack {path.name}")
            opened.finish(attack.main(settings, opened))
    except app.Preempted:
        opened.stop("interrupted")
        raise
    finally:
        opened.close()


def measure(study: Study, seeds: tuple[int, ...], base: pathlib.Path, run: app.Run, is_run: bool) -> dict | None:
    """Returns the published form of a study: distances and comparisons of every law; None without a baseline.

    Args:
      study: what is attacked how.
      seeds: of the attacks, run one after the other.
      base: folder of the run directories.
      run: of the table, for messages.
      is_run: whether missing attacks run.
    """
    found: dict[Law, dict[int, dict]] = {law: {} for law in study.laws}
    for seed in seeds:
        for law in study.laws:
            arrays = piece(study, law, seed, base, run, is_run)
            if arrays is not None:
                found[law][seed] = arrays
    if not found[BASELINE]:
        return None
    _check_same_images(found)
    grid = next(iter(found[BASELINE].values()))["grid"]
    rows = [_row(law, pieces, found[BASELINE], grid) for law, pieces in found.items() if pieces]
    tested = [row for row in rows if row["noise"] == "coordinatewise" and row["alpha"] != BASELINE.alpha]
    for row, adjusted in zip(tested, statistics.holm([row["comparison"]["p_value"] for row in tested]), strict=True):
        row["comparison"]["p_holm"] = adjusted
    settings = study.attack
    return {
        "victim": settings.victim,
        "images": settings.images,
        "budget": settings.budget,
        "delta": settings.delta,
        "eps": settings.eps,
        "grid": grid,
        "laws": rows,
        "missing": [
            f"{law.title()}, seed {seed}" for seed in seeds for law in study.laws if seed not in found[law]
        ],
        "provenance": provenance.stamp(),
    }  # fmt: skip


def _check_same_images(found: dict[Law, dict[int, dict]]) -> None:
    images = [arrays["images"] for pieces in found.values() for arrays in pieces.values()]
    if any(not np.array_equal(images[0], other) for other in images):
        raise ValueError("the attacks in runs/ are of different images; remove those of an older victim")


def _row(law: Law, pieces: dict[int, dict], baseline: dict[int, dict], grid: np.ndarray) -> dict:
    """What is published of one law: medians over images and seeds, and the comparison with the baseline."""
    row = {"noise": law.noise, "alpha": law.alpha, "seeds": sorted(pieces)}
    traces = {name: _stack(pieces, sorted(pieces), name) for name in ("l2", "l1", "linf", "squared_l2_per_pixel")}
    row["median"] = {name: np.median(values[..., -1]) for name, values in traces.items()}
    row["median_l2"] = np.median(traces["l2"], axis=(0, 1))
    for name in ("delta", "eps"):
        row[f"median_{name}"] = np.median(_stack(pieces, sorted(pieces), name), axis=(0, 1))
    row["failures"] = int(np.sum(~np.isfinite(traces["l2"][..., -1])))
    shared = [seed for seed in sorted(pieces) if seed in baseline]
    if law == BASELINE or not shared:
        return row
    ours, theirs = _stack(pieces, shared, "l2"), _stack(baseline, shared, "l2")
    values = statistics.log_ratios(ours, theirs)
    low, high = statistics.bootstrap_median(values)
    row["ratio"] = {"median": np.exp(np.median(values, 0)), "low": np.exp(low), "high": np.exp(high)}
    row["compared_seeds"] = shared
    row["comparison"] = statistics.compare(ours[..., -1], theirs[..., -1])._asdict()
    row["ratio_by_norm"] = {
        name: float(np.exp(np.median(statistics.log_ratios(
            _stack(pieces, shared, name)[..., -1], _stack(baseline, shared, name)[..., -1]
        ))))
        for name in ("l2", "l1", "linf")
    }  # fmt: skip
    return row


def _stack(pieces: dict[int, dict], seeds: list[int], name: str) -> np.ndarray:
    """[seeds, images, T]."""
    return np.stack([pieces[seed]["traces"][name] for seed in seeds])
