"""What each figure trains, small (a minute, for tests) and full (CPU-sized), and the exact curves beside it."""

import dataclasses

import numpy as np

from kernels import ising
from projects.van import systems
from projects.van.config import TrainConfig
from projects.van.ladder import Ladder

STEP = 0.1
PIXELCNN = TrainConfig(
    network="pixelcnn", depth=4, channels=32, half_width=3, z2=False, fold=True, learning_rate=1e-3,
    schedule="cosine", warmup=20, averaging=0.98, batch_size=100, anneal=0.98,
)  # fmt: skip
MADE = TrainConfig(
    network="made", rows=1, depth=1, channels=1, bias=False, z2=True, learning_rate=5e-3, schedule="cosine", warmup=20,
    averaging=0.98, batch_size=2000, anneal=0.99,
)  # fmt: skip
TINY = dataclasses.replace(PIXELCNN, depth=3, channels=8, half_width=2, batch_size=100, learning_rate=5e-3)


def grid(first: float, last: float, step: float = STEP) -> tuple[float, ...]:
    """Returns inverse temperatures from `first` to `last`, both included."""
    return tuple(round(first + k * step, 6) for k in range(round((last - first) / step) + 1))


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure over temperatures. Attributes: title; quantities: of its pictures, by what their names end with;
    columns: quantities of its table."""

    title: str
    quantities: dict[str, tuple[str, ...]]
    columns: tuple[str, ...] = ("ln_z", "entropy")


CHECKS = ("difference", "ess")
OVER_BETA = {
    "2a": Figure(
        "Square ferromagnet: free energy, energy, entropy, magnetisation",
        {"": ("free_energy", "u", "entropy", "abs_m_site"), "_weights": CHECKS},
        ("ln_z", "u", "entropy", "abs_m_site"),
    ),
    "2b": Figure(
        "Triangular antiferromagnet: entropy that stays at low temperature",
        {"": ("entropy", "free_energy", "u", *CHECKS)},
        ("ln_z", "u", "entropy"),
    ),
    "3": Figure("Hopfield model with two patterns: the ordered phases", {"": ("free_energy", *CHECKS)}),
    "4a": Figure("Sherrington-Kirkpatrick model: free energy against enumeration", {"": ("free_energy", *CHECKS)}),
}
TITLES = {name: figure.title for name, figure in OVER_BETA.items()} | {
    "4b": "Inverse Ising problem: couplings from correlations",
    "comment": "The Comment's panel: an under-trained network, before and after correction",
    "coverage": "coverage of error bars",
}


def ladders(figure: str, scale: str) -> list[Ladder]:
    """Returns what is trained for a figure over temperatures, or for the Comment's panel."""
    return {"2a": square, "2b": triangular, "3": hopfield, "4a": sk, "comment": undertrained}[figure](scale == "small")


def square(small: bool) -> list[Ladder]:
    """Figure 2a: from the critical point to both sides, as training is dearest there."""
    settings = (
        dataclasses.replace(TINY, rows=4, images=8) if small else dataclasses.replace(PIXELCNN, rows=16, images=8)
    )
    betas = (0.44, 0.3) if small else (0.44, 0.42, 0.4, 0.46, 0.5, 0.3, 0.2, 0.1, 0.6, 0.8, 1.0)
    steps, samples = ((150, 50), 2000) if small else ((200, 200), 5000)
    return [Ladder("square", settings, betas, *steps, samples, 500)]


def triangular(small: bool) -> list[Ladder]:
    """Figure 2b: convolutions at 4 x 4 and 6 x 6; at 8 x 8 and beta 1.5 they stall at KL(q||p) = 2.3, where dense
    layers come below 1 in a minute."""
    frustrated = {"system": "triangular", "coupling": -1.0, "images": 8}
    settings = dataclasses.replace(TINY if small else PIXELCNN, **frustrated, learning_rate=5e-3)
    if small:
        tiny = dataclasses.replace(settings, rows=3)
        return [Ladder("triangular3", tiny, (0.5, 1.0), 150, 50, 2000, 1000, defended=True)]
    dense = dataclasses.replace(
        MADE, **frustrated, rows=8, depth=3, channels=8, bias=True, fold=True, learning_rate=1e-2, batch_size=200,
        anneal=0.995,
    )  # fmt: skip
    betas = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
    sizes = (
        (4, dataclasses.replace(settings, rows=4), 600, 400, 20_000),
        (6, dataclasses.replace(settings, rows=6), 600, 400, 10_000),
        (8, dense, 2000, 1500, 20_000),
    )
    return [Ladder(f"triangular{size}", each, betas, *counts, 1000, defended=True) for size, each, *counts in sizes]


def hopfield(small: bool) -> list[Ladder]:
    """Figure 3."""
    settings = dataclasses.replace(MADE, system="hopfield", columns=20 if small else 100, batch_size=1000)
    betas = (0.5, 1.2) if small else grid(0.3, 1.5)
    steps, samples = ((60, 40), 2000) if small else ((600, 400), 50_000)
    return [Ladder("hopfield", settings, betas, *steps, samples, defended=True)]


def sk(small: bool) -> list[Ladder]:
    """Figure 4a."""
    settings = dataclasses.replace(MADE, system="sk", columns=10 if small else 20)
    betas = (0.5, 1.5) if small else grid(0.1, 5.0)
    steps, samples = ((60, 40), 2000) if small else ((300, 300), 100_000)
    return [Ladder("sk", settings, betas, *steps, samples, 10_000, defended=True)]


def undertrained(small: bool) -> list[Ladder]:
    """The Comment's panel: a network of a few steps on 8 x 8 goes on for a few more on 16 x 16, near criticality.

    Its own error bars are far too small. Nicoli et al., arXiv:1903.11048.
    """
    if small:
        tiny = dataclasses.replace(TINY, rows=4, averaging=0.0)
        return [Ladder("undertrained4", tiny, (0.44,), 60, 60, 20_000, 2000)]
    settings = dataclasses.replace(PIXELCNN, schedule="constant", averaging=0.95)
    return [
        Ladder("undertrained8", dataclasses.replace(settings, rows=8), (0.44,), 1000, 1000, 2000, 1000),
        Ladder("undertrained16", dataclasses.replace(settings, rows=16), (0.44,), 400, 400, 100_000, 500),
    ]


def description(ladder: Ladder, from_trained: bool) -> str:
    """Returns the network and the training of a ladder in words."""
    settings = ladder.settings
    start = "begun from a trained network, " if from_trained else f"{ladder.first_steps} steps, then "
    return (
        f"{network_text(settings)}, batch {settings.batch_size}, {start}{ladder.steps} steps a temperature, "
        f"{ladder.samples:,} samples" + (f" of means over {settings.images} symmetries" if settings.images > 1 else "")
    )


def network_text(settings: TrainConfig, folded: bool = False, images: int = 1, mixture: int = 1) -> str:
    """Returns the network of the flags in words, and what it is averaged over: images, and networks of a mixture."""
    text = f"{settings.network} D{settings.depth} C{settings.channels}"
    text += f" h{settings.half_width}" if settings.network == "pixelcnn" else ""
    text += ", folded order" if folded else ""
    text += f", mixture of {mixture} networks" if mixture > 1 else ""
    return text + (f", mean over {images} symmetries" if images > 1 else "")


def curves(ladder: Ladder, points: int = 60, bulk_points: int = 400) -> dict[str, list[tuple]]:
    """Returns name to curves (betas, values, label) over the range of a ladder, for a plot: exact ones, but where that
    means enumeration, and those of the infinite lattice that say more."""
    system, kind = systems.create(ladder.settings), ladder.settings.system
    betas, bulk_betas = (np.linspace(min(ladder.betas), max(ladder.betas), n) for n in (points, bulk_points))
    by_name = {}
    if kind != "sk":
        ln_z, u, s, c_v = np.array([system.exact(float(beta)) for beta in betas]).T
        exact = {"free_energy": -ln_z / betas / system.sites, "u": u, "entropy": s, "c_v": c_v}
        by_name = {name: [(betas, values, "exact")] for name, values in exact.items()}
    if kind == "square":  # <|M|> has no closed form on a torus
        magnetisation = np.maximum(1 - np.sinh(2 * bulk_betas) ** -4.0, 0) ** (1 / 8)
        by_name["abs_m_site"] = [(bulk_betas, magnetisation, "infinite lattice (Yang)")]
    if kind == "triangular":
        entropy = np.full(bulk_points, ising.RESIDUAL_ENTROPY)
        by_name["entropy"].append((bulk_betas, entropy, "infinite lattice at T = 0 (Wannier)"))
    return by_name
