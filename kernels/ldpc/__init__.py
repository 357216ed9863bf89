"""Low-density parity-check (LDPC) codes: those of 5G NR, of Wi-Fi's kind, and any parity-check matrix.

LLRs are log P(bit 0) / P(bit 1); words lie along the last axis.

code = qc_code(2, 36)                     # base graph and lifting; sparse_code(matrix), read_alist(text)
word = encode(code, bits)                 # [..., n], systematic
sent = rate_match(code, word, 1200)       # [..., 1200], redundancy version 0
llr = rate_recover(code, received)        # [..., n]; out=llr adds a retransmission
first = subcode(code, 900)                # what the first 900 sent bits belong to
decoded = decode(code, llr)               # belief propagation of log P(0) / P(1): decoded.bits, .satisfied
"""

from .alist import read_alist, write_alist
from .belief_propagation import Decoded, decode
from .codes import Code, edges, parity_check_matrix, qc_code, sparse_code, subcode
from .encoder import encode, syndrome
from .generator import dimension, information_positions
from .rate_matching import LLR_MAX, NrBlock, nr_block, rate_match, rate_recover

__all__ = [
    "LLR_MAX",
    "Code",
    "Decoded",
    "NrBlock",
    "decode",
    "dimension",
    "edges",
    "encode",
    "information_positions",
    "nr_block",
    "parity_check_matrix",
    "qc_code",
    "rate_match",
    "rate_recover",
    "read_alist",
    "sparse_code",
    "subcode",
    "syndrome",
    "write_alist",
]
