"""One static description for all LDPC codes: a matrix of circulants, of size 1 where a code has no structure.

With a word x as [columns, Z], H x = 0 where the sum over a row's entries (column c, shift s) of roll(x[c], -s) is even,
for every row: check k of a row touches bit (k + s) mod Z of column c (TS 38.212, 5.3.2).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from .. import scalars
from ..array_types import AnyArray, ArrayLike, Count, Int64, UInt8
from ..host_arrays import on_host
from . import base_graphs

Rows = tuple[tuple[tuple[int, int], ...], ...]
LONGEST = 2**31 - 1  # bits, checks and edges of a code


@dataclasses.dataclass(frozen=True, repr=False)
class Code:
    """A low-density parity-check code; hashable, so that it is a static argument of `jax.jit`.

    `qc_code`, `sparse_code` and `read_alist` make them. Codes are equal where their checks, information and puncturing
    are, whatever their names. A bit in no check is allowed: no decoder changes it.

    Attributes:
      lifting: Z, bits in a column and checks in a row; 1 for a code without structure.
      columns: number of columns, blocks of Z bits.
      rows: for each row, a block of Z checks, its (column, shift). Check k touches bit (k + shift) mod Z of the column.
      information: number of leading columns that hold information bits; 0 where that is unknown.
      punctured: number of leading columns that are never sent.
      name: shown in messages.

    Raises:
      ValueError: a column or shift is out of range, a row has no entries or a column twice, or the code is too large.

    Example:
      >>> from havel.kernels import ldpc
      >>> code = ldpc.Code(lifting=3, columns=2, rows=(((0, 1), (1, 0)),))
      >>> code, ldpc.parity_check_matrix(code)[0].tolist()
      (Code(n=6, checks=3, edges=6), [0, 1, 0, 1, 0, 0])
    """

    lifting: int
    columns: int
    rows: Rows
    information: int = 0
    punctured: int = 0
    name: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        lifting = scalars.whole("lifting", self.lifting, 1, LONGEST)
        columns = scalars.whole("columns", self.columns, 1, LONGEST // lifting, f", so that n < 2^31 with Z={lifting}")
        checked = {
            "lifting": lifting,
            "columns": columns,
            "rows": _checked_rows(self.rows, columns, lifting),
            "information": scalars.whole("information", self.information, 0, columns),
            "punctured": scalars.whole("punctured", self.punctured, 0, columns - 1),
            "name": str(self.name),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        number = hash((lifting, columns, self.rows, self.information, self.punctured))
        object.__setattr__(self, "_hash", number)

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]  # of hundreds of tuples, asked for in every jitted call

    def __reduce__(self) -> tuple:  # hashes of what was pickled elsewhere are not taken over
        return Code, (self.lifting, self.columns, self.rows, self.information, self.punctured, self.name)

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"Code({name}n={self.n}, checks={self.checks}, edges={self.edge_count})"

    @property
    def n(self) -> int:
        """Bits of a word."""
        return self.columns * self.lifting

    @property
    def checks(self) -> int:
        """Parity checks."""
        return len(self.rows) * self.lifting

    @property
    def edge_count(self) -> int:
        """Ones of the parity-check matrix."""
        return self.lifting * sum(map(len, self.rows))

    @property
    def sendable(self) -> int:
        """Bits of a word that are not punctured."""
        return (self.columns - self.punctured) * self.lifting


def _checked_rows(rows, columns: int, lifting: int) -> Rows:
    """Rows as tuples of Python's integers."""
    try:
        degrees = [len(row) for row in rows]
        flat = np.array([entry for row in rows for entry in row])
    except (TypeError, ValueError):
        degrees, flat = [], np.zeros(0)
    if not degrees or flat.dtype.kind not in "iu" or flat.ndim != 2 or flat.shape[1] != 2:
        raise scalars.refusal("rows", rows, "for each row its pairs of integers (column, shift), one row at least")
    if 0 in degrees:
        raise ValueError(f"row {degrees.index(0)} has no entries: leave out a row that checks nothing")
    if len(flat) > LONGEST // lifting or len(degrees) > LONGEST // lifting:
        raise ValueError(f"{len(degrees)} rows of {len(flat)} entries, Z={lifting}: expected less than 2^31 edges")
    row = np.repeat(np.arange(len(degrees)), degrees)
    for place, (name, end) in enumerate((("column", columns), ("shift", lifting))):
        wrong = np.flatnonzero((flat[:, place] < 0) | (flat[:, place] >= end))
        if wrong.size:
            number = flat[wrong[0], place]
            raise ValueError(f"row {row[wrong[0]]} has {name} {number}: expected 0 to {end - 1}")
    order = np.lexsort((flat[:, 0], row))
    same = (np.diff(row[order]) == 0) & (np.diff(flat[order, 0]) == 0)
    if same.any():
        first = order[np.flatnonzero(same)[0]]
        raise ValueError(
            f"row {row[first]} has column {flat[first, 0]} twice: expected one entry a column; a code with several "
            "circulants in one place goes, expanded, through `sparse_code`"
        )
    pairs = iter(map(tuple, flat.tolist()))
    return tuple(tuple(next(pairs) for _ in range(degree)) for degree in degrees)


def qc_code(base_graph: Count | ArrayLike, lifting: Count) -> Code:
    """The quasi-cyclic code of a base graph of 5G NR, or of a matrix of shifts such as those of Wi-Fi.

    Args:
      base_graph: 1 or 2 of TS 38.212: 46 x 68 and 42 x 52, with 22 and 10 columns of information, of which 2 are never
        sent. Or integers [rows, columns]: the shift of each block, -1 where there is none.
      lifting: Z. For 1 and 2 a size of table 5.3.2-1, a 2^j up to 384 with a of 2, 3, 5, 7, 9, 11, 13, 15; else any of
        at least 1. Shifts are taken modulo Z.

    Raises:
      ValueError: there is no such base graph or lifting size, which names the next ones, or a row has no blocks.

    Source: TS 38.212, 5.3.2.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.qc_code(2, 36)
      Code('BG2 Z=36', n=1872, checks=1512, edges=7092)
    """
    if np.ndim(base_graph) == 0:
        graph = base_graphs.checked_base_graph(base_graph)
        return _nr_code(graph, base_graphs.checked_lifting(lifting))
    shifts = on_host("base_graph", base_graph)
    if shifts.ndim != 2 or shifts.dtype.kind not in "iu" or 0 in shifts.shape:
        raise ValueError(
            f"base_graph is {shifts.dtype} of shape {shifts.shape}: expected 1, 2, or integers [rows, columns], the "
            "shift of each block, -1 where there is none"
        )
    if shifts.min() < -1:
        raise ValueError(f"base_graph has a shift {shifts.min()}: expected 0 or above, -1 where there is no block")
    size = scalars.whole("lifting", lifting, 1, LONGEST)
    rows = tuple(tuple((int(column), int(row[column]) % size) for column in np.flatnonzero(row >= 0)) for row in shifts)
    return Code(size, shifts.shape[1], rows, name=f"QC {shifts.shape[0]}x{shifts.shape[1]} Z={size}")


@functools.cache
def _nr_code(base_graph: int, lifting: int) -> Code:
    return Code(
        lifting,
        base_graphs.columns(base_graph),
        base_graphs.lifted_rows(base_graph, lifting),
        base_graphs.INFORMATION[base_graph],
        base_graphs.PUNCTURED,
        f"BG{base_graph} Z={lifting}",
    )


def sparse_code(
    matrix: ArrayLike | None = None,
    *,
    edges: Sequence[AnyArray] | None = None,
    shape: Sequence[Count] | None = None,
    name: str = "",
) -> Code:
    """The code of any parity-check matrix: a `Code` with lifting 1.

    Args:
      matrix: 0 or 1 [checks, bits]. Or instead of it:
      edges: (check, bit), two integer arrays [edges], the places of its ones in any order, none twice.
      shape: (checks, bits), of `edges`.
      name: shown in messages.

    Raises:
      ValueError: neither or both are given, an entry is not 0 or 1, an edge is out of range or there twice, or a check
        has no bits.

    Example:
      >>> from havel.kernels import ldpc
      >>> hamming = ldpc.sparse_code([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])
      >>> hamming, ldpc.dimension(hamming)
      (Code(n=7, checks=3, edges=12), 4)
    """
    if (matrix is None) == (edges is None) or (edges is None) != (shape is None):
        raise ValueError("expected a matrix, or edges=(check, bit) with shape=(checks, bits)")
    if edges is None:
        dense = on_host("matrix", matrix)
        if dense.ndim != 2 or 0 in dense.shape or not np.isin(dense, (0, 1)).all():
            raise ValueError(f"matrix is {dense.dtype} of shape {dense.shape}: expected 0 or 1 [checks, bits]")
        check, bit = np.nonzero(dense)
        checks, bits = dense.shape
    else:
        check, bit, checks, bits = _checked_edges(edges, shape)
    counts = np.bincount(check, minlength=checks)
    if not counts.all():
        raise ValueError(f"check {int(np.argmin(counts))} has no bits: leave out a check that checks nothing")
    lists = np.split(bit, np.cumsum(counts)[:-1])
    return Code(1, bits, tuple(tuple((number, 0) for number in one.tolist()) for one in lists), name=name)


def _checked_edges(edges, shape) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(check, bit) sorted by check, then bit; checks; bits."""
    if len(edges) != 2 or len(shape) != 2:
        raise ValueError(
            f"{len(edges)} edges, {len(shape)} of shape: expected edges=(check, bit), shape=(checks, bits)"
        )
    checks, bits = (scalars.whole(f"shape[{place}]", size, 1, LONGEST) for place, size in enumerate(shape))
    check, bit = (on_host(f"edges[{place}]", ends) for place, ends in enumerate(edges))
    for place, (ends, end) in enumerate(((check, checks), (bit, bits))):
        if ends.dtype.kind not in "iu" or ends.ndim != 1 or ends.shape != check.shape or not ends.size:
            raise ValueError(
                f"edges[{place}] is {ends.dtype} of shape {ends.shape}: expected two integer arrays [edges]"
            )
        if ends.min() < 0 or ends.max() >= end:
            wrong = ends[(ends < 0) | (ends >= end)][0]
            raise ValueError(f"edges[{place}] has {wrong}: expected 0 to {end - 1}, as shape={tuple(shape)} says")
    order = np.lexsort((bit, check))
    check, bit = check[order].astype(np.int64), bit[order].astype(np.int64)
    same = np.flatnonzero((np.diff(check) == 0) & (np.diff(bit) == 0))
    if same.size:
        raise ValueError(f"the edge of check {check[same[0]]} and bit {bit[same[0]]} is there twice: expected it once")
    return check, bit, checks, bits


def edges(code: Code) -> tuple[Int64[np.ndarray, " edges"], Int64[np.ndarray, " edges"]]:
    """The check and the bit of each one of the parity-check matrix, row by row, in the order of `code.rows`.

    Raises:
      ValueError: code is no `Code`.

    Example:
      >>> from havel.kernels import ldpc
      >>> [ends.tolist() for ends in ldpc.edges(ldpc.qc_code([[1, 0]], 2))]
      [[0, 0, 1, 1], [1, 2, 0, 3]]
    """
    z, check = checked_code(code).lifting, np.arange(code.lifting)
    blocks_of_checks, blocks_of_bits = [], []
    for number, row in enumerate(code.rows):
        column, shift = np.array(row, np.int64).T
        blocks_of_bits.append((column * z + (check[:, None] + shift) % z).reshape(-1))
        blocks_of_checks.append(np.repeat(number * z + check, len(row)))
    return np.concatenate(blocks_of_checks).astype(np.int64), np.concatenate(blocks_of_bits)


def parity_check_matrix(code: Code) -> UInt8[np.ndarray, "checks n"]:
    """H, a byte an entry: 2.8 MB for base graph 2 with Z = 36, 461 MB for base graph 1 with Z = 384.

    Raises:
      ValueError: code is no `Code`.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.parity_check_matrix(ldpc.qc_code([[1, -1, 0]], 2)).tolist()
      [[0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1]]
    """
    matrix = np.zeros((checked_code(code).checks, code.n), np.uint8)
    matrix[edges(code)] = 1
    return matrix


def subcode(code: Code, sent: Count) -> Code:
    """The code that the first bits of a transmission belong to, for a decoder that has no others yet.

    A column of which nothing was sent and that only one check row touches tells the others nothing, whatever the
    decoder: row and column are left out, again and again; columns that are left after the last one sent stay, too.
    Decoding is then that of the whole code with zeros for all that was not sent. A column that was sent in part stays:
    its other bits are LLRs of zero, as those of punctured columns are. The word of the subcode is the beginning of the
    whole one: [..., : subcode.n] of what `rate_recover` returns.

    Args:
      code: of which columns are sent in order, after the punctured ones, as redundancy version 0 does.
      sent: bits, without fillers left out: at least the systematic ones that are not punctured.

    Raises:
      ValueError: fewer bits are sent than the information needs, or more than the code has.

    Source: N. Strodthoff et al., arXiv:1807.10495 (subcodes).

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.subcode(ldpc.qc_code(2, 36), 900)
      Code('BG2 Z=36, first 900 sent', n=972, checks=612, edges=3600)
    """
    checked_code(code)
    if code.information:
        least = max((code.information - code.punctured) * code.lifting, 1)
    else:  # no code of this rate and fewer bits can be decoded
        least = max(code.n - code.checks - code.punctured * code.lifting, 1)
    reason = f", the systematic bits that are sent, to all of {code.name or 'the code'}"
    sent = scalars.whole("sent", sent, least, code.sendable, reason)
    first_unsent = code.punctured + -(-sent // code.lifting)
    rows = _rows_that_tell(code, first_unsent)
    columns = max(first_unsent, 1 + max((column for row in rows for column, _ in row), default=0))
    if columns == code.columns and len(rows) == len(code.rows):
        return code
    if not rows:
        raise ValueError(f"sent={sent}: expected more, since none of the checks has two bits that were sent")
    name = f"{code.name}, first {sent} sent" if code.name else ""
    return Code(code.lifting, columns, rows, code.information, code.punctured, name)


def _rows_that_tell(code: Code, first_unsent: int) -> Rows:
    """The rows that are left when those with an unsent column of degree one are gone, again and again."""
    of_column: dict[int, set[int]] = {}
    for number, row in enumerate(code.rows):
        for column, _ in row:
            if column >= first_unsent:
                of_column.setdefault(column, set()).add(number)
    ends = [column for column, numbers in of_column.items() if len(numbers) == 1]
    gone = set()
    while ends:
        numbers = of_column[ends.pop()]
        if not numbers:  # its row went with another column
            continue
        (number,) = numbers
        gone.add(number)
        for column, _ in code.rows[number]:
            if column >= first_unsent:
                of_column[column].discard(number)
                if len(of_column[column]) == 1:
                    ends.append(column)
    return tuple(row for number, row in enumerate(code.rows) if number not in gone)


@functools.lru_cache(maxsize=256)
def nr_base_graph(code: Code) -> int:
    """1 or 2 for a code of 5G NR or its first rows, which hold the core at least; 0 for any other."""
    for graph, information in base_graphs.INFORMATION.items():
        rows = len(code.rows)
        if (code.information, code.columns) == (information, information + rows) and rows >= base_graphs.CORE:
            if code.lifting in base_graphs.SETS and _nr_code(graph, code.lifting).rows[:rows] == code.rows:
                return graph
    return 0


def checked_code(code: Code) -> Code:
    """A `Code`; ValueError for anything else."""
    if not isinstance(code, Code):
        raise scalars.refusal("code", code, "an ldpc.Code, as qc_code, sparse_code and read_alist return")
    return code
