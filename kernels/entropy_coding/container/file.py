"""The file format of a compressed network, version 1: which bytes mean what. The header: header.py.

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

from ...array_types import Buffer
from ...host_arrays import buffer
from . import header
from .layout import COMPACT, DEFLATED, MAGIC, MOST_INFLATED, PREFIX, VERSION, Entry, Stream


def write(entries: list[Entry], streams: list[Stream], compact: bool = True) -> bytes:
    """The whole file; with `compact` unset without features."""
    plain = header.write(entries, streams, compact)
    features, stored = int(compact) * COMPACT, plain
    if compact:
        deflated = zlib.compress(plain, 9, -zlib.MAX_WBITS)
        if len(deflated) < len(plain) <= MOST_INFLATED * len(deflated):
            features, stored = features | DEFLATED, deflated
    start = PREFIX.pack(MAGIC, VERSION, features, len(stored)) + stored
    checksum = zlib.crc32(start)
    for stream in streams if compact else ():
        checksum = zlib.crc32(stream.data, checksum)
    return b"".join([start, struct.pack("<I", checksum), *(stream.data for stream in streams)])


def read(data: Buffer, max_output_bytes: float = math.inf) -> tuple[list[Entry], list[Stream]]:
    """Entries and streams of a file, every check sum verified; ValueError says what is wrong with it.

    Beside its values every tensor is charged `TENSOR_OVERHEAD` bytes, so that `max_output_bytes` also bounds what a
    header of very many, very small tensors turns into.
    """
    view = buffer("data", data)
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
    plain = _inflated(stored) if features & DEFLATED else stored
    return header.read(plain, view[end + 4 :], bool(features), max_output_bytes)


def _inflated(stored: memoryview) -> memoryview:
    """A deflated header, if it is whole and no larger than a writer makes it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(stored, MOST_INFLATED * len(stored) + 1)
    except zlib.error as error:
        raise ValueError(f"the header cannot be inflated: {error}") from None
    if len(plain) > MOST_INFLATED * len(stored):
        raise ValueError(f"the header of {len(stored)} bytes inflates to more than {MOST_INFLATED} times as many")
    if not inflater.eof or inflater.unused_data:
        raise ValueError("the deflated header ends too early or too late")
    return memoryview(plain)
