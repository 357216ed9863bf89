"""Beside Foolbox and ART from the same starts: `make peers-foolbox` builds them, `make peers` runs this."""

import numpy as np
import pytest

from common.runs import run_directory
from common.training import checkpoint
from projects.levy_attack import bench, tables, train

PEER = "foolbox"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(peer, tmp_path_factory):
    """A peer, an MLP trained on the digits, and 30 images with starts: (peer, victim, arrays, paths)."""
    folder = tmp_path_factory.mktemp("victims")
    run = run_directory.open_for_test(folder / "mlp")
    train.main(tables.SMALL_VICTIM, run)
    assert checkpoint.load_tree(folder / "mlp")
    settings = bench.BenchConfig(checkpoints=str(folder))
    return (peer, *bench._given(settings, "mlp", 30, peer, dataset="digits"))


def distances(paths, arrays):
    found = np.load(paths["output"], allow_pickle=False) - arrays["x"]
    return np.linalg.norm(found.reshape(len(found), -1).astype(np.float64), axis=1)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_distances_at_equal_queries_are_those_of_foolbox(given, backend):
    """The same law with other random numbers: medians of 30 images, of paired ratios, within a fifth."""
    peer, victim, arrays, paths = given
    steps = 3000 if backend == "torch" else 1000
    ours = bench._ours(victim, arrays, 2.0, round(bench.QUERIES_A_STEP * steps) + 2)[0]
    peer.ask("boundary", **paths, backend=backend, steps=steps)
    theirs = distances(paths, arrays)
    assert np.all(np.asarray(victim.predict(np.load(paths["output"], allow_pickle=False))) != arrays["labels"])
    assert np.median(ours.distance / theirs) < 1.2
    assert np.median(theirs / ours.distance) < 1.2


def test_longer_first_steps_are_no_worse_than_art(given):
    peer, victim, arrays, paths = given
    answer = peer.ask("art", **paths, budget=500)
    ours = bench._ours(victim, arrays, 2.0, 502, delta=0.05, eps=0.002)[0]
    assert answer["queries"] <= 30 * 500
    assert np.median(ours.distance / distances(paths, arrays)) < 1.2
