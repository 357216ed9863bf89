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

Two features shorten the header; files with neither are read, too. 1: the check sum covers the streams as well and
stands for theirs, a step is a varint (1 + the zigzag of its quantisation parameter at density 2, or 0 and the f64), and
axis order 2 is the last axis first. 2: the header is deflated (RFC 1951), the length that of the deflated bytes.

Every read is bounded by the file; sizes are checked before anything is allocated.
"""

import math
import struct
import zlib

from .header import Header, inflated
from .layout import (
    CABAC_STREAM,
    CODEBOOK,
    COMPACT,
    DEFLATED,
    EMPTY_CODES,
    MAGIC,
    MAX_AXES,
    MAX_NAME,
    MOST_INFLATED,
    PARAMETERS,
    PATH_KINDS,
    PREFIX,
    TRELLIS,
    UNIFORM,
    VERSION,
    ZERO,
    Entry,
    Stream,
    dtype_code,
    last_first,
)  # fmt: skip


def write(entries: list[Entry], streams: list[Stream], compact: bool = True) -> bytes:
    """The whole file; with `compact` unset without features."""
    header = bytearray()
    _put(header, len(streams))
    for stream in streams:
        header.append(stream.kind)
        if stream.kind == CABAC_STREAM:
            header += bytes([stream.n_unary, stream.scan | stream.profile << 4 | stream.dq << 5])
        _put(header, len(stream.data))
        header += b"" if compact else struct.pack("<I", zlib.crc32(stream.data))
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
            header.append(next(code for code, kind in EMPTY_CODES.items() if kind == entry.empty))
            continue
        if len(entry.shape) > MAX_AXES:
            raise ValueError(f"tensor {entry.name!r} has {len(entry.shape)} axes, more than {MAX_AXES}: reshape it")
        header.append(dtype_code(entry.dtype))
        _put(header, len(entry.shape))
        for size in entry.shape:
            _put(header, size)
        header.append(entry.coding)
        if entry.coding in (UNIFORM, TRELLIS):
            qp = PARAMETERS.get(entry.step) if compact else None
            if qp is not None:
                _put(header, 1 + (2 * qp if qp >= 0 else -2 * qp - 1))
            else:
                header += bytes(compact) + struct.pack("<d", entry.step)
        if entry.coding == CODEBOOK:
            _put(header, entry.values.size)
            _put(header, entry.zero)
            header += entry.values.tobytes()
        if entry.coding != ZERO:
            _put(header, entry.stream)
            header += _axis_order(entry, compact)
    features, stored = int(compact) * COMPACT, bytes(header)
    if compact:
        deflated = zlib.compress(header, 9, -zlib.MAX_WBITS)
        if len(deflated) < len(header) <= MOST_INFLATED * len(deflated):
            features, stored = features | DEFLATED, deflated
    start = PREFIX.pack(MAGIC, VERSION, features, len(stored)) + stored
    checksum = zlib.crc32(start)
    for stream in streams if compact else ():
        checksum = zlib.crc32(stream.data, checksum)
    return b"".join([start, struct.pack("<I", checksum), *(stream.data for stream in streams)])


def _axis_order(entry: Entry, compact: bool) -> bytes:
    if entry.axes is None:
        return b"\0"
    return b"\2" if compact and entry.axes == last_first(len(entry.axes)) else bytes([1, *entry.axes])


def read(data, max_output_bytes: float = math.inf) -> tuple[list[Entry], list[Stream]]:
    """Entries and streams of a file, every check sum verified; ValueError says what is wrong with it.

    Beside its values every tensor is charged `TENSOR_OVERHEAD` bytes, so that `max_output_bytes` also bounds what a
    header of very many, very small tensors turns into.
    """
    view = memoryview(data).cast("B")
    if len(view) < PREFIX.size + 4:
        raise ValueError(f"{len(view)} bytes are too few for a compressed network: the file is empty or cut off")
    magic, version, features, length = PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise ValueError(f"this is no compressed network: it begins with {bytes(magic)!r} instead of {MAGIC!r}")
    if version != VERSION:
        raise ValueError(f"the file has format version {version}; this program reads version {VERSION}")
    if features not in (0, COMPACT, COMPACT | DEFLATED):
        raise ValueError(f"the file needs features {features:#x} that this version does not know")
    end = PREFIX.size + length
    if end + 4 > len(view):
        raise ValueError(f"the header of {length} bytes is cut off: the file has only {len(view)} bytes")
    checksum, stored = zlib.crc32(view[:end]), view[PREFIX.size : end]
    if features:
        checksum = zlib.crc32(view[end + 4 :], checksum)
    if checksum != struct.unpack_from("<I", view, end)[0]:
        what = "check sum is wrong: the file was cut off," if features else "header's check sum is wrong: it was"
        raise ValueError(f"the {what} altered or damaged")
    header = Header(inflated(stored) if features & DEFLATED else stored, bool(features))
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
        if len(encoded) > MAX_NAME:
            raise ValueError(f"a name of {len(encoded)} bytes is longer than {MAX_NAME}: {key[:40]!r}...")
        out.append(PATH_KINDS.index(kind))
        _put(out, len(encoded))
        out += encoded
    else:
        out.append(PATH_KINDS.index("index" if kind == "key" else kind))
        _put(out, key)
