"""The client of peers, on a server of its own in this Python: arrays there and back, failures in words, time limits."""

import sys
import time

import numpy as np
import pytest

from kernels import peers

SERVER = f"""
import os, sys, time
sys.path.insert(0, {str(peers.SERVERS)!r})
import line_server
import numpy as np

def double(values, output):
    print("chatter of a compiled library")
    np.save(output, 2 * np.load(values))
    return {{"shape": list(np.load(values).shape)}}

def many(arrays, output):
    with np.load(arrays) as content:
        np.savez(output, **{{name: -content[name] for name in content.files}})
    return {{}}

def long():
    return {{"text": "x" * 300000}}

def sleep(seconds):
    time.sleep(seconds)
    return {{}}

def leave():
    os._exit(7)

def fail():
    raise ValueError("no such thing")

line_server.serve({{name: globals()[name] for name in ("double", "many", "long", "sleep", "leave", "fail")}})
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A peer "to-y" whose environment is this Python."""
    monkeypatch.setattr(peers, "SERVERS", tmp_path)
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path / "environments")
    (tmp_path / "to_y_server.py").write_text(SERVER)
    environment = tmp_path / "environments" / "to-y"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / ".ready-1").touch()
    return "to-y"


def test_arrays_there_and_back(toy):
    with peers.start(toy) as peer:
        values = np.arange(6.0).reshape(2, 3).T
        assert peer.ask("double", values=values, output=peer.folder / "output.npy") == {"shape": [3, 2]}
        np.testing.assert_array_equal(peer.get("output.npy"), 2 * values)
        peer.ask("many", arrays=peer.put_many("arrays", {"a": values, "b": np.ones(2)}), output=peer.folder / "o.npz")
        arrays = peer.get("o.npz")
        assert set(arrays) == {"a", "b"} and (arrays["b"] == -1).all()
        assert len(peer.ask("long")["text"]) == 300_000
        folder = peer.folder
    assert not folder.exists() and peer.process.returncode == 0


def test_failures_are_told(toy):
    with peers.start(toy) as peer:
        with pytest.raises(peers.PeerError, match="to-y failed at 'fail': ValueError: no such thing"):
            peer.ask("fail")
        with pytest.raises(peers.PeerError, match="expected one of"):
            peer.ask("nonsense")
        for _ in range(2):  # it stays gone
            with pytest.raises(peers.PeerError, match="ended during 'leave' with exit code 7"):
                peer.ask("leave")


def test_what_hangs_ends(toy):
    start = time.monotonic()
    with peers.start(toy) as peer:
        with pytest.raises(peers.PeerError, match="not answered 'sleep' within 0.3 s"):
            peer.ask("sleep", timeout=0.3, seconds=60)
        with pytest.raises(peers.PeerError, match="ended during 'sleep'"):
            peer.ask("sleep", seconds=0)
    assert time.monotonic() - start < 30  # far from the sleep


def test_a_missing_environment_is_told_with_its_command(toy, tmp_path):
    (tmp_path / "arviz_server.py").touch()
    with pytest.raises(peers.MissingPeerError, match="no environment .venv-peers/arviz: run `make peers-arviz`"):
        with peers.start("arviz"):
            pass
    assert "in a checkout of the repository only" in peers.missing("unheard-of")
    assert peers.missing(toy) is None and peers.python_of(toy).is_file()


def test_every_server_has_its_command():
    """And each command is one that the Makefile knows."""
    names = {path.stem.removesuffix("_server").replace("_", "-") for path in peers.SERVERS.glob("*_server.py")}
    assert names - {"line"} == set(peers.MAKE)
    makefile = (peers.ROOT / "Makefile").read_text()
    for command in peers.MAKE.values():
        assert f"\n{command.removeprefix('make ')}:" in makefile
