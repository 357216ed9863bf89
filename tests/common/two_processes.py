"""One of two processes of `test_processes.py`: `python two_processes.py FOLDER`, its place told by JAX_PROCESS_ID.

Each part asserts for itself; a failure ends this process and, through the lost connection, the other.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from common import mesh, processes
from common.runs import run_directory
from common.training import supervised
from common.training.checkpoint import Checkpointer

RANK = None


class Recorder(np.ndarray):
    """An array on the host that notes which rows were read."""

    seen: set

    def __getitem__(self, index):
        if isinstance(index, np.ndarray):
            self.seen.update(index.tolist())
            return np.asarray(self).__getitem__(index)
        return super().__getitem__(index)


def reads_only_its_part(folder):
    """Each process reads its half of every batch, and both end with the state of one process."""
    images = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32).view(Recorder)
    images.seen = set()
    sums = []

    def step(state, batch):
        return {"sum": state["sum"] * 0.9 + batch.mean(0), "key": jax.random.split(state["key"], 1)[0]}, {
            "noise": jax.random.normal(state["key"], (8, 3)).sum() + batch.sum()
        }

    state = {"sum": jnp.zeros(3), "key": jax.random.key(3)}
    run = run_directory.open_for_test(folder / "train", is_main=RANK == 0)
    if RANK:
        run.metrics.close()
    final = supervised.train(
        run,
        step,
        state,
        images,
        supervised.Plan(epochs=1, batch_size=8, seed=5, log_every=1),
        evaluate=lambda state: sums.append(np.asarray(state["sum"])) or {"first": state["sum"][0]},
    )
    order = supervised.permutation(5, 0, 24).reshape(3, 2, 4)
    assert images.seen == set(order[:, RANK].ravel().tolist()), "rows of the other process were read"
    expected, key = np.zeros(3), jax.random.key(3)
    for batch in order.reshape(3, 8):
        expected, key = expected * 0.9 + np.asarray(images).take(batch, 0).mean(0), jax.random.split(key, 1)[0]
    np.testing.assert_allclose(final["sum"], expected, rtol=1e-5)
    assert (jax.random.key_data(final["key"]) == jax.random.key_data(key)).all()
    assert final["sum"].is_fully_addressable and len(sums) == 1, "what comes back is the process's own"


def splits_uneven_batches(folder):
    """Three examples over two processes: the sum and the mean are those of one process."""
    run = run_directory.open_for_test(folder / "uneven", is_main=RANK == 0)
    if RANK:
        run.metrics.close()
    final = supervised.train(
        run,
        lambda state, batch: (state * 0.5 + batch.mean(0), {"sum": batch.sum()}),
        jnp.zeros(1),
        np.arange(9, dtype=np.float32).reshape(9, 1),
        supervised.Plan(epochs=1, batch_size=3, seed=0),
    )
    expected = np.zeros(1)
    for batch in supervised.permutation(0, 0, 9).reshape(3, 3):
        expected = expected * 0.5 + batch.mean()
    np.testing.assert_allclose(final, expected, rtol=1e-6)


def checkpoints(folder):
    """Whole and split arrays, keys and numbers come back to the bit; each process writes its part."""
    line = mesh.make_mesh()
    whole = np.array([-0.0, np.nan, 1e-45, 3.0], np.float32)
    split = np.arange(8, dtype=np.int64).astype(np.int32)
    state = mesh.replicate({"whole": whole, "key": jax.random.key(7), "half": jnp.ones(3, jnp.bfloat16) / 3}, line)
    state["split"] = jax.make_array_from_callback((8,), mesh.batch_sharding(line), lambda index: split[index])
    state["empty"] = mesh.replicate(np.zeros((0, 2), np.float32), line)
    state["count"] = 5
    own = folder / "checkpoints"
    checkpointer = Checkpointer(own)
    assert checkpointer.restore_latest(state) is None
    checkpointer.save(1, state, wait=False)
    checkpointer.save(2, state | {"count": 6})
    assert all((own / "00000001" / "default" / f"ocdbt.process_{rank}").is_dir() for rank in (0, 1))
    processes.wait_for_all("saved")
    if RANK == 0:
        for path in own.glob("00000002/**/*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    processes.wait_for_all("damaged")
    step, actual = checkpointer.restore_latest(state)
    assert step == 1 and actual["count"] == 5, "the newest is damaged, both take the one before"
    for name in ("whole", "half", "split", "empty"):
        assert actual[name].sharding == state[name].sharding and actual[name].dtype == state[name].dtype, name
        for left, right in zip(actual[name].addressable_shards, state[name].addressable_shards, strict=True):
            assert np.asarray(left.data).tobytes() == np.asarray(right.data).tobytes(), name
    checkpointer.close()
    processes.SHARED_SECONDS = 1.0
    try:
        Checkpointer(folder / f"elsewhere{RANK}").save(1, state)
    except ValueError as error:
        assert "not seen by process 1 of 2: give a --run_dir on a file system that all nodes" in str(error)
    else:
        raise AssertionError("a folder of one process was taken for one of both")
    assert (jax.random.normal(mesh.to_local(actual)["key"], (3,)) == jax.random.normal(jax.random.key(7), (3,))).all()
    assert processes.broadcast_bytes(b"from 0" if RANK == 0 else b"from another, longer") == b"from 0"
    processes.BROADCAST_BYTES = 4
    for length in (3, 4, 5, 8):  # in pieces
        assert processes.broadcast_bytes(bytes(range(length)) if RANK == 0 else b"") == bytes(range(length))
    assert (
        processes.broadcast_bytes(b"") == b""
        and processes.broadcast_flag(RANK == 0)
        and not processes.broadcast_flag(RANK == 1)
    )


def refuses_different_beginnings(folder):
    try:
        mesh.replicate({"w": np.full(2, RANK, np.float32)}, mesh.make_mesh())
    except ValueError as error:
        assert RANK == 1 and "begin with different values: make them from the seed alone" in str(error)
    else:
        assert RANK == 0, "process 1 began with other values than process 0, and nobody noticed"


def tells_losses_from_errors(folder):
    assert processes.is_loss_of_peer(jax.errors.JaxRuntimeError("UNAVAILABLE: peer"))
    assert processes.is_loss_of_peer(ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"))
    assert not processes.is_loss_of_peer(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 3 GiB"))
    assert not processes.is_loss_of_peer(ValueError("weights of shape [3]"))


if __name__ == "__main__":
    processes.start_distributed()
    RANK = jax.process_index()
    parts = (reads_only_its_part, splits_uneven_batches, refuses_different_beginnings, checkpoints)
    for part in (*parts, tells_losses_from_errors):
        part(pathlib.Path(sys.argv[1]))
        processes.wait_for_all(part.__name__)
