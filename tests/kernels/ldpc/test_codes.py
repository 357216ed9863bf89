"""The tables of the standard, descriptions of codes, and what the beginning of a transmission belongs to."""

import hashlib
import pickle

import numpy as np
import pytest

from kernels import ldpc
from kernels.ldpc import base_graphs
from tests.kernels.oracles import ldpc as oracle

# Of "row column V0 ... V7" lines of both graphs, as they were when they agreed with the tables of the data set.
DIGEST = "287d78d1cc5e9ddf500c285ef542223202603de1e777b977ba98a4c08ff4d500"


def coefficients_of(path) -> list[list[tuple[int, ...]]]:
    """[rows][entries] of (column, V of eight sets): two lines of heading, a row's number on its first line alone."""
    rows: list[list[tuple[int, ...]]] = []
    for line in path.read_text(encoding="utf-8-sig").splitlines()[2:]:
        fields = line.split(";")
        if fields[0]:
            assert int(fields[0]) == len(rows)
            rows.append([])
        if any(fields):
            rows[-1].append(tuple(map(int, fields[1:10])))
    return rows


@pytest.mark.parametrize("graph", [1, 2])
def test_the_base_graphs_are_those_of_the_tables(graph, data_dir):
    path = data_dir / "nr_ldpc" / f"5G_bg{graph}.csv"
    if not path.is_file():
        pytest.skip("needs nr_ldpc/ in DATA_DIR")
    assert coefficients_of(path) == [[(column, *v) for column, v in row] for row in base_graphs.entries(graph)]


def test_no_number_of_the_base_graphs_changes():
    lines = [
        " ".join(map(str, (graph, row, column, *v)))
        for graph in (1, 2)
        for row, entries in enumerate(base_graphs.entries(graph))
        for column, v in entries
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == DIGEST


@pytest.mark.parametrize(
    "graph, rows, columns, entries, degrees", [(1, 46, 68, 316, (3, 19)), (2, 42, 52, 197, (3, 10))]
)
def test_counts_of_the_standard(graph, rows, columns, entries, degrees):
    code = ldpc.qc_code(graph, 384)
    of_rows = [len(row) for row in code.rows]
    assert (len(code.rows), code.columns, sum(of_rows)) == (rows, columns, entries)
    assert (min(of_rows), max(of_rows)) == degrees and code.information == columns - rows and code.punctured == 2
    assert all(column == sorted(set(column)) for column in ([c for c, _ in row] for row in code.rows))
    assert all(row[-1] == (code.information + number, 0) for number, row in enumerate(code.rows) if number > 3)


def test_the_code_of_the_paper():
    code = ldpc.qc_code(2, 36)
    assert (code.checks, code.n, code.edge_count, code.sendable) == (1512, 1872, 7092, 1800)
    expanded = oracle.parity_check_matrix(code.rows, code.columns, 36)
    np.testing.assert_array_equal(ldpc.parity_check_matrix(code), expanded)
    check, bit = ldpc.edges(code)
    assert expanded[check, bit].all() and len(set(zip(check.tolist(), bit.tolist(), strict=True))) == 7092
    assert (np.diff(check) >= 0).all()


def test_51_liftings_in_eight_sets():
    assert len(base_graphs.LIFTINGS) == 51 and base_graphs.SETS[36] == 4 and base_graphs.SETS[384] == 1
    assert base_graphs.SETS[2] == 0 and base_graphs.SETS[15] == 7 and base_graphs.SETS[208] == 6
    with pytest.raises(ValueError, match="lifting=37: .*next are 36, 40"):
        ldpc.qc_code(1, 37)
    with pytest.raises(ValueError, match="lifting=385: expected an integer from 2 to 384"):
        ldpc.qc_code(1, 385)


def test_a_matrix_of_shifts():
    shifts = np.array([[3, -1, 0, 9], [-1, 7, 2, 0]])
    code = ldpc.qc_code(shifts, 5)
    assert code.rows == (((0, 3), (2, 0), (3, 4)), ((1, 2), (2, 2), (3, 0))) and code.information == 0
    np.testing.assert_array_equal(ldpc.parity_check_matrix(code), oracle.parity_check_matrix(code.rows, 4, 5))


def test_any_matrix_as_it_is_and_by_its_edges():
    rng = np.random.default_rng(0)
    matrix = (rng.random((12, 30)) < 0.2).astype(np.int8)
    matrix[matrix.sum(1) == 0, 0] = 1
    code = ldpc.sparse_code(matrix)
    np.testing.assert_array_equal(ldpc.parity_check_matrix(code), matrix)
    order = rng.permutation(int(matrix.sum()))
    assert ldpc.sparse_code(edges=[ends[order] for ends in np.nonzero(matrix)], shape=matrix.shape) == code
    assert not matrix.any(0).all(), "a bit in no check is one of the cases"


def test_codes_are_keys():
    code, other = ldpc.qc_code(2, 36), pickle.loads(pickle.dumps(ldpc.qc_code(2, 36)))
    assert other is not code and other == code and hash(other) == hash(code) and len({code, other}) == 1
    renamed = ldpc.Code(code.lifting, code.columns, code.rows, code.information, code.punctured, "another name")
    assert renamed == code and code != ldpc.qc_code(2, 40) and len(repr(code)) < 80
    assert code != ldpc.Code(code.lifting, code.columns, code.rows, code.information, 0)


def test_rows_become_tuples_of_integers(unchecked):
    lists = ldpc.Code(2, 2, [[[0, 1], np.array([1, 0])]])
    assert lists.rows == (((0, 1), (1, 0)),) and hash(lists) == hash(ldpc.Code(2, 2, lists.rows))


@pytest.mark.parametrize("sent", [288, 289, 359, 360, 432, 433, 900, 1500, 1764, 1800])
def test_subcode_of_the_standard(sent):
    """Columns up to the last one sent, and the rows whose own parity column was; the core as a whole."""
    code, part = ldpc.qc_code(2, 36), ldpc.subcode(ldpc.qc_code(2, 36), sent)
    columns = max(2 + -(-sent // 36), 14)
    assert part.columns == columns and part.rows == code.rows[: columns - 10]
    assert (part.information, part.punctured, part.lifting) == (10, 2, 36)
    assert (part == code) == (sent > 1764)


@pytest.mark.parametrize("schedule", ["layered", "flooding"])
def test_what_a_subcode_leaves_out_changes_nothing(schedule):
    """Posteriors of the whole code with zeros for what was not sent are those of the subcode."""
    code = ldpc.qc_code(2, 4)
    llr = 2 + 2 * np.random.default_rng(0).normal(size=(3, code.n))
    for sent in (50, 85, 120):
        part = ldpc.subcode(code, sent)
        received = np.where(np.arange(code.n) < 8 + sent, llr, 0)
        received[:, :8] = 0
        for update, bound in (("min_sum", 0), ("sum_product", 1e-12)):
            settings = {"update": update, "schedule": schedule, "early_stop": False}
            whole = oracle.decode(*ldpc.edges(code), received, 4, **settings)
            short = oracle.decode(*ldpc.edges(part), received[:, : part.n], 4, **settings)
            assert np.abs(whole.posterior[:, : part.n] - short.posterior).max() <= bound
            assert np.abs(short.posterior).max() > 1


def test_subcode_of_any_code():
    """Rows whose unsent bit no other row has go, again and again; a cycle of unsent bits stays."""
    staircase = np.eye(6, 6, dtype=int) + np.eye(6, 6, -1, dtype=int)
    code = ldpc.sparse_code(np.hstack([np.ones((6, 3), int), staircase]))
    part = ldpc.subcode(code, 5)
    assert part.n == 5 and part.checks == 2 and part.rows == code.rows[:2]
    cycle = np.hstack([np.ones((3, 3), int), [[1, 1, 0], [0, 1, 1], [1, 0, 1]]])
    assert ldpc.subcode(ldpc.sparse_code(cycle), 4) == ldpc.sparse_code(cycle)


def test_subcodes_have_the_information():
    code = ldpc.qc_code(2, 36)
    with pytest.raises(ValueError, match="sent=287: expected an integer from 288 to 1800, the systematic"):
        ldpc.subcode(code, 287)
    with pytest.raises(ValueError, match="sent=1801"):
        ldpc.subcode(code, 1801)
    with pytest.raises(ValueError, match="sent=2: expected an integer from 3 to 6"):
        ldpc.subcode(ldpc.sparse_code(np.hstack([np.ones((3, 3), int), np.eye(3, dtype=int)])), 2)


ROW = ((0, 0), (1, 1))
REFUSED = {
    "column 2: expected 0 to 1": lambda: ldpc.Code(2, 2, (ROW, ((0, 0), (2, 0)))),
    "column -1": lambda: ldpc.Code(2, 2, (((-1, 0),),)),
    "row 1 has shift 2: expected 0 to 1": lambda: ldpc.Code(2, 2, (ROW, ((0, 0), (1, 2)))),
    "row 1 has no entries": lambda: ldpc.Code(2, 2, (ROW, ())),
    "rows=": lambda: ldpc.Code(2, 2, ()),
    "rows=5": lambda: ldpc.Code(2, 2, 5),
    "rows=.*pairs of integers": lambda: ldpc.Code(2, 2, (((0, 0.5),),)),
    "row 0 has column 0 twice": lambda: ldpc.Code(2, 2, (((0, 0), (1, 0), (0, 1)),)),
    "information=3": lambda: ldpc.Code(2, 2, (ROW,), 3),
    "punctured=2": lambda: ldpc.Code(2, 2, (ROW,), 0, 2),
    "columns=2147483648": lambda: ldpc.Code(1, 2**31, (ROW,)),
    "base_graph=3": lambda: ldpc.qc_code(3, 36),
    "base_graph is float64": lambda: ldpc.qc_code([[0.5]], 36),
    "a shift -2": lambda: ldpc.qc_code([[-2, 0]], 36),
    "row 0 has no entries:": lambda: ldpc.qc_code([[-1, -1], [0, 0]], 36),
    r"matrix is int64 of shape \(1, 2\)": lambda: ldpc.sparse_code([[0, 2]]),
    r"matrix is int64 of shape \(2,\)": lambda: ldpc.sparse_code([0, 1]),
    "check 1 has no bits": lambda: ldpc.sparse_code([[1, 1], [0, 0]]),
    "expected a matrix, or edges": lambda: ldpc.sparse_code(),
    "expected a matrix, or edges=": lambda: ldpc.sparse_code(edges=([0], [0])),
    r"edges\[1\] has 2: expected 0 to 1": lambda: ldpc.sparse_code(edges=([0, 0], [0, 2]), shape=(1, 2)),
    "edge of check 0 and bit 1 is there twice": lambda: ldpc.sparse_code(edges=([0, 0], [1, 1]), shape=(1, 2)),
    r"edges\[1\] is int64 of shape \(1,\)": lambda: ldpc.sparse_code(edges=([0, 0], [1]), shape=(1, 2)),
    "code='H'": lambda: ldpc.edges("H"),
    "code=None": lambda: ldpc.subcode(None, 5),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_code(message, unchecked):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
