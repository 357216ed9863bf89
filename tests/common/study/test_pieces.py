"""A study runs what is missing in order, goes on where it was killed, takes what has finished, refuses the rest."""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import projects
from common import files
from common.runs import run_directory
from common.study import expected_time, parts, pieces
from common.study.pieces import Piece
from tests.common.study import toy


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The toy project, importable as projects.toy, and an empty working directory."""
    toy.write(tmp_path / "projects")
    monkeypatch.setattr(projects, "__path__", [*projects.__path__, str(tmp_path / "projects")])
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("projects.toy.config")
    for name in [name for name in sys.modules if name.startswith("projects.toy")]:
        del sys.modules[name]


@pytest.fixture
def run(tmp_path):
    """Of the study."""
    return run_directory.open_for_test(tmp_path / "study")


def chain(project, epochs=3):
    """A training and an evaluation that needs it."""
    training = Piece("one", "toy.train", project.TrainConfig(epochs=epochs), seed=5)
    evaluation = project.EvaluateConfig(checkpoint=str(training.path))
    return training, Piece("one", "toy.evaluate", evaluation, needs=(training,))


def test_old_names_can_be_written(project):
    training = project.TrainConfig()
    piece = Piece("mlp_coordinatewise_2_seed0", "levy_attack.attack", training)
    assert piece.path == pathlib.Path("runs/levy_attack.attack/mlp_coordinatewise_2_seed0")
    assert piece.key == "levy_attack.attack/mlp_coordinatewise_2_seed0"
    other = Piece("x", "levy_attack.attack", training, runs="study/runs", folder="levy_attack.effort")
    assert other.path == pathlib.Path("study/runs/levy_attack.effort/x")
    assert Piece("", "toy.train", training).path == run_directory.default_path(training, "toy.train")
    names = [piece.name for piece in pieces.for_seeds(Piece("a", "toy.train", training), (3, 1))]
    assert names == ["a_seed3", "a_seed1"]
    assert [piece.settings.seed for piece in pieces.for_seeds(Piece("a", "toy.train", training), (3, 1))] == [3, 1]


@pytest.mark.parametrize(("name", "verb"), [("a/b", "toy.train"), (".a", "toy.train"), ("a", "train"), ("a", "x.y.z")])
def test_bad_names_are_refused(project, name, verb):
    with pytest.raises(ValueError, match=name if verb == "toy.train" else "project.verb"):
        Piece(name, verb, project.TrainConfig())


def test_bad_settings_are_refused_before_anything_runs(project, run):
    with pytest.raises(ValueError, match="--epochs='x'"):
        Piece("a", "toy.train", project.TrainConfig(epochs="x"))
    with pytest.raises(ValueError, match="toy.evaluate takes EvaluateConfig, not TrainConfig"):
        pieces.complete([Piece("a", "toy.evaluate", project.TrainConfig())], run)
    with pytest.raises(ValueError, match="there is no verb toy.nothing"):
        pieces.complete([chain(project)[0], Piece("a", "toy.nothing", project.TrainConfig())], run)
    assert not pathlib.Path("runs").exists()


def test_order_and_collisions(project):
    training, evaluation = chain(project)
    assert pieces.ordered([evaluation, training, evaluation]) == (training, evaluation)
    with pytest.raises(ValueError, match="two pieces of different settings or needs are named toy.train/one"):
        pieces.ordered([training, dataclasses.replace(training, seed=6)])


def test_missing_pieces_run_in_order_and_finished_ones_are_taken(project, run, capsys):
    training, evaluation = chain(project)
    gathered = pieces.complete([evaluation], run)
    assert gathered[evaluation].result == {"accuracy": 8.0} and training in gathered and not gathered.missing
    assert "piece 1 of 2: toy.train/one" in capsys.readouterr().err
    meta = gathered[training].meta
    assert meta["status"] == "finished" and meta["device"].startswith("cpu") and meta["seed"] == 5
    assert meta["argv"][:3] == ["python", "-m", "projects.toy.train"]
    assert gathered[evaluation].meta["inputs"].keys() == {str(training.path.absolute())}
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path("runs").rglob("*")}
    assert pieces.complete([evaluation], run).finished == gathered.finished
    assert {path: path.stat().st_mtime_ns for path in pathlib.Path("runs").rglob("*")} == before
    assert "piece" not in capsys.readouterr().err


def test_a_stopped_piece_goes_on(project, run):
    training, evaluation = chain(project)
    pathlib.Path("stop").touch()
    with pytest.raises(run_directory.Preempted, match="after epoch 0"):
        pieces.complete([evaluation], run)
    assert files.read_json(training.path / "meta.json")["status"] == "interrupted"
    (training.path / "checkpoints" / "epochs.txt").write_text("2")
    missing = pieces.take([evaluation]).missing
    assert missing[training].startswith("interrupted since 20") and missing[evaluation] == "not begun"
    pathlib.Path("stop").unlink()
    assert pieces.complete([evaluation], run)[training].result == {"epochs_done": 1}


def test_a_failed_piece_is_told_and_goes_on(project, run, capsys):
    training, evaluation = chain(project)
    pathlib.Path("break").touch()
    with pytest.raises(ZeroDivisionError):
        pieces.complete([evaluation], run)
    assert "piece toy.train/one failed" in capsys.readouterr().err
    assert files.read_json(training.path / "meta.json")["status"] == "failed"
    pathlib.Path("break").unlink()
    assert evaluation in pieces.complete([evaluation], run)


def test_pieces_of_other_settings_are_refused_before_anything_runs(project, run):
    training, evaluation = chain(project)
    pieces.complete([training], run)
    longer, after = chain(project, epochs=4)
    with pytest.raises(ValueError, match=r"toy.train/one holds a run with other flags: --epochs \(3 there, 4 now\)"):
        pieces.complete([Piece("new", "toy.train", project.TrainConfig()), after], run)
    assert not pathlib.Path("runs/toy.train/new").exists()
    gathered = pieces.take([after])
    assert "--epochs (3 there, 4 now)" in gathered.missing[longer] and not gathered.finished
    with pytest.raises(ValueError, match="epochs"):
        gathered[longer]
    more = dataclasses.replace(training, settings=dataclasses.replace(training.settings, jobs=9))
    assert more in pieces.take([more])  # threads change no result
    wrong = Piece("one", "toy.evaluate", evaluation.settings, folder="toy.train")
    assert "holds a run of toy.train, not of toy.evaluate" in pieces.take([wrong]).missing[wrong]


def test_changed_weights_make_what_needs_them_run_again(project, run, capsys):
    training, evaluation = chain(project)
    pieces.complete([evaluation], run)
    (training.path / "model.safetensors").write_text("100")
    assert "toy.train/one has changed since it finished" in pieces.take([evaluation]).missing[evaluation]
    assert pieces.complete([evaluation], run)[evaluation].result == {"accuracy": 100.0}
    assert "running again" in capsys.readouterr().err


def test_taking_writes_nothing_and_lists_what_is_missing(project, run):
    training, evaluation = chain(project)
    gathered = pieces.take([evaluation])
    assert gathered.missing == {training: "not begun", evaluation: "not begun"} and not pathlib.Path("runs").exists()
    assert gathered.summary()["missing"]["toy.evaluate/one"] == "not begun"
    pieces.complete([training], run)
    (training.path / "result.json").write_text("{")
    assert "result.json has changed since it finished" in pieces.take([training]).missing[training]
    files.remove(training.path / "result.json")
    assert "without a result" in pieces.take([training]).missing[training]


def test_what_a_piece_left(project, run):
    training, evaluation = chain(project)
    gathered = pieces.complete([evaluation], run)
    steps = gathered[training].metrics()
    assert steps["step"].tolist() == [1, 2, 3] and steps["loss"][1] == 0.5
    np.testing.assert_array_equal(steps["last"], [np.nan, np.nan, 1])
    np.testing.assert_array_equal(gathered[evaluation].arrays()["y"], [0, 8, 16])
    np.testing.assert_array_equal(gathered[evaluation].arrays("curve.npz")["x"], [0, 1, 2])
    with pytest.raises(ValueError, match="holds no .npz file"):
        gathered[training].arrays()
    meta = gathered[training].meta
    meta["starts"] = [{"commit": "a" * 40, "dirty": False}, {"commit": "a" * 40, "dirty": True}]
    assert gathered[training].commits == ("a" * 10, "a" * 10 + ", changed") and gathered[training].is_dirty
    meta["starts"] = meta["starts"][:1]
    assert gathered[training].commits == ("a" * 10,) and not gathered[training].is_dirty
    meta["starts"] = [{"commit": None, "dirty": None}]
    assert gathered[training].commits == ("no commit, changed",) and gathered[training].is_dirty


def test_a_result_edited_by_hand_is_not_taken(project, run, capsys):
    training, evaluation = chain(project)
    pieces.complete([evaluation], run)
    result = training.path / "result.json"
    result.write_text(result.read_text().replace("}", ' , "more": 1}'))
    assert "result.json has changed since it finished" in pieces.take([training]).missing[training]
    pieces.complete([evaluation], run)
    assert "running again" in capsys.readouterr().err and "more" not in pieces.take([training])[training].result


def test_a_published_result_says_where_its_pieces_come_from(project, run):
    training, evaluation = chain(project)
    gathered = pieces.complete([evaluation], run)
    stamp = {"device": "cpu", "commit": "c" * 40, "dirty": False}
    gathered[training].meta["starts"] = [{"commit": "a" * 40, "dirty": False}]
    gathered[evaluation].meta["starts"] = [{"commit": "b" * 40, "dirty": False}]
    assert gathered.provenance(stamp) == stamp | {"piece_commits": ["a" * 10, "b" * 10]}
    assert gathered.provenance(stamp, training)["piece_commits"] == ["a" * 10]
    assert "2 of 2 pieces were made at aaaaaaaaaa, bbbbbbbbbb" in pieces._of_another_commit(gathered)
    gathered[evaluation].meta["starts"][0]["dirty"] = True
    assert gathered.provenance(stamp)["dirty"] and not gathered.provenance(stamp, training)["dirty"]
    partly = pieces.Gathered({training: gathered[training]}, {evaluation: "not begun"})
    assert partly.provenance(stamp)["missing"] == [evaluation.key]


def test_a_piece_that_another_process_runs_is_for_later(project, run):
    training, _ = chain(project)
    pieces.complete([training], run)
    files.remove(training.path / "result.json")
    lock = run_directory._acquire(training.path)
    with pytest.raises(run_directory.RunTakenError, match="toy.train/.*the same command goes on once it has ended"):
        pieces.complete([training], run)
    lock.release()


def test_the_guide_is_a_study(project, run, capsys):
    """The docstring of the package as a program: run, taken in part, one piece, a list."""
    study = importlib.import_module("projects.toy.study")
    run.note(verb="toy.study")
    taking = study.main(study.StudyConfig(pieces="take", seeds=(0, 1)), run)
    assert taking["accuracy"] == {} and len(taking["missing"]) == 6
    one = study.main(study.StudyConfig(pieces="toy.train/small_seed1", seeds=(0, 1)), run)
    assert (one["pieces"], one["missing"]) == (1, {})
    listing = study.main(study.StudyConfig(pieces="list", seeds=(0, 1)), run)
    assert listing["pieces"] == 1
    lines = [
        json.loads(line)["pieces"] for line in pathlib.Path("runs/toy.study/pieces.jsonl").read_text().splitlines()
    ]
    assert lines == ["toy.train/small_seed0", *(f"toy.evaluate/small_width{width}_seed1" for width in ("0.5", "1"))]
    command = "python -m launch.run --sweep_file=runs/toy.study/pieces.jsonl -- projects.toy.study --seeds=0,1"
    assert command in capsys.readouterr().out.splitlines()
    result = study.main(study.StudyConfig(seeds=(0, 1)), run)
    assert result["accuracy"]["1"].mean == 1.5 and result["accuracy"]["0.5"].count == 2 and not result["missing"]
    assert len(run.meta()["inputs"]) == 6  # where a piece changes, the study runs again
    with pytest.raises(ValueError, match="--pieces=nothing: expected run, take, list, or a piece"):
        study.main(study.StudyConfig(pieces="nothing"), run)
    assert pieces.only_looks(study.StudyConfig(pieces="take")) and not pieces.only_looks(study.StudyConfig())


@pytest.mark.slow
def test_the_list_is_what_launch_takes(tmp_path):
    """Commands as a user gives them: list, launch, list the rest, launch, evaluate."""
    root = pathlib.Path(__file__).resolve().parents[3]
    for room in ("common", "kernels", "launch"):
        (tmp_path / room).symlink_to(root / room)
    toy.write(tmp_path / "projects")
    (tmp_path / "projects" / "__init__.py").touch()

    def call(*arguments) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for _ in range(2):
        listing = call("-m", "projects.toy.study", "--seeds=0", "--pieces=list")
        command = next(line for line in listing.splitlines() if line.startswith("python -m launch.run"))
        call(*command.split()[1:])
    result = call("-m", "projects.toy.study", "--seeds=0", "--pieces=take")
    assert "accuracy/1/mean = 1" in result and "pieces = 3" in result
    assert (tmp_path / "runs/toy.train/small_seed0/result.json").exists()


def test_parts_are_made_once(tmp_path):
    run, calls = run_directory.open_for_test(tmp_path), []

    def make():
        calls.append(1)
        return {"rows": np.arange(2)}

    assert parts.part(run, "a", make) == parts.part(run, "a", make) == {"rows": [0, 1]}
    assert calls == [1] and (tmp_path / "pieces" / "a.json").is_file()
    with pytest.raises(ValueError, match="None"):
        parts.part(run, "b", lambda: None)


def test_the_bar_counts_expected_time(project, run, monkeypatch):
    """Two finished trainings of 1 and 2 epochs took 10 and 20 s; one of 7 and an evaluation are to come."""
    trainings = [
        Piece(f"of{epochs}", "toy.train", project.TrainConfig(epochs=epochs), cost=epochs) for epochs in (1, 2, 7)
    ]  # fmt: skip
    evaluation = Piece("one", "toy.evaluate", project.EvaluateConfig(checkpoint=str(trainings[2].path)))
    everything = [*trainings, evaluation]
    seconds = {trainings[0]: 10.0, trainings[1]: 20.0}
    assert expected_time.shares(everything, seconds) == [83, 167, 583, 167]  # the evaluation: the median, 20 s
    assert expected_time.shares(everything, {}) == [83, 167, 583, 167]  # by cost; the evaluation: the median training
    assert expected_time.shares(trainings, {}) == [100, 200, 700]
    assert expected_time.shares([evaluation], {}) == [1000]
    pieces.complete(trainings[:2], run)
    for piece, time in seconds.items():
        files.write_json(piece.path / "meta.json", files.read_json(piece.path / "meta.json") | {"seconds": time})
    bars, progress = [], run_directory.Run.progress

    def noted(*arguments):
        bars.append(arguments[1:])
        return progress(*arguments)

    monkeypatch.setattr(run_directory.Run, "progress", noted)
    pieces.complete(everything, run)
    assert bars == [(1000, "4 pieces, thousandths of the time", 250)]


def test_what_a_piece_writes_is_progress_of_its_study(project, run):
    training, evaluation = chain(project)
    pathlib.Path("stop").touch()
    for _ in range(2):
        with pytest.raises(run_directory.Preempted):
            pieces.complete([training], run)
        assert not run.has_progressed(), "flags, metrics and how it ended are no work"
    pathlib.Path("stop").unlink()
    pieces.complete([training], run)
    assert run.has_progressed()
    again = run_directory.open_for_test(run.path)
    pieces.complete([training], again)
    assert not again.has_progressed(), "what was there before this call"


def test_a_stage_has_metrics_of_its_own(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    run.metrics.write(1, loss=1)
    inner = parts.stage(run, "prune")
    inner.metrics.write(1, loss=2)
    assert inner.path == tmp_path / "prune" and inner.checkpoints.parent == inner.path
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,1\n"
    assert (inner.path / "metrics.csv").read_text() == "step,loss\n1,2\n"
