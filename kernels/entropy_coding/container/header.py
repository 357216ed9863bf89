"""The header of a compressed network, both ways: streams and tensors as fields (file.py lists them).

As it is read every field is checked, and no more taken than is there.
"""

import math
import struct
import zlib

import numpy as np

from .layout import (
    CABAC_STREAM,
    CODEBOOK,
    DTYPES,
    EMPTY_CODES,
    INTEGERS,
    MAX_AXES,
    MAX_DEPTH,
    MAX_NAME,
    PARAMETERS,
    PATH_KINDS,
    RAW,
    RAW_STREAM,
    TENSOR_OVERHEAD,
    TRELLIS,
    UNIFORM,
    ZERO,
    Entry,
    Stream,
    dtype_code,
    last_first,
)  # fmt: skip
from .tree import path_name


def write(entries: list[Entry], streams: list[Stream], compact: bool) -> bytes:
    """The header of a file, not deflated."""
    out = bytearray()
    _put(out, len(streams))
    for stream in streams:
        out.append(stream.kind)
        if stream.kind == CABAC_STREAM:
            out += bytes([stream.n_unary, stream.scan | stream.profile << 4 | stream.dq << 5])
        _put(out, len(stream.data))
        out += b"" if compact else struct.pack("<I", zlib.crc32(stream.data))
    _put(out, len(entries))
    previous: tuple = ()
    for entry in entries:
        _put_path(out, entry.path, previous)
        _put_entry(out, entry, compact)
        previous = entry.path
    return bytes(out)


def _put_path(out: bytearray, path: tuple, previous: tuple) -> None:
    shared = 0
    while shared < min(len(previous), len(path)) and previous[shared] == path[shared]:
        shared += 1
    _put(out, shared)
    _put(out, len(path) - shared)
    for element in path[shared:]:
        _put_element(out, element)


def _put_entry(out: bytearray, entry: Entry, compact: bool) -> None:
    if entry.empty is not None:
        out.append(next(code for code, kind in EMPTY_CODES.items() if kind == entry.empty))
        return
    if len(entry.shape) > MAX_AXES:
        raise ValueError(f"tensor {entry.name!r} has {len(entry.shape)} axes, more than {MAX_AXES}: reshape it")
    out.append(dtype_code(entry.dtype))
    _put(out, len(entry.shape))
    for size in entry.shape:
        _put(out, size)
    out.append(entry.coding)
    if entry.coding in (UNIFORM, TRELLIS):
        _put_step(out, entry.step, compact)
    if entry.coding == CODEBOOK:
        _put(out, entry.values.size)
        _put(out, entry.zero)
        out += entry.values.tobytes()
    if entry.coding != ZERO:
        _put(out, entry.stream)
        out += _axis_order(entry, compact)


def _put_step(out: bytearray, step: float, compact: bool) -> None:
    qp = PARAMETERS.get(step) if compact else None
    if qp is None:
        out += bytes(compact) + struct.pack("<d", step)
    else:
        _put(out, 1 + (2 * qp if qp >= 0 else -2 * qp - 1))


def _axis_order(entry: Entry, compact: bool) -> bytes:
    if entry.axes is None:
        return b"\0"
    return b"\2" if compact and entry.axes == last_first(len(entry.axes)) else bytes([1, *entry.axes])


def _put(out: bytearray, value: int) -> None:
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _put_element(out: bytearray, element) -> None:
    kind, key = element
    if isinstance(key, str):
        try:
            encoded = key.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"the name {key!r} holds half a character: it cannot be stored as UTF-8") from None
        if len(encoded) > MAX_NAME:
            raise ValueError(f"a name of {len(encoded)} bytes is longer than {MAX_NAME}: {key[:40]!r}...")
        out.append(PATH_KINDS.index(kind))
        _put(out, len(encoded))
        out += encoded
    else:
        out.append(PATH_KINDS.index("index" if kind == "key" else kind))
        _put(out, key)


def read(
    view: memoryview, payload: memoryview, compact: bool, max_output_bytes: float
) -> tuple[list[Entry], list[Stream]]:
    """Entries and streams of a header that is not deflated (any more); payload: the bytes of all streams.

    Raises:
      ValueError: a field is no legal one, the payload has another length, or more is declared than allowed.
    """
    fields = _Fields(view, compact)
    streams = fields.streams(payload)
    entries = fields.entries(streams, max_output_bytes)
    fields.expect_end()
    return entries, streams


class _Fields:
    """A cursor over the header's bytes whose every read is checked; `compact`: it has feature 1."""

    def __init__(self, view: memoryview, compact: bool):
        self.view, self.at, self.compact = view, 0, compact

    def take(self, count: int) -> memoryview:
        if count > len(self.view) - self.at:
            raise ValueError("the header ends in the middle of a field")
        self.at += count
        return self.view[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, what: str, largest: int = 2**63 - 1) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise ValueError(f"the header's {what} is no number")
        if value > largest:
            raise ValueError(f"the header's {what} is {value}, more than {largest}")
        return value

    def streams(self, payload) -> list[Stream]:
        streams, at = [], 0
        for i in range(self.varint("number of streams", len(self.view))):
            kind = self.byte()
            if kind not in (RAW_STREAM, CABAC_STREAM):
                raise ValueError(f"stream {i} is of unknown kind {kind}")
            stream = Stream(kind)
            if kind == CABAC_STREAM:
                stream.n_unary, bits = self.byte(), self.byte()
                stream.scan, stream.profile, stream.dq = bits & 15, bits >> 4 & 1, bool(bits >> 5)
                if not 1 <= stream.n_unary <= 15 or stream.scan > 4 or bits >> 6:
                    raise ValueError(f"stream {i} has coder options that do not exist")
            length = self.varint(f"length of stream {i}")
            checksum = None if self.compact else struct.unpack("<I", self.take(4))[0]
            if length > len(payload) - at:
                raise ValueError(f"stream {i} is cut off: {length} bytes are announced, {len(payload) - at} are left")
            stream.data = payload[at : at + length]
            at += length
            if checksum is not None and zlib.crc32(stream.data) != checksum:
                raise ValueError(f"the check sum of stream {i} is wrong: the file was altered or damaged")
            streams.append(stream)
        if at != len(payload):
            raise ValueError(f"{len(payload) - at} bytes follow the last stream")
        return streams

    def entries(self, streams, max_output_bytes) -> list[Entry]:
        path: tuple = ()
        entries, paths, declared = [], set(), 0
        for _ in range(self.varint("number of tensors", len(self.view))):
            path = path[: self.varint("path", len(path))]
            path += tuple(self.element() for _ in range(self.varint("path", MAX_DEPTH - len(path))))
            if path in paths:
                raise ValueError(f"tensor {path_name(path)!r} occurs twice")
            paths.add(path)
            entries.append(self.entry(path, streams))
            declared += entries[-1].nbytes + TENSOR_OVERHEAD
            if declared > max_output_bytes:
                raise ValueError(
                    f"the tensors take {declared} bytes or more, max_output_bytes={max_output_bytes} allows no more"
                )
        orphans = set(range(len(streams))) - {entry.stream for entry in entries}
        if orphans:
            raise ValueError(f"stream {min(orphans)} belongs to no tensor")
        return entries

    def element(self):
        kind = self.byte()
        if kind >= len(PATH_KINDS):
            raise ValueError(f"a path has an element of unknown kind {kind}")
        kind = PATH_KINDS[kind]
        if kind in ("key", "name"):
            try:
                return kind, str(self.take(self.varint("name length", MAX_NAME)), "utf-8")
            except UnicodeDecodeError:
                raise ValueError("a name in the header is not UTF-8") from None
        return ("key" if kind == "index" else kind), self.varint("index")

    def entry(self, path, streams) -> Entry:
        code = self.byte()
        if code in EMPTY_CODES:
            return Entry(path, empty=EMPTY_CODES[code])
        if code >= len(DTYPES):
            raise ValueError(f"tensor {path_name(path)!r} is of unknown dtype {code}")
        shape = tuple(self.varint("axis") for _ in range(self.varint("number of axes", MAX_AXES)))
        entry = Entry(path, DTYPES[code], shape, self.byte())
        # Empty tensors too: no axis may overflow what NumPy can address.
        if math.prod(max(n, 1) for n in shape) * entry.dtype.itemsize > 2**62:
            raise ValueError(f"tensor {entry.name!r} has an impossible shape {shape}")
        if entry.coding not in (RAW, INTEGERS, UNIFORM, CODEBOOK, TRELLIS, ZERO):
            raise ValueError(f"tensor {entry.name!r} uses coding {entry.coding}, which this version does not read")
        if entry.coding in (UNIFORM, TRELLIS):
            entry.step = self.step()
            if not (math.isfinite(entry.step) and entry.step > 0) or entry.dtype.kind in "iubc":
                raise ValueError(f"tensor {entry.name!r} has a step of {entry.step} for dtype {entry.dtype}")
        if entry.coding == CODEBOOK:
            self.codebook(entry)
        if entry.coding == INTEGERS and entry.dtype.kind not in "iub":
            raise ValueError(f"tensor {entry.name!r} of dtype {entry.dtype} cannot be stored as integers")
        if entry.coding != ZERO:
            self.place(entry, streams)
        return entry

    def codebook(self, entry: Entry) -> None:
        if entry.dtype.kind in "iubc":
            raise ValueError(f"tensor {entry.name!r} of dtype {entry.dtype} cannot have a codebook")
        count = self.varint("number of values", len(self.view))
        entry.zero = self.varint("place of label 0", len(self.view))
        if entry.zero >= count:
            raise ValueError(f"tensor {entry.name!r} has label 0 at {entry.zero}, no place among {count} values")
        entry.values = np.frombuffer(bytes(self.take(count * entry.dtype.itemsize)), entry.dtype)
        if not np.isfinite(entry.values).all():
            raise ValueError(f"tensor {entry.name!r} has NaN or infinite values in its codebook")

    def place(self, entry: Entry, streams: list[Stream]) -> None:
        """The stream that an entry lies in, and the order of its axes there."""
        entry.stream = self.varint("stream index")
        if entry.stream >= len(streams):
            raise ValueError(f"tensor {entry.name!r} lies in stream {entry.stream} of {len(streams)}")
        if (streams[entry.stream].kind == RAW_STREAM) != (entry.coding == RAW):
            raise ValueError(f"tensor {entry.name!r} and its stream disagree on how it is coded")
        if streams[entry.stream].dq != (entry.coding == TRELLIS):
            raise ValueError(f"tensor {entry.name!r} and its stream disagree on dependent quantisation")
        order = self.byte()
        if order > 1 + self.compact:
            raise ValueError(f"tensor {entry.name!r} has an axis order of unknown kind {order}")
        if order == 2:
            entry.axes = last_first(len(entry.shape)) if entry.shape else None
        elif order:
            entry.axes = tuple(self.take(len(entry.shape))) or None
            if sorted(entry.axes or ()) != list(range(len(entry.shape))):
                raise ValueError(f"tensor {entry.name!r} has an axis order {entry.axes} that is no permutation")

    def step(self) -> float:
        code = self.varint("step", 2001) if self.compact else 0
        if code == 0:
            return struct.unpack("<d", self.take(8))[0]
        qp = (code - 1) // 2 if code % 2 else -(code // 2)
        return 2.0 ** (qp // 4) * (1 + qp % 4 / 4)

    def expect_end(self) -> None:
        if self.at != len(self.view):
            raise ValueError(f"{len(self.view) - self.at} bytes follow the header's last tensor")
