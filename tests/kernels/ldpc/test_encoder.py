"""Every word satisfies its checks and holds its bits, whatever the code; sums of words are words of sums."""

import itertools

import jax
import numpy as np
import pytest

from kernels import ldpc
from kernels.ldpc import base_graphs, encoder
from tests.kernels.oracles import ldpc as oracle


def random_bits(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)


@pytest.mark.parametrize("graph, parity", [(1, 46), (2, 42)])
def test_words_of_every_lifting_satisfy_every_check(graph, parity):
    """In NumPy: what `encode` compiles, for 51 sizes. A wrong shift passes with a chance of 2^-Z a word and check."""
    for z in base_graphs.LIFTINGS:
        code = ldpc.qc_code(graph, z)
        bits = random_bits(16, code.information * z, seed=z)
        word = encoder.substitution(np, code, bits)
        assert word.dtype == np.uint8 and word.shape == (16, code.n) and word.max() == 1
        np.testing.assert_array_equal(word[:, : bits.shape[1]], bits)
        x = word.reshape(16, code.columns, z)
        for row in code.rows:
            assert not (sum(np.roll(x[:, column], -shift, -1) for column, shift in row) % 2).any(), (z, row)
        assert word[:, -parity * z :].any()


def test_the_shift_of_the_core_is_read_from_the_table():
    """It is neither 0 in all sets of base graph 1 nor 1 in all of base graph 2."""
    first = {(graph, z): encoder._core_steps(ldpc.qc_code(graph, z).rows[:4], information)[0]
             for graph, information in base_graphs.INFORMATION.items() for z in (208, 36, 224, 240)}  # fmt: skip
    assert first == {
        (1, 208): 105,
        (1, 36): 0,
        (1, 224): 0,
        (1, 240): 0,
        (2, 208): 1,
        (2, 36): 1,
        (2, 224): 0,
        (2, 240): 0,
    }


@pytest.mark.parametrize("code", [ldpc.qc_code(1, 6), ldpc.qc_code(2, 9), ldpc.subcode(ldpc.qc_code(2, 9), 100)])
def test_words_are_those_that_elimination_gives(code):
    matrix, k = oracle.parity_check_matrix(code.rows, code.columns, code.lifting), ldpc.dimension(code)
    assert k == code.information * code.lifting == code.n - oracle.rank(matrix)
    bits = random_bits(2, k)
    expected = [oracle.encode(matrix, np.arange(k), row) for row in bits]
    np.testing.assert_array_equal(ldpc.encode(code, bits), expected)


def test_a_subcode_has_the_beginning_of_the_word():
    code = ldpc.qc_code(2, 6)
    bits = random_bits(3, 60)
    part = ldpc.subcode(code, 120)
    np.testing.assert_array_equal(ldpc.encode(part, bits), ldpc.encode(code, bits)[:, : part.n])


MATRICES = {
    "random": random_bits(20, 50, seed=1),
    "sparse": (np.random.default_rng(2).random((40, 130)) < 0.06).astype(int) | np.eye(40, 130, dtype=int),
    "more checks than bits": random_bits(40, 30, seed=3),
    "of low rank": random_bits(30, 6, seed=4) @ random_bits(6, 70, seed=5) % 2,
    "one check": np.ones((1, 5), int),
    "a bit in no check": np.array([[0, 1, 1, 0], [0, 1, 0, 1]]),
    "no information": np.eye(3, dtype=int),
}


@pytest.mark.parametrize("name", MATRICES)
def test_any_matrix_has_a_systematic_generator(name):
    matrix = MATRICES[name][MATRICES[name].any(1)]
    code = ldpc.sparse_code(matrix)
    positions, k = ldpc.information_positions(code), ldpc.dimension(code)
    assert k == matrix.shape[1] - oracle.rank(matrix) == len(positions) and (np.diff(positions) > 0).all()
    bits = random_bits(4, 5, k)
    word = np.asarray(ldpc.encode(code, bits))
    assert word.shape == (4, 5, matrix.shape[1]) and not (word @ matrix.T.astype(int) % 2).any()
    np.testing.assert_array_equal(word[..., positions], bits)
    np.testing.assert_array_equal(word[0, 0], oracle.encode(matrix, positions, bits[0, 0]))


def test_information_leads_where_it_can():
    """The parity part of Wi-Fi's kind, a column of three and a staircase, follows from the rest."""
    shifts = np.array([[1, 4, 2, 1, 0, -1], [-1, 3, 6, 0, 0, 0], [5, -1, 0, 1, -1, 0]])
    code = ldpc.qc_code(shifts, 7)
    np.testing.assert_array_equal(ldpc.information_positions(code), np.arange(21))
    bits = random_bits(3, 21)
    assert not np.asarray(ldpc.syndrome(code, ldpc.encode(code, bits))).any()


def test_elimination_beyond_one_word_and_strip():
    """400 checks of 1000 bits, more than 64 columns and 256 rows."""
    rng = np.random.default_rng(0)
    bit = np.concatenate([rng.choice(1000, 5, replace=False) for _ in range(400)])
    code = ldpc.sparse_code(edges=(np.repeat(np.arange(400), 5), bit), shape=(400, 1000))
    assert ldpc.dimension(code) == 1000 - oracle.rank(ldpc.parity_check_matrix(code))
    word = ldpc.encode(code, random_bits(2, ldpc.dimension(code)))
    assert not np.asarray(ldpc.syndrome(code, word)).any()


@pytest.mark.parametrize("code", [ldpc.qc_code(2, 4), ldpc.sparse_code(MATRICES["random"])])
def test_the_encoder_is_linear_and_maps(code):
    k = ldpc.dimension(code)
    a, b = random_bits(2, 3, k)
    np.testing.assert_array_equal(ldpc.encode(code, a ^ b), ldpc.encode(code, a) ^ ldpc.encode(code, b))
    assert not np.asarray(ldpc.encode(code, np.zeros(k, int))).any()
    mapped = jax.jit(jax.vmap(lambda bits: ldpc.encode(code, bits)))(a)
    np.testing.assert_array_equal(mapped, ldpc.encode(code, a.astype(bool)))
    assert mapped.dtype == np.uint8


def test_syndrome_is_the_product():
    for code in (ldpc.qc_code(2, 4), ldpc.sparse_code(MATRICES["sparse"])):
        word = random_bits(6, code.n)
        expected = word @ ldpc.parity_check_matrix(code).T.astype(int) % 2
        for given in (word, word.astype(bool), word.astype(np.float32), word[0]):
            np.testing.assert_array_equal(ldpc.syndrome(code, given), expected if given.ndim > 1 else expected[0])


def test_sums_of_more_than_255_bits_are_odd_or_even():
    code = ldpc.sparse_code(np.ones((1, 1000), int))
    word = random_bits(8, 1000)
    np.testing.assert_array_equal(ldpc.syndrome(code, word)[:, 0], word.sum(1, dtype=int) % 2)


def test_all_words_of_a_small_code():
    matrix = [[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]]
    words = np.asarray(ldpc.encode(ldpc.sparse_code(matrix), list(itertools.product((0, 1), repeat=4))))
    assert set(map(tuple, words.tolist())) == set(map(tuple, oracle.codewords(matrix).tolist()))


REFUSED = {
    r"bits has shape \(359,\): expected 360 along": np.zeros(359, int),
    r"bits has shape \(\): expected 360": np.array(0),
    "bits holds 2: expected 0 or 1": np.full(360, 2),
    "bits holds -1": np.full((2, 360), -1),
    "bits holds 0.5": np.full(360, 0.5),
    "bits holds nan": np.full(360, np.nan),
    "bits=": np.full(360, "0"),
    "bits=None": None,
    r"bits=\[\[0\], \[0, 1\]\]": [[0], [0, 1]],
    "bits has dtype complex128": np.zeros(360, complex),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_are_no_bits(message, unchecked):
    with pytest.raises(ValueError, match=message):
        ldpc.encode(ldpc.qc_code(2, 36), REFUSED[message])


@pytest.mark.parametrize("word, message", [(np.zeros(39), "bits has shape"), (np.full(104, 3), "bits holds 3")])
def test_what_is_no_word(word, message):
    with pytest.raises(ValueError, match=message):
        ldpc.syndrome(ldpc.qc_code(2, 2), word)


def test_traced_bits_have_a_length_too():
    with pytest.raises(ValueError, match=r"bits has shape \(3,\): expected 40"):
        jax.jit(lambda bits: ldpc.encode(ldpc.qc_code(2, 4), bits))(np.zeros(3, int))
