"""Reading one DeepCABAC codeword in pieces, in bounded memory and time, whatever the bytes."""

from collections.abc import Iterator

import numpy as np

from ..array_types import Integer
from ..host_arrays import buffer
from .codeword import make_options
from .core.constants import MAX_ABS_LEVEL, MAX_BINS_PER_BIT


def pieces(height: int, width: int, edge: int, values: int) -> Iterator[tuple[int, int, int, int]]:
    """(first row, rows, first column, columns) of pieces of a matrix in coding order, of about `values` values each:
    some rows, or where these are too long, parts of one row (of one row of blocks where edge, the side of a block, is
    not 1)."""
    rows = max(1, values // max(width * edge, 1)) * edge
    columns = width if width * edge <= values else max(1, values // edge**2) * edge
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield row, min(rows, height - row), column, min(columns, width - column)


class Reader:
    """A place in one codeword. Attributes: height, width, edge (of its blocks, or 1)."""

    def __init__(self, data, shape: tuple[int, ...], *, n_unary=11, dq=False, scan=0, profile=0):
        from .core import decoder

        self._decoder = decoder
        self._data = np.frombuffer(buffer("data", data), np.uint8)
        self._options = options = make_options(shape, n_unary, dq, scan, profile)
        self.height, self.width, self.edge = options.height, options.width, options.block or 1
        values = options.height if options.skips_rows else options.height * options.width
        # A short codeword cannot hold a large tensor, unless it skips rows.
        if values > (8 * self._data.size + 64) * MAX_BINS_PER_BIT:
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

    def read(self, levels: Integer[np.ndarray, "rows columns"]) -> None:
        """Fills levels (int8, int16 or int32), one of the tensor's `pieces`, with the next values."""
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

    def _check(self, status: int) -> None:
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
