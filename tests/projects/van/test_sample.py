"""Sampling from a checkpoint: killed and resumed to the same estimates; beside the network alone; old checkpoints."""

import collections
import dataclasses

import numpy as np
import pytest

from common import config, files, weight_files
from common.runs import run_directory
from common.training import checkpoint
from kernels import ising
from kernels.autoregressive import accumulate
from projects.van import sample, weights
from projects.van.config import TrainConfig, network_of
from projects.van.sample import SampleConfig

TRAINED = TrainConfig(rows=3, depth=1, channels=1, half_width=2, beta=0.15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run directory of train with weights that nobody trained: they need much correction."""
    path = tmp_path_factory.mktemp("trained")
    weight_files.save_tree(path / weights.FILE, weights.fresh(network_of(TRAINED), 5))
    (path / "flags.txt").write_text(config.flags_text(TRAINED))
    return path


def run_in(path, settings):
    run = run_directory.open_for_test(path)
    return sample.main(settings, run), run


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    settings = SampleConfig(checkpoint=str(folder), samples=5300, chunk=500, window=(0.1, 0.2))
    return settings, *run_in(tmp_path_factory.mktemp("whole"), settings)


def test_estimates_are_corrected(whole):
    _, result, run = whole
    assert result["samples"] == 5300
    for beta, row in ((0.15, None), (0.1, result["window"][0]), (0.2, result["window"][1])):
        exact = ising.kaufman_torus(3, 3, beta)
        ln_z = result["estimates"]["ln_z"]
        value, error = (row["ln_z"], row["ln_z_error"]) if row else (ln_z["nis"], ln_z["nis_error"])
        assert abs(value - exact.ln_z) < 6 * error, beta
        if row:
            assert row["exact_ln_z"] == pytest.approx(exact.ln_z) and abs(row["u"] - exact.u) < 6 * row["u_error"]
    assert result["window"][0]["ess"] > result["ess"] > result["window"][1]["ess"]
    assert {path.stem for path in (run.path / "plots").glob("*.png")} == {"weights", "chain", "correction", "samples"}


@pytest.mark.parametrize("interrupted_after", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_a_killed_run_ends_with_the_same_estimates(whole, tmp_path, monkeypatch, interrupted_after):
    settings, uninterrupted, finished = whole
    settings = dataclasses.replace(settings, checkpoint_seconds=0.0)
    original, calls = accumulate.update, []

    def failing(*args):
        calls.append(1)
        if len(calls) == interrupted_after + 2:  # the pilot's is the first
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(accumulate, "update", failing)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, settings)
    monkeypatch.setattr(accumulate, "update", original)
    result, run = run_in(tmp_path, settings)
    assert files.clean(result) == files.clean(uninterrupted)
    finished.finish(uninterrupted)
    comparison = sample.comparison(result, str(finished.path), run)
    assert comparison["resumed_after"] == [500 * interrupted_after]
    assert comparison["unequal"] == 0 and comparison["numbers"] > 50
    assert sample.comparison(result | {"ess": np.nextafter(result["ess"], 0)}, str(finished.path), run)["unequal"] == 1
    with pytest.raises(ValueError, match="--same_as"):
        sample.comparison(result, str(tmp_path), run)


def test_a_mean_over_images_stands_beside_the_network_alone(folder, whole, tmp_path):
    _, alone, _ = whole
    mean, _ = run_in(tmp_path, dataclasses.replace(whole[0], images=6, window=()))
    assert mean["network_ess"] == alone["ess"] != mean["ess"]
    ln_z, plain = mean["estimates"]["ln_z"], alone["estimates"]["ln_z"]
    assert mean["network_raw_ln_z"] == pytest.approx(plain["raw"], rel=1e-12) and plain["raw"] < ln_z["raw"]
    assert mean["network_nis_ln_z"] == plain["nis"] != ln_z["nis"]
    assert abs(ln_z["nis"] - ln_z["exact"]) < 6 * ln_z["nis_error"]


def test_a_checkpoint_of_an_older_version_is_refused_with_the_reason(whole, tmp_path):
    """Its first samples stood under another name: the state that differs is named, and what to do."""
    settings, _, finished = whole
    step, (sums, others) = checkpoint.Checkpointer(finished.checkpoints).restore_latest(
        (accumulate.init(np.zeros(5)), tuple(accumulate.init(np.zeros(5)).weighted for _ in settings.window))
    )
    fields = sums._asdict()
    fields["kept"] = fields.pop("head")
    run = run_directory.open_for_test(tmp_path)
    checkpoint.Checkpointer(run.checkpoints).save(step, (collections.namedtuple("Gathered", fields)(**fields), others))
    with pytest.raises(ValueError, match=r"state\[0\]\.head is not in the checkpoint .* --overwrite starts afresh"):
        sample.main(settings, run)


def test_what_is_no_training_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model.safetensors"):
        sample.load(str(tmp_path), run_directory.open_for_test(tmp_path))
