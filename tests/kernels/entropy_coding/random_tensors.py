"""Random integer tensors and coder options drawn from one seed: every sparsity, range, shape and option."""

import numpy as np

from tests.kernels.entropy_coding import cases

SHAPES = (
    (), (0,), (1,), (7,), (65,), (0, 5), (5, 0), (1, 1), (1, 40), (40, 1), (9, 17), (2, 3), (3, 0, 2), (1, 0, 5, 1),
    (3, 4, 5), (2, 1, 3, 2, 4), (20, 21), (16, 8), (33, 9), (70, 3),
)  # fmt: skip
KINDS = ("zero", "spike", "alternating", "limits", "sparse", "laplace", "wide", "bits", "ones", "runs")


def levels(rng: np.random.Generator, shape, largest: int = cases.LARGEST_LEVEL) -> np.ndarray:
    """int64 levels of `shape`, of a kind and scale that the generator picks."""
    size = int(np.prod(shape))
    kind = rng.choice(KINDS)
    q = np.zeros(size, np.int64)
    if kind == "spike" and size:
        q[rng.integers(size)] = rng.choice([-largest, -1, 1, largest])
    elif kind == "alternating":
        q = np.where(np.arange(size) % 2 == 0, 1, -1) * rng.integers(1, 40)
    elif kind == "limits":
        q = rng.choice([0, 1, -1, largest, -largest, largest - 1, 1 - largest], size)
    elif kind == "sparse":
        q = np.where(rng.random(size) < rng.choice([0.01, 0.1, 0.5]), rng.integers(-3, 4, size), 0)
    elif kind == "laplace":
        q = np.rint(rng.laplace(0, 10 ** rng.uniform(-1, 6), size)).astype(np.int64)
    elif kind == "wide":
        q = rng.integers(-largest, largest + 1, size)
    elif kind == "bits":
        q = (1 << rng.integers(0, 31, size)) + rng.integers(-1, 2, size)
        q = q * rng.choice([-1, 1], size)
    elif kind == "ones":
        q = np.full(size, rng.choice([-1, 1]))
    elif kind == "runs":
        q = np.repeat(rng.integers(-2, 3, size // 8 + 1), 8)[:size]
    q = np.clip(q, -largest, largest).astype(np.int64).reshape(shape)
    if len(shape) > 1 and shape[0] > 1 and rng.random() < 0.4:  # rows to skip
        q[rng.random(shape[0]) < rng.choice([0.1, 0.5, 0.9])] = 0
    return q


def draw(seed: int) -> tuple[np.ndarray, dict]:
    """A tensor and legal options for it, `presets` included."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[rng.integers(len(SHAPES))]
    options = {
        "n_unary": int(rng.integers(1, 16)),
        "dq": bool(rng.random() < 0.4),
        "scan": int(rng.choice([0, 0, 1, 2, 3, 4])),
        "profile": int(rng.integers(2)),
        "presets": bool(rng.integers(2)),
    }
    q = levels(rng, shape, cases.LARGEST_LEVEL // 2 if options["dq"] else cases.LARGEST_LEVEL)
    if options["dq"]:
        q = on_trellis_grid(q, options["scan"])
        if options["profile"] and options["scan"] and (matrix(q) == 0).all(axis=1).any():
            options["profile"] = 0  # the combination that is refused
    return q, options


def matrix(q: np.ndarray) -> np.ndarray:
    """[rows, columns] as the coder sees a tensor; a scalar is one value."""
    return q.reshape(1, 1) if q.ndim == 0 else q.reshape(q.shape[0], int(np.prod(q.shape[1:])))


def on_trellis_grid(level: np.ndarray, scan: int) -> np.ndarray:
    """Valid grid integers: the trellis walked over the levels in scan order, one step a value."""
    return cases.to_trellis_grid(matrix(level), scan).reshape(level.shape)


def coder_options(options: dict) -> dict:
    """Those that `decode_tensor` takes too."""
    return {name: value for name, value in options.items() if name != "presets"}
