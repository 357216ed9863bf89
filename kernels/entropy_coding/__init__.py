"""Entropy coding of network weights: quantisers, the DeepCABAC arithmetic coder, and whole networks as bytes."""

from .tensor import MAX_ABS_LEVEL, decode_tensor, encode_tensor, stream_length

__all__ = ["MAX_ABS_LEVEL", "decode_tensor", "encode_tensor", "stream_length"]
