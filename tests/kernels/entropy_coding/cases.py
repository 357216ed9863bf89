"""Integer tensors made by formula, shared by the recorded streams, the live peer comparison and the unit tests.

Everything is integer arithmetic on a counter hash (SplitMix64), so that any NumPy version makes the same values and
no tensor has to be stored. Plain NumPy: the peer's environment imports this file too.
"""

import dataclasses

import numpy as np

LARGEST_LEVEL = 2**31 - 14
"""The largest |q| that the binarisation allows."""

BLOCK_EDGE = {1: 8, 2: 16, 3: 32, 4: 64}
"""Scan order -> edge of its square blocks; scan 0 is row-major."""

# next state = TRELLIS_NEXT[state][level & 1] of the eight-state dependent quantiser.
TRELLIS_NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))


@dataclasses.dataclass(frozen=True)
class Case:
    """One tensor and the coder settings it is coded with.

    Attributes:
      name: what the case is for; unique.
      rows, width: shape of the tensor.
      density: values in a thousand that are not zero.
      bits: uniform low bits added to a geometric magnitude; 0 gives small levels, 24 gives levels up to 2**24.
      n_unary: greater-than flags of the binarisation (N).
      presets: search for initial states (the reference coder's param_opt).
      dq: dependent quantisation; the values then lie on the trellis grid.
      scan: 0 row-major, 1 to 4 blocks of 8, 16, 32, 64.
      profile: 0 or 1.
      row_skip: profile 1's flags for all-zero rows.
      zero_row_period: every row whose index divides by it is all zero; 0 for none.
      special: '' for random values, else 'spike', 'alternating' or 'limits'.
    """

    name: str
    rows: int
    width: int
    density: int = 500
    bits: int = 0
    n_unary: int = 11
    presets: bool = True
    dq: bool = False
    scan: int = 0
    profile: int = 0
    row_skip: bool = False
    zero_row_period: int = 0
    special: str = ""


def splitmix64(seed: int, count: int) -> np.ndarray:
    """Returns `count` uint64 values of the SplitMix64 hash of the counters that follow `seed`."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(2**32)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def levels(count: int, density: int, bits: int, seed: int) -> np.ndarray:
    """Returns int32 levels [count]: zero or a signed geometric magnitude with `bits` uniform low bits.

    Args:
      count: number of values.
      density: values in a thousand that are not zero.
      bits: width of the uniform part, 0 to 30.
      seed: any small integer; the same seed gives the same values everywhere.
    """
    random = splitmix64(seed, 2 * count).reshape(2, count)
    nonzero = random[0] % np.uint64(1000) < np.uint64(density)
    negative = (random[0] >> np.uint64(40)) & np.uint64(1)
    geometric = np.ones(count, np.int64)  # 1 + the number of trailing one bits, at most 20
    running = np.ones(count, bool)
    for position in range(20):
        running &= ((random[1] >> np.uint64(position)) & np.uint64(1)).astype(bool)
        geometric += running
    uniform = ((random[1] >> np.uint64(32)) & np.uint64(2**bits - 1)).astype(np.int64)
    magnitude = np.minimum(geometric + uniform, LARGEST_LEVEL)
    return np.where(nonzero, np.where(negative == 1, -magnitude, magnitude), 0).astype(np.int32)


def scan_positions(rows: int, width: int, scan: int) -> np.ndarray:
    """Returns the flat indices [rows * width] of a tensor in coding order, blocks clipped at the border."""
    index = np.arange(rows * width).reshape(rows, width)
    if scan == 0 or rows <= 1 or width <= 1:
        return index.reshape(-1)
    edge = BLOCK_EDGE[scan]
    blocks = [
        index[row : row + edge, column : column + edge].reshape(-1)
        for row in range(0, rows, edge)
        for column in range(0, width, edge)
    ]
    return np.concatenate(blocks)


def to_trellis_grid(level: np.ndarray, scan: int) -> np.ndarray:
    """Returns the grid integers x = 2 l - sign(l) (s & 1) [rows, width] of levels walked in scan order."""
    grid = np.zeros(level.size, np.int64)
    flat = level.reshape(-1)
    state = 0
    for position in scan_positions(*level.shape, scan):
        value = int(flat[position])
        grid[position] = 2 * value - int(np.sign(value)) * (state & 1)
        state = TRELLIS_NEXT[state][value & 1]
    return grid.reshape(level.shape).astype(np.int32)


def tensor(case: Case, seed: int = 1) -> np.ndarray:
    """Returns the int32 tensor [rows, width] of a case, C order."""
    count = case.rows * case.width
    if case.special == "spike":
        values = np.zeros(count, np.int32)
        values[count // 2] = -1000
    elif case.special == "alternating":
        values = np.where(np.arange(count) % 2 == 0, 3, -3).astype(np.int32)
    elif case.special == "limits":
        edge = [0, LARGEST_LEVEL, -LARGEST_LEVEL, LARGEST_LEVEL - 1, 2**30, -(2**30) - 1, 1, -1]
        values = np.resize(np.array(edge, np.int32), count)
    elif case.special:
        raise ValueError(f"special={case.special!r}: expected '', 'spike', 'alternating' or 'limits'")
    else:
        values = levels(count, case.density, case.bits, seed)
    values = values.reshape(case.rows, case.width)
    if case.zero_row_period:
        values[:: case.zero_row_period] = 0
    if case.dq:
        values = to_trellis_grid(values, case.scan)
    return np.ascontiguousarray(values, dtype=np.int32)


RECORDED = (
    Case("small levels, presets off", 32, 40, presets=False),
    Case("small levels, presets on", 32, 40),
    Case("nine in ten zero", 64, 96, density=100),
    Case("nine in ten zero, presets off", 64, 96, density=100, presets=False),
    Case("one in a thousand", 100, 300, density=1),
    Case("no zeros", 24, 30, density=1000),
    Case("N = 1", 40, 33, n_unary=1, presets=False),
    Case("N = 4", 40, 33, bits=4, n_unary=4),
    Case("N = 10", 40, 33, bits=5, n_unary=10, presets=False),
    Case("N = 15", 40, 33, bits=5, n_unary=15),
    Case("levels to 2**24", 20, 30, density=700, bits=24),
    Case("levels to 2**30, N = 1", 12, 20, density=900, bits=30, n_unary=1, presets=False),
    Case("legal limits", 4, 6, special="limits", presets=False),
    Case("legal limits, presets on", 4, 6, special="limits"),
    Case("all zero", 16, 256, density=0),
    Case("one value", 1, 1, density=1000, presets=False),
    Case("one spike", 9, 50, special="spike"),
    Case("alternating", 13, 17, special="alternating"),
    Case("one column, block scan asked for", 300, 1, scan=1),
    Case("one row, block scan asked for", 1, 300, scan=2, presets=False),
    Case("blocks of 8", 37, 45, density=300, scan=1),
    Case("blocks of 8, presets off", 37, 45, density=300, scan=1, presets=False),
    Case("blocks of 8, no zeros: the preset search keeps its neighbour", 30, 25, density=1000, bits=3, scan=1),
    Case("blocks of 16, no zeros, N = 2", 50, 40, density=1000, n_unary=2, scan=2),
    Case("blocks of 16", 50, 70, density=300, bits=3, scan=2),
    Case("blocks of 32", 70, 50, density=300, scan=3, n_unary=4),
    Case("blocks of 64", 130, 70, density=200, scan=4),
    Case("blocks of 64, one block row", 60, 130, density=200, scan=4),
    Case("dependent quantisation, presets off", 40, 40, density=400, dq=True, presets=False),
    Case("dependent quantisation, presets on", 40, 40, density=400, dq=True),
    Case("dependent quantisation, blocks of 8", 37, 45, density=300, dq=True, scan=1, presets=False),
    Case("dependent quantisation, blocks of 16, presets on", 37, 45, density=300, bits=3, dq=True, scan=2),
    Case("profile 1", 30, 40, density=300, profile=1),
    Case("profile 1, row skip", 30, 40, density=300, profile=1, row_skip=True, zero_row_period=3),
    Case("profile 1, row skip, presets off", 30, 40, density=300, profile=1, row_skip=True, zero_row_period=2,
         presets=False),
    Case("profile 1, row skip, blocks of 8", 37, 45, density=300, profile=1, row_skip=True, zero_row_period=2, scan=1),
    Case("profile 1, row skip, dependent quantisation", 30, 40, density=300, profile=1, row_skip=True,
         zero_row_period=3, dq=True, presets=False),
    Case("profile 1, one row: no row-skip syntax", 1, 200, profile=1, row_skip=True),
)  # fmt: skip
"""The cases whose streams nncodec 2.1.3 made, in nncodec_streams.json beside this file."""
