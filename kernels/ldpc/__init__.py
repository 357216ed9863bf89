"""Low-density parity-check (LDPC) codes: those of 5G NR, of Wi-Fi's kind, and any parity-check matrix.

code = qc_code(2, 36)                     # base graph and lifting; sparse_code(matrix), read_alist(text)
first = subcode(code, 900)                # what the first 900 sent bits belong to
"""

from .codes import Code, edges, parity_check_matrix, qc_code, sparse_code, subcode

__all__ = [
    "Code",
    "edges",
    "parity_check_matrix",
    "qc_code",
    "sparse_code",
    "subcode",
]
