"""Training states return to the bit; damaged checkpoints are skipped, ones that do not fit are named."""

import errno
import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common import orbax_files, weight_files
from common.runs import metrics
from common.training import checkpoint, old_checkpoints
from tests.host_devices import xla_flags


def make_state(scale=1.0):
    weights = {
        "fc/1": {"kernel": jnp.linspace(0, scale, 6).reshape(2, 3)},
        "half": jnp.ones(3, jnp.bfloat16) * scale / 3,
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return {
        "weights": weights,
        "optimizer": optimizer.init(weights),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), 2),
        "host": np.array([1, 2**62]),
        "empty": jnp.zeros((0, 4)),
        "step": 7,
        "rate": 1 / 3,
        "flag": True,
        "double": np.float64(1 / 3),
        "nothing": None,
    }


def bits(tree):
    def data(leaf):
        is_key = hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()

    return [data(leaf) for leaf in jax.tree.leaves(tree)]


def damage(directory, step, how):
    """Changes the files that hold the numbers of a checkpoint."""
    for path in (directory / f"{step:08d}").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            data = path.read_bytes()
            path.write_bytes(how(data))


def test_state_returns_to_the_bit(tmp_path):
    saver = checkpoint.Checkpointer(tmp_path)
    state = make_state()
    saver.save(5, state)
    step, restored = checkpoint.Checkpointer(tmp_path).restore_latest(make_state(scale=0.0))
    assert step == 5
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    for left, right in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert type(left) is type(right) and getattr(left, "dtype", None) == getattr(right, "dtype", None)
    assert jax.random.bits(restored["key"]) == jax.random.bits(state["key"])


def test_template_of_shapes_is_enough(tmp_path):
    saver = checkpoint.Checkpointer(tmp_path)
    state = {"w": jnp.arange(3.0), "n": jnp.ones((2, 2), jnp.bfloat16)}
    saver.save(1, state)
    _, restored = saver.restore_latest(jax.eval_shape(lambda: state))
    assert bits(restored) == bits(state)


def test_only_the_last_two_stay(tmp_path):
    saver = checkpoint.Checkpointer(tmp_path)
    for step in (1, 2, 10):
        saver.save(step, {"w": np.full(2, step)})
    assert saver.steps() == [2, 10]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["00000002", "00000010"]


def test_step_written_again_replaces(tmp_path):
    saver = checkpoint.Checkpointer(tmp_path)
    saver.save(1, {"w": np.zeros(2)})
    saver.save(1, {"w": np.ones(2)})
    np.testing.assert_array_equal(saver.restore_latest({"w": np.zeros(2)})[1]["w"], [1, 1])


@pytest.mark.parametrize(
    "how", [lambda data: data[: len(data) // 2], lambda data: data[:-9] + bytes(9), lambda data: b""]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax, which gives up in a thread
def test_damaged_newest_is_skipped_with_a_warning(tmp_path, caplog, how):
    saver = checkpoint.Checkpointer(tmp_path)
    for step in (1, 2):
        saver.save(step, {"w": np.random.default_rng(step).normal(size=200)})
    damage(tmp_path, 2, how)
    step, state = saver.restore_latest({"w": np.zeros(200)})
    assert step == 1
    np.testing.assert_array_equal(state["w"], np.random.default_rng(1).normal(size=200))
    assert "00000002 is damaged and skipped" in caplog.text


def test_altered_byte_of_any_file_does_not_pass(tmp_path, caplog):
    """Orbax alone may return changed numbers; the checksums must notice."""
    checkpoint.Checkpointer(tmp_path).save(1, {"w": np.arange(300.0), "step": 3})
    paths = [path for path in (tmp_path / "00000001" / "default").rglob("*") if path.is_file()]
    assert len(paths) > 3
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
        assert checkpoint.Checkpointer(tmp_path).restore_latest({"w": np.zeros(300), "step": 0}) is None, path
        assert f"the checksum of {path.relative_to(tmp_path / '00000001' / 'default')} does not fit" in caplog.text
        path.write_bytes(data)
    assert checkpoint.Checkpointer(tmp_path).restore_latest({"w": np.zeros(300), "step": 0})[0] == 1
    content = tmp_path / "00000001" / orbax_files.CONTENT
    text = content.read_text()
    content.write_text(text.replace("300", "301", 1))  # a shape, which no sum of a file covers
    assert checkpoint.Checkpointer(tmp_path).restore_latest({"w": np.zeros(300), "step": 0}) is None
    assert "the checksum of content.json does not fit" in caplog.text
    content.write_text(text)
    paths[0].unlink()
    assert checkpoint.Checkpointer(tmp_path).restore_latest({"w": np.zeros(300), "step": 0}) is None


def test_training_goes_on_while_a_state_is_written(tmp_path, monkeypatch):
    """What is donated, or changed on the host, after `save` has returned is in the checkpoint as it was."""
    may_end = threading.Event()
    checksums = checkpoint._checksums
    monkeypatch.setattr(checkpoint, "_checksums", lambda folder: may_end.wait(60) and checksums(folder))
    advance = jax.jit(lambda w: w * 1.5 + 1, donate_argnums=0)
    state = {"w": advance(jnp.arange(1e5)), "host": np.zeros(3)}
    expected = np.array(state["w"])
    with checkpoint.Checkpointer(tmp_path) as saver:
        saver.save(1, state, wait=False)
        assert not saver.steps(), "it is still being written"
        for _ in range(3):
            state["w"] = advance(state["w"])
        state["host"] += 1
        may_end.set()
        step, restored = saver.restore_latest(state)
    assert step == 1 and restored["host"].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(restored["w"], expected)


KILLED = """
import os, sys, jax.numpy as jnp
from common.training import checkpoint
checksums, count = checkpoint._checksums, 0
def dies_in_the_second(folder):
    global count
    count += 1
    return checksums(folder) if count == 1 else os._exit(9)
checkpoint._checksums = dies_in_the_second
saver = checkpoint.Checkpointer(sys.argv[1])
saver.save(1, {"w": jnp.ones(1000)})
saver.save(2, {"w": jnp.zeros(1000)})
"""


def test_a_kill_during_the_save_loses_nothing(tmp_path, request):
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath)}
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment).returncode == 9
    assert list(tmp_path.glob("*00000002*")), "the second was under way"
    with checkpoint.Checkpointer(tmp_path) as saver:
        step, state = saver.restore_latest({"w": jnp.zeros(1000)})
        assert step == 1 and state["w"].tolist() == [1.0] * 1000
        saver.save(2, {"w": jnp.full(1000, 2.0)})
        assert saver.restore_latest(state)[1]["w"].tolist() == [2.0] * 1000
    assert not list(tmp_path.glob("*tmp*"))


def test_what_kept_a_state_from_the_disk_is_said_later(tmp_path, monkeypatch):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_checksums", full)
    saver = checkpoint.Checkpointer(tmp_path)
    saver.save(1, {"w": np.zeros(3)}, wait=False)
    with pytest.raises(OSError, match="No space left"):
        saver.wait()
    with pytest.raises(KeyError), checkpoint.Checkpointer(tmp_path / "other") as other:
        other.save(1, {"w": np.zeros(3)}, wait=False)
        raise KeyError("the error of the training comes first")


def test_the_best_stay(tmp_path):
    scores = {1: 0.5, 2: 0.9, 3: -np.inf, 4: 0.7, 5: 0.9}
    with checkpoint.Checkpointer(tmp_path, keep=2, best=True) as saver:
        for step, score in scores.items():
            saver.save(step, {"w": np.full(2, step)}, score=score)
        assert saver.scores() == {2: 0.9, 5: 0.9}
    with checkpoint.Checkpointer(tmp_path, keep=2, best=True) as saver:
        step, state = saver.restore_latest({"w": np.zeros(2, int)})
        assert step == 5 and state["w"].tolist() == [5, 5], "the later of two that are equal"
        saver.save(5, {"w": np.full(2, 7)}, score=0.95)  # a run that was killed comes to it again
        assert saver.scores() == {2: 0.9, 5: 0.95} and saver.restore_latest(state)[1]["w"].tolist() == [7, 7]


def test_a_checkpoint_of_the_former_kind_is_read(tmp_path, caplog):
    state = make_state()
    leaves = checkpoint._storable(state)
    leaves = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    for step in (1, 2):
        content = {"leaves": orbax_files.mark_empty(leaves), "step": np.int64(step)}
        content["checksum"] = np.uint32(old_checkpoints.checksum(leaves) + (step == 2))
        orbax_files.save(tmp_path / f"{step:08d}", content)
    with checkpoint.Checkpointer(tmp_path) as saver:
        step, restored = saver.restore_latest(make_state(scale=0.0))
        assert step == 1 and bits(restored) == bits(state)
        assert "00000002 is damaged and skipped: its checksum" in caplog.text
        saver.save(2, state)
        assert saver.steps() == [1, 2] and saver.restore_latest(state)[0] == 2
    with pytest.raises(ValueError, match="a training state, not weights"):
        checkpoint.load_tree(tmp_path / "00000001")


OTHER_DEVICES = """
import sys, jax, numpy as np
from common import mesh
from common.training import checkpoint
sharding, keys = mesh.data_sharding(), jax.random.split(jax.random.key(5), 8)
data = {"rows": np.arange(24, dtype=np.float32).reshape(8, 3), "whole": np.arange(5), "empty": np.zeros((0, 4))}
def place(rows, whole, empty, keys):
    if sharding is None: return dict(rows=jax.numpy.array(rows), whole=jax.numpy.array(whole), empty=empty, keys=keys)
    rows, whole = mesh.split_rows(rows, sharding), mesh.on_every_device(whole, sharding)
    return dict(rows=rows, whole=whole, empty=empty, keys=jax.device_put(keys, sharding))
with checkpoint.Checkpointer(sys.argv[1]) as saver:
    if sys.argv[2] == "save":
        saver.save(1, place(**data, keys=keys), wait=False)
    else:
        template = place(**jax.tree.map(np.zeros_like, data), keys=jax.random.split(jax.random.key(0), 8))
        step, state = saver.restore_latest(template)
        for name, array in data.items(): np.testing.assert_array_equal(state[name], array)
        np.testing.assert_array_equal(jax.random.key_data(state["keys"]), jax.random.key_data(keys))
        for name in ("rows", "whole"): assert state[name].sharding == template[name].sharding, name
        assert len(state["rows"].addressable_shards) == jax.device_count()
"""


@pytest.mark.slow
def test_split_arrays_return_onto_another_number_of_devices(tmp_path, request):
    for count, verb in ((4, "save"), (1, "load"), (2, "load"), (8, "load"), (1, "save"), (4, "load")):
        environment = os.environ | {
            "PYTHONPATH": str(request.config.rootpath),
            "XLA_FLAGS": xla_flags(count),
            "JAX_PLATFORMS": "cpu",
        }
        subprocess.run([sys.executable, "-c", OTHER_DEVICES, str(tmp_path), verb], env=environment, check=True)


def test_nothing_to_restore(tmp_path):
    assert checkpoint.Checkpointer(tmp_path / "none").restore_latest({}) is None
    (tmp_path / "00000003.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "00000004").mkdir()
    assert checkpoint.Checkpointer(tmp_path).restore_latest({"w": np.zeros(1)}) is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"w": np.zeros(4)}, r"state\['w'\] is float64 \[4\], but float64 \[3\]"),
        ({"w": np.zeros(3, np.float32)}, r"state\['w'\] is float32 \[3\], but float64 \[3\]"),
        ({"w": np.zeros(3), "v": np.zeros(1)}, r"state\['v'\] is not in the checkpoint"),
        ({}, r"state\['w'\] is only in the checkpoint"),
    ],
)
def test_state_of_another_shape_is_named_and_not_skipped(tmp_path, template, message):
    saver = checkpoint.Checkpointer(tmp_path)
    saver.save(1, {"w": np.zeros(3)})
    with pytest.raises(ValueError, match=message + ".*--overwrite starts afresh"):
        saver.restore_latest(template)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    writer = metrics.Metrics(tmp_path / "metrics.csv")
    saver = checkpoint.Checkpointer(tmp_path / "checkpoints", writer)
    for step in (1, 2, 3):
        writer.write(step, loss=step)
        if step == 2:
            saver.save(step, {"w": np.zeros(1)})
    assert saver.restore_latest({"w": np.zeros(1)})[0] == 2
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,1\n2,2\n"
    assert checkpoint.Checkpointer(tmp_path / "none", writer).restore_latest({}) is None
    assert (tmp_path / "metrics.csv").read_text() == "step\n"


def test_texts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\['name'\]. holds <U5 and not numbers"):
        checkpoint.Checkpointer(tmp_path).save(1, {"name": "lenet"})
    with pytest.raises(ValueError, match="a training state, not weights"):
        checkpoint.Checkpointer(tmp_path).save(1, {"w": np.zeros(1)})
        checkpoint.load_tree(tmp_path)


def test_texts_in_an_orbax_checkpoint_are_left_out_and_named(tmp_path, caplog):
    import orbax.checkpoint as ocp

    tree = {"params": {"w": np.ones((4, 3), np.float32)}, "name": "resnet", "about": {"of": "digits", "n": 3}}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(tmp_path / "orbax", tree)
    actual = checkpoint.load_tree(tmp_path / "orbax")
    assert set(weight_files.flatten(actual)) == {"params/w", "about/n"}
    assert "texts are no weights" in caplog.text and "'name'" in caplog.text and "'about/of'" in caplog.text
