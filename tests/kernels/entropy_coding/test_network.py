"""Whole trees to bytes and back: dtypes, containers, names, steps, errors that name the tensor; a lasting format."""

import collections
import hashlib
import struct

import hypothesis
import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies

from kernels import entropy_coding
from kernels.entropy_coding import Codebook, Quantized
from kernels.entropy_coding.container import layout
from tests.kernels.entropy_coding import cases, damage, random_tensors, trees
from tests.kernels.entropy_coding.trees import same

FLOATS = ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
OTHERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


@pytest.mark.parametrize("name", FLOATS + OTHERS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (60, 50), (3, 3, 20, 16)])
def test_every_dtype_is_kept_to_the_bit(name, shape):
    values = cases.levels(max(int(np.prod(shape)), 1), 300, 2, 1)[: int(np.prod(shape))].reshape(shape)
    if name.startswith(("u", "bool")):
        values = np.abs(values)
    array = np.asarray(values, dtype_of(name))
    same(entropy_coding.decompress(entropy_coding.compress({"a": array})), {"a": array})


def test_special_values_without_a_step():
    array = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7e308])
    same(
        entropy_coding.decompress(entropy_coding.compress([array, np.array([-0.0], np.float32)])),
        [array, np.array([-0.0], np.float32)],
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("shape", [(3,), (60, 50), (3, 3, 20, 16)])
def test_quantised_floats_come_back_as_step_times_integer(name, shape):
    array = trees.weights(shape, 1, density=900, dtype=dtype_of(name))
    data = entropy_coding.compress({"a": array}, step={"a": 1 / 32})
    q = entropy_coding.quantize_uniform(array, 1 / 32)
    same(entropy_coding.decompress(data), {"a": (q / 32).astype(array.dtype)})
    content = entropy_coding.decompress(data, quantized=True)["a"]
    assert content.step == 1 / 32 and content.dtype == array.dtype
    np.testing.assert_array_equal(content.q, q)
    again = entropy_coding.compress({"a": content})
    assert again == data  # integers on a grid are the same file as the weights they came from
    same(entropy_coding.decompress(again), entropy_coding.decompress(data))


@pytest.mark.parametrize(
    "values",
    [[2**31 - 14, 14 - 2**31], [2**31 - 13], [-(2**31)], [2**62, -(2**62)], [2**31 - 14] * 3000, [2**31 - 1] * 3000],
)
def test_integers_at_and_beyond_the_legal_range(values):
    array = np.array(values, np.int64)
    same(entropy_coding.decompress(entropy_coding.compress([array])), [array])


def test_incompressible_integers_are_stored_raw():
    array = cases.splitmix64(1, 5000).astype(np.int8)
    data = entropy_coding.compress({"a": array})
    assert entropy_coding.inspect(data).tensors[0].coding == "raw" and len(data) < 5050
    same(entropy_coding.decompress(data), {"a": array})


@pytest.mark.parametrize("order", ["F", "transposed", "sliced", "negative", "big-endian", "read-only"])
def test_memory_layout_does_not_matter(order):
    array = trees.weights((30, 80), 3)
    other = {
        "F": np.asfortranarray(array), "transposed": array.T.copy().T, "sliced": np.repeat(array, 2, 1)[:, ::2],
        "negative": array[::-1].copy()[::-1], "big-endian": array.astype(">f4"), "read-only": array.copy(),
    }[order]  # fmt: skip
    other.flags.writeable = order != "read-only"
    for step in (None, 1 / 64):
        data = entropy_coding.compress({"a": array}, step=step)
        assert entropy_coding.compress({"a": other}, step=step) == data
        same(entropy_coding.decompress(data), {"a": array})


ARRAY = np.array([1, 2], np.int32)


@pytest.mark.parametrize(
    "tree",
    [
        ARRAY, None, {}, [], (), [None], ({},), {"a": {"b": {"c": ARRAY}}, "d": [ARRAY, (ARRAY, [])]},
        {0: ARRAY, 10: ARRAY, 2: ARRAY}, {"0": ARRAY}, {0: ARRAY, "a": ARRAY}, {"": ARRAY}, {"": {"": ARRAY}},
        {"ключ/π": ARRAY},
        {"a/b": ARRAY, "c": ARRAY}, {"n" * 4096: ARRAY}, {"\0\n": ARRAY}, [[[[ARRAY]]]], {2**63 - 1: ARRAY},
        [ARRAY] * 300, {"a": [ARRAY], "b": [ARRAY]}, {"a": None, "b": ARRAY},
    ],
    ids=lambda tree: str(tree)[:40],
)  # fmt: skip
def test_containers_and_names(tree):
    same(entropy_coding.decompress(entropy_coding.compress(tree)), tree)


def test_scalars_become_arrays():
    back = entropy_coding.decompress(entropy_coding.compress({"a": 3, "b": 0.5, "c": True, "d": np.float16(2)}))
    assert all(isinstance(value, np.ndarray) and value.shape == () for value in back.values())
    assert [value.dtype.name for value in back.values()] == ["int64", "float64", "bool", "float16"]
    assert (back["a"], back["b"], back["c"], back["d"]) == (3, 0.5, True, 2)


def test_registered_pytrees_come_back_as_dicts():
    jax = pytest.importorskip("jax")
    pair = collections.namedtuple("Pair", "left right")

    @jax.tree_util.register_pytree_with_keys_class
    class Node:
        def __init__(self, *children):
            self.children = children

        def tree_flatten_with_keys(self):
            return [(jax.tree_util.GetAttrKey(f"child{i}"), child) for i, child in enumerate(self.children)], None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    tree = {"pair": pair(ARRAY, None), "node": Node(Node(ARRAY), [ARRAY], Node()), "jax": jax.numpy.arange(3)}
    same(
        entropy_coding.decompress(entropy_coding.compress(tree)),
        {
            "pair": {"left": ARRAY, "right": None},
            "node": {"child0": {"child0": ARRAY}, "child1": [ARRAY], "child2": {}},
            "jax": np.arange(3, dtype=np.int32),
        },
    )  # fmt: skip


def test_a_flax_module_state():
    nnx = pytest.importorskip("flax.nnx")
    state = nnx.state(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    back = entropy_coding.decompress(entropy_coding.compress({"fc": state}))
    assert set(back) == {"fc"} and {"bias", "kernel"} == set(back["fc"])
    np.testing.assert_array_equal(np.asarray(back["fc"]["kernel"]), np.asarray(state["kernel"][...]))


@pytest.mark.parametrize(
    "tree, error, message",
    [
        ({"a/b": ARRAY, "a": {"b": ARRAY}}, ValueError, "both called 'a/b'"),
        ({1: ARRAY, "1": ARRAY}, ValueError, "both called '1'"),
        ({-1: ARRAY}, TypeError, "dict key -1"),
        ({2**63: ARRAY}, TypeError, "neither a string nor a natural number"),
        ({True: ARRAY}, TypeError, "dict key True"),
        ({1.5: ARRAY}, TypeError, "dict key 1.5"),
        ({"n" * 4097: ARRAY}, ValueError, "4097 bytes is longer than 4096"),
        ({"\ud800": ARRAY}, ValueError, "half a character"),
        ({"a": np.zeros((1,) * 33)}, ValueError, "'a' has 33 axes, more than 32"),
        ({"a": ["text"]}, TypeError, "'a/0'.*cannot be stored"),
        ({"a": jax.random.key(0)}, TypeError, "'a' is a random key, no weights: leave it out; of a Flax module"),
        ({"a": object()}, TypeError, "object at 'a' is neither"),
        ({"a": np.array([None])}, TypeError, "'a'.*object cannot be stored"),
        ({"a": np.zeros(3, "M8[s]")}, TypeError, "'a'.*cannot be stored"),
        ({"a": np.zeros(3, np.longdouble)}, TypeError, "'a'.*cannot be stored"),
        ({"a": {1, 2}}, TypeError, "set at 'a'"),
        ({"a": Quantized(np.array([2**31]), 1.0)}, ValueError, "'a'.*legal range"),
        ({"a": Quantized(np.array([1.5]), 1.0)}, TypeError, "'a'.*float64, not integers"),
        ({"a": Quantized(ARRAY, 0.0)}, ValueError, "'a'.*step=0.0"),
        ({"a": Quantized(ARRAY, np.nan)}, ValueError, "'a'.*step=nan"),
        ({"a": Quantized(ARRAY, 1.0, np.int32)}, TypeError, "'a'.*dtype=int32"),
        ({"a": Codebook(np.array([0, 3]), np.array([-1.0, 0, 1]))}, ValueError, "'a'.*from 0 to 3.*for -1 to 1"),
        ({"a": Codebook(np.array([0, -2]), np.array([-1.0, 0, 1]))}, ValueError, "'a'.*from -2 to 0.*for -1 to 1"),
        ({"a": Codebook(np.array([0.0]), np.array([-1.0, 0, 1]))}, TypeError, "'a'.*float64, not integers"),
        ({"a": Codebook(np.array([0]), np.array([0, 1]))}, TypeError, "'a'.*not int64"),
        ({"a": Codebook(np.array([0]), np.zeros((1, 1)), 0)}, TypeError, r"'a'.*not float64 \[1, 1\]"),
        ({"a": Codebook(np.array([0]), np.array([0, np.nan]))}, ValueError, "'a'.*NaN or infinity"),
        ({"a": Codebook(np.array([0]), np.array([0.0, 1]), 2)}, ValueError, "'a'.*zero=2 is no place among 2"),
    ],
)
def test_trees_that_are_refused(tree, error, message):
    with pytest.raises(error, match=message):
        entropy_coding.compress(tree)


def test_a_tree_that_contains_itself():
    tree = {}
    tree["a"] = tree
    with pytest.raises(ValueError, match="deeper than 64"):
        entropy_coding.compress(tree)


WEIGHTS = {"fc": {"kernel": trees.weights((6, 50), 1), "bias": trees.weights((50,), 2)}, "n": np.arange(4)}


def steps(data):
    return {tensor.name: tensor.step for tensor in entropy_coding.inspect(data).tensors}


def test_where_steps_come_from():
    kernel_only = {"fc/kernel": 0.25, "fc/bias": None, "n": None}
    for step in (
        0.25, np.float32(0.25), {"fc/kernel": 0.25}, {"fc/kernel": 0.25, "fc/bias": None}, {"fc": {"kernel": 0.25}},
        lambda name, array: 0.25 if name == "fc/kernel" and array.shape == (6, 50) else None,
    ):  # fmt: skip
        assert steps(entropy_coding.compress(WEIGHTS, step=step)) == kernel_only
    both = {"fc/kernel": 0.25, "fc/bias": 2.0**-8, "n": None}
    assert steps(entropy_coding.compress(WEIGHTS, qp=-8, small_qp=-32)) == both
    assert steps(entropy_coding.compress(WEIGHTS, step=0.25, small_step=2.0**-8)) == both
    assert set(steps(entropy_coding.compress(WEIGHTS)).values()) == {None}


def test_qp_to_step():
    assert [entropy_coding.qp_to_step(qp) for qp in (0, -32, -75, 4, 3)] == [1.0, 2.0**-8, 5 * 2.0**-21, 2.0, 1.75]
    assert entropy_coding.qp_to_step(-1, density=0) == 0.5


@pytest.mark.parametrize(
    "options, message",
    [
        ({"step": {"fc/weight": 0.1}}, "step names 'fc/weight', which is no tensor"),
        ({"step": {"fc": {"kernels": 0.1}}}, "step names 'fc/kernels'"),
        ({"step": 0}, "step=0"),
        ({"step": -0.5}, "step=-0.5"),
        ({"step": np.nan}, "step=nan"),
        ({"step": np.inf}, "step=inf"),
        ({"small_step": -1}, "small_step=-1"),
        ({"step": {"fc/kernel": -0.5}}, "'fc/kernel': step=-0.5"),
        ({"step": lambda name, array: 0.0}, "step=0.0"),
        ({"step": 0.1, "qp": -8}, "not both"),
        ({"step": {"fc/kernel": 0.1}, "small_step": 0.1}, "small_step belongs to"),
        ({"step": 0.1, "rate_weight": -1}, "rate_weight=-1"),
        ({"step": 0.1, "rate_weight": np.nan}, "rate_weight=nan"),
        ({"step": 0.1, "axes": "both"}, "axes='both'"),
        ({"n_unary": 0}, "n_unary=0"),
        ({"scan": 9}, "scan=9"),
        ({"step": 0.1, "rate_weight": 0.1, "importance": {"fc/x": np.ones(3)}}, "importance names 'fc/x'"),
        (
            {"step": 0.1, "rate_weight": 0.1, "importance": {"fc": {"kernel": np.ones((50, 6))}}},
            "'fc/kernel'.*\\(50, 6\\)",
        ),
        (
            {"step": 0.1, "rate_weight": 0.1, "importance": {"fc/kernel": np.full((6, 50), -1.0)}},
            "'fc/kernel'.*negative",
        ),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        entropy_coding.compress(WEIGHTS, **options)


@pytest.mark.parametrize("shape", [(5, 4), (60, 50)])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(shape, name, bad):
    array = trees.weights(shape, 1).astype(dtype_of(name))
    array[2, 3] = bad
    with pytest.raises(ValueError, match=f"tensor 'net/w': .* 1 NaN or infinite values of {array.size}"):
        entropy_coding.compress({"net": {"w": array}}, step=0.1)


@pytest.mark.parametrize("largest", [1.0, 0.3, 123.456, 1e-20, 3e30])
def test_the_suggested_step_is_legal(largest):
    array = np.array([[largest, -largest / 2]])
    with pytest.raises(ValueError, match="tensor 'a'.*smallest legal step") as caught:
        entropy_coding.compress({"a": array}, step=largest * 1e-11)
    suggested = float(str(caught.value).split()[-1])
    assert suggested < largest / 2**30
    entropy_coding.compress({"a": array}, step=suggested)


def test_small_tensors_share_a_stream():
    tree = {str(i): trees.weights((9,), i) for i in range(40)}
    data = entropy_coding.compress(tree, small_step=1 / 64)
    assert len(damage.take_apart(data)["streams"]) == 1
    apart = sum(len(entropy_coding.encode_tensor(entropy_coding.quantize_uniform(w, 1 / 64))) for w in tree.values())
    stored = sum(tensor.stored_bytes for tensor in entropy_coding.inspect(data).tensors)
    assert round(stored, 6) == len(damage.take_apart(data)["streams"][0][1]) < 0.7 * apart
    assert all(tensor.shares_stream for tensor in entropy_coding.inspect(data).tensors)
    same(entropy_coding.decompress(data), tree)
    same(entropy_coding.read_tensor(data, "17"), tree["17"])


def test_zero_tensors_and_rows_cost_nothing():
    zeros = {
        "w": np.zeros((300, 300), np.float32),
        "n": np.zeros(9000, np.int16),
        "raw": np.zeros((50, 50)),
        "one": np.zeros(3),
    }
    data = entropy_coding.compress(zeros, step={"w": 0.1})
    assert not damage.take_apart(data)["streams"] and len(data) < 80
    same(entropy_coding.decompress(data), zeros)
    dense = trees.weights((30, 200), 1, density=900)
    rows = np.zeros((300, 200), np.float32)
    rows[::10] = dense
    size = {
        name: len(entropy_coding.compress({"a": w}, step=1 / 64, axes="keep"))
        for name, w in (("dense", dense), ("rows", rows))
    }
    assert size["rows"] <= size["dense"] + 30  # 300 flags at 0.47 bit
    same(entropy_coding.decompress(entropy_coding.compress({"a": rows}, step=1 / 64)), {"a": rows})


def test_the_shorter_order_of_axes_is_taken():
    columns = np.zeros((80, 60), np.float32)
    columns[:, ::5] = trees.weights((80, 12), 1, density=900)
    size = {}
    for axes in ("auto", "keep"):
        data = entropy_coding.compress({"a": columns}, step=1 / 64, axes=axes)
        same(entropy_coding.decompress(data), {"a": columns})
        size[axes] = len(data)
    assert size["auto"] < 0.8 * size["keep"]
    assert len(entropy_coding.compress({"a": columns.T.copy()}, step=1 / 64, axes="keep")) <= size["auto"]


@pytest.mark.parametrize("scan", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(70, 90), (90, 3, 7, 5), (4096,), (1, 5000), (5000, 1)])
def test_every_scan_and_shape(scan, shape):
    array = trees.weights(shape, 5)
    array.reshape(shape[0], -1)[::3] = 0
    for axes in ("auto", "keep"):
        data = entropy_coding.compress({"a": array}, step={"a": 1 / 64}, scan=scan, axes=axes, n_unary=7)
        same(entropy_coding.decompress(data), {"a": array})


def test_pieces_of_large_tensors_fit_together():
    for shape in ((3, 70_000), (70_000, 3), (300, 16, 33)):
        array = trees.weights(shape, 5, density=100)
        array[1] = 0
        for scan in (0, 1, 4):
            data = entropy_coding.compress({"a": array}, step=1 / 64, scan=scan)
            same(entropy_coding.decompress(data), {"a": array})


def test_read_tensor():
    sample = trees.sample()
    data = entropy_coding.compress(sample, step=1 / 64, small_step=1 / 64)
    whole = entropy_coding.decompress(data)
    same(entropy_coding.read_tensor(data, "conv/0"), whole["conv"][0])
    same(entropy_coding.read_tensor(data, "größe/0"), whole["größe"][0])
    same(entropy_coding.read_tensor(data, "integers/7"), whole["integers"][7])
    same(entropy_coding.read_tensor(data, "scalar"), whole["scalar"])
    for name in ("conv", "conv/2", "größe/1", ""):
        with pytest.raises(KeyError, match="no tensor"):
            entropy_coding.read_tensor(data, name)


def test_reading_one_tensor_does_not_decode_the_others():
    data = entropy_coding.compress({"a": np.arange(3000), "b": trees.weights((60, 60), 1)}, step=1 / 64)
    parts = damage.take_apart(data)
    parts["streams"][0] = (parts["streams"][0][0], b"\xff" * 50)
    broken = damage.put_together(**parts)
    with pytest.raises(ValueError, match="tensor 'a'"):
        entropy_coding.decompress(broken)
    same(entropy_coding.read_tensor(broken, "b"), entropy_coding.read_tensor(data, "b"))


def test_inspect():
    sample = trees.sample()
    data = entropy_coding.compress(sample, step=1 / 64, small_step=1 / 64)
    summary = entropy_coding.inspect(data)
    parts = damage.take_apart(data)
    assert summary.version == 1 and summary.total_bytes == len(data)
    assert summary.header_bytes == len(data) - sum(len(stream) for _, stream in parts["streams"])
    assert round(sum(tensor.stored_bytes for tensor in summary.tensors), 6) == len(data) - summary.header_bytes
    assert summary.ratio == len(data) / summary.original_bytes
    by_name = {tensor.name: tensor for tensor in summary.tensors}
    kernel = by_name["fc1/kernel"]
    assert (kernel.shape, kernel.dtype, kernel.coding, kernel.step) == ((60, 70), "float32", "uniform", 1 / 64)
    assert (
        kernel.nonzero == np.count_nonzero(sample["fc1"]["kernel"]) and kernel.size == 4200 and not kernel.shares_stream
    )
    assert kernel.sparsity == 1 - kernel.nonzero / 4200 and kernel.bits_per_weight == 8 * kernel.stored_bytes / 4200
    assert by_name["zero"].coding == "zero" and by_name["zero"].stored_bytes == 0
    assert (
        by_name["big"].coding == "raw"
        and by_name["quantized"].step == 0.5
        and by_name["integers/0"].coding == "integers"
    )
    assert summary.original_bytes == sum(np.asarray(getattr(x, "q", x)).nbytes for x in _arrays(sample))
    assert entropy_coding.inspect(entropy_coding.compress(None)).tensors == ()


def _arrays(tree):
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else None
    return (
        [leaf for child in children for leaf in _arrays(child)] if children is not None else [tree] * (tree is not None)
    )


@pytest.mark.parametrize("options", [{}, {"step": 1 / 64}, {"step": 1 / 32, "small_step": 1 / 64, "rate_weight": 0.1}])
def test_the_same_bytes_whatever_the_threads(options):
    images = {entropy_coding.compress(trees.sample(), jobs=jobs, **options) for jobs in (1, 2, 5, None)}
    assert len(images) == 1
    reordered = dict(reversed(list(trees.sample().items())))
    assert entropy_coding.compress(reordered, **options) == images.pop()


def test_reading_with_threads():
    data = entropy_coding.compress(trees.sample(), step=1 / 64)
    same(entropy_coding.decompress(data, jobs=1), entropy_coding.decompress(data, jobs=4))
    same(entropy_coding.decompress(bytearray(data)), entropy_coding.decompress(memoryview(data)))


def test_what_is_returned_can_be_written_to():
    for step in (None, 1 / 64):
        back = entropy_coding.decompress(entropy_coding.compress(trees.sample(), step=step))
        for array in _arrays(back):
            assert array.flags.writeable and array.flags.c_contiguous
            array[...] = 0


def test_paths_share_their_prefix():
    deep = {"encoder_layer_number_one": {"attention": {str(i): ARRAY + i for i in range(50)}}}
    tensors = damage.take_apart(entropy_coding.compress(deep))["tensors"]
    assert tensors.count(b"encoder_layer_number_one") == tensors.count(b"attention") == 1


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    seeds=strategies.lists(strategies.integers(0, 2**32), min_size=1, max_size=6),
    scan=strategies.integers(0, 4),
    n_unary=strategies.integers(1, 15),
)
def test_random_trees_of_integers(seeds, scan, n_unary):
    tree = {
        f"t{i}": random_tensors.levels(np.random.default_rng(s), random_tensors.SHAPES[s % 20])
        for i, s in enumerate(seeds)
    }
    same(entropy_coding.decompress(entropy_coding.compress(tree, scan=scan, n_unary=n_unary)), tree)


# The format must not change unnoticed: files are read for years. A change of these needs a new version number.
IMAGE = (
    "4443424e010000002700000002010b00065c2357a700083a2cdfcc020001000162000102000100000100016b0402020301000097ad17ed"
    "8d003dd409800000c03f000000c0"
)
COMPACT = (
    "4443424e010003001b000000636264626065e060626064604c626004d12066360b1313339009008df640438d00ebd30f0000c03f000000c0"
)
TINY = {"b": np.array([1.5, -2.0], np.float32), "k": np.array([[0, 3, -1], [0, 0, 2]], np.int8)}


def test_a_committed_image_stays_readable():
    for image, features in ((bytes.fromhex(IMAGE), 0), (bytes.fromhex(COMPACT), 3)):
        same(entropy_coding.decompress(image), TINY)
        assert struct.unpack_from("<4sHH", image) == (layout.MAGIC, 1, features)
    # Libraries deflate differently, so that the inflated header is what must not change.
    written = entropy_coding.compress(TINY)
    assert damage.plain(written) == damage.plain(bytes.fromhex(COMPACT))
    assert damage.header_of(written) == damage.header_of(bytes.fromhex(COMPACT))
    assert damage.plain(bytes.fromhex(IMAGE)).hex() == IMAGE


@pytest.mark.parametrize(
    "options, length, digest",
    [
        ({}, 33565, "78d26006db32fa18def8d7471d38c2ee"),
        ({"step": 1 / 64, "small_step": 1 / 64}, 2759, "59ee8c3f1c0b934d5e187d9be0f777f1"),
        ({"step": 1 / 64, "scan": 2, "n_unary": 4, "axes": "keep"}, 3074, "b23c09e44588e6f828e4cb062aae3f92"),
    ],
)
def test_committed_hashes_of_a_fixed_tree(options, length, digest):
    data = damage.plain(entropy_coding.compress(trees.sample(), **options))
    assert (len(data), hashlib.sha256(data).hexdigest()[:32]) == (length, digest)


def test_a_zero_tensor_has_no_step():
    data = entropy_coding.compress(
        {"a": Quantized(np.zeros((3, 4), int), 0.5, np.float16), "b": np.ones((3, 4))}, step=0.25
    )
    content = entropy_coding.decompress(data, quantized=True)
    same(content["a"], np.zeros((3, 4), np.float16))
    assert isinstance(content["b"], Quantized) and content["b"].q.dtype == np.int32


def test_a_step_for_integers_is_refused():
    with pytest.raises(ValueError, match="'n' holds int64, which no step quantises"):
        entropy_coding.compress({"n": np.arange(4), "w": np.ones(3)}, step={"n": 0.5, "w": 0.5})
    entropy_coding.compress({"n": np.arange(4), "w": np.ones(3)}, step={"n": None, "w": 0.5})
