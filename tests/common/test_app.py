"""The way in: exit codes, one clear line for every mistake, --help, what a run leaves."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from common import app, config, files, locking
from common.runs import run_directory
from common.training import supervised

TOY = pathlib.Path(__file__).with_name("toy_verb.py")


FAILURES = ("value", "missing", "type", "preempted", "interrupt", "exit", "unmet", "sleep", "loop")


@dataclasses.dataclass(frozen=True)
class Config:
    """A verb that can fail in every way."""

    seed: int = config.field(0, "decides everything", minimum=0)
    fail: str = config.field(
        "",
        "how to fail",
        choices=(
            "",
            "value",
            "missing",
            "type",
            "preempted",
            "interrupt",
            "exit",
            "unmet",
            "sleep",
            "loop",
            "dropped",
            "idle",
        ),
    )
    source: str | None = config.field(None, "file to read")
    output: str | None = config.field(None, "file to write")


calls = []


class Slow:
    """Takes its time to be collected."""

    def __del__(self):
        time.sleep(1)


def main(config: Config, run: app.Run) -> dict:
    """Writes a metric and a file, or fails."""
    calls.append(config)
    run.metrics.write(1, loss=0.5)
    if config.source:
        run.inputs(config.source)
    if config.fail == "value":
        raise ValueError("weights of shape [3]:\n  expected [4]")
    if config.fail == "missing":
        open("/nowhere/weights.npz")
    if config.fail == "type":
        raise TypeError("a defect")
    if config.fail == "idle":
        raise app.Preempted("SIGTERM: stopped at once")
    if config.fail in ("preempted", "interrupt", "loop"):
        (run.checkpoints / "step").write_text(str(time.time_ns()))
    if config.fail == "preempted":
        raise app.Preempted("SIGTERM: checkpoint written after step 1 of 2")
    if config.fail == "interrupt":
        raise KeyboardInterrupt
    if config.fail == "sleep":
        time.sleep(60)
    if config.fail == "dropped":
        Slow()  # the signal comes meanwhile, where Python drops what it raises
        time.sleep(60)
    if config.fail == "loop":
        with supervised.Termination(alone=True) as termination:
            while not termination.after(1):
                time.sleep(0.01)
        raise app.Preempted("SIGTERM: checkpoint written after step 1 of 2")
    if config.fail == "exit":
        raise SystemExit(7)
    if config.output:
        files.write_atomically(config.output, "weights")
        run.outputs(config.output)
    unmet = {"unmet": ["--target_bytes=10: the file takes 20"]} if config.fail == "unmet" else {}
    return {"loss": 0.5, "nested": {"bits": [1, 2]}} | unmet


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Returns a function that runs the verb in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    calls.clear()

    def run(*arguments, **options):
        with pytest.raises(SystemExit) as caught:
            app.run(main, Config, ["test_app.py", "--noreport", *arguments], **options)
        output, errors = capfd.readouterr()
        return caught.value.code or 0, output, errors

    return run


def run_folder(root="runs"):
    (path,) = pathlib.Path(root).glob("*/*")
    return path


def test_run_and_the_same_command_again(call):
    code, output, errors = call("--seed=3")
    assert code == 0 and output == "loss = 0.5\nnested/bits = [1, 2]\n"
    assert "device: cpu" in errors and "run directory: runs/" in errors
    assert run_folder().parent.name.endswith("test_app") and run_folder().name == config.config_hash(Config(seed=3))
    meta = json.loads((run_folder() / "meta.json").read_text())
    assert meta["status"] == "finished" and meta["device"].startswith("cpu") and meta["argv"][-1] == "--seed=3"
    code, again, errors = call("--seed=3")
    assert code == 0 and again == output and len(calls) == 1
    assert "finished before; --overwrite runs it again" in errors
    assert call("--seed=3", "--overwrite")[0] == 0 and len(calls) == 2


def test_a_taken_run_directory_has_an_exit_code_of_its_own(call):
    """77: the same command may do later, which 2, a mistake, may not."""
    pathlib.Path("run").mkdir()
    with locking.held("run/.lock"):
        code, _, errors = call("--run_dir=run")
    assert code == 77 and f"error: run is being written by process {os.getpid()} on " in errors
    assert call("--run_dir=run")[0] == 0


def test_on_a_full_disk_the_first_cause_is_told(call, monkeypatch):
    """Nothing can be written any more, not even how the run ended."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/metrics.csv")

    def fail(*_, **__):
        raise full

    def write(*arguments, **numbers):
        monkeypatch.setattr(run_directory.files, "write_json", fail)
        fail()

    monkeypatch.setattr(app.metrics.Metrics, "write", write)
    code, _, errors = call("--run_dir=run")
    assert code == 1 and errors.splitlines()[-1] == (
        "error: run/metrics.csv: No space left on device (--debug shows where)"
    )
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "word"), [([], "0"), (["--fail=value"], "1"), (["--fail=type"], "1"), (["--sed=1"], "2"),
                            (["--fail=preempted"], "75"), (["--fail=interrupt"], "130"), (["--fail=exit"], "7")]
)  # fmt: skip
def test_the_launcher_is_told_by_the_run_itself_how_it_ended(call, tmp_path, monkeypatch, arguments, word):
    folder = tmp_path / "words"
    folder.mkdir()
    monkeypatch.setenv(app.EXIT_CODES, str(folder))
    for name in ("SLURM_PROCID", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    assert str(call(*arguments)[0]) == word
    assert {path.name: path.read_text().strip() for path in folder.iterdir()} == {"0": word, "0.began": ""}
    assert app.EXIT_CODES not in os.environ  # a program that the run starts does not speak for it


def test_flags_file_repeats_the_run(call):
    call("--seed=3", "--run_dir=first")
    assert call("--flagfile=first/flags.txt", "--run_dir=second")[0] == 0
    assert calls[0] == calls[1]
    assert pathlib.Path("first/flags.txt").read_text() == pathlib.Path("second/flags.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--sed=3"], 2, "error: Unknown command line flag 'sed'. Did you mean: seed ? (see --help)"),
        (["--seed=x"], 2, "error: flag --seed=x: expected an integer of at least 0"),
        (["stray"], 2, "error: unexpected argument 'stray': flags are written --name=value (see --help)"),
        (["--fail=value"], 1, "error: weights of shape [3]: expected [4] (--debug shows where)"),
        (["--fail=missing"], 1, "error: /nowhere/weights.npz: no such file or directory (--debug shows where)"),
        (["--source=none.npz"], 1, "error: none.npz does not exist (--debug shows where)"),
        (["--trackers=mlflow"], 2, "error: flag --trackers=mlflow: expected any of tensorboard, wandb"),
        (["--run_dir=/proc/run"], 2, "error: /proc/run: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(call, arguments, code, line):
    actual, output, errors = call(*arguments)
    assert (actual, output) == (code, "")
    assert errors.splitlines()[-1].lower() == line.lower()
    assert "Traceback" not in errors


def test_traceback_of_an_expected_error_lies_beside_the_run(call):
    call("--fail=value")
    assert "raise ValueError" in (run_folder() / "error.txt").read_text()
    assert json.loads((run_folder() / "meta.json").read_text())["status"] == "failed"
    assert "Traceback" in call("--fail=value", "--debug")[2]


def test_defect_shows_its_traceback(call):
    code, _, errors = call("--fail=type")
    assert code == 1 and errors.endswith("TypeError: a defect\n") and "Traceback" in errors


@pytest.mark.parametrize(("how", "code"), [("preempted", 75), ("interrupt", 130)])
def test_stopped_runs_say_how_to_go_on(call, how, code):
    actual, _, errors = call(f"--fail={how}")
    assert actual == code and "the same command goes on from" in errors
    assert json.loads((run_folder() / "meta.json").read_text())["status"] == "interrupted"


def test_a_run_ends_when_its_time_is_over(call):
    code, _, errors = call("--fail=sleep", "--max_seconds=0.2")
    assert code == 75 and "--max_seconds=0.2 are over: stopped at once; this call has written nothing" in errors
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert call("--max_seconds=60")[0] == 0, "the clock of a run that has ended stands still"
    code, _, errors = call("--fail=dropped", "--max_seconds=0.3")
    assert code == 75 and "stopped at once" in errors
    code, _, errors = call("--fail=loop", "--max_seconds=0.2")
    assert code == 75 and "checkpoint written after step 1 of 2; the same command goes on from here" in errors


IDLE = "this call has written nothing to go on from: the same command begins where it began"


def test_a_time_too_short_for_a_first_checkpoint_is_a_failure_the_second_time(call):
    """Else whoever calls until the code is no longer 75 calls for ever."""
    flags = ("--max_seconds=0.2", "--run_dir=run")
    for _ in range(2):  # a checkpoint in between: the count begins anew
        code, _, errors = call("--fail=sleep", *flags, "--overwrite")
        assert code == 75 and IDLE in errors and "error" not in errors
        assert call("--fail=loop", *flags, "--overwrite")[0] == 75
    assert call("--fail=sleep", *flags, "--overwrite")[0] == 75
    code, _, errors = call("--fail=sleep", *flags)
    assert code == 1 and errors.splitlines()[-1] == (
        "error: --max_seconds=0.2: 2 calls in a row came to nothing that another could go on from; give more seconds "
        "than it takes to the first checkpoint"
    )
    assert json.loads(pathlib.Path("run/meta.json").read_text())["status"] == "interrupted"
    assert call("--run_dir=run", "--overwrite")[0] == 0
    assert json.loads(pathlib.Path("run/meta.json").read_text())[run_directory.IDLE] == 0


def test_a_verb_that_keeps_nothing_fails_at_once_when_its_time_is_over(call):
    """Nothing remembers the first time; in a directory of its own the second call is the last, too."""
    code, _, errors = call("--fail=loop", "--max_seconds=0.2", transient=True)
    assert code == 1 and "this call came to nothing that another could go on from" in errors
    codes = [call("--fail=loop", "--max_seconds=0.2", "--run_dir=run", transient=True)[0] for _ in range(2)]
    assert codes == [75, 1], "what it leaves is overwritten by the next call"


def test_signals_from_outside_are_no_failure_however_often_they_come(call):
    for count in range(1, 4):
        code, _, errors = call("--fail=idle")
        assert code == 75 and IDLE in errors
        assert json.loads((run_folder() / "meta.json").read_text())[run_directory.IDLE] == count


def test_other_flags_in_the_same_directory(call):
    call("--run_dir=here", "--seed=1")
    code, _, errors = call("--run_dir=here", "--seed=2")
    assert code == 2 and "holds a run with other flags: --seed (1 there, 2 now)" in errors


def test_lost_output_is_made_again(call):
    call("--output=model.bin")
    pathlib.Path("model.bin").unlink()
    code, _, errors = call("--output=model.bin")
    assert code == 0 and pathlib.Path("model.bin").exists() and len(calls) == 2
    assert "model.bin is missing since this run finished: running again" in errors


def test_verb_that_only_looks_leaves_nothing_and_always_runs(call, tmp_path):
    for _ in range(2):
        code, output, errors = call(transient=True)
        assert code == 0 and "loss = 0.5" in output and "run directory" not in errors
    assert len(calls) == 2 and list(tmp_path.iterdir()) == []
    for _ in range(2):
        assert call("--run_dir=here", transient=True)[0] == 0
    assert len(calls) == 4 and pathlib.Path("here/result.json").exists()


def test_help_explains_and_does_not_drown(call):
    code, output, _ = call("--help")
    assert code == 0 and not calls
    assert "The way in: exit codes, one clear line for every mistake" in output
    assert "--seed\n      decides everything (an integer of at least 0; default: 0)" in output
    assert "--run_dir" in output and "--flagfile" in output
    assert "logtostderr" not in output and "jax_" not in output
    assert len(output.splitlines()) < 60


def test_report_at_the_end(call):
    code, _, errors = call("--report")
    assert code == 0 and f"report: {run_folder() / 'report.html'}" in errors
    assert "nested/bits" in (run_folder() / "report.html").read_text()


def test_compilation_cache_is_where_the_contract_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert app.cache_directory() == pathlib.Path("/cache/havel/jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert app.cache_directory() == pathlib.Path.home() / ".cache" / "havel" / "jax"


def test_program_fills_the_cache_and_help_imports_no_jax(tmp_path, request):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"PYTHONPATH": str(request.config.rootpath), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, str(TOY), "--epochs=1", f"--run_dir={tmp_path / 'run'}", "--noreport"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert any((tmp_path / "cache" / "havel" / "jax").iterdir())
    watched = [sys.executable, "-X", "importtime", str(TOY), "--help"]
    shown = subprocess.run(watched, env=environment, check=True, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "Trains a small network" in shown.stdout and "absl.flags" in imported
    assert not imported & {"jax", "flax", "matplotlib", "orbax.checkpoint", "pandas"}


def test_command_lines_are_checked_without_running_anything(call, tmp_path, capfd):
    lines = [["--seed=3"], ["--seed=x"], ["--what=1"], ["--run_dir=here", "--seed=4"], ["--fail=never"]]
    (tmp_path / "lines").write_text(json.dumps(lines))
    with pytest.raises(SystemExit) as caught:
        app.run(main, Config, ["test_app.py", f"--check_flags={tmp_path / 'lines'}"])
    output, errors = capfd.readouterr()
    answers = json.loads(output)
    assert not caught.value.code and not errors and not calls and not pathlib.Path("runs").exists()
    assert [bool(answer["error"]) for answer in answers] == [False, True, True, False, True]
    assert answers[0]["run_dir"].endswith(config.config_hash(Config(seed=3))) and answers[3]["run_dir"] == "here"
    assert answers[0]["identity"] != answers[3]["identity"] == config.config_hash(Config(seed=4))
    assert "an integer of at least 0" in answers[1]["error"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [((), 0), (("--fail=value",), 1), (("--fail=type",), 1), (("--fail=preempted",), 75), (("--fail=interrupt",), 130),
     (("--seed=x",), 2), (("--fail=exit",), 7)],
)  # fmt: skip
def test_a_launched_process_leaves_its_exit_code(call, tmp_path, monkeypatch, flags, code):
    folder = tmp_path / "codes"
    folder.mkdir()
    monkeypatch.setenv("HAVEL_EXIT_CODES", str(folder))
    monkeypatch.setenv("SLURM_PROCID", "3")
    actual, _, _ = call(*flags)
    assert (folder / "3").read_text() == f"{actual}\n" == f"{code}\n"
    monkeypatch.setenv("HAVEL_EXIT_CODES", str(tmp_path / "not_there"))
    assert call(*flags, "--overwrite")[0] == code


def test_a_request_that_is_not_met_is_said_everywhere(call, tmp_path):
    """Exit code, message, result and page, also when the finished run is called again."""
    for _ in range(2):
        code, _, _ = call("--report", "--fail=unmet", "--run_dir=there")
        assert code == app.EXIT_UNMET
    assert files.read_json(tmp_path / "there/result.json")["unmet"] == ["--target_bytes=10: the file takes 20"]
    page = (tmp_path / "there/report.html").read_text()
    assert "request not met" in page and "--target_bytes=10: the file takes 20" in page


def test_flags_can_say_that_a_verb_runs_every_time(call, tmp_path):
    """As writing a page from results does: a finished run of the same flags is no reason to leave it as it is."""
    for _ in range(2):
        assert call("--seed=3", transient=lambda flags: flags.seed == 3)[0] == 0
        assert call("--seed=4", transient=lambda flags: flags.seed == 3)[0] == 0
    assert [flags.seed for flags in calls] == [3, 4, 3] and len(list((tmp_path / "runs").glob("*/*"))) == 1
