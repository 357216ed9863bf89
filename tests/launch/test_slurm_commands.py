"""Slurm's commands without a Slurm: the environment that they get, and submissions whose answer does not arrive."""

import json
import os
import pathlib
import stat
import sys

import pytest

from launch import slurm_commands as commands
from launch.sweep import LaunchError

# Writes down how it was called; answers what NAME.answers says, a pair (exit code, text) a call, the last one again.
FAKE = """#!{python}
import json, os, pathlib, sys
own = pathlib.Path({folder!r})
name = pathlib.Path(sys.argv[0]).name
calls = own / f"{{name}}.calls"
before = calls.read_text().splitlines() if calls.exists() else []
with calls.open("a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
answers = json.loads((own / f"{{name}}.answers").read_text())
code, text = answers[min(len(before), len(answers) - 1)]
print(text, file=sys.stdout if code == 0 else sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Returns a function that puts a command on the path; `calls(name)` are its argument lists and environments."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(commands, "RETRY_SECONDS", 0.0)

    def make(name, *answers):
        path = tmp_path / name
        path.write_text(FAKE.format(python=sys.executable, folder=str(tmp_path)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        (tmp_path / f"{name}.answers").write_text(json.dumps(answers))

    def calls(name):
        path = tmp_path / f"{name}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    make.calls = calls
    make("sacct", (1, "Slurm accounting storage is disabled"))
    return make


def test_a_clean_environment_inside_of_an_allocation_and_outside():
    kept = {"SLURM_CONF": "/c", "SLURM_CLUSTERS": "a", "SBATCH_ACCOUNT": "lab", "SBATCH_PARTITION": "gpu",
            "PATH": "/b", "JAX_COORDINATOR_ADDRESS": "h:1", "DATA_DIR": "/d", "NCCL_SOCKET_IFNAME": "ib0"}  # fmt: skip
    gone = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_MEM_PER_NODE": "1", "SLURM_CPU_BIND": "x", "SLURM_EXPORT_ENV": "NONE",
            "SBATCH_ARRAY_INX": "0-9", "SBATCH_JOB_NAME": "mine", "SBATCH_WAIT": "1", "HAVEL_EXIT_CODES": "/x",
            "SQUEUE_PARTITION": "low", "SCANCEL_INTERACTIVE": "1", "JAX_NUM_PROCESSES": "1",
            "JAX_PROCESS_ID": "0"}  # fmt: skip
    bound = {"CUDA_VISIBLE_DEVICES": "3", "SBATCH_MEM_BIND": "local", "SRUN_CPUS_PER_TASK": "4", "PMIX_RANK": "0",
             "SLURMD_NODENAME": "n0"}  # fmt: skip
    assert commands.clean_environment(kept | gone | bound) == kept | bound
    assert commands.clean_environment(kept | gone | bound | {"SLURM_JOB_ID": "5"}) == kept


def test_an_answer_that_was_cut_off_is_looked_up_and_nothing_submitted_twice(fake):
    fake("sbatch", (1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"))
    fake("squeue", (0, ""), (0, "17\n17\n17"))
    assert commands.hand_over("x.1", ["x.sh"]) == {"id": "17", "name": "x.1"}
    assert len(fake.calls("sbatch")) == 1
    assert all("--name=x.1" in argv and "--states=all" in argv for argv, _ in fake.calls("squeue"))


def test_one_that_did_not_arrive_is_submitted_again_under_the_same_name(fake):
    fake("sbatch", (1, "sbatch: error: Unable to contact slurm controller (connect failure)"), (0, "18"))
    fake("squeue", (0, ""), (0, ""), (0, "17\n18\n18"))  # the first arrives after all, as the second does
    fake("scancel", (0, ""))
    assert commands.hand_over("x.1", ["x.sh"]) == {"id": "18", "name": "x.1"}
    assert [argv for argv, _ in fake.calls("sbatch")] == [["--parsable", "x.sh"]] * 2
    assert [argv for argv, _ in fake.calls("scancel")] == [["17"]]


def test_one_whose_fate_nobody_knows_says_so(fake):
    fake("sbatch", (1, "sbatch: error: Zero Bytes were transmitted or received"))
    fake("squeue", (1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"))
    with pytest.raises(commands.UncertainError, match="the jobs may be in the queue under x.1"):
        commands.hand_over("x.1", ["x.sh"])
    fake("squeue", (0, ""))
    with pytest.raises(commands.UncertainError, match="asked 3 times, and nothing of the name x.1 is in the queue"):
        commands.hand_over("x.1", ["x.sh"])


def test_a_refusal_is_told_at_once(fake):
    fake("sbatch", (1, "sbatch: error: Batch job submission failed: Invalid account or account/partition combination"))
    fake("squeue", (0, "12"))  # Slurm may list even what it refused
    with pytest.raises(LaunchError, match="Invalid account") as raised:
        commands.hand_over("x.1", ["x.sh"])
    assert not isinstance(raised.value, commands.UncertainError) and len(fake.calls("sbatch")) == 1


@pytest.mark.parametrize(
    ("printed", "handle"),
    [
        ("12", {"id": "12"}),
        ("12;far", {"id": "12", "cluster": "far"}),
        ("welcome to the cluster\n12\n", {"id": "12"}),
        ("Submitted batch job 12\n-> 3 of 8 hours left", {"id": "12"}),
    ],
)
def test_what_sbatch_prints(fake, printed, handle):
    fake("sbatch", (0, printed))
    assert commands.hand_over("x.1", ["x.sh"]) == handle | {"name": "x.1"}


def test_another_cluster_is_asked_by_its_name(fake):
    from launch import slurm
    from launch.records import Submission
    from launch.sweep import Job

    fake("squeue", (0, "CLUSTER: far\n12|PENDING|Priority|"))
    job = Job("a", "/nowhere", (), {}, "i")
    made = Submission(pathlib.Path("/nowhere/0001.json"), 1, "slurm", {}, "/", (job,),
                      {"id": "12", "cluster": "far"})  # fmt: skip
    assert slurm.states(made) == {"a": ("queued", "Slurm 12, Priority")}
    assert fake.calls("squeue")[0][0][0] == "--clusters=far"
    fake("squeue", (0, "12|PENDING|launch failed requeued held|"))
    assert slurm.states(made)["a"][1].endswith("held; scontrol release 12 lets it go")


def test_what_the_queue_has_forgotten_is_asked_of_the_accounts(fake, tmp_path):
    from launch import slurm
    from launch.records import Submission, note_start
    from launch.sweep import Job

    jobs = tuple(Job(name, str(tmp_path / name), (), {}, "i") for name in "abcd")
    made = Submission(tmp_path / "0001.json", 1, "slurm", {}, "/", jobs, {"id": "12"})
    fake("squeue", (1, "slurm_load_jobs error: Invalid job id specified"))
    fake("sacct", (0, "12_0|COMPLETED\n12_1|CANCELLED by 0\n12_[2-3]|PENDING"))
    note_start(jobs[3], 1, "Slurm 12_3 on n0")  # Slurm has started it, and says nothing of its end
    assert slurm.states(made) == {
        "a": ("ended", "Slurm 12_0: completed"), "b": ("cancelled", "Slurm 12_1: cancelled"),
        "c": ("cancelled", "Slurm 12: taken out of the queue before it began"),
    }  # fmt: skip


def test_names_are_one_of_a_kind_and_plain():
    names = {commands.new_name("deepcabac.train, it's") for _ in range(50)}
    assert len(names) == 50 and all(name.startswith("deepcabac.train_it_s.") for name in names)
