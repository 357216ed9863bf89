"""nncodec's coder on request, under its own Python: .venv-peers/nncodec/bin/python tests/peers/nncodec_server.py

Tensors travel as int32 or float32 .npy files [rows, width], streams as plain files; see tests/peers/README.md.
"""

import importlib.metadata
import pathlib

import line_server
import nncodec_coder
import numpy as np


def version() -> dict:
    """Returns what answers here."""
    return {"name": "nncodec", "version": importlib.metadata.version("nncodec"), "numpy": np.__version__}


def encode(tensor: str, stream: str, repeats: int = 1, **settings) -> dict:
    """Codes the .npy file `tensor` into the file `stream`; returns its length in bytes and each repeat's seconds."""
    q = np.load(tensor, allow_pickle=False)
    data, seconds = line_server.timed(lambda: nncodec_coder.encode(q, **settings), repeats)
    pathlib.Path(stream).write_bytes(data)
    return {"length": len(data), "seconds": seconds}


def decode(stream: str, tensor: str, shape: list, repeats: int = 1, **settings) -> dict:
    """Decodes the file `stream` into the .npy file `tensor` of the given shape; returns the seconds of each repeat."""
    data = pathlib.Path(stream).read_bytes()
    q, seconds = line_server.timed(lambda: nncodec_coder.decode(data, tuple(shape), **settings), repeats)
    np.save(tensor, q)
    return {"seconds": seconds}


def bench(tensor: str, repeats: int = 3, **settings) -> dict:
    """Returns the stream's length and the seconds of each repeat of encoding and decoding the .npy file `tensor`."""
    q = np.load(tensor, allow_pickle=False)
    data, encode_seconds = line_server.timed(lambda: nncodec_coder.encode(q, **settings), repeats)
    reading = {name: value for name, value in settings.items() if name not in ("presets", "row_skip")}
    back, decode_seconds = line_server.timed(lambda: nncodec_coder.decode(data, q.shape, **reading), repeats)
    if not np.array_equal(back, q):
        raise ValueError("nncodec's decoder did not return what its encoder was given")
    return {"length": len(data), "encode_seconds": encode_seconds, "decode_seconds": decode_seconds}


def quantize(weights: str, levels: str, repeats: int = 1, **settings) -> dict:
    """Quantises the float32 .npy file `weights` into the int32 file `levels`; returns the qp used and the seconds."""
    values = np.load(weights, allow_pickle=False)
    (q, qp), seconds = line_server.timed(lambda: nncodec_coder.quantize(values, **settings), repeats)
    np.save(levels, q)
    return {"qp": qp, "seconds": seconds}


def dequantize(levels: str, weights: str, **settings) -> dict:
    """Writes the float32 .npy file `weights` of the int32 file `levels`."""
    np.save(weights, nncodec_coder.dequantize(np.load(levels, allow_pickle=False), **settings))
    return {}


if __name__ == "__main__":
    commands = (version, encode, decode, bench, quantize, dequantize)
    line_server.serve({command.__name__: command for command in commands})
