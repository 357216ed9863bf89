"""A tiny training end to end: what it leaves, that it learns, and that a killed one ends as if it had never been."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from flax import nnx

from common import models, weight_files
from common.models import zoo
from common.runs import metrics, run_directory
from projects.deepcabac import sparsification, train, variational_dropout
from projects.deepcabac.config import TrainConfig
from tests.projects.deepcabac.tiny import TINY

ROOT = pathlib.Path(__file__).resolve().parents[3]
KILLED = {
    "dataset": "digits", "width": 0.1, "epochs": 12, "batch_size": 64, "learning_rate": 0.01, "kl_warmup": 2,
    "shift": 1, "fine_tune_epochs": 2, "checkpoint_steps": 10,
}  # fmt: skip
STEPS = 12 * (1151 // 64)  # 1,438 digits, a fifth of them kept apart


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny training: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("train"))
    return run, train.main(TINY, run)


def test_it_learns_and_prunes(finished):
    _, result = finished
    assert result["validation_accuracy"] > 0.85
    assert result["test_accuracy"] > 0.85
    assert result["nonzero_percent"] < 60
    assert set(result["nonzero_percent_by_layer"]) == {"fc1", "fc2", "fc3"}
    assert result["float32_bytes"] == 4 * (784 * 60 + 60 + 60 * 20 + 20 + 20 * 10 + 10)


def test_weights_load_into_the_plain_network(finished):
    run, result = finished
    weights = weight_files.load_tree(run.path)
    plain = models.create("lenet_300_100", rngs=nnx.Rngs(0), width=0.2)
    loaded = models.to_tree(models.from_tree(plain, weights))
    np.testing.assert_array_equal(loaded["fc1"]["kernel"], weights["fc1"]["kernel"])
    share = 100 * np.count_nonzero(weights["fc1"]["kernel"]) / weights["fc1"]["kernel"].size
    assert share == pytest.approx(result["nonzero_percent_by_layer"]["fc1"])


def test_sigma_belongs_to_the_kernels(finished):
    run, _ = finished
    weights = weight_files.flatten(weight_files.load_tree(run.path / "model.safetensors"))
    sigma = weight_files.flatten(weight_files.load_tree(run.path / "sigma.safetensors"))
    assert set(sigma) == {path for path in weights if path.endswith("/kernel")}
    for path, deviations in sigma.items():
        assert deviations.shape == weights[path].shape and np.all(deviations > 0)
        is_nonzero = weights[path] != 0
        ratio = deviations[is_nonzero] ** 2 / weights[path][is_nonzero] ** 2
        assert np.all(np.log(ratio) < TINY.log_alpha_threshold + 1e-3)


def test_metrics_and_pictures(finished):
    run, result = finished
    _, rows = metrics.read(run.metrics.path)
    last = rows[-1]
    assert int(last["step"]) == result["steps"]
    assert float(last["validation_accuracy"]) == pytest.approx(result["validation_accuracy"])
    assert float(rows[0]["kl_weight"]) < float(last["kl_weight"]) == pytest.approx(TINY.kl_weight)
    assert {"training", "sparsity"} <= {path.stem for path in run.plots.glob("*.png")}


@pytest.mark.slow
def test_magnitude_pruning_reaches_its_density(tmp_path):
    settings = dataclasses.replace(
        TINY, method="magnitude", density=0.2, pruning_interval=5, learning_rate=1.5e-3, epochs=24
    )
    result = train.main(settings, run_directory.open_for_test(tmp_path))
    assert result["nonzero_percent"] == pytest.approx(20, abs=0.1)
    assert result["validation_accuracy"] > 0.75
    assert not (tmp_path / "sigma.safetensors").exists()


@pytest.mark.slow
def test_fine_tuning_moves_only_what_is_left():
    settings = dataclasses.replace(TINY, width=0.05, epochs=3, fine_tune_epochs=1, initial_log_variance=-5.0)
    network = variational_dropout.create_network(settings, zoo.load_dataset("digits"))
    plan = sparsification.make_plan(settings, 2 * settings.batch_size)
    merge, state = sparsification.initial_state(settings, network, plan)
    step = jax.jit(sparsification.make_step(settings, merge, plan, lambda images: images / 255.0))

    def kernel(state) -> np.ndarray:
        network = sparsification.sparse_network(settings, merge, state, plan)
        return variational_dropout.stored_trees(network)[0]["fc1"]["kernel"]

    images = np.random.default_rng(0).integers(0, 255, (32, 28, 28, 1), np.uint8)
    batch = {"images": images, "labels": np.arange(32) % 10}
    for _ in range(plan.sparsify):
        state, info = step(state, batch)
    before = kernel(state)
    assert all(np.all(mask == 1) for mask in state.extra.values())
    for _ in range(plan.sparsify, plan.total):
        state, info = step(state, batch)
        assert float(info["kl_weight"]) == 0.0
    after = kernel(state)
    assert 0 < np.count_nonzero(before) < before.size
    np.testing.assert_array_equal(before != 0, after != 0)
    assert np.any(before != after)


def test_pruning_end_before_start_is_refused():
    with pytest.raises(ValueError, match="pruning_end"):
        TrainConfig(method="magnitude", pruning_start=0.5, pruning_end=0.4)


def test_too_many_training_images_are_refused():
    with pytest.raises(ValueError, match="--train_images=5000, but digits has 1438"):
        train.load_dataset(TrainConfig(dataset="digits", train_images=5000))


@pytest.mark.slow
def test_the_demo_learns_on_digits_where_there_is_no_mnist(tmp_path, monkeypatch):
    for variable in ("DATA_DIR", "HAVEL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("HAVEL_MIRROR", "http://127.0.0.1:9/")  # refuses at once
    (tmp_path / "DATA_DIR").mkdir()
    settings = TrainConfig(dataset="mnist", fallback="digits", epochs=25, batch_size=256, learning_rate=4e-3, shift=1)
    result = train.main(settings, run_directory.open_for_test(tmp_path / "run"))
    assert result["dataset"] == "digits" and result["fallback_for"] == "mnist"
    assert result["test_accuracy"] > 0.95
    assert result["nonzero_percent"] < 5


def start(path: pathlib.Path, **changes) -> subprocess.Popen:
    flags = [f"--{name}={value}" for name, value in (KILLED | changes).items()]
    command = [sys.executable, "-m", "projects.deepcabac.train", f"--run_dir={path}", "--noreport", *flags]
    with (path.parent / f"{path.name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, env=os.environ)


def newest(path: pathlib.Path) -> int:
    """The newest checkpoint's step."""
    return max([int(item.name) for item in path.glob("checkpoints/*") if item.name.isdigit()], default=0)


def kill_at(process: subprocess.Popen, path: pathlib.Path, step: int, delay: float) -> None:
    """Kills a training when it has passed a checkpoint of `step`, `delay` seconds later."""
    while newest(path) < step and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def outcome(path: pathlib.Path) -> dict:
    """What a training leaves, to the byte."""
    assert (path / "result.json").exists(), (path.parent / f"{path.name}.log").read_text()
    names = ("model.safetensors", "sigma.safetensors", "metrics.csv")
    left = {name: (path / name).read_bytes() for name in names if (path / name).exists()}
    return left | {"result": json.loads((path / "result.json").read_text())}


@pytest.mark.slow
def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path):
    whole = start(tmp_path / "whole")
    killed = start(tmp_path / "killed")
    kill_at(killed, tmp_path / "killed", step=random.randrange(1, STEPS // 2), delay=random.uniform(0, 0.05))
    assert not (tmp_path / "killed" / "result.json").exists()
    again = start(tmp_path / "killed")
    assert whole.wait() == 0 and again.wait() == 0, (tmp_path / "killed.log").read_text()
    assert "resumed after step" in (tmp_path / "killed.log").read_text()
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "magnitude", "density": 0.3, "pruning_interval": 10},
        {"model": "lenet5", "width": 0.2, "batch_size": 128},
    ],
    ids=["sparse_vd", "magnitude", "lenet5"],
)
def test_ten_kills(tmp_path, changes):
    whole = start(tmp_path / "whole", **changes)
    path, kills = tmp_path / "killed", 0
    for _ in range(10):
        process = start(path, **changes)
        kill_at(process, path, step=newest(path) + random.choice([0, 1, 6]), delay=random.uniform(0, 0.3))
        kills += process.returncode == -signal.SIGKILL and not (path / "result.json").exists()
    assert start(path, **changes).wait() == 0
    assert whole.wait() == 0
    assert kills >= 5, "the training ended before it could be killed often"
    assert outcome(path) == outcome(tmp_path / "whole")
