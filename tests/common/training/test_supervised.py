"""The loop: what it computes, and that a killed run ends to the bit as one that was left alone."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from common import app
from common.runs import metrics, run_directory
from common.training import supervised

TOY = pathlib.Path(__file__).parents[1] / "toy_verb.py"


def count_step(state, batch):
    """Keeps a count of every example and a weighted sum that depends on their order."""
    seen = state["seen"].at[batch].add(1)
    return {"seen": seen, "order": state["order"] * 3 + batch[0].astype(jnp.uint32)}, {"first": batch[0], "one": 1.0}


def count_state(size):
    return {"seen": jnp.zeros(size, jnp.int32), "order": jnp.zeros((), jnp.uint32)}


def test_every_epoch_visits_every_example_once_in_an_order_of_its_own(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    state = supervised.train(
        run, count_step, count_state(12), np.arange(12), supervised.Plan(epochs=3, batch_size=4, seed=0)
    )
    np.testing.assert_array_equal(state["seen"], np.full(12, 3))
    orders = [supervised.permutation(0, epoch, 100) for epoch in range(3)]
    assert len({order.tobytes() for order in orders}) == 3
    np.testing.assert_array_equal(orders[1], supervised.permutation(0, 1, 100))
    assert not np.array_equal(orders[1], supervised.permutation(1, 1, 100))
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_order_is_the_same_on_every_machine():
    assert supervised.permutation(7, 2, 8).tolist() == [6, 0, 2, 3, 7, 5, 1, 4]


def test_rows_are_means_since_the_row_before(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    supervised.train(
        run,
        count_step,
        count_state(10),
        np.arange(10),
        supervised.Plan(epochs=2, batch_size=2, seed=0, log_every=3, evaluate_every=2),
        evaluate=lambda state: {"visits": state["seen"].sum()},
    )
    columns, rows = metrics.read(tmp_path / "metrics.csv")
    assert columns == ["step", "first", "one", "visits"]
    assert [row["step"] for row in rows] == ["3", "5", "6", "9", "10"]
    firsts = [supervised.permutation(0, epoch, 10)[::2] for epoch in range(2)]
    means = [firsts[0][:3].mean(), firsts[0][3:].mean(), firsts[1][:1].mean(), firsts[1][1:4].mean(), firsts[1][4]]
    np.testing.assert_allclose([float(row["first"]) for row in rows], means, rtol=1e-6)
    assert {row["one"] for row in rows} == {"1.0"}
    assert [row["visits"] for row in rows] == ["", "", "", "", "20"]


def test_caller_keeps_the_state_it_gave(tmp_path):
    state = count_state(4)
    supervised.train(
        run_directory.open_for_test(tmp_path),
        count_step,
        state,
        np.arange(4),
        supervised.Plan(epochs=1, batch_size=2, seed=0),
    )
    np.testing.assert_array_equal(state["seen"], np.zeros(4))


def test_refusals(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    common = {"epochs": 1, "seed": 0}
    with pytest.raises(ValueError, match=r"different lengths \[3, 4\]"):
        supervised.train(run, count_step, {}, (np.zeros(3), np.zeros(4)), supervised.Plan(**common, batch_size=2))
    with pytest.raises(ValueError, match="batch_size 5: expected 1 to 4"):
        supervised.train(run, count_step, count_state(4), np.arange(4), supervised.Plan(**common, batch_size=5))
    with pytest.raises(ValueError, match=r"metric 'rows' has shape \[2\]"):
        supervised.train(
            run, lambda s, b: (s, {"rows": b}), count_state(4), np.arange(4), supervised.Plan(**common, batch_size=2)
        )
    with pytest.raises(ValueError, match=r"turns state\['order'\] from uint32 \(\) into int32 \(\)"):
        drift = lambda state, batch: (state | {"order": batch[0]}, {})  # noqa: E731
        supervised.train(run, drift, count_state(4), np.arange(4), supervised.Plan(**common, batch_size=2))
    with pytest.raises(ValueError, match="a state of the structure that it was given"):
        supervised.train(
            run, lambda s, b: (s["seen"], {}), count_state(4), np.arange(4), supervised.Plan(**common, batch_size=2)
        )


def test_finished_training_is_not_repeated(tmp_path):
    calls = []
    for _ in range(2):
        state = supervised.train(
            run_directory.open_for_test(tmp_path),
            count_step,
            count_state(4),
            np.arange(4),
            supervised.Plan(epochs=2, batch_size=2, seed=0),
            evaluate=lambda state: calls.append(1) or {},
        )
    np.testing.assert_array_equal(state["seen"], np.full(4, 2))
    assert len(calls) == 2


def test_sigterm_writes_a_checkpoint_and_the_next_call_goes_on(tmp_path):
    def evaluate(state):
        if int(state["seen"].sum()) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    options = {"epochs": 3, "batch_size": 2, "seed": 0}
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(app.Preempted, match="checkpoint written after step 4 of 6"):
        supervised.train(
            run_directory.open_for_test(tmp_path / "a"),
            count_step,
            count_state(4),
            np.arange(4),
            supervised.Plan(**options),
            evaluate=evaluate,
        )
    assert signal.getsignal(signal.SIGTERM) is before
    arguments = (count_step, count_state(4), np.arange(4))
    resumed = supervised.train(run_directory.open_for_test(tmp_path / "a"), *arguments, supervised.Plan(**options))
    straight = supervised.train(run_directory.open_for_test(tmp_path / "b"), *arguments, supervised.Plan(**options))
    assert int(resumed["order"]) == int(straight["order"])
    assert (tmp_path / "a" / "metrics.csv").read_text() == (tmp_path / "b" / "metrics.csv").read_text()


def start(root, *arguments):
    command = [sys.executable, str(TOY), "--noreport", *arguments]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def complete(root, *arguments):
    with start(root, *arguments) as process:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
    return output, errors


def kill_in_training(root, path, pattern, pause, *arguments):
    """Starts the toy, kills it `pause` seconds after files like `pattern` change; returns whether it was at work."""

    def state():
        with contextlib.suppress(FileNotFoundError):
            return sorted((item.name, item.stat().st_mtime_ns) for item in path.glob(pattern))

    before = state()
    with start(root, f"--run_dir={path}", *arguments) as process:
        while process.poll() is None and state() in (before, None, []):
            time.sleep(0.01)
        time.sleep(pause)
        process.kill()
        process.wait()
    return not (path / "result.json").exists()


def assert_equal_runs(left, right):
    for name in ("result.json", "metrics.csv"):
        assert (left / name).read_bytes() == (right / name).read_bytes()


def test_killed_run_ends_to_the_bit_like_one_left_alone(tmp_path, request):
    root, flags = request.config.rootpath, ("--epochs=60", "--checkpoint_steps=101")
    complete(root, f"--run_dir={tmp_path / 'straight'}", *flags)
    killed = tmp_path / "killed"
    assert kill_in_training(root, killed, "checkpoints/0*[0-9]", 0.02, *flags)
    _, errors = complete(root, f"--run_dir={killed}", *flags)
    assert "resumed after step" in errors
    assert_equal_runs(tmp_path / "straight", killed)


@pytest.mark.slow
def test_ten_random_kills(tmp_path, request):
    root, flags = request.config.rootpath, ("--epochs=300", "--checkpoint_steps=501")
    complete(root, f"--run_dir={tmp_path / 'straight'}", *flags)
    generator, killed, kills = random.Random(0), tmp_path / "killed", 0
    while kills < 10:
        if kill_in_training(root, killed, "metrics.csv", generator.uniform(0, 1.0), *flags):
            kills += 1
        else:  # finished early: again from the start, the kills so far count
            assert_equal_runs(tmp_path / "straight", killed)
            killed = tmp_path / f"killed{kills}"
    complete(root, f"--run_dir={killed}", *flags)
    assert_equal_runs(tmp_path / "straight", killed)


def test_exit_code_after_sigterm_asks_to_be_started_again(tmp_path, request):
    with start(request.config.rootpath, f"--run_dir={tmp_path}", "--epochs=2000") as process:
        while process.poll() is None and not (tmp_path / "metrics.csv").exists():
            time.sleep(0.01)
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == app.EXIT_PREEMPTED == 75, errors
    assert "the same command goes on from here" in errors
    assert '"status": "interrupted"' in (tmp_path / "meta.json").read_text()
