"""Weights in `.safetensors`, `.npz` and Orbax directories: exact round trips, and files that lie are ValueErrors."""

import collections
import io
import json
import struct
import zipfile

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common import weight_files
from common.training import checkpoint

FORMS = ("t.safetensors", "t.npz", "t")
TREE = {
    "fc1": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array(2.5, np.float16)},
    "conv.weight": np.ones(3, ml_dtypes.bfloat16) / 3,
    "empty": np.zeros((0, 3), np.int8),
    "group": {"0": {"f8": np.array([0.5, 2], ml_dtypes.float8_e4m3fn)}, "mask": np.array([True, False])},
    "wide": np.array([2**63 - 1]),
}


def assert_same(left, right):
    assert set(left) == set(right)
    for name in left:
        if isinstance(left[name], dict):
            assert_same(left[name], right[name])
        else:
            assert isinstance(right[name], np.ndarray)
            assert (left[name].dtype, left[name].shape) == (right[name].dtype, right[name].shape)
            assert left[name].tobytes() == right[name].tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_to_the_bit(tmp_path, form):
    checkpoint.save_tree(tmp_path / form, TREE)
    assert_same(TREE, checkpoint.load_tree(tmp_path / form))
    assert [item.name for item in tmp_path.iterdir()] == [form]


@pytest.mark.parametrize("form", FORMS)
def test_saving_again_replaces(tmp_path, form):
    checkpoint.save_tree(tmp_path / form, TREE)
    checkpoint.save_tree(tmp_path / form, {"a": np.zeros(2)})
    assert_same({"a": np.zeros(2)}, checkpoint.load_tree(tmp_path / form))


@pytest.mark.parametrize("form", FORMS[:2])
def test_equal_trees_give_equal_bytes(tmp_path, form):
    checkpoint.save_tree(tmp_path / form, TREE)
    first = (tmp_path / form).read_bytes()
    checkpoint.save_tree(tmp_path / form, TREE)
    assert (tmp_path / form).read_bytes() == first


DTYPES = st.sampled_from(
    [np.dtype(name) for name in ("f4", "f8", "f2", "i1", "u2", "i8", "?", ">f4", ml_dtypes.bfloat16)]
)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/:"), min_size=1, max_size=4)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)).map(
        lambda array: array.astype(dtype)
    )
)


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    tree=st.dictionaries(NAMES, ARRAYS | st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3), max_size=4)
)
def test_any_tree_returns(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("trees")
    for form in FORMS[:2]:
        checkpoint.save_tree(folder / form, tree)
        back = weight_files.flatten(checkpoint.load_tree(folder / form))
        for name, array in weight_files.flatten(tree).items():
            assert back.pop(name).tobytes() == array.tobytes()
        assert not back


def test_strided_and_swapped_arrays_and_lists(tmp_path):
    tree = {"list": [np.arange(6).reshape(2, 3).T, np.arange(8, dtype=">i4")[::2]], "none": None}
    for form in FORMS:
        checkpoint.save_tree(tmp_path / form, tree)
        back = checkpoint.load_tree(tmp_path / form)
        np.testing.assert_array_equal(back["list"]["0"], [[0, 3], [1, 4], [2, 5]])
        np.testing.assert_array_equal(back["list"]["1"], [0, 2, 4, 6])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": np.zeros(1), "a/b": np.zeros(1)}, "'a'"),
        ({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}, "two arrays of the tree have the name 'a/b'"),
        ({"a": np.array([None])}, "'a' holds object and not numbers"),
        ({"a": "text"}, "'a' holds <U4 and not numbers"),
        ({"": np.zeros(1)}, "empty"),
        ({"a//b": np.zeros(1)}, "empty part"),
        (np.zeros(1), "expected a dict of arrays"),
    ],
)
def test_trees_that_are_refused_leave_nothing(tmp_path, form, tree, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.save_tree(tmp_path / form, tree)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.npz does not exist; expected a .safetensors or .npz file"):
        checkpoint.load_tree(tmp_path / "nothing.npz")
    (tmp_path / "x.pt").touch()
    with pytest.raises(ValueError, match="unknown suffix '.pt'; expected .safetensors, .npz or an Orbax directory"):
        checkpoint.load_tree(tmp_path / "x.pt")
    with pytest.raises(ValueError, match="unknown suffix '.pt'"):
        checkpoint.save_tree(tmp_path / "y.pt", TREE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").touch()
    with pytest.raises(ValueError, match="neither an Orbax checkpoint nor a run directory"):
        checkpoint.load_tree(tmp_path / "folder")
    with pytest.raises(ValueError, match="is not an Orbax checkpoint; it is left as it is"):
        checkpoint.save_tree(tmp_path / "folder", TREE)
    assert (tmp_path / "folder" / "letter.txt").exists()


def test_run_directory_stands_for_its_model(tmp_path):
    (tmp_path / "flags.txt").touch()
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match="a run directory without model.safetensors: its training has not finished"):
        checkpoint.load_tree(tmp_path)
    checkpoint.save_tree(tmp_path / "model.safetensors", TREE)
    assert_same(TREE, checkpoint.load_tree(tmp_path))


def test_orbax_directories_of_others(tmp_path):
    import orbax.checkpoint as ocp

    values = {"params": {"fc1": {"kernel": np.ones((2, 2), np.float32)}}, "scale": np.float32(2)}
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "plain", values)
    with ocp.CheckpointManager(tmp_path / "managed") as manager:
        for step in (9, 10):
            manager.save(step, args=ocp.args.StandardSave({"w": np.full(2, step, np.float32)}))
        manager.wait_until_finished()
    plain = checkpoint.load_tree(tmp_path / "plain")
    np.testing.assert_array_equal(plain["params"]["fc1"]["kernel"], np.ones((2, 2)))
    assert plain["scale"] == 2
    np.testing.assert_array_equal(checkpoint.load_tree(tmp_path / "managed")["w"], [10, 10])


def npz(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)


def npy(array, **changes):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_mappings_that_are_no_dicts(tmp_path, form):
    weight_files.save_tree(tmp_path / form, collections.UserDict(TREE))  # its items cannot be reversed
    assert_same(weight_files.load_tree(tmp_path / form), TREE)


def test_npz_of_numpy_loads_and_pickles_do_not(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{"fc1/kernel": np.ones((2, 2), order="F"), "b.c": np.float32(3)})
    tree = checkpoint.load_tree(tmp_path / "a.npz")
    np.testing.assert_array_equal(tree["fc1"]["kernel"], np.ones((2, 2)))
    assert tree["b.c"].shape == () and tree["b.c"] == 3

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    npz(tmp_path / "evil.npz", [("a.npy", npy(np.array([Evil()], dtype=object)))])
    with pytest.raises(ValueError, match="not numbers"):
        checkpoint.load_tree(tmp_path / "evil.npz")


def header(shape, descr="<f4"):
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "members",
    [
        [("a.npy", header((2**40,)))],
        [("a.npy", header((3,)) + bytes(8))],
        [("a.npy", header((2,)) + bytes(12))],
        [("a.npy", header((-1,)) + bytes(4))],
        [("a.npy", header((-2, -2)) + bytes(16))],
        [("a.npy", header((0, -5)))],
        [("a.npy", header((1,), "<U1") + bytes(4))],
        [("a.npy", header((1,), "|V2") + bytes(2))],
        [("a.npy", header((1,), [("x", "<f4")]) + bytes(4))],
        [("a.npy", b"")],
        [("a.npy", b"\x93NUMPY\x09\x00")],
        [("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.zeros(1)))],
        [("a.npy", npy(np.zeros(1))), ("a/b.npy", npy(np.zeros(1)))],
        [("a/b.npy", npy(np.zeros(1))), ("a.npy", npy(np.zeros(1)))],
        [("a//b.npy", npy(np.zeros(1)))],
        [("/".join("abcdefgh" * 20) + ".npy", npy(np.zeros(1)))],
        [("a:bfloat16.npy", npy(np.zeros(1)))],
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_that_lies(tmp_path, members):
    npz(tmp_path / "a.npz", members)
    with pytest.raises(ValueError, match="a.npz"):
        checkpoint.load_tree(tmp_path / "a.npz")


def safetensors(header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        safetensors(b"{" * 50),
        safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)),
        safetensors({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "F999", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                     "a/b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}, bytes(8)),
        safetensors({"": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)),
    ],
)  # fmt: skip
def test_safetensors_that_lies(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="a.safetensors"):
        checkpoint.load_tree(tmp_path / "a.safetensors")


@pytest.mark.parametrize("form", FORMS[:2])
def test_truncated_and_altered_files(tmp_path, form):
    checkpoint.save_tree(tmp_path / form, {"a": np.arange(50, dtype=np.float32), "b": {"c": np.ones(3, np.int8)}})
    data = (tmp_path / form).read_bytes()
    generator = np.random.default_rng(0)
    for trial in range(300):
        changed = bytearray(data[: generator.integers(len(data))] if trial % 2 else data)
        for _ in range(generator.integers(1, 4)):
            if changed:
                changed[generator.integers(len(changed))] = generator.integers(256)
        (tmp_path / form).write_bytes(changed)
        try:
            tree = checkpoint.load_tree(tmp_path / form)
        except ValueError:
            continue
        assert all(isinstance(array, np.ndarray) for array in weight_files.flatten(tree).values())


def test_damaged_orbax_directory(tmp_path):
    checkpoint.save_tree(tmp_path / "t", TREE)
    for path in (tmp_path / "t").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged Orbax checkpoint"):
        checkpoint.load_tree(tmp_path / "t")
