"""The compiled decoder over a batch: groups of sixteen words, shared out among threads."""

import concurrent.futures
import functools
import threading
from typing import NamedTuple

import numpy as np

from ..vectors import LANES
from .codes import Code
from .core import words as core
from .xla import Rule

# Words that stop early leave their lanes idle until the slowest of sixteen has stopped. So all of a batch get a few
# iterations first, and those that are left begin again together.
FIRST_ITERATIONS = 8
_SPANS = 8  # a thread takes this many shares of the batch in turn, at least


class _Shared:
    """An iterator that several threads take from, each item once."""

    def __init__(self, items):
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self._lock:
            return next(self._items)


class Results(NamedTuple):
    """Of words, as `xla.decode` returns them; the last two [0, 0] where nothing was measured."""

    posterior: np.ndarray
    satisfied: np.ndarray
    iterations: np.ndarray
    reliability: np.ndarray
    unsatisfied: np.ndarray


def decode(code: Code, llr: np.ndarray, scale: np.ndarray, offset: np.ndarray, clip: float, rule: Rule, jobs: int):
    """As `xla.decode`, of float32; on up to `jobs` threads."""
    run = functools.partial(_decode, code, scale, offset, clip, jobs)
    if rule.early_stop and rule.iterations > 2 * FIRST_ITERATIONS and len(llr) > LANES:
        results = run(llr, rule._replace(iterations=FIRST_ITERATIONS))
        if rule.statistics:  # what was measured last stays
            more = ((0, rule.iterations - FIRST_ITERATIONS), (0, 0))
            results = Results(*results[:3], *(np.pad(trace, more, "edge") for trace in results[3:]))
        left = np.flatnonzero(~results.satisfied)
        if left.size:
            rest = run(llr[left], rule)
            for whole, part in zip(results[:3], rest[:3], strict=True):
                whole[left] = part
            for whole, part in zip(results[3:], rest[3:], strict=True):
                whole[:, left if rule.statistics else slice(0)] = part
    else:
        results = run(llr, rule)
    return results if rule.statistics else (*results[:3], None, None)


def _decode(code: Code, scale, offset, clip: float, jobs: int, llr: np.ndarray, rule: Rule) -> Results:
    """All words, by as many iterations as each needs."""
    starts, columns, shifts = _edges(code)
    width, is_flooding = int(np.diff(starts).max()), rule.schedule == "flooding"
    measured = (rule.iterations + 1, len(llr)) if rule.statistics else (0, 0)
    satisfied = np.empty(len(llr), np.uint8)
    results = Results(
        np.empty_like(llr), satisfied.view(bool), np.empty(len(llr), np.int32), np.empty(measured, np.float32),
        np.empty(measured, np.float32),
    )  # fmt: skip

    def work(spans) -> None:
        """One thread: spans of words until there are none, in work space of its own, which is touched once."""
        posterior, inputs, prefixes = (_work_space(size) for size in (code.n, width, width))
        sums, channel = (_work_space(code.n), _work_space(code.n)) if is_flooding else (posterior, posterior)
        messages, counts = _work_space(code.edge_count), _work_space(1)
        for begin, end in spans:
            core.decode(
                llr, begin, end, starts, columns, shifts, code.lifting, rule.iterations,
                int(rule.update == "sum_product"), int(is_flooding), scale, offset, clip, int(rule.early_stop),
                int(rule.statistics), posterior, sums, channel, messages, inputs, prefixes, counts,
                results.posterior, satisfied, *results[2:],
            )  # fmt: skip

    groups = -(-len(llr) // LANES)
    threads = max(1, min(jobs, groups))
    shares = min(groups, _SPANS * threads) if threads > 1 else 1
    cuts = [LANES * (groups * share // shares) for share in range(shares)] + [len(llr)]
    spans = _Shared(zip(cuts[:-1], cuts[1:], strict=True))
    if threads == 1:
        work(spans)
    else:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [spans] * threads))
    return results


def _work_space(size: int) -> np.ndarray:
    return np.empty(size * LANES, np.float32)


@functools.lru_cache(maxsize=32)
def _edges(code: Code) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts, columns, shifts), int64: of the edges of each row, those of all rows one after another."""
    starts = np.cumsum([0, *map(len, code.rows)], dtype=np.int64)
    columns, shifts = np.array([entry for row in code.rows for entry in row], np.int64).T
    return starts, np.ascontiguousarray(columns), np.ascontiguousarray(shifts)
