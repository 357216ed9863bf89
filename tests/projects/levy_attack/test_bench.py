"""The comparison with peers, beside a made-up one that answers with its starts; tests/peers has the real ones."""

import contextlib
import dataclasses

import numpy as np
import pytest

from common.publishing import markdown
from common.runs import run_directory
from kernels import peers
from projects.levy_attack import arms, bench, train
from projects.levy_attack.page import bench_text


@dataclasses.dataclass(frozen=True)
class Peer(peers.Peer):
    """Answers without a process."""

    def ask(self, command, **files):
        if command == "version":
            return dict.fromkeys(("foolbox", "adversarial-robustness-toolbox", "jax", "torch"), "1.0")
        problem, network = np.load(files["problem"]), np.load(files["network"])
        assert network["mean"].dtype == np.float32 and len(network.files) == 6  # two layers, mean and deviation
        np.save(files["output"], problem["starts"])
        return {"seconds": 1.5, "queries": 100}


@pytest.mark.slow
def test_a_peer_that_stays_at_its_starts_is_farther(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def start(name):
        yield Peer(name, None, tmp_path)

    make_problem = bench.make_problem
    monkeypatch.setattr(peers, "start", start)
    monkeypatch.setattr(bench, "make_problem", lambda *arguments: make_problem(*arguments, dataset="digits"))
    train.main(arms.training_piece("digits").settings, run_directory.open_for_test(tmp_path / "mlp"))
    settings = bench.BenchConfig(
        checkpoints=str(tmp_path), speed=False, quality=("mlp", "art"), images=8, art_images=8, runs=2, steps=200
    )
    result = bench.main(settings, run_directory.open_for_test(tmp_path / "bench"))
    for comparison, beside in zip(result["quality"].values(), ("Foolbox, torch", "ART"), strict=True):
        assert comparison["beside"] == beside and (comparison["images"], comparison["runs"]) == (8, 2)
        for who in ("ours", "ours, longer first steps"):
            assert comparison["paired_ratio"][who] < 1
            expected = comparison["median_l2"][who] / comparison["median_l2"][beside]
            assert comparison["ratio"][who] == pytest.approx(expected)
    text = markdown.text_of(bench_text(result | {"provenance": {"device": "cpu", "date": "2026-11-28"}}))
    assert text.count("| MLP 784-128-10 |") == 4 and "foolbox 1.0" in text
