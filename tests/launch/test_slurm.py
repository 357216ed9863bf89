"""On a real Slurm in a box: arrays, two nodes, preemption, a killed worker, cancelling, a wrong command."""

import json
import os
import pathlib
import signal
import sys
import threading

import numpy as np
import pytest

from common.runs import metrics
from launch import processes, records, sweep
from tests.host_devices import xla_flags
from tests.launch.conftest import ROOT, processes_with, until

TOY, LIGHT = "tests.launch.toy", "tests.launch.light"
WAIT = ("--timeout=120", "--interval=0.5")
LONG = ("--x64", "--epochs=40", "--noreport")  # 200 steps in float64
SHORT = ("--epochs=4", "--noreport")  # 20 steps in float32


def finish(launch, box, folder, code=0):
    """Waits for a sweep; when it ends otherwise than expected, tells all there is to know."""
    actual, output, errors = launch("wait", folder, *WAIT)
    if actual != code:
        logs = {str(path): path.read_text()[-2000:] for path in folder.rglob("*.log")}
        logs |= {str(path): path.read_text()[-2000:] for path in folder.rglob("launch/log.txt")}
        logs["slurmctld"] = (box.folder / "slurmctld.log").read_text()[-3000:]
        text = "".join(f"\n--- {name}\n{log}" for name, log in logs.items())
        pytest.fail(f"wait: {actual} instead of {code}\n{output}{errors}{box.command('squeue', '--states=all')}{text}")


def rows_of(path):
    return metrics.read(pathlib.Path(path) / "metrics.csv")[1]


def attempts_of(path):
    (job,) = sweep.load(path).jobs
    return records.attempts(job)


def ends_of(path):
    return [(entry["outcome"], entry["again"]) for entry in attempts_of(path) if entry["event"] == "end"]


def waiting(box):
    """Whether a job was queued again and is held back."""
    return "BeginTime" in box.command("squeue", "--noheader", "--format=%r")


def at_work(path, rows=5):
    """Waits until a toy has trained some steps."""
    until(lambda: (path / "metrics.csv").exists() and len(rows_of(path)) >= rows, 120, "the first steps")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Runs that nobody disturbs: of one process, and of two on this machine without Slurm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name, count in (("float64", 1), ("shared", 2)):
        run_here(folder / name, count, LONG)
    return folder


def run_here(path, count, flags):
    environments = [own | {"JAX_PLATFORMS": "cpu"} for own in processes.loopback_environments(count)]
    command, log = [sys.executable, "-m", TOY, f"--run_dir={path}", *flags], path.parent / "log"
    codes = processes.run_group(command, environments, log, str(ROOT), threading.Event(), 10)
    assert codes == [0] * count, log.read_text()


def assert_same_curve(actual, expected, tolerance, steps):
    assert len(actual) == len(expected) == steps
    for name in ("loss", "whole_loss"):
        left, right = ([float(row[name]) for row in rows if row[name]] for rows in (actual, expected))
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=0)


def assert_same_run(path, undisturbed):
    """To the bit: what was computed, and what was told on the way."""
    for name in ("metrics.csv", "result.json"):
        assert (path / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_sweep_is_one_array_and_gives_the_table_of_the_local_engine(launch, box, tmp_path):
    here, there = tmp_path / "local", tmp_path / 'on slurm, it\'s 100% "quoted"'
    flags = ("--", LIGHT, "--noreport", "--output={run_dir}/it's.txt")
    command = ("--engine=slurm", "--sweep=a=1,2;b=x,yz", f"--sweep_dir={there}", *flags)
    code, output, errors = launch(*command)
    assert code == 0 and "submitted 4 jobs to Slurm as " in errors and output.strip() == str(there)
    assert launch(*command)[2].startswith("0 finished before, 4 under way, 0 to submit")
    finish(launch, box, there)
    tasks = [
        entry["place"].split()[1].split("_") for job in sweep.load(there).jobs for entry in records.attempts(job)[:1]
    ]
    assert len({array for array, _ in tasks}) == 1 and sorted(index for _, index in tasks) == list("0123")
    assert (there / "a=1,b=x" / "it's.txt").read_text() == "x"
    assert launch(*command)[2].startswith("4 finished before, 0 under way, 0 to submit")

    assert launch("--sweep=a=1,2;b=x,yz", f"--sweep_dir={here}", "--parallel=2", *flags)[0] == 0
    for folder in (here, there):
        assert launch("results", folder, "--pareto=third:min,letters:max")[0] == 0
    assert (here / "results.csv").read_bytes() == (there / "results.csv").read_bytes()
    assert (there / "results.csv").read_text().count("finished") == 4


@pytest.mark.slow
def test_two_nodes_train_like_one_process(launch, box, tmp_path, undisturbed):
    path = tmp_path / "float64"
    assert launch("--engine=slurm", "--nodes=2", "--", TOY, *LONG, f"--run_dir={path}")[0] == 0
    finish(launch, box, path)
    assert json.loads((path / "result.json").read_text())["processes"] == 2
    assert_same_curve(rows_of(path), rows_of(undisturbed / "float64"), 1e-9, 200)


@pytest.mark.slow
def test_two_nodes_with_two_devices_each_train_like_one_process(launch, box, tmp_path, monkeypatch):
    path, alone = tmp_path / "float32", tmp_path / "alone"
    run_here(alone, 1, SHORT)
    monkeypatch.setenv("XLA_FLAGS", xla_flags(2))  # and two devices on each of them
    launch("--engine=slurm", "--nodes=2", "--", TOY, *SHORT, f"--run_dir={path}")
    finish(launch, box, path)
    assert json.loads((path / "result.json").read_text())["devices"] == 4
    assert_same_curve(rows_of(path), rows_of(alone), 1e-5, 20)


def test_preempted_job_goes_on_exactly(launch, box, tmp_path, undisturbed):
    path = tmp_path / "run"
    flags = ("--nodes=2", "--sbatch=--exclusive", "--", TOY, *LONG, "--pause=0.15", f"--run_dir={path}")
    assert launch("--engine=slurm", *flags)[0] == 0
    at_work(path)
    box.command("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: waiting(box), 120, "the preemption")
    assert ends_of(path) == [("preempted", True)]
    assert "queued" in launch("status", path)[1]
    rows = len(rows_of(path))
    assert f"SIGTERM: checkpoint written after step {rows} of 200" in (path / "launch" / "log.txt").read_text()
    assert 5 <= rows < 200
    box.release()
    finish(launch, box, path)
    assert ends_of(path) == [("preempted", True), ("finished", False)]
    assert f"resumed after step {rows} of 200" in (path / "launch" / "log.txt").read_text()
    assert_same_run(path, undisturbed / "shared")


def test_killed_worker_stops_its_peer_and_the_job_goes_on_exactly(launch, box, tmp_path, undisturbed):
    path = tmp_path / "run"
    launch("--engine=slurm", "--nodes=2", "--", TOY, *LONG, "--kill_rank=1", f"--run_dir={path}")
    until(lambda: waiting(box), 120, "the queueing after the loss")
    assert ends_of(path) == [("lost", True)]
    assert not processes_with(str(path)), "the peer of a killed worker lives on"
    box.release()
    finish(launch, box, path)
    assert ends_of(path) == [("lost", True), ("finished", False)]
    assert "resumed after step 5 of 200" in (path / "launch" / "log.txt").read_text()
    assert_same_run(path, undisturbed / "shared")
    assert json.loads((path / "result.json").read_text())["processes"] == 2
    assert_same_curve(rows_of(path), rows_of(undisturbed / "float64"), 1e-9, 200)


def test_cancel_leaves_no_process(launch, box, tmp_path):
    path = tmp_path / "run"
    launch("--engine=slurm", "--nodes=2", "--", TOY, "--epochs=2000", "--pause=0.2", f"--run_dir={path}")
    at_work(path)
    assert len(processes_with(str(path))) >= 3, "two workers and srun"
    code, _, errors = launch("cancel", path)
    assert code == 0 and "cancelled 1 job; 1 job: 1 cancelled" in errors
    assert not box.command("squeue", "--noheader").strip()
    until(lambda: not processes_with(str(path)), 5, "the end of all processes")
    assert launch("wait", path, *WAIT)[0] == 75


def test_cancelled_by_slurms_own_command_stays_so(launch, box, tmp_path):
    path = tmp_path / "run"
    launch("--engine=slurm", "--", TOY, "--epochs=2000", "--pause=0.2", f"--run_dir={path}")
    at_work(path)
    box.command("scancel", "--user", box.user)
    assert launch("wait", path, *WAIT)[0] == 75
    assert "1 job: 1 cancelled" in launch("status", path)[1] and not waiting(box)


def test_a_verb_that_does_not_know_sigterm_is_preempted_and_not_lost(launch, box, tmp_path):
    path = tmp_path / "run"
    launch("--engine=slurm", "--", LIGHT, "--sleep=100", f"--run_dir={path}")
    until(lambda: (path / "meta.json").exists(), 60, "its beginning")
    box.command("scancel", "--signal=TERM", "--user", box.user)
    until(lambda: waiting(box), 60, "its queueing")
    assert ends_of(path) == [("preempted", True)] and attempts_of(path)[-1]["codes"] == [143]


def test_wrong_command_fails_with_its_error_in_status_and_alone_starts_again(launch, box, tmp_path):
    folder, source = tmp_path / "s", tmp_path / "weights.npz"
    (tmp_path / "list").write_text(f'{{"a": 1}}\n{{"a": 2, "source": "{source}"}}\n')
    command = (f"--sweep_file={tmp_path}/list", f"--sweep_dir={folder}", "--", LIGHT, "--noreport")
    assert launch("--engine=slurm", *command)[0] == 0
    finish(launch, box, folder, 1)
    code, output, errors = launch("status", folder)
    assert code == 0 and "2 jobs: 1 finished, 1 failed" in output and f"error: {source} does not exist" in output
    assert "resubmit" in errors
    source.write_text("here now")
    assert "1 finished before, 0 under way, 1 to submit" in launch("resubmit", folder)[2]
    finish(launch, box, folder)
    assert [len(records.attempts(job)) for job in sweep.load(folder).jobs] == [2, 4]


def test_a_job_whose_python_is_gone_says_so(launch, box, tmp_path, monkeypatch):
    """It fails before any process of ours begins: only Slurm's own log can tell."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    from launch.submit import LaunchConfig, submit

    path = tmp_path / "run"
    job = sweep.single_job(LIGHT, [], path, "i")
    options = LaunchConfig(engine="slurm")
    made = sweep.Sweep(path, LIGHT, (), os.getcwd(), {"engine": "slurm"}, (job,))
    path.joinpath("launch").mkdir(parents=True)
    assert submit(made, options, [job.name]) == 0
    monkeypatch.undo()
    for name, value in box.environment.items():
        monkeypatch.setenv(name, value)
    assert launch("wait", path, *WAIT)[0] == 1
    assert "/nowhere/python" in launch("status", path)[1]


@pytest.mark.slow
def test_losses_are_bounded(launch, box, tmp_path):
    path = tmp_path / "run"
    flags = ("--max_restarts=1", "--nodes=2", "--", TOY, *LONG, "--kill_rank=0", "--kill_always", f"--run_dir={path}")
    launch("--engine=slurm", *flags)
    until(lambda: waiting(box), 120, "the queueing after the loss")
    box.release()
    assert launch("wait", path, *WAIT)[0] == 1
    assert ends_of(path) == [("lost", True), ("lost", False)]


@pytest.mark.slow
def test_a_job_goes_on_after_its_time_limit(launch, box, tmp_path):
    path = tmp_path / "run"
    flags = ("--time=2", "--grace=20", "--", TOY, "--epochs=4000", "--pause=0.5", f"--run_dir={path}")
    launch("--engine=slurm", *flags)
    until(lambda: waiting(box), 180, "the end of the time limit")
    assert ends_of(path) == [("preempted", True)]
    assert launch("cancel", path)[0] == 0


@pytest.mark.slow
def test_a_batch_script_that_is_killed_is_told(launch, box, tmp_path):
    """As when a machine dies without Slurm queueing the job again: a beginning without an end."""
    path = tmp_path / "run"
    launch("--engine=slurm", "--sbatch=--no-requeue", "--", TOY, "--epochs=2000", "--pause=0.2", f"--run_dir={path}")
    at_work(path)
    for identity in processes_with(f"launch.task\0{path}"):
        os.kill(identity, signal.SIGKILL)
    assert launch("wait", path, *WAIT)[0] == 1
    assert "ended without a word" in launch("status", path)[1]
    until(lambda: not processes_with(str(path)), 30, "the end of all processes")
