"""The standard's loops, bit by bit, give what is sent; what is received comes back to its place, and adds up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ldpc
from tests.kernels.oracles import ldpc as oracle

# (base graph, Z, e, rv, fillers, modulation order, buffer): short and wrapped, into the fillers, with little memory.
SETTINGS = [
    (1, 2, 60, 0, 0, 1, None),
    (1, 3, 198, 1, 5, 2, None),
    (1, 4, 800, 2, 30, 4, None),
    (1, 2, 1200, 3, 43, 6, 90),
    (2, 2, 4, 0, 19, 4, None),
    (2, 4, 72, 1, 12, 8, None),
    (2, 9, 1000, 2, 1, 2, 301),
    (2, 5, 246, 3, 49, 6, 250),
    (2, 6, 300, 3, 0, 1, 60),
    (2, 3, 450, 0, 7, 1, 25),
]


def options_of(setting):
    *_, rv, fillers, order, buffer = setting
    return {"rv": rv, "fillers": fillers, "modulation_order": order, "buffer": buffer}


def expected_places(setting, word) -> list[tuple[int, int]]:
    graph, z, e, rv, fillers, order, buffer = setting
    return oracle.sent_bits(word, e, rv, z, {1: 22, 2: 10}[graph], fillers, order, buffer)


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_sent(setting):
    code, e = ldpc.qc_code(*setting[:2]), setting[2]
    word = np.random.default_rng(0).permutation(code.n).astype(np.int32)
    expected = [bit for _, bit in expected_places(setting, word)]
    sent = ldpc.rate_match(code, word, e, **options_of(setting))
    np.testing.assert_array_equal(sent, expected)
    batch = np.stack([word, word + 1])[:, None].astype(np.uint8)
    shared = jax.jit(lambda word: ldpc.rate_match(code, word, e, **options_of(setting)))(batch)
    assert shared.dtype == np.uint8 and shared.shape == (2, 1, e)
    np.testing.assert_array_equal(shared[1, 0], (np.array(expected) + 1).astype(np.uint8))


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_received(setting):
    """LLRs are small integers: sums are exact in any order."""
    graph, z, e, rv, fillers, order, buffer = setting
    code, rng = ldpc.qc_code(graph, z), np.random.default_rng(1)
    llr, out = (rng.integers(-8, 9, (2, 3, size)).astype(np.float32) for size in (e, code.n))
    fresh = ldpc.rate_recover(code, llr, **options_of(setting))
    added = jax.jit(lambda llr, out: ldpc.rate_recover(code, llr, **options_of(setting), out=out))(llr, out)
    for i, j in np.ndindex(2, 3):
        for given, received in ((np.zeros(code.n), fresh), (out[i, j], added)):
            where = (rv, z, code.information, fillers, order, ldpc.LLR_MAX, buffer)
            np.testing.assert_array_equal(received[i, j], oracle.recovered(llr[i, j], given, *where))
    assert fresh.dtype == added.dtype == np.float32


@pytest.mark.parametrize("setting", SETTINGS)
def test_signs_come_back(setting):
    """Bit 0 is +1 from the word to the LLR, at every place that was sent; a filler is a 0 beyond doubt."""
    code, e, fillers = ldpc.qc_code(*setting[:2]), setting[2], setting[4]
    k = code.information * code.lifting
    bits = np.random.default_rng(2).integers(0, 2, k)
    bits[k - fillers :] = 0
    word = np.asarray(ldpc.encode(code, bits))
    llr = 1.0 - 2.0 * np.asarray(ldpc.rate_match(code, word, e, **options_of(setting)), np.float32)
    received = np.asarray(ldpc.rate_recover(code, llr, **options_of(setting)))
    sent = [place for place, _ in expected_places(setting, word)]
    counts = np.bincount(sent, minlength=code.n)
    counts[k - fillers : k] = ldpc.LLR_MAX
    np.testing.assert_array_equal(received, counts * (1.0 - 2.0 * word))
    assert not received[: 2 * code.lifting].any() or fillers > k - 2 * code.lifting


def test_transmissions_add_up():
    code, rng = ldpc.qc_code(2, 9), np.random.default_rng(3)
    llr = None
    total = np.zeros(code.n)
    for rv in (0, 2, 3, 1):
        sent = rng.integers(-5, 6, 300).astype(np.float32)
        llr = ldpc.rate_recover(code, sent, rv, out=llr)
        total += np.asarray(ldpc.rate_recover(code, sent, rv))
    np.testing.assert_array_equal(llr, total)


def test_recovery_is_the_transpose_of_matching():
    """So gradients of one are the other."""
    code, word, llr = ldpc.qc_code(2, 3), jnp.arange(156.0), jnp.arange(400.0)
    _, back = jax.vjp(lambda word: ldpc.rate_match(code, word, 400, 1, modulation_order=2), word)
    np.testing.assert_allclose(back(llr)[0], ldpc.rate_recover(code, llr, 1, modulation_order=2))


def test_a_subcode_receives_the_beginning():
    code = ldpc.qc_code(2, 36)
    part = ldpc.subcode(code, 900)
    llr = np.random.default_rng(4).normal(size=900).astype(np.float32)
    np.testing.assert_array_equal(ldpc.rate_recover(part, llr), ldpc.rate_recover(code, llr)[: part.n])
    with pytest.raises(ValueError, match="rv=1: expected an integer from 0 to 0: others are those of whole"):
        ldpc.rate_recover(part, llr, 1)


def test_codes_without_a_standard_are_sent_in_order():
    code = ldpc.sparse_code(np.ones((1, 4), int))
    np.testing.assert_array_equal(ldpc.rate_match(code, np.arange(4), 6), [0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(ldpc.rate_match(code, np.arange(4), 4, modulation_order=2), [0, 2, 1, 3])
    with pytest.raises(ValueError, match="fillers=1"):
        ldpc.rate_match(code, np.arange(4), 6, fillers=1)


# TS 38.212, 7.2.2 and 5.2.2, by hand: (payload, rate, crc) -> base graph, Z, fillers.
BLOCKS = {
    (360, 1 / 5, 0): (2, 48, 120),  # 8 columns: 44 is too small
    (292, 0.9, 0): (2, 40, 108),
    (308, 0.9, 16): (2, 40, 92),
    (309, 0.9, 16): (1, 15, 21),
    (293, 0.9, 0): (1, 14, 15),
    (293, 0.67, 0): (2, 40, 107),
    (3824, 0.67, 0): (2, 384, 16),
    (3824, 0.68, 0): (1, 176, 48),
    (3840, 0.25, 16): (2, 384, 0),
    (3840, 0.26, 0): (1, 176, 32),
    (8448, 0.9, 24): (1, 384, 0),
    (192, 0.5, 0): (2, 32, 128),  # 6 columns
    (193, 0.5, 0): (2, 26, 67),  # 8
    (560, 0.5, 0): (2, 72, 160),
    (561, 0.5, 0): (2, 64, 79),  # 9
    (640, 0.5, 0): (2, 72, 80),
    (641, 0.5, 0): (2, 72, 79),  # 10
    (1, 1.0, 0): (2, 2, 19),
}


@pytest.mark.parametrize("request_", BLOCKS)
def test_blocks_of_the_standard(request_):
    payload, rate, crc = request_
    block = ldpc.nr_block(payload, rate, crc=crc)
    graph, z, fillers = BLOCKS[request_]
    assert block == (ldpc.qc_code(graph, z), payload, fillers)


REFUSED = {
    "e=0: expected an integer of at least 1|e=0: expected an integer from 1": lambda c, w: ldpc.rate_match(c, w, 0),
    "e=7: expected a multiple of modulation_order=2": lambda c, w: ldpc.rate_match(c, w, 7, modulation_order=2),
    "modulation_order=3: expected one of": lambda c, w: ldpc.rate_match(c, w, 6, modulation_order=3),
    "rv=4: expected an integer from 0 to 3": lambda c, w: ldpc.rate_match(c, w, 6, 4),
    "fillers=20: expected an integer from 0 to 19": lambda c, w: ldpc.rate_match(c, w, 6, fillers=20),
    "buffer=101: expected an integer from 1 to 100": lambda c, w: ldpc.rate_match(c, w, 6, buffer=101),
    "buffer=8: expected more, since fillers=16": lambda c, w: ldpc.rate_match(c, w, 6, fillers=16, buffer=8),
    r"word has shape \(103,\): expected 104": lambda c, w: ldpc.rate_match(c, w[:-1], 6),
    "the number of LLRs=0": lambda c, w: ldpc.rate_recover(c, np.zeros((3, 0), np.float32)),
    "the number of LLRs=5: expected a multiple": lambda c, w: ldpc.rate_recover(c, np.zeros(5), modulation_order=2),
    "llr holds nan": lambda c, w: ldpc.rate_recover(c, np.full(4, np.nan)),
    "llr holds inf: expected finite": lambda c, w: ldpc.rate_recover(c, np.array([0, np.inf])),
    "llr is int64": lambda c, w: ldpc.rate_recover(c, w),
    "llr=": lambda c, w: ldpc.rate_recover(c, "llr"),
    r"out has shape \(5,\): expected 104": lambda c, w: ldpc.rate_recover(c, np.zeros(4), out=np.zeros(5)),
    "out holds nan": lambda c, w: ldpc.rate_recover(c, np.zeros(4), out=np.full(104, np.nan)),
    "code=1": lambda c, w: ldpc.rate_match(1, w, 6),
    "payload=0": lambda c, w: ldpc.nr_block(0, 0.5),
    "payload=8449: expected at most 8448, one block of base graph 1": lambda c, w: ldpc.nr_block(8449, 0.5),
    "payload=3841: expected at most 3840, one block of base graph 2": lambda c, w: ldpc.nr_block(3841, 0.2),
    r"rate=1.5: expected a code rate in \(0, 1\]": lambda c, w: ldpc.nr_block(100, 1.5),
    "crc=100": lambda c, w: ldpc.nr_block(100, 0.5, crc=100),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input(message, unchecked):
    code = ldpc.qc_code(2, 2)
    with pytest.raises(ValueError, match=message):
        REFUSED[message](code, np.arange(code.n))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
def test_dtypes_stay(dtype):
    code = ldpc.qc_code(2, 2)
    received = ldpc.rate_recover(code, np.ones(100, dtype), fillers=4)
    assert received.dtype == dtype and np.isfinite(np.asarray(received, np.float32)).all()
