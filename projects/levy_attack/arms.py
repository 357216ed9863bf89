"""What is compared: arms (a law of the noise, an alpha, first step sizes) on the same images, and the studies of them.

An arm and a seed are an attack of their own, a piece `runs/<folder>/<victim>_<noise>_<alpha>[_short]_seed<seed>`.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from common import config
from common.study.pieces import Piece
from projects.levy_attack.config import TITLES, VerbConfig
from projects.levy_attack.train import TrainConfig

FLAGS = pathlib.Path(__file__).parent / "flags"
SHORT = {"delta": 0.05, "eps": 0.002}  # first steps that a small budget can afford: nearer sooner, for every alpha
NOISE_TITLES = {
    "coordinatewise": "",
    "length": "length of the draw, ",
    "isotropic": "isotropic (null control), ",
    "radius": "random radius, ",
}


class Arm(NamedTuple):
    """Attributes: noise, as in `AttackConfig`; alpha; has_short_steps, whether first steps are SHORT and not those of
    the study (0.01 each, those of the peers, where it does not say)."""

    noise: str
    alpha: float
    has_short_steps: bool = False

    @property
    def title(self) -> str:
        """As tables name it."""
        steps = ", first steps 0.05 and 0.002" if self.has_short_steps else ""
        return f"{NOISE_TITLES[self.noise]}alpha = {self.alpha:g}{steps}"

    @property
    def name(self) -> str:
        """Of its run directories."""
        return f"{self.noise}_{self.alpha:g}{'_short' if self.has_short_steps else ''}"


BASELINE = Arm("coordinatewise", 2.0)
STEPS_CONTROL = Arm("coordinatewise", 2.0, has_short_steps=True)  # is it the law, or are the first steps too short?
NULL = Arm("isotropic", 1.0)
RADIUS = Arm("radius", 1.0)  # is it the jumps alone, without heavy-tailed directions?
ALPHAS = tuple(Arm("coordinatewise", alpha) for alpha in (2.0, 1.0, 0.5, 1.5, 0.8, 1.2, 1.8))
LENGTHS = (
    *(BASELINE, Arm("length", 1.0), Arm("coordinatewise", 1.0), Arm("length", 1.5), Arm("coordinatewise", 1.5)),
    *(Arm("length", 2.0), STEPS_CONTROL, RADIUS),
    Arm("length", 1.0, has_short_steps=True),  # once the first steps are those that a small budget can afford
)


@dataclasses.dataclass(frozen=True)
class Study:
    """Arms on images of one victim.

    Attributes:
      attack: its settings; noise, alpha, seed and, with a training, the checkpoint are replaced.
      arms: in the order in which they run, so that what is missing at the end matters less.
      training: of the victim, the name of its flag file and of its run directory; None: the attack names the weights.
      folder: of the run directories; that of the verb by default.
    """

    attack: VerbConfig
    arms: tuple[Arm, ...]
    training: str | None = None
    folder: str = ""

    @property
    def title(self) -> str:
        """Of its victim."""
        is_quarter = (self.training or "").endswith("_quarter")
        return TITLES[self.attack.victim] + (", a quarter of its channels" if is_quarter else "")

    def pieces(self, seeds: Sequence[int], runs: str) -> dict[tuple[Arm, int], Piece]:
        """Returns the attacks by arm and seed, seed by seed.

        Args:
          seeds: of the attacks.
          runs: folder of the run directories.
        """
        attack, needs = self.attack, ()
        if self.training:
            training = training_piece(self.training, runs)
            attack = dataclasses.replace(attack, checkpoint=str(training.path))
            # A victim that is there is attacked as it is, however it was trained.
            needs = () if (training.path / "result.json").exists() else (training,)
        pieces = {}
        for seed, arm in itertools.product(seeds, self.arms):
            steps = SHORT if arm.has_short_steps else {}
            settings = dataclasses.replace(attack, noise=arm.noise, alpha=arm.alpha, seed=seed, **steps)
            name = f"{attack.victim}_{arm.name}_seed{seed}"
            pieces[arm, seed] = Piece(
                name, "levy_attack.attack", settings, needs=needs, runs=runs, folder=self.folder,
                cost=settings.images * settings.budget,
            )  # fmt: skip
        return pieces


def training_piece(name: str, runs: str = "runs") -> Piece:
    """Returns the training of a flag file."""
    settings = TrainConfig(**config.read_flagfile(FLAGS / f"{name}.flags", TrainConfig))
    return Piece(name, "levy_attack.train", settings, runs=runs)


def _effort(victim: str) -> Study:
    """At equal effort: small victims, 10,000 queries, every arm."""
    options = {"width": 0.25, "images": 12, "per_class": 2, "budget": 10_000, "batch_size": 12, "gallery": 0}
    return Study(VerbConfig(victim=victim, **options), LENGTHS, f"{victim}_quarter", "levy_attack.effort")


def _cifar(victim: str, training: str | None = None, **changes) -> Study:
    attack = VerbConfig(victim=victim, images=100, per_class=10, budget=2000, **SHORT, **changes)
    return Study(attack, ALPHAS[:3], training)


VGG16 = {"checkpoint": "runs/deepcabac.train/small_vgg16_quarter_seed0", "width": 0.25}
LITE0 = {"images": 50, "per_class": None, "budget": 1000, "batch_size": 52, "chunk": 20, **SHORT}
MNIST_CNN = VerbConfig(victim="mnist_cnn", budget=5000, batch_size=200)
STUDIES = {
    "mlp": Study(VerbConfig(victim="mlp", budget=25_000), (BASELINE, NULL, *ALPHAS[1:], RADIUS), "mlp"),
    "mnist_cnn": Study(MNIST_CNN, (*ALPHAS[:2], NULL, *ALPHAS[2:]), "mnist_cnn"),
    "cifar_cnn": _cifar("cifar_cnn", "cifar_cnn"),
    "resnet20": _cifar("resnet20", "resnet20"),
    "small_vgg16": _cifar("small_vgg16", **VGG16),
    "efficientnet_lite0": Study(VerbConfig(victim="efficientnet_lite0", **LITE0), ALPHAS[:2]),
    "effort_mnist_cnn": _effort("mnist_cnn"),
    "effort_cifar_cnn": _effort("cifar_cnn"),
}
SMALL = Study(  # shows it all in a minute
    VerbConfig(victim="mlp", dataset="digits", images=20, per_class=2, budget=1000, batch_size=20),
    (BASELINE, Arm("coordinatewise", 1.0), NULL),
    "digits",
)
