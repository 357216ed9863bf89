"""nncodec's whole pipeline on request: .venv-peers/nncodec-full/bin/python tests/peers/nncodec_full_server.py

A network travels as an .npz of float32 arrays. The pipeline imports torchvision, pandas, OpenCV and others for its own
training examples; coding a dict of arrays calls none of them, so that empty stand-ins do where one is not installed
(torchvision has no build without CUDA there), or for all of them with STAND_INS=all in the environment.
"""

import importlib.machinery
import importlib.metadata
import os
import pathlib
import sys
import tempfile
import types

import line_server
import numpy as np

STAND_INS = ("cv2", "h5py", "pandas", "ptflops", "sklearn", "tensorflow", "torchmetrics", "torchvision", "tqdm")


class _AnyNameIsAClass(type):
    """A class whose every attribute is a class of the same kind."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Nothing(metaclass=_AnyNameIsAClass):
    """Takes any arguments and does nothing."""

    def __init__(self, *args, **named):
        pass

    def __call__(self, *args, **named):
        return _Nothing()


class _StandIn(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Finder:
    """Finds the stand-ins."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in STAND_INS:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0 if os.environ.get("STAND_INS") == "all" else len(sys.meta_path), _Finder())
import nncodec.nn  # noqa: E402


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("nncodec", "torch", "numpy")}


def encode_network(network: str, stream: str, repeats: int = 1, **settings) -> dict:
    """Codes the .npz `network` into the file `stream`; returns its length and the seconds of each repeat.

    Settings are nncodec's own: qp, nonweight_qp, use_dq, param_opt, row_skipping, ...
    """
    with np.load(network, allow_pickle=False) as arrays:
        tensors = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in arrays.files}
    with tempfile.TemporaryDirectory() as results:  # the pipeline always leaves a file

        def call():
            fresh = {name: values.copy() for name, values in tensors.items()}
            return nncodec.nn.encode(fresh, {"results": results, "verbose": False, **settings})

        data, seconds = line_server.timed(call, repeats)
    pathlib.Path(stream).write_bytes(data)
    return {"length": len(data), "seconds": seconds}


def decode_network(stream: str, network: str, repeats: int = 1) -> dict:
    """Decodes the file `stream` into the .npz `network`; returns the seconds of each repeat."""
    data = pathlib.Path(stream).read_bytes()
    tensors, seconds = line_server.timed(lambda: nncodec.nn.decode(bytearray(data)), repeats)
    np.savez(network, **{name: np.asarray(values) for name, values in tensors.items()})
    return {"seconds": seconds}


if __name__ == "__main__":
    commands = (version, encode_network, decode_network)
    line_server.serve({command.__name__: command for command in commands})
