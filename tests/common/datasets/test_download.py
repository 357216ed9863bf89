"""Downloads end whole, checked and under their name, or leave nothing there."""

import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.datasets import content, download
from common.datasets.dataset import DamagedDataError

ROOT = Path(__file__).parents[3]
CONTENT = bytes(range(256)) * 4000
BODY = gzip.compress(CONTENT, mtime=0)
QUICK = download.Policy(timeout=2.0, rounds=3, backoff=0.02, lock_timeout=5.0)

# The same resource for a process of its own: arguments are the mirror and the cache.
SCRIPT = f"""
import hashlib, sys
from pathlib import Path
from common.datasets import content, download
from common.datasets.dataset import DamagedDataError
def check(path):
    if content.sha256(path, {len(CONTENT)}) != "{hashlib.sha256(CONTENT).hexdigest()}":
        raise DamagedDataError(str(path) + ": wrong checksum")
path = download.fetch(download.Resource("set", "file.gz", check, 2_000_000), Path(sys.argv[2]), mirror=sys.argv[1])
print(len(content.read(path, {len(CONTENT)})))
"""


def check(path: Path) -> None:
    if content.sha256(path, len(CONTENT)) != hashlib.sha256(CONTENT).hexdigest():
        raise DamagedDataError(f"{path}: wrong checksum")


RESOURCE = download.Resource("set", "file.gz", check, max_bytes=2_000_000)


def fetch(server, cache, **options):
    options = {"mirror": server.url, "policy": QUICK, "progress": lambda *_: None} | options
    return download.fetch(RESOURCE, cache, **options)


def left(cache: Path) -> list[str]:
    """Names of everything in the cache but lock files."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_success_reports_progress_and_is_not_repeated(server, tmp_path):
    server.answer("/set/file.gz", BODY)
    seen = []
    path = fetch(server, tmp_path, progress=lambda *state: seen.append(state))
    assert path.read_bytes() == BODY and left(tmp_path) == ["file.gz"]
    assert seen[-1] == ("file.gz", len(BODY), len(BODY))
    fetch(server, tmp_path)
    assert len(server.requests) == 1


def test_checksum_is_of_the_content_whatever_the_wrapping(server, tmp_path):
    server.answer("/set/file.gz", gzip.compress(CONTENT, compresslevel=1, mtime=12345))
    fetch(server, tmp_path)
    server.answer("/set/file.gz", CONTENT)  # some servers unpack on the way
    fetch(server, tmp_path / "other")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(gzip.compress(CONTENT[:-1] + b"x"), "wrong checksum", id="checksum"),
        pytest.param(b"<html>please log in</html>", "wrong checksum", id="login-page"),
        pytest.param(BODY[: len(BODY) // 2], "damaged or cut short", id="half-a-gzip"),
        pytest.param(
            gzip.compress(CONTENT + bytes(10_000_000)), "more than the 1,024,000 bytes", id="unpacks-too-large"
        ),
        pytest.param(bytes(2_000_001), "at most 2,000,000", id="too-large"),
        pytest.param(None, "HTTP 404", id="missing"),
    ],
)
def test_wrong_content_is_refused_at_once(server, tmp_path, answer, message):
    if answer is not None:
        server.answer("/set/file.gz", answer)
    with pytest.raises(download.DownloadError, match=message) as caught:
        fetch(server, tmp_path)
    assert f"{server.url}/set/file.gz" in str(caught.value) and ".part" not in str(caught.value)
    assert left(tmp_path) == [] and len(server.requests) == 1


def test_too_large_without_a_declared_length_stops_while_it_arrives(server, tmp_path):
    server.answer("/set/file.gz", bytes(50_000_000), declared=-1)
    received = []
    with pytest.raises(download.DownloadError, match="more than the 2,000,000 bytes"):
        fetch(server, tmp_path, progress=lambda _, count, total: received.append(count))
    assert max(received) <= 2_000_000 and left(tmp_path) == []


def test_a_body_cut_short_is_asked_for_again_and_then_reported(server, tmp_path):
    server.answer("/set/file.gz", BODY, declared=len(BODY) + 100)
    with pytest.raises(download.DownloadError, match=f"cut short: {len(BODY):,} of |broke off after {len(BODY):,}"):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.rounds and left(tmp_path) == []


def test_a_server_that_recovers_is_asked_again(server, tmp_path):
    server.answer("/set/file.gz", BODY, statuses=(503, 500))
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert len(server.requests) == 3


def test_a_server_that_stalls_ends_in_bounded_time(server, tmp_path):
    server.answer("/set/file.gz", BODY, pause=60)
    begin = time.monotonic()
    with pytest.raises(download.DownloadError, match="broke off after .* bytes"):
        fetch(server, tmp_path, policy=download.Policy(timeout=0.2, rounds=2, backoff=0.02))
    assert time.monotonic() - begin < 5 and left(tmp_path) == []


def test_the_next_mirror_is_asked(server, tmp_path):
    server.answer("/good/set/file.gz", BODY)
    server.answer("/bad/set/file.gz", b"something else")
    fetch(server, tmp_path, mirror=f"{server.url}/missing, {server.url}/bad,{server.url}/good/")
    assert server.requests == ["/missing/set/file.gz", "/bad/set/file.gz", "/good/set/file.gz"]


def test_a_mirror_may_be_a_folder(tmp_path):
    (tmp_path / "mirror/set").mkdir(parents=True)
    (tmp_path / "mirror/set/file.gz").write_bytes(BODY)
    path = download.fetch(RESOURCE, tmp_path / "cache", mirror=(tmp_path / "mirror").as_uri(), policy=QUICK)
    assert path.read_bytes() == BODY


def test_mirrors_are_http_or_file():
    with pytest.raises(ValueError, match="ftp://somewhere"):
        download.addresses(RESOURCE, "ftp://somewhere")


def test_official_addresses_unless_a_mirror_is_named(monkeypatch):
    resource = download.Resource("set", "file.gz", check, 1, addresses=("https://example.org/file.gz",))
    monkeypatch.delenv("HAVEL_MIRROR")
    assert download.addresses(resource) == ("https://example.org/file.gz",)
    monkeypatch.setenv("HAVEL_MIRROR", "https://lab/data/")
    assert download.addresses(resource) == ("https://lab/data/set/file.gz",)


def test_no_network_is_an_error_in_bounded_time(tmp_path):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        with pytest.raises(download.DownloadError, match="refused"):
            download.fetch(RESOURCE, tmp_path, mirror=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert time.monotonic() - begin < 5 and left(tmp_path) == []


def test_a_damaged_copy_in_the_cache_is_replaced(server, tmp_path, capsys):
    server.answer("/set/file.gz", BODY)
    path = fetch(server, tmp_path)
    path.write_bytes(BODY[:100])
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert "fetching it again" in capsys.readouterr().err


def test_an_interruption_leaves_nothing(server, tmp_path):
    server.answer("/set/file.gz", BODY)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, progress=interrupt)
    assert left(tmp_path) == []


def test_a_full_disk_is_named_and_leaves_nothing(server, tmp_path, monkeypatch):
    server.answer("/set/file.gz", BODY)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(download.DownloadError, match="No space left on device.*HAVEL_CACHE"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [] and len(server.requests) == 1


def test_a_cache_that_is_no_folder_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(download.DownloadError, match="HAVEL_CACHE"):
        fetch(server, tmp_path / "file")


def start(server, cache: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, server.url, str(cache)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_download_leaves_nothing_under_the_name_and_is_cleared_away(server, tmp_path):
    server.answer("/set/file.gz", BODY, pause=60)
    process = start(server, tmp_path)
    assert server.half_sent.wait(30)
    end = time.monotonic() + 10
    while not left(tmp_path) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    names = left(tmp_path)
    assert len(names) == 1 and names[0].endswith(".part")
    server.answer("/set/file.gz", BODY)
    fetch(server, tmp_path)
    assert left(tmp_path) == ["file.gz"]


def test_two_processes_at_once_both_get_it_whole(server, tmp_path):
    server.answer("/set/file.gz", BODY, pause=0.7)
    processes = [start(server, tmp_path) for _ in range(2)]
    results = [process.communicate(timeout=30) for process in processes]
    assert [out.strip() for out, _ in results] == [str(len(CONTENT))] * 2, results
    assert server.requests == ["/set/file.gz"] and left(tmp_path) == ["file.gz"]


def test_two_processes_without_flock_both_get_it_whole(server, tmp_path, without_flock):
    """Where the file system cannot lock, a soft lock lets one of them fetch."""
    server.answer("/set/file.gz", BODY, pause=0.7)
    processes = [start(server, tmp_path, **without_flock("ENOSYS")) for _ in range(2)]
    results = [process.communicate(timeout=30) for process in processes]
    assert [out.strip() for out, _ in results] == [str(len(CONTENT))] * 2, results
    assert "has no flock" in results[0][1] and server.requests == ["/set/file.gz"] and left(tmp_path) == ["file.gz"]


def test_waiting_for_a_lock_ends(server, tmp_path):
    message = f"process {os.getpid()} on .* has held .*file.gz.lock for 0 s"
    with download.alone(tmp_path / "set/file.gz", timeout=1):
        with pytest.raises(download.DownloadError, match=message):
            fetch(server, tmp_path, policy=download.Policy(lock_timeout=0.2))
