"""The run directory: identity, resume, overwrite, lock, files read and written, and what a kill leaves."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from common import config as config_lib
from common import files
from common.runs import run_directory


@dataclasses.dataclass(frozen=True)
class Config:
    """Two fields that count and one that does not."""

    seed: int = config_lib.field(0, "seed")
    rate: float = config_lib.field(0.1, "rate")
    jobs: int = config_lib.field(1, "threads", identity=False)


@contextlib.contextmanager
def opened(path, config=None, **options):
    run = run_directory.open_run(path, config or Config(), **({"verb": "toy.train"} | options))
    try:
        yield run
    finally:
        run.close()


def finish(path, result=None, config=None):
    with opened(path, config) as run:
        run.metrics.write(1, loss=1)
        run.finish(result or {"loss": 1.0})


def test_files_of_a_finished_run(tmp_path):
    finish(tmp_path / "run")
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    assert meta["status"] == "finished" and meta["verb"] == "toy.train" and meta["seed"] == 0
    assert meta["versions"]["jax"] and meta["started"] < meta["ended"] and len(meta["starts"]) == 1
    assert "commit" in meta and "dirty" in meta
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"loss": 1.0}
    text = (tmp_path / "run" / "flags.txt").read_text()
    assert text == "# python -m projects.toy.train --flagfile=flags.txt\n--seed=0\n--rate=0.1\n--jobs=1\n"


def test_finished_run_answers_with_its_result_and_keeps_its_files(tmp_path):
    finish(tmp_path)
    before = (tmp_path / "meta.json").read_bytes()
    with opened(tmp_path, Config(jobs=8)) as run:
        assert run.result == {"loss": 1.0}
    assert (tmp_path / "meta.json").read_bytes() == before


def test_unfinished_run_is_resumed(tmp_path):
    with opened(tmp_path) as run:
        run.metrics.write(1, loss=1)
        (run.checkpoints / "1").touch()
    with opened(tmp_path) as run:
        assert run.result is None and (run.checkpoints / "1").exists()
        assert len(run.meta()["starts"]) == 2
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,1\n"


def test_result_counts_even_if_the_kill_came_before_the_last_status(tmp_path):
    finish(tmp_path)
    meta = files.read_json(tmp_path / "meta.json")
    files.write_json(tmp_path / "meta.json", meta | {"status": "running"})
    with opened(tmp_path) as run:
        assert run.result == {"loss": 1.0}


def test_overwrite_removes_everything_earlier(tmp_path):
    finish(tmp_path)
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.png").touch()
    with opened(tmp_path, Config(seed=1), overwrite=True) as run:
        assert run.result is None
        assert sorted(item.name for item in tmp_path.iterdir()) == [".lock", "flags.txt", "meta.json"]
        assert len(run.meta()["starts"]) == 1


def test_overwrite_that_was_killed_is_carried_through(tmp_path, monkeypatch):
    with opened(tmp_path) as run:
        for name in "abcdef":
            (run.checkpoints / name).touch()
            (run.plots / name).touch()
        run.metrics.write(1, loss=1)
    removed = []

    def remove_one(path):
        if removed:
            raise KeyboardInterrupt
        removed.append(path.name)
        files.shutil.rmtree(path) if path.is_dir() else path.unlink()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "remove", remove_one)
        run_directory.open_run(tmp_path, Config(), verb="toy.train", overwrite=True)
    assert removed
    with opened(tmp_path) as run:
        assert run.result is None
        assert sorted(item.name for item in tmp_path.iterdir()) == [".lock", "flags.txt", "meta.json"]


def test_other_flags_are_refused_by_name(tmp_path):
    finish(tmp_path)
    with pytest.raises(run_directory.RunError) as caught, opened(tmp_path, Config(seed=3, rate=0.2)):
        pass
    assert "--seed (0 there, 3 now), --rate (0.1 there, 0.2 now)" in str(caught.value)
    assert "--jobs" not in str(caught.value)


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_verb_is_refused(tmp_path, overwrite):
    finish(tmp_path)
    with pytest.raises(run_directory.RunError, match="holds a run of toy.train, not of toy.test"):
        run_directory.open_run(tmp_path, Config(), verb="toy.test", overwrite=overwrite)
    assert (tmp_path / "result.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_with_other_things_is_never_taken(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(run_directory.RunError, match="not a run directory and holds thesis.tex"):
        run_directory.open_run(tmp_path, Config(), verb="toy.train", overwrite=overwrite)
    (tmp_path / "meta.json").write_text('{"name": "a web page"}')
    with pytest.raises(run_directory.RunError, match="its meta.json is another's"):
        run_directory.open_run(tmp_path, Config(), verb="toy.train", overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(run_directory.RunError, match="is a file"):
        run_directory.open_run(tmp_path / "thesis.tex", Config(), verb="toy.train")


def test_start_that_was_killed_leaves_a_usable_directory(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "flags.txt").write_text("--seed=9\n")
    (tmp_path / ".meta.json.1.abcd.tmp").write_text("{")
    with opened(tmp_path) as run:
        assert run.result is None
    assert "--seed=0" in (tmp_path / "flags.txt").read_text()


def test_second_writer_is_refused_with_the_pid_of_the_first(tmp_path):
    message = f"is being written by process {os.getpid()} on {socket.gethostname()}; wait for it"
    with opened(tmp_path), pytest.raises(run_directory.RunError, match=message):
        run_directory.open_run(tmp_path, Config(), verb="toy.train")
    with opened(tmp_path) as run:
        assert run.result is None


HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from common.runs import run_directory
import dataclasses
@dataclasses.dataclass(frozen=True)
class Config: pass
run_directory.open_run({path!r}, Config(), verb="toy.train")
print("held", flush=True)
time.sleep(60)
"""


def test_killed_writer_leaves_no_lock(tmp_path, request):
    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    program = HOLDER.format(root=str(request.config.rootpath), path=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(run_directory.RunError, match=f"process {holder.pid} on .*;"):
            run_directory.open_run(tmp_path, Config(), verb="toy.train")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        run_directory.open_run(tmp_path, Config(), verb="toy.train").close()


def test_lost_or_changed_output_runs_again(tmp_path):
    output = tmp_path / "model.dcb"
    for change in (output.unlink, lambda: output.write_text("other")):
        with opened(tmp_path / "run") as run:
            assert run.result is None
            output.write_text("weights")
            run.outputs(output)
            run.finish({"bytes": 7})
        with opened(tmp_path / "run") as run:
            assert run.result == {"bytes": 7}
        change()
    with opened(tmp_path / "run") as run:
        assert run.result is None
        assert run.news == (f"{output} has changed since this run finished: running again",)


def test_changed_input_runs_again_and_a_lost_one_does_not(tmp_path):
    source = tmp_path / "model.npz"
    source.write_text("1")
    with opened(tmp_path / "run") as run:
        run.inputs(source)
        run.finish({"bytes": 1})
    source.unlink()
    with opened(tmp_path / "run") as run:
        assert run.result == {"bytes": 1}
    source.write_text("2")
    with opened(tmp_path / "run") as run:
        assert run.result is None


def test_run_that_cannot_be_repeated_is_not_thrown_away(tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_text("1")
    output.write_text("1")
    with opened(tmp_path / "run") as run:
        run.inputs(source)
        run.outputs(output)
        run.finish({"bytes": 1})
    source.unlink()
    output.unlink()
    with pytest.raises(run_directory.RunError, match="cannot run again without"):
        run_directory.open_run(tmp_path / "run", Config(), verb="toy.train")
    assert (tmp_path / "run" / "result.json").exists()


def test_input_that_changes_under_a_checkpoint_is_refused(tmp_path):
    source = tmp_path / "in"
    source.write_text("1")
    with opened(tmp_path / "run") as run:
        run.inputs(source)
    source.write_text("2")
    with opened(tmp_path / "run") as run:
        run.inputs(source)  # nothing was computed from it yet
        (run.checkpoints / "00000001").mkdir()
    source.write_text("3")
    with opened(tmp_path / "run") as run, pytest.raises(run_directory.RunError, match="--overwrite starts it afresh"):
        run.inputs(source)


def test_damaged_result_runs_again(tmp_path):
    finish(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with opened(tmp_path) as run:
        assert run.result is None


def test_default_path_is_by_verb_and_hash():
    path = run_directory.default_path(Config(jobs=3), "toy.train")
    assert path.as_posix() == f"runs/toy.train/{config_lib.config_hash(Config())}"


def test_tables_and_names(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    run.table("coders", ["coder", "bytes"], [["ours", 3]], title="Coders", note="whole files")
    assert files.read_json(tmp_path / "tables" / "coders.json") == {
        "title": "Coders", "columns": ["coder", "bytes"], "rows": [["ours", 3]], "note": "whole files",
    }  # fmt: skip
    with pytest.raises(ValueError, match="a row has 1 cells for 2 columns"):
        run.table("coders", ["coder", "bytes"], [["ours"]])
    with pytest.raises(ValueError, match="'../coders'"):
        run.table("../coders", [], [])


def test_what_the_launcher_left_is_kept(tmp_path):
    """The launcher writes the command and the log before the run begins; they stay when it starts afresh."""
    path = tmp_path / "run"
    (path / "launch").mkdir(parents=True)
    (path / "launch" / "log.txt").write_text("began")
    finish(path)
    with opened(path, Config(seed=1), overwrite=True):
        assert (path / "launch" / "log.txt").read_text() == "began" and not (path / "metrics.csv").exists()


def test_a_run_from_before_a_flag_was_renamed_or_added_goes_on(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Later(Config):
        """`speed` was called `rate`, and `warmup` is new."""

        speed: float = config_lib.field(0.1, "speed", formerly="rate")
        warmup: int = config_lib.field(0, "steps")

    Later.__dataclass_fields__.pop("rate")
    finish(tmp_path)
    with opened(tmp_path, Later()) as run:
        assert run.result == {"loss": 1.0}
    with pytest.raises(run_directory.RunError, match=r"--warmup \(0 there, 5 now\)"), opened(tmp_path, Later(warmup=5)):
        pass
