"""Compiled cores on disk: found, made anew where it is damaged or stale, done without where it cannot be kept."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from kernels import compiling, machine_code
from kernels.entropy_coding import encode_tensor
from kernels.entropy_coding.core import fitting

PROGRAM = """
import sys
from kernels.entropy_coding import encode_tensor
print(encode_tensor([1, 0, -2, 0, 0, 7]).hex(), "numba" in sys.modules)
"""


def fresh_process(folder) -> tuple[str, bool]:
    """The codeword that a new process makes with the core kept in `folder`, and whether it needed Numba."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stream, numba = done.stdout.split()
    return stream, numba == "True"


@pytest.fixture
def sums():
    """A function of the core that nothing has called yet."""
    return compiling.Compiled(fitting.sums.py_func)


def call(sums) -> list:
    out = np.zeros(2)
    weights, levels = np.array([0.5, 1.5, -2.0]), np.array([1, 2, -2], np.int32)
    assert sums(weights, levels, np.ones(1), out) is None
    return out.tolist()


def test_a_second_process_needs_no_compiler(tmp_path):
    expected = encode_tensor([1, 0, -2, 0, 0, 7]).hex()
    assert fresh_process(tmp_path) == (expected, True)
    assert fresh_process(tmp_path) == (expected, False)
    assert len(list(tmp_path.iterdir())) == 2  # coder and presets: whatever else was written is gone again


def test_damaged_files_are_made_anew(monkeypatch, tmp_path, sums):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    made = []
    compile_it = compiling._compile
    monkeypatch.setattr(compiling, "_compile", lambda *which: made.append(which) or compile_it(*which))
    call(sums)
    (kept,) = tmp_path.iterdir()
    data = kept.read_bytes()
    for damaged in (b"", data[:-1], data[:2000], data.replace(b"}", b"", 1), b"[]\n", data[:-9] + b"012345678", data):
        kept.write_bytes(damaged)
        assert call(compiling.Compiled(fitting.sums.py_func)) == [7.5, 9.0]
        assert call(compiling.Compiled(fitting.sums.py_func)) == [7.5, 9.0]  # from what the call before has kept
    assert len(made) == 1 + 6
    assert list(tmp_path.iterdir()) == [kept]


CORES = sorted(path.parent for path in machine_code.HERE.glob("*/core/__init__.py"))


@pytest.mark.parametrize("room", CORES, ids=lambda core: core.parent.name)
def test_every_source_of_a_core_counts(monkeypatch, tmp_path, room):
    """What compiled functions are made of is part of the name of their code: no stale code runs after a change."""
    sources = sorted(path.name for path in room.glob("*.py"))
    shared = {name: f"...{pathlib.Path(name).stem}" for name in machine_code.SHARED}
    compiled = [name for name in sources if re.search(r"^@(compiled|inlined)$", (room / name).read_text(), re.M)]
    assert len(compiled) >= {"entropy_coding": 9}.get(room.parent.name, 1)
    for name in sources:
        leans = re.findall(r"^(?:from|import) (\.\.[.\w]*)", (room / name).read_text(), re.M)
        assert set(leans) <= set(shared.values()), f"{name} of {room} leans on what no digest covers"
    for name in shared:
        leans = set(re.findall(r"^from \.(\w+) import", (machine_code.HERE / name).read_text(), re.M))
        leans |= set(re.findall(r"^from \. import (\w+)", (machine_code.HERE / name).read_text(), re.M))
        assert {f"{one}.py" for one in leans} <= set(shared)
    here, copy = tmp_path / "kernels", tmp_path / "kernels" / "core"
    shutil.copytree(room, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in shared:
        shutil.copy(machine_code.HERE / name, here)
    monkeypatch.setattr(machine_code, "HERE", here)
    digests = {machine_code._fingerprint.__wrapped__(copy)}
    for path in [copy / name for name in sources] + [here / name for name in shared]:
        path.write_text(path.read_text() + "# changed\n")
        digests.add(machine_code._fingerprint.__wrapped__(copy))
    assert len(digests) == 1 + len(sources) + len(shared)


def test_without_a_place_to_keep_it(monkeypatch, tmp_path, sums):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert call(sums) == [7.5, 9.0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_numba_runs_what_cannot_stand_alone(monkeypatch, sums):
    def refuse(*_):
        raise machine_code.Unavailable("no loader")

    monkeypatch.setattr(machine_code, "entry", refuse)
    assert call(sums) == [7.5, 9.0]
    assert not isinstance(next(iter(sums.entries.values())), machine_code._Entry)


def test_code_that_calls_out_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assembly = "declare i32 @elsewhere()\ndefine i32 @f() {\n%1 = call i32 @elsewhere()\nret i32 %1\n}"
    with pytest.raises(machine_code.Unavailable, match="elsewhere"):
        machine_code.entry("f", (), lambda: (assembly, "f", "none"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_plain_array_is_refused(sums):
    out, levels = np.zeros(2), np.ones(3, np.int32)
    with pytest.raises(ValueError, match="strided or unaligned: copy it"):
        sums(np.ones(6)[::2], levels, np.ones(1), out)
    with pytest.raises(ValueError, match="strided or unaligned: copy it"):
        sums(np.frombuffer(bytes(25), np.uint8)[1:].view(np.float64), levels, np.ones(1), out)


def test_kinds_of_numbers_share_an_entry(sums):
    call(sums)
    assert len(sums.entries) == 1
    sums(np.ones(3, np.float32), np.ones(3, np.int32), np.ones(1), np.zeros(2))
    assert len(sums.entries) == 2
    assert compiling._kind(True) == compiling._kind(np.int8(1)) == compiling._kind(7) == "i"
    assert compiling._kind(1.0) == compiling._kind(np.float32(1)) == "f"


def test_threads_that_all_come_first(sums):
    """Many threads that need the same function at once make it once, and all get its result."""
    actual, barrier = [], threading.Barrier(8)

    def run():
        barrier.wait()
        actual.append(call(sums))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actual == [[7.5, 9.0]] * 8
    assert len(sums.entries) == 1


def test_a_process_that_may_not_compile_says_so(monkeypatch, tmp_path, sums):
    import numba

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT is set"):
        call(sums)
