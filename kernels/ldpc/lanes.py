"""The compiled decoder over a batch: groups of sixteen words, shared out among threads."""

import concurrent.futures
import functools

import numpy as np

from ..vectors import LANES
from .codes import Code
from .core import words as core
from .xla import Rule

# Words that stop early leave their lanes idle until the slowest of sixteen has stopped. So all of a batch get a few
# iterations first, and those that are left begin again together.
FIRST_ITERATIONS = 8
_SPANS = 8  # a thread takes this many shares of the batch in turn, at least


def decode(code: Code, llr: np.ndarray, scale: np.ndarray, offset: np.ndarray, clip: float, rule: Rule, jobs: int):
    """As `xla.decode`, of float32; on up to `jobs` threads."""
    count, rows = len(llr), rule.iterations + 1
    measured = (rows, count) if rule.statistics else (0, 0)
    results = (
        np.empty_like(llr), np.empty(count, np.uint8), np.empty(count, np.int32), np.empty(measured, np.float32),
        np.empty(measured, np.float32),
    )  # fmt: skip
    run = functools.partial(_decode, code, scale, offset, clip, jobs=jobs)
    if rule.early_stop and rule.iterations > 2 * FIRST_ITERATIONS and count > LANES:
        run(llr, rule._replace(iterations=FIRST_ITERATIONS), results)
        left = np.flatnonzero(results[1] == 0)
        rest = tuple(np.empty((*array.shape[:-1], len(left)), array.dtype) for array in results[1:])
        rest = (np.empty((len(left), code.n), np.float32), *rest)
        if len(left):
            run(llr[left], rule, rest)
            results[0][left] = rest[0]
            for array, part in zip(results[1:], rest[1:], strict=True):
                array[..., left] = part
        if rule.statistics:  # what the first iterations left stays for the others
            done = np.delete(np.arange(count), left)
            for array in results[3:]:
                array[FIRST_ITERATIONS + 1 :, done] = array[FIRST_ITERATIONS, done]
    else:
        run(llr, rule, results)
    posterior, satisfied, iterations, reliability, unsatisfied = results
    trace = (reliability, unsatisfied) if rule.statistics else (None, None)
    return posterior, satisfied.view(bool), iterations, *trace


def _decode(code: Code, scale, offset, clip: float, llr: np.ndarray, rule: Rule, results, *, jobs: int) -> None:
    """Writes the results of all words."""
    starts, columns, shifts = _edges(code)
    width = int(np.diff(starts).max())

    def span(begin: int, end: int) -> None:
        posterior, inputs, prefixes = (_work_space(size) for size in (code.n, width, width))
        is_flooding = rule.schedule == "flooding"
        sums, channel = (_work_space(code.n), _work_space(code.n)) if is_flooding else (posterior, posterior)
        core.decode(
            llr, begin, end, starts, columns, shifts, code.lifting, rule.iterations, int(rule.update == "sum_product"),
            int(is_flooding), scale, offset, clip, int(rule.early_stop), int(rule.statistics), posterior, sums, channel,
            _work_space(code.edge_count), inputs, prefixes, _work_space(1), *results,
        )  # fmt: skip

    groups = -(-len(llr) // LANES)
    shares = min(groups, _SPANS * jobs) if jobs > 1 else 1
    cuts = [LANES * (groups * share // shares) for share in range(shares)] + [len(llr)]
    if shares <= 1:
        span(0, len(llr))
        return
    with concurrent.futures.ThreadPoolExecutor(min(jobs, shares)) as threads:
        list(threads.map(span, cuts[:-1], cuts[1:]))


def _work_space(size: int) -> np.ndarray:
    return np.empty(size * LANES, np.float32)


@functools.lru_cache(maxsize=32)
def _edges(code: Code) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts, columns, shifts), int64: of the edges of each row, those of all rows one after another."""
    starts = np.cumsum([0, *map(len, code.rows)], dtype=np.int64)
    columns, shifts = np.array([entry for row in code.rows for entry in row], np.int64).T
    return starts, np.ascontiguousarray(columns), np.ascontiguousarray(shifts)
