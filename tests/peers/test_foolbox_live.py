"""Beside Foolbox and ART from the same starts: `make peers-foolbox` builds them, `make peers` runs this."""

import numpy as np
import pytest

from common.runs import run_directory
from projects.levy_attack import arms, bench, train

PEER = "foolbox"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def problem(peer, tmp_path_factory):
    """An MLP trained on the digits, and 30 images with starts."""
    folder = tmp_path_factory.mktemp("victims")
    train.main(arms.training_piece("digits").settings, run_directory.open_for_test(folder / "mlp"))
    return bench.make_problem(str(folder), "mlp", 30, peer, dataset="digits")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_distances_at_equal_queries_are_those_of_foolbox(problem, backend):
    """The same law with other random numbers: medians of 30 images, of paired ratios, within a fifth."""
    steps = 3000 if backend == "torch" else 1000
    ours = problem.ours(2.0, round(bench.QUERIES_A_STEP * steps) + 2).distance
    theirs = problem.theirs("boundary", backend=backend, steps=steps)["distances"]
    assert np.all(np.asarray(problem.victim.predict(problem.peer.get("output.npy"))) != problem.labels)
    assert np.median(ours / theirs) < 1.2
    assert np.median(theirs / ours) < 1.2


def test_longer_first_steps_are_no_worse_than_art(problem):
    answer = problem.theirs("art", budget=500)
    ours = problem.ours(2.0, 502, delta=0.05, eps=0.002).distance
    assert answer["queries"] <= 30 * 500
    assert np.median(ours / answer["distances"]) < 1.2
