"""Golomb codes of positions and signs as strings of "0" and "1", and messages from big integers; slow.

Source: S. W. Golomb, IEEE Trans. Inf. Theory 12, 399 (1966); the message is that of kernels/golomb/message.py.
"""

import math
import struct
import zlib

import numpy as np


def payload(mask, signs, b: int) -> str:
    """For every selected entry: ones and a zero, b low bits, a sign."""
    text, last = "", -1
    for i, selected in enumerate(mask):
        if selected:
            gap = i - last - 1
            low = format(gap % 2**b, f"0{b}b") if b else ""
            text += "1" * (gap // 2**b) + "0" + low + ("1" if signs[i] < 0 else "0")
            last = i
    return text


def mean_position_bits(p: float, b: int) -> float:
    """Mean of ones, zero and low bits over the law of gaps, p (1 - p)^g, term by term."""
    gaps = np.arange(int(45 / p) + 50)
    return float(np.sum(p * np.exp(gaps * math.log1p(-p)) * (b + 1 + gaps // 2**b)))


def best_parameter(p: float) -> int:
    """By trying all."""
    return min(range(25), key=lambda b: mean_position_bits(p, b))


def sealed(head: bytes, n: int) -> bytes:
    """With the checksum of n and what it follows."""
    return head + struct.pack("<I", zlib.crc32(struct.pack("<Q", n) + head))


def varint(number: int) -> bytes:
    digits = []
    while True:
        number, digit = divmod(number, 128)
        digits.append(digit + (128 if number else 0))
        if not number:
            return bytes(digits)


def message(mask, signs, mu: float, b: int) -> bytes:
    """Of at least two entries, where float32 values are never shorter."""
    n, k = len(mask), int(np.sum(mask))
    if k == 0:
        return sealed(b"HG\1\0\0", n)
    bits = payload(mask, signs, b)
    bits += "0" * (-len(bits) % 8)
    return sealed(
        b"HG\1\0" + varint(k) + bytes([b]) + struct.pack("<f", mu) + int(bits, 2).to_bytes(len(bits) // 8, "big"), n
    )
