"""One integer tensor to and from one DeepCABAC codeword (arXiv:1907.11900; ISO/IEC 15938-17, profiles 0 and 1).

Bit-exact with the NNC coder. A tensor of shape [rows, ...] is coded as `rows` rows of the product of its other axes; a
1-D tensor as one column, a scalar as one value. The codeword holds no shape: the reader passes it.
"""

import math
import operator

import numpy as np

from . import constants

MAX_ABS_LEVEL = constants.MAX_ABS_LEVEL
_RUN, _RUNS = 1 << 14, 8  # a sample of a very large tensor: so many runs of so many values


def encode_tensor(
    q, *, n_unary: int = 11, presets: bool = True, dq: bool = False, scan: int = 0, profile: int = 0
) -> bytes:
    """The codeword of an integer tensor.

    Args:
      q: integers of any shape, empty and scalar included, |q| < 2^31 - 13.
      n_unary: number of context-coded "greater than n" flags, 1 to 15, before the Exp-Golomb remainder.
      presets: choose the starting state of every context (the nine of the standard) to make the stream shortest.
      dq: q lies on the grid of dependent quantisation: along the coding order, odd trellis states allow odd values
        and zero, even states even values.
      scan: 0 row by row; 1 to 4 blocks of side 8, 16, 32, 64, with contexts that start anew at each row of blocks.
      profile: 0; or 1, where all-zero rows of a matrix cost one adaptive bin each and are not coded.

    Raises:
      TypeError: q does not hold integers.
      ValueError: a value is out of range or has the wrong parity, or an option is unknown.
    """
    levels, options = checked_levels(q, n_unary, dq, scan, profile)
    chosen = plan(levels, options) if presets else options.no_presets()
    return encode_levels(levels, options, chosen)


def stream_length(
    q, *, n_unary: int = 11, presets: bool = True, dq: bool = False, scan: int = 0, profile: int = 0
) -> int:
    """Length in bytes of what `encode_tensor` with the same arguments returns, without writing it."""
    levels, options = checked_levels(q, n_unary, dq, scan, profile)
    chosen = plan(levels, options) if presets else options.no_presets()
    return (_run(levels, options, chosen, np.empty(0, np.uint8)) + 7) // 8


def decode_tensor(
    data, shape, *, n_unary: int = 11, dq: bool = False, scan: int = 0, profile: int = 0, dtype=np.int32
) -> np.ndarray:
    """The integers of a codeword, as an array of `shape`.

    Whether presets were used stands in the stream. Damaged data raise, or, where the damage happens to form another
    legal codeword, return an array of the declared shape; time and memory are bounded by shape and length of data.

    Args:
      data: bytes-like, one whole codeword.
      shape: the tensor's shape.
      n_unary, dq, scan, profile: as given to `encode_tensor`.
      dtype: int8, int16 or int32; a value it cannot hold raises.

    Raises:
      ValueError: the data are no codeword of that shape and these options.
    """
    shape = tuple(operator.index(n) for n in shape)
    if any(n < 0 for n in shape):
        raise ValueError(f"shape {shape} has a negative axis")
    if np.dtype(dtype) not in (np.int8, np.int16, np.int32):
        raise ValueError(f"dtype {np.dtype(dtype)} is not one of int8, int16, int32")
    reader = Reader(data, shape, n_unary=n_unary, dq=dq, scan=scan, profile=profile)
    levels = np.empty((reader.height, reader.width), dtype)
    reader.read(levels)
    reader.finish()
    return levels.reshape(shape)


def pieces(height: int, width: int, edge: int, values: int):
    """(first row, rows, first column, columns) of pieces of a matrix in coding order, of about `values` values each:
    some
    rows, or where these are too long, parts of one row (of one row of blocks where edge, the side of a block, is not
    1)."""
    rows = max(1, values // max(width * edge, 1)) * edge
    columns = width if width * edge <= values else max(1, values // edge**2) * edge
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield row, min(rows, height - row), column, min(columns, width - column)


class Reader:
    """Reads one codeword in pieces, in bounded memory. Attributes: height, width, edge (of its blocks, or 1)."""

    def __init__(self, data, shape, *, n_unary=11, dq=False, scan=0, profile=0):
        from . import decoder

        self._decoder = decoder
        self._data = np.frombuffer(data, np.uint8)
        self._options = options = Options(n_unary, dq, scan, profile, *matrix_shape(shape))
        self.height, self.width, self.edge = options.height, options.width, options.block or 1
        values = options.height if options.skips_rows else options.height * options.width
        # A short codeword cannot hold a large tensor, unless it skips rows.
        if values > (8 * self._data.size + 64) * constants.MAX_BINS_PER_BIT:
            raise ValueError(
                f"{self._data.size} bytes cannot hold a tensor of shape {tuple(shape)}: cut off, or a wrong shape"
            )
        self._presets = options.no_presets()
        self._contexts = np.empty(options.num_contexts, np.uint32)
        self._skipped = np.zeros(options.height, np.uint8)
        self._registers = np.zeros(decoder.NUM_REGISTERS, np.int64)
        self._row = self._column = 0
        self._check(decoder.start_decoding(
            self._data, int(options.skips_rows), options.order, self._presets, self._contexts, self._skipped,
            self._registers,
        ))  # fmt: skip

    def read(self, levels) -> None:
        """Fills levels [rows, columns] (int8, int16 or int32), one of the tensor's `pieces`, with the next values."""
        options, (rows, columns) = self._options, levels.shape
        limit = min(MAX_ABS_LEVEL, np.iinfo(levels.dtype).max)
        skipped = self._skipped[self._row : self._row + rows] if options.skips_rows else np.zeros(rows, np.uint8)
        restart = bool(options.block) and options.height > options.block and self._column == 0
        self._check(self._decoder.decode_rows(
            self._data, options.n_unary, options.dq, options.block, restart, self.width if options.block else columns,
            self._presets, self._contexts, skipped, self._registers, levels, limit,
        ))  # fmt: skip
        self._column += columns
        if self._column >= self.width:
            self._row, self._column = self._row + rows, 0

    def finish(self) -> None:
        """Checks that the codeword ends where its last value ends."""
        self._check(self._decoder.finish_decoding(self._data, self._registers))

    def _check(self, status) -> None:
        decoder = self._decoder
        if status == decoder.OVERRUN:
            raise ValueError(
                f"the codeword of {self._data.size} bytes ends before all its values are read: it is cut off or corrupt"
            )
        if status == decoder.LEVEL_TOO_LARGE:
            raise ValueError(
                "the codeword holds a value beyond the legal range or the dtype: corrupt data or wrong options"
            )
        if status == decoder.BAD_END:
            raise ValueError(
                "the codeword does not end where its last value ends: corrupt data, wrong shape or wrong options"
            )


class Options:
    """Checked options of one codeword, with what follows from them and the matrix shape."""

    def __init__(self, n_unary, dq, scan, profile, height, width):
        n_unary, scan, profile = operator.index(n_unary), operator.index(scan), operator.index(profile)
        if not 1 <= n_unary <= constants.MAX_UNARY:
            raise ValueError(f"n_unary={n_unary} is not between 1 and {constants.MAX_UNARY}")
        if scan not in (0, 1, 2, 3, 4):
            raise ValueError(f"scan={scan} is not 0 (row by row) or 1 to 4 (blocks of side 8, 16, 32, 64)")
        if profile not in (0, 1):
            raise ValueError(f"profile={profile} is not 0 or 1")
        self.n_unary, self.dq, self.profile = n_unary, bool(dq), profile
        self.matrix = height > 1 and width > 1
        self.block = 4 << scan if scan and self.matrix else 0
        self.skips_rows = profile == 1 and self.matrix
        # Without row skip or blocks row ends do not matter, and one long row is coded fastest.
        self.height, self.width = (height, width) if self.block or self.skips_rows else (1, height * width)
        self.order = constants.signalled_contexts(n_unary, self.dq)
        self.num_contexts = constants.num_contexts(n_unary)

    def no_presets(self) -> np.ndarray:
        return np.zeros(self.num_contexts, np.uint8)


def matrix_shape(shape) -> tuple[int, int]:
    """Rows and columns as which a tensor is coded."""
    return (1, 1) if not shape else (shape[0], math.prod(shape[1:]))


def checked_levels(q, n_unary, dq, scan, profile):
    """Levels as int32 [rows, columns] and the options, or an error that names what is wrong."""
    q = np.asarray(q)
    if q.dtype.kind not in "iub" and not (q.size == 0 and q.dtype == np.float64):
        raise TypeError(f"levels must be integers, not {q.dtype}: quantise first (quantize_uniform)")
    if q.size and q.dtype.itemsize >= 4:
        low, high = int(q.min()), int(q.max())
        if max(-low, high) > MAX_ABS_LEVEL:
            raise ValueError(f"level {high if high > -low else low} is beyond the legal range |q| <= {MAX_ABS_LEVEL}")
    options = Options(n_unary, dq, scan, profile, *matrix_shape(q.shape))
    levels = np.require(q, np.int32, "CA").reshape(options.height, options.width)
    if dq:
        from . import encoder

        if options.skips_rows and options.block and not levels.any(axis=1).all():
            raise ValueError("dependent quantisation with a block scan cannot skip rows: use profile=0 or scan=0")
        wrong = encoder.first_wrong_parity(levels, options.block, skipped_rows(levels, options))
        if wrong >= 0:
            raise ValueError(
                f"level {levels.flat[wrong]} at index {wrong} has the wrong parity for its trellis state: "
                "dq=True takes the grid integers of quantize_trellis"
            )
    return levels, options


def skipped_rows(levels, options) -> np.ndarray:
    """uint8 [rows]: 1 for the rows that the codeword skips."""
    if not options.skips_rows:
        return np.zeros(levels.shape[0], np.uint8)
    return (~levels.any(axis=1)).astype(np.uint8)


def sample(matrix: np.ndarray, options) -> np.ndarray:
    """Runs of a very large matrix of levels that is coded as one row, end to end; others whole. For decisions that cost
    more time than the last bits are worth."""
    if options.height > 1 or matrix.shape[1] <= 2 * _RUN * _RUNS:
        return matrix
    if options.dq:  # the states of the trellis follow from all levels before
        return matrix[:, : _RUN * _RUNS]
    starts = np.linspace(0, matrix.shape[1] - _RUN, _RUNS).astype(np.int64)
    return np.concatenate([matrix[:, start : start + _RUN] for start in starts], axis=1)


def skip_bits(skipped) -> float:
    """About what the flags of skipped rows cost: their entropy."""
    p = float(skipped.mean()) if skipped.size else 0.0
    return -skipped.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def plan(levels, options, sampled: bool = False) -> np.ndarray:
    """Presets for checked levels [height, width]; `sampled`: of a very large tensor, those that suit runs of it."""
    from . import presets

    skipped = skipped_rows(levels, options)
    seen = sample(levels, options) if sampled else levels
    total = presets.costs(seen, options.n_unary, options.dq, options.block, skipped, options.num_contexts)
    if seen.size < levels.size:  # the first run shows what learning costs, the others what each more value does
        first = np.ascontiguousarray(seen[:, :_RUN])
        learning = presets.costs(first, options.n_unary, options.dq, options.block, skipped, options.num_contexts)
        total = learning + (total - learning) * ((levels.size - _RUN) / (seen.size - _RUN))
    return presets.choose(total, options.order)


def _run(levels, options, presets, out) -> int:
    from . import encoder

    skipped = skipped_rows(levels, options)
    return encoder.encode(
        levels,
        options.n_unary,
        options.dq,
        options.block,
        1 if options.skips_rows else 0,
        1 if skipped.any() else 0,
        skipped,
        options.order,
        presets,
        np.empty(options.num_contexts, np.uint32),
        out,
    )


def encode_levels(levels, options, presets) -> bytes:
    """The codeword of checked levels, int32 [options.height, options.width]."""
    out = np.empty(_capacity(levels, options), np.uint8)
    bits = _run(levels, options, presets, out)
    return out[: (bits + 7) // 8].tobytes()


def _capacity(levels, options) -> int:
    """Bytes that no codeword of these levels exceeds: a context-coded bin shifts by 7 bits at most, a bypass bin by
    1."""
    largest = max(-int(levels.min()), int(levels.max())) if levels.size else 0
    if largest == 0:
        bins, bypass = 1, 0
    else:
        bypass = max(0, largest - options.n_unary).bit_length()
        bins = 2 + min(largest, options.n_unary) + bypass
    return (levels.size * (7 * bins + bypass) + 7 * options.height + 10 * options.num_contexts) // 8 + 64
