"""Laws of noise at equal effort: small victims, 10,000 queries, every arm on the same images, ratios over queries.

An arm is a noise law, an alpha and the first step sizes; an arm and a seed is an attack of its own in `runs/`, which
can be killed and goes on. `python -m projects.levy_attack.effort` runs what is missing, seed by seed, and compares
every arm with the Gaussian attack at each number of queries, in four norms, paired over images and by medians.
"""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from common import app, config, files, weight_files
from common.runs import provenance
from common.study import statistics
from projects.levy_attack import victims
from projects.levy_attack.config import VerbConfig
from projects.levy_attack.study import NOISE_TITLES, SHORT, run_piece

FIRST_STEPS = {"delta": 0.01, "eps": 0.01}  # those of the peers


class Arm(NamedTuple):
    """What is compared.

    Attributes:
      noise, alpha: the law.
      has_short_steps: first steps of `study.SHORT` (0.05 along the boundary, 0.002 towards the image), not 0.01 each.
    """

    noise: str
    alpha: float
    has_short_steps: bool = False

    def title(self) -> str:
        """As tables name it."""
        steps = ", first steps 0.05 and 0.002" if self.has_short_steps else ""
        return f"{NOISE_TITLES[self.noise]}alpha = {self.alpha:g}{steps}"

    def name(self) -> str:
        """Of its run directories."""
        return f"{self.noise}_{self.alpha:g}{'_short' if self.has_short_steps else ''}"


BASELINE = Arm("coordinatewise", 2.0)
STEPS_CONTROL = Arm("coordinatewise", 2.0, has_short_steps=True)  # is it the law, or are the first steps too short?
LENGTHS_CONTROL = Arm("radius", 1.0)  # is it the jumps alone, without heavy-tailed directions?
ARMS = (
    BASELINE,
    Arm("length", 1.0),
    Arm("coordinatewise", 1.0),
    Arm("length", 1.5),
    Arm("coordinatewise", 1.5),
    Arm("length", 2.0),
    STEPS_CONTROL,
    LENGTHS_CONTROL,
    Arm("length", 1.0, has_short_steps=True),  # once the first steps are those that a small budget can afford
)
SHARED = {"width": 0.25, "images": 12, "per_class": 2, "budget": 10_000, "batch_size": 12, "gallery": 0, **FIRST_STEPS}
VICTIMS = {
    name: VerbConfig(victim=name, checkpoint=f"runs/levy_attack.train/{name}_quarter", **SHARED)
    for name in ("mnist_cnn", "cifar_cnn")
}


def settings_of(victim: VerbConfig, arm: Arm, seed: int) -> VerbConfig:
    """Returns the attack of one piece."""
    steps = SHORT if arm.has_short_steps else FIRST_STEPS
    return dataclasses.replace(victim, noise=arm.noise, alpha=arm.alpha, seed=seed, **steps)


def place(victim: VerbConfig, arm: Arm, seed: int, base: pathlib.Path) -> pathlib.Path:
    """Returns the run directory of one piece."""
    return base / "levy_attack.effort" / f"{victim.victim}_{arm.name()}_seed{seed}"


NORMS = ("l2", "l1", "linf", "squared_l2_per_pixel")


def load_pieces(victim: VerbConfig, seeds: tuple[int, ...], base: pathlib.Path) -> dict[Arm, dict[int, dict]]:
    """Returns the arrays of the attacks that have finished, by arm and seed.

    Raises:
      ValueError: they are of different images.
    """
    pieces: dict[Arm, dict[int, dict]] = {arm: {} for arm in ARMS}
    for arm in ARMS:
        for seed in seeds:
            path = place(victim, arm, seed, base)
            if (path / "result.json").exists():
                pieces[arm][seed] = weight_files.load_npz(path / "attack.npz")
    images = [arrays["images"] for by_seed in pieces.values() for arrays in by_seed.values()]
    if any(not np.array_equal(images[0], other) for other in images):
        raise ValueError(f"the attacks in {base} are of different images; remove those of an older victim")
    return pieces


def measure(name: str, seeds: tuple[int, ...], base: pathlib.Path) -> dict | None:
    """Returns the published form of a victim's study; None without a baseline.

    Seeds in which an arm or the baseline is missing are left out of that arm's ratios.
    """
    victim = VICTIMS[name]
    pieces = load_pieces(victim, seeds, base)
    if not pieces[BASELINE]:
        return None
    trained = files.read_json(base / pathlib.Path(victim.checkpoint).relative_to("runs") / "result.json")
    commits = set()
    for arm, by_seed in pieces.items():
        for seed in by_seed:
            meta = files.read_json(place(victim, arm, seed, base) / "meta.json")
            commits |= {f"{one['commit'][:10]}{' with changes' if one['dirty'] else ''}" for one in meta["starts"]}
    return {
        "victim": name,
        "title": f"{victims.TITLES[name]}, a quarter of its channels",
        "width": victim.width,
        "accuracy": trained["test_accuracy"],
        "test_images": trained["test_images"],
        "images": victim.images,
        "budget": victim.budget,
        "grid": next(iter(pieces[BASELINE].values()))["grid"],
        "arms": [
            _row(arm, by_seed, pieces[BASELINE], pieces[STEPS_CONTROL]) for arm, by_seed in pieces.items() if by_seed
        ],
        "missing": [f"{arm.title()}, seed {seed}" for seed in seeds for arm in ARMS if seed not in pieces[arm]],
        "attacked_at": sorted(commits),
        "provenance": provenance.stamp(),
    }


def _row(arm: Arm, by_seed: dict[int, dict], baseline: dict[int, dict], control: dict[int, dict]) -> dict:
    """Medians of an arm over queries, and its ratios to the baseline in the seeds that both have."""
    stacked = {name: _stack(by_seed, sorted(by_seed), name) for name in (*NORMS, "realised")}
    row = {
        **arm._asdict(),
        "title": arm.title(),
        "seeds": sorted(by_seed),
        "failures": int(np.sum(~np.isfinite(stacked["l2"][..., -1]))),
        "median": {name: np.median(stacked[name], axis=(0, 1)) for name in NORMS},
        "realised": float(np.nanmedian(stacked["realised"][..., -1])),
    }
    shared = sorted(set(by_seed) & set(baseline))
    if arm == BASELINE or not shared:
        return row
    row["compared_seeds"], row["paired"], row["of_medians"] = shared, {}, {}
    for name in NORMS:
        ours, theirs = _stack(by_seed, shared, name), _stack(baseline, shared, name)
        row["paired"][name] = _paired(ours, theirs)
        entries = statistics.ratio_of_medians(ours, theirs)
        row["of_medians"][name] = dict(zip(("ratio", "low", "high"), entries, strict=True))
    shared = sorted(set(by_seed) & set(control))
    if arm.has_short_steps and arm != STEPS_CONTROL and shared:
        row["same_steps"] = {
            name: _paired(_stack(by_seed, shared, name), _stack(control, shared, name)) for name in NORMS
        }
    return row


def _paired(ours: np.ndarray, theirs: np.ndarray) -> dict[str, np.ndarray]:
    """Ratios [T] of distances [seeds, images, T]: median over images of the means over seeds, with its interval."""
    values = statistics.log_ratios(ours, theirs)
    entries = np.median(values, axis=0), *statistics.bootstrap_median(values)
    return dict(zip(("ratio", "low", "high"), map(np.exp, entries), strict=True))


def _stack(by_seed: dict[int, dict], seeds: list[int], name: str) -> np.ndarray:
    """[seeds, images, T]."""
    return np.stack([by_seed[seed]["traces"][name] for seed in seeds])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffortConfig:
    """Which victims and seeds, and what to do with them."""

    victims: tuple[str, ...] = config.field(
        tuple(VICTIMS), "trained with flags/*_quarter.flags", choices=tuple(VICTIMS)
    )
    seeds: tuple[int, ...] = config.field((0, 1, 2), "of the attacks", minimum=0)
    runs: str = config.field("runs", "folder of the run directories")
    attack: bool = config.field(True, "run what is missing; --noattack takes what is there")
    publish: bool = config.field(False, "put results and pictures into the project's results/")


def main(settings: EffortConfig, run: app.Run) -> dict:
    """Runs what is missing, writes tables and pictures, and returns what was found in sentences."""
    from projects.levy_attack import effort_page, effort_plots  # matplotlib takes seconds to import

    base = pathlib.Path(settings.runs)
    if settings.attack:
        for seed in settings.seeds:
            for name in settings.victims:
                for arm in ARMS:
                    settings = settings_of(VICTIMS[name], arm, seed)
                    run_piece(settings, place(VICTIMS[name], arm, seed, base), "effort", run)
    results, pictures = {}, {}
    for name in settings.victims:
        result = measure(name, settings.seeds, base)
        if result is None:
            run.log(f"{name}: no attack with alpha = 2 has finished")
            continue
        results[name] = result
        columns, rows = effort_page.ratio_rows(result)
        run.table(f"{name}_ratios", columns, rows, f"{result['title']}: ratios to alpha = 2 after so many queries")
        figure = effort_plots.draw(result)
        pictures[name] = run.plot(name, figure, effort_page.finding(result))
        effort_plots.plt.close(figure)
        print(effort_page.finding(result))
    if settings.publish:  # at the end: what is measured after a file was written comes from a changed working tree
        for name, result in results.items():
            effort_page.write(name, result, pictures[name])
    return {name: effort_page.finding(result) for name, result in results.items()}


if __name__ == "__main__":
    app.run(main, EffortConfig)
