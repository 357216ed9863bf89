"""Starts a peer's server in its own environment and talks to it, so that one run can alternate our calls and theirs.

with client.open_peer("nncodec") as peer:
    stream = peer.encode(q, n_unary=11, presets=True)
"""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
from dataclasses import dataclass

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".venv-peers"
MADE_BY = {
    "nncodec-full": "make peers-full", "zennit": "make peers-zennit", "foolbox": "make peers-foolbox",
    "netket": "make peers-netket", "arviz": "make peers-arviz", "networks": "make peers-networks",
}  # fmt: skip


def python_of(name: str) -> pathlib.Path | None:
    """Returns the interpreter of a peer's finished environment, or None where `make peers` has not built it."""
    folder = ENVIRONMENTS / name
    return folder / "bin" / "python" if any(folder.glob(".ready-*")) else None


@dataclass(frozen=True)
class Peer:
    """A running server.

    Attributes:
      process: the server's process; requests go to its standard input.
      folder: where arrays and streams are exchanged; removed at the end.
    """

    process: subprocess.Popen
    folder: pathlib.Path

    def ask(self, command: str, **arguments) -> dict:
        """Returns the answer to one request. Raises RuntimeError with the server's own words when it failed."""
        self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended during {command!r} with exit code {self.process.wait()}")
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer

    def put(self, name: str, values: np.ndarray) -> str:
        """Writes an array where the server finds it; returns the path to name in a request."""
        path = self.folder / f"{name}.npy"
        np.save(path, np.ascontiguousarray(values))
        return str(path)

    def encode(self, q: np.ndarray, **settings) -> bytes:
        """Returns nncodec's stream of an int32 tensor [rows, width]."""
        stream = self.folder / "stream"
        self.ask("encode", tensor=self.put("tensor", q), stream=str(stream), **settings)
        return stream.read_bytes()

    def decode(self, data: bytes, shape: tuple, **settings) -> np.ndarray:
        """Returns the int32 tensor of a stream as nncodec reads it."""
        stream = self.folder / "stream"
        stream.write_bytes(data)
        tensor = self.folder / "decoded.npy"
        self.ask("decode", stream=str(stream), tensor=str(tensor), shape=[int(n) for n in shape], **settings)
        return np.load(tensor, allow_pickle=False)

    def quantize(self, weights: np.ndarray, **settings) -> tuple[np.ndarray, dict]:
        """Returns nncodec's (int32 levels, answer with the qp it used and the seconds) for float32 weights."""
        levels = self.folder / "levels.npy"
        source = self.put("weights", np.asarray(weights, np.float32))
        answer = self.ask("quantize", weights=source, levels=str(levels), **settings)
        return np.load(levels, allow_pickle=False), answer

    def encode_network(self, tree: dict[str, np.ndarray], **settings) -> tuple[bytes, dict]:
        """Returns (the file of nncodec's whole pipeline, its answer with the seconds) for float32 arrays by name."""
        network, stream = self.folder / "network.npz", self.folder / "network.nnc"
        np.savez(network, **tree)
        answer = self.ask("encode_network", network=str(network), stream=str(stream), **settings)
        return stream.read_bytes(), answer

    def decode_network(self, data: bytes, **settings) -> tuple[dict[str, np.ndarray], dict]:
        """Returns (float32 arrays by name, its answer with the seconds) for a file of nncodec's whole pipeline."""
        network, stream = self.folder / "decoded.npz", self.folder / "network.nnc"
        stream.write_bytes(data)
        answer = self.ask("decode_network", network=str(network), stream=str(stream), **settings)
        with np.load(network, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}, answer


@contextlib.contextmanager
def open_peer(name: str):
    """Yields a running Peer: "nncodec", "nncodec-full" or "coders".

    Raises:
      FileNotFoundError: `make peers` has not built its environment.
    """
    python = python_of(name)
    if python is None:
        raise FileNotFoundError(f"no environment .venv-peers/{name}: run `{MADE_BY.get(name, 'make peers')}`")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with tempfile.TemporaryDirectory(prefix="havel-peer-") as folder:
        process = subprocess.Popen(
            [str(python), str(HERE / f"{name.replace('-', '_')}_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            yield Peer(process, pathlib.Path(folder))
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
