"""Training states return to the bit; damaged checkpoints are skipped, ones that do not fit are named."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common import weight_files
from common.runs import metrics
from common.training import checkpoint


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


def test_altered_number_does_not_pass(tmp_path, monkeypatch, caplog):
    """Orbax alone may return changed bytes; the checksum must notice."""
    saver = checkpoint.Checkpointer(tmp_path)
    saver.save(1, {"w": np.zeros(3)})
    load = checkpoint.orbax_files.load

    def altered(path):
        stored = load(path)
        stored["leaves"]["['w']"][1] = 1e-9
        return stored

    monkeypatch.setattr(checkpoint.orbax_files, "load", altered)
    assert saver.restore_latest({"w": np.zeros(3)}) is None
    assert "its checksum does not fit its content" in caplog.text


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
    found = checkpoint.load_tree(tmp_path / "orbax")
    assert set(weight_files.flatten(found)) == {"params/w", "about/n"}
    assert "texts are no weights" in caplog.text and "'name'" in caplog.text and "'about/of'" in caplog.text
