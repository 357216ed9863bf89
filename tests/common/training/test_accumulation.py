"""Sums over chunks: killed and resumed to the same sums, and nothing left to do."""

import os
import signal

import numpy as np
import pytest

from common import app
from common.runs import run_directory
from common.training import accumulation


def squares(state, kill_after=None, error=KeyboardInterrupt):
    """Sums of squares of 0 to 9, three at a time."""
    while (done := int(state["n"])) < 10:
        if kill_after is not None and done >= kill_after:
            error()
        chunk = np.arange(done, min(done + 3, 10))
        state = {"n": np.int64(done + len(chunk)), "sum": state["sum"] + np.float64(chunk @ chunk)}
        yield state


def total_of(run, chunks=squares, **options):
    start = {"n": np.int64(0), "sum": np.float64(0)}
    return accumulation.accumulate(run, chunks, start, lambda state: int(state["n"]), 10, **options)


def test_a_killed_run_ends_with_the_same_sums(tmp_path):
    run = run_directory.open_for_test(tmp_path)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        total_of(run, lambda state: squares(state, 6, interrupt), checkpoint_seconds=0.0)
    state, rate = total_of(run)
    assert state == {"n": 10, "sum": 285.0} and rate > 0
    assert run.meta()["resumed_after"] == [6]
    assert total_of(run) == (state, None), "nothing was left"


def test_sigterm_leaves_a_checkpoint(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    with pytest.raises(app.Preempted, match="after 6 of 10 squares"):
        terminate = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        total_of(run, lambda state: squares(state, 3, terminate), description="squares")
    assert total_of(run)[0]["sum"] == 285.0
