"""Reading a compressed network: all of it, or one tensor of it; with bounded memory and time.

Tensors are decoded in pieces straight into the arrays that are returned, so that the memory needed beyond them is
small.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...array_types import Buffer, Int32, Shaped
from ...scalars import real
from ...threads import checked_jobs
from ..codeword import matrix_shape
from ..reader import Reader, pieces
from ..steps import dequantize
from . import file
from .layout import CODEBOOK, INTEGERS, RAW_STREAM, TRELLIS, ZERO, Entry, Stream
from .tree import Codebook, Empty, Quantized, unflatten

_PIECE = 1 << 16  # values decoded at a time
DEFAULT_MAX_OUTPUT_BYTES = 1 << 33


def decompress(
    data: Buffer, *, max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES, quantized: bool = False, jobs: int | None = None
) -> Any:
    """The tree that `compress` stored: NumPy arrays in dicts, lists and tuples.

    Args:
      data: bytes-like, the whole file.
      max_output_bytes: the most that the arrays may take together, each counted with 1 KiB of overhead; a file that
        declares more is refused unread.
      quantized: return `Quantized(q, step, dtype, path)` or `Codebook(labels, values, zero)` for quantised tensors
        instead of floats. An all-zero tensor, which the file keeps neither for, is an array of zeros all the same.
      jobs: threads; by default one a core.

    Raises:
      ValueError: the file is damaged, of another version, or larger than allowed; the message says which.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> data = entropy_coding.compress({"w": np.array([[0.1, -0.26]], np.float32)}, step=0.5)
      >>> entropy_coding.decompress(data)["w"].tolist()
      [[0.0, -0.5]]
    """
    check_limit(max_output_bytes)
    entries, streams = file.read(data, max_output_bytes)
    if quantized and (declared := sum(max(entry.nbytes, 4 * entry.size) for entry in entries)) > max_output_bytes:
        raise ValueError(f"the integers take {declared} bytes, max_output_bytes={max_output_bytes} allows no more")
    return unflatten(decode(entries, entries, streams, quantized, jobs))


def check_limit(max_output_bytes) -> None:
    """Raises ValueError for a limit that is none; infinity is one that allows everything."""
    real("max_output_bytes", max_output_bytes, "a number of bytes of at least 0", lambda limit: limit >= 0)


def decoded_leaves(data: Buffer, jobs: int | None = None) -> list:
    """The leaves of a file that one has just written, in its order: integers of quantised tensors, and no limit."""
    entries, streams = file.read(data)
    return [leaf for _, leaf in decode(entries, entries, streams, True, jobs)]


def read_tensor(
    data: Buffer, name: str, *, max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES
) -> Shaped[np.ndarray, "..."]:
    """One tensor of a compressed network by name ("fc1/kernel"); only the stream that holds it is decoded.

    Raises:
      KeyError: there is no such tensor.
      ValueError: as `decompress`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> data = entropy_coding.compress({"fc": {"bias": np.ones(3, np.float32)}})
      >>> entropy_coding.read_tensor(data, "fc/bias").tolist()
      [1.0, 1.0, 1.0]
    """
    check_limit(max_output_bytes)
    entries, streams = file.read(data)
    selection = [entry for entry in entries if entry.empty is None and entry.name == name]
    if not selection:
        raise KeyError(f"no tensor {name!r}; there are {', '.join(entry.name for entry in entries[:8])}...")
    streams_read = {entry.stream for entry in selection if entry.stream >= 0}
    members = [entry for entry in entries if entry.stream in streams_read]  # what shares the stream is decoded, too
    declared = sum(entry.nbytes for entry in members or selection)
    if declared > max_output_bytes:
        raise ValueError(
            f"{name!r}, with what shares its stream, takes {declared} bytes, more than "
            f"max_output_bytes={max_output_bytes} allows"
        )
    return decode(entries, selection, streams, False, 1)[0][1]


def decode(
    entries: list[Entry], selection: list[Entry], streams: list[Stream], quantized: bool, jobs: int | None
) -> list[tuple]:
    """(path, leaf) of a selection of the entries; streams that hold none of them are not decoded."""
    leaves: dict[int, Any] = {}
    for entry in selection:
        if entry.empty is not None:
            leaves[id(entry)] = Empty(entry.empty)
        elif entry.coding == ZERO:
            leaves[id(entry)] = np.zeros(entry.shape, entry.dtype)
    streams_read = {entry.stream for entry in selection if entry.stream >= 0}
    tasks = [(streams[i], group) for i, group in members_of(entries).items() if i in streams_read]
    tasks.sort(key=lambda task: -len(task[0].data))
    with ThreadPoolExecutor(checked_jobs(jobs)) as pool:
        for members in list(pool.map(lambda task: _decode_stream(task[0], task[1], quantized), tasks)):
            leaves |= members
    return [(entry.path, leaves[id(entry)]) for entry in selection]


def members_of(entries) -> dict[int, list[Entry]]:
    """{stream index: the entries that lie in it, in order}."""
    members: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.stream >= 0:
            members.setdefault(entry.stream, []).append(entry)
    return members


def _decode_stream(stream: Stream, members: list[Entry], quantized: bool) -> dict:
    if stream.kind == RAW_STREAM:
        return _split_raw(stream, members)
    entry = members[0]
    if len(members) > 1:
        if stream.scan or stream.profile or any(member.axes for member in members):
            raise ValueError(
                f"tensors from {entry.name!r} on share a stream with options that only a single tensor can have"
            )
        reader = _reader(stream, (1, sum(member.size for member in members)), entry.name)
    else:
        reader = _reader(stream, entry.coded_shape, entry.name)
    leaves = {}
    try:
        for entry in members:
            leaves[id(entry)] = _read_member(reader, entry, quantized)
        reader.finish()
    except ValueError as error:
        raise ValueError(f"tensor {entry.name!r}: {error}") from None
    return leaves


def _reader(stream: Stream, shape: tuple[int, ...], name: str) -> Reader:
    try:
        return Reader(
            stream.data, shape, n_unary=stream.n_unary, dq=stream.dq, scan=stream.scan, profile=stream.profile
        )
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None


def _split_raw(stream: Stream, members: list[Entry]) -> dict:
    total = sum(member.nbytes for member in members)
    if total != len(stream.data):
        raise ValueError(
            f"raw tensors from {members[0].name!r} on take {total} bytes, their stream has {len(stream.data)}"
        )
    leaves, at = {}, 0
    for member in members:
        piece = stream.data[at : at + member.nbytes]
        at += member.nbytes
        values = np.frombuffer(piece, member.dtype).reshape(member.shape).copy()
        if member.dtype == bool and (values.view(np.uint8) > 1).any():
            raise ValueError(f"tensor {member.name!r} holds booleans other than 0 and 1")
        leaves[id(member)] = values
    return leaves


def _read_member(reader: Reader, entry: Entry, quantized: bool):
    """Decodes one tensor piece by piece into its final array, the axes put back on the way."""
    keep_integers = quantized and entry.coding != INTEGERS
    out = np.empty(entry.shape, np.int32 if keep_integers else entry.dtype)
    flat = reader.height == 1  # one long row, of which any part may be read
    # The same values in coding order: a matrix, or where axes were moved, a view whose elements come in that order.
    if entry.axes is None:
        height, width = (1, entry.size) if flat else (reader.height, reader.width)
        target: np.ndarray = out.reshape(height, width)
    else:
        height, width = matrix_shape(entry.coded_shape)
        target = out.transpose(entry.axes)
    for row, rows, column, columns in pieces(height, width, reader.edge, _PIECE) if entry.size else ():
        levels = np.empty((1, rows * columns) if flat else (rows, columns), np.int32)
        reader.read(levels)
        values = (levels if keep_integers else _converted(levels, entry)).reshape(rows, columns)
        if entry.axes is None:
            target[row : row + rows, column : column + columns] = values
        elif columns == width:
            target[row : row + rows] = values.reshape(rows, *target.shape[1:])
        else:
            for i, line in enumerate(values):
                start = (row + i) * width + column
                target.flat[start : start + columns] = line
    if not keep_integers:
        return out
    if entry.coding != CODEBOOK:
        return Quantized(out, entry.step, entry.dtype, entry.stream if entry.coding == TRELLIS else None)
    _check_labels(out, entry)
    return Codebook(out, entry.values, entry.zero)


def _check_labels(labels: np.ndarray, entry: Entry) -> None:
    if labels.size and not (-entry.zero <= int(labels.min()) and int(labels.max()) < entry.values.size - entry.zero):
        raise ValueError(f"it holds a label that its codebook of {entry.values.size} values has no value for")


def _converted(levels: Int32[np.ndarray, "*shape"], entry: Entry) -> Shaped[np.ndarray, "*shape"]:
    if entry.coding == CODEBOOK:
        _check_labels(levels, entry)
        return entry.values[levels.astype(np.int64) + entry.zero]
    if entry.coding != INTEGERS:
        with np.errstate(over="ignore"):
            return dequantize(levels, entry.step, entry.dtype)
    low, high = (0, 1) if entry.dtype == bool else (np.iinfo(entry.dtype).min, np.iinfo(entry.dtype).max)
    if levels.size and (int(levels.min()) < low or int(levels.max()) > high):
        raise ValueError(f"it holds a value that {entry.dtype} cannot")
    return levels.astype(entry.dtype)
