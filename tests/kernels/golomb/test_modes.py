"""Messages with a magnitude a tensor, and with floats as they are: bytes as written by hand, damage, hostile bytes."""

import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from kernels import golomb, sparse_ternary
from tests.kernels.oracles import golomb as oracle

SIZES = (40, 1, 59)
N = sum(SIZES)


def sample(seed=0, share=0.1):
    rng = np.random.default_rng(seed)
    return rng.random(N) < share, np.where(rng.random(N) < 0.5, -1, 1).astype(np.int8)


def by_hand(mode: int, side: bytes, bits: str, k: int, b: int, sizes=()) -> bytes:
    bits += "0" * (-len(bits) % 8)
    body = bytes([mode, k, b]) + side + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    head = b"HG\1" + body
    return head + struct.pack("<I", zlib.crc32(struct.pack(f"<{1 + len(sizes)}Q", N, *sizes) + head))


def test_a_magnitude_a_tensor():
    mask, signs = sample()
    mask[40] = False  # the tensor of one entry has none
    mu = np.array([0.25, 9.0, 3.5])
    k, data = int(mask.sum()), golomb.encode(mask, signs, mu, SIZES)
    b = golomb.golomb_parameter(k / N)
    assert data == by_hand(2, struct.pack("<3f", *mu), oracle.payload(mask, signs, b), k, b, SIZES)
    expected = np.where(mask, np.repeat(mu, SIZES) * signs, 0).astype(np.float32)
    np.testing.assert_array_equal(golomb.decode(data, N, SIZES), expected)
    assert golomb.account(data, N, SIZES).side_bits == 8 * (1 + 1 + 12)
    one = golomb.encode(mask, signs, [0.25], [N])
    np.testing.assert_array_equal(golomb.decode(one, N, [N]), np.where(mask, np.float32(0.25) * signs, 0))


def test_magnitudes_of_half_precision():
    for dtype in (jnp.bfloat16, jnp.float16):
        mask, mu, signs = sparse_ternary.ternarize(jnp.arange(8).astype(dtype), 2)
        assert golomb.decode(golomb.encode(mask, signs, mu), 8).tolist() == [0] * 6 + [6.5, 6.5]


def test_floats_as_they_are():
    mask, signs = sample(1)
    values = np.where(mask, signs * np.random.default_rng(2).standard_normal(N), 0).astype(np.float32)
    values[np.flatnonzero(mask)[:3]] = [np.finfo(np.float32).max, -np.finfo(np.float32).tiny, 1e-45]
    k, data = int(mask.sum()), golomb.encode_values(values)
    b = golomb.golomb_parameter(k / N)
    floats = "".join(format(int(one) & 0x7FFFFFFF, "031b") for one in values[mask].view(np.int32))
    assert data == by_hand(3, b"", oracle.payload(mask, values, b) + floats, k, b)
    np.testing.assert_array_equal(golomb.decode(data, N), values)
    payload = len(oracle.payload(mask, values, b)) + 31 * k
    assert golomb.account(data, N) == golomb.Account(payload, 16, 8 * len(data) - payload - 16)


def test_what_is_dense_is_written_so():
    values = np.random.default_rng(3).standard_normal(N)
    data = golomb.encode_values(values)
    assert data[3] == 1 and len(data) == 8 + 4 * N
    np.testing.assert_array_equal(golomb.decode(data, N), values.astype(np.float32))
    for nothing in (np.zeros(7, np.float32), np.zeros(0)):
        np.testing.assert_array_equal(golomb.decode(golomb.encode_values(nothing), nothing.size), nothing)
    mask, signs = np.ones(3, bool), np.array([1, -1, 1])
    assert golomb.encode(mask, signs, [1.0, 2.0, 3.0], [1, 1, 1])[3] == 1
    assert golomb.decode(golomb.encode(mask, signs, [1.0, 2.0, 3.0], [1, 1, 1]), 3, [1, 1, 1]).tolist() == [1, -2, 3]


def test_every_damaged_byte_is_noticed():
    mask, signs = sample()
    tensors = golomb.encode(mask, signs, [0.25, 9.0, 3.5], SIZES)
    floats = golomb.encode_values(np.where(mask, 0.3 * signs, 0))
    for data, sizes in ((tensors, SIZES), (floats, None)):
        for place in range(len(data)):
            for flip in (1, 2, 128, 255):
                altered = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
                with pytest.raises(ValueError, match="message|mode"):
                    golomb.decode(altered, N, sizes)
            with pytest.raises(ValueError, match="message"):
                golomb.decode(data[:place], N, sizes)
    with pytest.raises(ValueError, match="read it with sizes="):
        golomb.decode(tensors, N)
    with pytest.raises(ValueError, match=r"in tensors of \[41, 59\]"):
        golomb.decode(tensors, N, (41, 59))
    np.testing.assert_array_equal(golomb.decode(floats, N, SIZES), golomb.decode(floats, N))


HOSTILE = {
    "ends within b and mu": (2, 3, struct.pack("<B2f", 1, 0.1, 0.1)),
    "mu=0.5, nan, 0.5": (2, 3, struct.pack("<B3f", 1, 0.5, np.nan, 0.5) + bytes(9)),
    "cannot hold k=3 entries": (3, 3, bytes([1]) + bytes(12)),
    "0, NaN or infinite": (3, 1, bytes([0]) + bytes(5)),
    "NaN or infinite, which": (3, 1, bytes([0]) + bytes([0b00111111, 0b11111111]) + b"\xff" * 2 + bytes([0b10000000])),
    "does not end with its payload": (3, 1, bytes([0]) + bytes(7)),
}


@pytest.mark.parametrize("says", HOSTILE)
def test_bytes_with_a_sound_checksum_are_read_with_care(says):
    mode, k, rest = HOSTILE[says]
    head = b"HG\1" + bytes([mode, k]) + rest
    sizes = SIZES if mode == 2 else ()
    data = head + struct.pack("<I", zlib.crc32(struct.pack(f"<{1 + len(sizes)}Q", N, *sizes) + head))
    with pytest.raises(ValueError, match=says):
        golomb.decode(data, N, SIZES if mode == 2 else None)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: golomb.encode(*sample(), [1.0, 2.0], SIZES), r"mu has shape \(2,\): expected \(3,\)"),
        (lambda: golomb.encode(*sample(), 1.0, SIZES), r"mu has shape \(\): expected \(3,\)"),
        (lambda: golomb.encode(*sample(), [1.0, -2.0, 1.0], SIZES), r"mu\[1\]=-2.0"),
        (lambda: golomb.encode(*sample(), [1.0, 2.0, 3.0], (40, 0, 60)), r"sizes\[1\]=0"),
        (lambda: golomb.encode(*sample(), [1.0, 2.0], (40, 59)), r"sizes=\[40, 59\] add up to 99: expected n=100"),
        (lambda: golomb.encode(*sample(), [], ()), r"sizes=\[\]"),
        (lambda: golomb.encode_values(np.ones((2, 2))), r"values are float64 of shape \(2, 2\)"),
        (lambda: golomb.encode_values(np.ones(3, int)), r"values are int64"),
        (lambda: golomb.encode_values(np.array([1.0, np.nan])), "values are not finite"),
        (lambda: golomb.encode_values(np.array([1.0, 1e39])), "values are not finite"),
    ],
)
def test_what_makes_no_message_is_refused(call, says, unchecked):
    with pytest.raises(ValueError, match=says):
        call()
