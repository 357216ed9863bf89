"""Golomb coding of sparse ternary vectors: the positions of their entries as gaps, a sign each, one magnitude.

data = encode(mask, signs, mu)     # bytes, with a checksum; from `sparse_ternary.ternarize`
values = decode(data, n)           # mu * signs, float32 [n]
data = encode_values(values)       # the floats of a sparse vector as they are
"""

from .lengths import expected_bits, golomb_bits, golomb_parameter
from .message import Account, account, decode, encode, encode_values

__all__ = [
    "Account",
    "account",
    "decode",
    "encode",
    "encode_values",
    "expected_bits",
    "golomb_bits",
    "golomb_parameter",
]
