"""Integer tensors of every sparsity, range, shape and option come back exactly; what cannot be coded is refused."""

import concurrent.futures

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kernels import entropy_coding
from tests.kernels.entropy_coding import cases, random_tensors
from tests.kernels.oracles import cabac

LARGEST = cases.LARGEST_LEVEL


def check(q, options):
    settings = random_tensors.coder_options(options)
    stream = entropy_coding.encode_tensor(q, **options)
    assert entropy_coding.stream_length(q, **options) == len(stream)
    back = entropy_coding.decode_tensor(stream, q.shape, **settings)
    assert back.dtype == np.int32 and back.shape == q.shape
    np.testing.assert_array_equal(back, q)


@hypothesis.settings(max_examples=300)
@hypothesis.given(seed=strategies.integers(0, 2**32))
def test_random_tensors(seed):
    check(*random_tensors.draw(seed))


@pytest.mark.slow
@hypothesis.settings(max_examples=10_000)
@hypothesis.given(seed=strategies.integers(0, 2**63))
def test_ten_thousand_random_tensors(seed):
    check(*random_tensors.draw(seed))


OPTIONS = strategies.fixed_dictionaries(
    {
        "n_unary": strategies.integers(1, 15),
        "scan": strategies.integers(0, 4),
        "profile": strategies.integers(0, 1),
        "presets": strategies.booleans(),
    }
)


@hypothesis.settings(max_examples=100)
@hypothesis.given(
    rows=strategies.integers(1, 20).flatmap(
        lambda width: strategies.lists(
            strategies.lists(
                strategies.integers(-LARGEST, LARGEST) | strategies.integers(-2, 2), min_size=width, max_size=width
            ),
            max_size=20,
        ).map(lambda rows: np.array(rows, np.int64).reshape(-1, width))
    ),
    options=OPTIONS,
)
def test_values_that_hypothesis_picks(rows, options):
    check(rows, options)


@pytest.mark.parametrize("n_unary", range(1, 16))
def test_limits_of_the_legal_range(n_unary):
    edge = np.array([LARGEST, -LARGEST, 0, LARGEST, 2**30, 2**30 + n_unary, 1 - 2**30, n_unary, -n_unary - 1])
    check(edge, {"n_unary": n_unary, "presets": True})


@pytest.mark.parametrize("beyond", [LARGEST + 1, -LARGEST - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)])
def test_beyond_the_legal_range(beyond):
    for function in (entropy_coding.encode_tensor, entropy_coding.stream_length):
        with pytest.raises(ValueError, match=f"{beyond}.*legal range"):
            function(np.array([0, beyond, 1]))


def test_unsigned_values():
    check(np.array([0, 255], np.uint8), {})
    check(np.array([LARGEST], np.uint64), {})
    with pytest.raises(ValueError, match=f"{2**64 - 1} is beyond"):
        entropy_coding.encode_tensor(np.array([2**64 - 1], np.uint64))


@pytest.mark.parametrize(
    "dtype",
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", ">i2", ">i4", ">i8", ">u4"],
)
def test_every_integer_dtype_codes_the_same(dtype):
    values = np.array([[0, 1, 0], [1, 1, 0]])
    assert entropy_coding.encode_tensor(values.astype(dtype)) == entropy_coding.encode_tensor(values)


def test_memory_layout_does_not_matter():
    q = cases.levels(12 * 20, 400, 3, 5).reshape(12, 20)
    stream = entropy_coding.encode_tensor(q)
    unaligned = np.frombuffer(b"x" + q.astype("<i4").tobytes(), "<i4", offset=1).reshape(q.shape)
    read_only = q.copy()
    read_only.flags.writeable = False
    wide = np.zeros((24, 40), np.int32)
    wide[::2, ::2] = q
    for same in (np.asfortranarray(q), q[::-1][::-1], wide[::2, ::2], unaligned, read_only, q.tolist()):
        assert entropy_coding.encode_tensor(same) == stream
    assert entropy_coding.encode_tensor(q.T) != stream
    for data in (bytearray(stream), memoryview(stream), np.frombuffer(stream, np.uint8)):
        np.testing.assert_array_equal(entropy_coding.decode_tensor(data, q.shape), q)


@pytest.mark.usefixtures("unchecked")  # an option as a bool of NumPy's
def test_the_core_is_compiled_once():
    """Another owner, layout or width of the same values must not cost ten seconds of compilation."""
    from kernels.entropy_coding.core import decoder, encoder, presets

    q = cases.levels(100, 400, 3, 5).reshape(10, 10)
    entropy_coding.encode_tensor(np.zeros((1, 1), int), dq=True)
    test_memory_layout_does_not_matter()
    entropy_coding.encode_tensor(q, n_unary=np.int32(11), scan=np.int8(1), dq=np.bool_(False), profile=np.int16(0))
    for function in (encoder.encode, encoder.first_wrong_parity, decoder.start_decoding, presets._charge_all):
        assert len(function.entries) == 1, function
    assert len(decoder.decode_rows.entries) <= 3  # int8, int16 and int32 levels


@pytest.mark.parametrize(
    "bad", [np.array([1.0]), np.array(["1"]), np.array([1 + 0j]), np.array([None]), np.array([2**70])]
)
def test_what_is_no_integer(bad):
    with pytest.raises(TypeError, match="must be integers"):
        entropy_coding.encode_tensor(bad)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_unary": 0}, "n_unary=0"),
        ({"n_unary": 16}, "n_unary=16"),
        ({"scan": 5}, "scan=5"),
        ({"scan": -1}, "scan=-1"),
        ({"profile": 2}, "profile=2"),
    ],
)
def test_unknown_options(options, message):
    for function in (
        lambda: entropy_coding.encode_tensor(np.ones((3, 3), int), **options),
        lambda: entropy_coding.decode_tensor(b"abc", (3, 3), **options),
    ):
        with pytest.raises(ValueError, match=message):
            function()


def test_wrong_parity_names_the_place():
    with pytest.raises(ValueError, match="level 1 at index 0 has the wrong parity"):
        entropy_coding.encode_tensor(np.array([[1, 2]]), dq=True)
    grid = random_tensors.on_trellis_grid(cases.levels(60, 700, 2, 3).reshape(6, 10), 0)
    row, column = np.argwhere(grid[3:])[0] + (3, 0)
    grid[row, column] += np.sign(grid[row, column])
    with pytest.raises(ValueError, match=f"level {grid[row, column]} at index {10 * row + column} has"):
        entropy_coding.encode_tensor(grid, dq=True)


def test_trellis_with_row_skip():
    for zero_rows in ([2, 3], [0], [29], list(range(0, 30, 2))):
        level = cases.levels(30 * 21, 500, 2, 3).reshape(30, 21)
        level[zero_rows] = 0
        check(random_tensors.on_trellis_grid(level, 0), {"dq": True, "profile": 1})
        blocks = random_tensors.on_trellis_grid(level, 1)
        with pytest.raises(ValueError, match="cannot skip rows"):
            entropy_coding.encode_tensor(blocks, dq=True, profile=1, scan=1)
        check(blocks, {"dq": True, "profile": 0, "scan": 1})
    check(
        random_tensors.on_trellis_grid(cases.levels(630, 1000, 2, 3).reshape(30, 21), 1),
        {"dq": True, "profile": 1, "scan": 1},
    )


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_narrow_outputs(dtype):
    largest = int(np.iinfo(dtype).max)
    q = np.array([largest, -largest, 0, 3])
    back = entropy_coding.decode_tensor(entropy_coding.encode_tensor(q), q.shape, dtype=dtype)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, q)
    with pytest.raises(ValueError, match="beyond the legal range or the dtype"):
        entropy_coding.decode_tensor(entropy_coding.encode_tensor(q + 1), q.shape, dtype=dtype)


def test_zeros_cost_next_to_nothing_and_come_back():
    """Saturated contexts code up to 98 bins a bit: a decoder that expects fewer refuses good streams."""
    zeros = np.zeros((3_000_000,), np.int8)
    for presets in (False, True):
        stream = entropy_coding.encode_tensor(zeros, presets=presets)
        assert len(stream) < 4100
        assert not entropy_coding.decode_tensor(stream, zeros.shape, dtype=np.int8).any()
    wide = np.zeros((3, 100_000), np.int8)
    stream = entropy_coding.encode_tensor(wide, profile=1)
    assert len(stream) < 12
    assert not entropy_coding.decode_tensor(stream, wide.shape, profile=1).any()


@pytest.mark.slow
def test_constant_tensors_of_every_option_come_back():
    for value in (0, 1, -1, 12, 1000):
        for n_unary in (1, 11, 15):
            check(np.full((1, 1_000_000), value, np.int32), {"n_unary": n_unary})
            check(np.full((1000, 1000), value, np.int32), {"n_unary": n_unary, "scan": 3, "presets": False})


def seven_values(seed, count):
    return (cases.splitmix64(seed, count) % np.uint64(7)).astype(np.int32) - 3


@pytest.mark.parametrize("seed", [883, 898, 1209])
def test_a_carry_out_of_the_last_bytes(seed):
    """One codeword in some four hundred has one; these were searched for."""
    q = seven_values(seed, 40)
    stream = entropy_coding.encode_tensor(q, presets=False)
    assert stream == cabac.encode([[level] for level in q.tolist()])
    check(q, {"presets": False})


def test_a_carry_through_several_bytes():
    """The first 540,530 values hold a carry that runs through two bytes of 0xFF: one in ten million bytes has that."""
    check(seven_values(519, 540_830), {"presets": False})


def test_threads_code_the_same_bytes():
    decode = entropy_coding.decode_tensor
    tensors = [random_tensors.draw(seed) for seed in range(60)]
    alone = [entropy_coding.encode_tensor(q, **options) for q, options in tensors]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: entropy_coding.encode_tensor(case[0], **case[1]), tensors * 3))
        assert together == alone * 3
        back = pool.map(
            lambda case, data: decode(data, case[0].shape, **random_tensors.coder_options(case[1])),
            tensors * 3, together,
        )  # fmt: skip
        for (q, _), values in zip(tensors * 3, back, strict=True):
            np.testing.assert_array_equal(values, q)
