"""Damaged file images: a second writer of the container's frame, random changes, check sums made right again."""

import struct
import zlib

import numpy as np

from kernels.entropy_coding.container import file

PREFIX = struct.Struct("<4sHHI")


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def plain(image: bytes) -> bytes:
    """The same network in the older form of the file, with a check sum for each stream and nothing deflated."""
    return file.write(*file.read(image), compact=False)


def take_apart(image: bytes) -> dict:
    """A sound image, without features, as {"streams": [(options, data)], "tensors": the rest of the header}, which is
    from the number of tensors on."""
    image = plain(image)
    length = PREFIX.unpack_from(image)[3]
    header, payload = image[PREFIX.size : PREFIX.size + length], image[PREFIX.size + length + 4 :]
    count, at = read_varint(header, 0)
    streams = []
    for _ in range(count):
        options = header[at : at + (3 if header[at] else 1)]
        size, at = read_varint(header, at + len(options))
        at += 4
        streams.append((options, payload[:size]))
        payload = payload[size:]
    assert not payload
    return {"streams": streams, "tensors": header[at:]}


def put_together(streams, tensors: bytes, *, version=1, features=0, magic=b"DCBN") -> bytes:
    """An image whose lengths and check sums are right, whatever its parts hold."""
    header = varint(len(streams))
    for options, data in streams:
        header += options + varint(len(data)) + struct.pack("<I", zlib.crc32(data))
    header += tensors
    start = PREFIX.pack(magic, version, features, len(header)) + header
    return start + struct.pack("<I", zlib.crc32(start)) + b"".join(data for _, data in streams)


def header_of(image: bytes) -> bytes:
    """The header's fields of a sound image, inflated."""
    features, length = PREFIX.unpack_from(image)[2:]
    stored = image[PREFIX.size : PREFIX.size + length]
    return zlib.decompress(stored, -zlib.MAX_WBITS) if features & 2 else stored


def with_header(image: bytes, header: bytes) -> bytes:
    """The image with another header, deflated where that is shorter; its check sum is right."""
    deflated = zlib.compress(header, 9, -zlib.MAX_WBITS)
    return with_stored_header(image, *((deflated, 3) if len(deflated) < len(header) else (header, 1)))


def with_stored_header(image: bytes, stored: bytes, features: int) -> bytes:
    """The image with other bytes for its header; its check sum is right."""
    payload = image[PREFIX.size + PREFIX.unpack_from(image)[3] + 4 :]
    start = PREFIX.pack(b"DCBN", 1, features, len(stored)) + stored
    return start + struct.pack("<I", zlib.crc32(start + payload)) + payload


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A few random changes: cut, flipped bits, other bytes, bytes gone, bytes more, a piece repeated or moved."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data) + 1))
        kind = rng.integers(7)
        if kind == 0:
            del data[at:]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2 and at < len(data):
            data[at] = int(rng.choice([0, 1, 2, 127, 128, 255, rng.integers(256)]))
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 5:
            data[at:at] = data[at // 2 : at // 2 + int(rng.integers(1, 30))]
        else:
            data[at:at] = varint(int(2 ** rng.uniform(0, 70)))
    return bytes(data)


def damaged(image: bytes, rng: np.random.Generator) -> bytes:
    """An image with damage; in half of the cases lengths and check sums agree with it again."""
    if rng.random() < 0.5:
        if rng.random() < 0.1:
            return rng.bytes(int(rng.integers(200)))
        if rng.random() < 0.3:
            return with_header(image, mutate(header_of(image), rng))
        return mutate(image if rng.random() < 0.5 else plain(image), rng)
    parts = take_apart(image)
    streams, tensors = list(parts["streams"]), parts["tensors"]
    kind = rng.integers(4)
    if kind == 0 or not streams:
        tensors = mutate(tensors, rng)
    elif kind == 1:
        i = int(rng.integers(len(streams)))
        streams[i] = (streams[i][0], mutate(streams[i][1], rng))
    elif kind == 2:  # other coder options
        i = int(rng.integers(len(streams)))
        options = bytes([1, rng.integers(1, 16), rng.integers(5) | rng.integers(2) << 4 | rng.integers(2) << 5])
        streams[i] = (options if streams[i][0][0] or rng.random() < 0.3 else b"\0", streams[i][1])
    else:
        order = rng.permutation(len(streams))
        streams = [streams[i] for i in order]
        if rng.random() < 0.5:
            tensors = mutate(tensors, rng)
    return put_together(streams, tensors)
