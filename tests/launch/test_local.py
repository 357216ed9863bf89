"""This machine as an engine: several processes, losses, stopping, detached runners, nothing left behind."""

import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest

from common.runs import metrics
from launch import local, records, sweep
from tests.launch.conftest import processes_with, start, until

TOY, LIGHT = "tests.launch.toy", "tests.launch.light"
LONG = ("--x64", "--epochs=40", "--noreport")


def rows_of(path):
    return metrics.read(pathlib.Path(path) / "metrics.csv")[1]


def ends_of(path):
    (job,) = sweep.load(path).jobs
    return [(entry["outcome"], entry["again"]) for entry in records.attempts(job) if entry["event"] == "end"]


def at_work(path):
    until(lambda: (path / "metrics.csv").exists() and len(rows_of(path)) >= 5, 120, "the first steps")


@pytest.mark.slow
def test_two_processes_one_killed_then_stopped_end_like_one_left_alone(launch, tmp_path):
    """A loss, a restart, a stop from outside, and the rest by one process: the curve of one process, to 1e-9."""
    assert launch("--", TOY, *LONG, f"--run_dir={tmp_path / 'alone'}")[0] == 0
    path = tmp_path / "shared"
    flags = ("--processes_per_node=2", "--", TOY, *LONG, f"--run_dir={path}")
    with start(*flags, "--kill_rank=0", "--pause=0.1") as process:
        until(lambda: (path / "launch" / "killed").exists(), 120, "the loss")
        until(lambda: len(rows_of(path)) >= 13, 120, "going on after the loss")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command goes on from the checkpoints" in errors
    assert ends_of(path) == [("lost", True), ("preempted", False)]
    assert not processes_with(str(path))
    assert 13 <= len(rows_of(path)) < 200
    code, _, errors = launch(*flags[1:])
    assert code == 0 and "resumed after step" in errors and "processes = 1" in errors
    actual, expected = ([float(row["loss"]) for row in rows_of(folder)] for folder in (path, tmp_path / "alone"))
    assert len(actual) == 200
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=0)


def test_losses_are_bounded(launch, tmp_path):
    path = tmp_path / "run"
    flags = ("--max_restarts=1", "--", TOY, "--noreport", "--kill_rank=0", "--kill_always", f"--run_dir={path}")
    code, _, errors = launch(*flags)
    assert code == 1 and ends_of(path) == [("lost", True), ("lost", False)]
    assert "1 job: 1 lost" in errors and "killed by signal 9" in launch("status", path)[1]


def test_detached_sweep_is_seen_and_cancelled(launch, tmp_path):
    folder = tmp_path / "s"
    flags = ("--sweep=seed=0,1,2", f"--sweep_dir={folder}", "--parallel=2", "--", TOY, "--epochs=5000", "--pause=0.2")
    code, output, errors = launch("--detach", *flags)
    assert code == 0 and output.strip() == str(folder) and "launch.run status" in errors
    at_work(folder / "seed=0")
    code, output, _ = launch("status", folder)
    assert "3 jobs: 2 running, 1 queued" in output and "step" in output
    assert "0 finished before, 3 under way, 0 to submit" in launch("--detach", *flags)[2]
    assert launch("wait", folder, "--timeout=0.5")[0] == 75
    code, _, errors = launch("--overwrite", *flags)
    assert code == 2 and "3 jobs are under way" in errors
    began = time.monotonic()
    code, _, errors = launch("cancel", folder)
    assert code == 0 and "cancelled 3 jobs; 3 jobs: 3 cancelled" in errors and time.monotonic() - began < 30
    until(lambda: not processes_with(str(folder)), 5, "the end of all processes, the runner's too")
    assert (folder / "seed=0" / "checkpoints").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_launcher_that_is_killed_leaves_no_process(tmp_path, processes):
    path = tmp_path / "run"
    flags = (f"--processes_per_node={processes}", "--", TOY, "--epochs=5000", "--pause=0.2", f"--run_dir={path}")
    with start(*flags) as process:
        at_work(path)
        assert len(processes_with(str(path))) == 1 + processes
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not processes_with(str(path)), 10, "the end of its jobs")


def test_killed_launcher_is_told_as_a_loss(launch, tmp_path):
    path = tmp_path / "run"
    with start("--", TOY, "--epochs=5000", "--pause=0.2", f"--run_dir={path}") as process:
        at_work(path)
        process.kill()
        process.communicate(timeout=30)
    assert "ended without a word" in launch("status", path)[1]
    assert local.runner(records.submissions(sweep.load(path))[0]) is None


def test_ctrl_c_stops_at_a_checkpoint(tmp_path):
    path = tmp_path / "run"
    with start("--", TOY, "--epochs=5000", "--pause=0.2", f"--run_dir={path}") as process:
        at_work(path)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 75 and "stopping the jobs at their next checkpoint" in errors
    assert ends_of(path) == [("preempted", False)] and not processes_with(str(path))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_process_that_ends_badly_takes_its_peer_along(tmp_path, monkeypatch, order):
    import sys
    import threading

    from launch import processes

    monkeypatch.setattr(processes, "PEER_SECONDS", 0.3)
    program = "import os, time; time.sleep(60 * int(os.environ['LATE'])); raise SystemExit(3)"
    environments = [{"LATE": str(late)} for late in order]
    began = time.monotonic()
    codes = processes.run_group(
        [sys.executable, "-c", program], environments, tmp_path / "log", "/", threading.Event(), 9
    )
    assert sorted(codes) == [-9, 3] and codes[order.index(0)] == 3 and time.monotonic() - began < 10


def test_stubborn_jobs_are_killed_after_their_grace(tmp_path):
    import sys
    import threading

    from launch import processes

    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    stop, log = threading.Event(), tmp_path / "log"

    def stop_when_both_are_up():  # before that the signal would end them
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline and (not log.exists() or log.read_text() != "up\nup\n"):
            time.sleep(0.05)
        stop.set()

    waiting = threading.Thread(target=stop_when_both_are_up)
    waiting.start()
    codes = processes.run_group([sys.executable, "-c", program], [{}, {}], log, "/", stop, 0.5)
    waiting.join()
    assert codes == [-9, -9] and log.read_text() == "up\nup\n"


def test_children_of_jobs_end_with_them(tmp_path):
    import sys
    import threading

    from launch import processes

    mark = f"sleep {300 + os.getpid() / 1e7:.6f}"
    program = f"import subprocess; subprocess.Popen({mark.split()!r})"
    assert processes.run_group([sys.executable, "-c", program], [{}], tmp_path / "log", "/", threading.Event(), 1) == [
        0
    ]
    until(lambda: not processes_with(mark.split()[1]), 5, "the end of the child")


def test_loopback_processes_share_the_gpus_of_their_job():
    from launch import processes

    first, second = processes.loopback_environments(2, ["4", "5", "6", "7"])
    assert first["CUDA_VISIBLE_DEVICES"] == second["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
    assert (first["JAX_LOCAL_DEVICE_IDS"], second["JAX_LOCAL_DEVICE_IDS"]) == ("0,1", "2,3")
    assert first["JAX_COORDINATOR_ADDRESS"] == second["JAX_COORDINATOR_ADDRESS"]
    alone = {"JAX_NUM_PROCESSES": "1"}  # also where the variables of a cluster are around
    assert processes.loopback_environments(1) == [alone]
    assert processes.loopback_environments(1, ["3"]) == [alone | {"CUDA_VISIBLE_DEVICES": "3"}]


@pytest.mark.slow
def test_random_kills_of_random_workers_change_nothing(launch, tmp_path):
    """Two processes, one of them killed again and again, at any moment: while joining, training, writing."""
    generator = random.Random(0)
    flags = ("--processes_per_node=2", "--max_restarts=20", "--", TOY, *LONG, "--pause=0.05")
    assert launch(*flags, f"--run_dir={tmp_path / 'straight'}")[0] == 0
    path, kills = tmp_path / "killed", 0
    with start(*flags, f"--run_dir={path}") as process:
        while process.poll() is None and kills < 6:
            time.sleep(generator.uniform(1.0, 7.0))
            workers = [identity for identity in processes_with(str(path)) if identity != process.pid]
            if len(workers) == 2 and not (path / "result.json").exists():
                os.kill(generator.choice(workers), signal.SIGKILL)
                kills += 1
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert kills >= 3 and [outcome for outcome, _ in ends_of(path)].count("lost") == kills
    for name in ("metrics.csv", "result.json"):
        assert (path / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
