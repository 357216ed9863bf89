"""The file format of a compressed network, version 1: which bytes mean what. No coding happens here.

    magic "DCBN" | u16 version | u16 required features | u32 header length | header | u32 CRC-32 of all that precedes
    | streams, end to end, to the end of the file

All numbers are little-endian; `varint` is LEB128. The header lists the streams, then the tensors:

    streams  varint count, each: u8 kind,
             [CABAC: u8 n_unary, u8 scan | profile << 4 | dq << 5], varint length, u32 CRC-32
    tensors  varint count, each: path, u8 dtype (or the code of an empty container), varint number of axes,
             varint sizes, u8 coding, [uniform, trellis: f64 step],
             [codebook: varint number of values, varint place of label 0, the values],
             [all but zero: varint stream, u8 axis order]

A path repeats `varint` elements of the one before, then adds `varint` elements (u8 kind, varint length and UTF-8, or an
index). Codings: 0 raw bytes, 1 integers, 2 uniform, 3 codebook, 4 trellis grid, 5 difference from a base, 6 all zero;
5 is reserved. An axis order is 0 for as stored, or 1 and a permutation. Tensors that share a stream follow one
another in it in the order of the list.

Every read is bounded by the file; sizes are checked before anything is allocated.
"""

import dataclasses
import math
import struct
import zlib

import ml_dtypes
import numpy as np

from .tree import EMPTY, path_name

MAGIC = b"DCBN"
VERSION = 1
RAW_STREAM, CABAC_STREAM = 0, 1
RAW, INTEGERS, UNIFORM, CODEBOOK, TRELLIS, DELTA, ZERO = range(7)
CODING_NAMES = ("raw", "integers", "uniform", "codebook", "trellis", "delta", "zero")

_DTYPE_NAMES = (
    "float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool float8_e4m3fn float8_e5m2 "
    "complex64 complex128"
).split()
DTYPES = tuple(np.dtype(getattr(ml_dtypes, name, None) or name) for name in _DTYPE_NAMES)
_EMPTY_CODES = {255 - i: kind for i, kind in enumerate(EMPTY)}
_PATH_KINDS = ("key", "index", "list", "tuple", "name")
_MAX_DEPTH, _MAX_NAME, _MAX_AXES = 64, 4096, 32
TENSOR_OVERHEAD = 1024  # bytes that a tensor's place in the tree is charged
_PREFIX = struct.Struct("<4sHHI")


@dataclasses.dataclass(slots=True)
class Stream:
    """One stored run of bytes: raw tensors end to end, or one codeword of the arithmetic coder."""

    kind: int
    data: bytes | memoryview = b""
    n_unary: int = 11
    scan: int = 0
    profile: int = 0
    dq: bool = False


@dataclasses.dataclass(slots=True)
class Entry:
    """One tensor (or empty container) of the tree. `axes` is the order in which its axes are coded, None as stored."""

    path: tuple
    dtype: np.dtype | None  # None for an empty container
    shape: tuple[int, ...] = ()
    coding: int = RAW
    step: float = 0.0
    stream: int = -1
    axes: tuple[int, ...] | None = None
    empty: str | None = None
    values: np.ndarray | None = None  # of a codebook, in the entry's dtype
    zero: int = 0  # the place of label 0 among them

    @property
    def name(self) -> str:
        return path_name(self.path)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor once decoded."""
        return self.size * self.dtype.itemsize if self.dtype is not None else 0

    @property
    def coded_shape(self) -> tuple[int, ...]:
        return self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)


def dtype_code(dtype) -> int:
    """Number of a dtype in the format; TypeError names one that it cannot hold."""
    try:
        return DTYPES.index(np.dtype(dtype))
    except ValueError:
        raise TypeError(f"dtype {dtype} cannot be stored; cast to one of {', '.join(_DTYPE_NAMES)}") from None


def write(entries: list[Entry], streams: list[Stream]) -> bytes:
    """The whole file."""
    header = bytearray()
    _put(header, len(streams))
    for stream in streams:
        header.append(stream.kind)
        if stream.kind == CABAC_STREAM:
            header += bytes([stream.n_unary, stream.scan | stream.profile << 4 | stream.dq << 5])
        _put(header, len(stream.data))
        header += struct.pack("<I", zlib.crc32(stream.data))
    _put(header, len(entries))
    previous: tuple = ()
    for entry in entries:
        shared = next((i for i, pair in enumerate(zip(previous, entry.path, strict=False)) if pair[0] != pair[1]), None)
        shared = min(len(previous), len(entry.path)) if shared is None else shared
        _put(header, shared)
        _put(header, len(entry.path) - shared)
        for element in entry.path[shared:]:
            _put_element(header, element)
        previous = entry.path
        if entry.empty is not None:
            header.append(next(code for code, kind in _EMPTY_CODES.items() if kind == entry.empty))
            continue
        if len(entry.shape) > _MAX_AXES:
            raise ValueError(f"tensor {entry.name!r} has {len(entry.shape)} axes, more than {_MAX_AXES}: reshape it")
        header.append(dtype_code(entry.dtype))
        _put(header, len(entry.shape))
        for size in entry.shape:
            _put(header, size)
        header.append(entry.coding)
        if entry.coding in (UNIFORM, TRELLIS):
            header += struct.pack("<d", entry.step)
        if entry.coding == CODEBOOK:
            _put(header, entry.values.size)
            _put(header, entry.zero)
            header += entry.values.tobytes()
        if entry.coding != ZERO:
            _put(header, entry.stream)
            header += bytes([0]) if entry.axes is None else bytes([1, *entry.axes])
    start = _PREFIX.pack(MAGIC, VERSION, 0, len(header)) + header
    return b"".join([start, struct.pack("<I", zlib.crc32(start)), *(stream.data for stream in streams)])


def read(data, max_output_bytes: float = math.inf) -> tuple[list[Entry], list[Stream]]:
    """Entries and streams of a file, every check sum verified; ValueError says what is wrong with it.

    Beside its values every tensor is charged `TENSOR_OVERHEAD` bytes, so that `max_output_bytes` also bounds what a
    header of very many, very small tensors turns into.
    """
    view = memoryview(data).cast("B")
    if len(view) < _PREFIX.size + 4:
        raise ValueError(f"{len(view)} bytes are too few for a compressed network: the file is empty or cut off")
    magic, version, features, length = _PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise ValueError(f"this is no compressed network: it begins with {bytes(magic)!r} instead of {MAGIC!r}")
    if version != VERSION:
        raise ValueError(f"the file has format version {version}; this program reads version {VERSION}")
    if features:
        raise ValueError(f"the file needs features {features:#x} that this version does not know")
    end = _PREFIX.size + length
    if end + 4 > len(view):
        raise ValueError(f"the header of {length} bytes is cut off: the file has only {len(view)} bytes")
    if zlib.crc32(view[:end]) != struct.unpack_from("<I", view, end)[0]:
        raise ValueError("the header's check sum is wrong: the file was altered or damaged")
    header = _Header(view[_PREFIX.size : end])
    streams = header.streams(view[end + 4 :])
    entries = header.entries(streams, max_output_bytes)
    header.expect_end()
    return entries, streams


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
        if len(encoded) > _MAX_NAME:
            raise ValueError(f"a name of {len(encoded)} bytes is longer than {_MAX_NAME}: {key[:40]!r}...")
        out.append(_PATH_KINDS.index(kind))
        _put(out, len(encoded))
        out += encoded
    else:
        out.append(_PATH_KINDS.index("index" if kind == "key" else kind))
        _put(out, key)


class _Header:
    """A cursor over the header's bytes whose every read is checked."""

    def __init__(self, view):
        self.view, self.at = view, 0

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
            checksum = struct.unpack("<I", self.take(4))[0]
            if length > len(payload) - at:
                raise ValueError(f"stream {i} is cut off: {length} bytes are announced, {len(payload) - at} are left")
            stream.data = payload[at : at + length]
            at += length
            if zlib.crc32(stream.data) != checksum:
                raise ValueError(f"the check sum of stream {i} is wrong: the file was altered or damaged")
            streams.append(stream)
        if at != len(payload):
            raise ValueError(f"{len(payload) - at} bytes follow the last stream")
        return streams

    def entries(self, streams, max_output_bytes) -> list[Entry]:
        entries, path, seen, declared = [], (), set(), 0
        for _ in range(self.varint("number of tensors", len(self.view))):
            path = path[: self.varint("path", len(path))]
            path += tuple(self.element() for _ in range(self.varint("path", _MAX_DEPTH - len(path))))
            if path in seen:
                raise ValueError(f"tensor {path_name(path)!r} occurs twice")
            seen.add(path)
            entries.append(self.entry(path, streams))
            declared += entries[-1].nbytes + TENSOR_OVERHEAD
            if declared > max_output_bytes:
                raise ValueError(
                    f"the tensors take {declared} bytes or more, max_output_bytes={max_output_bytes} allows no more"
                )
        unused = set(range(len(streams))) - {entry.stream for entry in entries}
        if unused:
            raise ValueError(f"stream {min(unused)} belongs to no tensor")
        return entries

    def element(self):
        kind = self.byte()
        if kind >= len(_PATH_KINDS):
            raise ValueError(f"a path has an element of unknown kind {kind}")
        kind = _PATH_KINDS[kind]
        if kind in ("key", "name"):
            try:
                return kind, str(self.take(self.varint("name length", _MAX_NAME)), "utf-8")
            except UnicodeDecodeError:
                raise ValueError("a name in the header is not UTF-8") from None
        return ("key" if kind == "index" else kind), self.varint("index")

    def entry(self, path, streams) -> Entry:
        code = self.byte()
        if code in _EMPTY_CODES:
            return Entry(path, None, empty=_EMPTY_CODES[code])
        if code >= len(DTYPES):
            raise ValueError(f"tensor {path_name(path)!r} is of unknown dtype {code}")
        shape = tuple(self.varint("axis") for _ in range(self.varint("number of axes", _MAX_AXES)))
        entry = Entry(path, DTYPES[code], shape, self.byte())
        # Empty tensors too: no axis may overflow what NumPy can address.
        if math.prod(max(n, 1) for n in shape) * entry.dtype.itemsize > 2**62:
            raise ValueError(f"tensor {entry.name!r} has an impossible shape {shape}")
        if entry.coding not in (RAW, INTEGERS, UNIFORM, CODEBOOK, TRELLIS, ZERO):
            raise ValueError(f"tensor {entry.name!r} uses coding {entry.coding}, which this version does not read")
        if entry.coding in (UNIFORM, TRELLIS):
            entry.step = struct.unpack("<d", self.take(8))[0]
            if not (math.isfinite(entry.step) and entry.step > 0) or entry.dtype.kind in "iubc":
                raise ValueError(f"tensor {entry.name!r} has a step of {entry.step} for dtype {entry.dtype}")
        if entry.coding == CODEBOOK:
            if entry.dtype.kind in "iubc":
                raise ValueError(f"tensor {entry.name!r} of dtype {entry.dtype} cannot have a codebook")
            count = self.varint("number of values", len(self.view))
            entry.zero = self.varint("place of label 0", len(self.view))
            if entry.zero >= count:
                raise ValueError(f"tensor {entry.name!r} has label 0 at {entry.zero}, no place among {count} values")
            entry.values = np.frombuffer(bytes(self.take(count * entry.dtype.itemsize)), entry.dtype)
            if not np.isfinite(entry.values).all():
                raise ValueError(f"tensor {entry.name!r} has NaN or infinite values in its codebook")
        if entry.coding == INTEGERS and entry.dtype.kind not in "iub":
            raise ValueError(f"tensor {entry.name!r} of dtype {entry.dtype} cannot be stored as integers")
        if entry.coding != ZERO:
            entry.stream = self.varint("stream index")
            if entry.stream >= len(streams):
                raise ValueError(f"tensor {entry.name!r} lies in stream {entry.stream} of {len(streams)}")
            if (streams[entry.stream].kind == RAW_STREAM) != (entry.coding == RAW):
                raise ValueError(f"tensor {entry.name!r} and its stream disagree on how it is coded")
            if streams[entry.stream].dq != (entry.coding == TRELLIS):
                raise ValueError(f"tensor {entry.name!r} and its stream disagree on dependent quantisation")
            order = self.byte()
            if order > 1:
                raise ValueError(f"tensor {entry.name!r} has an axis order of unknown kind {order}")
            if order:
                entry.axes = tuple(self.take(len(shape))) or None
                if sorted(entry.axes or ()) != list(range(len(shape))):
                    raise ValueError(f"tensor {entry.name!r} has an axis order {entry.axes} that is no permutation")
        return entry

    def expect_end(self) -> None:
        if self.at != len(self.view):
            raise ValueError(f"{len(self.view) - self.at} bytes follow the header's last tensor")
