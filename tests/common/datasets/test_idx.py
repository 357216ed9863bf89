"""The IDX reader gives back what was written and refuses everything that is not whole."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets import DamagedDataError, idx

TYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(TYPES), st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_round_trip(dtype, shape, seed):
    array = np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)
    back = idx.parse(idx.dump(array), "test")
    assert back.dtype == array.dtype and back.dtype.isnative
    np.testing.assert_array_equal(back, array)


def test_bytes_by_hand():
    """Two zero bytes, 08 for uint8, two axes of 2 and 3, then six values."""
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(idx.parse(data, "test"), [[1, 2, 3], [4, 5, 6]])
    assert idx.dump(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)) == data


def test_big_endian_values():
    data = struct.pack(">BBBBI2h", 0, 0, 0x0B, 1, 2, -2, 300)
    np.testing.assert_array_equal(idx.parse(data, "test"), np.array([-2, 300], np.int16))


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_wrapping_is_told_by_content_and_not_by_name(tmp_path, wrap, name):
    array = np.arange(5000, dtype=np.int32).reshape(50, 100)
    path = tmp_path / name
    path.write_bytes(wrap(idx.dump(array)))
    np.testing.assert_array_equal(idx.read(path), array)


WHOLE = idx.dump(np.arange(240, dtype=np.uint8).reshape(10, 24))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "begins with nothing", id="empty"),
        pytest.param(b"\x01" + WHOLE[1:], "begins with 01 00 08 02", id="magic"),
        pytest.param(b"\0\0\x07" + WHOLE[3:], "not an IDX file", id="type"),
        pytest.param(b"\0\0\x08\0", "not an IDX file", id="no-axes"),
        pytest.param(WHOLE[:9], "the header alone needs 12 bytes", id="header"),
        pytest.param(WHOLE[:-1], "cut short: axes 10x24 need 252 bytes, the file has 251", id="short"),
        pytest.param(WHOLE + b"\0", "too long", id="long"),
        pytest.param(b"\0\0\x08\x02" + b"\xff" * 8 + WHOLE[12:], "declares", id="huge"),
        pytest.param(gzip.compress(WHOLE)[:-9], "damaged or cut short", id="gzip-short"),
        pytest.param(gzip.compress(WHOLE)[:30], "damaged or cut short", id="gzip-shorter"),
        pytest.param(gzip.compress(WHOLE)[:-8] + bytes(8), "damaged or cut short", id="gzip-sum"),
    ],
)
def test_damage_names_the_file(tmp_path, data, message):
    path = tmp_path / "some-idx"
    path.write_bytes(data)
    with pytest.raises(DamagedDataError, match=message) as caught:
        idx.read(path)
    assert str(path) in str(caught.value) and isinstance(caught.value, ValueError)


def test_every_single_altered_byte_of_a_gzip_is_noticed_or_harmless(tmp_path):
    packed = gzip.compress(WHOLE, mtime=0)
    path, noticed = tmp_path / "altered", 0
    for position in range(len(packed)):
        path.write_bytes(packed[:position] + bytes([packed[position] ^ 0x10]) + packed[position + 1 :])
        try:
            array = idx.read(path)
        except DamagedDataError:
            noticed += 1
        else:
            np.testing.assert_array_equal(array, idx.parse(WHOLE, ""), f"byte {position}")
    assert noticed > len(packed) - 10  # time stamp and system in the header, unused bits


def test_a_small_file_that_unpacks_to_much_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(WHOLE + bytes(100_000_000), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedDataError, match="too long"):
            idx.read(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_type_that_idx_lacks():
    with pytest.raises(ValueError, match="complex128"):
        idx.dump(np.zeros(3, np.complex128))
