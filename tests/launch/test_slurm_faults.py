"""Faults of a cluster on a real Slurm in a box: what the run wrote counts, whatever the programs around it say."""

import os
import pathlib
import shutil

import pytest

from common.runs import run_directory
from launch import records, slurm, sweep
from launch import slurm_commands as commands
from tests.launch.conftest import processes_with, until
from tests.launch.test_slurm import LIGHT, SHORT, TOY, at_work, attempts_of, ends_of, finish, waiting

ENDLESS = ("--epochs=2000", "--pause=0.2", "--noreport")


def starts_of(path):
    return sum(entry["event"] == "start" for entry in attempts_of(path))


def down(box):
    """The machine of the only job goes down, and comes back."""
    identity, node = box.command("squeue", "--noheader", "--states=running", "--format=%i %N").split()
    box.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until(lambda: waiting(box), 60, "the queueing by Slurm")
    until(lambda: not processes_with(f"slurmstepd: [{identity}."), 60, "the end of all that Slurm had started")


def test_a_lost_machine_is_a_loss_that_slurm_queues_again_and_is_counted(launch, box, tmp_path):
    """srun ends with 0 then, and nothing else says that the job has not finished."""
    path = tmp_path / "run"
    command = ("--engine=slurm", "--max_restarts=1", "--", LIGHT, "--sleep=300", f"--run_dir={path}")
    assert launch(*command)[0] == 0
    until(lambda: (path / "meta.json").exists(), 60, "its beginning")
    down(box)
    assert set(ends_of(path)) <= {("lost", "slurm"), ("lost", True)}  # or no end at all
    assert records.losses(*sweep.load(path).jobs, 1, is_over=True) == 1
    assert "1 job: 1 queued" in launch("status", path)[1]
    for again in (command, ("resubmit", path)):
        assert launch(*again)[2].startswith("0 finished before, 1 under way, 0 to submit")
    assert len(records.submissions(sweep.load(path))) == 1
    box.release()
    until(lambda: len(list(path.glob("launch/exit_codes/1.2/*"))) == 1, 60, "its second beginning")
    down(box)
    assert "1 job: 1 queued" in launch("status", path)[1]
    box.release()
    code, output, errors = launch("wait", path, "--timeout=60", "--interval=0.5")
    assert code == 1, output + errors
    assert starts_of(path) == 2
    assert "lost 2 times, with its machine or a process; --max_restarts=1" in launch("status", path)[1]


@pytest.mark.slow
def test_cancel_after_a_lost_machine_leaves_nothing(launch, box, tmp_path):
    path = tmp_path / "run"
    launch("--engine=slurm", "--", TOY, *ENDLESS, f"--run_dir={path}")
    at_work(path)
    down(box)
    assert "cancelled 1 job; 1 job: 1 cancelled" in launch("cancel", path)[2]
    assert not box.command("squeue", "--noheader").strip()


def test_a_taken_run_directory_means_later(launch, box, tmp_path):
    """A machine that hangs still holds the lock when Slurm starts the job elsewhere."""
    path = tmp_path / "run"
    path.mkdir()
    lock = run_directory.locking.acquire(path / run_directory.LOCK)
    launch("--engine=slurm", "--", TOY, *SHORT, f"--run_dir={path}")
    until(lambda: waiting(box), 120, "its queueing")
    assert ends_of(path) == [("locked", True)] and attempts_of(path)[-1]["codes"] == [77]
    output = launch("status", path)[1]
    assert "1 job: 1 queued" in output and f"; error: {path} is being written by process {os.getpid()} on " in output
    lock.release()
    box.release()
    finish(launch, box, path)
    assert ends_of(path) == [("locked", True), ("finished", False)]


def test_a_launch_from_inside_of_an_allocation(launch, box, tmp_path, monkeypatch):
    """What the job around it says of itself is none of the new one's business."""
    around = {"SLURM_JOB_ID": "99", "SLURM_ARRAY_JOB_ID": "98", "SLURM_ARRAY_TASK_ID": "7", "SLURM_MEM_PER_CPU": "100",
              "SLURM_MEM_PER_NODE": "200", "SLURM_CPUS_PER_TASK": "3", "SRUN_CPUS_PER_TASK": "2", "SLURM_NTASKS": "5",
              "SLURM_EXPORT_ENV": "NONE", "SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "JAX_PROCESS_ID": "3",
              "JAX_NUM_PROCESSES": "4", "HAVEL_EXIT_CODES": str(tmp_path / "around")}  # fmt: skip
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "around").mkdir()
    path = tmp_path / "run"
    assert launch("--engine=slurm", "--", LIGHT, "--a=3", "--noreport", f"--run_dir={path}")[0] == 0
    finish(launch, box, path)
    assert (path / "result.json").exists() and not list((tmp_path / "around").iterdir())


def test_a_clean_checkpoint_counts_with_an_environment_of_its_own(launch, box, tmp_path):
    """--export=NONE would keep srun's processes from writing how they end."""
    path = tmp_path / "run"
    launch("--engine=slurm", "--sbatch=--export=NONE", "--", TOY, *ENDLESS, f"--run_dir={path}")
    at_work(path)
    box.command("scancel", "--signal=TERM", "--user", box.user)
    until(lambda: waiting(box), 60, "its queueing")
    assert ends_of(path) == [("preempted", True)] and attempts_of(path)[-1]["codes"] == [75]


def test_sbatch_that_is_cut_off_after_its_job_was_accepted(launch, box, tmp_path, monkeypatch):
    real, folder = shutil.which("sbatch"), tmp_path / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(f'#!/bin/bash\n{real} "$@" > {tmp_path}/answer\nexec sleep 60\n')
    (folder / "sbatch").chmod(0o755)
    path = tmp_path / "s"
    command = ("--engine=slurm", "--sweep=a=1,2", f"--sweep_dir={path}", "--", LIGHT, "--noreport")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setattr(commands, "COMMAND_SECONDS", 4.0)
        code, _, errors = launch(*command)
    identity = (tmp_path / "answer").read_text().strip()
    assert code == 0 and f"submitted 2 jobs to Slurm as {identity}" in errors
    assert set(box.command("squeue", "--noheader", "--states=all", "--format=%F %j").split()) >= {identity}
    finish(launch, box, path)
    names = [line for line in box.command("squeue", "--noheader", "--array", "--states=all", "--format=%j").split()]
    (made,) = records.submissions(sweep.load(path))
    assert names.count(made.handle["name"]) == 2


def test_a_launcher_that_dies_before_sbatchs_answer_is_written_down(launch, box, tmp_path, monkeypatch):
    path = tmp_path / "s"
    command = ("--engine=slurm", "--sbatch=--hold", "--sweep=a=1,2", f"--sweep_dir={path}", "--", LIGHT, "--noreport")
    with monkeypatch.context() as patch:
        patch.setattr(commands, "hand_over", lambda name, words: commands.call("sbatch", *words) and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            launch(*command)
    assert launch(*command)[2].startswith("0 finished before, 2 under way, 0 to submit")
    assert "cancelled 2 jobs; 2 jobs: 2 cancelled" in launch("cancel", path)[2]
    assert not box.command("squeue", "--noheader").strip()


def test_scancel_of_a_queued_job_is_no_failure(launch, box, tmp_path):
    single, many = tmp_path / "run", tmp_path / "s"
    launch("--engine=slurm", "--sbatch=--hold", "--", LIGHT, "--noreport", f"--run_dir={single}")
    launch("--engine=slurm", "--sbatch=--hold", "--sweep=a=1,2,3", f"--sweep_dir={many}", "--", LIGHT, "--noreport")
    (made,) = records.submissions(sweep.load(many))
    box.command("scancel", f"{made.handle['id']}_1")
    assert "3 jobs: 2 queued, 1 cancelled" in launch("status", many)[1]
    box.command("scancel", "--user", box.user)
    assert "1 job: 1 cancelled" in launch("status", single)[1]
    assert "3 jobs: 3 cancelled" in launch("status", many)[1]
    assert launch("wait", many, "--timeout=60", "--interval=0.5")[0] == 75


def spans(folder):
    """Returns when each job of a sweep began and ended."""
    entries = [records.attempts(job) for job in sweep.load(folder).jobs]
    return sorted((job[0]["time"], job[-1]["time"]) for job in entries)


@pytest.mark.slow
def test_parallel_holds_for_the_sweep_over_arrays_and_launches(launch, box, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "_largest_array", lambda: 2)
    path = tmp_path / "s"
    options = ("--engine=slurm", "--parallel=1", f"--sweep_dir={path}")
    rest = ("--", LIGHT, "--noreport", "--sleep=0.5")
    assert launch(*options, "--sweep=a=1,2,3", *rest)[0] == 0
    assert launch(*options, "--sweep=a=4", *rest)[0] == 0
    finish(launch, box, path)
    assert len(records.submissions(sweep.load(path))) == 3
    actual = spans(path)
    assert len(actual) == 4
    for (_, before), (after, _) in zip(actual, actual[1:], strict=False):
        assert before <= after, actual


def test_what_slurm_refuses_is_told_at_the_door(launch, box, tmp_path):
    path = tmp_path / "run"
    code, _, errors = launch("--engine=slurm", "--sbatch=--mem-per-cpu=50G", "--", LIGHT, f"--run_dir={path}")
    assert code == 2 and "sbatch: sbatch: error:" in errors
    assert not records.submissions(sweep.load(path)) and "1 not submitted" in launch("status", path)[1]


@pytest.mark.parametrize(
    ("parallel", "earlier", "throttle"),
    [(8, {}, 8), (8, {"1": 1}, 7), (8, {"1": 4}, 4), (8, {"1": 5}, 8), (1, {"1": 1}, 1), (2, {"1": 1}, 1), (0, {}, 0)],
)
def test_places_that_earlier_arrays_leave(tmp_path, parallel, earlier, throttle):
    from launch.submit import LaunchConfig

    jobs = tuple(sweep.make_jobs(LIGHT, (), [{"a": "1"}, {"a": "2"}], tmp_path))
    made = sweep.Sweep(tmp_path, LIGHT, (), "/", {}, jobs)
    options = LaunchConfig(engine="slurm", parallel=parallel or None, sbatch="--dependency=afterok:7")
    text = slurm.script(slurm.plan(made, made.jobs, options), earlier)
    assert f"#SBATCH --array=0-1{f'%{throttle}' if throttle else ''}\n" in text
    waits = bool(earlier) and throttle == parallel
    assert ("--dependency=afterok:7,afterany:1\n" in text) == waits


def test_a_late_word_of_another_attempt_does_not_count(tmp_path):
    from launch import task

    job = sweep.single_job(LIGHT, [], tmp_path / "run", "i")
    made = records.Submission(tmp_path / "0001.json", 1, "slurm", {}, "/", (job,), {})
    folders = []
    for _ in range(2):
        records.note_start(job, 1, "here")
        folders.append(task._new_reports(made, job))
    assert folders[0] != folders[1] and not folders[0].exists() and not list(folders[1].iterdir())


@pytest.mark.slow
def test_where_flock_is_missing_a_sweep_runs_and_goes_on(launch, box, tmp_path, monkeypatch, without_flock):
    for name, value in without_flock("ENOSYS").items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "run"
    launch("--engine=slurm", "--", TOY, *SHORT, f"--run_dir={path}")
    finish(launch, box, path)
    assert "has no flock" in pathlib.Path(path / "launch" / "log.txt").read_text()
    assert not (path / ".lock.soft").exists()
