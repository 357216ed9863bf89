"""Entropy coding of network weights: quantisers, the DeepCABAC arithmetic coder, and whole networks as bytes.

data = compress({"fc1": {"kernel": w}}, step=0.01)    # bytes; write them where you like
tree = decompress(data)

Floors, each on those below: `container` (a pytree as a file); `quantize` (with its form for any device, `xla`), `rate`,
`tensor` (one tensor); `steps`, `layer_steps`, `reader`, `codeword`; `checks`, `core` (what is compiled).
"""

from .codeword import MAX_ABS_LEVEL
from .container import (
    DEFAULT_MAX_OUTPUT_BYTES,
    SHARED_SIZE,
    Codebook,
    Quantized,
    Summary,
    TensorSummary,
    compress,
    compress_many,
    decompress,
    inspect,
    read_tensor,
)
from .quantize import quantize_rdo, quantize_trellis, quantize_uniform
from .rate.estimates import rate_exact, rate_static, rate_static_soft
from .steps import dequantize, fitted_step, qp_to_step
from .tensor import decode_tensor, encode_tensor, stream_length

__all__ = [
    "DEFAULT_MAX_OUTPUT_BYTES",
    "MAX_ABS_LEVEL",
    "SHARED_SIZE",
    "Codebook",
    "Quantized",
    "Summary",
    "TensorSummary",
    "compress",
    "compress_many",
    "decode_tensor",
    "decompress",
    "dequantize",
    "encode_tensor",
    "fitted_step",
    "inspect",
    "qp_to_step",
    "quantize_rdo",
    "quantize_trellis",
    "quantize_uniform",
    "rate_exact",
    "rate_static",
    "rate_static_soft",
    "read_tensor",
    "stream_length",
]
