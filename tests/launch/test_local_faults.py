"""Faults of this machine: places and locks that launches share, file systems without flock, numbers of dead runners."""

import os
import pathlib
import signal
import socket

import pytest

from common import locking
from launch import local, records, sweep
from tests.launch.conftest import processes_with, start, until
from tests.launch.test_local import LIGHT, TOY, at_work, ends_of

ENDLESS = ("--epochs=5000", "--pause=0.2", "--noreport")


def test_parallel_holds_for_the_sweep_over_runners(launch, tmp_path):
    """Two detached launches of one sweep take turns, and devices of the one are not the other's."""
    path = tmp_path / "s"
    options = ("--detach", "--parallel=1", f"--sweep_dir={path}")
    rest = ("--", LIGHT, "--noreport", "--sleep=0.5")
    assert launch(*options, "--sweep=a=1,2", *rest)[0] == 0
    assert launch(*options, "--sweep=a=3", *rest)[0] == 0
    assert launch("wait", path, "--timeout=120")[0] == 0
    entries = [records.attempts(job) for job in sweep.load(path).jobs]
    spans = sorted((job[0]["time"], job[-1]["time"]) for job in entries)
    assert len(spans) == 3
    for (_, before), (after, _) in zip(spans, spans[1:], strict=False):
        assert before <= after, spans


def test_a_taken_run_directory_means_later(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    with locking.held(path / ".lock"):
        process = start("--", LIGHT, "--noreport", f"--run_dir={path}")
        until(lambda: (path / "launch" / "sweep.json").exists() and ends_of(path), 60, "the first try")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "another process has its run directory; tries again in 1 s" in errors
    assert set(ends_of(path)) == {("locked", True), ("finished", False)} and ends_of(path)[-1][0] == "finished"


def test_a_time_too_short_for_a_checkpoint_ends_after_the_second_call(launch, tmp_path):
    path = tmp_path / "run"
    code, _, errors = launch("--", LIGHT, "--noreport", f"--run_dir={path}", "--sleep=60", "--max_seconds=0.1")
    assert code == 1 and ends_of(path) == [("preempted", True), ("failed", False)]
    words = "2 calls in a row came to nothing that another could go on from"
    assert words in errors and words in launch("status", path)[1]


def test_stopping_while_a_run_directory_is_taken_is_not_a_failure(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    with locking.held(path / ".lock"):
        process = start("--", LIGHT, "--noreport", f"--run_dir={path}")
        until(lambda: (path / "launch" / "sweep.json").exists() and ends_of(path), 60, "the first try")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 75


def test_a_second_launcher_is_told_who_the_first_is_and_to_come_later(launch, tmp_path):
    path = tmp_path / "run"
    (path / "launch").mkdir(parents=True)
    with locking.held(path / "launch" / ".lock"):
        code, _, errors = launch("--", LIGHT, f"--run_dir={path}")
    assert code == 75 and f"another launch.run (process {os.getpid()} on {socket.gethostname()}) works on" in errors


@pytest.mark.parametrize("error", ["ENOSYS", pytest.param("ENOLCK", marks=pytest.mark.slow)])
def test_without_flock_a_killed_launch_goes_on(tmp_path, without_flock, error):
    path, environment = tmp_path / "run", without_flock(error)
    flags = ("--", TOY, "--noreport", f"--run_dir={path}")
    with start(*flags, *ENDLESS, **environment) as process:
        at_work(path)
        assert {item.name for item in path.glob(".lock*")} == {".lock", ".lock.soft"}
        (made,) = records.submissions(sweep.load(path))
        assert made.beside(".lock.soft").exists()
        assert local.runner(made) == locking.Holder(process.pid, socket.gethostname())
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not processes_with(str(path)), 10, "the end of its jobs")
    assert local.runner(made) is None
    with start(*flags, "--epochs=4", "--overwrite", **environment) as process:
        assert process.wait(timeout=60) == 2  # --overwrite after the verb is refused, as ever
    with start("--overwrite", *flags, "--epochs=4", **environment) as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "has no flock" in errors and not list(path.rglob("*.soft"))


def test_a_runner_of_another_machine_or_without_a_name_is_never_killed_here(tmp_path, monkeypatch):
    """Number 0 would be this very group of processes."""
    made = records.Submission(tmp_path / "0001.json", 1, "local", {"grace": 1.0}, "/", (), {"host": "n7"})
    monkeypatch.setattr(local.os, "kill", lambda *_: pytest.fail("it killed"))
    for holder in (None, locking.Holder(12, "n7")):
        monkeypatch.setattr(local.locking, "look", lambda path, holder=holder: (True, holder))
        with pytest.raises(sweep.LaunchError, match="process (0|12) on n7; cancel it there"):
            local.cancel(made)


def test_the_number_of_a_dead_runner_that_another_process_has_now_is_left_alone(tmp_path):
    made = records.Submission(tmp_path / "0001.json", 1, "local", {"grace": 1.0}, "/", (), {"host": "here"})
    made.beside(".lock").write_text(f"{os.getpid()}\n{socket.gethostname()}\n")  # the machine was booted again since
    assert local.runner(made) is None
    local.cancel(made)


def test_an_end_without_a_result_is_a_failure_of_the_launch(launch, tmp_path, monkeypatch):
    """Exit code 0 alone proves nothing."""
    monkeypatch.setattr(records, "is_finished", lambda job: False)
    path = tmp_path / "run"
    code, _, errors = launch("--", LIGHT, "--noreport", f"--run_dir={path}")
    assert code == 1 and "left no result.json" in errors and ends_of(path) == [("failed", False)]


def test_a_result_counts_even_if_its_writer_was_killed_right_after(launch, tmp_path, monkeypatch):
    from launch import processes

    path, real = tmp_path / "run", processes.run_group

    def kill(*arguments, **options):
        real(*arguments, **options)
        return [-9]

    monkeypatch.setattr(processes, "run_group", kill)
    assert launch("--", LIGHT, "--noreport", f"--run_dir={path}")[0] == 0
    assert ends_of(path) == [("finished", False)]


def test_a_job_does_not_write_into_the_record_of_a_job_around_it(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("HAVEL_EXIT_CODES", str(tmp_path / "around"))
    (tmp_path / "around").mkdir()
    assert launch("--", LIGHT, "--noreport", f"--run_dir={tmp_path / 'run'}")[0] == 0
    assert not list(pathlib.Path(tmp_path / "around").iterdir())
