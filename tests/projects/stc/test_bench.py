"""The comparison with peers, beside a made-up one that answers with given weights; tests/peers has the real ones."""

import contextlib
import dataclasses

import numpy as np
import pytest

from common.publishing import markdown
from common.runs import run_directory
from kernels import peers
from projects.stc import bench
from projects.stc.bench_text import bench_text


@dataclasses.dataclass(frozen=True)
class Peer(peers.Peer):
    """Answers without a process: the weights stay where they start, at zero."""

    def ask(self, command, **request):
        if command == "version":
            return dict.fromkeys(("fedjax", "flwr", "jax", "ray"), "1.0")
        problem = np.load(request["problem"])
        assert problem["x"].shape == (3, 40, 64) and problem["x"].dtype == np.float32
        assert (problem["sizes"] == 40).all() and request["steps"] == 2 and request["batch_size"] == 20
        np.savez(request["output"], kernel=problem["kernel"], bias=problem["bias"])
        seconds = [40.0, 20.0] if command == "flower" else 30.0 if request["backend"] == "jit" else 60.0
        return {"seconds": seconds, "start_s": 7.0}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    @contextlib.contextmanager
    def start(name):
        yield Peer(name, None, tmp_path_factory.mktemp("peer"))

    settings = bench.BenchConfig(
        dataset="digits", clients=3, samples=40, rounds=4, repeats=2, learning_rate=0.1, measure=("peers", "rate")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "start", start)
        return bench.main(settings, run_directory.open_for_test(tmp_path_factory.mktemp("run")))


def test_seconds_are_those_of_a_round(result):
    beside = result["peers"]
    seconds = beside["seconds_a_round"]
    assert (seconds["FedJAX, jit"], seconds["FedJAX, pmap"]) == (7.5, 15)
    assert (seconds["Flower"], seconds[bench.OFTEN]) == (10, 5)
    for who, value in seconds.items():
        assert beside["times_faster"][who] == pytest.approx(value / seconds["ours"])
    assert beside["start_s"]["Flower"] == 7 and 0 < seconds["ours"] * 4 < beside["start_s"]["ours"]


def test_accuracy_is_that_of_each_ones_weights(result):
    """At zero all classes are equal and the first is taken: 36 of 359 test images are zeros. Ours has trained."""
    reached = result["peers"]["accuracy"]
    assert reached["Flower"] == reached["FedJAX, jit"] == pytest.approx(0.1, abs=0.01)
    assert reached["ours"] > 0.5


def test_rates_and_the_page(result):
    assert set(result["rate"]["rounds_per_s"]) == set(bench.MEMORY_METHODS)
    row = {"start": 100.0, "ready": 200.0, "peak": 310.0, "samples": 180.0, "residuals": 30.0}
    full = result | {"memory": {"features": 784, "rows": {"1,000 clients of 60, STC 1/100": row}}}
    full["peers"] = full["peers"] | {"load": 3.2}
    text = markdown.text_of(bench_text(full | {"provenance": {"device": "cpu", "date": "2026-11-28T17:00:00"}}))
    assert "| FedJAX, jit | 7,500.0 |" in text and "fedjax 1.0" in text
    assert "Not to be trusted: 3.2 other tasks" in text
    assert "| 1,000 clients of 60, STC 1/100 | 310 | 180 | 30 | 100 |" in text


def test_more_samples_than_there_are():
    with pytest.raises(ValueError, match="clients=100 of samples=600: expected at most 1438 in all"):
        bench.make_problem(bench.BenchConfig(dataset="digits", clients=100))
