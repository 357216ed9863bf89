"""The command line: what it launches, what it says, and what it refuses before anything is queued."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from launch import records
from tests.launch.conftest import ROOT

GOLDEN = pathlib.Path(__file__).with_name("golden")
LIGHT = "tests.launch.light"


def status_of(output):
    """Returns job -> state from what status prints."""
    return {line.split()[0]: line.split()[1] for line in output.splitlines() if "=" in line.split("  ")[0]}


def test_sweep_runs_skips_what_is_done_and_grows(launch, tmp_path):
    folder = tmp_path / 'a sweep, it\'s 100% "quoted"'
    flags = ("--", LIGHT, "--noreport", "--output={run_dir}/it's an output.txt")
    code, output, errors = launch("--sweep=a=1,2", f"--sweep_dir={folder}", "--parallel=2", *flags)
    assert code == 0 and str(folder) in output and "2 jobs: 2 finished" in errors
    assert (folder / "a=2" / "it's an output.txt").read_text() == "x"
    assert json.loads((folder / "a=2" / "result.json").read_text())["square"] == 4
    for name in ("command.txt", "script.sh", "log.txt", "attempts.jsonl"):
        assert (folder / "a=2" / "launch" / name).stat().st_size, name
    assert "square = 4" in (folder / "a=2" / "launch" / "log.txt").read_text()

    code, _, errors = launch("--sweep=a=1,2,3", f"--sweep_dir={folder}", *flags)
    assert code == 0 and "2 finished before, 0 under way, 1 to submit" in errors and "a=1: started" not in errors
    code, output, _ = launch("status", folder)
    assert code == 0 and "3 jobs: 3 finished" in output
    assert [len(records.attempts(job)) for job in records.submissions(_load(folder))[-1].jobs] == [2]


def _load(folder):
    from launch import sweep

    return sweep.load(folder)


def test_failed_jobs_are_shown_and_only_they_start_again(launch, tmp_path):
    folder, source = tmp_path / "s", tmp_path / "source.npz"
    lines = [{"a": 1}, {"a": 2, "source": str(source)}]
    (tmp_path / "list").write_text("\n".join(map(json.dumps, lines)))
    code, _, errors = launch(f"--sweep_file={tmp_path}/list", f"--sweep_dir={folder}", "--", LIGHT, "--noreport")
    assert code == 1 and "2 jobs: 1 finished, 1 failed" in errors
    code, output, errors = launch("status", folder)
    failed = next(name for name in (item.name for item in folder.iterdir()) if name.startswith("a=2"))
    assert code == 0 and f"{source} does not exist" in output and f"log: {folder}/{failed}/launch/log.txt" in output
    assert f"launch.run resubmit {folder}" in errors
    code, output, _ = launch("log", folder, failed)
    assert code == 0 and output.startswith("device: cpu") and "error:" in output
    assert launch("wait", folder)[0] == 1

    source.write_text("here now")
    code, _, errors = launch("resubmit", folder)
    assert code == 0 and "1 finished before, 0 under way, 1 to submit" in errors
    assert "2 jobs: 2 finished" in launch("status", folder)[1] and launch("wait", folder)[0] == 0


def test_single_run_lands_where_the_verb_itself_puts_it(launch, tmp_path):
    path = tmp_path / "run"
    code, output, errors = launch("--", LIGHT, "--a=5", f"--run_dir={path}")
    assert code == 0 and "square = 25" in errors, "the log is copied to the terminal"
    assert json.loads((path / "result.json").read_text())["square"] == 25
    assert (path / "report.html").exists()
    by_hand = subprocess.run(
        [sys.executable, "-m", LIGHT, "--a=5", f"--run_dir={path}"], capture_output=True, text=True, timeout=60
    )
    assert by_hand.returncode == 0 and "finished before" in by_hand.stderr
    assert launch("--", LIGHT, "--a=5", f"--run_dir={path}")[2].startswith("1 finished before")
    code, _, errors = launch("--", LIGHT, "--a=6", f"--run_dir={path}")
    assert code == 2 and "run was launched into" in errors and "by another command" in errors
    assert launch("--overwrite", "--", LIGHT, "--a=6", f"--run_dir={path}", "--noreport")[0] == 0
    assert json.loads((path / "result.json").read_text())["square"] == 36


def test_an_exit_code_of_the_verbs_own_is_a_failure(launch, tmp_path):
    path = tmp_path / "run"
    code, output, errors = launch("--", LIGHT, "--code=3", f"--run_dir={path}", "--noreport")
    assert code == 1 and "1 job: 1 failed" in errors
    lines = (path / "launch" / "attempts.jsonl").read_text().splitlines()
    end = json.loads(lines[-1])
    assert len(lines) == 2 and end["outcome"] == "failed" and end["codes"] == [3] and not end["again"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--engine=pbs", "--", LIGHT], "flag --engine=pbs: expected one of local, slurm"),
        (["--node=2", "--", LIGHT], "Unknown command line flag 'node'"),
        (["--"], "nothing stands after --; expected a verb"),
        (["--engine=local"], "Write it after two dashes"),
        (["projects.deepcabac.train", "--epochs=1"], "Write it after two dashes"),
        (
            ["stat", "x"],
            r"unknown verb 'stat'; did you mean status\? expected any of status, wait, cancel, results, resubmit, log",
        ),
        (["status"], "status takes one folder"),
        (["status", "/nowhere"], "/nowhere is not what launch.run made"),
        (["status", "x", "--all"], "Unknown command line flag 'all'"),
        (["--nodes=2", "--", LIGHT], "--engine=local is this machine alone; --processes_per_node starts several"),
        (["--partition=gpu", "--", LIGHT], "--partition is for --engine=slurm"),
        (["--gpus=3", "--processes_per_node=2", "--", LIGHT], "--gpus=3 does not split over --processes_per_node=2"),
        (["--gpus=999", "--", LIGHT], "is 999 devices, but this machine shows"),
        (["--sweep=a=1", "--sweep_file=x", "--", LIGHT], "give --sweep or --sweep_file, not both"),
        (["--sweep=a", "--", LIGHT], "'a' is no flag=value,value"),
        (["--sweep_dir=x", "--", LIGHT], "--sweep_dir is for sweeps"),
        (["--sweep=a=1,2", "--", LIGHT, "--run_dir=x"], "give --sweep_dir before the -- instead"),
        (["--", LIGHT, "--overwrite"], "would start afresh at every restart; give it before the --"),
        (["--sweep=a=1,two", "--", LIGHT], "refuses a command line: flag --a=two: expected an integer of at least 0"),
        (["--sweep=z=1,2", "--", LIGHT], r"Unknown command line flag 'z'.*\(and 1 of the other 1 jobs\)"),
        (["--", "tests.launch.absent"], "there is no verb tests.launch.absent"),
        (["--", "projects.van.trian"], r"projects.van.trian is no verb; did you mean python -m projects.van.train\?"),
        (
            ["--", "absent.verb"],
            r"there is no verb absent.verb in .* \(no module absent\): launch from the root of the checkout",
        ),
        (["--", "tests.launch.show_argv"], "tests.launch.show_argv is no verb"),
        (["--", "tests/launch/light.py"], "'tests/launch/light.py' is no verb: after -- comes a module such as"),
        (["--engine=slurm", "--detach", "--dry_run", "--", LIGHT], "--detach is for --engine=local"),
        (["--engine=slurm", "--time=2h", "--dry_run", "--", LIGHT], "--time='2h': expected minutes, or as in 1:30:00"),
        (["--engine=slurm", "--time=2", "--dry_run", "--", LIGHT], "asked to stop --grace=60 s before their limit"),
        (["--engine=slurm", "--sbatch='", "--dry_run", "--", LIGHT], "No closing quotation"),
    ],
)
def test_what_is_refused_at_the_door(launch, tmp_path, monkeypatch, argv, message):
    code, output, errors = launch(*argv)
    assert code == 2 and not output and errors.count("\n") == 1 and errors.startswith("error: "), errors
    assert re.search(message, errors), errors


def test_slurm_without_slurm_says_what_to_do(launch, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, errors = launch("--engine=slurm", "--", LIGHT)
    assert code == 2 and "needs Slurm's sbatch, which is not on the path here: launch from a login node" in errors


def test_a_module_that_does_not_import_says_why(launch, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_here\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, _, errors = launch("--", "broken")
    assert code == 2 and "broken does not import: ModuleNotFoundError: No module named 'a_package_that" in errors


def test_dry_run_prints_the_script_and_leaves_nothing(launch, tmp_path):
    folder = tmp_path / "sweep"
    code, output, errors = launch(
        "--engine=slurm", "--dry_run", "--nodes=2", "--processes_per_node=4", "--gpus=4", "--cpus=8", "--parallel=2",
        "--time=12:00:00", "--partition=gpu", "--sbatch=--account=lab --comment='two words'", "--sweep=a=1,2;b=x,y z",
        f"--sweep_dir={folder}", "--", LIGHT, "--output={run_dir}/it's.txt",
    )  # fmt: skip
    assert code == 0 and not errors and not folder.exists()
    text = output.replace(str(folder), "SWEEP_DIR").replace(sys.executable, "PYTHON").replace(str(ROOT), "CHECKOUT")
    text, count = re.subn(r"(--job-name=tests\.launch\.light)\.[0-9a-f]{8}\n", r"\1.TOKEN\n", text)
    assert count == 1 and text == (GOLDEN / "array.txt").read_text()


def test_dry_run_of_the_local_engine(launch, tmp_path):
    code, output, _ = launch("--dry_run", "--", LIGHT, f"--run_dir={tmp_path}/x")
    assert code == 0 and output.splitlines()[1] == f"python -m {LIGHT} --run_dir={tmp_path}/x"
    assert not os.listdir(tmp_path)


def test_help_tells_the_flags(launch):
    code, output, _ = launch("--help")
    assert code == 0 and "--engine" in output and "--pareto" in output and "resubmit" in output
    assert launch()[1] == output
