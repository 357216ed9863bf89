"""MacKay's alist format of sparse parity-check matrices.

Line by line: bits and checks; the largest weight of a bit and of a check; the weight of each bit; that of each check;
for each bit its checks, counted from 1; for each check its bits. Lists shorter than the largest weight are padded with
zeros. Source: D. MacKay, "Encyclopedia of Sparse Graph Codes", its page on the format.
"""

import itertools
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from .. import scalars
from .codes import LONGEST, Code, checked_code, edges

Lines = Iterator[tuple[int, str | None]]
Lists = list[tuple[int, list[int]]]  # (line, numbers from 0) of each bit or check


def read_alist(text: str) -> Code:
    """The code of a text in alist format, its checks and their bits in the text's order.

    Padding may be missing, lines may end with spaces, and lines that begin with # are comments. Memory is in proportion
    to the text, whatever sizes it declares.

    Args:
      text: what the file holds, not its name.

    Raises:
      ValueError: numbers are missing, left over or out of range, a list has another weight or an entry twice, a check
        has no bits, or the lists of bits and of checks differ; with the line.

    Example:
      >>> from havel.kernels import ldpc
      >>> code = ldpc.read_alist("3 2\\n2 2\\n1 2 1\\n2 2\\n1 0\\n1 2\\n2 0\\n1 2\\n2 3\\n")
      >>> ldpc.parity_check_matrix(code).tolist()
      [[1, 1, 0], [0, 1, 1]]
    """
    if not isinstance(text, str):
        raise ValueError(f"text is {type(text).__name__}: expected a str, what an alist file holds")
    lines = _lines(text)
    bits, checks = _numbers(lines, 2, "bits and checks", 1, LONGEST)
    largest = _numbers(lines, 2, "the largest weights", 0, LONGEST)
    of_bit = _numbers(lines, bits, f"the weights of {bits} bits", 0, largest[0])
    of_check = _numbers(lines, checks, f"the weights of {checks} checks", 1, largest[1])
    bit_lists = [_entries(lines, f"bit {number}", weight, checks) for number, weight in enumerate(of_bit, 1)]
    check_lists = [_entries(lines, f"check {number}", weight, bits) for number, weight in enumerate(of_check, 1)]
    for line, content in lines:
        if content is not None and content.strip():
            _refuse(line, f"{scalars.shown(content)} after the last check's list: expected the end")
    _compare(bit_lists, check_lists, bits)
    return Code(1, bits, tuple(tuple((bit, 0) for bit in numbers) for _, numbers in check_lists))


def write_alist(code: Code) -> str:
    """The parity-check matrix in alist format; circulants are expanded.

    Raises:
      ValueError: code is no `Code`.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.write_alist(ldpc.sparse_code([[1, 1, 0], [0, 1, 1]])).splitlines()
      ['3 2', '2 2', '1 2 1', '2 2', '1 0', '1 2', '2 0', '1 2', '2 3']
    """
    check, bit = edges(checked_code(code))
    order = np.argsort(bit, kind="stable")
    weights = [np.bincount(bit, minlength=code.n), np.bincount(check, minlength=code.checks)]
    largest = [int(one.max()) for one in weights]
    head = [(code.n, code.checks), largest, *(one.tolist() for one in weights)]
    lists = itertools.chain.from_iterable(
        _padded(entries, weight, most)
        for entries, weight, most in zip((check[order] + 1, bit + 1), weights, largest, strict=True)
    )
    return "".join(" ".join(map(str, line)) + "\n" for line in itertools.chain(head, lists))


def _padded(entries: np.ndarray, weights: np.ndarray, largest: int) -> Iterator[list[int]]:
    for part in np.split(entries, np.cumsum(weights)[:-1]):
        yield part.tolist() + [0] * (largest - part.size)


def _refuse(line: int, what: str) -> NoReturn:
    raise ValueError(f"line {line} of the alist: {what}")


def _lines(text: str) -> Lines:
    """(number, content) of each line that is no comment; then the last number and None."""
    number = 0
    for number, content in enumerate(text.splitlines(), 1):
        if not content.lstrip().startswith("#"):
            yield number, content
    yield number, None


def _parsed(line: int, content: str, what: str, least: int, most: int) -> list[int]:
    """The numbers of a line."""
    numbers = []
    for token in content.split():
        if not (token.isascii() and token.isdigit()) or len(token) > 20:
            _refuse(line, f"{scalars.shown(token)} among {what}: expected integers from {least} to {most}")
        if not least <= int(token) <= most:
            _refuse(line, f"{int(token)} among {what}: expected {least} to {most}")
        numbers.append(int(token))
    return numbers


def _numbers(lines: Lines, count: int, what: str, least: int, most: int) -> list[int]:
    """Those of one line or several that hold so many."""
    numbers: list[int] = []
    while len(numbers) < count:
        line, content = next(lines)
        if content is None:
            _refuse(line, f"the text ends after {len(numbers)} numbers for {what}: expected {count}")
        numbers += _parsed(line, content, what, least, most)
        if len(numbers) > count:
            _refuse(line, f"{len(numbers)} numbers for {what}: expected {count}")
    return numbers


def _entries(lines: Lines, owner: str, weight: int, end: int) -> tuple[int, list[int]]:
    """(line, places from 0) of one bit or check; zeros only pad, and are a line where the weight is 0."""
    line, content = next(lines)
    while weight and content is not None and not content.strip():
        line, content = next(lines)
    if content is None:
        _refuse(line, f"the text ends before the list of {owner}")
    numbers = _parsed(line, content, f"the list of {owner}", 0, end)
    places = [number - 1 for number in numbers if number]
    if any(numbers[len(places) :]):
        _refuse(line, f"a zero before the last entry of {owner}: expected zeros at the end only")
    if len(places) != weight:
        _refuse(line, f"{len(places)} entries of {owner}: expected {weight}, its weight")
    if len(set(places)) != weight:
        _refuse(line, f"an entry of {owner} is there twice: expected each once")
    return line, places


def _compare(of_bits: Lists, of_checks: Lists, bits: int) -> None:
    """Both lists are the same edges."""
    first = np.array([place * bits + bit for bit, (_, places) in enumerate(of_bits) for place in places], np.int64)
    second = np.array(
        [check * bits + place for check, (_, places) in enumerate(of_checks) for place in places], np.int64
    )
    only_second, only_first = np.setdiff1d(second, first), np.setdiff1d(first, second)
    if only_second.size:
        check, bit = divmod(int(only_second[0]), bits)
        _refuse(of_checks[check][0], f"check {check + 1} has bit {bit + 1}, whose own list in line "
                f"{of_bits[bit][0]} is without that check")  # fmt: skip
    if only_first.size:
        check, bit = divmod(int(only_first[0]), bits)
        _refuse(of_bits[bit][0], f"bit {bit + 1} has check {check + 1}, whose own list in line "
                f"{of_checks[check][0]} is without that bit")  # fmt: skip
