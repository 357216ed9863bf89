"""Entropy coding of network weights: quantisers, the DeepCABAC arithmetic coder, and whole networks as bytes.

data = compress({"fc1": {"kernel": w}}, step=0.01)    # bytes; write them where you like
tree = decompress(data)
"""

from .network import compress
from .quantize import dequantize, fitted_step, qp_to_step, quantize_rdo, quantize_trellis, quantize_uniform
from .rate import rate_exact, rate_static, rate_static_soft
from .reading import Summary, TensorSummary, decompress, inspect, read_tensor
from .tensor import MAX_ABS_LEVEL, decode_tensor, encode_tensor, stream_length
from .tree import Codebook, Quantized

__all__ = [
    "MAX_ABS_LEVEL",
    "Codebook",
    "Quantized",
    "Summary",
    "TensorSummary",
    "compress",
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
