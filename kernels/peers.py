"""The one way to a peer, the software of others that we measure against: a server in the peer's own environment.

    with peers.start("coders") as peer:
        sizes = peer.ask("sizes", tensor=q)["range_coder"]

`tests/peers` holds the servers (NAME_server.py), `make peers` builds the environments in `.venv-peers`; both belong to
the checkout, and what is installed from the wheel is told so. A request is one line of JSON, an answer another;
arrays travel as .npy files in a folder that both see.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
SERVERS = ROOT / "tests" / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
MAKE = {
    "nncodec": "make peers-nncodec", "coders": "make peers-coders", "nncodec-full": "make peers-full",
    "zennit": "make peers-zennit", "quantus": "make peers-quantus",
    "foolbox": "make peers-foolbox", "netket": "make peers-netket", "arviz": "make peers-arviz",
    "networks": "make peers-networks", "federated": "make peers-federated", "innvestigate": "make peers-innvestigate",
    "lrp": "make peers-lrp", "corelay": "make peers-spray", "virelay": "make peers-spray",
    "spray": "make peers-spray", "sionna": "make peers-sionna",
}  # fmt: skip
SHARED = {"corelay": "spray", "virelay": "spray"}  # servers that live in the environment of another name
TIMEOUT = 3600.0  # seconds for an answer: ART takes its time, and what hangs ends nevertheless


class MissingPeerError(FileNotFoundError):
    """The peer's environment is not there; the text says how to build it."""


class PeerError(RuntimeError):
    """The peer refused, failed, ended or did not answer in time; the text holds its own words."""


def missing(name: str) -> str | None:
    """Returns why a peer cannot be started and what would change that, in one sentence; None where it can."""
    if not script_of(name).is_file():
        return f"no {script_of(name).name} in tests/peers: the peer {name} runs in a checkout of the repository only"
    folder = SHARED.get(name, name)
    if not any((ENVIRONMENTS / folder).glob(".ready-*")):
        return f"no environment .venv-peers/{folder}: run `{MAKE.get(name, 'make peers')}`"
    return None


def python_of(name: str) -> pathlib.Path:
    """Returns the interpreter of a peer's environment.

    Raises:
      MissingPeerError: it has not been built, or this is no checkout.
    """
    if reason := missing(name):
        raise MissingPeerError(reason)
    return ENVIRONMENTS / SHARED.get(name, name) / "bin" / "python"


def script_of(name: str) -> pathlib.Path:
    """Returns where a peer's server lies."""
    return SERVERS / f"{name.replace('-', '_')}_server.py"


def environment() -> dict[str, str]:
    """Returns this process's environment variables for a peer's process.

    Without those that lead a Python to our packages, and those of our JAX: a peer's may be another, which stops at a
    flag that it does not have.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "XLA_FLAGS")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and (not name.startswith("JAX_") or name == "JAX_PLATFORMS")
    }


@dataclasses.dataclass(frozen=True)
class Peer:
    """A server that runs.

    Attributes:
      name: of its environment.
      process: requests go to its standard input.
      folder: where arrays and streams are exchanged; removed at the end.
    """

    name: str
    process: subprocess.Popen
    folder: pathlib.Path

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """(its standard input, its standard output)."""
        assert self.process.stdin is not None and self.process.stdout is not None, "started without pipes"
        return self.process.stdin, self.process.stdout

    def ask(self, command: str, *, timeout: float = TIMEOUT, **arguments) -> dict:
        """Returns the answer to one request.

        Args:
          command: one that the server knows.
          timeout: seconds until it must have answered; one that has not is ended.
          arguments: what JSON holds; an array is written as ARGUMENT.npy, and it and a path are handed over as a text.

        Raises:
          PeerError: the server failed (in its own words), ended, or did not answer in time.
        """
        request = {"command": command} | {key: self._text(key, value) for key, value in arguments.items()}
        try:
            self.pipes[0].write(json.dumps(request).encode() + b"\n")
            self.pipes[0].flush()
            line = self._line(command, timeout)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise PeerError(f"the peer {self.name} ended during {command!r} with exit code {_exit_code(self.process)}")
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise PeerError(f"the peer {self.name} failed at {command!r}: {answer['error']}")
        return answer

    def put(self, name: str, values: np.ndarray) -> str:
        """Writes an array where the server finds it; returns the path to name in a request."""
        path = self.folder / f"{name}.npy"
        np.save(path, np.ascontiguousarray(values))
        return str(path)

    def put_many(self, name: str, arrays: dict[str, np.ndarray]) -> str:
        """Writes arrays by name as an .npz where the server finds it; returns its path."""
        path = self.folder / f"{name}.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own flag
        return str(path)

    def get(self, file: str) -> np.ndarray | dict[str, np.ndarray]:
        """Returns the array of an .npy file in the exchange folder, or the arrays by name of an .npz file."""
        content = np.load(self.folder / file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in content.files}

    def _text(self, key: str, value):
        if isinstance(value, np.ndarray):
            return self.put(key, value)
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def _line(self, command: str, timeout: float) -> bytes:
        """One line of standard output, or what came before its end. A server writes nothing that was not asked for."""
        deadline, line = time.monotonic() + timeout, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.pipes[1], selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.process.kill()
                    raise PeerError(f"the peer {self.name} has not answered {command!r} within {timeout:g} s: ended")
                part = os.read(self.pipes[1].fileno(), 1 << 16)
                if not part:
                    break
                line += part
        return line


@contextlib.contextmanager
def start(name: str) -> Iterator[Peer]:
    """Yields a peer that runs, and ends it with the block.

    Args:
      name: of a server in `tests/peers`: "arviz", "coders", "corelay", "federated", "foolbox", "innvestigate", "lrp",
        "netket", "networks", "nncodec", "nncodec-full", "quantus", "sionna", "spray", "virelay", "zennit".

    Raises:
      MissingPeerError: `make peers` has not built its environment, or this is no checkout.
    """
    command = [str(python_of(name)), str(script_of(name))]
    with tempfile.TemporaryDirectory(prefix="havel-peer-") as folder:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), bufsize=-1
        )  # fmt: skip
        peer = Peer(name, process, pathlib.Path(folder))
        try:
            yield peer
        finally:
            with contextlib.suppress(BrokenPipeError):
                peer.pipes[0].close()
            _exit_code(process)
            peer.pipes[1].close()


def _exit_code(process: subprocess.Popen) -> int:
    """The exit code of a process that is about to end; one that is not is ended."""
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
