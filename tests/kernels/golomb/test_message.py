"""Messages: bytes as written by hand, back to the same values; damage and hostile bytes are a ValueError."""

import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from kernels import golomb, sparse_ternary
from tests.kernels.oracles import golomb as oracle

MU = 0.3


def vector(rng, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(mask, signs)."""
    return rng.random(n) < share, np.where(rng.random(n) < 0.5, -1, 1).astype(np.int8)


def values_of(mask, signs, mu=MU) -> np.ndarray:
    return np.where(mask, np.float32(mu) * signs, 0).astype(np.float32)


def test_a_thousand_random_masks():
    rng = np.random.default_rng(0)
    for i in range(1000):
        n = int(rng.integers(2, 300))
        mask, signs = vector(rng, n, rng.choice([0, 1, rng.random() ** 4]))
        mask[0] |= i % 7 == 0
        mask[-1] |= i % 5 == 0
        data = golomb.encode(mask, signs, MU)
        b = golomb.golomb_parameter(mask.mean()) if mask.any() else 0
        assert data == oracle.message(mask, signs, MU, b)
        np.testing.assert_array_equal(golomb.decode(data, n), values_of(mask, signs))
        account = golomb.account(data, n)
        assert account.payload_bits == golomb.golomb_bits(mask, b)
        assert account.payload_bits + account.side_bits + account.framing_bits == 8 * len(data)


def test_long_gaps_and_single_entries():
    """Unary parts of more than 32 ones, and the first, the last, no and every place of a long vector."""
    n = 100_000
    late = np.arange(n) > n - 800  # the first gap is long for its b
    for mask in (late, np.arange(n) == 0, np.arange(n) == n - 1, np.zeros(n, bool), np.ones(n, bool)):
        signs = np.where(np.arange(n) % 3, 1, -1)
        data = golomb.encode(mask, signs, MU)
        np.testing.assert_array_equal(golomb.decode(data, n), values_of(mask, signs))
    b = golomb.golomb_parameter(late.mean())
    assert (n - 800) >> b > 700
    assert golomb.encode(late, signs, MU) == oracle.message(late, signs, MU, b)


def test_every_number_of_ones():
    """From 0 to 150 in turn, after so many entries side by side that b is 0."""
    places = np.concatenate([np.arange(12_000), 12_000 + np.cumsum(np.arange(151) + 1)])
    mask = np.zeros(places[-1] + 1, bool)
    mask[places] = True
    signs = np.where(np.arange(mask.size) % 3, 1, -1)
    data = golomb.encode(mask, signs, MU)
    assert data == oracle.message(mask, signs, MU, 0)
    np.testing.assert_array_equal(golomb.decode(data, mask.size), values_of(mask, signs))


def test_what_the_compressor_returns():
    x = np.random.default_rng(1).standard_normal(700).astype(np.float32)
    mask, mu, signs = sparse_ternary.ternarize(x, 43)
    np.testing.assert_array_equal(golomb.decode(golomb.encode(mask, signs, mu), 700), np.asarray(mu * signs))
    nothing = sparse_ternary.ternarize(0 * x, 43)
    data = golomb.encode(nothing[0], nothing[2], nothing[1])
    assert golomb.account(data, 700).payload_bits == 0 and not golomb.decode(data, 700).any()


def test_dense_values_where_they_are_shorter():
    """A bias of one entry: mu alone would be as long."""
    data = golomb.encode(np.array([True]), np.array([-1]), MU)
    assert data[3] == 1 and len(data) == 12 and golomb.decode(data, 1).tolist() == [-np.float32(MU)]
    assert golomb.account(data, 1) == golomb.Account(32, 0, 64)
    assert golomb.encode(np.array([False]), np.array([1]), MU)[3] == 0
    assert golomb.decode(golomb.encode(np.zeros(0, bool), np.zeros(0), 0), 0).size == 0


def sample() -> tuple[bytes, int]:
    mask, signs = vector(np.random.default_rng(2), 60, 0.2)
    return golomb.encode(mask, signs, MU), 60


def test_every_damaged_byte_is_noticed():
    data, n = sample()
    dense = golomb.encode(np.array([True]), np.array([1]), MU)
    for message, size in ((data, n), (dense, 1), (golomb.encode(np.zeros(5, bool), np.zeros(5), 0), 5)):
        for i in range(len(message)):
            for flip in range(1, 256):
                altered = message[:i] + bytes([message[i] ^ flip]) + message[i + 1 :]
                with pytest.raises(ValueError, match="message|mode"):
                    golomb.decode(altered, size)
        for i in range(len(message)):
            with pytest.raises(ValueError, match="message"):
                golomb.decode(message[:i], size)
        for wrong in (message + b"\0", b"\0" + message):
            with pytest.raises(ValueError, match="message"):
                golomb.decode(wrong, size)
        with pytest.raises(ValueError, match=f"not of n={size + 1} entries"):
            golomb.decode(message, size + 1)


def hostile() -> dict[str, bytes]:
    """Bytes whose checksum holds for n = 60, by what the refusal says."""
    data, n = sample()
    k, side = data[4], data[5:10]
    payload = data[10:-4]
    with_mu = {mu: bytes([side[0]]) + struct.pack("<f", mu) for mu in (np.nan, np.inf, -1.0)}
    bodies = {
        "has mode 7": b"\7" + data[4:-4],
        "selects k=61 of n=60": b"\0" + bytes([61]) + side + payload,
        "selects k=34359738367 of": b"\0" + b"\xff\xff\xff\xff\x7f" + side + payload,
        "k has more than five bytes": b"\0" + b"\xff" * 9 + side + payload,
        "k is written with more bytes": b"\0" + bytes([k | 128, 0]) + side + payload,
        "ends within k": b"\0",
        "ends within b and mu": b"\0" + bytes([k]) + side[:4],
        "b=32 and": b"\0" + bytes([k]) + b"\x20" + side[1:] + payload,
        "mu=nan": b"\0" + bytes([k]) + with_mu[np.nan] + payload,
        "mu=inf": b"\0" + bytes([k]) + with_mu[np.inf] + payload,
        "mu=-1.0": b"\0" + bytes([k]) + with_mu[-1.0] + payload,
        "bytes cannot hold k=": b"\0" + bytes([k]) + side + payload[:2],
        "does not end with its payload": b"\0" + bytes([k]) + side + payload + b"\0",
        "ends within an entry": b"\0" + bytes([1, 0]) + side[1:] + b"\xff\xff",
        "has an entry beyond n=60": b"\0" + bytes([1, 31]) + side[1:] + b"\0" + b"\xff" * 4,
        "entry beyond n=60": b"\0" + bytes([1, 0]) + side[1:] + b"\xff" * 8 + b"\0",
        "not end with its payload": b"\0" + bytes([1, 0]) + side[1:] + b"\x01",
        "3 bytes of dense values": b"\1" + b"\0" * 3,
        "NaN or infinite": b"\1" + struct.pack("<60f", *[np.nan] * 60),
    }
    return {says: oracle.sealed(b"HG\1" + body, n) for says, body in bodies.items()}


@pytest.mark.parametrize("says", hostile())
def test_bytes_with_a_sound_checksum_are_read_with_care(says):
    with pytest.raises(ValueError, match=says):
        golomb.decode(hostile()[says], 60)


def test_random_bytes():
    """With a sound head and sum: a ValueError, or an array of the declared length."""
    rng = np.random.default_rng(3)
    for _ in range(2000):
        body = bytes([0, rng.integers(1, 30), rng.integers(0, 8)]) + struct.pack("<f", MU) + rng.bytes(rng.integers(40))
        try:
            assert golomb.decode(oracle.sealed(b"HG\1" + body, 60), 60).shape == (60,)
        except ValueError:
            continue


def test_memory_is_bounded_by_the_bytes(unchecked):
    golomb.decode(*sample())  # what is compiled is loaded
    n = 2**31 - 1
    body = b"\0" + oracle.varint(n) + bytes([0]) + struct.pack("<f", MU) + b"\xff" * 100_000
    tracemalloc.start()
    for message in (oracle.sealed(b"HG\1" + body, n), oracle.sealed(b"HG\1" + body, n - 1), b"HG\1\1" + b"\0" * 99):
        with pytest.raises(ValueError, match="message|bytes cannot hold"):
            golomb.decode(message, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_vectors_that_make_no_message_are_refused(unchecked):
    mask, signs = np.array([True, False, True]), np.array([1, 0, -1])
    for wrong, says in (
        ((mask, signs[:2], 1.0), "mask has shape"),
        ((mask[None], signs[None], 1.0), "mask has shape"),
        ((mask.astype(int), signs, 1.0), "mask is int64"),
        ((mask, np.array([1, 0, 0]), 1.0), "signs have other values"),
        ((mask, np.array([1, 0, np.nan]), 1.0), "signs have other values"),
        ((mask, np.array([1.0, 0, 0.5]), 1.0), "signs have other values"),
        ((mask, mask, 1.0), "signs have other values"),
        ((mask, signs, 1e39), "mu=1e[+]39: expected a finite float32"),
        ((mask, signs, np.array([1.0, 2.0])), "mu=.*: expected a finite float32"),
    ):
        with pytest.raises(ValueError, match=says):
            golomb.encode(*wrong)
    # Signs are read on the mask alone.
    assert golomb.encode(mask, signs, 1.0) == golomb.encode(mask, np.array([1, 9, -1]), 1.0)
    with pytest.raises(ValueError, match="data is int: expected bytes"):
        golomb.decode(10**12, 3)


def test_messages_need_neither_jax_nor_a_compiler():
    golomb.decode(*sample())  # the machine code is on disk
    program = (
        "import sys, numpy as np\nfrom kernels import golomb\n"
        "assert not {'numba', 'llvmlite', 'jax'} & set(sys.modules)\n"
        "golomb.decode(golomb.encode(np.ones(9, bool), np.ones(9, np.int8), 1.0), 9)\n"
        "assert not {'numba', 'jax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
