"""A training that reads its batches gives the numbers of one with arrays, killed or not; memory stays flat."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.datasets import records
from common.runs import run_directory
from common.training import streams, supervised

ARRAYS = {"x": np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32), "y": np.arange(23, dtype=np.float32)}
PLAN = supervised.Plan(epochs=3, batch_size=5, seed=7, log_every=2, checkpoint_steps=2)


class Source:
    """Examples without files."""

    def __len__(self):
        return len(ARRAYS["y"])

    def __getitem__(self, index):
        return {name: array[index] for name, array in ARRAYS.items()}


def step(state, batch):
    gradient = jax.grad(lambda w: ((batch["x"] @ w - batch["y"]) ** 2).mean())(state)
    return state - 0.01 * gradient, {"first": batch["y"][0]}


def train(folder, data, advance=step, plan=PLAN):
    return np.asarray(supervised.train(run_directory.open_for_test(folder), advance, jnp.zeros(3), data, plan))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    return train(folder, ARRAYS), (folder / "metrics.csv").read_text()


def test_a_stream_gives_the_numbers_of_arrays(tmp_path, expected):
    records.write(tmp_path / "set", ({name: a[i] for name, a in ARRAYS.items()} for i in range(23)), per_file=9)
    for name, source in (("files", records.Records(tmp_path / "set")), ("objects", Source())):
        state = train(tmp_path / name, streams.shuffled(source, batch_size=5, seed=7))
        assert state.tobytes() == expected[0].tobytes()
        assert (tmp_path / name / "metrics.csv").read_text() == expected[1]


@pytest.mark.parametrize("last", [1, 4, 7])
def test_a_killed_stream_goes_on_where_it_was(tmp_path, expected, last):
    class Killed(Exception):
        pass

    class Ends:
        """An iterator whose process is killed."""

        def __init__(self, iterator):
            self.iterator, self.given = iterator, -1  # the first look is given back

        def __next__(self):
            self.given += 1
            if self.given > last:
                raise Killed
            return next(self.iterator)

        def get_state(self):
            return self.iterator.get_state()

        def set_state(self, state):
            self.iterator.set_state(state)

    stream = streams.shuffled(Source(), batch_size=5, seed=7)
    with pytest.raises(Killed):
        train(tmp_path, streams.Stream(Ends(stream.iterator), stream.epoch_steps))
    state = train(tmp_path, streams.shuffled(Source(), batch_size=5, seed=7))
    assert state.tobytes() == expected[0].tobytes()
    assert (tmp_path / "metrics.csv").read_text() == expected[1]


def test_an_iterator_of_grain(tmp_path):
    import grain

    def stream(repeats):
        batches = grain.MapDataset.source(Source()).seed(1).shuffle().repeat(repeats).batch(5, drop_remainder=True)
        return streams.Stream(iter(batches.to_iter_dataset()), epoch_steps=4)

    train(tmp_path / "whole", stream(None))
    with pytest.raises(ValueError, match="the stream of batches ends before step 5: let it repeat"):
        train(tmp_path / "short", stream(1))


def test_batches_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shape \[4, 3\] in 1 processes: expected batch_size 5 rows"):
        train(tmp_path, streams.shuffled(Source(), batch_size=4, seed=7))
    with pytest.raises(ValueError, match="batch_size 24: expected 1 to 23"):
        streams.shuffled(Source(), batch_size=24, seed=7)


LARGE = """
import json, os, pathlib, signal, sys
import jax.numpy as jnp
from common import memory
from common.datasets import records
from common.runs import run_directory
from common.training import streams, supervised
folder, name, last = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
peaks = []
def step(state, batch):
    return state * 0.9 + batch["images"].astype(jnp.float32).mean(0), {"mean": batch["images"].mean()}
stream = streams.shuffled(records.Records(folder / "set"), batch_size=64, seed=1)
class Watched:
    def __init__(self, iterator): self.iterator, self.count = iterator, 0
    def get_state(self): return self.iterator.get_state()
    def set_state(self, state): self.iterator.set_state(state)
    def __next__(self):
        self.count += 1
        if self.count == 20: peaks.append(memory.peak_mebibytes())
        if self.count == last: os.kill(os.getpid(), signal.SIGKILL)
        return next(self.iterator)
plan = supervised.Plan(epochs=2, batch_size=64, seed=1, log_every=10, checkpoint_steps=25)
state = supervised.train(run_directory.open_for_test(folder / name), step, jnp.zeros((64, 64, 3)),
                         streams.Stream(Watched(stream.iterator), stream.epoch_steps), plan)
grown = memory.peak_mebibytes() - peaks[0]
(folder / f"{name}.json").write_text(json.dumps([float(state.sum()), state.tobytes().hex() if hasattr(state, "tobytes")
                                                 else __import__("numpy").asarray(state).tobytes().hex(), grown]))
"""


@pytest.mark.slow
def test_ten_times_the_memory_killed_and_resumed(tmp_path, request):
    """600 MiB of images, read twice, cost less than 60 MiB beyond what 20 steps have cost."""
    random = np.random.default_rng(0)
    count = 600 * 2**20 // (64 * 64 * 3)
    block = random.integers(0, 256, (1 << 20) + 64 * 64 * 3, np.uint8)
    starts = random.integers(0, 1 << 20, count)
    images = ({"images": block[start : start + 64 * 64 * 3].reshape(64, 64, 3)} for start in starts)
    records.write(tmp_path / "set", images, per_file=8192)
    assert sum(path.stat().st_size for path in (tmp_path / "set").iterdir()) > 500 * 2**20
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath)}

    def start(name, last):
        command = [sys.executable, "-c", LARGE, str(tmp_path), name, str(last)]
        return subprocess.run(command, env=environment, timeout=1200).returncode

    assert start("whole", -1) == 0
    assert start("killed", 700) == -9 and start("killed", 900) == -9 and start("killed", -1) == 0
    whole, killed = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "killed"))
    assert whole[1] == killed[1], "the resumed training is another one"
    assert max(whole[2], killed[2]) < 60, "memory grows with the data"
