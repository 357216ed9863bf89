"""The compiled Golomb coder of positions and signs: gaps between selected entries, each followed by a bit of sign.

Source: S. W. Golomb, IEEE Trans. Inf. Theory 12, 399 (1966), with a power of two as its parameter. A gap g is written
as g >> b ones and a zero, then its low b bits, the highest first, then the sign, 1 of a negative one. The last byte is
filled with zeros. Any bytes are met in time bounded by their number and that of the entries.
"""

import numpy as np

from ...compiling import compiled

# What is wrong with a stream, where the decoder does not return how many bits it has read.
OVERRUN, BEYOND_THE_END = -1, -2
_CHUNK = 32  # bits that are written at once, at most


@compiled
def encode(places, negative, b, out):
    """Writes k entries; returns the bits of them. places: int64 [k], increasing. negative: uint8 [k], 0 or 1. out:
    uint8, room for all."""
    register = np.int64(0)  # fewer than 8 bits that are not yet written
    waiting = 0
    byte = 0
    last = np.int64(-1)
    for j in range(places.size):
        gap = places[j] - last - 1
        last = places[j]
        ones = gap >> b
        while ones >= 0:
            if ones > _CHUNK:
                size, value = _CHUNK, (np.int64(1) << _CHUNK) - 1
                ones -= _CHUNK
            else:  # the ones that are left, and the zero
                size, value = ones + 1, (np.int64(2) << ones) - 2
                ones = -1
            register, waiting, byte = _put(register, waiting, byte, value, size, out)
        value = ((gap & ((np.int64(1) << b) - 1)) << 1) | np.int64(negative[j])
        register, waiting, byte = _put(register, waiting, byte, value, b + 1, out)
    if waiting:
        out[byte] = (register << (8 - waiting)) & 255
    return 8 * byte + waiting


@compiled
def _put(register, waiting, byte, value, size, out):
    """Appends up to 33 bits to the register and moves whole bytes from it to `out`."""
    register = (register << size) | value
    waiting += size
    while waiting >= 8:
        waiting -= 8
        out[byte] = (register >> waiting) & 255
        byte += 1
    return register & ((np.int64(1) << waiting) - 1), waiting, byte


@compiled
def decode(data, first, k, b, mu, values):
    """Puts mu or -mu at k places of `values`, float32 [n]; returns the number of bits read, or what is wrong (below 0).

    data: uint8, read from the byte `first` on.
    """
    end = 8 * data.size
    bit = 8 * first
    place = np.int64(-1)
    for _ in range(k):
        ones = np.int64(0)
        while bit < end and (data[bit >> 3] >> (7 - (bit & 7))) & 1:
            ones += 1
            bit += 1
        bit += 1
        if bit + b + 1 > end:
            return OVERRUN
        low = np.int64(0)
        for _ in range(b):
            low = (low << 1) | ((np.int64(data[bit >> 3]) >> (7 - (bit & 7))) & 1)
            bit += 1
        if ones > (values.size >> b):
            return BEYOND_THE_END
        place += ((ones << b) | low) + 1
        if place >= values.size:
            return BEYOND_THE_END
        values[place] = -mu if (data[bit >> 3] >> (7 - (bit & 7))) & 1 else mu
        bit += 1
    return bit - 8 * first
