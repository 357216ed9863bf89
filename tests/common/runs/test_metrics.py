"""metrics.csv: exact numbers, stable columns, half-written lines, cutting back; trackers and progress."""

import io
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from common.runs import metrics


def rows(path):
    return path.read_text()


def test_numbers_read_back_to_the_bit(tmp_path):
    writer = metrics.Metrics(tmp_path / "m.csv")
    single = np.float32(0.1)
    writer.write(1, a=single, b=1 / 3, c=7, d=jnp.asarray(2.5, jnp.bfloat16), e=np.nan, f=-np.inf, g=None, h=True)
    assert rows(tmp_path / "m.csv") == "step,a,b,c,d,e,f,g,h\n1,0.1,0.3333333333333333,7,2.5,nan,-inf,,1\n"
    with pytest.raises(ValueError, match=r"one number, not an array of shape \[2\]"):
        writer.write(2, a=np.zeros(2))


def test_column_that_appears_later(tmp_path):
    writer = metrics.Metrics(tmp_path / "m.csv")
    writer.write(1, loss=1.0)
    writer.write(2, loss=0.5, accuracy=0.9)
    writer.write(3, loss=0.25)
    assert rows(tmp_path / "m.csv") == "step,loss,accuracy\n1,1.0,\n2,0.5,0.9\n3,0.25,\n"


def test_name_with_a_comma_is_quoted(tmp_path):
    metrics.Metrics(tmp_path / "m.csv").write(1, **{'a,"b"': 1})
    assert metrics.read(tmp_path / "m.csv") == (["step", 'a,"b"'], [{"step": "1", 'a,"b"': "1"}])


def test_half_written_line_is_dropped_and_the_file_goes_on(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n1,1.0\n2,0.5\n3,0.2")
    writer = metrics.Metrics(path)
    assert rows(path) == "step,loss\n1,1.0\n2,0.5\n"
    writer.write(3, loss=0.25)
    assert rows(path) == "step,loss\n1,1.0\n2,0.5\n3,0.25\n"


@pytest.mark.parametrize("junk", [b"", b"step,lo", b"\xff\xfe\n1,2\n", b"loss\n1\n"])
def test_damaged_file_is_begun_again(tmp_path, junk):
    path = tmp_path / "m.csv"
    path.write_bytes(junk)
    metrics.Metrics(path).write(1, loss=1)
    assert rows(path) == "step,loss\n1,1\n"


def test_cut_back_restores_the_file_as_it_was(tmp_path):
    path = tmp_path / "m.csv"
    writer = metrics.Metrics(path)
    writer.write(1, loss=1.0)
    writer.write(2, loss=0.5)
    before = rows(path)
    writer.write(3, loss=0.2, accuracy=1)
    writer.close()
    again = metrics.Metrics(path)
    again.cut_back(2)
    assert rows(path) == before
    again.write(3, loss=0.2, accuracy=1)
    assert rows(path) == "step,loss,accuracy\n1,1.0,\n2,0.5,\n3,0.2,1\n"
    again.cut_back(-1)
    assert rows(path) == "step\n"


def test_first_write_after_reopening_drops_what_it_repeats(tmp_path):
    path = tmp_path / "m.csv"
    first = metrics.Metrics(path)
    for step in range(5):
        first.write(step, loss=step)
    first.close()
    second = metrics.Metrics(path)
    second.write(2, loss=20)
    second.write(2, extra=1)  # the same step once more, in the same process: both rows stay
    assert rows(path) == "step,loss,extra\n0,0,\n1,1,\n2,20,\n2,,1\n"


def test_disabled_writer_touches_nothing(tmp_path):
    writer = metrics.Metrics(tmp_path / "m.csv", enabled=False)
    writer.write(1, loss=1)
    writer.cut_back(0)
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_tracker_errors_name_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="--trackers=wandb needs the package wandb .* pip install wandb"):
        metrics.open_trackers(["wandb"], tmp_path, "p.v", {})
    with pytest.raises(ValueError, match="expected any of tensorboard, wandb"):
        metrics.open_trackers(["mlflow"], tmp_path, "p.v", {})


@pytest.fixture
def wandb_calls(monkeypatch):
    calls = []

    class Wandb:
        def init(self, **options):
            calls.append(options)
            return self

        def log(self, scalars, step):
            calls.append((step, scalars))

        def finish(self):
            calls.append("finish")

    monkeypatch.setitem(sys.modules, "wandb", Wandb())
    for name in ("WANDB_PROJECT", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_wandb_gets_numbers(tmp_path, wandb_calls):
    trackers = metrics.open_trackers(["wandb"], tmp_path, "p.v", {"seed": "1"})
    writer = metrics.Metrics(tmp_path / "m.csv", trackers=trackers)
    writer.write(3, loss=np.float32(0.5), unknown=None)
    writer.close()
    first = wandb_calls[0]
    assert first["resume"] == "allow" and first["config"] == {"seed": "1"}
    assert first["project"] == "havel" and first["name"] == f"p.v.{tmp_path.name}"
    assert wandb_calls[1:] == [(3, {"loss": 0.5}), "finish"]


def test_wandb_continues_the_run_of_a_directory_and_mixes_no_two(tmp_path, wandb_calls, monkeypatch):
    """Jobs of two sweeps have the same name."""
    folders = [tmp_path / sweep / "seed=0" for sweep in ("first", "second")]
    for folder in folders:
        folder.mkdir(parents=True)
        metrics.open_trackers(["wandb"], folder, "p.v", {})
    moved = tmp_path / "moved"
    folders[0].rename(moved)
    metrics.open_trackers(["wandb"], moved, "p.v", {})
    first, second, again = (call["id"] for call in wandb_calls)
    assert first == again != second and len(first) == 16
    monkeypatch.setenv("WANDB_PROJECT", "of the lab")
    metrics.open_trackers(["wandb"], moved, "p.v", {})
    assert wandb_calls[-1]["project"] == "of the lab" and wandb_calls[-1]["id"] == first


def test_tensorboard_file(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    trackers = metrics.open_trackers(["tensorboard"], tmp_path, "p.v", {})
    writer = metrics.Metrics(tmp_path / "m.csv", trackers=trackers)
    writer.write(3, loss=0.5)
    writer.close()
    from tensorboard.backend.event_processing import event_file_loader

    (path,) = (tmp_path / "tensorboard").iterdir()
    events = [event for event in event_file_loader.EventFileLoader(str(path)).Load() if event.summary.value]
    assert [(event.step, event.summary.value[0].tag) for event in events] == [(3, "loss")]


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    shown = metrics.Progress(200, "train", start=100, stream=stream)
    for _ in range(50):
        clock[0] += 1.0
        shown.update(1, loss=0.123456)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "train 130/200 (65 %), 1/s, 0:01:10 left, loss 0.1235",
        "train 150/200 (75 %), 1/s, 0:00:50 left, loss 0.1235",
    ]


def test_progress_on_a_terminal_is_a_bar():
    stream = io.StringIO()
    stream.isatty = lambda: True
    shown = metrics.Progress(10, "train", stream=stream)
    shown.update(10, loss=0.5)
    shown.close()
    assert "train: 100%" in stream.getvalue() and "loss=0.5" in stream.getvalue()


def test_progress_counts_what_is_done_with():
    progress = metrics.Progress(3, "items", stream=io.StringIO())
    counts = [progress.done for _ in progress.over("abc")]
    assert counts == [0, 1, 2] and progress.done == 3
