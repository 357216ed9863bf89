"""Laws of noise at equal effort: small victims, 10,000 queries, every arm on the same images, ratios over queries.

An arm is a noise law, an alpha and the first step sizes; an arm and a seed is an attack of its own in `runs/`, which
can be killed and goes on. `python -m projects.levy_attack.effort` runs what is missing, seed by seed.
"""

import dataclasses
import pathlib
from typing import NamedTuple

from common import app, config, run_directory
from projects.levy_attack import attack
from projects.levy_attack.config import VerbConfig
from projects.levy_attack.study import NOISE_TITLES, SHORT

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


def run_piece(victim: VerbConfig, arm: Arm, seed: int, base: pathlib.Path, run: app.Run) -> None:
    """Attacks, or goes on, or does nothing where it has finished."""
    settings, path = settings_of(victim, arm, seed), place(victim, arm, seed, base)
    opened = run_directory.open_run(path, settings, verb="levy_attack.attack", argv=["effort", path.name])
    try:
        if opened.result is None:
            run.log(f"attack {path.name}")
            opened.finish(attack.main(settings, opened))
    except app.Preempted:
        opened.stop("interrupted")
        raise
    finally:
        opened.close()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffortConfig:
    """Which victims and seeds, and what to do with them."""

    victims: tuple[str, ...] = config.field(
        tuple(VICTIMS), "trained with flags/*_quarter.flags", choices=tuple(VICTIMS)
    )
    seeds: tuple[int, ...] = config.field((0, 1, 2), "of the attacks", minimum=0)
    attack: bool = config.field(True, "run what is missing; --noattack takes what is there")


def main(settings: EffortConfig, run: app.Run) -> dict:
    """Runs the missing attacks."""
    if settings.attack:
        for seed in settings.seeds:
            for name in settings.victims:
                for arm in ARMS:
                    run_piece(VICTIMS[name], arm, seed, pathlib.Path("runs"), run)
    return {}


if __name__ == "__main__":
    app.run(main, EffortConfig)
