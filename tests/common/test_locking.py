"""The one lock: one holder at a time, with flock and without, and what dead holders leave."""

import errno
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from common import locking

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLD = """
from common import locking; import sys, time
lock = locking.acquire(sys.argv[1])
print(lock.is_soft, flush=True)
time.sleep(60)
"""
TAKE = """
from common import locking; import sys
try:
    locking.acquire(sys.argv[1]).release()
    print("free")
except locking.TakenError as error:
    print(error)
"""
ERRORS = ("ENOSYS", "ENOTSUP", "ENOLCK")


@pytest.fixture
def start():
    """Returns a function that starts a program; what still runs at the end is killed."""
    started = []

    def call(program, path, **environment):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", program, str(path)], cwd=ROOT, env=os.environ | environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    """Returns what a process prints until it ends, on both streams."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.strip(), errors.strip()


def test_one_holder_at_a_time_and_its_name(tmp_path):
    path = tmp_path / ".lock"
    assert locking.look(path) == (False, None) and not path.exists()
    with locking.held(path) as lock:
        assert not lock.is_soft
        own = locking.Holder(os.getpid(), socket.gethostname())
        assert locking.look(path) == (True, own) and own.is_here
        with pytest.raises(locking.TakenError, match=rf"\.lock is held by process {os.getpid()} on ") as raised:
            locking.acquire(path)
        assert raised.value.holder == own and raised.value.remedy == ""
    assert locking.look(path) == (False, None) and path.read_text() == ""
    lock.release()  # a second time does nothing
    assert [item.name for item in tmp_path.iterdir()] == [".lock"]


def test_waiting_gets_it(tmp_path, start):
    path = tmp_path / ".lock"
    program = HOLD.replace("time.sleep(60)", "time.sleep(1)")
    process = start(program, path)
    assert process.stdout.readline() == "False\n"
    began = time.monotonic()
    locking.acquire(path, timeout=50).release()
    assert 0.3 < time.monotonic() - began < 40


@pytest.mark.parametrize("error", [None, *ERRORS])
def test_a_killed_holder_leaves_no_lock(tmp_path, start, request, error):
    """Also the soft lock of a process that is gone from this machine is taken over."""
    environment = request.getfixturevalue("without_flock")(error) if error else {}
    path = tmp_path / ".lock"
    process = start(HOLD, path, **environment)
    assert process.stdout.readline() == f"{error is not None}\n"
    output, errors = said(start(TAKE, path, **environment))
    assert output.startswith(f"{path} is held by process {process.pid} on {socket.gethostname()}")
    why = f"no flock ({os.strerror(getattr(errno, error))}): .lock.soft is the lock" if error else ""
    assert why in errors and bool(errors) == bool(error)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert said(start(TAKE, path, **environment))[0] == "free"
    assert not (tmp_path / ".lock.soft").exists()


def test_a_soft_lock_of_another_machine_is_named_with_the_remedy(tmp_path, start, without_flock):
    marker = tmp_path / ".lock.soft"
    marker.write_text("12\nn7.cluster\n99\n")
    for environment in ({}, without_flock("ENOSYS")):  # also where this machine has flock and the other has not
        output, _ = said(start(TAKE, tmp_path / ".lock", **environment))
        assert output == (
            f"{tmp_path}/.lock is held by process 12 on n7.cluster (if that process is gone, remove {marker})"
        )
        assert locking.look(tmp_path / ".lock") == (True, locking.Holder(12, "n7.cluster"))
    marker.unlink()
    assert said(start(TAKE, tmp_path / ".lock"))[0] == "free"


def test_a_soft_lock_whose_number_another_process_has_now_is_taken_over(tmp_path, monkeypatch):
    """The machine was booted again, or numbers went round: when the process began tells them apart."""
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    path = tmp_path / ".lock"
    lock = locking.acquire(path)
    lines = (tmp_path / ".lock.soft").read_text().splitlines()
    lock.release()
    (tmp_path / ".lock.soft").write_text("\n".join([str(os.getppid()), lines[1], "1"]) + "\n")
    locking.acquire(path).release()
    assert not (tmp_path / ".lock.soft").exists()


def test_a_soft_lock_that_was_half_written_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    (tmp_path / ".lock.soft").write_text("12")
    locking.acquire(tmp_path / ".lock").release()


def test_what_is_no_lock_says_why(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(locking.LockError, match="file/.lock cannot be locked: "):
        locking.acquire(tmp_path / "file" / ".lock")
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(locking.LockError, match=r"\.lock cannot be locked: Input/output error"):
        locking.acquire(tmp_path / ".lock")


def test_those_who_only_look_do_not_take_each_other_for_a_holder(tmp_path, monkeypatch):
    """The name that a killed holder left in the file must not come to life because two look at once."""
    import filelock

    path = tmp_path / ".lock"
    path.write_text(f"{2**22 + 7}\n{socket.gethostname()}\n")  # above the largest number of a process
    other = filelock.FileLock(path, thread_local=False)
    other.acquire()
    monkeypatch.setattr(locking.time, "sleep", lambda seconds: other.release())  # the other ends its look now
    assert locking.look(path) == (False, None)
    assert path.read_text() == ""


def test_a_lock_that_may_only_be_read_tells_its_holder(tmp_path, monkeypatch):
    """As in another person's sweep."""
    path = tmp_path / ".lock"
    path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
    refused = locking.LockError("Permission denied")
    monkeypatch.setattr(locking, "_acquire", lambda *_: (_ for _ in ()).throw(refused))
    assert locking.look(path) == (True, locking.Holder(os.getpid(), socket.gethostname()))
    path.write_text(f"{2**22 + 7}\n{socket.gethostname()}\n")
    assert not locking.look(path)[0]
