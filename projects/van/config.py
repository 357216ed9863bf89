"""The flags of `train`: the system and its temperature, the network, the training and its schedules."""

import dataclasses

from common import config
from kernels import autoregressive

SYSTEMS = ("square", "triangular", "hopfield", "sk")
ANNEAL_SHARE = 0.5  # of the steps: beta is final for the other half, and a quarter or four fifths did no better
SCHEDULES = ("constant", "plateau", "cosine")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """What the estimates are averaged over: cures for a network that has lost a part of the law."""

    images: int = config.field(
        1, "the estimates are of the mean of the network over so many symmetries (sign, shifts, reflections): the same "
        "number of passes", minimum=1,
    )  # fmt: skip
    defended: bool = config.field(
        False, "the estimates are of a mixture with the networks of 1/4, 1/2 and 3/4 of beta, on the way to it, that "
        "train --defended leaves: what the network has lost shows there",
    )  # fmt: skip
    defence: tuple[str, ...] = config.field(
        (), "run directories or weight files of other networks for that mixture, such as trainings at a lower beta"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(EstimateConfig):
    """One network for one system at one inverse temperature."""

    system: str = config.field(
        "square", "square, triangular (lattices), hopfield, sk, FILE.npz with J and perhaps h, or MODULE:FUNCTION, an "
        "energy [n] of spins [n, rows, columns]",
    )  # fmt: skip
    rows: int = config.field(16, "of the lattice; 1 for systems without one", minimum=1)
    columns: int | None = config.field(
        None, "of the lattice, or the number of spins (none: as many as rows)", minimum=1
    )
    coupling: float = config.field(1.0, "J of a lattice: positive is a ferromagnet")
    boundary: str = config.field("torus", "of a lattice", choices=("torus", "open"))
    double_bonds: bool = config.field(False, "allows a torus of length 2, where each bond around it counts twice")
    system_seed: int = config.field(0, "of patterns and random couplings", minimum=0)
    fold: bool = config.field(
        False, "rows and columns of a torus are visited as 0, L-1, 1, L-2, ...: neighbours are at most two apart "
        "then, also across the seam, for which convolutions without wrapping would need a reach of L",
    )  # fmt: skip
    beta: float = config.field(0.44, "inverse temperature", minimum=0.0)

    network: str = config.field("pixelcnn", "masked convolutions, or masked dense layers", choices=("pixelcnn", "made"))
    depth: int = config.field(3, "masked layers", minimum=1)
    channels: int = config.field(64, "features of a site", minimum=1)
    half_width: int = config.field(6, "h: kernels of PixelCNN are (2h + 1) x (2h + 1)", minimum=1)
    residual: bool = config.field(False, "residual layers between the first and the last")
    bias: bool = config.field(True, "layers have biases")
    final_conv: bool = config.field(False, "PixelCNN ends with a 1x1 product")
    z2: bool = config.field(True, "the law is made symmetric under turning all spins over")
    epsilon: float = config.field(
        1e-7, "conditionals stay within [epsilon, 1 - epsilon]", exclusive_minimum=0.0, exclusive_maximum=0.5
    )

    batch_size: int = config.field(1000, "samples a step", minimum=2)
    chunk: int | None = config.field(
        None, "samples at a time, which bounds memory (none: as many as is fast)", minimum=1, identity=False
    )
    steps: int = config.field(10_000, "of training, in whole periods of evaluation", minimum=1)
    learning_rate: float = config.field(1e-3, "of Adam", exclusive_minimum=0.0)
    schedule: str = config.field(
        "constant",
        "of the learning rate: plateau lowers it where the loss stalls, cosine to the end",
        choices=SCHEDULES,
    )
    warmup: int = config.field(0, "steps over which the learning rate rises from 0", minimum=0)
    plateau: tuple[float, float, float, float] = config.field(
        (0.92, 100, 1e-4, 1e-6), "factor, patience in steps, relative threshold, smallest rate", minimum=0.0
    )
    anneal: float | None = config.field(
        None, "beta of step t is beta (1 - anneal^t), in the papers 0.998; 0 for the final beta from the start (none: "
        "beta rises in equal steps over --anneal_share of the training)", minimum=0.0, exclusive_maximum=1.0,
    )  # fmt: skip
    anneal_share: float | None = config.field(
        None, f"of the steps over which beta rises, without --anneal (none: {ANNEAL_SHARE})", minimum=0.0, maximum=1.0
    )
    clip: float = config.field(1.0, "largest norm of a gradient (0: any)", minimum=0.0)
    averaging: float = config.field(
        0.0, "decay of a running mean of the weights, which is what is evaluated and written", minimum=0.0,
        exclusive_maximum=1.0,
    )  # fmt: skip
    gradient_dtype: str = config.field(
        "float32", "of gradients; log-probabilities and energies stay float32", choices=("float32", "bfloat16")
    )
    start_from: str | None = config.field(
        None, "run directory or weight file to start from; PixelCNN may come from another lattice"
    )
    seed: int = config.field(0, "of weights and samples", minimum=0)

    evaluate_every: int = config.field(200, "steps between evaluations, each of which writes the weights", minimum=1)
    evaluation_samples: int = config.field(500, "of such an evaluation", minimum=2)
    final_samples: int = config.field(10_000, "of the estimates in the result", minimum=2)
    checkpoint_steps: int = config.field(100, "steps between two checkpoints", minimum=1, identity=False)

    def __post_init__(self):
        network_of(self)
        if ":" not in self.system and not self.system.endswith(".npz") and self.system not in SYSTEMS:
            raise ValueError(f"--system={self.system}: expected {', '.join(SYSTEMS)}, FILE.npz or MODULE:FUNCTION")
        if self.anneal is not None and self.anneal_share is not None:
            raise ValueError(f"--anneal={self.anneal} and --anneal_share={self.anneal_share}: give one of them")
        if self.defended and (self.anneal == 0 or (self.anneal is None and self.anneal_share == 0)):
            raise ValueError("--defended mixes in networks of lower beta, and this training meets none: let it anneal")
        if not 0 < self.plateau[0] <= 1:
            raise ValueError(f"--plateau={','.join(map(str, self.plateau))}: the factor must be in (0, 1]")


def network_of(settings: TrainConfig) -> autoregressive.Network:
    """Returns the kernel's setting of the network."""
    kind = {"made": autoregressive.MADE, "pixelcnn": autoregressive.PixelCNN}[settings.network]
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})
