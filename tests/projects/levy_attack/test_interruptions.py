"""What was asked is paid for, once: victims that fail, interruptions, kills, and budgets that grow."""

import dataclasses
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest

from kernels.boundary_attack import AttackConfig, device_loop
from projects.levy_attack.attack import attack
from tests.kernels.boundary_attack.linear import Linear
from tests.kernels.boundary_attack.test_attack import equal

VICTIM = Linear(30, classes=3)
CONFIG = AttackConfig(alpha=1.5, noise="length", budget=400, batch_size=8, chunk=100, start_trials=200)
IMAGES = 5


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def service():
    """A victim behind HTTP that answers with 503 once it has given `allowance` labels; counts the images it saw."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            images = np.array(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.server.images += len(images)
            if self.server.images > self.server.allowance:
                self.send_error(503)
                return
            body = json.dumps(VICTIM.on_host(images).tolist()).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.images, server.allowance = 0, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def over_http(server):
    def predict(images):
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}", json.dumps(images.tolist()).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return np.array(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            error.close()
            raise

    return predict


class Failing:
    """A callable of the host that does something instead of answering its n-th call."""

    def __init__(self, call, action):
        self.call, self.action, self.calls, self.images = call, action, 0, 0

    def __call__(self, images):
        self.calls += 1
        self.images += len(images)
        if self.calls == self.call:
            self.action()
        return VICTIM.on_host(images)


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize("has_ledger", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_service_that_fails_is_asked_no_more_than_the_budget(tmp_path, service, has_ledger):
    """Seen: nothing was saved, the next call asked again, and 6,000 were counted where the victim saw 10,010."""
    x, labels = VICTIM.images(IMAGES)
    path, predict = tmp_path / "state.npz", over_http(service)
    service.allowance = 800
    with pytest.raises(urllib.error.HTTPError, match="503"):
        attack(predict, x, labels, CONFIG, 5, checkpoint=path)
    assert service.images == 805 and path.exists()
    if not has_ledger:  # a checkpoint that travels alone holds the bill, too
        (tmp_path / "state.npz.asked").unlink()
    service.allowance = 10**9
    result = attack(predict, x, labels, CONFIG, 5, checkpoint=path)
    assert service.images == result.queries.sum() == IMAGES * CONFIG.budget and np.all(result.queries == CONFIG.budget)
    # One query of each image has no answer: what is found is what one query less finds.
    unkilled = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=CONFIG.budget - 1), 5)
    np.testing.assert_array_equal(result.x_adv, unkilled.x_adv)
    np.testing.assert_array_equal(result.distance, unkilled.distance)
    assert not list(tmp_path.glob("*.asked"))
    # The trace counts that query as well: before it as unkilled, after it one query later.
    earlier = result.grid <= 100
    np.testing.assert_array_equal(result.trace[:, earlier], unkilled.trace[:, earlier])
    at_200 = int(np.flatnonzero(result.grid == 200)[0])
    later = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=199), 5)
    np.testing.assert_allclose(result.trace[:, at_200], later.distance, rtol=1e-12)


def test_a_service_that_fails_again_and_again_ends_at_the_budget(tmp_path, service):
    x, labels = VICTIM.images(IMAGES)
    path, predict = tmp_path / "state.npz", over_http(service)
    config, failures = dataclasses.replace(CONFIG, budget=12), 0
    while True:
        try:
            result = attack(predict, x, labels, config, 5, checkpoint=path)
            break
        except urllib.error.HTTPError:
            failures += 1
            assert failures <= 12
    assert failures == 12 and service.images == result.queries.sum() == 12 * IMAGES
    assert set(result.status) == {"no_start"} and np.all(np.isinf(result.distance))
    service.allowance = 10**9  # with more money the same attack goes on
    grown = attack(predict, x, labels, dataclasses.replace(CONFIG, budget=112), 5, checkpoint=path)
    assert np.all(grown.queries == 112) and service.images == 112 * IMAGES
    np.testing.assert_array_equal(
        grown.x_adv, attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=100), 5).x_adv
    )
    assert np.all(np.isinf(grown.trace[:, grown.grid <= 10])), "marks that failures passed are infinite, not missing"


def test_marks_that_failures_pass_hold_the_best_so_far(tmp_path):
    """Four failures in a row around query 200: no answer belongs to the mark itself."""
    calls = [0]

    def predict(images):
        calls[0] += 1
        if 199 <= calls[0] <= 202:
            raise OSError("503")
        return VICTIM.on_host(images)

    x, labels = VICTIM.images(IMAGES)
    for _ in range(4):
        with pytest.raises(OSError, match="503"):
            attack(predict, x, labels, CONFIG, 5, checkpoint=tmp_path / "state.npz")
    result = attack(predict, x, labels, CONFIG, 5, checkpoint=tmp_path / "state.npz")
    at_200 = int(np.flatnonzero(result.grid == 200)[0])
    before = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=198), 5)
    np.testing.assert_allclose(result.trace[:, at_200], before.distance, rtol=1e-12)
    after = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=396), 5)
    np.testing.assert_array_equal(result.x_adv, after.x_adv)


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit", "SIGINT", "SIGTERM", "labels"])
@pytest.mark.parametrize("call", [1, *(pytest.param(call, marks=pytest.mark.slow) for call in (2, 150))])
def test_an_interruption_keeps_what_was_paid_for(tmp_path, kind, call):
    def end(number, frame):
        raise SystemExit(75)

    actions = {
        "KeyboardInterrupt": (KeyboardInterrupt, raising(KeyboardInterrupt())),
        "SystemExit": (SystemExit, raising(SystemExit(3))),
        "SIGINT": (KeyboardInterrupt, lambda: signal.raise_signal(signal.SIGINT)),
        "SIGTERM": (SystemExit, lambda: signal.raise_signal(signal.SIGTERM)),
        "labels": (ValueError, raising(ValueError("no integer labels"))),
    }
    error, action = actions[kind]
    x, labels = VICTIM.images(IMAGES)
    predict, path = Failing(call, action), tmp_path / "state.npz"
    # A process that a shell started in the background ignores SIGINT.
    handlers = {signal.SIGTERM: end, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with pytest.raises(error):
            attack(predict, x, labels, CONFIG, 5, checkpoint=path, on_device=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    result = attack(predict, x, labels, CONFIG, 5, checkpoint=path, on_device=False)
    assert predict.images == result.queries.sum() and np.all(result.queries == CONFIG.budget)
    expected = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=CONFIG.budget - 1), 5)
    np.testing.assert_array_equal(result.x_adv, expected.x_adv)


def test_the_error_is_the_victims_own(tmp_path):
    cause = OSError("cable")
    error = RuntimeError("service")
    error.__cause__ = cause
    x, labels = VICTIM.images(2)
    with pytest.raises(RuntimeError, match="service") as caught:
        attack(Failing(30, raising(error)), x, labels, CONFIG, 5, checkpoint=tmp_path / "state.npz")
    assert caught.value is error and error.__cause__ is cause
    with pytest.raises(RuntimeError, match="service"):
        attack(Failing(30, raising(error)), x, labels, CONFIG, 5)


KILLED = """
import os, sys
import jax, numpy as np
from kernels.boundary_attack import AttackConfig, device_loop
from projects.levy_attack.attack import attack
from tests.kernels.boundary_attack.linear import Linear
jax.config.update("jax_enable_x64", True)
victim, calls = Linear(30, classes=3), [0]

def predict(images):
    calls[0] += 1
    if calls[0] == 141:
        os._exit(9)  # nothing is caught, nothing is written
    return victim.on_host(images)

config = AttackConfig(alpha=1.5, noise="length", budget=400, batch_size=8, chunk=100, start_trials=200)
attack(predict, *victim.images(5), config, 5, checkpoint=sys.argv[1], on_device=False)
"""


@pytest.mark.slow
def test_a_kill_that_nobody_sees_is_counted_too(tmp_path):
    root = pathlib.Path(__file__).resolve().parents[3]
    path = tmp_path / "state.npz"
    command = [sys.executable, "-c", KILLED, str(path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 9, done.stderr
    x, labels = VICTIM.images(IMAGES)
    predict = Failing(0, None)
    result = attack(predict, x, labels, CONFIG, 5, checkpoint=path, on_device=False)
    assert 141 * IMAGES + predict.images == result.queries.sum() == IMAGES * CONFIG.budget
    expected = attack(VICTIM.on_host, x, labels, dataclasses.replace(CONFIG, budget=CONFIG.budget - 141), 5)
    np.testing.assert_array_equal(result.x_adv, expected.x_adv)


def test_a_ledger_of_another_attack_is_refused(tmp_path):
    x, labels = VICTIM.images(2)
    path = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        attack(Failing(30, raising(KeyboardInterrupt())), x, labels, CONFIG, 5, checkpoint=path)
    path.unlink()
    with pytest.raises(ValueError, match=r"state.npz.asked counts the queries of another attack.*remove it"):
        attack(Failing(0, None), x, labels, CONFIG, 6, checkpoint=path)
    predict = Failing(0, None)
    result = attack(predict, x, labels, CONFIG, 5, checkpoint=path)  # the state is lost, the bill is not
    assert predict.images + 60 == result.queries.sum()


def test_compiled_code_that_fails_keeps_the_last_chunk(tmp_path, monkeypatch):
    x, labels = VICTIM.images(IMAGES)
    path, calls, advance = tmp_path / "state.npz", [0], device_loop.advance

    def failing(*arguments):
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(device_loop, "advance", failing)
    with pytest.raises(KeyboardInterrupt):
        attack(VICTIM.predict, x, labels, CONFIG, 5, checkpoint=path, on_device=True)
    counts = []
    resumed = attack(
        VICTIM.predict,
        x,
        labels,
        CONFIG,
        5,
        checkpoint=path,
        on_device=True,
        on_chunk=lambda p: counts.append(p.queries),
    )
    assert counts[0] == 200 * IMAGES
    equal(resumed, attack(VICTIM.predict, x, labels, CONFIG, 5, on_device=True))


@pytest.mark.parametrize("predict", [VICTIM.predict, VICTIM.on_host], ids=["device", "host"])
def test_a_budget_may_grow_and_not_shrink(tmp_path, predict):
    """A search, a bisection and a walk that their budgets ended go on as if they had had more from the start.

    (Unless the last step before the end was one that asks twice: with one query left it asks once.)
    """
    x, labels = VICTIM.images(IMAGES)
    path = tmp_path / "state.npz"
    for budget in (1, 6, 40, 153, 400):
        config = dataclasses.replace(CONFIG, budget=budget)
        grown = attack(predict, x, labels, config, 5, checkpoint=path)
        equal(grown, attack(predict, x, labels, config, 5))
        equal(attack(predict, x, labels, config, 5, checkpoint=path), grown)
    with pytest.raises(ValueError, match="has a budget of 400 queries and settings one of 399"):
        attack(predict, x, labels, dataclasses.replace(CONFIG, budget=399), 5, checkpoint=path)


def test_a_file_that_is_damaged_or_of_another_attack_is_refused(tmp_path):
    x, labels = VICTIM.images(2)
    path = tmp_path / "state.npz"
    attack(VICTIM.on_host, x, labels, CONFIG, 5, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint .*another attack.*remove it"):
        attack(VICTIM.on_host, x, labels, CONFIG, 6, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="checkpoint.*remove it"):
        attack(VICTIM.on_host, x, labels, CONFIG, 5, checkpoint=path)
