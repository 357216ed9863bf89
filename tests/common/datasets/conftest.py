"""A web server on loopback that misbehaves on request, and an environment without the user's data."""

import contextlib
import dataclasses
import http.server
import os
import threading
import time
from pathlib import Path

import pytest

DATA_DIR = os.environ.get("DATA_DIR")  # read before `own_environment` hides it


@dataclasses.dataclass
class Answer:
    """What the server sends for a path.

    Attributes:
      body: the bytes; `declared` overrides Content-Length (None: the truth, -1: no such header).
      statuses: answered first, one a request, before the body is served.
      pause: seconds to wait in the middle of the body.
    """

    body: bytes
    declared: int | None = None
    statuses: tuple[int, ...] = ()
    pause: float = 0.0


@dataclasses.dataclass
class Server:
    """Address, what was asked of it, and the answers by path."""

    url: str
    answers: dict
    requests: list
    half_sent: threading.Event

    def answer(self, path: str, body: bytes, **behaviour) -> None:
        """Serves `body` at `path`; `behaviour` as in Answer."""
        self.answers[path] = Answer(body, **behaviour)


@pytest.fixture
def server():
    """A Server that knows no path until the test names one."""
    answers, requests, half_sent = {}, [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            answer = answers.get(self.path)
            if answer is None:
                return self.send_error(404)
            seen = requests.count(self.path)
            if seen <= len(answer.statuses):
                return self.send_error(answer.statuses[seen - 1])
            self.send_response(200)
            if answer.declared != -1:
                self.send_header("Content-Length", str(answer.declared or len(answer.body)))
            self.end_headers()
            half = len(answer.body) // 2
            with contextlib.suppress(OSError):  # the client may have given up
                self.wfile.write(answer.body[:half])
                self.wfile.flush()
                half_sent.set()
                time.sleep(answer.pause)
                self.wfile.write(answer.body[half:])

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.block_on_close = False
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{web.server_port}", answers, requests, half_sent)
    web.shutdown()
    web.server_close()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """No data folder, an empty cache, an unreachable mirror, no proxy: a test asks for what it needs."""
    for name in ("DATA_DIR", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HAVEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HAVEL_MIRROR", "http://127.0.0.1:9")


@pytest.fixture
def real_data():
    """A function from a file's place in the data folder to its path; skips the test when it is not there."""

    def place(relative: str) -> Path:
        path = Path(DATA_DIR or "/nowhere") / relative
        if not path.is_file():
            pytest.skip(f"needs {relative} below DATA_DIR ({'not set' if not DATA_DIR else DATA_DIR})")
        return path

    return place
