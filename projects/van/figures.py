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


def ladders(figure: str, scale: str) -> list[Ladder]:
    """Returns what is trained for a figure; each of several begins where the one before ended, if the weights fit."""
    small = scale == "small"
    if figure == "2a":
        settings = dataclasses.replace(TINY, rows=4) if small else dataclasses.replace(PIXELCNN, rows=16)
        # From the critical point to both sides, as training is dearest there.
        betas = (0.44, 0.3) if small else (0.44, 0.42, 0.4, 0.46, 0.5, 0.3, 0.2, 0.1, 0.6, 0.8, 1.0)
        steps, samples = ((150, 50), 2000) if small else ((200, 200), 5000)
        return [Ladder("square", settings, betas, *steps, samples, 500, images=8)]
    if figure == "2b":
        settings = dataclasses.replace(
            TINY if small else PIXELCNN, system="triangular", coupling=-1.0, learning_rate=5e-3
        )
        rest = {"chunk": 1000, "defended": True, "images": 8}
        if small:
            return [Ladder("triangular3", dataclasses.replace(settings, rows=3), (0.5, 1.0), 150, 50, 2000, **rest)]
        betas = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
        climbs = [
            Ladder(f"triangular{size}", dataclasses.replace(settings, rows=size), betas, 600, 400, samples, **rest)
            for size, samples in ((4, 20_000), (6, 10_000))
        ]
        # At 8 x 8 and beta 1.5 the convolutions stall at KL(q||p) = 2.3; dense layers come below 1 in a minute.
        dense = dataclasses.replace(
            MADE, system="triangular", coupling=-1.0, rows=8, depth=3, channels=8, bias=True, fold=True,
            learning_rate=1e-2, batch_size=200, anneal=0.995,
        )  # fmt: skip
        return [*climbs, Ladder("triangular8", dense, betas, 2000, 1500, 20_000, **rest)]
    if figure == "3":
        settings = dataclasses.replace(MADE, system="hopfield", columns=20 if small else 100, batch_size=1000)
        betas = (0.5, 1.2) if small else grid(0.3, 1.5)
        steps, samples = ((60, 40), 2000) if small else ((600, 400), 50_000)
        return [Ladder("hopfield", settings, betas, *steps, samples, defended=True)]
    if figure == "4a":
        settings = dataclasses.replace(MADE, system="sk", columns=10 if small else 20)
        betas = (0.5, 1.5) if small else grid(0.1, 5.0)
        steps, samples = ((60, 40), 2000) if small else ((300, 300), 100_000)
        return [Ladder("sk", settings, betas, *steps, samples, 10_000, defended=True)]
    raise ValueError(f"figure {figure!r} has no ladder")


def exact_curves(ladder: Ladder, points: int = 60) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns name to (betas, exact values) over the range of a ladder, for a plot; nothing where it is enumerated."""
    if ladder.settings.system == "sk":
        return {}
    system = systems.create(ladder.settings)
    sites = ladder.settings.rows * (ladder.settings.columns or ladder.settings.rows)
    betas = np.linspace(min(ladder.betas), max(ladder.betas), points)
    columns = np.array([system.exact(float(beta)) for beta in betas]).T
    return {
        "free_energy": (betas, -columns[0] / betas / sites),
        "u": (betas, columns[1]),
        "entropy": (betas, columns[2]),
        "c_v": (betas, columns[3]),
    }


def bulk_curves(ladder: Ladder, points: int = 400) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Returns name to (betas, values, label) of the infinite lattice, for what says more than the exact curve."""
    betas = np.linspace(min(ladder.betas), max(ladder.betas), points)
    if ladder.settings.system == "square":  # <|M|> has no closed form on a torus
        magnetisation = np.maximum(1 - np.sinh(2 * betas) ** -4.0, 0) ** (1 / 8)
        return {"abs_m_site": (betas, magnetisation, "infinite lattice (Yang)")}
    if ladder.settings.system == "triangular":
        return {"entropy": (betas, np.full(points, ising.RESIDUAL_ENTROPY), "infinite lattice at T = 0 (Wannier)")}
    return {}


TITLES = {
    "2a": "Square ferromagnet: free energy, energy, entropy, magnetisation",
    "2b": "Triangular antiferromagnet: entropy that stays at low temperature",
    "3": "Hopfield model with two patterns: the ordered phases",
    "4a": "Sherrington-Kirkpatrick model: free energy against enumeration",
    "4b": "Inverse Ising problem: couplings from correlations",
    "comment": "The Comment's panel: an under-trained network, before and after correction",
}
