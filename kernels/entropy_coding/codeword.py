"""What one codeword is made of: options of the coder, levels in coding order, presets, and the bytes.

The public door is tensor.py; quantisers, rates and the container lean on this file, and it on the compiled core only.
"""

import dataclasses
import math
from typing import SupportsIndex

import numpy as np

from ..array_types import ArrayLike, Int32, Int64, Integer, UInt8
from ..host_arrays import on_host
from ..scalars import whole
from .core import constants
from .core.constants import MAX_ABS_LEVEL

RUN, _RUNS = 1 << 14, 8  # a sample of a very large tensor: so many runs of so many values
_BLOCK_SIDES = (0, 8, 16, 32, 64)  # by scan


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of one codeword, with what follows from them and the shape of its matrix; from `make_options`.

    Attributes: n_unary, dq, scan, profile, as `encode_tensor` takes them; height and width of the matrix, one long row
    where row ends do not matter; block, the side of its blocks or 0; skips_rows, whether all-zero rows are left out.
    """

    n_unary: int
    dq: bool
    scan: int
    profile: int
    height: int
    width: int
    block: int
    skips_rows: bool

    @property
    def order(self) -> Int64[np.ndarray, " contexts"]:
        """Contexts whose presets the header signals."""
        return constants.signalled_contexts(self.n_unary, self.dq)

    @property
    def num_contexts(self) -> int:
        """How many contexts there are, those of the syntax included."""
        return constants.num_contexts(self.n_unary)

    def no_presets(self) -> UInt8[np.ndarray, " contexts"]:
        """The neutral preset for every context."""
        return np.zeros(self.num_contexts, np.uint8)


def make_options(
    shape: tuple[int, ...],
    n_unary: SupportsIndex,
    dq: bool = False,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
) -> Options:
    """Options for a tensor of a shape.

    Raises:
      ValueError: an option is unknown.
    """
    n_unary = checked_unary(n_unary)
    scan = whole("scan", scan, 0, len(_BLOCK_SIDES) - 1, ": 0 row by row, others in blocks of side 8, 16, 32, 64")
    profile = whole("profile", profile, 0, 1)
    height, width = matrix_shape(shape)
    is_matrix = height > 1 and width > 1
    block, skips_rows = _BLOCK_SIDES[scan] if is_matrix else 0, profile == 1 and is_matrix
    if not (block or skips_rows):  # row ends do not matter, and one long row is coded fastest
        height, width = 1, height * width
    return Options(n_unary, bool(dq), scan, profile, height, width, block, skips_rows)


def checked_unary(n_unary: SupportsIndex) -> int:
    """The number of unary flags as int, or an error that says what is wrong."""
    return whole("n_unary", n_unary, 1, constants.MAX_UNARY, " flags of a level")


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns as which a tensor is coded."""
    return (1, 1) if not shape else (shape[0], math.prod(shape[1:]))


def checked_levels(
    q: ArrayLike, n_unary: SupportsIndex = 11, dq: bool = False, scan: SupportsIndex = 0, profile: SupportsIndex = 0
) -> tuple[Int32[np.ndarray, "rows columns"], Options]:
    """Levels in the matrix of their options, and the options, or an error that names what is wrong."""
    q = on_host("q", q)
    if q.dtype.kind not in "iub" and not (q.size == 0 and q.dtype == np.float64):
        bad = int(np.count_nonzero(~np.isfinite(q))) if q.dtype.kind == "f" else 0
        what = f", and {bad} of {q.size} are NaN or infinite: mend them, and quantise" if bad else ": quantise first"
        raise TypeError(f"levels must be integers, not {q.dtype}{what} (quantize_uniform)")
    if q.size and q.dtype.itemsize >= 4:
        low, high = int(q.min()), int(q.max())
        if max(-low, high) > MAX_ABS_LEVEL:
            raise ValueError(f"level {high if high > -low else low} is beyond the legal range |q| <= {MAX_ABS_LEVEL}")
    options = make_options(q.shape, n_unary, dq, scan, profile)
    levels = np.require(q, np.int32, ("C", "A")).reshape(options.height, options.width)
    if options.dq:
        _check_parities(levels, options)
    return levels, options


def _check_parities(levels, options: Options) -> None:
    from .core import encoder

    if options.skips_rows and options.block and not levels.any(axis=1).all():
        raise ValueError("dependent quantisation with a block scan cannot skip rows: use profile=0 or scan=0")
    wrong = encoder.first_wrong_parity(levels, options.block, skipped_rows(levels, options))
    if wrong >= 0:
        raise ValueError(
            f"level {levels.flat[wrong]} at index {wrong} has the wrong parity for its trellis state: "
            "dq=True takes the grid integers of quantize_trellis"
        )


def skipped_rows(levels: Integer[np.ndarray, "rows columns"], options: Options) -> UInt8[np.ndarray, " rows"]:
    """1 for the rows that the codeword skips."""
    if not options.skips_rows:
        return np.zeros(levels.shape[0], np.uint8)
    return np.logical_not(levels.any(axis=1)).astype(np.uint8)


def skip_bits(skipped: UInt8[np.ndarray, " rows"]) -> float:
    """About what the flags of skipped rows cost: their entropy."""
    p = float(skipped.mean()) if skipped.size else 0.0
    return -skipped.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def sampled_places(options: Options, size: int) -> Int64[np.ndarray, " sampled"] | None:
    """Which of so many values decide what costs more time than the last bits are worth: runs, end to end, of a large
    matrix that is coded as one row. None: all."""
    if options.height > 1 or size <= 2 * RUN * _RUNS:
        return None
    if options.dq:  # the states of the trellis follow from all levels before
        return np.arange(RUN * _RUNS)
    starts = np.linspace(0, size - RUN, _RUNS).astype(np.int64)
    return (starts[:, None] + np.arange(RUN)).reshape(-1)


def sample(matrix: Int32[np.ndarray, "rows columns"], options: Options) -> Int32[np.ndarray, "rows values"]:
    """The columns of `sampled_places`, or a matrix whole."""
    places = sampled_places(options, matrix.shape[1])
    return matrix if places is None else np.ascontiguousarray(matrix[:, places])


def lead(options: Options) -> int | None:
    """How much of one long row the first pass of a quantiser is run on; None: all of a matrix."""
    return max(options.width >> 3, min(options.width, 1 << 14)) if options.height == 1 else None


def coding_order(options: Options) -> tuple[Int64[np.ndarray, " values"] | None, Int64[np.ndarray, " rows"]]:
    """Flat indices in coding order (None: the storage order), and where contexts start anew, the end last."""
    height, width, block = options.height, options.width, options.block
    if not block:
        return None, np.array([height * width], np.int64)
    index = np.arange(height * width).reshape(height, width)
    pieces = [
        index[top : top + block, left : left + block].reshape(-1)
        for top in range(0, height, block)
        for left in range(0, width, block)
    ]
    restarts = np.minimum(np.arange(block, height + block, block), height) * width
    return np.concatenate(pieces), restarts.astype(np.int64)


def choose_presets(
    levels: Int32[np.ndarray, "rows columns"], options: Options, sampled: bool = False
) -> UInt8[np.ndarray, " contexts"]:
    """The cheapest preset of every context for checked levels.

    Args:
      sampled: of a very large tensor, those that suit runs of it.
    """
    from .core import presets

    def costs(matrix):
        return presets.costs(
            matrix, options.n_unary, options.dq, options.block, skipped_rows(levels, options), options.num_contexts
        )

    runs = sample(levels, options) if sampled else levels
    total = costs(runs)
    if runs.size < levels.size:  # the first run shows what learning costs, the others what each more value does
        learning = costs(np.ascontiguousarray(runs[:, :RUN]))
        total = learning + (total - learning) * ((levels.size - RUN) / (runs.size - RUN))
    return presets.choose(total, options.order)


def encode_levels(levels: Int32[np.ndarray, "rows columns"], options: Options, presets) -> bytes:
    """The codeword of checked levels under presets, uint8 [contexts]."""
    out = np.empty(_capacity(levels, options), np.uint8)
    bits = codeword_bits(levels, options, presets, out)
    return out[: (bits + 7) // 8].tobytes()


def codeword_bits(levels: Int32[np.ndarray, "rows columns"], options: Options, presets, out=None) -> int:
    """Bits of the codeword before its padding; its bytes go to `out`, uint8 [enough], where there is one."""
    from .core import encoder

    skipped = skipped_rows(levels, options)
    out = np.empty(0, np.uint8) if out is None else out
    return encoder.encode(
        levels, options.n_unary, options.dq, options.block, int(options.skips_rows), int(skipped.any()), skipped,
        options.order, presets, np.empty(options.num_contexts, np.uint32), out,
    )  # fmt: skip


def _capacity(levels, options: Options) -> int:
    """Bytes that no codeword of these levels exceeds: a context-coded bin shifts by 7 bits at most, a bypass bin by
    1."""
    largest = max(-int(levels.min()), int(levels.max())) if levels.size else 0
    if largest == 0:
        bins, bypass = 1, 0
    else:
        bypass = max(0, largest - options.n_unary).bit_length()
        bins = 2 + min(largest, options.n_unary) + bypass
    return (levels.size * (7 * bins + bypass) + 7 * options.height + 10 * options.num_contexts) // 8 + 64
