"""Golomb coding of sparse ternary vectors: the positions of their entries as gaps, a sign each, one magnitude.

data = encode(mask, signs, mu)     # bytes, with a checksum; from `sparse_ternary.ternarize`
values = decode(data, n)           # mu * signs, float32 [n]
"""

from .lengths import expected_bits, golomb_bits, golomb_parameter
from .message import Account, account, decode, encode

__all__ = [
    "Account",
    "account",
    "decode",
    "encode",
    "expected_bits",
    "golomb_bits",
    "golomb_parameter",
]
