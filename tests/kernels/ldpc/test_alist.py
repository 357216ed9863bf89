"""Files in alist format: there and back, forgiving with what others write, and clear about what is wrong."""

import numpy as np
import pytest

from kernels import ldpc

# Four bits, three checks, of unequal weights; bit 4 is in one check.
TEXT = """4 3
2 3
2 2 2 1
2 2 3
1 3
1 2
2 3
3 0
1 2 0
2 3 0
1 3 4
"""
MATRIX = [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]]


def test_a_file_as_it_stands():
    code = ldpc.read_alist(TEXT)
    np.testing.assert_array_equal(ldpc.parity_check_matrix(code), MATRIX)
    assert code == ldpc.sparse_code(MATRIX) and ldpc.write_alist(code) == TEXT


@pytest.mark.parametrize("seed", range(4))
def test_any_code_there_and_back(seed):
    rng = np.random.default_rng(seed)
    matrix = (rng.random((15, 40)) < 0.15).astype(int)
    matrix[matrix.sum(1) == 0, 3] = 1
    matrix[:, 5] = 0
    matrix[0, 3] = 1
    code = ldpc.sparse_code(matrix)
    text = ldpc.write_alist(code)
    assert ldpc.read_alist(text) == code and ldpc.write_alist(ldpc.read_alist(text)) == text
    lines = [list(map(int, line.split())) for line in text.splitlines()]
    for bit in range(40):
        padded = np.zeros(lines[1][0], int)
        padded[: matrix[:, bit].sum()] = np.flatnonzero(matrix[:, bit]) + 1
        assert lines[4 + bit] == padded.tolist()
    for check in range(15):
        assert [number for number in lines[44 + check] if number] == (np.flatnonzero(matrix[check]) + 1).tolist()


def test_circulants_are_expanded():
    code = ldpc.qc_code(2, 4)
    expanded = ldpc.read_alist(ldpc.write_alist(code))
    assert expanded.lifting == 1 and expanded.n == code.n
    np.testing.assert_array_equal(ldpc.edges(expanded), ldpc.edges(code))


def test_the_order_of_a_list_is_kept():
    text = TEXT.replace("1 3 4\n", "4 1 3\n")
    assert ldpc.read_alist(text).rows[2] == ((3, 0), (0, 0), (2, 0)) and ldpc.write_alist(ldpc.read_alist(text)) == text


FORGIVEN = {
    "without padding": TEXT.replace(" 0", ""),
    "spaces, tabs and the ends of lines of others": TEXT.replace("\n", " \t\r\n"),
    "empty lines at the end": TEXT + "\n  \n",
    "no end of the last line": TEXT[:-1],
    "more padding than the largest weight": TEXT.replace("3 0\n", "3 0 0 0\n"),
    "comments": "# a code\n" + TEXT.replace("1 3\n1 2\n", "1 3\n# checks of bit 2\n1 2\n"),
    "largest weights that none has": TEXT.replace("2 3\n2 2 2 1", "7 9\n2 2 2 1"),
    "weights in two lines": TEXT.replace("2 2 2 1", "2 2\n2 1"),
    "empty lines between": TEXT.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("name", FORGIVEN)
def test_what_is_forgiven(name):
    assert ldpc.read_alist(FORGIVEN[name]) == ldpc.sparse_code(MATRIX)


@pytest.mark.parametrize("of_bit_2", ["0\n", "\n", "0 0 0\n"])
def test_a_bit_in_no_check(of_bit_2):
    text = "3 1\n1 2\n1 0 1\n2\n1\n" + of_bit_2 + "1\n1 3\n"
    assert ldpc.read_alist(text) == ldpc.sparse_code([[1, 0, 1]])


REFUSED = {
    "line 1 of the alist: 'x' among bits and checks": "x 3\n",
    "line 1 of the alist: 'code.alist' among": "code.alist",
    "line 1 of the alist: '4.0' among": TEXT.replace("4 3\n", "4.0 3\n", 1),
    "line 1 of the alist: '-4' among": TEXT.replace("4 3\n", "-4 3\n", 1),
    "line 1 of the alist: 0 among bits and checks: expected 1 to": "0 3\n",
    "line 1 of the alist: 3 numbers for bits and checks: expected 2": "4 3 2\n",
    "line 1 of the alist: 99999999999999 among": "99999999999999 3\n",
    "line 1 of the alist: '9{50}": "9" * 10_000 + " 3\n",
    "line 2 of the alist: the text ends after 0 numbers for the weights of 2000000000 bits": "2000000000 99\n3 6\n",
    "line 0 of the alist: the text ends after 0 numbers for bits and checks": "",
    "line 3 of the alist: 3 among the weights of 4 bits: expected 0 to 2": TEXT.replace("2 2 2 1", "2 2 2 3"),
    "line 4 of the alist: 3 among the weights of 4 bits: expected 0 to 2": TEXT.replace("2 2 2 1", "2 2 2"),
    "line 4 of the alist: 0 among the weights of 3 checks: expected 1 to 3": TEXT.replace("2 2 3", "2 0 3"),
    "line 4 of the alist: 4 numbers for the weights of 3 checks": TEXT.replace("2 2 3", "2 2 3 1"),
    "line 5 of the alist: 1 entries of bit 1: expected 2": TEXT.replace("1 3\n1 2\n", "1 0\n1 2\n"),
    "line 8 of the alist: 2 entries of bit 4: expected 1": TEXT.replace("3 0\n1 2 0", "3 1\n1 2 0"),
    "line 5 of the alist: 4 among the list of bit 1: expected 0 to 3": TEXT.replace("1 3\n1 2\n", "1 4\n1 2\n"),
    "line 11 of the alist: 5 among the list of check 3: expected 0 to 4": TEXT.replace("1 3 4", "1 3 5"),
    "line 8 of the alist: a zero before the last entry of bit 4": TEXT.replace("3 0\n", "0 3\n", 1),
    "line 11 of the alist: an entry of check 3 is there twice": TEXT.replace("1 3 4", "1 3 3"),
    "line 11 of the alist: check 3 has bit 2, whose own list in line 6": TEXT.replace("1 3 4", "1 2 4"),
    "line 10 of the alist: check 2 has bit 4": TEXT.replace("2 3 0\n1 3 4", "2 4 0\n1 3 4"),
    "line 10 of the alist: the text ends before the list of check 3": TEXT.replace("1 3 4\n", ""),
    "line 12 of the alist: '1 2' after the last": TEXT + "1 2\n",
    "line 9 of the alist: '\u0661' among": TEXT.replace("1 2 0", "\u0661 2 0"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_wrong_with_a_text(message):
    with pytest.raises(ValueError, match=message):
        ldpc.read_alist(REFUSED[message])


def test_every_truncation_and_change_of_a_byte_is_read_or_refused():
    """A text that still passes has as many ones in its rows as in its columns."""
    rng, accepted = np.random.default_rng(0), 0
    for end in range(len(TEXT) - 2):
        with pytest.raises(ValueError, match="of the alist"):
            ldpc.read_alist(TEXT[:end])
    for _ in range(2000):
        place = rng.integers(len(TEXT))
        text = TEXT[:place] + chr(rng.integers(32, 127)) + TEXT[place + 1 :]
        try:
            accepted += ldpc.read_alist(text).edge_count > 0
        except ValueError as error:
            assert "of the alist" in str(error)
    assert accepted < 600


@pytest.mark.parametrize("text", [None, 5, b"4 3\n", ["4 3"]])
def test_what_is_no_text(text, unchecked):
    with pytest.raises(ValueError, match="text is .*: expected a str"):
        ldpc.read_alist(text)
    with pytest.raises(ValueError, match="code=.*: expected an ldpc.Code"):
        ldpc.write_alist(text)
